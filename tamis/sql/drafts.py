"""Drafts of models and tests: rendered and parsed, not yet bound to the columns of what they read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tamis.sql.errors import ProjectFileError, TemplateError
from tamis.sql.generic import describe, name_of, render_test
from tamis.sql.project import Layer, Materialization, Severity, TestKind
from tamis.sql.properties import MATERIALIZATIONS, SEVERITIES, ModelEntry, ProjectSettings, TestEntry
from tamis.sql.syntax import parse
from tamis.sql.template import MODEL_SCHEMA, Names, Rendered, render

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A model that is rendered and parsed, but not bound to the columns of what it reads.

    `increment`: an incremental model, rendered and parsed as what is added to its table.
    """

    name: str
    layer: Layer
    rendered: Rendered
    query: "exp.Query"
    entry: ModelEntry | None
    materialized: Materialization
    increment: "tuple[Rendered, exp.Query] | None"

    def models(self) -> tuple[str, ...]:
        """Models that it reads, whole or as an increment."""
        return tuple(dict.fromkeys(name for found in self.renderings() for name in found.models))

    def sources(self) -> tuple[str, ...]:
        """Sources that it reads, whole or as an increment."""
        return tuple(dict.fromkeys(name for found in self.renderings() for name in found.sources))

    def renderings(self) -> tuple[Rendered, ...]:
        """As a whole and, where it has one, the increment."""
        return (self.rendered, self.increment[0]) if self.increment else (self.rendered,)


@dataclass(frozen=True, kw_only=True)
class TestDraft:
    """A test that is rendered and parsed, not bound; `model` is the one whose run it audits."""

    __test__ = False

    name: str
    kind: TestKind
    column: str | None
    severity: Severity
    description: str
    model: str
    rendered: Rendered
    query: "exp.Query"


def files_of(folder: Path, suffix: str) -> list[Path]:
    """Files of that suffix at and below a folder, sorted."""
    return sorted(folder.rglob(f"*.{suffix}"))


def draft_model(
    file: Path, layer: str, names: Names, entries: dict[str, ModelEntry], settings: ProjectSettings
) -> Draft:
    """The model of a file; raises `TemplateError`, `UnknownReferenceError` or `SqlSyntaxError`."""
    from sqlglot import exp

    text = _text(file)
    rendered = render(file, text, names, this=file.stem)
    materialized = _option(rendered, "materialized", MATERIALIZATIONS, settings.materialized)
    query, increment = parse(rendered), None
    if materialized == "incremental":
        added = render(file, text, names, this=file.stem, incremental=True)
        increment = (added, parse(added))
    elif "unique_key" in rendered.config:
        raise TemplateError(
            file, rendered.line(1), "unique_key is valid only with materialized='incremental'"
        )
    if file.stem not in rendered.models and any(
        (table.db, table.name) == (MODEL_SCHEMA, file.stem) for table in query.find_all(exp.Table)
    ):
        problem = "`this` is valid only inside is_incremental() of a model with materialized='incremental'"
        raise TemplateError(file, rendered.line(1), problem)
    return Draft(
        name=file.stem,
        layer=cast(Layer, layer),
        rendered=rendered,
        query=query,
        entry=entries.get(file.stem),
        materialized=cast(Materialization, materialized),
        increment=increment,
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProjectFileError(file, 1, f"the file is not UTF-8: {error.reason}") from error


def _option(rendered: Rendered, key: str, valid: tuple[str, ...], default: str) -> str:
    value = str(rendered.config.get(key, default))
    if value not in valid:
        raise TemplateError(
            rendered.file, rendered.line(1), f"{key} = {value!r} is not valid; valid: {', '.join(valid)}"
        )
    return value


def unique_key_of(rendered: Rendered) -> tuple[str, ...]:
    """Columns that name a row of an incremental model; none: rows are only added."""
    key = rendered.config.get("unique_key") or ()
    names = [key] if isinstance(key, str) else key
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        problem = f"unique_key must be a column name or a list of column names, not {key!r}"
        raise TemplateError(rendered.file, rendered.line(1), problem)
    return tuple(names)


def generic_tests(drafts: list[Draft], names: Names) -> list[TestDraft]:
    """Return the tests that the YAML of the models asks for."""
    return [
        _generic_test(entry, draft.name, names)
        for draft in drafts
        if draft.entry
        for entry in draft.entry.tests
    ]


def _generic_test(entry: TestEntry, model: str, names: Names) -> TestDraft:
    rendered = render_test(entry, model, names)
    return TestDraft(
        name=name_of(entry, model),
        kind=cast(TestKind, entry.kind),
        column=entry.column,
        severity=cast(Severity, entry.severity),
        description=entry.description or describe(entry),
        model=model,
        rendered=rendered,
        query=parse(rendered),
    )


def singular_tests(
    folder: Path, settings: ProjectSettings, names: Names, drafts: Mapping[str, Draft]
) -> list[TestDraft]:
    """Tests that are files of their own: each returns the rows that break it."""
    return [
        _singular_test(file, names, drafts)
        for tests in settings.test_folders
        for file in files_of(folder / tests, "sql")
    ]


def _singular_test(file: Path, names: Names, drafts: Mapping[str, Draft]) -> TestDraft:
    rendered = render(file, _text(file), names)
    if not rendered.models:
        raise ProjectFileError(file, 1, "the test has no ref(); refer to the model that it tests with ref()")
    # It belongs to the last stored model that it reads: the others exist by then, and views are inlined.
    stored = [model for model in rendered.models if drafts[model].materialized != "view"]
    return TestDraft(
        name=file.stem,
        kind="singular",
        column=None,
        severity=cast(Severity, _option(rendered, "severity", SEVERITIES, "error")),
        description=file.stem.replace("_", " "),
        model=max(stored or rendered.models, key=list(drafts).index),
        rendered=rendered,
        query=parse(rendered),
    )
