"""A stored potential kept current as shards come, change and go: no new solve while its certificate allows.

Each shard's column sums (M numbers) are kept, so joining a shard costs a pass over that shard alone and its
removal nothing; the error of the union is then known exactly. A document that stands in several shards counts
in the one with the smallest name. The policy is that of `union_certificate`: accept, a few warm passes, or a
warm solve. 1 % of new rows costs under 3 % of a solve (benchmarks/transport_increment.py).
"""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.config import TransportSection
from tamis.progress import Advance, ignore
from tamis.store.tables import Store, matrix_of
from tamis.store.vectors import VectorBlocks
from tamis.transport.certificate import ACCEPT_BELOW, UnionCertificate, union_certificate
from tamis.transport.potential import TargetPotential
from tamis.transport.solve import NotConverged, solve_potential

WARM_PASSES = 3
Done = Literal["accept", "refine", "solve"]


@dataclass(frozen=True, kw_only=True)
class ShardSums:
    """Column sums [S, M] of the documents of each shard, how many they are [S], and which (a digest)."""

    shards: tuple[str, ...]
    digests: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float32]

    def certificate(self, potential: TargetPotential) -> UnionCertificate:
        """What the potential is worth for the union of the shards."""
        return union_certificate(potential, list(self.sums), self.rows.tolist())

    def save(self, path: Path) -> None:
        """Write to exactly that path."""
        with path.open("wb") as file:
            np.savez(
                file,
                shards=np.array(self.shards),
                digests=np.array(self.digests),
                rows=self.rows,
                sums=self.sums,
            )

    @staticmethod
    def load(path: Path) -> "ShardSums":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return ShardSums(
                shards=tuple(stored["shards"].tolist()),
                digests=tuple(stored["digests"].tolist()),
                rows=stored["rows"],
                sums=stored["sums"],
            )


def sums_of_pool(
    store: Store,
    potential: TargetPotential,
    pool_table: str,
    known: ShardSums | None = None,
    advance: Advance = ignore,
) -> ShardSums:
    """Column sums of every shard as the pool is now; only shards that `known` does not hold so are read."""
    owned = _owned(store, pool_table)
    parts = owned.group_by("shard").agg(pl.col("doc_id").sort()).sort("shard")
    shards = tuple(parts["shard"])
    digests = tuple(hashlib.sha256("".join(ids).encode()).hexdigest()[:32] for ids in parts["doc_id"])
    pairs = list(zip(shards, digests, strict=True))
    kept = dict(zip(zip(known.shards, known.digests, strict=True), known.sums, strict=True)) if known else {}
    fresh = [shard for shard, digest in pairs if (shard, digest) not in kept]
    made = _sums(store, potential, pool_table, owned.filter(pl.col("shard").is_in(fresh)), fresh, advance)
    sums = [kept[pair] if pair in kept else made[pair[0]] for pair in pairs]
    return ShardSums(
        shards=shards,
        digests=digests,
        rows=parts["doc_id"].list.len().to_numpy().astype(np.int64),
        sums=np.array(sums, dtype=np.float32).reshape(len(shards), len(potential.g)),
    )


def _owned(store: Store, pool_table: str) -> pl.DataFrame:
    """Each document of the pool with the one shard that it counts in."""
    owner = store.read("occurrences", ["doc_id", "shard"]).group_by("doc_id").agg(pl.col("shard").min())
    return owner.join(store.read(pool_table, ["doc_id"]), on="doc_id", how="semi").sort("doc_id")


def _sums(
    store: Store,
    potential: TargetPotential,
    pool_table: str,
    owned: pl.DataFrame,
    shards: list[str],
    advance: Advance,
) -> dict[str, npt.NDArray[np.float32]]:
    """Column sums by shard of the documents in `owned`, in one reading of them."""
    total_pm = np.zeros((len(shards), len(potential.g)))
    rows_p = np.zeros(len(shards))
    columns = {"shard": pl.Series(shards, dtype=pl.String), "place": np.arange(len(shards))}
    place = pl.DataFrame(columns)
    places = owned.join(place, on="shard").select("doc_id", "place")
    for block in store.by_ids(pool_table, owned["doc_id"].to_list(), ["doc_id", "vector"]):
        frame = pl.DataFrame({"doc_id": block["doc_id"].to_pylist()})
        part_n = frame.join(places, on="doc_id", how="left", maintain_order="left")["place"].to_numpy()
        vectors_nd = matrix_of(block["vector"])
        for part in np.unique(part_n):
            chosen = part_n == part
            total_pm[part] += potential.column_sums(vectors_nd[chosen]) * chosen.sum()
            rows_p[part] += chosen.sum()
        advance(block.num_rows)
    return dict(zip(shards, (total_pm / rows_p[:, None]).astype(np.float32), strict=True))


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A potential brought up to date: what was done, and its certificate on the pool as it is now."""

    potential: TargetPotential
    sums: ShardSums
    certificate: UnionCertificate
    done: Done


def join_pool(
    store: Store,
    potential: TargetPotential,
    known: ShardSums,
    target_md: npt.NDArray[np.float32],
    pool_table: str,
    section: TransportSection,
    seed: int,
    advance: Advance = ignore,
) -> Joined:
    """Bring a potential up to date with the stored pool by the policy above; the target is unchanged."""
    sums = sums_of_pool(store, potential, pool_table, known, advance)
    certificate = sums.certificate(potential)
    if certificate.advice == "accept":
        return Joined(potential=potential, sums=sums, certificate=certificate, done="accept")
    done = certificate.advice
    warm = _warm(
        store, potential, target_md, pool_table, section, seed, WARM_PASSES if done == "refine" else None
    )
    if warm.marginal_error > ACCEPT_BELOW:
        done = "solve"
        warm = _warm(store, warm, target_md, pool_table, section, seed, None)
    sums = sums_of_pool(store, warm, pool_table, None, advance)
    return Joined(potential=warm, sums=sums, certificate=sums.certificate(warm), done=done)


def _warm(
    store: Store,
    potential: TargetPotential,
    target_md: npt.NDArray[np.float32],
    pool_table: str,
    section: TransportSection,
    seed: int,
    passes: int | None,
) -> TargetPotential:
    with warnings.catch_warnings():
        if passes is not None:  # the certificate judges what a few passes reached
            warnings.simplefilter("ignore", NotConverged)
        return solve_potential(
            target_md,
            VectorBlocks(store, pool_table),
            tolerance=section.tolerance,
            max_passes=passes or section.max_passes,
            warm_start=potential,
            seed=seed,
        )
