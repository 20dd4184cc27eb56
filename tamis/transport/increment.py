"""A potential kept current while shards join and leave: column sums per shard, a certificate, a policy.

Joining costs one pass over the shard alone, leaving costs nothing, and either way the marginal error of the
union is then known exactly, without reading it. 1 % of new rows on 50,000 x 1,000 takes .6 % of the time of a
solve while the certificate says "accept" (benchmarks/transport_increment.py).

Sums are per distinct document: shards must be disjoint. A document that stands in two of them counts once,
in the one that the caller names; the same vector twice would weigh double.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tamis.base.progress import Advance, ignore
from tamis.transport.blocks import BadShapeError, Matrix, Rows, as_matrix, is_array
from tamis.transport.certificate import ACCEPT_BELOW, UnionCertificate
from tamis.transport.potential import Float32s, TargetPotential
from tamis.transport.shards import ShardSums, UnknownShardError, join
from tamis.transport.solve import NotConverged, solve_potential

# Refining aims well under the limit of "accept", so that the next shard finds room.
REFINED_ERROR, REFINING_PASSES = 0.01, 3
Done = Literal["accept", "refine", "solve"]


@dataclass(frozen=True, kw_only=True)
class Update:
    """A potential that holds for the union again, the sums under it, its certificate, and what was done.

    scores: new scores [n] per shard, empty when the potential was kept.
    """

    potential: TargetPotential
    sums: ShardSums
    certificate: UnionCertificate
    done: Done
    passes: float
    scores: Mapping[str, Float32s]


def bring_up_to_date(
    potential: TargetPotential,
    target: Matrix,
    reference_blocks: Mapping[str, Rows],
    sums: ShardSums,
    *,
    tolerance: float = 1e-3,
    max_passes: int = 500,
    device: str = "auto",
    seed: int = 0,
    advance: Advance = ignore,
) -> Update:
    """Follow the certificate of the union: keep the potential, refine it, or solve again from it.

    target [M, d] as given to the solve; reference_blocks: rows of every shard, not read on "accept". Union
    error under .05: accept; under .1: three warm passes at most, then a solve unless they lead back under
    .05; above: a warm solve. Centre and epsilon stay. Raises `OtherPotentialError`, `UnknownShardError`, and
    `BadShapeError` on another target than that of the potential or shards of other lengths than joined.
    """
    certificate = sums.certificate(potential)
    potential.check_target(target)
    _check_lengths(reference_blocks, sums)
    done, moved, passes = certificate.advice, potential, 0.0
    if done == "accept":
        return Update(potential=moved, sums=sums, certificate=certificate, done=done, passes=0.0, scores={})
    again = partial(
        solve_potential,
        target,
        _Union(reference_blocks, sums),
        target_weights=potential.target_weights,
        normalize=potential.normalize,
        center=potential.center is not None,
        device=device,
        seed=seed,
        advance=advance,
    )
    if done == "refine":
        moved = _refined(again, potential, max(REFINED_ERROR, tolerance))
        passes, done = moved.passes, "refine" if moved.marginal_error < ACCEPT_BELOW else "solve"
    if done == "solve":
        moved = again(warm_start=moved, tolerance=tolerance, max_passes=max_passes)
        passes += moved.passes
    return _rescored(moved, reference_blocks, sums, done, passes, device)


def _check_lengths(reference_blocks: Mapping[str, Rows], sums: ShardSums) -> None:
    """Check the shards given as arrays; those given as blocks are counted when they are read."""
    for shard, rows in reference_blocks.items():
        if shard in sums.rows and is_array(rows):
            _check_length(shard, len(rows), sums.rows[shard])  # type: ignore[arg-type]


def _check_length(shard: str, found: int, joined: int) -> None:
    if found != joined:
        expected = f"{joined}, as when it joined: join it again after a change"
        raise BadShapeError(f"shard {shard!r}", f"{found} rows", expected)


def _refined(
    again: Callable[..., TargetPotential], potential: TargetPotential, tolerance: float
) -> TargetPotential:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        return again(warm_start=potential, tolerance=tolerance, max_passes=REFINING_PASSES)


def _rescored(
    potential: TargetPotential,
    reference_blocks: Mapping[str, Rows],
    old: ShardSums,
    done: Done,
    passes: float,
    device: str,
) -> Update:
    sums, scores = ShardSums.none(potential), {}
    for shard in sorted(old.rows):
        sums, scores[shard] = join(potential, sums, shard, reference_blocks[shard], device=device)
    return Update(
        potential=potential,
        sums=sums,
        certificate=sums.certificate(potential),
        done=done,
        passes=passes,
        scores=scores,
    )


class _Union:
    """Rows of all shards in order of their names, as blocks that can be iterated again."""

    def __init__(self, reference_blocks: Mapping[str, Rows], sums: ShardSums) -> None:
        for shard in sums.rows:
            if shard not in reference_blocks:
                raise UnknownShardError(shard, "reference_blocks")
        self._parts = [(shard, reference_blocks[shard], sums.rows[shard]) for shard in sorted(sums.rows)]

    def __iter__(self) -> Iterator[Matrix]:
        for shard, rows, joined in self._parts:
            if is_array(rows):
                yield rows  # type: ignore[misc]
                continue
            if iter(rows) is rows:
                raise BadShapeError(shard, "a generator", "an array or blocks that can be iterated again")
            found = 0
            for block in rows:
                matrix = as_matrix(block, f"shard {shard!r}")
                found += len(matrix)
                yield matrix
            _check_length(shard, found, joined)
