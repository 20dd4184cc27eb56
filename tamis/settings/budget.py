"""How much may be chosen: documents, a share of what is eligible, or tokens.

Amounts are exact fractions, so "0.1%" of 3,000 documents is 3 on every machine.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral
from typing import Literal

from tamis.base.errors import PermanentError

_FORM = re.compile(r"(\d+(?:\.\d+)?)(%|Mtok|ktok|tok)", re.ASCII)
MOST_DOCUMENTS = 10**12
_TOKENS = {"Mtok": 1_000_000, "ktok": 1_000, "tok": 1}
BUDGET_FORMS = (
    "a positive number of documents (such as 1000, without quotes), a percentage of the eligible documents "
    '(such as "10%") or a number of tokens (such as "2Mtok", "500ktok" or "9000tok")'
)


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
