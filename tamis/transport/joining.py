"""A stored potential kept current as shards come, change and go: no new solve while its certificate allows.

Each shard's column sums (M numbers) are kept, so joining a shard costs a pass over that shard alone and its
removal nothing; the error of the union is then known exactly. A document that is in several shards counts
in the one with the smallest name. The policy is that of `union_certificate`: accept, a few warm passes, or a
warm solve. 1 % of new rows costs under 3 % of a solve (benchmarks/transport_increment.py).
"""

import hashlib
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.corpus.small_files import group_of_files
from tamis.corpus.stage import OCCURRENCES
from tamis.engine import current_engine
from tamis.settings.config import TransportSection
from tamis.store.tables import Store, matrix_of
from tamis.store.vectors import VectorBlocks
from tamis.transport.certificate import ACCEPT_BELOW, UnionCertificate
from tamis.transport.cost import Floats
from tamis.transport.potential import Float32s, TargetPotential
from tamis.transport.shards import ShardSums
from tamis.transport.solve import NotConverged, solve_potential

Places = npt.NDArray[np.int64]
Done = Literal["accept", "refine", "solve"]
# Refining aims well under the limit of "accept", so that the next shard finds room.
REFINED_ERROR, REFINING_PASSES = 0.01, 3


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
    owned = _owned(store, pool_table)
    parts = owned.group_by("shard").agg(pl.col("doc_id").sort()).sort("shard")
    digests = [hashlib.sha256("".join(ids).encode()).hexdigest()[:32] for ids in parts["doc_id"]]
    names = [f"{shard}@{digest}" for shard, digest in zip(parts["shard"], digests, strict=True)]
    rows = dict(zip(names, parts["doc_id"].list.len().to_list(), strict=True))
    kept = {name: known.sums[name] for name in names if name in known.sums} if known else {}
    fresh = pl.DataFrame({"shard": parts["shard"], "name": names}).filter(~pl.col("name").is_in(list(kept)))
    made = _sums(
        store, potential, pool_table, owned.join(fresh, on="shard"), fresh["name"].to_list(), advance
    )
    return ShardSums(fingerprint=potential.fingerprint, rows=rows, sums={**kept, **made})


def _owned(store: Store, pool_table: str) -> pl.DataFrame:
    """Each document of the pool with the one shard that it counts in."""
    places = store.read(OCCURRENCES.name, ["doc_id", "shard"])
    places = places.join(group_of_files(store), on="shard", how="left")
    shard = pl.coalesce("partition", "shard").min().alias("shard")
    owner = places.group_by("doc_id").agg(shard)
    return owner.join(store.read(pool_table, ["doc_id"]), on="doc_id", how="semi").sort("doc_id")


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
    frame = pl.DataFrame({"doc_id": doc_ids})
    return frame.join(owned, on="doc_id", how="left", maintain_order="left")["place"].to_numpy()


def _sums_of_block(
    potential: TargetPotential, block: tuple[Places, pa.ChunkedArray], advance: Advance
) -> list[Floats]:
    """Column sums [M] of the rows of each part in a block, times how many they are, in order of part."""
    part_n, vectors = block
    vectors_nd = matrix_of(vectors)
    sums = []
    for part in np.unique(part_n):
        chosen = part_n == part
        sums.append(potential.column_sums(vectors_nd[chosen]) * chosen.sum())
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
