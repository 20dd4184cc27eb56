"""Tuning's search and its rivals on a surface: each returns the recipe that it ends with.

All may spend the same compute, in runs at full tokens. The rivals have no guard, so what tuning reserves for
its guard they spend on more runs.
"""

from collections.abc import Callable

import numpy as np

from benchmarks._tune_surfaces import Surface, Trainer
from tamis.tuning.search import SHARES, Search

Rival = Callable[[Surface, float, np.random.Generator], str]


def searched(
    surface: Surface, budget: float, draw: np.random.Generator, *, pairs: int = 3, seed: int = 0
) -> Search:
    """Return tuning's search, run to its end."""
    search = Search(surface.recipes, budget, pairs=pairs, reference=surface.names[0], seed=seed)
    trainer = Trainer(surface, draw)
    while runs := search.ask():
        for run in runs:
            search.tell(*run, trainer.loss(*run))
    return search


def by_tuning(surface: Surface, budget: float, draw: np.random.Generator) -> str:
    """Return the recipe that the search gives to the guard, or the reference where that is ahead of it."""
    search = searched(surface, budget, draw)
    leader = search.standings[0].recipe
    return leader if leader == surface.names[0] else search.choice or leader


def by_random_search(surface: Surface, budget: float, draw: np.random.Generator) -> str:
    """Return the best of single runs at full tokens, of recipes in random order, again from the start."""
    order = draw.permutation(len(surface.names))
    trainer = Trainer(surface, draw)
    losses: dict[str, list[float]] = {}
    for place in range(int(budget + 1e-9)):
        name = surface.names[order[place % len(order)]]
        losses.setdefault(name, []).append(trainer.loss(name, place // len(order), 1.0))
    means = {name: np.nanmean(values) for name, values in losses.items() if np.isfinite(values).any()}
    return min(means, key=lambda name: float(means[name]), default=surface.names[0])


def by_halving(surface: Surface, budget: float, draw: np.random.Generator) -> str:
    """Return the winner of successive halving by plain losses: half of the recipes, twice the tokens.

    It begins at the largest share from which the budget reaches the end, and repeats with new seeds as often
    as it can; of several winners the one with the smallest last loss.
    """

    def cost(start: int) -> float:
        return sum(
            max(1, len(surface.names) // 2**place) * share
            for place, share in enumerate(reversed(SHARES[: start + 1]))
        )

    start = next((place for place in range(len(SHARES)) if cost(place) <= budget), len(SHARES) - 1)
    best, trainer = (np.inf, surface.names[0]), Trainer(surface, draw)
    for seed in range(max(1, int(budget / cost(start)))):
        alive = list(surface.names)
        for share in reversed(SHARES[: start + 1]):
            losses = {name: trainer.loss(name, seed, share) for name in alive}
            order = sorted(alive, key=lambda name: (np.isnan(losses[name]), losses[name]))
            if np.isfinite(losses[order[0]]) and share == 1.0:
                best = min(best, (losses[order[0]], order[0]))
            alive = order[: max(1, len(alive) // 2)]
    return best[1]


def fixed(surface: Surface, budget: float, draw: np.random.Generator) -> str:
    """Return GOT-D, or what has its place, without a run."""
    return surface.names[1]


def no_choice(surface: Surface, budget: float, draw: np.random.Generator) -> str:
    """Return random, or what has its place."""
    return surface.names[0]


RIVALS: dict[str, Rival] = {
    "tune": by_tuning,
    "random search": by_random_search,
    "halving": by_halving,
    "fixed got-d": fixed,
    "random": no_choice,
}
