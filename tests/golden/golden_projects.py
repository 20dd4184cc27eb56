"""Build the projects of the goldens with the command line, and read what they hold."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import content as reading
import golden_storing
import mixed_project
from golden_compare import Golden

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
ONE_THREAD = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
}
FIXED = {"TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
SECONDS = 900


class CommandFailedError(RuntimeError):
    """A command of a golden's project ended otherwise than it should."""


def environment(root: Path) -> dict[str, str]:
    """The environment of every command: this checkout, one thread, nothing of whoever runs the tests."""
    plain = {
        key: value for key, value in os.environ.items() if not key.startswith(("TAMIS_", "DAGSTER_", "MLFLOW_"))
    }
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DAGSTER_DISABLE_TELEMETRY": "yes", "DO_NOT_TRACK": "true"}
    places = {
        "TAMIS_PROJECT": str(root / "tamis.toml"),
        "TAMIS_PLATFORM": str(CHECKOUT),
        "PYTHONPATH": str(CHECKOUT),
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
        if done.returncode:
            raise CommandFailedError(f"{commands[:3]}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return list(json.loads(answered.read_text()))


def run(root: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """One command in a process of its own; raises `CommandFailedError` where it ends with another code."""
    (found,) = ask(root, [list(arguments)])
    if found["code"] not in codes:
        raise CommandFailedError(
            f"tamis {' '.join(arguments)}: exit {found['code']}\n{found['output']}\n{found['errors']}"
        )
    return found


def build(name: str, root: Path, encoder_cache: Path | None = None) -> None:
    """Make a golden's project in a new folder, with the encoder that was distilled before, if there is one."""
    root.mkdir(parents=True)
    shutil.copyfile(HERE / name / "tamis.toml", root / "tamis.toml")
    if encoder_cache is not None:
        shutil.copytree(encoder_cache, root / ".tamis" / "cache")
    if name.startswith("mixed"):
        mixed_project.build(root, run)
    else:
        (root / "landing").mkdir()
        run(root, "materialize")


def content_of(name: str, root: Path) -> Golden:
    """What a project holds, as its golden would be written."""
    del name
    found = reading.read_content(root / ".tamis", lambda commands: ask(root, commands))
    return Golden(
        content=found, machine=golden_storing.machine(ONE_THREAD), packages=golden_storing.packages()
    )
