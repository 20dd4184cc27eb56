"""Numbers as sentences and tables show them: thousands separated, and a dash where there is none."""

import math

MISSING = "–"
HOUR, MINUTE = 3600.0, 60.0


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
    """Return a share as per cent."""
    return MISSING if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits their size."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds >= HOUR:
        return f"{seconds / HOUR:,.1f} hours"
    return f"{seconds / MINUTE:.1f} minutes" if seconds >= 2 * MINUTE else f"{seconds:.3g} seconds"
