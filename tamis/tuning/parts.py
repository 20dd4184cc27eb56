"""Division of a target's examples among fitting, validation, the guard, and what tuning never reads."""

from dataclasses import dataclass
from fractions import Fraction

from tamis.tuning.errors import TooFewExamplesError

VALIDATION = Fraction(60, 220)
"""Of the training part."""
LEAST_VALIDATION = 30
LEAST_GUARD = 20
LEAST_TRAIN = -(-LEAST_VALIDATION * VALIDATION.denominator // VALIDATION.numerator)
LEAST_HELD_OUT = 2 * LEAST_GUARD


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Numbers of examples: fit and validation are drawn from the training part, guard and unread held out."""

    fit: int
    validation: int
    guard: int
    unread: int


def divide(train: int, held_out: int) -> Parts:
    """Return the parts of so many examples: of 220 for training 160 and 60, half of those held out.

    Raises `TooFewExamplesError` under 30 for validation or 20 for the guard.
    """
    validation, guard = int(train * VALIDATION), held_out // 2
    if guard < LEAST_GUARD:
        raise TooFewExamplesError("the guard", guard, LEAST_GUARD, "held_out", LEAST_HELD_OUT)
    if validation < LEAST_VALIDATION:
        raise TooFewExamplesError("validation", validation, LEAST_VALIDATION, "train", LEAST_TRAIN)
    return Parts(fit=train - validation, validation=validation, guard=guard, unread=held_out - guard)
