"""Round-robin kNN: each target point in turn takes its nearest candidate left (Ivison et al. 2503.01807).

The strong rival of the selection literature: every target point is served alike, so an over-represented topic
gets no more than its share of the target. The price is that a point without relatives in the pool fills its
turns with whatever is least far.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.base.progress import Advance, ignore
from tamis.transport.blocks import Matrix, Rows
from tamis.transport.nearest import nearest_cost
from tamis.transport.ordering import Indices, check_k, hash_order, ranks_of
from tamis.transport.rivals.choice import Choice
from tamis.transport.rivals.neighbours import nearest_neighbours, sides_of

SPARE_NEIGHBOURS = 32


def round_robin(
    target: Matrix,
    candidates: Rows,
    k: int,
    *,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    center: Any = True,
    normalize: bool = True,
    device: str = "auto",
    advance: Advance = ignore,
) -> Choice:
    """k of the candidates [n, d], taken in turns by the target points [M, d] in their order.

    score [n]: the rank of a choice, then the others by the distance to their nearest target point. Nothing is
    drawn: seed and ids decide between equal distances, of exact copies say, by a hash of (seed, id); without
    ids such ties follow the order of the rows. Raises ValueError as `nearest_cost`, on ids of another length,
    and unless 1 <= k <= n.
    """
    geometry = {"center": center, "normalize": normalize, "device": device}
    cost_n = nearest_cost(target, candidates, advance=advance, **geometry)
    check_k(k, len(cost_n))
    order = None if ids is None else hash_order(len(cost_n), ids=ids, seed=seed)
    sides = sides_of(target, candidates, **geometry)
    count = 2 * -(-k // len(target)) + SPARE_NEIGHBOURS
    while True:
        count = min(count, len(cost_n))
        _, position_mk = nearest_neighbours(sides, count, order=order, advance=advance)
        chosen = take_turns(position_mk, k)
        if chosen is not None:
            return Choice(chosen, ranks_of(chosen, cost_n, ids=ids, seed=seed))
        count *= 4


def take_turns(position_mk: npt.NDArray[np.int64], k: int) -> Indices | None:
    """k distinct positions from lists [M, K] in order of preference; None when a list ends too early."""
    lists: list[list[int]] = position_mk.tolist()
    following = [0] * len(lists)
    taken: dict[int, None] = {}
    while len(taken) < k:
        for turn, preferred in enumerate(lists):
            place = following[turn]
            while place < len(preferred) and preferred[place] in taken:
                place += 1
            if place == len(preferred):
                return None
            taken[preferred[place]] = None
            following[turn] = place + 1
            if len(taken) == k:
                break
    return np.fromiter(taken, dtype=np.int64, count=k)
