"""What a choice is for the examples of its target: who serves which, by exact transport without an epsilon.

The chosen documents are coupled with the examples that they were selected by. Distances are to held-out
examples, which no selection has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tamis.coverage.sampling import keyed_hash
from tamis.selection.computing import known_vectors
from tamis.store.tables import Store
from tamis.transport.cost import Floats
from tamis.transport.exact import DENSE_CELLS, Distance, distances_to, exact_coupling
from tamis.transport.storing import target_rows

MOST_DOCUMENTS = 5_000
"""Chosen documents that are coupled: seven seconds with 1,000 examples."""
POOL, RANDOM, CHOSEN = "pool", "random", "chosen"
SPLITS = 5
SERVED_SHARE = 0.95
"""Of the examples, those that another half of the target serves within the limit, by definition."""
FEWEST_TO_SPLIT = 4
PAIRS = {"doc_id": pl.String, "example_id": pl.String, "mass": pl.Float64, "cost": pl.Float64}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A target as transport sees it: its name, the tables of vectors, and the geometry of its potential."""

    target: str
    pool_table: str
    target_table: str
    center: Floats | None
    normalize: bool


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A choice next to the examples of its target.

    pairs: doc_id, example_id, mass and cost of each pair of the plan; masses sum to 1. chosen: documents;
    coupled: those of them in the plan. limit: the cost within which another half of the target serves 19 of
    20 examples; None of too few examples to split. served: the examples whose mean cost is within the limit.
    distances: of the pool, a random choice and this one to `held_out` examples, by name.
    """

    pairs: pl.DataFrame
    chosen: int
    coupled: int
    examples: int
    limit: float | None
    served: int | None
    held_out: int
    distances: dict[str, Distance]


def serving_of(store: Store, decisions: pl.DataFrame, goal: Goal, seed: int) -> Serving:
    """Couple what was chosen with the target's examples, and measure how far it is from those held out.

    decisions: doc_id, verdict and rank (null for those not eligible) of every document of the pool.
    """
    chosen = decisions.filter(pl.col("verdict") == "selected")["doc_id"]
    eligible = decisions.filter(pl.col("rank").is_not_null())["doc_id"]
    example_ids, example_md = target_rows(store, goal.target_table, goal.target)
    held_out_md = target_rows(store, goal.target_table, goal.target, "held_out")[1]
    most = max(min(MOST_DOCUMENTS, DENSE_CELLS // max(len(example_ids), 1)), 1)
    drawn = {
        POOL: _drawn(store, goal, decisions["doc_id"], most, "served-pool", seed),
        RANDOM: _drawn(store, goal, eligible, min(most, len(chosen)), "served-random", seed),
        CHOSEN: _drawn(store, goal, chosen, most, "served", seed),
    }
    ids, document_nd = drawn[CHOSEN]
    pairs, limit, distances = pl.DataFrame(schema=PAIRS), None, {}
    if ids and example_ids:
        pairs = coupled_pairs(ids, document_nd, example_ids, example_md, goal)
        limit = limit_of_halves(example_md, goal, seed)
    if len(held_out_md) and all(found for found, _vectors_nd in drawn.values()):
        sets = {name: vectors_nd for name, (_ids, vectors_nd) in drawn.items()}
        distances = distances_to(held_out_md, sets, center=goal.center, normalize=goal.normalize, seed=seed)
    return Serving(
        pairs=pairs,
        chosen=len(chosen),
        coupled=len(ids),
        examples=len(example_ids),
        limit=limit,
        served=None if limit is None else int((costs_of_examples(pairs)["cost"] <= limit).sum()),
        held_out=len(held_out_md),
        distances=distances,
    )


def coupled_pairs(
    ids: Sequence[str],
    document_nd: np.ndarray,
    example_ids: Sequence[str],
    example_md: np.ndarray,
    goal: Goal,
) -> pl.DataFrame:
    """Return doc_id, example_id, mass and cost of the pairs of an exact plan, ordered by both ids."""
    plan = exact_coupling(document_nd, example_md, center=goal.center, normalize=goal.normalize)
    return pl.DataFrame(
        {
            "doc_id": pl.Series(ids, dtype=pl.String).gather(plan.document_k),
            "example_id": pl.Series(example_ids, dtype=pl.String).gather(plan.example_k),
            "mass": plan.mass_k,
            "cost": plan.cost_k,
        },
        schema=PAIRS,
    ).sort("doc_id", "example_id")


def costs_of_examples(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return example_id and the mean cost of its mass, the dearest first."""
    mean = (pl.col("cost") * pl.col("mass")).sum() / pl.col("mass").sum()
    return pairs.group_by("example_id").agg(cost=mean).sort("cost", "example_id", descending=[True, False])


def limit_of_halves(example_md: np.ndarray, goal: Goal, seed: int) -> float | None:
    """Return the cost within which one half of the examples [M, d] serves 19 of 20 of the other.

    The mean over a few random splits; None for fewer than four examples.
    """
    if len(example_md) < FEWEST_TO_SPLIT:
        return None
    half, limits = min(len(example_md) // 2, int(DENSE_CELLS**0.5)), []
    for split in range(SPLITS):
        order_m = np.random.default_rng([seed, split]).permutation(len(example_md))
        one_m, other_m = order_m[:half], order_m[half : 2 * half]
        plan = exact_coupling(
            example_md[one_m], example_md[other_m], center=goal.center, normalize=goal.normalize
        )
        total_m = np.bincount(plan.example_k, plan.mass_k * plan.cost_k, half)
        limits.append(np.quantile(total_m * half, SERVED_SHARE))
    return float(np.mean(limits))


def _drawn(
    store: Store, goal: Goal, doc_ids: pl.Series, count: int, purpose: str, seed: int
) -> tuple[list[str], np.ndarray]:
    """Return the ids, ascending, and vectors [n, d] of a draw of documents, of those that have a vector."""
    first_n = np.argsort(keyed_hash(doc_ids, seed, purpose), kind="stable")[:count]
    known, vectors_nd = known_vectors(store, goal.pool_table, doc_ids.gather(first_n).sort().to_frame())
    return known["doc_id"].to_list(), vectors_nd
