"""Runs of the comparison that are done: what the present one needs, and what an earlier one left.

Runs that are no longer planned are kept by name, so that a changed [sampler_trials], or a pool that changed
and changed back, trains nothing twice. Kept are the 1,000 that left last (some 10 KB each); runs without
losses are not, and are tried again.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

import polars as pl

from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of

TABLE, LEFT = "sampler_trials", "sampler_trials_left"
MOST_LEFT = 1_000
BLOCK = 200  # rows moved in one commit


def known_runs(store: Store) -> set[str]:
    """Names of the runs in the table."""
    return set(store.read(TABLE, ["run"])["run"])


def bring_back(store: Store, wanted: Collection[str]) -> set[str]:
    """Put those of the wanted runs back into the table that an earlier comparison made; returns which."""
    left = set(store.read(LEFT, ["run"])["run"]) & set(wanted)
    for runs in _blocks(left):
        rows = store.read(LEFT, schema_of(TABLE).names, one_of("run", runs))
        store.merge(TABLE, rows.to_arrow().cast(schema_of(TABLE)))
    return left


def set_aside(store: Store, planned: Collection[str]) -> None:
    """Move the runs that are not planned out of the table; the oldest beyond the limit are forgotten."""
    unplanned = known_runs(store) - set(planned)
    for runs in _blocks(unplanned):
        scope = one_of("run", runs)
        rows = store.read(TABLE, where=scope).filter(pl.col("failure").is_null())
        now = datetime.now(UTC).replace(tzinfo=None)
        leaving = rows.with_columns(left_at=pl.lit(now)).select(schema_of(LEFT).names)
        store.merge(LEFT, leaving.to_arrow().cast(schema_of(LEFT)))
        store.delete(TABLE, scope)
    if unplanned:
        _forget_oldest(store)


def _forget_oldest(store: Store) -> None:
    left = store.read(LEFT, ["run", "left_at"]).sort("left_at", "run", descending=True)
    for runs in _blocks(left["run"][MOST_LEFT:]):
        store.delete(LEFT, one_of("run", runs))


def _blocks(runs: Iterable[str]) -> Iterable[list[str]]:
    ordered = sorted(runs)
    return (ordered[start : start + BLOCK] for start in range(0, len(ordered), BLOCK))
