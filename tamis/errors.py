"""Errors a user meets: each says what was wrong, where, and what would be right.

`PermanentError` is never retried, `TransientError` is: the class alone decides. Asserts are kept for
our own mistakes. Packages define their own errors from these two, next to the code that raises them.
"""

from collections.abc import Iterable


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
