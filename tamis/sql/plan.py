"""Needs of a run: the views to inline, the tables to read and which of their columns.

Two sets of columns: those that the SQL names, and the fewer that reach the result once views are inlined and
unused projections dropped. Counting reasons of 5M decisions reads 3 columns of 13.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from tamis.sql.project import Model, Project
from tamis.sql.syntax import DIALECT, SchemaTree, answers_about, columns_read, new_schema, parse
from tamis.sql.template import MODEL_SCHEMA
from tamis.store.schemas import kind_of, tables_of_source
from tamis.store.tables import Store

if TYPE_CHECKING:
    from sqlglot import Schema, exp

CURRENT_TRIALS, TRIAL_TARGETS = "current_trials", "trial_targets"
SUPPLIED = (CURRENT_TRIALS, TRIAL_TARGETS)
"""Sources that are no tables of the store."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`views` in dependency order; of each table, the columns the SQL names and those the result needs."""

    views: tuple[Model, ...]
    named: dict[str, tuple[str, ...]]
    needed: dict[str, tuple[str, ...]]


def plan_run(project: Project, model: Model) -> Plan:
    """The plan of a run of `model` and its tests; what its SQL needs is kept for the next process."""
    views, named = named_columns(project, model)
    needed = answers_about(project).of(f"needed by {model.name}", lambda: _needed_by(project, model, named))
    return Plan(
        views=tuple(upstream for upstream in project.models.values() if upstream.name in views),
        named={table: tuple(sorted(columns)) for table, columns in sorted(named.items())},
        needed={table: tuple(columns) for table, columns in needed.items()},
    )


def _needed_by(project: Project, model: Model, named: Iterable[str]) -> dict[str, list[str]]:
    """Return, by table, the columns that reach the result of a model or of its tests."""
    from sqlglot.optimizer.pushdown_projections import pushdown_projections
    from sqlglot.optimizer.qualify import qualify

    schema = project_schema(project)
    needed: dict[str, set[str]] = {table: set() for table in named}
    for query in _queries(project, model):
        pushed = pushdown_projections(qualify(query, schema=schema, dialect=DIALECT))
        for table, columns in columns_read(pushed, schema).items():
            if table != model.name:
                needed[table].update(columns)
    return {table: sorted(columns) for table, columns in sorted(needed.items())}


def expand(project: Project, query: "exp.Query", inline: Callable[[Model], bool]) -> "exp.Query":
    """The query with the models that `inline` accepts replaced by their own SELECTs, through the chain."""
    from sqlglot import exp

    bodies: dict[str, exp.Query | Callable[[], exp.Query]] = {}
    pending = [query]
    while pending:
        for table in pending.pop().find_all(exp.Table):
            key = f"{MODEL_SCHEMA}.{table.name}"
            if table.db == MODEL_SCHEMA and key not in bodies and inline(project.models[table.name]):
                body = parse(project.models[table.name].rendered)
                bodies[key] = body
                pending.append(body)
    expanded = exp.expand(query, bodies, dialect=DIALECT)
    assert isinstance(expanded, exp.Query)
    return expanded


def project_schema(project: Project, extra: SchemaTree | None = None) -> "Schema":
    """Columns of every source and model, for sqlglot; `extra` adds columns to sources."""
    tree: SchemaTree = {}
    for source in project.sources.values():
        tree[f'"{source.group}"."{source.name}"'] = [
            *(column.name for column in source.columns),
            *(extra or {}).get(source.name, ()),
        ]
    for model in project.models.values():
        tree[f'"{MODEL_SCHEMA}"."{model.name}"'] = [column.name for column in model.columns]
    return new_schema(tree)


def tables_read(project: Project, name: str) -> list[str]:
    """Return the sources and materialized models that a run of a model and its tests read, by name (2 ms)."""
    return sorted(named_columns(project, project.model(name))[1])


def named_columns(project: Project, model: Model) -> tuple[set[str], dict[str, set[str]]]:
    """Views that a run of `model` inlines, and the columns that its SQL and its tests name of each table."""
    views: set[str] = set()
    named: dict[str, set[str]] = {}
    increment = [model.increment.reads] if model.increment else []
    pending = [model.reads, *increment, *(test.reads for test in model.tests)]
    while pending:
        for relation, columns in pending.pop().items():
            upstream = project.models.get(relation)
            if relation == model.name or relation in views:
                continue
            if upstream is not None and upstream.materialized == "view":
                views.add(relation)
                pending.append(upstream.reads)
            else:
                named.setdefault(relation, set()).update(columns)
    return views, named


def _queries(project: Project, model: Model) -> "Iterator[exp.Query]":
    def inline(upstream: Model) -> bool:
        return upstream.materialized == "view" and upstream.name != model.name

    yield expand(project, parse(model.rendered), inline)
    if model.increment:
        yield expand(project, parse(model.increment.rendered), inline)
    for test in model.tests:
        if set(test.reads) - {model.name}:
            yield expand(project, parse(test.rendered), inline)


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
        kinds = tables_of_source(name)
        if len(kinds) <= 1 and not any(kind.many for kind in kinds):
            return self._table(kinds[0].name if kinds else name, columns)
        columns = columns or kinds[0].column_names
        names = {kind.name for kind in kinds}
        found = [self._table(table, columns) for table in self.versions if kind_of(table) in names]
        return pa.concat_tables(found) if found else _empty(kinds[0].schema(1), columns)

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
    tables = {table for name in tables_read(project, model) for table in _tables_of(store, name)}
    return PinnedTables(
        store=store,
        versions={table: store.version(table) for table in sorted(tables)},
        trials=trials,
        targets=targets or {},
        choices=choices or {},
    )


def _tables_of(store: Store, name: str) -> Iterator[str]:
    """Tables that a source is made of: of transport scores one a target, of what is supplied none."""
    kinds = tables_of_source(name)
    for kind in kinds:
        if kind.many:
            yield from (table for table in store.names() if kind_of(table) == kind.name)
        else:
            yield kind.name
    if not kinds and name not in SUPPLIED:
        yield name


def _empty(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
    return pa.schema([schema.field(name) for name in columns or schema.names]).empty_table()
