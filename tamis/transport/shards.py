"""Rows and column sums of shards under one potential: what joins, leaves, is saved and certified.

Column sums of parts add up by their shares of rows, so a shard is read once, when it joins, and never again:
M numbers represent it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path

import numpy as np

from tamis.base.archives import UnreadableFileError, read_npz, write_npz
from tamis.base.errors import PermanentError
from tamis.transport.blocks import Matrix, Rows, RowSource, as_matrix, as_rows, is_array
from tamis.transport.certificate import UnionCertificate, union_certificate
from tamis.transport.cost import Floats
from tamis.transport.potential import Float32s, TargetPotential

FILE_FORMAT = 1


class ShardNameError(PermanentError, ValueError):
    """A shard whose name is no text, so that shards have no order and no place in a file."""

    def __init__(self, shard: object) -> None:
        self.shard = shard
        super().__init__(f"shard name {shard!r} is of type {type(shard).__name__}; expected str")


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
            f"the column sums belong to potential {expected[:12]}, not {found[:12]}: score the shards again"
        )


@dataclass(frozen=True, kw_only=True)
class ShardSums:
    """Rows and column sums of every shard under one potential.

    fingerprint: of that potential. rows: distinct documents of each shard. sums: column sums [M] of each,
    summing to 1 (all zero for a shard without rows). Raises `ShardNameError`.
    """

    fingerprint: str
    rows: Mapping[str, int]
    sums: Mapping[str, Floats]

    def __post_init__(self) -> None:
        for shard in self.rows:
            _check_name(shard)

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
            raise UnreadableFileError(
                str(path), "not a file of column sums of shards, or an unsupported format"
            )
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

    Raises `OtherPotentialError`, `ShardNameError`, and ValueError on bad rows. Rows are distinct documents
    that are in no other shard; no rows, as an array or as blocks, are an empty shard.
    """
    sums.check(potential)
    _check_name(shard)
    rows = _rows_if_any(vectors)
    if rows is None:
        score_n, sums_m = np.zeros(0, dtype=np.float32), np.zeros(len(potential.target_weights))
    else:
        score_n, single_m = potential.score(rows, device=device)
        sums_m = single_m.astype(np.float64)
    joined = ShardSums(
        fingerprint=sums.fingerprint,
        rows={**sums.rows, shard: len(score_n)},
        sums={**sums.sums, shard: sums_m},
    )
    return joined, score_n


def _check_name(shard: object) -> None:
    if not isinstance(shard, str):
        raise ShardNameError(shard)


def _rows_if_any(vectors: Rows) -> "Rows | None":
    """The rows as they came, to be read once; None when there are none."""
    vectors = as_rows(vectors)
    if is_array(vectors):
        return vectors if len(vectors) else None  # type: ignore[arg-type]
    RowSource(vectors, "candidates", once=True)
    blocks: Iterator[Matrix] = iter(vectors)
    for block in blocks:
        matrix = as_matrix(block, "candidates")
        if len(matrix):
            return chain([matrix], blocks)
    return None


def leave(sums: ShardSums, shard: str) -> ShardSums:
    """Take a shard away: its sums are subtracted from the union. Raises `UnknownShardError`."""
    if shard not in sums.rows:
        raise UnknownShardError(shard, "the shards that joined")
    return ShardSums(
        fingerprint=sums.fingerprint,
        rows={name: count for name, count in sums.rows.items() if name != shard},
        sums={name: sums_m for name, sums_m in sums.sums.items() if name != shard},
    )
