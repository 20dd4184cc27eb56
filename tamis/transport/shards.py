"""Rows and column sums of shards under one potential: what joins, leaves, is saved and certified.

Column sums of parts add up by their shares of rows, so a shard is read once, when it joins, and never again:
M numbers represent it.
"""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tamis.base.archives import UnreadableFileError, read_npz, write_npz
from tamis.base.errors import PermanentError
from tamis.base.progress import Advance, ignore
from tamis.corpus.small_files import group_of_files
from tamis.corpus.stage import OCCURRENCES
from tamis.engine import current_engine
from tamis.settings.config import TransportSection
from tamis.store.tables import Store, matrix_of
from tamis.store.vectors import VectorBlocks
from tamis.transport.certificate import ACCEPT_BELOW, UnionCertificate, union_certificate
from tamis.transport.cost import Floats, Matrix, Rows, RowSource, as_matrix, as_rows, is_array
from tamis.transport.potential import Float32s, TargetPotential
from tamis.transport.solve import NotConverged, solve_potential

FILE_FORMAT = 1
Places = npt.NDArray[np.int64]
Done = Literal["accept", "refine", "solve"]
# Refining aims well under the limit of "accept", so that the next shard finds room.
REFINED_ERROR, REFINING_PASSES = 0.01, 3


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


def sums_of_pool(
    store: Store,
    potential: TargetPotential,
    pool_table: str,
    known: ShardSums | None = None,
    advance: Advance = ignore,
) -> ShardSums:
    """Column sums of every shard as the pool is now; only shards that `known` does not hold so are read.

    A shard is named with a digest of the documents that count in it, so a changed one is another one.
    """
    places = store.read(OCCURRENCES.name, ["doc_id", "shard"])
    places = places.join(group_of_files(store), on="shard", how="left")
    # Each document of the pool with the one shard that it counts in.
    owner = places.group_by("doc_id").agg(pl.coalesce("partition", "shard").min().alias("shard"))
    owned = owner.join(store.read(pool_table, ["doc_id"]), on="doc_id", how="semi").sort("doc_id")
    parts = owned.group_by("shard").agg(pl.col("doc_id").sort()).sort("shard")
    names = [
        f"{shard}@{hashlib.sha256(''.join(ids).encode()).hexdigest()[:32]}"
        for shard, ids in parts.iter_rows()
    ]
    rows = dict(zip(names, parts["doc_id"].list.len().to_list(), strict=True))
    kept = {name: known.sums[name] for name in names if name in known.sums} if known else {}
    fresh = pl.DataFrame({"shard": parts["shard"], "name": names}).filter(~pl.col("name").is_in(list(kept)))
    made = _sums(
        store, potential, pool_table, owned.join(fresh, on="shard"), fresh["name"].to_list(), advance
    )
    return ShardSums(fingerprint=potential.fingerprint, rows=rows, sums={**kept, **made})


def _sums(
    store: Store,
    potential: TargetPotential,
    pool_table: str,
    owned: pl.DataFrame,
    names: list[str],
    advance: Advance,
) -> dict[str, Floats]:
    """Column sums by name of the documents in `owned` (doc_id, name), in one reading of them."""
    total_pm = np.zeros((len(names), len(potential.g)))
    rows_p = np.zeros(len(names))
    places = pl.DataFrame({"name": pl.Series(names, dtype=pl.String), "place": np.arange(len(names))})
    owned = owned.join(places, on="name").select("doc_id", "place")
    blocks = (
        (_places(block["doc_id"].to_pylist(), owned), block["vector"])
        for block in store.by_ids(pool_table, owned["doc_id"].to_list(), ["doc_id", "vector"])
    )
    for (part_n, _), sums in current_engine().map(_sums_of_block, potential, blocks, advance):
        for part, sum_m in zip(np.unique(part_n), sums, strict=True):
            total_pm[part] += sum_m
            rows_p[part] += (part_n == part).sum()
    return dict(zip(names, total_pm / rows_p[:, None], strict=True))


def _places(doc_ids: list[str], owned: pl.DataFrame) -> Places:
    placed = pl.DataFrame({"doc_id": doc_ids}).join(owned, on="doc_id", how="left", maintain_order="left")
    return placed["place"].to_numpy()


def _sums_of_block(
    potential: TargetPotential, block: tuple[Places, pa.ChunkedArray], advance: Advance
) -> list[Floats]:
    """Column sums [M] of the rows of each part in a block, times how many they are, in order of part."""
    part_n, vectors = block
    vectors_nd = matrix_of(vectors)
    masks = (part_n == part for part in np.unique(part_n))
    sums = [potential.column_sums(vectors_nd[mask]) * mask.sum() for mask in masks]
    advance(len(part_n))
    return sums


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A potential brought up to date: what was done, and its certificate on the pool as it is now."""

    potential: TargetPotential
    sums: ShardSums
    certificate: UnionCertificate
    done: Done


def join_pool(
    pool: VectorBlocks,
    potential: TargetPotential,
    known: ShardSums,
    target_md: Float32s,
    section: TransportSection,
    seed: int,
) -> Joined:
    """Bring a potential up to date with the stored pool, by what the certificate of the union advises.

    Union error under .05: keep the potential; under .1: three warm passes at most, then a solve unless they
    lead back under .05; above: a warm solve. Centre and epsilon stay. Raises `OtherPotentialError` for sums
    under another potential, and `BadShapeError` for a target [M, d] that the potential was not solved for.
    """
    known.check(potential)
    potential.check_target(target_md)
    sums = sums_of_pool(pool.store, potential, pool.table, known)
    certificate = sums.certificate(potential)
    if certificate.advice == "accept":
        return Joined(potential=potential, sums=sums, certificate=certificate, done="accept")
    done, moved = certificate.advice, potential
    solve = partial(solve_potential, target_md, pool, seed=seed, memory=section.memory)
    if done == "refine":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotConverged)  # the certificate judges what a few passes reached
            moved = solve(tolerance=REFINED_ERROR, max_passes=REFINING_PASSES, warm_start=potential)
        done = "refine" if moved.marginal_error < ACCEPT_BELOW else "solve"
    if done == "solve":
        moved = solve(tolerance=section.tolerance, max_passes=section.max_passes, warm_start=moved)
    sums = sums_of_pool(pool.store, moved, pool.table)
    return Joined(potential=moved, sums=sums, certificate=sums.certificate(moved), done=done)
