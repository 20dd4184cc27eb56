"""The page of a SQL model: its columns with what they come from, the verdicts on its rows, the first of them.

Dagster's own interface keeps column lineage as metadata and draws it in its paid edition alone.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tamis.base.numbers import MISSING
from tamis.report.rendering import render
from tamis.sql import Leaves, Model, ModelResult, Project, TestResult

SHOWN_ROWS, SHOWN_CHARACTERS = 12, 80


@dataclass(frozen=True, kw_only=True)
class SqlModelPage:
    """`tests`: with a row that breaks each. `columns`: of the table, with "n" for numbers.

    `reads`, `readers`: the models and sources before it, and the models after it.
    """

    model: Model
    result: ModelResult
    lineage: Leaves
    tests: list[tuple[TestResult, str]]
    failed: int
    columns: list[tuple[str, str]]
    rows: list[list[str]]
    path: str
    reads: list[str]
    readers: list[str]


def sql_model_page(project: Project, model: Model, result: ModelResult, lineage: Leaves) -> str:
    """Return the whole page; `lineage`: of the model's columns, as `Model.column_lineage` gives it."""
    return render(
        "sql_model.html",
        SqlModelPage(
            model=model,
            result=result,
            lineage=lineage,
            tests=[(test, _example(test)) for test in result.tests],
            failed=sum(not test.passed for test in result.tests),
            columns=[
                (
                    field.name,
                    "n" if pa.types.is_integer(field.type) or pa.types.is_floating(field.type) else "s",
                )
                for field in result.table.schema
            ],
            rows=[
                [_shown(value) for value in row.values()]
                for row in result.table.slice(0, SHOWN_ROWS).to_pylist()
            ],
            path=model.path.relative_to(project.folder.parent).as_posix(),
            reads=sorted([*model.models, *model.sources]),
            readers=sorted(other.name for other in project.models.values() if model.name in other.models),
        ),
    )


def _example(test: TestResult) -> str:
    return "; ".join(f"{name} {_shown(value)}" for row in test.sample[:1] for name, value in row.items())


def _shown(value: Any) -> str:
    text = MISSING if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("\n", " ")[:SHOWN_CHARACTERS]
