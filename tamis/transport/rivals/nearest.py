"""kNN and chance: the two rivals that every comparison starts from.

kNN is GOT-D before its first pass (potential 0, epsilon to 0). One pass over the pool, and no notion of what
the pool already holds: in a pool where a target topic is over-represented, most of the choice falls on it.
"""

from collections.abc import Sequence
from typing import Any

from tamis.base.progress import Advance, ignore
from tamis.transport.blocks import Matrix, Rows, RowSource
from tamis.transport.nearest import nearest_cost
from tamis.transport.ordering import gumbel_noise
from tamis.transport.rivals.choice import Choice, choose


def nearest(
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
    """The k candidates [n, d] nearest to any target point [M, d]; score: that squared distance.

    Raises ValueError as `nearest_cost`, and unless 1 <= k <= n.
    """
    cost_n = nearest_cost(
        target, candidates, center=center, normalize=normalize, device=device, advance=advance
    )
    return choose(cost_n, k, ids=ids, seed=seed)


def chance(
    target: object,
    candidates: "Rows | Sequence[str]",
    k: int,
    *,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    advance: Advance = ignore,
) -> Choice:
    """A uniform draw without replacement of k candidates, vectors or texts; score: the keyed noise.

    The target is not looked at. Raises ValueError unless 1 <= k <= n.
    """
    count = _count(candidates, advance)
    return choose(-gumbel_noise(count, ids=ids, seed=seed, purpose="chance"), k, ids=ids, seed=seed)


def _count(candidates: Any, advance: Advance) -> int:
    if isinstance(candidates, Sequence) and candidates and isinstance(candidates[0], str):
        return len(candidates)
    source = RowSource(candidates, "candidates", once=True)
    if source.count is None:
        for _, block in source.chunks(65_536):
            advance(len(block))
    assert source.count is not None
    return source.count
