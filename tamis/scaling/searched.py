"""State of a search under a budget, for those who plan, report and read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tamis.base.numbers import percent
from tamis.scaling.budgeted_search import rounded_up

TOO_SMALL = "the share is too small for a first trial"
SPENT = "the rest of the budget is not enough for another round"
CLEAR = "the choice is clear"
UNKNOWN = "no file states the number of parameters of these models"


@dataclass(frozen=True, kw_only=True)
class Search:
    """State of a search over models and sizes for one target; trials by name.

    `measured`: those with a current loss. `open`: those asked for next. `left_out`: those that failed, with
    the reason. `spent_share`: of the cost of every model at the largest size, open trials included.
    `least_share`: the budget_share that would buy every model a trial, at the smallest size, and
    `untried`: models that none is bought for. `next_share`: the one that buys a next round where what is
    left buys none, or None. `unpaid`: models that not even a share of 1 buys the `largest` size, since other
    trials are charged. `costs`: of an example, by model, but for a factor.
    `ended`: why nothing more is asked for, "" while something is.
    """

    budget_share: float
    target: str = ""
    measured: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    choice: str | None = None
    spent_share: float = 0.0
    least_share: float = 0.0
    untried: tuple[str, ...] = ()
    next_share: float | None = None
    unpaid: tuple[str, ...] = ()
    largest: int = 0
    costs: Mapping[str, float] = field(default_factory=dict)
    ended: str = ""

    @property
    def wanted(self) -> frozenset[str]:
        """Trials that are kept current: measured ones and those asked for."""
        return frozenset((*self.measured, *self.open))

    def to_json(self) -> dict[str, Any]:
        """The search as JSON values."""
        return asdict(self) | {"left_out": dict(self.left_out), "costs": dict(self.costs)}

    @property
    def sentence(self) -> str:
        """`trial budget: 12.0 % of the full cost spent (30.0 % allowed), 4 trials requested, best: s`."""
        spent = f"{percent(self.spent_share)} of the full cost spent ({percent(self.budget_share)} allowed)"
        more = (
            f"; to pay for another trial, set share = {self.next_share:g} in [trial_budget]"
            if self.next_share
            else ""
        )
        now = (
            f"{self.ended}{more}"
            if self.ended
            else f"{len(self.open)} {'trial' if len(self.open) == 1 else 'trials'} requested"
        )
        best = f", best so far: {self.choice}" if self.choice else ""
        return f"trial budget: {spent}, {now}{best}"

    @property
    def notices(self) -> list[str]:
        """A line for each trial that was left out, and one for models that the share is too small for."""
        found = [
            f"trial {name} was left out: {reason}; `tamis materialize --try-again` runs it again"
            for name, reason in self.left_out.items()
        ]
        if self.unpaid:
            found.append(
                f"no share of the trial budget (now {self.budget_share:g}) can cover trials of "
                f"{', '.join(self.unpaid)} at the largest size ({self.largest}) in addition to those already "
                "run; remove the [trial_budget] section to run every trial"
            )
        elif self.untried:
            found.append(
                f"[trial_budget] share = {self.budget_share:g} is too small for a trial of "
                f"{', '.join(self.untried)}; to run every model at the smallest size, set share to "
                f"{rounded_up(self.least_share):g} or more"
            )
        return found


def sentences(searches: Mapping[str, Search]) -> list[str]:
    """State of every search, and its notices, each with its target where there are several."""
    several = len(searches) > 1
    return [
        line.replace("trial budget", f"trial budget on {target}", 1) if several and not place else line
        for target, search in searches.items()
        for place, line in enumerate([search.sentence, *search.notices])
    ]
