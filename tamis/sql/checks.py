"""Running data tests on a finished result before it is published (write, audit, publish); 1-3 ms each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tamis.base.kept_errors import not_kept
from tamis.sql.errors import ModelRunError
from tamis.sql.project import DataTest, Severity, TestKind
from tamis.sql.template import Rendered

if TYPE_CHECKING:
    import duckdb

SAMPLE_ROWS = 5
UNREAD = "column was not read"
OF_SQL_ALONE = (
    "BinderException",
    "CatalogException",
    "NotImplementedException",
    "OutOfMemoryException",
    "ParserException",
    "PermissionException",
    "SyntaxException",
)
"""Errors of DuckDB whose message is about the statement, never about a row."""


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """Verdict of one test; `failures` counts the rows its SQL returned, `sample` holds the first five.

    Values of the sample that JSON cannot hold (times, NaN, infinities) are given as text.
    """

    __test__ = False

    name: str
    column: str | None
    kind: TestKind
    severity: Severity
    passed: bool
    failures: int
    sample: tuple[Mapping[str, Any], ...]


def run_test(connection: "duckdb.DuckDBPyConnection", test: DataTest) -> TestResult:
    """Run one test; raises `ModelRunError` when DuckDB refuses its SQL."""
    import duckdb

    try:
        connection.execute(f"create or replace temp view failing_rows as\n{test.rendered.sql}")
        failures = int(connection.execute("select count(*) from failing_rows").fetchall()[0][0])
        sample: tuple[dict[str, Any], ...] = ()
        if failures:
            rows = connection.sql(f"select * from failing_rows order by all limit {SAMPLE_ROWS}")
            sample = tuple(
                {name: _plain(value) for name, value in row.items()}
                for row in rows.to_arrow_table().to_pylist()
            )
    except duckdb.Error as error:
        raise run_error(error, test.rendered, f"test {test.name}") from error
    return TestResult(
        name=test.name,
        column=test.column,
        kind=test.kind,
        severity=test.severity,
        passed=failures == 0,
        failures=failures,
        sample=sample,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):  # what DuckDB makes of a sum of integers
        return int(value) if value == value.to_integral_value() else float(value)
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if isinstance(value, str | int | float | None) and finite else str(value)


def run_error(error: Exception, rendered: Rendered, what: str) -> ModelRunError:
    """Return the error for SQL that DuckDB refused, at the line that it names."""
    import duckdb

    text, withheld = str(error), ""
    _, found, rest = text.partition("LINE ")
    number = rest.partition(":")[0]
    # The first line of the statement is `create view`: the SQL of the file begins on the second.
    line = rendered.line(int(number) - 1 if found and number.isdigit() else 1)
    of_sql_alone = tuple(getattr(duckdb, name) for name in OF_SQL_ALONE)
    if not isinstance(error, of_sql_alone) and text != f"Invalid Input Error: {UNREAD}":
        text, withheld = f"{text.partition(':')[0]} while the rows were computed; {not_kept(text)}", text
    return ModelRunError(rendered.file, line, f"{what}: {text}", withheld)
