"""Reading a folder of SQL models: the folder is a valid dbt project, read without dbt.

Everything that can be wrong without data is found here, with file and line: names, columns, circles, order.
Eleven models with fifty tests load in about 0.4 s.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tamis.sql.errors import (
    CycleError,
    ProjectFileError,
    TemplateError,
    UnknownColumnError,
    UnorderedModelError,
)
from tamis.sql.generic import describe, name_of, render_test
from tamis.sql.graph import dependency_order, find_cycle
from tamis.sql.project import (
    CODE_VERSION,
    Column,
    DataTest,
    Layer,
    Materialization,
    Model,
    Project,
    Severity,
    Source,
    TestKind,
)
from tamis.sql.properties import (
    MATERIALIZATIONS,
    SEVERITIES,
    ModelEntry,
    ProjectSettings,
    TestEntry,
    read_properties,
    read_settings,
)
from tamis.sql.syntax import Binding, bind, canonical_sql, digest, new_schema, order_terms, parse
from tamis.sql.template import MODEL_SCHEMA, Names, Rendered, relation, render

if TYPE_CHECKING:
    from sqlglot import Schema, exp


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A model that is rendered and parsed, but not bound to the columns of what it reads."""

    name: str
    layer: Layer
    rendered: Rendered
    query: "exp.Query"
    entry: ModelEntry | None
    materialized: Materialization


@dataclass(frozen=True, kw_only=True)
class _TestDraft:
    """A test that is rendered and parsed, not bound; `model` is the one whose run it audits."""

    name: str
    kind: TestKind
    column: str | None
    severity: Severity
    description: str
    model: str
    rendered: Rendered
    query: "exp.Query"


def load_project(folder: Path) -> Project:
    """Load the SQL project in `folder`.

    Raises subclasses of `SqlProjectError`, each with file and line: `ProjectFileError`, `TemplateError`,
    `UnknownReferenceError`, `SqlSyntaxError`, `UnknownColumnError`, `UnorderedModelError`, `CycleError`.
    """
    settings = read_settings(folder)
    layers = {layer: _files(folder / layer, "sql") for layer in settings.layers}
    yaml_files = [file for layer in settings.layers for file in _files(folder / layer, "y*ml")]
    entries, sources = read_properties(yaml_files)
    names = _names(layers, sources)
    _check_entries(entries, names)
    drafts = [
        _draft(file, layer, names, entries, settings) for layer, files in layers.items() for file in files
    ]
    tests = _generic_tests(drafts, names)
    ordered = _in_order(drafts, tests)
    tests += _singular_tests(folder, settings, names, ordered)
    _check_test_names(tests)
    models = _models(ordered, tests, sources)
    return Project(name=settings.name, folder=folder, models=models, sources=sources)


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.rglob(f"*.{suffix}"))


def _names(layers: dict[str, list[Path]], sources: dict[str, Source]) -> Names:
    models: set[str] = set()
    for file in (file for files in layers.values() for file in files):
        if file.stem in models or file.stem in sources:
            raise ProjectFileError(file, 1, f"the name {file.stem!r} is taken by another model or source")
        models.add(file.stem)
    for source in sources.values():
        if source.group == MODEL_SCHEMA:
            raise ProjectFileError(source.file, source.line, f"a source cannot be named {MODEL_SCHEMA!r}")
    groups = {name: source.group for name, source in sources.items()}
    return Names(models=frozenset(models), sources=groups)


def _check_entries(entries: dict[str, ModelEntry], names: Names) -> None:
    for name, entry in entries.items():
        if name not in names.models:
            valid = ", ".join(sorted(names.models)) or "none"
            raise entry.node.fail(f"describes the model {name!r}, which has no SQL file; valid: {valid}")


def _draft(
    file: Path, layer: str, names: Names, entries: dict[str, ModelEntry], settings: ProjectSettings
) -> _Draft:
    rendered = render(file, _text(file), names, this=file.stem)
    materialized = _option(rendered, "materialized", MATERIALIZATIONS, settings.materialized)
    return _Draft(
        name=file.stem,
        layer=cast(Layer, layer),
        rendered=rendered,
        query=parse(rendered),
        entry=entries.get(file.stem),
        materialized=cast(Materialization, materialized),
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProjectFileError(file, 1, f"is not UTF-8: {error.reason}") from error


def _option(rendered: Rendered, key: str, valid: tuple[str, ...], default: str) -> str:
    value = str(rendered.config.get(key, default))
    if value not in valid:
        raise TemplateError(rendered.file, rendered.line(1), f"{key} {value!r}; valid: {', '.join(valid)}")
    return value


def _generic_tests(drafts: list[_Draft], names: Names) -> list[_TestDraft]:
    return [
        _generic_test(entry, draft.name, names)
        for draft in drafts
        if draft.entry
        for entry in draft.entry.tests
    ]


def _check_test_names(tests: list[_TestDraft]) -> None:
    taken: set[str] = set()
    for test in tests:
        if test.name in taken:
            problem = f"the test name {test.name!r} is taken; give this one another (in YAML by `name:`)"
            raise ProjectFileError(test.rendered.file, test.rendered.line(1), problem)
        taken.add(test.name)


def _generic_test(entry: TestEntry, model: str, names: Names) -> _TestDraft:
    rendered = render_test(entry, model, names)
    return _TestDraft(
        name=name_of(entry, model),
        kind=cast(TestKind, entry.kind),
        column=entry.column,
        severity=cast(Severity, entry.severity),
        description=entry.description or describe(entry),
        model=model,
        rendered=rendered,
        query=parse(rendered),
    )


def _in_order(drafts: list[_Draft], tests: list[_TestDraft]) -> dict[str, _Draft]:
    """Drafts, each after what it reads and what its tests compare it with."""
    by_name = {draft.name: draft for draft in drafts}
    parents = {name: set(draft.rendered.models) for name, draft in by_name.items()}
    for test in tests:
        parents[test.model].update(set(test.rendered.models) - {test.model})
    if cycle := find_cycle(parents):
        rendered = by_name[cycle[0]].rendered
        raise CycleError(rendered.file, rendered.line(1), cycle)
    return {name: by_name[name] for name in dependency_order(parents)}


def _singular_tests(
    folder: Path, settings: ProjectSettings, names: Names, drafts: dict[str, _Draft]
) -> list[_TestDraft]:
    files = [file for tests in settings.test_folders for file in _files(folder / tests, "sql")]
    return [_singular_test(file, names, drafts) for file in files]


def _singular_test(file: Path, names: Names, drafts: dict[str, _Draft]) -> _TestDraft:
    rendered = render(file, _text(file), names)
    if not rendered.models:
        raise ProjectFileError(file, 1, "a test needs ref() of the model that it audits")
    # It belongs to the last stored model that it reads: the others exist by then, and views are inlined.
    stored = [model for model in rendered.models if drafts[model].materialized != "view"]
    return _TestDraft(
        name=file.stem,
        kind="singular",
        column=None,
        severity=cast(Severity, _option(rendered, "severity", SEVERITIES, "error")),
        description=file.stem.replace("_", " "),
        model=max(stored or rendered.models, key=list(drafts).index),
        rendered=rendered,
        query=parse(rendered),
    )


def _models(
    drafts: dict[str, _Draft], tests: list[_TestDraft], sources: dict[str, Source]
) -> dict[str, Model]:
    schema = new_schema(
        {
            relation(source.group, source.name): [column.name for column in source.columns]
            for source in sources.values()
        }
    )
    bindings: dict[str, Binding] = {}
    for name, draft in drafts.items():
        bindings[name] = bind(draft.query, draft.rendered, schema)
        types = dict.fromkeys(bindings[name].columns, "text")
        schema.add_table(relation(MODEL_SCHEMA, name), types, dialect="duckdb")
    logic: dict[str, str] = {}
    models: dict[str, Model] = {}
    for name, draft in drafts.items():
        own = [test for test in tests if test.model == name]
        logic[name] = _logic(draft, drafts, logic)
        models[name] = _model(draft, bindings[name], own, schema, logic[name])
    return models


def _logic(draft: _Draft, drafts: dict[str, _Draft], logic: dict[str, str]) -> str:
    """Hash of what decides the rows: the SQL of the model and of the views that a run inlines."""
    views = [logic[parent] for parent in draft.rendered.models if drafts[parent].materialized == "view"]
    return digest([CODE_VERSION, draft.materialized, canonical_sql(draft.query), *sorted(views)])


def _model(draft: _Draft, binding: Binding, tests: list[_TestDraft], schema: "Schema", logic: str) -> Model:
    order = order_terms(draft.query, draft.rendered, binding.columns)
    if draft.layer == "marts" and not order:
        problem = "a mart needs ORDER BY columns of its result, so that equal content has equal digests"
        last = draft.rendered.sql.rstrip().count("\n") + 1
        raise UnorderedModelError(draft.rendered.file, draft.rendered.line(last), problem)
    hashes = sorted(f"{test.name} {test.severity} {canonical_sql(test.query)}" for test in tests)
    return Model(
        name=draft.name,
        path=draft.rendered.file,
        layer=draft.layer,
        description=draft.entry.description if draft.entry else "",
        columns=_documented(draft.entry, binding.columns),
        materialized=draft.materialized,
        models=draft.rendered.models,
        sources=draft.rendered.sources,
        rendered=draft.rendered,
        reads=binding.reads,
        order=order,
        tests=tuple(_test(test, schema) for test in tests),
        code_version=digest([logic, *hashes]),
    )


def _test(test: _TestDraft, schema: "Schema") -> DataTest:
    return DataTest(
        name=test.name,
        kind=test.kind,
        column=test.column,
        severity=test.severity,
        description=test.description,
        rendered=test.rendered,
        reads=bind(test.query, test.rendered, schema).reads,
    )


def _documented(entry: ModelEntry | None, names: tuple[str, ...]) -> tuple[Column, ...]:
    if entry is None:
        return tuple(Column(name=name) for name in names)
    for column, node in zip(entry.columns, entry.column_nodes, strict=True):
        if column.name not in names:
            raise UnknownColumnError(node.file, node.line, column.name, names)
    documented = {column.name: column for column in entry.columns}
    return tuple(documented.get(name, Column(name=name)) for name in names)
