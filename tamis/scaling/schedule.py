"""How far a budget reaches: start all models on small subsets, thin them geometrically, double the data.

The schedule is the one that ends at the largest size with two models left; among those, with the most
models left; among those, that starts all models on the largest subsets. Late, wide rounds beat early,
expensive ones: an elimination from a few sizes is cheap to get right, the last comparison is not.
Simulated regrets stand in benchmarks/scaling.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tamis.scaling.measurements import Floats

BACK = 3  # sizes below the first common one that every model also runs: a slope needs about four points
LEAST_START = 2  # index of the smallest size after which models may be dropped: three sizes
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


def choose_start(costs: Floats, sizes: Floats, budget: float) -> Start | None:
    """The first round of models with costs per example [m] on sizes [n]; None if not all can run any."""
    best: tuple[tuple[bool, int, int, int], Start] | None = None
    for last in range(len(sizes)):
        start = Start(first=max(0, last - BACK), last=last)
        left = budget - costs.sum() * sizes[start.first : last + 1].sum()
        if last == len(sizes) - 1 and left < 0:
            # The whole grid at full size needs no slopes.
            start = Start(first=last, last=last)
            left = budget - costs.sum() * sizes[last]
        if left < -1e-9 * budget:
            continue
        average = np.full(len(costs), costs.mean())
        end, remaining = next(_affordable(average, sizes, last, left), (last, len(costs)))
        score = (last >= LEAST_START, end, remaining, last)
        if best is None or score > best[0]:
            best = (score, start)
    return best[1] if best else None


def next_count(costs: Floats, sizes: Floats, at: int, budget: float) -> int:
    """How many models, best first with costs per example [m], run the size after index `at`; 0 = stop."""
    found = next(_affordable(costs, sizes, at, budget), None)
    return counts(len(costs), found[1], found[0] - at)[0] if found else 0


def _affordable(costs: Floats, sizes: Floats, at: int, budget: float) -> Iterator[tuple[int, int]]:
    """(index of the last size, models left there) of affordable schedules, the preferred first."""
    cheapest = np.concatenate([[0.0], np.cumsum(costs)])  # cost per example of the best k models
    for end in range(len(sizes) - 1, at, -1):
        for left in range(len(costs), FEWEST - 1, -1):
            plan = counts(len(costs), left, end - at)
            if (
                sum(cheapest[k] * size for k, size in zip(plan, sizes[at + 1 : end + 1], strict=True))
                <= budget
            ):
                yield end, left
