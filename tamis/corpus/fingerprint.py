"""Fingerprint of a shard: SHA-256 of its bytes, so that an edit under an unchanged path is seen.

A file is hashed as a stream (about 1 GB/s); a package as the relative path and bytes of its sorted
`.py` files, none of which is executed (torch: 2,500 files in under a second).
"""

import hashlib
import os
from pathlib import Path

from tamis.corpus.remote.errors import remote_fingerprint
from tamis.corpus.shards import Shard, ShardChangedError, ShardGoneError

BLOCK_BYTES = 1 << 20
UNREADABLE = hashlib.sha256(b"unreadable").hexdigest()


def fingerprint_shard(shard: Shard) -> str:
    """SHA-256, hex, of a shard's bytes; of a remote file, of its tag and size: it is not fetched for this.

    A file that may not be read has a fingerprint of its own, so that it changes once it may. Raises
    `ShardGoneError` when there is nothing, `ShardChangedError` when a file changes meanwhile.
    """
    if shard.remote is not None:
        return remote_fingerprint(shard.remote.tag, shard.remote.size)
    try:
        return hash_file(shard.path) if shard.kind == "file" else hash_sources(python_files(shard.path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ShardGoneError(shard.key, shard.path) from error
    except PermissionError:
        return UNREADABLE


def is_settled(path: Path, seconds: float, now: float) -> bool:
    """Whether a file was last modified at least `seconds` from `now` (Unix time); a missing one is not.

    The distance counts in both directions: a date far in the future is a wrong clock, not a write.
    """
    try:
        return abs(now - path.stat().st_mtime) >= seconds
    except OSError:
        return False


def hash_file(path: Path) -> str:
    """SHA-256, hex, of a file's bytes; raises `ShardChangedError` when it changes while it is read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
        after, named = os.fstat(file.fileno()), path.stat()
    if not _state(before) == _state(after) == _state(named):
        raise ShardChangedError(path)
    return digest.hexdigest()


def hash_sources(files: dict[str, Path]) -> str:
    """SHA-256, hex, over relative path and bytes of the files of a package."""
    if not files:
        raise FileNotFoundError("no Python files")
    digest = hashlib.sha256()
    for relative, path in files.items():
        digest.update(f"{relative}\0{hash_file(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def python_files(package: Path) -> dict[str, Path]:
    """The `.py` files of a package by POSIX path relative to its folder, sorted; links are not followed."""
    if package.is_file():
        return {package.name: package}
    root, found = os.fspath(package), []
    for folder, _, names in os.walk(root):
        inside = folder[len(root) + 1 :].replace(os.sep, "/")
        found += [f"{inside}/{name}" if inside else name for name in names if name.endswith(".py")]
    return {relative: package / relative for relative in sorted(found)}


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
