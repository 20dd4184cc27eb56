"""Errors in the arguments of this package. Bad measurements are no errors: they are left out.

Each error is a `ValueError` as well, so a caller needs no import from here to catch it.
"""

from collections.abc import Iterable

from tamis.base.errors import PermanentError, UnknownNameError


class BadCurveError(PermanentError, ValueError):
    """Sizes and losses of one curve do not fit each other or are no numbers."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"a curve needs two sequences of numbers of equal length; {problem}")


class BadSettingError(PermanentError, ValueError):
    """A setting is outside its range; names the setting, what was found and what is valid."""

    def __init__(self, setting: str, found: object, expected: str) -> None:
        self.setting, self.found, self.expected = setting, found, expected
        super().__init__(f"{setting} = {found!r} is not valid; expected {expected}")


class UnknownChoiceError(UnknownNameError, ValueError):
    """A law, method, variant or model that does not exist; the message lists those that do."""


def require_one_of(kind: str, name: str, valid: Iterable[str]) -> None:
    """Raise `UnknownChoiceError` for a name that is not valid."""
    names = list(valid)
    if name not in names:
        raise UnknownChoiceError(kind, str(name), names)
