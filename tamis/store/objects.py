"""Objects of an S3 store by URL: list, read, write, swap and delete below one prefix.

Credentials, endpoint and region come from the environment alone (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL, AWS_REGION, ...). A request that fails or is cut off is made again up to `MOST_TRIES` times
with growing pauses, for `PATIENCE` at most; then an error names the address, the operation and what to check.
"""

import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from tamis.base.errors import MissingPackageError
from tamis.store.object_errors import problem_of, require_endpoint

MOST_TRIES, PATIENCE = 6, timedelta(seconds=30)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(milliseconds=100), timedelta(seconds=5)
BLOCK_BYTES = 4 << 20
_OF_CREDENTIALS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_REGION", "AWS_ACCESS_KEY_ID")
_LIMITS = {"connect_timeout": "10s", "read_timeout": "20s", "timeout": "300s"}
"""Of one request: a server that takes it and is then silent is given up long before a large object is.

The time in which a request's body is sent counts as silence, so few parts of an object are sent at once.
"""
_LIMITS_OF_TABLES = {"connect_timeout": "5s", "read_timeout": "10s", "client_retry_timeout": "8"}
"""LanceDB lists a folder six times and reads a part four times whatever it is told, so that what is silent is
given up after a minute when each of these takes 10 s and is not repeated below that."""
PARTS_AT_ONCE = 4
_ENVIRONMENT = {"LANCE_UPLOAD_CONCURRENCY": str(PARTS_AT_ONCE), "LANCE_CONN_RESET_RETRIES": "4"}
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a store says of an object: its entity tag, its bytes, and by its own clock when it was written."""

    tag: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class ObjectFolder:
    """All objects whose names begin with a prefix; names are relative to it."""

    url: str

    def below(self, name: str) -> "ObjectFolder":
        """The objects under a name."""
        return ObjectFolder(f"{self.url}/{name}")

    def listed(self, prefix: str = "") -> dict[str, Stored]:
        """Every object under a prefix, by name; a thousand a request."""
        found = self._ask("list", prefix, lambda obstore, store: _all(obstore, store, prefix))
        return {entry["path"]: _stored(entry) for entry in found}

    def holds_any(self, prefix: str) -> bool:
        """Whether there is an object under a prefix."""

        def first(obstore: Any, store: Any) -> bool:
            return any(len(page) for page in obstore.list(store, prefix, chunk_size=1))

        return self._ask("list", prefix, first)

    def head(self, name: str) -> Stored | None:
        """What the store says of one object, None where there is none."""
        try:
            return _stored(self._ask("look at", name, lambda obstore, store: obstore.head(store, name)))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """The bytes of a small object; raises `FileNotFoundError`."""
        return self._ask("read", name, lambda obstore, store: bytes(obstore.get(store, name).bytes()))

    def download(self, name: str, path: Path) -> Stored:
        """Write the bytes of an object to a file; raises `FileNotFoundError`."""

        def fetch(obstore: Any, store: Any) -> Stored:
            answer = obstore.get(store, name)
            with path.open("wb") as file:
                for block in answer.stream(min_chunk_size=BLOCK_BYTES):
                    file.write(block)
            return _stored(answer.meta)

        return self._ask("read", name, fetch)

    def digest(self, name: str) -> str:
        """SHA-256 of what the store holds under a name, hex, streamed; raises `FileNotFoundError`."""

        def hashed(obstore: Any, store: Any) -> str:
            digest = hashlib.sha256()
            for block in obstore.get(store, name).stream(min_chunk_size=BLOCK_BYTES):
                digest.update(block)
            return digest.hexdigest()

        return self._ask("read", name, hashed)

    def write(self, name: str, content: bytes | Path) -> str:
        """Write an object, whatever was there, in parts where it is large; returns its tag."""

        def put(obstore: Any, store: Any) -> str:
            return str(obstore.put(store, name, content, max_concurrency=PARTS_AT_ONCE)["e_tag"])

        return self._ask("write", name, put)

    def create(self, name: str, content: bytes) -> str | None:
        """Write an object that is not there yet; its tag, or None where there is one."""
        return self._conditional(name, content, "create")

    def swap(self, name: str, content: bytes, tag: str) -> str | None:
        """Write an object over the one that has this tag; the new tag, or None where it has another."""
        return self._conditional(name, content, {"e_tag": tag})

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, many a request; one that is not there is no error."""
        if gone := list(names):
            self._ask("delete", gone[0], lambda obstore, store: obstore.delete(store, gone))

    def keeps_versions(self) -> bool:
        """Whether the bucket keeps what is overwritten or deleted: each write then has a version."""
        name = f"probe-{os.urandom(8).hex()}"
        answer = self._ask("write", name, lambda obstore, store: obstore.put(store, name, b"Tamis"))
        self.delete([name])
        return answer["version"] is not None

    def _conditional(self, name: str, content: bytes, mode: Any) -> str | None:
        def put(obstore: Any, store: Any) -> str | None:
            try:
                return str(obstore.put(store, name, content, mode=mode, use_multipart=False)["e_tag"])
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                return None
            except FileNotFoundError as error:  # what should be replaced is gone
                if "NoSuchBucket" in str(error):
                    raise
                return None

        return self._ask("write", name, put)

    def _ask(self, operation: str, name: str, request: Callable[[Any, Any], _Answer]) -> _Answer:
        """Make a request, again where a transfer is cut off: the library repeats only what had no answer."""
        require_endpoint()
        obstore, credentials = library(), tuple(os.environ.get(key) for key in _OF_CREDENTIALS)
        began, pause = time.monotonic(), FIRST_PAUSE.total_seconds()
        for attempt in range(1, MOST_TRIES + 1):
            try:
                return request(obstore, _store(self.url, credentials))
            except (obstore.exceptions.BaseError, OSError) as error:
                if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
                    raise
                problem = problem_of(f"{self.url}/{name}", operation, error)
                late = time.monotonic() - began + pause > PATIENCE.total_seconds()
                if not problem.may_pass or late or attempt == MOST_TRIES:
                    raise problem from error
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE.total_seconds())
        raise AssertionError


def lance_options() -> dict[str, str]:
    """What LanceDB is told beside what it reads in the environment: plain HTTP too, and when to give up."""
    require_endpoint()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return {
        "allow_http": "true",  # the address says whether it is plain: AWS's own never is
        "client_max_retries": str(MOST_TRIES),
        **_LIMITS,
        **_LIMITS_OF_TABLES,
    }


def library() -> Any:
    """The package obstore; raises `MissingPackageError`."""
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        command = "pip install -c constraints.txt -e '.[object-store]'"
        raise MissingPackageError("obstore", "an object store", command) from error
    return obstore


@functools.lru_cache(maxsize=32)
def _store(url: str, _credentials: tuple[str | None, ...]) -> Any:
    backoff = {"init_backoff": FIRST_PAUSE, "max_backoff": LONGEST_PAUSE, "base": 2}
    retries: Any = {"max_retries": MOST_TRIES, "retry_timeout": PATIENCE, "backoff": backoff}
    client: Any = {"allow_http": True, **_LIMITS}
    return library().store.from_url(url, client_options=client, retry_config=retries)


def _all(obstore: Any, store: Any, prefix: str) -> list[Any]:
    return [entry for page in obstore.list(store, prefix or None) for entry in page]


def _stored(entry: Any) -> Stored:
    return Stored(tag=str(entry["e_tag"]), size=int(entry["size"]), modified=entry["last_modified"])
