"""How far a budget reaches: start all models on small subsets, thin them geometrically, quadruple the data.

The schedule is the one that ends at the largest size with two models left; among those, with the most
models left; among those, that starts all models on the largest subsets. Late, wide rounds beat early,
expensive ones: an elimination from a few sizes is cheap to get right, the last comparison is not. That is
also why sizes are skipped: all runs of a survivor cost 4/3 of its last one when data quadruple, twice as
much when they double, and what is saved runs more models at the end (on the public curves half the regret).
benchmarks/scaling.py measures simulated regrets.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tamis.scaling.measurements import Floats

BACK = 3  # sizes below the first common one that every model also runs: a slope needs about four points
LEAST_START = 2  # index of the smallest size after which models may be dropped: three sizes
STRIDE = 4.0  # growth of the data from round to round, as nearly as the sizes allow
FEWEST = 2  # models left at the end of a schedule: comparing one is no comparison


@dataclass(frozen=True, kw_only=True)
class Start:
    """All models run the sizes with index `first` to `last`, as the first round."""

    first: int
    last: int


def counts(models: int, left: int, rounds: int) -> list[int]:
    """Models in each of `rounds` rounds when thinned geometrically from `models` to `left`."""
    shares = (left / models) ** (np.arange(1, rounds + 1) / max(rounds, 1))
    return [max(left, round(models * float(share))) for share in shares]


def choose_start(
    costs: Floats, sizes: Floats, budget: float, can_pay: Callable[[Start], bool] = lambda _start: True
) -> Start | None:
    """The first round of models with costs per example [m] on sizes [n]; None if not all can run any.

    `can_pay`: whether what else was spent leaves enough for a round.
    """
    best: tuple[tuple[bool, int, int, int], Start] | None = None
    for last in range(len(sizes)):
        start = Start(first=max(0, last - BACK), last=last)
        left = budget - costs.sum() * sizes[start.first : last + 1].sum()
        if last == len(sizes) - 1 and left < 0:
            # The whole grid at full size needs no slopes.
            start = Start(first=last, last=last)
            left = budget - costs.sum() * sizes[last]
        if left < -1e-9 * budget or not can_pay(start):
            continue
        average = np.full(len(costs), costs.mean())
        end, remaining = next(_affordable(average, sizes, last, left), (last, len(costs)))
        score = (last >= LEAST_START, end, remaining, last)
        if best is None or score > best[0]:
            best = (score, start)
    return best[1] if best else None


def next_round(
    costs: Floats,
    sizes: Floats,
    at: int,
    budget: float,
    can_pay: Callable[[int, int], bool] = lambda _count, _size: True,
) -> tuple[int, int] | None:
    """How many models, best first with costs per example [m], run which size next after index `at`.

    `can_pay`: whether what else was spent leaves enough for so many models at a size, by its index.
    """
    for end, left in _affordable(costs, sizes, at, budget):
        steps = rungs(sizes, at, end)
        found = counts(len(costs), left, len(steps))[0], steps[0]
        if can_pay(*found):
            return found
    return None


def rungs(sizes: Floats, at: int, end: int) -> list[int]:
    """Indices of the sizes to run after `at` up to `end`: down from the end, each nearest to a quarter."""
    found = [end]
    while True:
        quarter = np.log(sizes[found[-1]] / STRIDE)
        nearest = at + int(np.argmin(np.abs(np.log(sizes[at : found[-1]]) - quarter)))
        if nearest <= at:
            return found[::-1]
        found.append(nearest)


def _affordable(costs: Floats, sizes: Floats, at: int, budget: float) -> Iterator[tuple[int, int]]:
    """(index of the last size, models left there) of affordable schedules, the preferred first."""
    cheapest = np.concatenate([[0.0], np.cumsum(costs)])  # cost per example of the best k models
    for end in range(len(sizes) - 1, at, -1):
        run = sizes[rungs(sizes, at, end)]
        for left in range(len(costs), FEWEST - 1, -1):
            if cheapest[counts(len(costs), left, len(run))] @ run <= budget:
                yield end, left
