"""Flags that are checked before anything is built: hours later is too late."""

import argparse
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """The type of a flag that is a whole number of `least` or more."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too few; at least {least}")
        return value

    return number
