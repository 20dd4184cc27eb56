"""Division of a target's examples among fitting, validation, the guard, and what tuning never reads."""

import math
from dataclasses import dataclass
from fractions import Fraction

from tamis.tuning.errors import TooFewExamplesError

VALIDATION = Fraction(60, 300)
HELD_OUT = Fraction(80, 300)
LEAST_VALIDATION = 30
LEAST_GUARD = 20
LEAST_EXAMPLES = max(math.ceil(LEAST_VALIDATION / VALIDATION), math.ceil(2 * LEAST_GUARD / HELD_OUT))
"""A target of so many examples has enough in each part."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Numbers of examples: fit and validation are drawn from the training part, guard and unread held out."""

    fit: int
    validation: int
    guard: int
    unread: int


def divide(examples: int) -> Parts:
    """Return the parts of so many examples: 160, 60, 40 and 40 of 300.

    Raises `TooFewExamplesError` under 30 for validation or 20 for the guard.
    """
    validation, guard = math.floor(examples * VALIDATION), math.floor(examples * HELD_OUT / 2)
    if guard < LEAST_GUARD:
        raise TooFewExamplesError("the guard", guard, LEAST_GUARD, LEAST_EXAMPLES)
    if validation < LEAST_VALIDATION:
        raise TooFewExamplesError("validation", validation, LEAST_VALIDATION, LEAST_EXAMPLES)
    return Parts(fit=examples - validation - 2 * guard, validation=validation, guard=guard, unread=guard)
