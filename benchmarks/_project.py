"""How a benchmark drives the graph over a project folder: kept where it is named, else removed at the end."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
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


def made_once(path: Path, of: Mapping[str, object], make: Callable[[Path], object]) -> None:
    """Have `make` write a file; one that a kept folder has already stays, if it was made of the same.

    Exits when it was made of something else: figures of one study must not be printed as another's.
    """
    note, text = path.with_name(f"{path.name}.of.json"), json.dumps(of, sort_keys=True)
    if path.is_file():
        before = note.read_text() if note.is_file() else "nobody knows what"
        if before != text:
            sys.exit(f"{path} was made of {before}, not of {text}; name another folder with --home")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    make(partial)
    note.write_text(text)
    partial.replace(path)


def in_its_folder(flags: argparse.Namespace, run: Callable[[argparse.Namespace, Path], _Answer]) -> _Answer:
    """What `run` gives in the folder of --home, which stays, or in a temporary one."""
    if flags.home is not None:
        flags.home.mkdir(parents=True, exist_ok=True)
        return run(flags, flags.home.resolve())
    with tempfile.TemporaryDirectory() as folder:
        return run(flags, Path(folder))
