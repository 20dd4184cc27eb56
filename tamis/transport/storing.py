"""Transport from the store: the vectors of a target, and its potential solved against the whole pool.

The pool is streamed 4,096 vectors at a time at a pinned version; what is kept of it are M floats.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tamis.base.files import write_atomically
from tamis.corpus.stage import TARGET_EXAMPLES
from tamis.settings.config import TransportSection
from tamis.store.tables import Store, matrix_of, quoted
from tamis.store.vectors import VectorBlocks, require_documents
from tamis.transport.certificate import UnionCertificate, estimated_top_k
from tamis.transport.exact import ExactCheck, check_exactly
from tamis.transport.joining import Done, join_pool, sums_of_pool
from tamis.transport.potential import TargetPotential
from tamis.transport.shards import ShardSums
from tamis.transport.solve import solve_potential
from tamis.transport.stability import Stability, bootstrap_stability, spread_rows

POTENTIAL_FILE, SUMS_FILE, CERTIFICATE_FILE = "potential.npz", "shard_sums.npz", "certificate.json"
EXACT_ROWS = 2_000
"""Documents that are solved exactly to check a potential: a second with 1,000 examples."""


def target_vectors(store: Store, table: str, target: str, split: str = "train") -> np.ndarray:
    """Vectors of one split of a target's examples, in order of id, [M, d]."""
    return target_rows(store, table, target, split)[1]


def target_rows(store: Store, table: str, target: str, split: str = "train") -> tuple[list[str], np.ndarray]:
    """Return the ids of one split of a target's examples that have a vector, ascending, and these [M, d]."""
    where = f"target = {quoted(target)}"
    ids = store.read(TARGET_EXAMPLES.name, ["doc_id"], f"{where} AND split = {quoted(split)}")
    vectors = pl.DataFrame(pl.from_arrow(store.read_arrow(table, ["doc_id"], where))).with_row_index(
        "position"
    )
    known = vectors.join(ids, on="doc_id", how="semi").sort("doc_id")
    if known.is_empty():
        return [], np.zeros((0, 1), np.float32)
    taken = store.read_arrow(table, ["vector"], where)["vector"].take(known["position"].to_arrow())
    return known["doc_id"].to_list(), matrix_of(taken)


@dataclass(frozen=True, kw_only=True)
class CurrentPotential:
    """A potential for the pool as it is: solved from nothing (`done` None), or brought up to date.

    `exact`: its comparison with the exact solution, of the pool that it was last solved from nothing on.
    """

    potential: TargetPotential
    sums: ShardSums
    certificate: UnionCertificate
    tolerance: float
    done: Done | None
    exact: ExactCheck | None
    stability: Stability | None = None

    @property
    def marginal_error(self) -> float:
        """On the pool as it is now; of a solve from nothing the solver's own figure."""
        return self.potential.marginal_error if self.done is None else self.certificate.marginal_error

    @property
    def within_tolerance(self) -> bool:
        """Solved to the tolerance, or within what a certificate accepts."""
        return self.potential.converged if self.done is None else self.certificate.advice == "accept"


def current_potential(
    store: Store,
    pool_table: str,
    target_md: np.ndarray,
    *,
    section: TransportSection,
    seed: int,
    before: Path | None = None,
) -> CurrentPotential:
    """The potential of a target [M, d] for the stored pool: solved, or that in `before` kept current.

    Raises `PoolTooSmallError`.
    """
    pool = VectorBlocks(store, pool_table, dtype=np.float16)
    if before is None:
        count = require_documents(store, pool_table, 2)
        potential = solve_potential(
            target_md,
            pool,
            relative_epsilon=section.relative_epsilon,
            tolerance=section.tolerance,
            max_passes=section.max_passes,
            seed=seed,
        )
        sums, done = sums_of_pool(store, potential, pool_table), None
        certificate = sums.certificate(potential)
        # How much the best tenth of the pool depends on which examples the target happens to hold.
        stability = bootstrap_stability(target_md, pool, potential, max(1, count // 10), seed=seed)
        exact: ExactCheck | None = check_exactly(potential, spread_rows(pool, EXACT_ROWS, seed)[0], seed)
    else:
        joined = join_pool(
            pool, load_potential(before), ShardSums.load(before / SUMS_FILE), target_md, section, seed
        )
        potential, sums, certificate, done = joined.potential, joined.sums, joined.certificate, joined.done
        stability, exact = None, _exact_of(before)
    return CurrentPotential(
        potential=potential,
        sums=sums,
        certificate=certificate,
        tolerance=section.tolerance,
        done=done,
        exact=exact,
        stability=stability,
    )


def save_potential(folder: Path, found: CurrentPotential) -> None:
    """Write a potential and its shards' sums to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found.potential.save(folder / POTENTIAL_FILE)
    found.sums.save(folder / SUMS_FILE)
    facts = potential_facts(found) | {"exact": asdict(found.exact) if found.exact else None}
    write_atomically(folder / CERTIFICATE_FILE, json.dumps(facts, sort_keys=True).encode())


def load_potential(folder: Path) -> TargetPotential:
    """The potential in a folder."""
    return TargetPotential.load(folder / POTENTIAL_FILE)


def _exact_of(folder: Path) -> ExactCheck | None:
    """Return the exact comparison that a potential in a folder has; None where earlier code wrote it."""
    facts = json.loads((folder / CERTIFICATE_FILE).read_text())
    return ExactCheck(**facts["exact"]) if facts.get("exact") else None


def counts_by_estimate(folder: Path, decisions: pl.DataFrame) -> dict[str, int]:
    """Count the chosen documents that are clear of the cut by the estimated error, and the undecided ones.

    decisions: transport_gradient, verdict and rank (null for those not eligible); nothing when none was
    chosen. Each group (budget_group) of a divided budget has a cut of its own. The estimate is that of the
    certificate in the folder.
    """
    ranked = decisions.drop_nulls("rank")
    divided = "budget_group" in ranked.columns
    parts = ranked.partition_by("budget_group", maintain_order=True) if divided else [ranked]
    cuts = [(part, int((part["verdict"] == "selected").sum())) for part in parts]
    cuts = [(part, k) for part, k in cuts if k]
    if not cuts:  # nothing is eligible, or the first document is larger than the budget
        return {}
    estimate = json.loads((folder / CERTIFICATE_FILE).read_text())["score_error_estimate"]
    potential = replace(load_potential(folder), error_estimate=estimate)
    found = [estimated_top_k(potential, part["transport_gradient"].to_numpy(), k).counts for part, k in cuts]
    return {
        "chosen_clear_of_cut": sum(one["in"] for one in found),
        "undecided": sum(one["undecided"] for one in found),
    }


def potential_facts(found: CurrentPotential) -> dict[str, Any]:
    """Figures of a potential for the event log."""
    facts: dict[str, Any] = {
        "marginal_error": float(found.marginal_error),
        "done": found.done or "solved from nothing",
        "dual_value": float(found.potential.dual_value),
        "gap_bound": float(found.certificate.gap_bound),
        "score_error_estimate": float(found.certificate.error_estimate),
        "passes": float(found.potential.passes),
        "epsilon": float(found.potential.epsilon),
        "shards": len(found.sums.rows),
    }
    if found.stability is not None:
        facts["bootstrap_overlap_top_10_percent"] = float(found.stability.mean_overlap)
        facts["bootstrap_overlap_lowest"] = float(found.stability.lowest_overlap)
    return facts
