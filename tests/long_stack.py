"""A function called where many calls wait for it, as in a run."""

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def below(calls: int, function: Callable[[], Result]) -> Result:
    return below(calls - 1, function) if calls else function()
