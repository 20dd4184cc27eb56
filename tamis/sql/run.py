"""Running data tests on a finished result before it is published (write, audit, publish); 1-3 ms each."""

import math
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from tamis.base.kept_errors import not_kept
from tamis.base.progress import Advance, ignore
from tamis.sql.errors import MissingColumnsError, ModelRunError, SlowModelError
from tamis.sql.plan import Plan, plan_run
from tamis.sql.project import DataTest, Increment, Model, Project, Severity, Source, TestKind
from tamis.sql.template import MODEL_SCHEMA, Rendered, relation

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
BEFORE, ADDED, WHOLE = "rows_before", "rows_added", "rows_whole"
MEMORY_LIMIT, SPILL_LIMIT = "1GB", "50GB"
TIME_LIMIT_SECONDS = 900.0
"""Of a model with its tests: those of a million documents take seconds."""
ASKED_TO_END_SECONDS = 0.2
_CLOSED = ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access")


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


class Read(Protocol):
    """Reader by which a run obtains a source table or a materialized model; columns None = all."""

    def __call__(self, name: str, columns: list[str] | None) -> pa.Table | pa.RecordBatchReader: ...


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """Rows of a model and the verdicts on them; `seconds` is wall clock, reading included.

    `table` holds all `rows`, or the first of them where only some were asked for; `increment`: how many of
    them were computed again, None where all were.
    """

    table: pa.Table
    rows: int
    tests: tuple[TestResult, ...]
    seconds: float
    increment: int | None = None

    @property
    def passed(self) -> bool:
        """True if every test of severity error passed: only then may the table be published."""
        return all(test.passed for test in self.tests if test.severity == "error")


def run_model(
    project: Project,
    name: str,
    read: Read,
    *,
    previous: pa.Table | None = None,
    first: int | None = None,
    threads: int = 2,
    memory_limit: str = MEMORY_LIMIT,
    time_limit: float = TIME_LIMIT_SECONDS,
    advance: Advance = ignore,
) -> ModelResult:
    """Compute a model and run its tests.

    `previous`: the table of an incremental model, to be brought up to date; without it, or where its columns
    are not those of the model, all rows are computed. `first`: bring back only so many rows.

    Upstream views are inlined; sources and materialized models come from `read`, which is asked for the
    columns that the result needs. `advance` is called with the number of rows read. `time_limit`: seconds of
    DuckDB's work. Raises `UnknownNameError`, `MissingColumnsError` when a table lacks a column,
    `ModelRunError` when DuckDB refuses the SQL (memory over the limit included), and `SlowModelError`.
    """
    started = time.perf_counter()
    model = project.model(name)
    plan = plan_run(project, model)
    with _connection(threads, memory_limit) as connection, _ended_after(connection, model, time_limit):

        def computed(columns: Mapping[str, tuple[str, ...]]) -> tuple[int | None, tuple[TestResult, ...]]:
            _register(connection, project, plan.named, columns, read, advance)
            increment = _compute(connection, plan, model, previous)
            return increment, tuple(run_test(connection, test) for test in model.tests)

        try:
            increment, tests = computed(plan.needed)
        except ModelRunError as error:
            if UNREAD not in error.problem:
                raise
            # Rare: DuckDB evaluates a column that cannot change the result (GROUP BY ALL over it, say).
            increment, tests = computed(plan.named)
        table, rows = _result(connection, model, first)
    return ModelResult(
        table=table, rows=rows, tests=tests, seconds=time.perf_counter() - started, increment=increment
    )


@contextmanager
def _connection(threads: int, memory_limit: str) -> "Iterator[duckdb.DuckDBPyConnection]":
    import duckdb

    with tempfile.TemporaryDirectory(prefix="tamis-sql-") as folder:
        connection = duckdb.connect(":memory:", config={"threads": threads, "memory_limit": memory_limit})
        try:
            connection.execute("set temp_directory = $1", [str(Path(folder) / "spill")])
            connection.execute(f"set max_temp_directory_size = '{SPILL_LIMIT}'")
            for setting in _CLOSED:
                connection.execute(f"set {setting} = false")
            connection.execute("set lock_configuration = true")
            connection.execute(f'create schema "{MODEL_SCHEMA}"')
            yield connection
        finally:
            connection.close()


@contextmanager
def _ended_after(connection: "duckdb.DuckDBPyConnection", model: Model, seconds: float) -> Iterator[None]:
    """End what DuckDB does after so many seconds; raises `SlowModelError` where it was ended."""
    import duckdb

    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        late.set()
        while not done.wait(ASKED_TO_END_SECONDS):  # a statement that begins in between, too
            connection.interrupt()

    watching = threading.Thread(target=watch, name="time limit of a model", daemon=True)
    watching.start()
    try:
        yield
    except (ModelRunError, duckdb.Error) as error:
        if late.is_set():
            raise SlowModelError(model.rendered.file, model.name, seconds) from error
        raise
    finally:
        done.set()
        watching.join()


def _register(
    connection: "duckdb.DuckDBPyConnection",
    project: Project,
    named: Mapping[str, tuple[str, ...]],
    needed: Mapping[str, tuple[str, ...]],
    read: Read,
    advance: Advance,
) -> None:
    """Make each table a DuckDB view over Arrow, with the columns that are needed.

    The others that the SQL names fail when they are evaluated.
    """
    for name, wanted in needed.items():
        declared = project.sources.get(name) or project.models[name]
        types = {column.name: column.data_type for column in declared.columns}
        # Without a declared type nothing can replace a column, so it is read.
        unread = [column for column in named[name] if column not in wanted and types.get(column)]
        columns = sorted({*wanted, *named[name]} - {*unread})
        data = read(name, columns)
        table = data.read_all() if isinstance(data, pa.RecordBatchReader) else data
        if missing := set(columns) - set(table.column_names):
            raise MissingColumnsError(name, missing, table.column_names)
        connection.register(f"arrow_{name}", table.select(columns))
        schema = declared.group if isinstance(declared, Source) else MODEL_SCHEMA
        failing = [f"cast(error('{UNREAD}') as {types[column]}) as \"{column}\"" for column in unread]
        connection.execute(f'create schema if not exists "{schema}"')
        connection.execute(
            f"create or replace view {relation(schema, name)} as "
            f'select {", ".join(["*", *failing])} from "arrow_{name}"'
        )
        advance(table.num_rows)


def _compute(
    connection: "duckdb.DuckDBPyConnection", plan: Plan, model: Model, previous: pa.Table | None
) -> int | None:
    """Make the rows of the model under its name; returns how many are new of an increment."""
    for view in plan.views:
        _create(connection, "view", relation(MODEL_SCHEMA, view.name), view.rendered, view.name)
    if previous is not None and model.increment and previous.column_names == [c.name for c in model.columns]:
        return _add(connection, model, model.increment, previous)
    _create(connection, "temp table", WHOLE, model.rendered, model.name)
    _name_rows(connection, model, f"select * from {WHOLE}")
    return None


def _add(
    connection: "duckdb.DuckDBPyConnection", model: Model, increment: Increment, previous: pa.Table
) -> int:
    """The rows before without those that the increment replaces, and the increment, as dbt does it."""
    connection.register(BEFORE, previous)
    _name_rows(connection, model, f"select * from {BEFORE}")
    _create(connection, "temp table", ADDED, increment.rendered, model.name)
    same = " and ".join(f'added."{name}" = kept."{name}"' for name in increment.unique_key)
    replaced = f"where not exists (select 1 from {ADDED} as added where {same})" if same else ""
    connection.execute(
        f"create or replace temp table {WHOLE} as "
        f"select * from {BEFORE} as kept {replaced} union all select * from {ADDED}"
    )
    _name_rows(connection, model, f"select * from {WHOLE}")
    return int(connection.execute(f"select count(*) from {ADDED}").fetchall()[0][0])


def _name_rows(connection: "duckdb.DuckDBPyConnection", model: Model, query: str) -> None:
    """Let the model's name mean these rows: its tests see finished rows, not a second evaluation."""
    connection.execute(f"create or replace view {relation(MODEL_SCHEMA, model.name)} as {query}")


def _create(
    connection: "duckdb.DuckDBPyConnection", kind: str, name: str, rendered: Rendered, model: str
) -> None:
    import duckdb

    try:
        connection.execute(f"create or replace {kind} {name} as\n{rendered.sql}")
    except duckdb.Error as error:
        raise run_error(error, rendered, f"model {model}") from error


def _result(connection: "duckdb.DuckDBPyConnection", model: Model, first: int | None) -> tuple[pa.Table, int]:
    """The rows in order, or the first of them, and how many there are."""
    import duckdb

    positions = (str(place) for place in range(1, len(model.columns) + 1))
    order = ", ".join([*model.order, *positions])
    limit = "" if first is None else f" limit {first}"
    try:
        table = connection.sql(f"select * from {WHOLE} order by {order}{limit}").to_arrow_table()
        rows = connection.execute(f"select count(*) from {WHOLE}").fetchall()[0][0]
    except duckdb.Error as error:
        raise run_error(error, model.rendered, f"model {model.name}") from error
    return table, int(rows)
