"""The rivals of the budgeted search: each gives the model it chooses and the share of the full cost spent."""

from collections.abc import Callable

import numpy as np

from benchmarks._scaling_data import Subset
from tamis.scaling import BudgetedSearch, accept_then_stop

Costs = dict[str, float]
Search = Callable[[Subset, Costs, float], tuple[str, float]]


def by_budgeted_search(subset: Subset, costs: Costs, share: float) -> tuple[str, float]:
    """Tamis."""
    search = BudgetedSearch(subset.models, subset.sizes.tolist(), costs, share)
    while runs := search.ask():
        for model, size in runs:
            search.tell(model, size, subset.seen[model, size])
    return str(search.choice), search.spent_share


def by_accept_then_stop(subset: Subset, costs: Costs, share: float) -> tuple[str, float]:
    """Accept-then-Stop at the largest gamma = 1/2^i whose upper-bound cost fits."""
    sizes = subset.sizes
    usable = sizes[np.cumsum(sizes) <= share * sizes[-1] * (1 + 1e-9)]
    used = usable if len(usable) else sizes[:1]
    losses = {
        model: accept_then_stop(used, [subset.seen[model, size] for size in used], sizes[-1]).loss
        for model in subset.models
    }
    return min(losses, key=lambda model: losses[model]), float(used.sum() / sizes[-1])


def by_plain_halving(subset: Subset, costs: Costs, share: float) -> tuple[str, float]:
    """Successive halving by the loss itself: keep the better half, double the data."""
    models, sizes = subset.models, subset.sizes
    total, mean = sum(costs.values()) * sizes[-1], sum(costs.values()) / len(costs)

    def cost(start: int) -> float:
        left = np.maximum(len(models) // 2 ** np.arange(len(sizes) - start), 0)
        return float(mean * (left * sizes[start:])[left >= 2].sum() / total)

    start = next((i for i in range(len(sizes) - 1, -1, -1) if cost(i) <= share), 0)
    spent, alive = 0.0, models
    for size in sizes[start:]:
        spent += sum(costs[model] for model in alive) * size
        alive = sorted(alive, key=lambda model: subset.seen[model, size])[: max(1, len(alive) // 2)]
        if len(alive) == 1:
            break
    return alive[0], spent / total


SEARCHES: dict[str, Search] = {
    "tamis": by_budgeted_search,
    "ats": by_accept_then_stop,
    "halving": by_plain_halving,
}
