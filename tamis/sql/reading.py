"""Sources of the SQL models: Arrow tables, read from the store under their logical names at one version."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tamis.sql.plan import tables_read
from tamis.sql.project import Project
from tamis.store.schemas import kind_of, table_of_source
from tamis.store.tables import Store

CURRENT_TRIALS, TRIAL_TARGETS = "current_trials", "trial_targets"
SUPPLIED = (CURRENT_TRIALS, TRIAL_TARGETS)
"""Sources that are no tables of the store."""


@dataclass(frozen=True, kw_only=True)
class PinnedTables:
    """Tables of the store at the versions that they had when a run began, 0 for one that was not there.

    `trials`: those that the project asks for as they are, which no table says; `targets`: by trial, the one
    on which it was measured, which its manifest says. `choices`: readers, by name of the table, of what
    selections published, since their tables may hold rows that a check refused.
    """

    store: Store
    versions: Mapping[str, int]
    trials: Sequence[str] = ()
    targets: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, Callable[[Sequence[str] | None], pa.Table]] = field(default_factory=dict)

    def read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A source, or a model that was materialized before; columns as in the store's schemas."""
        if name == CURRENT_TRIALS:
            return pa.table({"trial": pa.array(self.trials, pa.string())})
        if name == TRIAL_TARGETS:
            both = {"trial": list(self.targets), "target": list(self.targets.values())}
            return pa.table({column: pa.array(values, pa.string()) for column, values in both.items()})
        if name in self.choices:
            return self.choices[name](columns)
        kind = table_of_source(name)
        if kind is None or not kind.many:
            return self._table(kind.name if kind else name, columns)
        tables = [table for table in self.versions if kind_of(table) == kind.name]
        found = [self._table(table, columns) for table in tables]
        return pa.concat_tables(found) if found else _empty(kind.schema(1), columns)

    def _table(self, table: str, columns: Sequence[str] | None) -> pa.Table:
        if not self.versions[table]:
            return _empty(self.store.schema(table), columns)
        return self.store.read_arrow(table, columns, version=self.versions[table])


def pin_tables(
    store: Store,
    project: Project,
    model: str,
    trials: Sequence[str] = (),
    choices: Mapping[str, Callable[[Sequence[str] | None], pa.Table]] | None = None,
    targets: Mapping[str, str] | None = None,
) -> PinnedTables:
    """The tables that a run of `model` and its tests reads, pinned as they are now.

    `trials` are current; `choices` read what selections published; `targets` are those of trials.
    """
    names = sorted({table for name in tables_read(project, model) for table in _tables_of(store, name)})
    versions = {table: store.version(table) for table in names}
    return PinnedTables(
        store=store, versions=versions, trials=trials, targets=targets or {}, choices=choices or {}
    )


def _tables_of(store: Store, name: str) -> Iterator[str]:
    """Tables that a source is made of: of transport scores one a target, of what is supplied none."""
    kind = table_of_source(name)
    if kind is not None and kind.many:
        yield from (table for table in store.names() if kind_of(table) == kind.name)
    elif name not in SUPPLIED:
        yield kind.name if kind else name


def _empty(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
    return pa.schema([schema.field(name) for name in columns or schema.names]).empty_table()
