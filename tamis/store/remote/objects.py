"""Objects of an S3 store by URL: list, read, write, swap and delete below one prefix.

Credentials, endpoint and region come from the environment alone (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL, AWS_REGION, ...). A request that fails or is cut off is made again up to `MOST_TRIES` times
with growing pauses, for `PATIENCE` at most; then an error names the address, the operation and what to check.
"""

import functools
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from tamis.base.errors import MissingPackageError, PermanentError, TamisError, TransientError, without_secrets
from tamis.base.installation import install_command

_OF_A_STORE = (
    "generic s3 error",
    'store: "s3"',
    "retryerror",
    "error sending request",
    "lacked the necessary privileges",
    "lacked valid authentication",
    "nosuchbucket",
    "failed to get aws credentials",
)
_VERBS = {"GET": "read", "HEAD": "look up", "PUT": "write", "POST": "write", "DELETE": "delete"}
_REQUEST = re.compile(r"(?:Error performing|method:) (\w+),?\s+(?:uri: Some\(\s*)?(https?://[^\s?,)]+)")
_REASON = re.compile(r"status code: (\d+ [\w ]+)|status: (\d+)|<Code>(\w+)</Code>|<Message>([^<]+)</Message>")
_ENDPOINT = re.compile(r"https?://[^/\s]+/?", re.IGNORECASE)
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_CURES = (
    ("169.254.", f"no credentials were found; set {_KEYS}"),
    ("failed to get aws credentials", f"no credentials were found; set {_KEYS}"),
    ("missing secretaccesskey", "the secret access key is missing; set AWS_SECRET_ACCESS_KEY"),
    ("missingsecretaccesskey", "the secret access key is missing; set AWS_SECRET_ACCESS_KEY"),
    ("missing accesskeyid", "the access key id is missing; set AWS_ACCESS_KEY_ID"),
    ("missingaccesskeyid", "the access key id is missing; set AWS_ACCESS_KEY_ID"),
    (
        "nosuchbucket",
        "the bucket does not exist; check [storage] url, TAMIS_STORAGE_URL and AWS_ENDPOINT_URL",
    ),
    ("301 moved", "the bucket is in another region; set AWS_REGION to the bucket's region"),
    ("invalidaccesskeyid", f"the server does not know the access key; check {_KEYS}"),
    ("signaturedoesnotmatch", f"the secret access key does not match the access key id; check {_KEYS}"),
    ("401 unauthorized", f"the server did not accept the credentials; check {_KEYS}"),
    (
        "403 forbidden",
        f"the credentials do not permit this operation; check {_KEYS} and their owner's permissions",
    ),
)
MOST_TRIES, PATIENCE = 6, timedelta(seconds=30)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(milliseconds=100), timedelta(seconds=5)
BLOCK_BYTES = 4 << 20
_OF_CREDENTIALS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_REGION", "AWS_ACCESS_KEY_ID")
_LIMITS = {"connect_timeout": "10s", "read_timeout": "20s", "timeout": "300s"}
"""Of one request: a server that takes it and is then silent is given up long before a large object is.

The time in which a request's body is sent counts as silence, so few parts of an object are sent at once.
"""
_LIMITS_OF_TABLES = {"connect_timeout": "5s", "read_timeout": "10s", "client_retry_timeout": "8"}
"""LanceDB lists a folder six times and reads a part four times whatever its options, so a silent store is
given up after a minute when each of these takes 10 s and is not repeated below that."""
PARTS_AT_ONCE = 4
_ENVIRONMENT = {"LANCE_UPLOAD_CONCURRENCY": str(PARTS_AT_ONCE), "LANCE_CONN_RESET_RETRIES": "4"}
_Answer = TypeVar("_Answer")


class StorageUnavailableError(TransientError):
    """The object store did not answer, or answered with an error of its own, for as long as was tried."""

    def __init__(self, url: str, operation: str, problem: str) -> None:
        self.url, self.operation, self.problem = url, operation, problem
        super().__init__(
            f"the object store could not {operation} {url}, even after retries ({problem}); check that the "
            "store is running and that AWS_ENDPOINT_URL is correct, then run the same command again"
        )


class StorageRefusedError(PermanentError):
    """The object store refused; names the setting that is wrong."""

    def __init__(self, url: str, operation: str, problem: str, cure: str) -> None:
        self.url, self.operation, self.problem, self.cure = url, operation, problem, cure
        super().__init__(f"the object store refused to {operation} {url} ({problem}): {cure}")


class EndpointError(PermanentError):
    """The address of the object store is none; names the variable and what would be right."""

    def __init__(self, variable: str, value: str) -> None:
        self.variable = variable
        super().__init__(
            f"{variable} = {without_secrets(value)!r} is not the address of an object store; "
            "expected https://HOST or http://HOST:PORT"
        )


def require_endpoint() -> None:
    """Raise `EndpointError` for an address that the client would fail on without saying so."""
    # Unset what is set to nothing, as a file of variables leaves it: clients take that for a value.
    for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value.strip()]:
        os.environ.pop(name, None)
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"):
        value = os.environ.get(variable)
        if value and not _ENDPOINT.match(value):
            raise EndpointError(variable, value)


def problem_of(
    url: str, operation: str, error: BaseException
) -> StorageUnavailableError | StorageRefusedError:
    """The error for a request that failed."""
    said = str(error)
    request = without_secrets(url), operation, _short(said)
    cure = next((cure for words, cure in _CURES if words in said.lower()), None)
    return StorageRefusedError(*request, cure) if cure else StorageUnavailableError(*request)


def object_store_problem(error: BaseException) -> TamisError | None:
    """The same for an error of LanceDB, which names the request in its text; None where it is another."""
    said = str(error)
    if not any(words in said.lower() for words in _OF_A_STORE):
        return None
    request: Any = _REQUEST.search(said)
    operation = _VERBS.get(request[1], "access") if request else "read or write"
    return problem_of(request[2] if request else "the tables", operation, error)


def _short(said: str) -> str:
    """Status, code and message, or the first line: what follows repeats the request at length."""
    found = [next(part for part in one if part) for one in _REASON.findall(said)]
    first = (said.strip().splitlines() or ["no answer"])[0]
    return without_secrets("; ".join(dict.fromkeys(found)) or first)[:300]


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
        pages = self._ask("list", prefix, lambda obstore, store: [*obstore.list(store, prefix or None)])
        return {entry["path"]: _stored(entry) for page in pages for entry in page}

    def holds_any(self, prefix: str) -> bool:
        """Whether there is an object under a prefix."""

        def first(obstore: Any, store: Any) -> bool:
            return any(len(page) for page in obstore.list(store, prefix, chunk_size=1))

        return self._ask("list", prefix, first)

    def head(self, name: str) -> Stored | None:
        """What the store says of one object, None where there is none."""
        try:
            return _stored(self._ask("look up", name, lambda obstore, store: obstore.head(store, name)))
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
                if isinstance(problem, PermanentError) or late or attempt == MOST_TRIES:
                    raise problem from error
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE.total_seconds())
        raise AssertionError


def lance_options() -> dict[str, str]:
    """Return LanceDB's options, besides those in the environment: plain HTTP too, and when to give up."""
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
        raise MissingPackageError("obstore", "an object store", install_command("object-store")) from error
    return obstore


@functools.lru_cache(maxsize=32)
def _store(url: str, _credentials: tuple[str | None, ...]) -> Any:
    backoff = {"init_backoff": FIRST_PAUSE, "max_backoff": LONGEST_PAUSE, "base": 2}
    retries: Any = {"max_retries": MOST_TRIES, "retry_timeout": PATIENCE, "backoff": backoff}
    client: Any = {"allow_http": True, **_LIMITS}
    return library().store.from_url(url, client_options=client, retry_config=retries)


def _stored(entry: Any) -> Stored:
    return Stored(tag=str(entry["e_tag"]), size=int(entry["size"]), modified=entry["last_modified"])
