"""A file that lies elsewhere: known by a tag that its keeper changes with it, and read by download.

The tag (an ETag, or a content hash) says whether a file changed without a byte of it being moved. A download
asks for exactly the version that was listed, is checked for its length, and is removed once it was read.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.base.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from tamis.corpus.shards import Shard


class RemoteUnavailableError(TransientError):
    """A file could not be fetched; trying again may succeed."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"{url} could not be read: {problem}; it is tried again with the next run")


class RemoteForbiddenError(PermanentError):
    """A file may not be read with the credentials of the environment."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"{url} may not be read: {problem}")


def remote_fingerprint(tag: str, size: int | None) -> str:
    """SHA-256, hex, over tag and size; a tag that is the SHA-256 of the bytes is the fingerprint itself."""
    if tag.startswith("sha256:"):
        return tag.removeprefix("sha256:")
    return hashlib.sha256(f"{tag}\0{size}".encode()).hexdigest()


def local_copy(cache: Path, key: str, name: str) -> Path:
    """Where the file of a shard lies while it is read."""
    return cache / "remote" / hashlib.sha256(key.encode()).hexdigest()[:32] / Path(name).name


@contextmanager
def fetched(shard: "Shard") -> Iterator[Path]:
    """The bytes of a remote shard as a local file, for as long as they are read.

    Raises `ShardGoneError`, `ShardChangedError`, `RemoteUnavailableError` or `RemoteForbiddenError`.
    """
    from tamis.corpus import hub_datasets, object_store
    from tamis.corpus.shards import ShardChangedError

    assert shard.remote is not None
    folder = shard.path.parent
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    folder.mkdir(parents=True)
    try:
        keeper = hub_datasets if shard.remote.url.startswith(hub_datasets.SCHEME) else object_store
        keeper.download(shard, shard.path)
        if shard.remote.size not in (None, shard.path.stat().st_size):
            raise ShardChangedError(shard.path)
        yield shard.path
    finally:
        shutil.rmtree(folder, ignore_errors=True)
