"""Limits that a shell, a service or a container sets on a process: which was reached, and what raises it.

The libraries below report them in their own words (SQLite as "disk I/O error", the loader as "failed to map
segment", Rust as "os error 24"), and C++ ends the process. So limits that are likely too low are also named
beforehand.
"""

import contextlib
import errno
import math
import os
import re
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tamis.base.errors import PermanentError

MOST_FILES = 1 << 16
"""The soft limit on open files is raised to the hard one, but not above this."""
_RAN_OUT = "memory ran out"
_BY_WORDS = (OSError, RuntimeError, ImportError)
"""Classes whose message is of the system; any other one may quote a document."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit of the system: its name there, the option of `ulimit` that sets it, what it bounds, in words.

    `least`: below it a project of a few thousand documents fails, as measured with `ulimit`; 0 for none.
    `kilobytes`: the shell counts in units of 1,024 bytes.
    """

    name: str
    option: str
    bounds: str
    least: int = 0
    kilobytes: bool = False

    @property
    def value(self) -> int | None:
        """The limit in force, None where there is none."""
        soft, _hard = resource.getrlimit(getattr(resource, self.name))
        return None if soft == resource.RLIM_INFINITY else soft

    @property
    def in_words(self) -> str:
        """The limit in force with the option that shows it; "" where there is none."""
        if self.value is None:
            return ""
        shown = f"{self.value // 1024:,} kB" if self.kilobytes else f"{self.value:,}"
        return f"{self.bounds} is limited to {shown} here (`ulimit {self.option}`)"

    @property
    def cure(self) -> str:
        """What raises the limit."""
        enough = str(self.least * 8) if self.least and not self.kilobytes else "unlimited"
        return f"run `ulimit {self.option} {enough}`, or raise the limit of the service or container"


FILES = Limit(name="RLIMIT_NOFILE", option="-n", bounds="the number of open files", least=256)
SIZE = Limit(name="RLIMIT_FSIZE", option="-f", bounds="the size of a file", kilobytes=True)
MEMORY = Limit(
    name="RLIMIT_AS", option="-v", bounds="the address space of a process", least=6 * 10**9, kilobytes=True
)
DATA = Limit(name="RLIMIT_DATA", option="-d", bounds="the data of a process", least=3 * 10**9, kilobytes=True)
THREADS = Limit(name="RLIMIT_NPROC", option="-u", bounds="the number of processes and threads of a user")
_SAID: tuple[tuple[re.Pattern[str], str, tuple[Limit, ...]], ...] = (
    (re.compile(r"too many open files|os error 24\b", re.IGNORECASE), "too many open files", (FILES,)),
    (re.compile(r"file too large|os error 27\b", re.IGNORECASE), "a file is too large", (SIZE,)),
    (
        re.compile(
            r"allocate memory|out of memory|os error 12\b|failed to map segment|bad_alloc", re.IGNORECASE
        ),
        _RAN_OUT,
        (MEMORY, DATA),
    ),
    (
        re.compile(r"can't start new thread|failed to spawn thread|pthread_create", re.IGNORECASE),
        "no further thread can be started",
        (MEMORY, DATA, THREADS),
    ),
)
_NUMBERS = {errno.EMFILE: (FILES,), errno.EFBIG: (SIZE,), errno.ENOMEM: (MEMORY, DATA)}
_OF_SQLITE = {"unable to open database file": FILES, "disk I/O error": SIZE}


class LimitReachedError(PermanentError):
    """A limit on this process was reached; says what failed, the limit, and what raises it."""

    def __init__(self, problem: str, limit: Limit) -> None:
        self.problem, self.limit = problem, limit
        super().__init__(f"{problem}: {limit.in_words}; {limit.cure}, then run the same command again")


class FileTooLargeError(PermanentError):
    """The file system, or a limit of the process, allows no file of this size; names the file where known."""

    def __init__(self, file: str | None) -> None:
        self.file = file
        super().__init__(
            f"{file or 'a file'} cannot grow any further (File too large): its file system allows no larger "
            "files (FAT32: 4 GB); keep it on another one, or move the home there and set TAMIS_HOME to it"
        )


def limit_reached(error: BaseException) -> LimitReachedError | FileTooLargeError | None:
    """Return the limit of this process that an error, or a cause of it, is about; None for no limit."""
    for cause in _causes(error):
        problem, limits = _about(cause)
        for limit in limits:
            if limit.value is not None:
                return LimitReachedError(problem, limit)
        if SIZE in limits:
            return FileTooLargeError(_file(cause))
    return None


def stop_at_limit(messages: Iterable[str]) -> None:
    """Raise the error of a limit that one of these messages of failed work names, unless it is on memory.

    Other work would reach the limit, too, while it may need less memory.
    """
    for message in messages:
        for words, problem, limits in _SAID[:2]:
            if words.search(message) and limits[0].value is not None:
                raise LimitReachedError(problem, limits[0])


def tight_limits() -> Iterator[str]:
    """Yield a line for each limit under which a command is likely to fail, or to be aborted."""
    for limit in (FILES, MEMORY, DATA):
        if limit.value is not None and limit.value < limit.least:
            yield f"{limit.in_words}, and a run may need more: if it fails, {limit.cure}"


def raise_open_files() -> None:
    """Raise the soft limit on open files as far as the hard one allows: tables are many small files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _about(error: BaseException) -> tuple[str, tuple[Limit, ...]]:
    """Return what failed, in words that quote at most a file name, and the limits that may be at fault."""
    if isinstance(error, MemoryError):
        return _RAN_OUT, (MEMORY, DATA)
    if isinstance(error, SystemError):
        # C code that gets no memory may return without an exception.
        # A limit far above what a run needs is no cause.
        tight = tuple(one for one in (MEMORY, DATA) if one.value is not None and one.value < one.least)
        return (_RAN_OUT, tight) if tight else ("", ())
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        file = _file(error)
        return os.strerror(error.errno) + (f": {file}" if file else ""), _NUMBERS[error.errno]
    said = str(error)
    if type(error).__name__ == "OperationalError":
        for words, limit in _OF_SQLITE.items():
            # SQLite names no cause: a limit far above what a run needs is none.
            if words in said and limit.value is not None and limit.value < (limit.least or math.inf):
                return f"a database reports {words!r}", (limit,)
        return "", ()
    if not isinstance(error, _BY_WORDS):
        return "", ()
    return next(((problem, limits) for words, problem, limits in _SAID if words.search(said)), ("", ()))


def _file(error: BaseException) -> str | None:
    named = error.filename if isinstance(error, OSError) else None
    return None if named is None else str(named)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
