"""The page of a SQL model: columns with their sources, verdicts, the first rows."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tamis.report.sql_model import sql_model_page
from tamis.sql import ModelResult, TestResult, column_lineage, load_project

FOLDER = Path(__file__).parents[2] / "dbt_like_sql"
PROJECT = load_project(FOLDER)


def result(passed: bool = True, severity: str = "error") -> ModelResult:
    test = TestResult(
        name="unique_x",
        column="x",
        kind="unique",
        severity=severity,
        passed=passed,
        failures=0 if passed else 3,
        sample=() if passed else ({"x": "a<b", "occurrences": 2},),
    )
    table = pa.table({"selection": ["near"], "share": [0.25], "reason": ["a|b\nc"]})
    return ModelResult(table=table, rows=1_234, tests=(test,), seconds=1.0)


def page_of(name: str, found: ModelResult) -> str:
    model = PROJECT.models[name]
    return sql_model_page(PROJECT, model, found, column_lineage(PROJECT, model))


@pytest.mark.parametrize("name", list(PROJECT.models))
def test_every_column_of_every_model_is_shown_with_its_meaning(name):
    page = page_of(name, result())
    for column in PROJECT.models[name].columns:
        assert f"<td>{column.name}</td>" in page
    assert "://" not in page


def test_columns_are_traced_through_all_models():
    page = page_of("mart_reasons", result())
    assert "<code>decisions.reason</code>" in page
    assert "read by no other model" in page
    assert "dbt_like_sql/marts/mart_reasons.sql" in page


@pytest.mark.parametrize(
    ("passed", "severity", "shade", "kept"),
    [(True, "error", "green", False), (False, "warn", "amber", False), (False, "error", "red", True)],
)
def test_a_failed_test_says_whether_the_table_was_replaced(passed, severity, shade, kept):
    page = page_of("mart_reasons", result(passed, severity))
    assert f'class="answer {shade}"' in page
    assert ("The previous table is kept" in page) == kept
    assert ("x a&lt;b; occurrences 2" in page) == (not passed)


def test_names_and_values_are_escaped(hostile, read_page):
    test = TestResult(
        name=hostile,
        column="x",
        kind="unique",
        severity="warn",
        passed=False,
        failures=1,
        sample=({hostile: hostile},),
    )
    found = ModelResult(table=pa.table({hostile: [hostile]}), rows=1, tests=(test,), seconds=1.0)
    model = replace(
        PROJECT.models["mart_reasons"],
        description=hostile,
        columns=(replace(PROJECT.models["mart_reasons"].columns[0], name=hostile, description=hostile),),
    )
    text = read_page(sql_model_page(PROJECT, model, found, {hostile: [(hostile, hostile)]}))
    assert f"{hostile} {hostile} {hostile}.{hostile}" in text  # a column
    assert f"{hostile} warn failed 1 {hostile} {hostile}" in text  # a test
    assert f"The first rows {hostile} {hostile} Where" in text
    assert text.count(hostile) == 1 + 4 + 3 + 2


def test_the_same_result_gives_the_same_page():
    slower = ModelResult(table=result().table, rows=1_234, tests=result().tests, seconds=9.0)
    assert page_of("mart_intake", result()) == page_of("mart_intake", slower)
