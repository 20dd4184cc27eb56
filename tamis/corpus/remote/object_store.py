"""Corpora in object stores: s3://, gs://, az:// and file://.

One listing request a thousand objects tells what is new or changed, by ETag and size; no byte is moved for
it. Credentials and endpoints come from the environment alone, by the names that the stores' own tools use
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, ...).
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from tamis.base.errors import MissingPackageError, without_secrets
from tamis.base.installation import install_command
from tamis.corpus.remote.errors import (
    RemoteForbiddenError,
    RemoteUnavailableError,
    StoreProblemError,
    first_line,
)
from tamis.corpus.shards import RemoteFile, Shard, ShardChangedError, ShardGoneError
from tamis.store.remote.objects import require_endpoint

SCHEMES = ("s3", "gs", "az", "file", "http", "https")
BLOCK_BYTES = 1 << 20
RETRIES: dict[str, Any] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
CLIENT: dict[str, Any] = {"connect_timeout": "10s", "timeout": "300s", "allow_http": True}


def is_url(path: str | None) -> bool:
    """Return whether a path of tamis.toml names an object store and not a folder."""
    return path is not None and path.split("://")[0] in SCHEMES and "://" in path


def list_objects(url: str) -> Iterator[tuple[str, RemoteFile]]:
    """Relative name and place of every object under a prefix.

    Raises `StoreProblemError` when the store does not answer, or when there is nothing: a prefix exists by
    its objects, so a wrong one must not look like a corpus whose files were all removed.
    """
    obstore = _library()
    base = url.rstrip("/")
    try:
        found = [one for page in obstore.list(_store(base)) for one in page]
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise StoreProblemError(first_line(error)) from error
    # An empty object without an extension only marks a folder, as some tools make them.
    places = {
        entry["path"]: entry for entry in found if entry["size"] != 0 or PurePosixPath(entry["path"]).suffix
    }
    if not places:
        raise StoreProblemError("no object was found under this prefix")
    for path, entry in sorted(places.items()):
        tag = entry["e_tag"] or f"modified:{entry['last_modified']:%Y-%m-%dT%H:%M:%S.%f}"
        yield path, RemoteFile(url=f"{base}/{path}", base=base, tag=tag, size=entry["size"])


def download(shard: Shard, path: Path) -> None:
    """Fetch an object in the version that was listed; raises as `fetched` says."""
    obstore = _library()
    remote = shard.remote
    assert remote is not None
    options = {} if remote.tag.startswith("modified:") else {"if_match": remote.tag}
    try:
        answer = obstore.get(_store(remote.base), remote.url.removeprefix(f"{remote.base}/"), options=options)
        with path.open("wb") as file:
            for block in answer.stream(min_chunk_size=BLOCK_BYTES):
                file.write(block)
    except FileNotFoundError as error:
        raise ShardGoneError(shard.key, shard.path) from error
    except obstore.exceptions.PreconditionError as error:
        raise ShardChangedError(without_secrets(remote.url)) from error
    except (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError) as error:
        raise RemoteForbiddenError(remote.url, first_line(error)) from error
    except (obstore.exceptions.BaseError, OSError) as error:
        raise RemoteUnavailableError(remote.url, first_line(error)) from error


def _store(url: str) -> Any:
    from obstore.store import from_url

    require_endpoint()
    # Options as a mapping: the library's own types say which stores take which, by keyword only.
    options: Any = {} if url.startswith("file:") else {"client_options": CLIENT, "retry_config": RETRIES}
    return from_url(url, **options)


def _library() -> Any:
    try:
        import obstore
        import obstore.exceptions
    except ImportError as error:
        raise MissingPackageError(
            "obstore", "a corpus in an object store", install_command("object-store")
        ) from error
    return obstore
