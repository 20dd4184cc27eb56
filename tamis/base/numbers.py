"""Numbers as sentences and tables show them: thousands separated, and a dash where there is none."""

import math
from collections.abc import Sequence

MISSING = "–"
HOUR, MINUTE = 3600.0, 60.0
_ROUNDING = 1e-9
"""Of sums of shares: so near to 0 or 1, they are."""
MOST_LISTED = 10
"""The entries of a list that a person reads; the others are counted."""


def counted(count: int, noun: str, nouns: str = "") -> str:
    """Return how many there are of something: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def named(names: Sequence[str], most: int = MOST_LISTED) -> str:
    """Return names in one line, those after the first few as a number: `a, b and 7 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def cut(lines: Sequence[str], lists_all: str = "", most: int = MOST_LISTED) -> list[str]:
    """Return the first few lines, and how many more there are; `lists_all`: the command that shows them."""
    more = f"and {len(lines) - most:,} more{f'; {lists_all} lists all' if lists_all else ''}"
    return [*lines[:most], more] if len(lines) > most else list(lines)


def tokens_in_words(tokens: int, documents: int, estimated: int) -> str:
    """Return how many tokens some documents have; `estimated`: of how many of them no tokenizer counted."""
    found = counted(tokens, "token")
    if not estimated:
        return found
    whose = "" if estimated == documents else f"those of {counted(estimated, 'document')} "
    return f"about {found}, {whose}estimated as bytes / 4"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many decimals."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def whole(value: float | None) -> str:
    """Return a whole number."""
    return number(value, 0)


def significant(value: float | None, digits: int = 4) -> str:
    """Return a number of unknown scale with so many significant digits."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.{digits}g}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as per cent; what is there is never 0 %, and what is not all of it never 100 %."""
    if share is None or not math.isfinite(share):
        return MISSING
    shown, unit = f"{100 * share:.{digits}f}", 10.0**-digits
    shown = shown.removeprefix("-") if float(shown) == 0 else shown
    if float(shown) == 0 and abs(share) > _ROUNDING:
        return f"under {unit:.{digits}f} %" if share > 0 else f"above -{unit:.{digits}f} %"
    if float(shown) == 100 and share < 1 - _ROUNDING:
        return f"over {100 - unit:.{digits}f} %"
    return f"{shown} %"


def brief(seconds: float) -> str:
    """Return seconds as a line of progress shows them: `under 1 s`, `46 s`, `12 min`, `2 h 05 min`."""
    if seconds < MINUTE:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes = round(seconds / MINUTE)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits their size."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds >= HOUR:
        return f"{seconds / HOUR:,.1f} hours"
    return f"{seconds / MINUTE:.1f} minutes" if seconds >= 2 * MINUTE else f"{seconds:.3g} seconds"
