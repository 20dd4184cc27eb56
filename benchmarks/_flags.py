"""Flags that are checked before anything is built: hours later is too late."""

import argparse
from collections.abc import Callable

from benchmarks._yardstick import print_yardstick


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, then print the yardstick: every benchmark begins so.

    A process that a benchmark starts for a part of its work has a flag --worker, and prints none.
    """
    flags = parser.parse_args()
    if not getattr(flags, "worker", None):
        print_yardstick()
    return flags


def at_least(least: int) -> Callable[[str], int]:
    """The type of a flag that is a whole number of `least` or more."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too few; at least {least}")
        return value

    return number
