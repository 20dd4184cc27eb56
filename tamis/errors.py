"""Errors a user meets: each says what was wrong, where, and what would be right.

`PermanentError` is never retried, `TransientError` is: the class alone decides. Asserts are kept for
our own mistakes. Packages define their own errors from these two, next to the code that raises them.
"""

import hashlib
import os
import traceback
from collections.abc import Iterable
from pathlib import Path

NOT_KEPT = "message not kept since it may quote a document"
PLATFORM = ("tamis", "assets", "resources", "sensors")


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
        super().__init__(f"unknown {kind} {name!r}; valid: {', '.join(self.valid) or 'none'}")


class NotMadeError(PermanentError):
    """Something that tamis.toml names but that has not been made yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r} has not been made yet; run `tamis materialize`")


class OutdatedError(PermanentError):
    """What there is to show was made of something else than there is now, and could not be made again."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(
            f"{name!r} is out of date ({reason}) and was not made again, as said above; what an earlier run "
            "found is not shown. `tamis materialize` makes it with all that it depends on"
        )


class MissingPackageError(PermanentError):
    """An optional package is not installed; the message is the command that installs it."""

    def __init__(self, package: str, needed_for: str, command: str) -> None:
        self.package, self.needed_for, self.command = package, needed_for, command
        super().__init__(f"{needed_for} needs the package {package!r}; install it with: {command}")


class ConfigurationError(PermanentError):
    """A key of tamis.toml is wrong or, where `found` is None, missing; says what is valid."""

    def __init__(self, file: str, key: str, found: object, expected: str) -> None:
        self.file, self.key, self.found, self.expected = file, key, found, expected
        state = "is missing" if found is None else f"= {found!r} is not valid"
        super().__init__(f"{file}: {key} {state}; expected {expected}")


def kept_message(error: BaseException) -> str:
    """Return what may be stored of an error: its class, and a message that quotes no document.

    Messages of Tamis are kept, and what the operating system says. Any other library may quote the text that
    it failed at, so of its error the class, the place and a digest of the message are kept.
    """
    name = type(error).__name__
    if isinstance(error, TamisError | ImportError):
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.errno is not None:
        named = f": {str(error.filename)!r}" if error.filename is not None else ""
        return f"{name}: [Errno {error.errno}] {os.strerror(error.errno)}{named}"
    return f"{name}{_place(error)}, {not_kept(str(error))}" if str(error) else f"{name}{_place(error)}"


def not_kept(message: str) -> str:
    """Return what stands for a message that may quote a document."""
    digest = hashlib.sha256(message.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{NOT_KEPT} (sha256 {digest}); `tamis materialize` shows it"


def _place(error: BaseException) -> str:
    """Return the innermost line of the platform that the error passed."""
    root = Path(__file__).resolve().parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(root) and path.relative_to(root).parts[0] in PLATFORM:
            return f" at {path.relative_to(root).as_posix()}:{frame.lineno}"
    return ""
