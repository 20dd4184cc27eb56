"""Reading a folder of SQL models: the folder is a valid dbt project, read without dbt.

Everything that can be wrong without data is found here, with file and line: names, columns, circles, order.
Eighteen models with eighty tests take .5 to 1.2 s; so what was found is kept in the user's cache, where the
next process takes it as long as no file of the folder has changed.
"""

import contextlib
import hashlib
import json
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from tamis.base.files import user_cache
from tamis.sql.drafts import (
    Draft,
    TestDraft,
    draft_model,
    files_of,
    generic_tests,
    singular_tests,
    unique_key_of,
)
from tamis.sql.errors import CycleError, ProjectFileError, UnknownColumnError, UnorderedModelError
from tamis.sql.graph import dependency_order, find_cycle
from tamis.sql.project import CODE_VERSION, Column, DataTest, Increment, Model, Project, Source
from tamis.sql.properties import ModelEntry, read_properties, read_settings
from tamis.sql.syntax import (
    Binding,
    bind,
    canonical_sql,
    code_and_parsers,
    digest,
    digest_of,
    new_schema,
    order_terms,
    write_kept,
)
from tamis.sql.template import MODEL_SCHEMA, Names, relation
from tamis.store.places import stamp_of_files

if TYPE_CHECKING:
    from sqlglot import Schema


def load_project(folder: Path) -> Project:
    """Load the SQL project in `folder`.

    Raises subclasses of `SqlProjectError`, each with file and line: `ProjectFileError`, `TemplateError`,
    `UnknownReferenceError`, `SqlSyntaxError`, `UnknownColumnError`, `UnorderedModelError`, `CycleError`.
    A folder whose files have not changed is read once.
    """
    return _loaded(folder, stamp_of_files(folder, ""))


@lru_cache(maxsize=4)
def _loaded(folder: Path, stamp: Hashable) -> Project:
    # All that decides what is read: the files, this code, and what parses them.
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [str(folder), *code_and_parsers(), *(f"{path}:{digest_of(path)}" for path in files)]
    identity = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    kept = user_cache() / "sql" / f"{identity}.json"
    with contextlib.suppress(OSError, ValueError):
        return TypeAdapter(Project).validate_json(kept.read_bytes())
    project = read_project(folder)
    write_kept(kept, TypeAdapter(Project).dump_json(project))
    return project


def read_project(folder: Path) -> Project:
    """Read the SQL project in `folder` from its files; raises as `load_project`."""
    settings = read_settings(folder)
    layers = {layer: files_of(folder / layer, "sql") for layer in settings.layers}
    entries, sources = read_properties(
        [file for layer in settings.layers for file in files_of(folder / layer, "y*ml")]
    )
    names = _names(layers, sources)
    for name, entry in entries.items():
        if name not in names.models:
            valid = ", ".join(sorted(names.models)) or "none"
            raise entry.node.fail(f"the model {name!r} has no SQL file; models that have a SQL file: {valid}")
    drafts = [
        draft_model(file, layer, names, entries, settings)
        for layer, files in layers.items()
        for file in files
    ]
    tests = generic_tests(drafts, names)
    ordered = _in_order(drafts, tests)
    tests += singular_tests(folder, settings, names, ordered)
    taken: set[str] = set()
    for test in tests:
        if test.name in taken:
            problem = f"the test name {test.name!r} is already used; choose another (in YAML, set `name:`)"
            raise ProjectFileError(test.rendered.file, test.rendered.line(1), problem)
        taken.add(test.name)
    return Project(
        name=settings.name, folder=folder, models=_models(ordered, tests, sources), sources=sources
    )


def _names(layers: dict[str, list[Path]], sources: dict[str, Source]) -> Names:
    models: set[str] = set()
    for file in (file for files in layers.values() for file in files):
        if file.stem in models or file.stem in sources:
            raise ProjectFileError(
                file, 1, f"the name {file.stem!r} is already used by another model or source; rename the file"
            )
        models.add(file.stem)
    for source in sources.values():
        if source.group == MODEL_SCHEMA:
            raise ProjectFileError(
                source.file,
                source.line,
                f"a source cannot be named {MODEL_SCHEMA!r}, which is the schema of the models; rename it",
            )
    return Names(models=frozenset(models), sources={name: source.group for name, source in sources.items()})


def _in_order(drafts: list[Draft], tests: list[TestDraft]) -> dict[str, Draft]:
    """Drafts, each after what it reads and what its tests compare it with."""
    by_name = {draft.name: draft for draft in drafts}
    parents = {name: set(draft.models()) for name, draft in by_name.items()}
    for test in tests:
        parents[test.model].update(set(test.rendered.models) - {test.model})
    if cycle := find_cycle(parents):
        rendered = by_name[cycle[0]].rendered
        raise CycleError(rendered.file, rendered.line(1), cycle)
    return {name: by_name[name] for name in dependency_order(parents)}


def _models(drafts: dict[str, Draft], tests: list[TestDraft], sources: dict[str, Source]) -> dict[str, Model]:
    schema = new_schema(
        {
            relation(source.group, source.name): [column.name for column in source.columns]
            for source in sources.values()
        }
    )
    bindings: dict[str, Binding] = {}
    for name, draft in drafts.items():
        bindings[name] = bind(draft.query, draft.rendered, schema)
        schema.add_table(
            relation(MODEL_SCHEMA, name), dict.fromkeys(bindings[name].columns, "text"), dialect="duckdb"
        )
    logic: dict[str, str] = {}
    models: dict[str, Model] = {}
    for name, draft in drafts.items():
        own = [test for test in tests if test.model == name]
        # What decides the rows: the SQL of the model and of the views that a run inlines.
        views = [logic[parent] for parent in draft.models() if drafts[parent].materialized == "view"]
        added = [canonical_sql(draft.increment[1]), *unique_key_of(draft.rendered)] if draft.increment else []
        sql = canonical_sql(draft.query)
        logic[name] = digest([CODE_VERSION, draft.materialized, sql, *added, *sorted(views)])
        models[name] = _model(draft, bindings[name], own, schema, logic[name])
    return models


def _model(draft: Draft, binding: Binding, tests: list[TestDraft], schema: "Schema", logic: str) -> Model:
    order = order_terms(draft.query, draft.rendered, binding.columns)
    if draft.layer == "marts" and not order:
        problem = (
            "the SQL of a mart must end with an ORDER BY on columns of the result, so that the same rows "
            "always give the same digest"
        )
        last = draft.rendered.sql.rstrip().count("\n") + 1
        raise UnorderedModelError(draft.rendered.file, draft.rendered.line(last), problem)
    if draft.layer == "views" and draft.materialized != "view":
        problem = (
            f"a model of views/ is not stored, so it cannot be materialized as {draft.materialized!r}; move "
            "the file to marts/, or remove materialized from its config()"
        )
        raise ProjectFileError(draft.rendered.file, draft.rendered.line(1), problem)
    hashes = sorted(f"{test.name} {test.severity} {canonical_sql(test.query)}" for test in tests)
    return Model(
        name=draft.name,
        path=draft.rendered.file,
        layer=draft.layer,
        description=draft.entry.description if draft.entry else "",
        columns=_documented(draft.entry, binding.columns),
        materialized=draft.materialized,
        models=draft.models(),
        sources=draft.sources(),
        rendered=draft.rendered,
        reads=binding.reads,
        order=order,
        tests=tuple(
            DataTest(
                name=test.name,
                kind=test.kind,
                column=test.column,
                severity=test.severity,
                description=test.description,
                rendered=test.rendered,
                reads=bind(test.query, test.rendered, schema).reads,
            )
            for test in tests
        ),
        code_version=digest([logic, *hashes]),
        increment=_increment(draft, binding, schema),
    )


def _increment(draft: Draft, whole: Binding, schema: "Schema") -> Increment | None:
    """The increment, bound; its columns must be those of the whole, and the key among them."""
    if draft.increment is None:
        return None
    rendered, query = draft.increment
    binding, key = bind(query, rendered, schema), unique_key_of(draft.rendered)
    if binding.columns != whole.columns:
        raise ProjectFileError(
            rendered.file,
            rendered.line(1),
            f"the model has the columns {', '.join(whole.columns)} when it is built whole, but "
            f"{', '.join(binding.columns)} when is_incremental() is true; both must have the same columns",
        )
    if missing := [name for name in key if name not in whole.columns]:
        raise UnknownColumnError(rendered.file, rendered.line(1), missing[0], whole.columns)
    reads = {name: columns for name, columns in binding.reads.items() if name != draft.name}
    return Increment(rendered=rendered, reads=reads, unique_key=key)


def _documented(entry: ModelEntry | None, names: tuple[str, ...]) -> tuple[Column, ...]:
    if entry is None:
        return tuple(Column(name=name) for name in names)
    for column, node in zip(entry.columns, entry.column_nodes, strict=True):
        if column.name not in names:
            raise UnknownColumnError(node.file, node.line, column.name, names)
    documented = {column.name: column for column in entry.columns}
    return tuple(documented.get(name, Column(name=name)) for name in names)
