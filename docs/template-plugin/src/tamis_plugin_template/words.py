"""Words of texts."""

import re

WORD = re.compile(r"\w+")


def distinct(text: str) -> int:
    """Return the number of different words of a text, whatever their case."""
    return len({word.casefold() for word in WORD.findall(text)})
