"""A remote shard as a file on this machine, from whichever keeper it has."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tamis.corpus.remote import http_file, hub_datasets, object_store
from tamis.corpus.shards import Shard, ShardChangedError


def _download_of(url: str) -> Callable[[Shard, Path], None]:
    if url.startswith(hub_datasets.SCHEME):
        return hub_datasets.download
    return http_file.download if url.startswith(http_file.SCHEMES) else object_store.download


@contextmanager
def fetched(shard: Shard) -> Iterator[Path]:
    """The bytes of a remote shard as a local file, for as long as they are read.

    Raises `ShardGoneError`, `ShardChangedError`, `RemoteUnavailableError` or `RemoteForbiddenError`.
    """
    assert shard.remote is not None
    folder = shard.path.parent
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    folder.mkdir(parents=True)
    try:
        _download_of(shard.remote.url)(shard, shard.path)
        if shard.remote.size not in (None, shard.path.stat().st_size):
            raise ShardChangedError(shard.path)
        yield shard.path
    finally:
        shutil.rmtree(folder, ignore_errors=True)
