"""The home folder: where everything that Tamis makes lives, and the lock that keeps writers apart.

It can be moved or copied: nothing read back from it is an absolute path. One writer at a time; readers
pin table versions and never wait.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tamis.errors import TransientError
from tamis.store.tables import Store


class HomeLockedError(TransientError):
    """Another process writes to this home; names it."""

    def __init__(self, home: Path, holder: str) -> None:
        self.home, self.holder = home, holder
        super().__init__(f"{home} is being written by {holder}; wait for it to end, or stop it")


@dataclass(frozen=True)
class Home:
    """Folders of one home; none is made before something is written to it."""

    root: Path

    @property
    def store(self) -> Store:
        """All tables."""
        return Store(self.root / "lance")

    @property
    def manifests(self) -> Path:
        """Manifests and rows files."""
        return self.root / "manifests"

    @property
    def checkpoints(self) -> Path:
        """Weights of base models and finished trials, and the tokenizer."""
        return self.root / "checkpoints"

    @property
    def fitted(self) -> Path:
        """Small fitted things: potentials, sketch, grader."""
        return self.root / "fitted"

    @property
    def reports(self) -> Path:
        """HTML pages."""
        return self.root / "reports"

    @property
    def exports(self) -> Path:
        """Chosen documents as files."""
        return self.root / "exports"

    @property
    def cache(self) -> Path:
        """Resume state and derived models; safe to delete."""
        return self.root / "cache"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.root / "dagster"

    @property
    def mlflow(self) -> Path:
        """MLflow's database."""
        return self.root / "mlflow"

    def relative(self, path: Path) -> str:
        """A path under the home as a relative POSIX path, the only form that is ever stored."""
        return path.relative_to(self.root).as_posix()


_HELD: dict[Path, int] = {}


@contextlib.contextmanager
def writing(home: Home, purpose: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """Hold the home's write lock; within one process it may be taken again.

    Raises `HomeLockedError`, naming the holder, when another process still has it after `patience_seconds`.
    """
    path = home.root / "writer.lock"
    if _HELD.get(path):
        _HELD[path] += 1
        try:
            yield
        finally:
            _HELD[path] = _HELD.get(path, 1) - 1
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        _acquire(stream.fileno(), home, path, patience_seconds)
        stream.seek(0)
        stream.truncate()
        stream.write(json.dumps({"process": os.getpid(), "purpose": purpose}))
        stream.flush()
        _HELD[path] = 1
        try:
            yield
        finally:
            _HELD.pop(path, None)
            fcntl.flock(stream, fcntl.LOCK_UN)


def writer(home: Home) -> str:
    """Who else writes to this home at this moment, "" for nobody."""
    path = home.root / "writer.lock"
    if _HELD.get(path) or not path.exists():
        return ""
    with path.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _holder(path)
    return ""


def _acquire(descriptor: int, home: Home, path: Path, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() >= deadline:
                raise HomeLockedError(home.root, _holder(path)) from None
            time.sleep(0.2)


def _holder(path: Path) -> str:
    try:
        values = json.loads(path.read_text())
        return f"process {values['process']} ({values['purpose']})"
    except (OSError, ValueError, KeyError):
        return "another process"
