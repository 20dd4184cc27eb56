"""Errors a user meets: each says what was wrong, where, and what would be right.

`PermanentError` is never retried, `TransientError` is: the class alone decides. Of errors of other packages
`may_pass` names those that are. Asserts are kept for our own mistakes. Packages define their own errors from
these two, next to the code that raises them.
"""

import difflib
import errno
import re
import socket
from collections.abc import Iterable, Iterator

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^/?\s]*@)?([^\s?]*)(?:\?[^\s)'\"]*)?", re.IGNORECASE)
_PASSING_ERRNOS = frozenset(
    {
        *(errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.EIO, errno.ESTALE, errno.ENOLCK, errno.EPIPE),
        *(errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET),
        *(errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET),
    }
)
_LASTING_OS_ERRORS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_PASSING_CLASSES = frozenset(
    {
        *("HTTPException", "TransportError", "RequestException", "MaxRetryError", "ProtocolError"),
        *("SSLEOFError", "SSLZeroReturnError"),
        *("RaySystemError", "RayActorError", "WorkerCrashedError", "ObjectLostError", "NodeDiedError"),
        "RpcError",
    }
)
"""Classes of other packages, with what derives from them: a network, a database or a cluster at fault."""
_LASTING_CLASSES = frozenset({"InvalidURL", "TooManyRedirects"})
"""Classes that derive from these, but are about an address."""
_PASSING_STATUSES = (408, 425, 429)
_OF_A_NETWORK = re.compile(
    r"timed?[ -]?out|connection (was |has been )?(reset|refused|closed|aborted|lost|error)|broken pipe|"
    r"(couldn't|could not|cannot|failed to) (connect|resolve)|network (is |was )?(error|down|unreachable)|"
    r"name resolution|error sending request|"
    r"(temporarily|service) unavailable|slow ?down|too many requests|internal server error|bad gateway",
    re.IGNORECASE,
)
"""What libraries say of a remote store or server in an OSError that has no number."""
_OF_A_CONFLICT = ("commit conflict", "write contention", "concurrent writers")
_OF_A_SERVER = re.compile(r"error code (429|5\d\d)\b|TEMPORARILY_UNAVAILABLE|REQUEST_LIMIT_EXCEEDED")


def did_you_mean(name: object, valid: Iterable[str]) -> str:
    """Return the valid name that a wrong one is likely a misspelling of, as a question; "" where none is."""
    found = difflib.get_close_matches(str(name), list(valid), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


class TamisError(Exception):
    """Base of every error that Tamis raises on purpose; its message quotes no document.

    `withheld`: what another library said, where that may quote one: for the terminal, never stored.
    """

    withheld: str = ""


class PermanentError(TamisError):
    """Trying again without a change gives the same error."""


class TransientError(TamisError):
    """Trying again later may succeed (a busy endpoint, a lock that another run holds)."""


class UnknownNameError(PermanentError):
    """A name that is not among the valid ones; the message lists them."""

    def __init__(self, kind: str, name: str, valid: Iterable[str]) -> None:
        self.kind, self.name, self.valid = kind, name, sorted(valid)
        meant = did_you_mean(name, self.valid)
        super().__init__(f"unknown {kind} {name!r}; valid: {', '.join(self.valid) or 'none'}{meant}")


class BadArgumentError(PermanentError, ValueError):
    """An argument that no result follows from; names it, what was found and what would be right."""

    def __init__(self, argument: str, found: object, expected: str) -> None:
        self.argument, self.found, self.expected = argument, found, expected
        super().__init__(f"{argument}: {found}; expected {expected}")


class NotMadeError(PermanentError):
    """Something that tamis.toml names but that has not been made yet."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} has not been materialized yet; run `tamis materialize`")


class OutdatedError(PermanentError):
    """What there is to show was made of something else than there is now, and was not made again."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"{name} is out of date ({reason}), so the earlier result is not shown; fix any problem listed "
            "above, then run `tamis materialize`"
        )


class MissingPackageError(PermanentError):
    """An optional package is not installed; the message is the command that installs it."""

    def __init__(self, package: str, needed_for: str, command: str) -> None:
        self.package, self.needed_for, self.command = package, needed_for, command
        super().__init__(f"{needed_for} needs the package {package!r}; install it with: {command}")


class ConfigurationError(PermanentError):
    """A key of tamis.toml is wrong or, where `found` is None, missing; says what is valid.

    `section`: the name of the section with the key, where several sections have this heading.
    """

    def __init__(self, file: str, key: str, found: object, expected: str, section: str = "") -> None:
        state = "is missing" if found is None else f"= {found!r} is not valid"
        state += f" (section {section!r})" if section else ""
        super().__init__(f"{file}: {key} {state}; expected {expected}")


def may_pass(error: BaseException) -> bool:
    """Whether the same step may succeed when it is tried again without a change.

    So it is for network, timeouts, databases and clusters that do not answer, statuses 429 and 5xx, commits
    of LanceDB that met another one, and system errors that pass: by their number or, without one, by what
    they say or were caused by. All else fails in the same way again.
    """
    if isinstance(error, TamisError):
        return isinstance(error, TransientError)
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if type(error).__name__ in _LASTING_CLASSES:
        return False
    if (status := _http_status(error)) is not None:
        return status in _PASSING_STATUSES or status >= 500
    if isinstance(error, OSError):
        return not isinstance(error, _LASTING_OS_ERRORS) and _system_error_may_pass(error)
    if out_of_memory(error):
        return False
    said = str(error)
    if any(words in said.lower() for words in _OF_A_CONFLICT):
        return True
    if type(error).__name__ == "MlflowException":
        return _OF_A_SERVER.search(f"{said} {getattr(error, 'error_code', '')}") is not None
    names = {base.__name__ for base in type(error).__mro__}
    if "OperationalError" in names:
        # Of SQLite's, only a lock passes; PostgreSQL says so of its connections alone.
        return "is locked" in said or not ("sqlite3" in said or type(error).__module__.startswith("sqlite3"))
    return not names.isdisjoint(_PASSING_CLASSES)


def _system_error_may_pass(error: OSError) -> bool:
    """Return `may_pass` of an error of the operating system, or of a library that derives its own from it."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(reason := getattr(error, "reason", None), Exception):  # of urllib's URLError
        return may_pass(reason)
    names = {base.__name__ for base in type(error).__mro__}
    if not names.isdisjoint(_PASSING_CLASSES):
        return not isinstance(error, ValueError)  # an address that is none is also a RequestException
    if error.errno is not None:
        return error.errno in _PASSING_ERRNOS
    if error.__cause__ is not None:
        return may_pass(error.__cause__)
    return _OF_A_NETWORK.search(str(error)) is not None


def _http_status(error: BaseException) -> int | None:
    """The status with which a server answered, None where the error is not about one."""
    response = getattr(error, "response", None)
    for found in (getattr(response, "status_code", None), getattr(error, "code", None)):
        if isinstance(found, int) and 400 <= found < 600:
            return found
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the machine or of an accelerator."""
    return any(
        isinstance(cause, MemoryError)
        or type(cause).__name__ == "OutOfMemoryError"
        or (isinstance(cause, RuntimeError) and "allocate memory" in str(cause))
        for cause in _explicit_causes(error)
    )


def _explicit_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def without_secrets(text: str) -> str:
    """A text in which no address names a user or password, or has a query, which may hold a key."""
    return _ADDRESS.sub(r"\1\2", text)
