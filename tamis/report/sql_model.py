"""The page of a SQL model: its columns with what they come from, the verdicts on its rows, the first of them.

Dagster's own interface keeps column lineage as metadata and draws it in its paid edition alone.
"""

from typing import Any

import pyarrow as pa

from tamis.report.page import Column, Content, Markup, count, document, element, paragraph, section, table
from tamis.sql import Leaves, Model, ModelResult, Project, TestResult

SHOWN_ROWS, SHOWN_CHARACTERS = 12, 80
KINDS = {
    "view": "A view: computed and tested in each run, stored nowhere.",
    "table": "A table: computed whole, and published when its tests pass.",
    "incremental": "An incremental table: rows of new inputs are added, and all are computed again in a full "
    "run; published when its tests pass.",
}


def sql_model_page(project: Project, model: Model, result: ModelResult, lineage: Leaves) -> str:
    """The whole page as HTML; `lineage`: of the model's columns, as `Model.column_lineage` gives it."""
    return document(
        f"SQL model {model.name}",
        model.description or "No description yet: add one to the YAML file beside the model.",
        _answer(model, result),
        section("Columns, and what their values come from", *_columns(model, lineage)),
        section("Tests", _tests(result)),
        section("The first rows", _rows(result.table.slice(0, SHOWN_ROWS))),
        section("Where it stands", *_place(project, model)),
    )


def _answer(model: Model, result: ModelResult) -> Markup:
    failed = [test for test in result.tests if not test.passed]
    text = (
        f"{count(result.rows)} rows; {count(len(result.tests) - len(failed))} of {count(len(result.tests))} "
    )
    text += "tests passed. "
    if not result.passed:
        text += "The table before stays in place, since a test of severity error failed. "
    shade = "red" if not result.passed else "amber" if failed else "green"
    return paragraph(text, KINDS[model.materialized], class_=f"answer {shade}")


def _columns(model: Model, lineage: Leaves) -> list[Markup]:
    rows: list[list[Content]] = [
        [column.name, column.description or None, _leaves(lineage.get(column.name, []))]
        for column in model.columns
    ]
    note = (
        "Sources are columns of the store's tables, followed through all models between. A column without "
        "any counts rows or is a constant. What rows are joined or filtered by does not count as a source."
    )
    headings = [Column(heading=name) for name in ("column", "meaning", "comes from")]
    return [paragraph(note, class_="note"), table(headings, rows)]


def _leaves(leaves: list[tuple[str, str]]) -> Content:
    if not leaves:
        return None
    names = [element("code", f"{source}.{column}") for source, column in leaves]
    return Markup(", ".join(names))


def _tests(result: ModelResult) -> Markup:
    if not result.tests:
        return paragraph("None yet.", class_="note")
    headings = [Column(heading="test", kind="s"), Column(heading="severity"), Column(heading="verdict")]
    headings += [Column(heading="rows that break it", kind="n"), Column(heading="for example")]
    return table(headings, [_test(test) for test in result.tests])


def _test(test: TestResult) -> list[Content]:
    shade = "green" if test.passed else "red" if test.severity == "error" else "amber"
    verdict = element("span", "passed" if test.passed else "failed", class_=f"mark {shade}")
    example = (
        "; ".join(f"{name} {_shown(value)}" for name, value in test.sample[0].items()) if test.sample else ""
    )
    return [test.name, test.severity, verdict, count(test.failures), example]


def _rows(rows: pa.Table) -> Markup:
    numeric = [pa.types.is_integer(field.type) or pa.types.is_floating(field.type) for field in rows.schema]
    headings = [
        Column(heading=name, kind="n" if number else "s")
        for name, number in zip(rows.schema.names, numeric, strict=True)
    ]
    return table(headings, [[_shown(value) for value in row.values()] for row in rows.to_pylist()])


def _place(project: Project, model: Model) -> list[Markup]:
    readers = sorted(other.name for other in project.models.values() if model.name in other.models)
    reads = sorted([*model.models, *model.sources])
    path = model.path.relative_to(project.folder.parent).as_posix()
    return [
        paragraph("Written in ", element("code", path), f", code version {model.code_version}."),
        paragraph(
            f"Reads {', '.join(reads) or 'nothing'}; read by {', '.join(readers) or 'no other model'}."
        ),
    ]


def _shown(value: Any) -> str:
    text = "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("\n", " ")[:SHOWN_CHARACTERS]
