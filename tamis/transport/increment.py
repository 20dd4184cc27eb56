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
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np

from tamis.errors import PermanentError
from tamis.progress import Advance, ignore
from tamis.transport.blocks import BadShapeError, Matrix, Rows, is_array
from tamis.transport.certificate import ACCEPT_BELOW, UnionCertificate, union_certificate
from tamis.transport.cost import Floats
from tamis.transport.files import UnreadableFileError, read_npz, write_npz
from tamis.transport.potential import Float32s, TargetPotential
from tamis.transport.solve import NotConverged, solve_potential

FILE_FORMAT = 1
# Refining aims well under the limit of "accept", so that the next shard finds room.
REFINED_ERROR, REFINING_PASSES = 0.01, 3
Done = Literal["accept", "refine", "solve"]


class UnknownShardError(PermanentError, ValueError):
    """A shard that never joined, or rows of one that are not given."""

    def __init__(self, shard: str, where: str) -> None:
        self.shard, self.where = shard, where
        super().__init__(f"shard {shard!r} is not among {where}")


class OtherPotentialError(PermanentError, ValueError):
    """Column sums that another potential made."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(
            f"the column sums are of potential {expected[:12]}, not of {found[:12]}: score the shards again"
        )


@dataclass(frozen=True, kw_only=True)
class ShardSums:
    """Rows and column sums of every shard under one potential.

    fingerprint: of that potential. rows: distinct documents of each shard. sums: column sums [M] of each,
    summing to 1 (all zero for a shard without rows).
    """

    fingerprint: str
    rows: Mapping[str, int]
    sums: Mapping[str, Floats]

    @classmethod
    def none(cls, potential: TargetPotential) -> "ShardSums":
        """No shard yet."""
        return cls(fingerprint=potential.fingerprint, rows={}, sums={})

    def certificate(self, potential: TargetPotential) -> UnionCertificate:
        """What the union of all shards makes of the potential; raises `OtherPotentialError`.

        Raises `BadShapeError` when no shard has rows.
        """
        self.check(potential)
        shards = sorted(self.rows)
        return union_certificate(potential, [self.sums[s] for s in shards], [self.rows[s] for s in shards])

    def check(self, potential: TargetPotential) -> None:
        """Raise `OtherPotentialError` unless the sums are of this potential."""
        if potential.fingerprint != self.fingerprint:
            raise OtherPotentialError(self.fingerprint, potential.fingerprint)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to exactly that path, whole or not at all."""
        shards = sorted(self.rows)
        write_npz(
            Path(path),
            format=np.int64(FILE_FORMAT),
            fingerprint=np.array(self.fingerprint),
            shards=np.array(shards, dtype=np.str_),
            rows=np.array([self.rows[shard] for shard in shards], dtype=np.int64),
            sums=np.array([self.sums[shard] for shard in shards], dtype=np.float64),
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "ShardSums":
        """Read saved sums. Raises `UnreadableFileError` on other files."""
        stored = read_npz(Path(path))
        expected = {"format", "fingerprint", "shards", "rows", "sums"}
        if set(stored) != expected or int(stored["format"]) != FILE_FORMAT:
            raise UnreadableFileError(str(path), "no column sums of shards, or another file format")
        shards = [str(shard) for shard in stored["shards"]]
        return cls(
            fingerprint=str(stored["fingerprint"]),
            rows=dict(zip(shards, map(int, stored["rows"]), strict=True)),
            sums=dict(zip(shards, stored["sums"], strict=True)),
        )


def join(
    potential: TargetPotential, sums: ShardSums, shard: str, vectors: Rows, *, device: str = "auto"
) -> tuple[ShardSums, Float32s]:
    """Add or replace a shard: its rows [n, d] are read once. Returns the sums and the scores [n] of the rows.

    Raises `OtherPotentialError`, and ValueError on bad rows. Rows are distinct documents that stand in no
    other shard.
    """
    sums.check(potential)
    if is_array(vectors) and len(vectors) == 0:  # type: ignore[arg-type]
        score_n, sums_m = np.zeros(0, dtype=np.float32), np.zeros(len(potential.target_weights))
    else:
        score_n, single_m = potential.score(vectors, device=device)
        sums_m = single_m.astype(np.float64)
    joined = ShardSums(
        fingerprint=sums.fingerprint,
        rows={**sums.rows, shard: len(score_n)},
        sums={**sums.sums, shard: sums_m},
    )
    return joined, score_n


def leave(sums: ShardSums, shard: str) -> ShardSums:
    """Take a shard away: its sums are subtracted from the union. Raises `UnknownShardError`."""
    if shard not in sums.rows:
        raise UnknownShardError(shard, "the shards that joined")
    return ShardSums(
        fingerprint=sums.fingerprint,
        rows={name: count for name, count in sums.rows.items() if name != shard},
        sums={name: sums_m for name, sums_m in sums.sums.items() if name != shard},
    )


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
    .05; above: a warm solve. Centre and epsilon stay. Raises `OtherPotentialError` and `UnknownShardError`.
    """
    certificate = sums.certificate(potential)
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
        self._parts = [(shard, reference_blocks[shard]) for shard in sorted(sums.rows)]

    def __iter__(self) -> Iterator[Matrix]:
        for shard, rows in self._parts:
            if is_array(rows):
                yield rows  # type: ignore[misc]
                continue
            if iter(rows) is rows:
                raise BadShapeError(shard, "a generator", "an array or blocks that can be iterated again")
            yield from rows
