"""Limits on a process: recognised in what libraries say of them, named with their cure, or raised."""

import errno
import os
import resource
import sqlite3
import subprocess
import sys

import pytest
from projects import plain_project, settings

import tamis.cli
from tamis.base.errors import PermanentError
from tamis.base.kept_errors import kept_message
from tamis.base.limits import (
    FileTooLargeError,
    LimitReachedError,
    limit_reached,
    raise_open_files,
    stop_at_limit,
    tight_limits,
)
from tamis.store.unwritable import stop_unless_writable, storage_error

NONE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
OF_SQLITE = type("OperationalError", (Exception,), {"__module__": "sqlalchemy.exc"})


@pytest.fixture
def limits(monkeypatch):
    """Return a function that sets limits for what asks for them; all others are unlimited."""
    values: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "getrlimit", lambda which: values.get(which, NONE))

    def limit(name, value):
        values[getattr(resource, name)] = (value, value)

    return limit


def wrapped(error, by=RuntimeError):
    """Return an error of a library that hides another one."""
    found = by("a library that wraps it")
    found.__cause__ = error
    return found


@pytest.mark.parametrize(
    ("name", "value", "error", "said"),
    [
        (
            "RLIMIT_NOFILE",
            64,
            OSError(errno.EMFILE, "Too many open files", "/data/a.jsonl"),
            "Too many open files: /data/a.jsonl: the number of open files is limited to 64 here "
            "(`ulimit -n`); run `ulimit -n 2048`",
        ),
        ("RLIMIT_NOFILE", 64, RuntimeError("lance error: IO: x (os error 24)"), "limited to 64"),
        ("RLIMIT_NOFILE", 64, sqlite3.OperationalError("unable to open database file"), "limited to 64"),
        ("RLIMIT_FSIZE", 8192, OF_SQLITE("(sqlite3) disk I/O error"), "8 kB here (`ulimit -f`)"),
        ("RLIMIT_FSIZE", 8192, OSError(errno.EFBIG, "File too large", "/h/a"), "/h/a: the size of a file"),
        ("RLIMIT_FSIZE", 8192, RuntimeError("IO error: (os error 27)"), "`ulimit -f unlimited`"),
        ("RLIMIT_AS", 4_096_000_000, MemoryError(), "memory ran out: the address space of a process"),
        ("RLIMIT_AS", 4_096_000_000, OSError(errno.ENOMEM, "Cannot allocate memory"), "4,000,000 kB"),
        ("RLIMIT_AS", 4_096_000_000, ImportError("a.so: failed to map segment from shared object"), "-v"),
        ("RLIMIT_AS", 4_096_000_000, RuntimeError("can't start new thread"), "(`ulimit -v`)"),
        ("RLIMIT_DATA", 1_024_000, RuntimeError("std::bad_alloc"), "`ulimit -d unlimited`"),
        ("RLIMIT_NPROC", 60, RuntimeError("can't start new thread"), "limited to 60 here (`ulimit -u`)"),
    ],
)
@pytest.mark.parametrize("inside", [lambda error: error, wrapped])
def test_the_limit_that_was_reached_is_named_with_what_raises_it(limits, name, value, error, said, inside):
    limits(name, value)
    found = limit_reached(inside(error))
    assert isinstance(found, LimitReachedError)
    assert said in str(found)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(errno.EMFILE, "Too many open files"),
        sqlite3.OperationalError("unable to open database file"),
        sqlite3.OperationalError("disk I/O error"),
    ],
)
def test_without_a_limit_nothing_is_said_of_one(limits, error):
    assert limit_reached(error) is None


def test_a_limit_is_no_cause_of_what_only_quotes_it(limits):
    limits("RLIMIT_NOFILE", 64)
    limits("RLIMIT_AS", 10**9)
    assert limit_reached(ValueError("cannot convert 'too many open files, out of memory'")) is None
    assert limit_reached(sqlite3.OperationalError("no such table: runs")) is None
    handled = OSError("something else")
    handled.__context__, handled.__suppress_context__ = MemoryError(), True
    assert limit_reached(handled) is None


def test_sqlite_is_not_explained_by_a_limit_far_above_what_a_run_needs(limits):
    limits("RLIMIT_NOFILE", 20_000)
    assert limit_reached(sqlite3.OperationalError("unable to open database file")) is None


def test_a_file_system_that_allows_no_larger_file_is_named_with_the_file(limits):
    found = limit_reached(OSError(errno.EFBIG, "File too large", "/usb/data.lance"))
    assert isinstance(found, FileTooLargeError)
    assert "/usb/data.lance cannot grow any further" in str(found)
    assert "TAMIS_HOME" in str(found)


def test_a_home_whose_file_may_not_grow_is_not_called_full(limits, tmp_path):
    limits("RLIMIT_FSIZE", 8192)
    error = OSError(errno.EFBIG, "File too large", str(tmp_path / "a.lance"))
    assert "`ulimit -f`" in str(storage_error(tmp_path, error))
    with pytest.raises(LimitReachedError):
        stop_unless_writable(tmp_path, error)


def test_what_ran_out_of_memory_stops_nothing_that_may_need_less(limits, tmp_path):
    limits("RLIMIT_AS", 10**9)
    stop_unless_writable(tmp_path, MemoryError())
    stop_at_limit(["MemoryError: memory ran out: the address space ..."])
    limits("RLIMIT_NOFILE", 64)
    with pytest.raises(LimitReachedError, match="-n"):
        stop_at_limit(["no such column", "OSError: [Errno 24] Too many open files: '/proc/1/stat'"])


def test_what_is_stored_of_an_error_names_the_limit_and_quotes_no_document(limits):
    limits("RLIMIT_AS", 10**9)
    said = kept_message(RuntimeError("CUDA out of memory at 'a line of a document'"))
    assert said.startswith("RuntimeError: memory ran out: the address space")
    assert "a line of a document" not in said


def test_limits_under_which_a_run_fails_are_said_beforehand(limits):
    assert list(tight_limits()) == []
    limits("RLIMIT_NOFILE", 64)
    limits("RLIMIT_AS", 2 * 10**9)
    files, memory = tight_limits()
    assert "64" in files
    assert "`ulimit -v`" in memory
    limits("RLIMIT_NOFILE", 20_000)
    limits("RLIMIT_AS", 64 * 10**9)
    assert list(tight_limits()) == []


def test_the_soft_limit_on_open_files_is_raised_to_the_hard_one(monkeypatch):
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _which, both: set_to.append(both))
    for soft, hard in ((256, resource.RLIM_INFINITY), (1024, 4096), (64, 64), (1 << 20, 1 << 20)):
        monkeypatch.setattr(resource, "getrlimit", lambda _which, both=(soft, hard): both)
        raise_open_files()
    assert set_to == [(1 << 16, resource.RLIM_INFINITY), (4096, 4096)]


COMMAND = """
import resource, sys
import tamis.cli
{before}
sys.argv = ["tamis", *sys.argv[1:]]
tamis.cli.console()
"""


def ended(tmp_path, *arguments, before="", **streams):
    """Run a command in a process of its own; returns its exit code and what it said."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": ""}
    for name in ("TAMIS_PROJECT", "TAMIS_HOME"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(before=before), *arguments],
        cwd=tmp_path,
        env=environment,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams),
        text=True,
    )
    return done.returncode, done.stderr or ""


def test_a_command_with_too_few_files_ends_with_a_line_that_names_the_limit(tmp_path):
    plain_project(tmp_path, settings())
    code, said = ended(tmp_path, "plan", before="resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))")
    first, *_, last = said.splitlines()
    assert first.startswith("note: the number of open files is limited to 8 here (`ulimit -n`)")
    assert last.startswith("tamis: ")
    assert "`ulimit -n`" in last
    assert "Traceback" not in said
    assert code == 2


def test_a_limit_on_memory_is_named_before_anything_is_loaded_since_libraries_end_the_process(tmp_path):
    code, said = ended(tmp_path, "plan", before="resource.setrlimit(resource.RLIMIT_AS, (400 << 20,) * 2)")
    assert said.startswith("note: the address space of a process is limited to 409,600 kB here (`ulimit -v`)")
    assert "Traceback" not in said
    assert code


def test_a_limit_on_memory_is_named_where_a_library_says_nothing_of_memory(limits):
    silent = SystemError("error return without exception set")
    assert limit_reached(silent) is None
    limits("RLIMIT_AS", 64 * 10**9)
    assert limit_reached(silent) is None, "far above what a run needs"
    limits("RLIMIT_AS", 10**9)
    assert "`ulimit -v`" in str(limit_reached(silent))


def test_where_memory_does_not_suffice_to_explain_an_error_the_limit_is_named(limits, monkeypatch):
    limits("RLIMIT_AS", 10**9)

    def import_nothing(*_arguments):
        raise ImportError("pydantic_core.so: failed to map segment from shared object")

    monkeypatch.setattr("builtins.__import__", import_nothing)
    found = tamis.cli._explained(ValueError("no such column"))
    monkeypatch.undo()
    assert isinstance(found, LimitReachedError)


def test_an_error_of_ours_stays_what_it_is(limits, tmp_path):
    limits("RLIMIT_NOFILE", 64)
    assert storage_error(tmp_path, PermanentError("too many open files")) is None
