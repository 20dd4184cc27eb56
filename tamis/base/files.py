"""Files and folders that appear whole or not at all: written as a draft next to it, flushed, then renamed.

A reader, or a crash, sees what was there before or all of what is new. A kill -9 leaves at most a hidden
sibling: that of a folder goes with the next write of it, that of a file when the home is swept.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import platformdirs

from tamis.base.user_folders import private_folder

_UMASK = os.umask(0o022)
os.umask(_UMASK)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNABLE = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)
"""Errors of a folder that cannot be flushed, or only be written to."""
SETTLED_SECONDS = 2.0
"""A file that changed longer ago is read once for each of its states."""


@contextmanager
def whole_file(path: Path, *, flushed: bool = True) -> Iterator[Path]:
    """Yield an empty draft; on a normal exit it takes the place of `path`, on an error it goes.

    The folder must exist. `flushed`: on disk before it has its name, and its name before this returns; False
    for what can be fetched again.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    draft = Path(name)
    try:
        os.fchmod(handle, 0o666 & ~_UMASK)  # a temporary file is its owner's alone
        os.close(handle)
        yield draft
        if flushed:
            flush_one(draft)
        os.replace(draft, path)
        if flushed:
            flush_one(path.parent)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        _name_file(error, path)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, and its folders where they are missing, so that it is seen whole or not at all."""
    make_folder(path.parent)
    with whole_file(path) as draft:
        draft.write_bytes(content)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty draft folder; on a normal exit it takes the place of `folder`, on an error it goes."""
    make_folder(folder.parent)
    draft, former = folder.with_name(f".{folder.name}.draft"), folder.with_name(f".{folder.name}.former")
    for leftover in (draft, former):
        shutil.rmtree(leftover, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        flush(draft)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        _name_file(error, folder)
        raise
    if folder.exists():
        folder.rename(former)
    draft.rename(folder)
    flush_one(folder.parent)
    shutil.rmtree(former, ignore_errors=True)


def _name_file(error: BaseException, path: Path) -> None:
    """Let the error of a disk or file that takes no more name the file: writing to an open one does not."""
    if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is None:
        error.filename = str(path)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing; the names of new ones are on disk."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        flush_one(one.parent)


def flush(folder: Path) -> None:
    """fsync every file and folder below `folder`, and itself."""
    for path in [*folder.rglob("*"), folder]:
        flush_one(path)


def flush_one(path: Path) -> None:
    """fsync a file, or the names in a folder: where the file system can, as some network mounts cannot."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _UNABLE or not path.is_dir():
            raise


def user_cache() -> Path:
    """Return the folder of what a user's projects share: `TAMIS_CACHE`, else `tamis` in the user's caches."""
    override = os.environ.get("TAMIS_CACHE")
    try:
        return Path(override).expanduser() if override else Path(platformdirs.user_cache_dir("tamis"))
    except RuntimeError:  # without a home folder
        return private_folder("cache")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex; streamed."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex, remembered by its status once that has settled.

    A file written again within one tick of the clock keeps its times, so one that changed just now is read
    every time.
    """
    status = path.stat()
    if time.time() - status.st_ctime < SETTLED_SECONDS:
        return file_digest(path)
    changes = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return digest_of(path, changes)


@lru_cache(maxsize=4_096)
def digest_of(path: Path, changes: tuple[int, ...]) -> str:
    """Return the digest of a file as it was after these changes, read once a process."""
    return file_digest(path)
