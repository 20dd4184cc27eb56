"""What an object store's complaint means: to be tried again later, or a setting that is wrong, and which one.

obstore and LanceDB speak through the same library, so one reading of its words serves both.
"""

import os
import re
from typing import Any

from tamis.base.errors import PermanentError, TamisError, TransientError, without_secrets

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
_VERBS = {"GET": "read", "HEAD": "look at", "PUT": "write", "POST": "write", "DELETE": "delete"}
_REQUEST = re.compile(r"(?:Error performing|method:) (\w+),?\s+(?:uri: Some\(\s*)?(https?://[^\s?,)]+)")
_REASON = re.compile(r"status code: (\d+ [\w ]+)|status: (\d+)|<Code>(\w+)</Code>|<Message>([^<]+)</Message>")
_ENDPOINT = re.compile(r"https?://[^/\s]+/?", re.IGNORECASE)
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_CURES = (
    ("169.254.", f"no credentials were found: set {_KEYS}"),
    ("failed to get aws credentials", f"no credentials were found: set {_KEYS}"),
    ("missing secretaccesskey", "there is a key without its secret: set AWS_SECRET_ACCESS_KEY"),
    ("missingsecretaccesskey", "there is a key without its secret: set AWS_SECRET_ACCESS_KEY"),
    ("missing accesskeyid", "there is a secret without its key: set AWS_ACCESS_KEY_ID"),
    ("missingaccesskeyid", "there is a secret without its key: set AWS_ACCESS_KEY_ID"),
    (
        "nosuchbucket",
        "there is no such bucket: check [storage] url, TAMIS_STORAGE_URL and AWS_ENDPOINT_URL",
    ),
    ("301 moved", "the bucket lies in another region: set AWS_REGION"),
    ("invalidaccesskeyid", f"the key is not known there: check {_KEYS}"),
    ("signaturedoesnotmatch", f"the secret does not fit the key: check {_KEYS}"),
    ("401 unauthorized", f"the credentials are not accepted: check {_KEYS}"),
    ("403 forbidden", f"these credentials may not do that: check {_KEYS}, and the rights of their owner"),
)


class StorageUnavailableError(TransientError):
    """The object store did not answer, or answered with an error of its own, for as long as was tried."""

    may_pass = True

    def __init__(self, url: str, operation: str, problem: str) -> None:
        self.url, self.operation, self.problem = url, operation, problem
        super().__init__(
            f"the object store could not {operation} {url} ({problem}), nor when asked again; check "
            "that it runs and can be reached (AWS_ENDPOINT_URL), then run the same command again, to go on"
        )


class StorageRefusedError(PermanentError):
    """The object store refused; names the setting that is wrong."""

    may_pass = False

    def __init__(self, url: str, operation: str, problem: str, cure: str) -> None:
        self.url, self.operation, self.problem, self.cure = url, operation, problem, cure
        super().__init__(f"the object store would not {operation} {url} ({problem}): {cure}")


class EndpointError(PermanentError):
    """The address of the object store is none; names the variable and what would be right."""

    def __init__(self, variable: str, value: str) -> None:
        self.variable = variable
        super().__init__(
            f"{variable} = {without_secrets(value)!r} is no address of an object store; "
            "expected https://HOST or http://HOST:PORT"
        )


def _forget_empty_variables() -> None:
    """Unset what is set to nothing, as a file of variables leaves it: clients take that for a value."""
    for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value.strip()]:
        os.environ.pop(name, None)


def require_endpoint() -> None:
    """Raise `EndpointError` for an address that the client would fail on without saying so."""
    _forget_empty_variables()
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"):
        value = os.environ.get(variable)
        if value and not _ENDPOINT.match(value):
            raise EndpointError(variable, value)


def problem_of(
    url: str, operation: str, error: BaseException
) -> StorageUnavailableError | StorageRefusedError:
    """The error for a request that failed."""
    said = str(error)
    problem = _short(said)
    for words, cure in _CURES:
        if words in said.lower():
            return StorageRefusedError(without_secrets(url), operation, problem, cure)
    return StorageUnavailableError(without_secrets(url), operation, problem)


def object_store_problem(error: BaseException) -> TamisError | None:
    """The same for an error of LanceDB, which names the request in its text; None where it is another."""
    said = str(error)
    if not any(words in said.lower() for words in _OF_A_STORE):
        return None
    request: Any = _REQUEST.search(said)
    operation = _VERBS.get(request[1], "answer") if request else "answer for"
    return problem_of(request[2] if request else "the tables", operation, error)


def _short(said: str) -> str:
    """Status, code and message, or the first line: what follows repeats the request at length."""
    found = [next(part for part in one if part) for one in _REASON.findall(said)]
    first = (said.strip().splitlines() or ["no answer"])[0]
    return without_secrets("; ".join(dict.fromkeys(found)) or first)[:300]
