"""Datasets on the Hugging Face hub: one data file of the repository, one shard.

The listing of a repository states a content hash of every file, so that a new commit calls for the files
alone that it changed. What is read is the files themselves, never code of the repository. A token comes from
the environment (HF_TOKEN), another server by HF_ENDPOINT.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tamis.base.errors import MissingPackageError
from tamis.corpus.remote.errors import (
    RemoteForbiddenError,
    RemoteUnavailableError,
    StoreProblemError,
    first_line,
)
from tamis.corpus.shards import RemoteFile, Shard, ShardGoneError
from tamis.readers.files import is_readable

SCHEME = "hf://"
NO_DATA = ("README.md", "dataset_infos.json", "dataset_info.json", "LICENSE.txt", "LICENSE.md")


def list_hub(
    repository: str, revision: str | None, splits: Sequence[str]
) -> Iterator[tuple[str, RemoteFile]]:
    """Path and place of every data file of a dataset repository; raises `StoreProblemError`.

    A file belongs to a split when a part of its path is its name: "data/train-00000-of-00002.parquet".
    """
    api = _api()
    try:
        commit = api.dataset_info(repository, revision=revision).sha
        entries = list(api.list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset"))
    except Exception as error:  # the client raises errors of several libraries
        raise StoreProblemError(f"{type(error).__name__}: {first_line(error)}") from error
    base = f"{SCHEME}datasets/{repository}@{commit}"
    found = [entry for entry in entries if _is_data(entry, splits)]
    if not found:
        named = f" for split {' or '.join(splits)}" if splits else ""
        raise StoreProblemError(f"the repository contains no data file{named}")
    for entry in sorted(found, key=lambda one: str(one.path)):
        tag = f"sha256:{entry.lfs.sha256}" if entry.lfs else f"blob:{entry.blob_id}"
        yield entry.path, RemoteFile(url=f"{base}/{entry.path}", base=base, tag=tag, size=entry.size)


def download(shard: Shard, path: Path) -> None:
    """Fetch a file at the commit that was listed; raises as `fetched` says."""
    remote = shard.remote
    assert remote is not None
    repository, _, commit = remote.base.removeprefix(f"{SCHEME}datasets/").partition("@")
    try:
        found = _api().hf_hub_download(
            repository,
            remote.url.removeprefix(f"{remote.base}/"),
            repo_type="dataset",
            revision=commit,
            local_dir=path.parent,
        )
    except Exception as error:
        # The client says "not in the cache" and keeps what the hub answered as the cause.
        answers = [getattr(one, "response", None) for one in (error, error.__cause__)]
        status = next((answer.status_code for answer in answers if answer is not None), None)
        if status == 404:
            raise ShardGoneError(shard.key, shard.path) from error
        if status in (401, 403):
            raise RemoteForbiddenError(remote.url, first_line(error)) from error
        raise RemoteUnavailableError(remote.url, f"{type(error).__name__}: {first_line(error)}") from error
    Path(found).replace(path)


def _is_data(entry: Any, splits: Sequence[str]) -> bool:
    path = PurePosixPath(entry.path)
    if not hasattr(entry, "blob_id") or path.name in NO_DATA or path.name.startswith("."):
        return False
    parts = re.split(r"[/._-]", entry.path)
    return is_readable(path.name) and (not splits or any(split in parts for split in splits))


def _api() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingPackageError(
            "huggingface_hub", "a dataset on the hub", "pip install huggingface_hub"
        ) from error
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
