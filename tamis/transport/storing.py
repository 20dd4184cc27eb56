"""Transport from the store: a target's vectors, its potential solved against the whole pool, its gaps."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tamis.base.files import write_atomically
from tamis.base.numbers import counted, cut, percent
from tamis.corpus.stage import TARGET_EXAMPLES
from tamis.settings.config import TransportSection
from tamis.store.tables import Store, matrix_of, quoted
from tamis.store.vectors import VectorBlocks, require_documents
from tamis.transport.certificate import UnionCertificate, estimated_top_k
from tamis.transport.exact import ExactCheck, check_exactly
from tamis.transport.gaps import Gaps, Stability, bootstrap_stability, spread_rows
from tamis.transport.potential import TargetPotential
from tamis.transport.shards import Done, ShardSums, join_pool, sums_of_pool
from tamis.transport.solve import solve_potential
from tamis.transport.stage import TARGET_GAPS

POTENTIAL_FILE, SUMS_FILE, CERTIFICATE_FILE = "potential.npz", "shard_sums.npz", "certificate.json"
EXACT_ROWS = 2_000
"""Documents that are solved exactly to check a potential: a second with 1,000 examples."""


@dataclass(frozen=True, kw_only=True)
class TargetGaps:
    """The gaps of a target. lacking: example_id and supply of the gaps, the smallest supply first."""

    target: str
    gaps: Gaps
    lacking: pl.DataFrame

    @property
    def answer(self) -> str:
        """How many examples nothing serves, and by which limit, as a sentence."""
        examples = counted(len(self.gaps.supply_m), "example")
        if np.isnan(self.gaps.typical):
            return f"{self.target} has {examples}: too few to tell which examples the pool does not cover."
        share = percent(len(self.lacking) / len(self.gaps.supply_m), 0)
        found = f"{len(self.lacking):,} of the {examples} of {self.target} ({share})"
        if not len(self.lacking):
            return (
                f"Eligible documents are near all {examples} of {self.target}: at least "
                f"{self.gaps.limit:.2g} per example, and {self.gaps.typical:.2g} for a typical one."
            )
        under = f"fewer than {self.gaps.limit:.2g} per example"
        if self.gaps.typical < self.gaps.limit:
            return (
                f"Hardly any eligible documents are near this target: {under} near {found}, and "
                f"{self.gaps.typical:.2g} near a typical example."
            )
        return (
            f"Hardly any eligible documents are near {found}: {under}, compared with "
            f"{self.gaps.typical:.2g} for a typical example."
        )

    def to_json(self, store: Store) -> dict[str, Any]:
        """Return what is known of the gaps; numbers are None where the examples are too few."""
        known = not np.isnan(self.gaps.typical)
        return {
            "target": self.target,
            "examples": len(self.gaps.supply_m),
            "typical_supply": self.gaps.typical if known else None,
            "limit": self.gaps.limit if known else None,
            "gaps": self._with_sources(store).to_dicts(),
        }

    def lines(self, store: Store, begins: Mapping[str, str]) -> list[str]:
        """Return the answer and the first of the gaps, for a person; `begins`: how texts of them begin."""
        named = [
            f"{example}  supply {supply:.2g} ({source})"
            + (f'  "{begins[example]}"' if example in begins else "")
            for example, source, supply in self._with_sources(store).iter_rows()
        ]
        return [self.answer, *(f"  {line}" for line in cut(named, "--json"))]

    def _with_sources(self, store: Store) -> pl.DataFrame:
        examples = store.read(TARGET_EXAMPLES.name, ["doc_id", "source"], f"target = {quoted(self.target)}")
        known = examples.unique("doc_id", keep="first")
        found = self.lacking.join(known, left_on="example_id", right_on="doc_id", maintain_order="left")
        return found.select("example_id", "source", "supply")


def read_gaps(store: Store, target: str) -> TargetGaps:
    """Return the gaps of a target that are stored; of none made yet there is no example."""
    rows = store.read(TARGET_GAPS.name, where=f"target = {quoted(target)}").sort("supply", "doc_id")
    return TargetGaps(
        target=target,
        gaps=Gaps(supply_m=rows["supply"].fill_null(float("nan")).to_numpy()),
        lacking=rows.filter(pl.col("is_gap")).select("supply", example_id="doc_id"),
    )


def target_vectors(
    store: Store, table: str, target: str, split: str = "train", only: Collection[str] | None = None
) -> np.ndarray:
    """Vectors [M, d] of one split of a target's examples, in order of id; `only`: of these ids."""
    return target_rows(store, table, target, split, only)[1]


def target_rows(
    store: Store, table: str, target: str, split: str = "train", only: Collection[str] | None = None
) -> tuple[list[str], np.ndarray]:
    """Return the ids of one split of a target's examples that have a vector, ascending, and these [M, d].

    `only`: of those with these ids.
    """
    where = f"target = {quoted(target)}"
    ids = store.read(TARGET_EXAMPLES.name, ["doc_id"], f"{where} AND split = {quoted(split)}")
    if only is not None:
        ids = ids.filter(pl.col("doc_id").is_in(list(only)))
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
            memory=section.memory,
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
        facts = json.loads((before / CERTIFICATE_FILE).read_text())
        # Earlier code wrote no comparison.
        stability, exact = None, ExactCheck(**facts["exact"]) if facts.get("exact") else None
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


def counts_by_estimate(folder: Path, decisions: pl.DataFrame) -> dict[str, int]:
    """Count the chosen documents that are clear of the cut by the estimated error, and the undecided ones.

    decisions: transport_gradient, verdict and rank (null for those not eligible); nothing when none was
    chosen. Each group (budget_group) of a divided budget has a cut of its own. The estimate is that of the
    certificate in the folder.
    """
    ranked = decisions.drop_nulls("rank")
    divided = "budget_group" in ranked.columns
    parts = ranked.partition_by("budget_group", maintain_order=True) if divided else [ranked]
    chosen = [int((part["verdict"] == "selected").sum()) for part in parts]
    cuts = [(part, k) for part, k in zip(parts, chosen, strict=True) if k]
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
        facts |= {
            "bootstrap_overlap_top_10_percent": float(found.stability.mean_overlap),
            "bootstrap_overlap_lowest": float(found.stability.lowest_overlap),
        }
    return facts
