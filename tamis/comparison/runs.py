"""The runs of a comparison: samplers x budgets x data seeds x training seeds, and what each is measured by.

A data seed draws another half of the pool and another random choice, a training seed other first weights and
another order. All samplers meet the same seeds, so differences are taken in pairs.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product

import polars as pl

from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of, quoted

FULL, RANDOM = "full", "random"
WHOLE = "100%"
TABLE, LEFT, CONTROLS = "sampler_trials", "sampler_trials_left", "sampler_trials_controls"
SCORES = "sampler_trials_scores"
MOST_LEFT = 1_000
BLOCK = 200  # rows moved in one commit


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training run of the comparison; the sampler "full" takes every eligible document."""

    sampler: str
    budget: str
    data_seed: int
    training_seed: int

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.sampler} {self.budget}, data {self.data_seed}, training {self.training_seed}"


def planned_runs(
    samplers: Sequence[str], budgets: Sequence[int | str], data_seeds: int, training_seeds: int
) -> list[PlannedRun]:
    """All runs, pair by pair, so that a comparison that was cut short has whole pairs.

    "full" and "random" are always in: the one is what a choice is measured against, the other what it must
    beat.
    """
    names = dict.fromkeys((RANDOM, *samplers))
    return [
        PlannedRun(sampler=name, budget=budget, data_seed=data_seed, training_seed=training_seed)
        for data_seed, training_seed in product(range(data_seeds), range(training_seeds))
        for name, budget in [(FULL, WHOLE), *((name, str(budget)) for budget in budgets for name in names)]
    ]


def known_runs(store: Store, table: str = TABLE) -> set[str]:
    """Names of the runs in a table."""
    return set(store.read(table, ["run"])["run"])


def bring_back(store: Store, wanted: Collection[str], table: str = TABLE, left: str = LEFT) -> set[str]:
    """Put those of the wanted runs back into a table that were set aside; returns which."""
    known = set(store.read(left, ["run"])["run"]) & set(wanted)
    for runs in _blocks(known):
        store.put(table, store.read(left, schema_of(table).names, one_of("run", runs)))
    return known


def set_aside(store: Store, planned: Collection[str], table: str = TABLE, left: str = LEFT) -> None:
    """Move the runs that are not planned from a table to that of those left.

    Of these the oldest beyond the limit are forgotten.
    """
    unplanned = known_runs(store, table) - set(planned)
    for runs in _blocks(unplanned):
        scope = one_of("run", runs)
        rows = store.read(table, where=scope).filter(pl.col("failure").is_null())
        store.put(left, rows.with_columns(left_at=pl.lit(datetime.now(UTC).replace(tzinfo=None))))
        store.delete(table, scope)
    if unplanned:
        dated = store.read(left, ["run", "left_at"]).sort("left_at", "run", descending=True)
        for runs in _blocks(dated["run"][MOST_LEFT:]):
            store.delete(left, one_of("run", runs))


def keep_controls(store: Store, texts: Mapping[str, str]) -> None:
    """Drop losses on other controls than these, on other texts of them, and of runs that are forgotten.

    `texts`: digest of the texts of each control.
    """
    rows = store.read(CONTROLS, ["run", "control", "texts"])
    if rows.is_empty():
        return
    runs = known_runs(store) | set(store.read(LEFT, ["run"])["run"])
    is_current = pl.col("run").is_in(list(runs)) & (
        pl.col("texts") == pl.col("control").replace_strict(dict(texts), default=None, return_dtype=pl.String)
    )
    for run, control in rows.filter(is_current.fill_null(False).not_()).select("run", "control").iter_rows():
        store.delete(CONTROLS, f"run = {quoted(run)} AND control = {quoted(control)}")


def losses_on_controls(store: Store, names: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Return the rows of each control (run, document_bits, document_bytes), by name; perhaps none."""
    rows = store.read(CONTROLS, ["run", "control", "document_bits", "document_bytes"])
    return {name: rows.filter(control=name) for name in names}


def _blocks(runs: Iterable[str]) -> Iterable[list[str]]:
    ordered = sorted(runs)
    return (ordered[start : start + BLOCK] for start in range(0, len(ordered), BLOCK))
