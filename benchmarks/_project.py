"""How a benchmark drives the graph over a project folder: kept where it is named, else removed at the end."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_Answer = TypeVar("_Answer")


def materialize(folder: Path) -> None:
    """Bring the project in a folder to the settled state; exits when that fails."""
    command = [str(Path(sys.executable).with_name("tamis")), "materialize"]
    environment = {**os.environ, "TAMIS_PROJECT": str(folder / "tamis.toml")}
    environment.pop("TAMIS_HOME", None)
    code = subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr).returncode
    if code:
        sys.exit(f"tamis materialize ended with exit code {code}")


def in_its_folder(flags: argparse.Namespace, run: Callable[[argparse.Namespace, Path], _Answer]) -> _Answer:
    """What `run` gives in the folder of --home, which stays, or in a temporary one."""
    if flags.home is not None:
        flags.home.mkdir(parents=True, exist_ok=True)
        return run(flags, flags.home.resolve())
    with tempfile.TemporaryDirectory() as folder:
        return run(flags, Path(folder))
