"""A home, or a file that a call names, that cannot be written: a full disk, or one that may only be read.

Every library below says so in its own words (Lance, SQLite, torch, numpy), some in none. So a failed piece of
work is followed by one question: can a small file be written there? The answer is the message.
"""

import contextlib
import errno
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from tamis.base.errors import PermanentError, TamisError, TransientError, out_of_memory
from tamis.base.limits import SIZE, FileTooLargeError, LimitReachedError, limit_reached
from tamis.store.remote.objects import object_store_problem

PROBE_BYTES = 1 << 18
FULL, READ_ONLY = (errno.ENOSPC, errno.EDQUOT), (errno.EROFS, errno.EACCES, errno.EPERM)
_SAID_WHEN_FULL = ("no space left", "disk is full", "os error 28", "disk quota exceeded")


class DiskFullError(TransientError):
    """No space left for the home; says how much there is and how to go on."""

    def __init__(self, home: Path, free_bytes: int) -> None:
        self.home, self.free_bytes = home, free_bytes
        super().__init__(
            f"the disk that holds {home} is full ({free_bytes / 1e6:,.1f} MB free): free some space, or move "
            "the folder to a larger disk and set TAMIS_HOME to it; then run the same command again. "
            "Finished work is kept, and the next run continues from there"
        )


class ReadOnlyHomeError(PermanentError):
    """The home may only be read; says why and what would be right."""

    def __init__(self, home: Path, problem: str) -> None:
        self.home, self.problem = home, problem
        super().__init__(
            f"{home} cannot be written ({problem}): mount its disk for writing, give this user permission to "
            "write there, or set TAMIS_HOME to another folder, such as a copy of it. Nothing was changed; "
            "`tamis status`, `tamis plan`, `tamis explain` and `tamis audit` only read and still work"
        )


class CannotWriteError(PermanentError):
    """A file that a call names cannot be written: why, and what to do."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"{path} cannot be written ({problem}); free some space there and allow this user to write, or "
            "name another path"
        )


def storage_error(home: Path, error: BaseException) -> TamisError | None:
    """What an error means when the home cannot be written, or its object store does not answer; else None.

    A limit on this process, such as on the size of files, is named before the disk is.
    """
    if isinstance(error, TamisError):
        return None
    if limited := limit_reached(error):
        return limited
    for cause in _causes(error):
        if refused := object_store_problem(cause):
            return refused
    problem = write_problem(home)
    if problem is not None and (limited := limit_reached(problem)):
        return limited
    if problem is not None and problem.errno in READ_ONLY:
        return ReadOnlyHomeError(home, problem.strerror or "permission denied")
    said = " ".join(str(cause).lower() for cause in _causes(error))
    if (problem is not None and problem.errno in FULL) or any(words in said for words in _SAID_WHEN_FULL):
        return DiskFullError(home, free_bytes(home))
    return None


def refused_writing(home: Path, error: BaseException) -> TamisError | None:
    """Return `storage_error` of an error that itself says that something in the home cannot be written.

    For commands that mostly read: on a read-only home, too, they fail for other reasons.
    """
    said = any(object_store_problem(cause) or _of_writing(home, cause) for cause in _causes(error))
    return storage_error(home, error) if said else None


def _of_writing(home: Path, error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno:
        here = error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(home)
        return here and error.errno in (*FULL, *READ_ONLY)
    return isinstance(error, sqlite3.OperationalError) or "os error" in str(error)  # of Lance


@contextlib.contextmanager
def storing(home: Path) -> Iterator[None]:
    """Raise `DiskFullError` or `ReadOnlyHomeError` for whatever fails while the home cannot be written."""
    try:
        yield
    except Exception as error:
        found = storage_error(home, error)
        if found is None:
            raise
        raise found from error


def stop_unless_writable(home: Path, error: Exception | None = None) -> None:
    """Raise `DiskFullError` or `ReadOnlyHomeError` when the home cannot be written, after a failure there.

    error: the failure; it may say that a disk is full which holds a part of the home, such as its tables, or
    that a limit of this process was reached, but for that on memory: another piece of work may need less.
    """
    problem = write_problem(home)
    if problem is not None and (found := storage_error(home, problem)):
        raise found from problem
    found = None if error is None or out_of_memory(error) else storage_error(home, error)
    if isinstance(found, DiskFullError | FileTooLargeError | LimitReachedError):
        raise found from error


def write_problem(home: Path) -> OSError | None:
    """Why a small file cannot be written at the home, or None."""
    probe = next(path for path in (home, *home.parents) if path.is_dir()) / f".probe-{uuid.uuid4().hex}"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
    except OSError as error:
        return error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return None


def free_bytes(home: Path) -> int:
    """Bytes that this user may still write on the disk of the home; on the fullest where it has several."""
    there = next(path for path in (home, *home.parents) if path.is_dir())
    within = [path for path in home.iterdir() if path.is_dir()] if there == home else []
    return min(state.f_bavail * state.f_frsize for state in map(os.statvfs, (there, *within)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def storing_file(path: Path) -> Iterator[None]:
    """Raise `CannotWriteError` where the disk of a file that a call names is full or may only be read."""
    try:
        yield
    except OSError as error:
        if error.errno not in (*FULL, *READ_ONLY, errno.EFBIG):
            raise
        limited = f"; {SIZE.in_words}" if error.errno == errno.EFBIG and SIZE.value is not None else ""
        raise CannotWriteError(path, f"{os.strerror(error.errno)}{limited}") from error
