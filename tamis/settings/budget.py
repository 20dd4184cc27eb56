"""How much may be chosen: documents, a share of what is eligible, or tokens.

Amounts are exact fractions, so "0.1%" of 3,000 documents is 3 on every machine.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from numbers import Integral
from typing import Literal, get_args

from tamis.base.errors import PermanentError

_FORM = re.compile(r"(\d+(?:\.\d+)?)(%|Mtok|ktok|tok)", re.ASCII)
_COMPUTE = re.compile(r"(\d+(?:\.\d+)?(?:e\+?\d+)?) ?(%|s|min|h|d|flop)", re.ASCII | re.IGNORECASE)
SECONDS = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
MOST_DOCUMENTS = 10**12
MOST_COMPUTE = 1e40
COMPUTE_FORMS = (
    'a percentage of the compute of the training (such as "20%"), a time on this machine ("90s", "30min", '
    '"2h" or "1d") or a number of operations (such as "1e15flop")'
)
_TOKENS = {"Mtok": 1_000_000, "ktok": 1_000, "tok": 1}
BUDGET_FORMS = (
    "a positive number of documents (such as 1000, without quotes), a percentage of the eligible documents "
    '(such as "10%") or a number of tokens (such as "2Mtok", "500ktok" or "9000tok")'
)
Per = Literal["source", "topic", "language"]
PERS: tuple[Per, ...] = get_args(Per)
"""What documents may be grouped by."""
Shares = float | Mapping[str, float]
"""A share for every group, or shares by group; 0 to 1."""


class BadBudgetError(PermanentError, ValueError):
    """A budget that cannot be read; the message lists the valid forms."""

    def __init__(self, budget: object) -> None:
        self.budget, self.valid = budget, BUDGET_FORMS
        super().__init__(f"budget {budget!r} is not valid; expected {BUDGET_FORMS}")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """`amount` documents, percent of the eligible candidates, or tokens."""

    amount: Fraction
    unit: Literal["documents", "percent", "tokens"]


def parse_budget(budget: int | str) -> Budget:
    """Read 1000, "10%" (over 0, at most 100), "2Mtok", "500ktok" or "9000tok"; raises `BadBudgetError`."""
    whole = isinstance(budget, Integral) and not isinstance(budget, bool)  # of numpy, too
    if whole and 0 < int(budget) <= MOST_DOCUMENTS:
        return Budget(amount=Fraction(int(budget)), unit="documents")
    form = _FORM.fullmatch(budget) if isinstance(budget, str) else None
    if form is None or (amount := Fraction(form[1])) == 0:
        raise BadBudgetError(budget)
    if form[2] != "%":
        return Budget(amount=amount * _TOKENS[form[2]], unit="tokens")
    if amount > 100:
        raise BadBudgetError(budget)
    return Budget(amount=amount, unit="percent")


def scaled(budget: int | str, portion: float) -> int | str:
    """Return the budget of a part of the pool: so much of an amount, at least 1, and the same percentage."""
    parsed = parse_budget(int(budget) if isinstance(budget, str) and budget.isdecimal() else budget)
    if parsed.unit == "percent":
        return budget
    amount = max(1, round(parsed.amount * Fraction(portion)))
    return amount if parsed.unit == "documents" else f"{amount}tok"


class BadComputeError(PermanentError, ValueError):
    """An amount of compute that cannot be read; the message lists the valid forms."""

    def __init__(self, compute: object) -> None:
        self.compute, self.valid = compute, COMPUTE_FORMS
        super().__init__(f"budget {compute!r} is not valid; expected {COMPUTE_FORMS}")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """`amount` FLOP, seconds of this machine, or percent of the compute of a training."""

    amount: float
    unit: Literal["flop", "seconds", "percent"]


def parse_compute(compute: str) -> Compute:
    """Read "20%", "90s", "30min", "2h", "1d" or "1e15flop"; raises `BadComputeError`."""
    form = _COMPUTE.fullmatch(compute) if isinstance(compute, str) else None
    if form is None or not 0 < (amount := float(form[1])) < MOST_COMPUTE:
        raise BadComputeError(compute)
    unit = form[2].lower()
    if unit == "%":
        return Compute(amount=amount, unit="percent")
    if unit == "flop":
        return Compute(amount=amount, unit="flop")
    return Compute(amount=amount * SECONDS[unit], unit="seconds")


def compute_of(amount: float, unit: Literal["flop", "seconds", "percent"]) -> str:
    """Return an amount of compute as `parse_compute` reads it, rounded up to three digits.

    Raises `BadComputeError` for an amount that is not above 0, or too large.
    """
    if not 0 < amount < MOST_COMPUTE:
        raise BadComputeError(amount)
    name = {"flop": "flop", "percent": "%", "seconds": "s"}[unit]
    if unit == "seconds":
        name = max(("s", *(name for name in SECONDS if SECONDS[name] <= amount / 2)), key=SECONDS.__getitem__)
        amount /= SECONDS[name]
    rounded = Context(prec=3, rounding=ROUND_CEILING).create_decimal(Decimal(amount)).normalize()
    if unit == "flop":
        return f"{max(rounded, Decimal(1)):.2e}flop".replace("e+", "e")
    return f"{rounded:f}{name}"


class ImpossibleSharesError(PermanentError, ValueError):
    """Shares that no choice could have; names the key, the group (None: all), and what is valid."""

    def __init__(self, key: str, group: str | None, found: object, expected: str) -> None:
        self.key, self.group, self.found, self.expected = key, group, found, expected
        where = key if group is None else f"{key} of {group!r}"
        super().__init__(f"{where} = {found!r} is not valid; expected {expected}")


def exact(share: float) -> Fraction:
    """Return a share as the decimal that a person wrote, so that .3 of 10 documents is 3."""
    return Fraction(repr(float(share)))


def share_of(shares: Shares, group: str, otherwise: float) -> Fraction:
    """Return the share of a group; `otherwise` that of a group which a table does not name."""
    return exact(shares.get(group, otherwise) if isinstance(shares, Mapping) else shares)


def check_shares(key: str, shares: Shares) -> None:
    """Raise `ImpossibleSharesError` for a share under 0 or over 1."""
    each: Iterable[tuple[str | None, float]] = (
        shares.items() if isinstance(shares, Mapping) else [(None, shares)]
    )
    for group, share in each:
        if not 0 <= share <= 1:
            raise ImpossibleSharesError(key, group, share, "a share from 0 to 1")


def check_bounds(minimum: Shares, maximum: Shares) -> None:
    """Raise `ImpossibleSharesError` for bounds that contradict each other, whatever the documents are."""
    check_shares("minimum_shares", minimum)
    check_shares("maximum_shares", maximum)
    if isinstance(minimum, Mapping) and (total := sum(map(exact, minimum.values()))) > 1:
        raise ImpossibleSharesError(
            "minimum_shares",
            None,
            dict(minimum),
            f"shares that sum to at most 1; these sum to {float(total):g}",
        )
    named = [name for bound in (minimum, maximum) if isinstance(bound, Mapping) for name in bound]
    # A group that no table names has the bounds that hold for all.
    for group in (*dict.fromkeys(named), None):
        least, most = share_of(minimum, group or "", 0.0), share_of(maximum, group or "", 1.0)
        if least > most:
            raise ImpossibleSharesError(
                "minimum_shares",
                group,
                float(least),
                f"a share of at most {float(most):g}, as set in maximum_shares",
            )
    if not isinstance(maximum, Mapping) and exact(maximum) == 0:
        raise ImpossibleSharesError(
            "maximum_shares", None, maximum, "a share above 0; otherwise nothing could be chosen"
        )
