"""How a benchmark drives the graph over a project folder: kept where it is named, else removed at the end."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

MATERIALIZE = [sys.executable, "-m", "tamis.cli", "materialize"]
_Answer = TypeVar("_Answer")


def environment_of(folder: Path) -> dict[str, str]:
    """Variables under which commands of Tamis work on the project in a folder, and keep its home there."""
    inherited = {name: value for name, value in os.environ.items() if name != "TAMIS_HOME"}
    return inherited | {"TAMIS_PROJECT": str(folder / "tamis.toml")}


def materialize(folder: Path) -> None:
    """Bring the project in a folder to the settled state; exits when that fails."""
    code = subprocess.run(MATERIALIZE, cwd=folder, env=environment_of(folder), stdout=sys.stderr).returncode
    if code:
        sys.exit(f"tamis materialize ended with exit code {code}")


def in_its_folder(flags: argparse.Namespace, run: Callable[[argparse.Namespace, Path], _Answer]) -> _Answer:
    """What `run` gives in the folder of --home, which stays, or in a temporary one."""
    if flags.home is not None:
        flags.home.mkdir(parents=True, exist_ok=True)
        return run(flags, flags.home.resolve())
    with tempfile.TemporaryDirectory() as folder:
        return run(flags, Path(folder))
