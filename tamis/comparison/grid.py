"""The runs of a comparison: samplers x budgets x data seeds x training seeds, and what each is measured by.

A data seed draws another half of the pool and another random choice, a training seed other first weights and
another order. All samplers meet the same seeds, so differences are taken in pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

FULL, RANDOM = "full", "random"
WHOLE = "100%"


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training run of the comparison; the sampler "full" takes every eligible document."""

    sampler: str
    budget: str
    data_seed: int
    training_seed: int

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.sampler} {self.budget}, data {self.data_seed}, training {self.training_seed}"


def planned_runs(
    samplers: Sequence[str], budgets: Sequence[int | str], data_seeds: int, training_seeds: int
) -> list[PlannedRun]:
    """All runs, pair by pair, so that a comparison that was cut short has whole pairs.

    "full" and "random" are always in: the one is what a choice is measured against, the other what it must
    beat.
    """
    chosen = [(FULL, WHOLE)]
    chosen += [(name, str(budget)) for budget in budgets for name in dict.fromkeys((RANDOM, *samplers))]
    return [
        PlannedRun(sampler=name, budget=budget, data_seed=data_seed, training_seed=training_seed)
        for data_seed, training_seed in product(range(data_seeds), range(training_seeds))
        for name, budget in chosen
    ]
