"""Build the projects of the goldens with the command line, and read what they hold."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import golden_reading
import golden_storing
import mixed_project
import open_project
import wide_project
from golden_compare import Golden, differences, report

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
LIBRARIES = ("OMP", "MKL", "OPENBLAS", "RAYON")
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in LIBRARIES} | {"POLARS_MAX_THREADS": "1"}
FIXED = {
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",
    "NO_PROXY": "127.0.0.1",
    # The same kernels of NumPy and SciPy on every processor that has AVX2, whatever the machine's cache.
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_L2_SIZE": "512",
}
OTHERS = ("TAMIS_", "DAGSTER_", "MLFLOW_")
SECONDS = 900
BUILDERS = {
    "mixed-0.1": mixed_project.build,
    "wide-0.1": wide_project.build,
    "open-0.1": open_project.build,
}
"""Of the goldens but the demo's, which has no files of its own."""


class CommandFailedError(RuntimeError):
    """A command of a golden's project ended otherwise than it should."""


def environment(root: Path) -> dict[str, str]:
    """The environment of every command: this checkout, one thread, nothing of whoever runs the tests."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(OTHERS)}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DAGSTER_DISABLE_TELEMETRY": "yes", "DO_NOT_TRACK": "true"}
    places = {
        "TAMIS_PROJECT": str(root / "tamis.toml"),
        "PYTHONPATH": str(CHECKOUT),
        "TAMIS_TRUST": "1",  # one has a plug-in and a command of its own
    }
    return plain | quiet | ONE_THREAD | FIXED | places


def ask(root: Path, commands: list[list[str]]) -> list[dict[str, Any]]:
    """What the command line answers, all commands in one process; raises where that process fails."""
    with tempfile.TemporaryDirectory(prefix="golden-asked-") as scratch:
        asked, answered = (Path(scratch) / name for name in ("commands.json", "answers.json"))
        asked.write_text(json.dumps(commands))
        done = subprocess.run(
            [sys.executable, str(HERE / "golden_command.py"), str(asked), str(answered)],
            cwd=root,
            env=environment(root),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        if done.returncode or not answered.exists():
            raise CommandFailedError(f"{commands[:3]}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return list(json.loads(answered.read_text()))


def run(root: Path, *commands: list[str], codes: tuple[int, ...] = (0,)) -> None:
    """Run commands in one process; raises `CommandFailedError` where one ends with another code."""
    for command, found in zip(commands, ask(root, [*commands]), strict=True):
        if found["code"] not in codes:
            raise CommandFailedError(
                f"tamis {' '.join(command)}: exit {found['code']}\n{found['output']}\n{found['errors']}"
            )


def build(name: str, root: Path, encoder_cache: Path | None = None) -> None:
    """Make a golden's project in a new folder; `encoder_cache`: an encoder that was distilled before."""
    root.mkdir(parents=True)
    shutil.copyfile(HERE / name / "tamis.toml", root / "tamis.toml")
    if encoder_cache is not None:
        shutil.copytree(encoder_cache, root / ".tamis" / "cache")
    if name in BUILDERS:
        BUILDERS[name](root, run)
    else:
        (root / "landing").mkdir()
        run(root, ["materialize"])


def content_of(root: Path) -> Golden:
    """What a project holds, as its golden would be written."""
    found = golden_reading.read_content(root / ".tamis", lambda commands: ask(root, commands))
    machine = golden_storing.machine(ONE_THREAD, environment(root))
    return Golden(content=found, machine=machine, packages=golden_storing.packages())


def check(name: str, root: Path, encoder_cache: Path | None = None) -> str:
    """Build a golden's project in a new folder, and say what differs; nothing where all is as it was."""
    build(name, root, encoder_cache)
    return compared(name, content_of(root))


def compared(name: str, found: Golden) -> str:
    """What differs from a golden, in words; nothing where all is as it was."""
    wanted = golden_storing.read(HERE / name)
    differing = differences(wanted, found)
    return report(name, wanted, found, differing) if differing else ""
