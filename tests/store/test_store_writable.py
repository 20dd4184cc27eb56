"""What is said of a home that cannot be written, and of one that can."""

import errno
import sqlite3
import subprocess
import sys

import pytest

from tamis.store.unwritable import (
    DiskFullError,
    ReadOnlyHomeError,
    free_bytes,
    refused_writing,
    storage_error,
    storing,
    write_problem,
)


def test_a_home_that_can_be_written_explains_no_error_and_keeps_no_trace(tmp_path):
    home = tmp_path / "home"
    assert write_problem(home) is None
    assert storage_error(home, RuntimeError("something else")) is None
    assert storage_error(home, PermissionError(errno.EACCES, "a file elsewhere")) is None
    with pytest.raises(ZeroDivisionError), storing(home):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_the_words_of_a_library_are_enough_where_a_small_file_still_fits(tmp_path):
    def save():
        try:
            with open("/dev/full", "wb", buffering=0) as stream:  # the kernel's own error
                stream.write(b"x")
        except OSError as error:
            raise RuntimeError("a library that wraps it") from error

    with pytest.raises(DiskFullError, match="MB free") as caught, storing(tmp_path):
        save()
    assert caught.value.free_bytes == pytest.approx(free_bytes(tmp_path), rel=0.1)


def test_a_folder_of_somebody_else_is_named(tmp_path):
    code = """
import os, sys
from pathlib import Path
from tamis.store.unwritable import ReadOnlyHomeError, storing
if os.getuid() == 0:
    os.setuid(65534)
try:
    with storing(Path(sys.argv[1])):
        (Path(sys.argv[1]) / "file").write_text("x")
except ReadOnlyHomeError as error:
    print(error)
"""
    for folder in (*tmp_path.parents[:3], tmp_path):
        folder.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True)
    assert f"{home} cannot be written (Permission denied)" in done.stdout, done.stderr


def test_an_error_that_says_all_already_stays(tmp_path):
    with pytest.raises(ReadOnlyHomeError) as caught, storing(tmp_path):
        raise ReadOnlyHomeError(tmp_path, "Read-only file system")
    assert caught.value.__cause__ is None


def test_on_a_read_only_home_only_a_refused_write_is_explained_by_that(tmp_path, monkeypatch):
    read_only = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "home" / "writer.lock"))
    monkeypatch.setattr("tamis.store.unwritable.write_problem", lambda home: read_only)
    home = tmp_path / "home"
    for refused in (
        read_only,
        sqlite3.OperationalError("unable to open database file"),
        RuntimeError("lance error: LanceError(IO): Read-only file system (os error 30)"),
    ):
        assert isinstance(refused_writing(home, refused), ReadOnlyHomeError)
    for other in (
        FileNotFoundError(errno.ENOENT, "No such file or directory", str(home / "text")),
        OSError(errno.EROFS, "Read-only file system", str(tmp_path / "page.html")),
        KeyError("a mistake of ours"),
    ):
        assert refused_writing(home, other) is None
