"""Running models: inputs, order, write-audit-publish, isolation from files and network."""

import threading
import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tamis.base.errors import UnknownNameError, may_pass
from tamis.sql import MissingColumnsError, ModelRunError, load_project, run_model
from tamis.sql.errors import SlowModelError
from tamis.sql.plan import plan_run

STAGING = "select id, weight, colour from {{ source('raw', 'items') }}"


def mart(sql: str) -> dict[str, str]:
    body = "{{ config(materialized='table') }}\n" + sql
    return {"staging/stg_items.sql": STAGING, "marts/m.sql": body}


@pytest.fixture
def run(write_project, items):
    """Run model `m` of a project of files over `items`; the reads are recorded."""
    reads = []

    def read(name, columns):
        reads.append((name, columns))
        return {"items": items}[name]

    def execute(files, name="m", **options):
        return run_model(load_project(write_project(files)), name, read, **options)

    execute.reads = reads
    return execute


def test_views_are_inlined_and_only_needed_columns_read(run):
    result = run(
        mart("select colour, count(*) as n from {{ ref('stg_items') }} group by colour order by colour")
    )
    assert result.table.to_pylist() == [
        {"colour": "blue", "n": 1},
        {"colour": "red", "n": 2},
        {"colour": None, "n": 1},
    ]
    assert run.reads == [("items", ["colour"])]
    assert (result.rows, result.passed, result.tests) == (3, True, ())
    assert result.seconds > 0


def test_a_column_that_the_plan_forgot_is_read_in_a_second_try(run, monkeypatch):
    """The plan trusts sqlglot; should it be wrong, the rows must still be right."""

    def forgetful(project, model):
        return replace(plan_run(project, model), needed={"items": ("colour",)})

    monkeypatch.setattr("tamis.sql.run.plan_run", forgetful)
    result = run(
        mart("select colour, sum(weight) as w from {{ ref('stg_items') }} group by 1 order by colour")
    )
    assert result.table["w"].to_pylist() == [4.0, 3.0, None]
    assert [columns for _, columns in run.reads] == [["colour"], ["colour", "id", "weight"]]


def test_order_by_decides_and_ties_go_by_the_columns_from_left_to_right(run):
    descending = run(mart("select colour, id from {{ ref('stg_items') }} order by colour desc nulls first"))
    assert descending.table["id"].to_pylist() == ["d", "a", "b", "c"]
    ascending = run(mart("select id, colour from {{ ref('stg_items') }} order by colour"))
    assert ascending.table["id"].to_pylist() == ["c", "a", "b", "d"]


def test_staging_rows_are_sorted_by_their_columns(write_project, items):
    project = load_project(write_project({"staging/stg_items.sql": STAGING}))
    shuffled = items.take([2, 0, 3, 1])
    result = run_model(project, "stg_items", lambda name, columns: shuffled)
    assert result.table["id"].to_pylist() == ["a", "b", "c", "d"]


def test_a_cte_may_bear_the_name_of_what_it_reads(run):
    sql = "with stg_items as (select * from {{ ref('stg_items') }}) select id from stg_items order by id"
    assert run(mart(sql)).rows == 4


def test_stored_parents_are_read_not_computed(write_project, items):
    files = mart("select id, weight from {{ ref('stg_items') }} order by id")
    files["marts/top.sql"] = "select max(weight) as top from {{ ref('m') }} order by top"
    project = load_project(write_project(files))
    stored = pa.table({"id": ["z"], "weight": [99.0]})
    result = run_model(project, "top", lambda name, columns: {"m": stored, "items": items}[name])
    assert result.table.to_pylist() == [{"top": 99.0}]
    assert plan_run(project, project.model("top")).needed == {"m": ("weight",)}


def test_read_may_return_record_batches_and_progress_counts_rows(write_project, items):
    project = load_project(write_project(mart("select id from {{ ref('stg_items') }} order by id")))
    seen = []
    result = run_model(project, "m", lambda name, columns: items.to_reader(), advance=seen.append)
    assert (result.rows, seen) == (4, [4])


def test_a_table_without_a_needed_column_is_an_error(write_project, items):
    project = load_project(write_project(mart("select id, weight from {{ ref('stg_items') }} order by id")))
    with pytest.raises(
        MissingColumnsError, match="from table 'items': weight; columns that the table has: colour, id"
    ):
        run_model(project, "m", lambda name, columns: items.drop_columns("weight"))
    with pytest.raises(UnknownNameError, match="valid: m, stg_items"):
        run_model(project, "none", lambda name, columns: items)


def test_what_duckdb_refuses_is_reported_at_the_line_of_the_file(run):
    with pytest.raises(ModelRunError) as caught:
        run(mart("select\n  id,\n  no_such_function(weight) as x\nfrom {{ ref('stg_items') }}\norder by id"))
    assert caught.value.line == 4
    assert "no_such_function" in str(caught.value)
    with pytest.raises(ModelRunError, match=r"m\.sql:2: model m: Conversion Error"):
        run(mart("select cast(id as integer) as x from {{ ref('stg_items') }} order by x"))


@pytest.mark.parametrize(
    "sql",
    ["cast(colour as integer)", "json_extract(colour, '$.a')", "strptime(colour, '%Y')", "error(colour)"],
)
def test_an_error_of_a_row_does_not_quote_the_row(run, items, sql):
    with pytest.raises(ModelRunError) as caught:
        run(mart(f"select {sql} as x from {{{{ ref('stg_items') }}}} order by x"))
    values = [value for value in items["colour"].to_pylist() if value]
    assert any(value in caught.value.withheld for value in values), "the terminal shows it"
    assert not any(value in str(caught.value) for value in values)
    assert "message not kept" in str(caught.value)


@pytest.mark.parametrize(
    "source", ["read_csv('/etc/hostname')", "read_parquet('https://example.org/a.parquet')"]
)
def test_neither_files_nor_network_can_be_read(run, source):
    with pytest.raises(ModelRunError, match="disabled by configuration"):
        run(mart(f"select 1 as a from {source} order by a"))


def test_memory_is_bounded(write_project):
    project = load_project(
        write_project(mart("select list(id order by id) as ids from {{ ref('stg_items') }} order by ids"))
    )
    many = pa.table({"id": [f"{i:0100d}" for i in range(200_000)]})
    with pytest.raises(ModelRunError, match="Out of Memory"):
        run_model(project, "m", lambda name, columns: many, memory_limit="20MB", threads=1)


@pytest.mark.parametrize("slow", ["model", "test"])
def test_a_model_that_takes_too_long_is_ended_and_named(write_project, slow):
    pairs = " cross join ".join(f"{{{{ ref('stg_items') }}}} as t{number}" for number in range(9))
    endless = f"select count(*) as n from {pairs}"
    files = mart(f"{endless} order by n" if slow == "model" else "select 1 as n order by n")
    if slow == "test":
        pairs = " cross join ".join(f"{{{{ ref('m') }}}} as t{number}" for number in range(9))
        files = mart("select range as n from range(1000) order by n")
        files["tests/endless.sql"] = f"select count(*) as n from {pairs} having count(*) < 0"
    project = load_project(write_project(files))
    many = pa.table({"id": list(range(1_000))})
    began = time.monotonic()
    with pytest.raises(
        SlowModelError, match=r"model m and its tests took over 0.3 s and were ended"
    ) as found:
        run_model(project, "m", lambda name, columns: many, time_limit=0.3)
    assert time.monotonic() - began < 10
    assert not may_pass(found.value), "it is not tried again"


def test_a_model_within_its_time_leaves_no_thread_behind(run):
    run(mart("select 1 as n order by n"))
    assert not [one for one in threading.enumerate() if one.name.startswith("time limit")]


def test_nothing_is_left_in_the_working_folder(run, tmp_path, monkeypatch):
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    run(mart("select id from {{ ref('stg_items') }} order by id"))
    assert list(folder.iterdir()) == []


def incremental(key: str = ", unique_key='colour'", where: str = "") -> dict[str, str]:
    """Counts a colour; the increment counts colours that the table lacks, or those that `where` names."""
    where = where or "colour not in (select colour from {{ this }})"
    body = (
        f"{{{{ config(materialized='incremental'{key}) }}}}\n"
        "select colour, count(*) as n, sum(weight) as weight from {{ ref('stg_items') }}\n"
        f"where colour is not null {{% if is_incremental() %}} and {where} {{% endif %}}\n"
        "group by colour order by colour"
    )
    return {"staging/stg_items.sql": STAGING, "marts/m.sql": body}


def test_increments_equal_a_full_refresh(write_project, items):
    """Whatever the steps in which the input grows, as long as a colour comes whole."""
    project = load_project(write_project(incremental()))
    many = pa.table(
        {
            "id": [str(i) for i in range(40)],
            "weight": [i / 8 for i in range(40)],
            "colour": [f"c{i % 7}" for i in range(40)],
        }
    ).sort_by("colour")
    whole = run_model(project, "m", lambda name, columns: many).table
    for steps in ([3], [0, 1, 5], [1, 2, 3, 4, 5, 6]):
        previous, added = None, []
        for step in [*steps, 7]:
            colours = pa.array([f"c{i}" for i in range(step)], pa.string())
            seen = many.filter(pc.is_in(many["colour"], colours))
            result = run_model(project, "m", lambda name, columns, seen=seen: seen, previous=previous)
            previous = result.table
            added.append(result.increment)
        assert previous.equals(whole)
        assert added[0] is None
        assert sum(count or 0 for count in added[1:]) == 7 - steps[0]


def test_an_increment_replaces_rows_of_its_key_and_without_a_key_it_adds(write_project, items):
    previous = pa.table({"colour": ["blue", "green"], "n": [9, 9], "weight": [9.0, 9.0]})
    counted = {"colour": "blue", "n": 1, "weight": 4.0}
    stays = {"colour": "green", "n": 9, "weight": 9.0}
    for key, first in ((", unique_key='colour'", []), ("", [{"colour": "blue", "n": 9, "weight": 9.0}])):
        project = load_project(write_project(incremental(key, "colour = 'blue'")))
        result = run_model(project, "m", lambda name, columns: items, previous=previous)
        assert result.increment == 1
        assert sorted(result.table.to_pylist(), key=str) == sorted([counted, *first, stays], key=str)


def test_a_table_of_other_columns_is_computed_whole(write_project, items):
    project = load_project(write_project(incremental()))
    previous = pa.table({"colour": ["blue"], "n": [9]})
    result = run_model(project, "m", lambda name, columns: items, previous=previous)
    assert (result.increment, result.table["n"].to_pylist()) == (None, [1, 2])


def test_tests_of_an_incremental_model_see_old_and_new_rows(write_project, items):
    yml = "models:\n- name: m\n  columns:\n  - {name: colour, data_tests: [unique, not_null]}\n"
    project = load_project(write_project({**incremental("", "colour = 'blue'"), "marts/m.yml": yml}))
    previous = pa.table({"colour": ["blue"], "n": [1], "weight": [4.0]})
    result = run_model(project, "m", lambda name, columns: items, previous=previous)
    assert not result.passed
    assert [test.name for test in result.tests if not test.passed] == ["unique_m_colour"]


def test_only_the_first_rows_come_back_where_no_more_are_wanted(write_project, items):
    project = load_project(write_project({"staging/stg_items.sql": STAGING}))
    result = run_model(project, "stg_items", lambda name, columns: items.take([3, 2, 1, 0]), first=2)
    assert (result.rows, result.table["id"].to_pylist()) == (4, ["a", "b"])
