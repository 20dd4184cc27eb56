"""Loading: order, names, hashes, and an error with file and line for everything that can be wrong."""

import itertools

import pytest

from tamis.base.errors import UnknownNameError
from tamis.graph.stages import SQL_FOLDER
from tamis.sql import (
    CycleError,
    ProjectFileError,
    SqlSyntaxError,
    TemplateError,
    UnknownColumnError,
    UnknownReferenceError,
    UnorderedModelError,
    load,
    load_project,
    syntax,
    tables_read,
)
from tamis.sql.load import read_project

STAGING = "select id, weight, colour from {{ source('raw', 'items') }}\n"
MART = """
{{ config(materialized='table') }}

select colour, count(*) as n
from {{ ref('stg_items') }}
group by colour
order by colour
"""
TOY = {
    "staging/stg_items.sql": STAGING,
    "marts/mart_colours.sql": MART,
    "tests/light.sql": "select id from {{ ref('stg_items') }} where weight > 9",
}


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """A user's cache of its own, and no project read in this process."""
    folder = tmp_path_factory.mktemp("user") / "cache"
    monkeypatch.setenv("TAMIS_CACHE", str(folder))
    load._loaded.cache_clear()
    yield folder
    load._loaded.cache_clear()


def test_what_was_read_is_kept_for_the_next_process_until_a_file_changes(write_project, cache, monkeypatch):
    folder = write_project(TOY)
    read = load_project(folder)
    load._loaded.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(load, "read_project", None)
        assert load_project(folder) == read == read_project(folder)
    (folder / "tests" / "light.sql").write_text("select id from {{ ref('stg_items') }} where weight > 8")
    changed = load_project(folder)
    assert changed != read
    for file in (cache / "sql").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    load._loaded.cache_clear()
    assert load_project(folder) == changed, "a damaged cache is read over"


def test_the_models_of_the_platform_are_the_same_kept_and_read(cache):
    load_project(SQL_FOLDER)
    load._loaded.cache_clear()
    assert load_project(SQL_FOLDER) == read_project(SQL_FOLDER)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(write_project, cache):
    cache.write_text("a file")
    folder = write_project(TOY)
    assert load_project(folder) == read_project(folder)


def test_old_versions_leave_the_cache(write_project, cache):
    folder = write_project(TOY)
    for weight in range(syntax.MOST_KEPT + 3):
        (folder / "tests" / "light.sql").write_text(
            f"select id from {{{{ ref('stg_items') }}}} where weight > {weight}"
        )
        load_project(folder)
    assert len([*(cache / "sql").iterdir()]) == syntax.MOST_KEPT


def test_models_stand_in_dependency_order_with_layer_and_materialization(write_project):
    files = {**TOY, "staging/a_later.sql": "select id from {{ ref('stg_items') }}"}
    project = load_project(write_project(files))
    assert list(project.models) == ["stg_items", "a_later", "mart_colours"]
    mart = project.model("mart_colours")
    assert (mart.layer, mart.materialized) == ("marts", "table")
    assert mart.models == ("stg_items",)
    assert project.model("stg_items").materialized == "view"
    assert project.model("stg_items").sources == ("items",)
    assert [column.name for column in mart.columns] == ["colour", "n"]


def test_default_materialization_comes_from_the_project_file(write_project):
    settings = "name: toy\nmodels:\n  toy:\n    +materialized: table\n"
    project = load_project(write_project({**TOY, "dbt_project.yml": settings}))
    assert project.model("stg_items").materialized == "table"


def test_unknown_model_name_lists_the_models(write_project):
    with pytest.raises(UnknownNameError, match="mart_colours, stg_items"):
        load_project(write_project(TOY)).model("nothing")


@pytest.mark.parametrize(
    "change",
    [
        "{{ config(materialized = 'table') }}\nSELECT colour,\n       COUNT( * ) AS n\n"
        "FROM {{ref('stg_items')}}\nGROUP BY colour ORDER BY colour",
        MART + "-- a remark at the end\n",
        MART.replace("count(*)", "count(*) /* rows */").replace("\n", "\n\n"),
        MART.replace("order by colour", "order by colour asc;"),
        MART.replace("as n", "n"),
    ],
)
def test_code_version_ignores_the_format(write_project, change):
    before = load_project(write_project(TOY)).model("mart_colours").code_version
    after = load_project(write_project({**TOY, "marts/mart_colours.sql": change}))
    assert after.model("mart_colours").code_version == before


def test_code_version_follows_the_sql_the_inlined_views_and_the_tests(write_project):
    yml = "models:\n  - name: mart_colours\n    columns:\n      - name: n\n        data_tests: [not_null]\n"
    variants = [
        TOY,
        {**TOY, "marts/mart_colours.sql": MART.replace("count(*)", "count(id)")},
        {**TOY, "marts/mart_colours.sql": MART.replace("order by colour", "order by n")},
        {**TOY, "staging/stg_items.sql": STAGING.strip() + " where weight > 1"},
        {**TOY, "marts/marts.yml": yml},
        {**TOY, "marts/marts.yml": yml.replace("[not_null]", "[{not_null: {config: {severity: warn}}}]")},
    ]
    versions = [load_project(write_project(files)).model("mart_colours").code_version for files in variants]
    assert all(a != b for a, b in itertools.combinations(versions, 2))


def test_code_version_of_a_mart_does_not_follow_a_stored_parent_or_descriptions(write_project):
    files = {**TOY, "marts/mart_top.sql": "select n from {{ ref('mart_colours') }} order by n"}
    first = load_project(write_project(files))
    yml = "models:\n  - name: mart_top\n    description: The counts.\n"
    files |= {"staging/stg_items.sql": STAGING.strip() + " where weight > 1", "marts/marts.yml": yml}
    second = load_project(write_project(files))
    assert first.model("mart_colours").code_version != second.model("mart_colours").code_version
    assert first.model("mart_top").code_version == second.model("mart_top").code_version


@pytest.mark.parametrize(
    ("path", "text", "error", "line", "message"),
    [
        ("marts/m.sql", "select id\nfrom {{ ref(3) }}", TemplateError, 2, "takes the name of a model"),
        ("marts/m.sql", "{{ ref('a', 'b') }}", TemplateError, 1, "the name of a model, in quotes"),
        (
            "marts/m.sql",
            "{{ source('raw') }}",
            TemplateError,
            1,
            "takes the name of a source and the name of a table",
        ),
        ("marts/m.sql", "{{ config('table') }}", TemplateError, 1, "config() takes key=value"),
        (
            "marts/m.sql",
            "{{ config(materialized='incremental', unique_key=4) }}\nselect 1 as n order by n",
            TemplateError,
            1,
            "unique_key must be a column name or a list of column names, not 4",
        ),
        (
            "marts/m.sql",
            "select n from {{ this }} order by n",
            TemplateError,
            1,
            "only inside is_incremental",
        ),
        (
            "marts/m.sql",
            "select * from read_csv('x.csv') order by 1",
            SqlSyntaxError,
            1,
            "depend on the data",
        ),
        ("marts/m.yml", "models: &a\n  - *a\n", ProjectFileError, 1, "an alias contains itself"),
        (
            "marts/m.sql",
            "select id\nfrom {{ ref('stg_itmes') }}\norder by id",
            UnknownReferenceError,
            2,
            "did you mean 'stg_items'?); valid: m, mart_colours, stg_items",
        ),
        (
            "marts/m.sql",
            "select id\n\nfrom {{ source('raw', 'things') }}",
            UnknownReferenceError,
            3,
            "valid: raw.items",
        ),
        ("marts/m.sql", "select id,\nfrom\nwhere (", SqlSyntaxError, 3, "near 'where'"),
        ("marts/m.sql", "select id,\n  'open\nfrom x", SqlSyntaxError, 2, "Missing '"),
        ("marts/m.sql", "select 1 as a;\nselect 2 as b", SqlSyntaxError, 2, "this one is the second"),
        ("marts/m.sql", "", SqlSyntaxError, 1, "no SQL was found; expected one SELECT"),
        ("marts/m.sql", "-- nothing yet\n", SqlSyntaxError, 1, "no SQL was found"),
        ("marts/m.sql", "{{ config(materialized='table') }}\n", SqlSyntaxError, 1, "no SQL was found"),
        ("marts/m.sql", f"select {'(' * 3000}1{')' * 3000} as a order by a", SqlSyntaxError, 1, "too deeply"),
        ("marts/m.sql", "drop table x", SqlSyntaxError, 1, "one SELECT"),
        (
            "marts/m.sql",
            "{{ config(\n  materialized='table'\n) }}\nselect\n  id,\n  wieght\nfrom {{ ref('stg_items') }}",
            UnknownColumnError,
            6,
            "did you mean 'weight'?",
        ),
        (
            "marts/m.sql",
            "select i.id,\n i.size\nfrom {{ ref('stg_items') }} as i",
            UnknownColumnError,
            2,
            "valid: colour, id, weight",
        ),
        ("marts/m.sql", "select id from {{ ref('stg_items') }}\n", UnorderedModelError, 1, "ORDER BY"),
        (
            "marts/m.sql",
            "select id from {{ ref('stg_items') }}\norder by weight",
            UnorderedModelError,
            2,
            "ORDER BY weight must be",
        ),
        ("marts/m.sql", "select id\nfrom items\norder by id", ProjectFileError, 2, "use ref()"),
        *(
            ("marts/m.sql", f"select count(*) as n\nfrom {table}\norder by n", ProjectFileError, 2, message)
            for table, message in (
                ('"schema"."table"', "'schema.table' is no table of this project; declare it as a source"),
                ("other.items", "'other.items' is no table of this project"),
                ("raw.itmes", "(did you mean 'raw.items'?); valid: raw.items"),
                ("a.b.c", "'a.b.c' is no table of this project"),
                ("a.b.c.d", "'a.b.c.d' is no table of this project"),
                ("information_schema.tables", "is no table of this project"),
                ("raw.items", "write {{ source('raw', 'items') }}"),
                ('"raw"."items"', "write {{ source('raw', 'items') }}"),
                ("memory.raw.items", "write {{ source('raw', 'items') }}"),
                ("models.stg_items", "write {{ ref('stg_items') }}"),
                ("'items.csv'", "'items.csv' is read by its plain name"),
                ("{{ ref('stg_items') }} semi join x.y using (id)", "'x.y' is no table"),
                ("{{ ref('stg_items') }} where exists (select 1 from k.l)", "'k.l' is no table"),
                ("{{ ref('stg_items') }} union all select z from q.r", "'q.r' is no table"),
            )
        ),
        (
            "marts/m.sql",
            "with t as (select 1 as a)\nselect a\nfrom s.t\norder by a",
            ProjectFileError,
            3,
            "'s.t' is no table",
        ),
        (
            "marts/m.sql",
            "with a as (select x from b),\n b as (select 1 as x)\nselect x from a order by x",
            ProjectFileError,
            1,
            "'b' is read by its plain name",
        ),
        (
            "marts/m.sql",
            "select x from (with c as (select 1 as x) select x from c)\njoin c using (x) order by x",
            ProjectFileError,
            2,
            "'c' is read by its plain name",
        ),
        (
            "marts/m.sql",
            "select id, weight as id\nfrom {{ ref('stg_items') }}\norder by id",
            ProjectFileError,
            1,
            "output columns with the same name: id",
        ),
        ("marts/m.sql", "select 1 as a\nfrom {{ var('x') }}", TemplateError, 2, "unknown name 'var'"),
        ("marts/m.sql", "select 1 as a\n{% if %}", TemplateError, 2, "Expected an expression"),
        (
            "marts/m.sql",
            "select 1 as a\n{{ config(colour='red') }}",
            TemplateError,
            2,
            "unknown config key 'colour'",
        ),
        ("marts/m.sql", "{{ config(materialized='cube') }} select 1 as a", TemplateError, 1, "view, table"),
        ("marts/m.sql", "select 1 as a\nfrom {{ ref() }}", TemplateError, 2, "ref() takes the name"),
        ("marts/stg_items.sql", "select 1 as a", ProjectFileError, 1, "is already used"),
        ("staging/items.sql", "select 1 as a", ProjectFileError, 1, "is already used"),
        ("tests/t.sql", "select 1 as a", ProjectFileError, 1, "with ref()"),
        (
            "tests/more/light.sql",
            "select id from {{ ref('stg_items') }}",
            ProjectFileError,
            1,
            "is already used",
        ),
        ("tests/t.sql", "select\n sice\nfrom {{ ref('stg_items') }}", UnknownColumnError, 2, "sice"),
        ("marts/y.yml", "models:\n  - name: nothing\n", ProjectFileError, 2, "has no SQL file"),
        ("marts/y.yml", "models:\n  - name: a\n   b: c\n", ProjectFileError, 3, "not valid YAML"),
        ("marts/y.yml", "models:\n - name: mart_colours\n   colums: []\n", ProjectFileError, 3, "'colums'"),
        ("marts/y.yml", "models:\n - name: stg_items\n - name: stg_items\n", ProjectFileError, 3, "twice"),
        ("marts/y.yml", "models:\nmodels:\n", ProjectFileError, 2, "occurs twice"),
        (
            "dbt_project.yml",
            "name: toy\nmodel-paths:\n - models\n",
            ProjectFileError,
            3,
            "staging, views, marts",
        ),
        ("dbt_project.yml", "profile: toy\n", ProjectFileError, 1, "'name' is missing"),
    ],
)
def test_errors_name_file_and_line(write_project, path, text, error, line, message):
    folder = write_project({**TOY, path: text})
    with pytest.raises(error) as caught:
        load_project(folder)
    assert (caught.value.file, caught.value.line) == (folder / path, line)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{folder / path}:{line}: ")


@pytest.mark.parametrize(
    "sql",
    [
        "with Red as (select id from {{ ref('stg_items') }}) select id from RED order by id",
        "with items as (select id from {{ source('raw', 'items') }}) select id from items order by id",
        'with "a b" as (select 1 as id), c as (select id from "a b") select id from c order by id',
        "with recursive r as (select 1 as id union all select id + 1 from r where id < 3) select id from r "
        "order by id",
        "with a as (select 1 as id) select id from a union all select id from a order by id",
        "with a as (select 1 as id) select id from (with b as (select id from a) select id from b) "
        "order by id",
        "select range as id from range(3) order by id",
        "select u.id from unnest([1, 2]) as u(id) order by id",
        "select v.id from (values (1), (2)) as v(id) order by id",
        "select count(*) as id from {{ ref('stg_items') }} order by id;\n-- a remark\n;",
        "select d.id from {{ ref('stg_items') }} as d, lateral (select d.weight as w) as u order by id",
    ],
)
def test_what_is_no_relation_needs_no_reference(write_project, sql):
    found = load_project(write_project({**TOY, "marts/m.sql": sql})).model("m")
    assert [column.name for column in found.columns] == ["id"]


@pytest.mark.parametrize(
    ("tests", "line", "message"),
    [
        ("[uniqe]", 5, "unknown test 'uniqe'; valid: unique, not_null"),
        ("[{accepted_values: {values: [1]}}]", 5, "unknown key 'values'; valid: arguments, config"),
        ("[{accepted_values: {arguments: {vals: [1]}}}]", 5, "unknown key 'vals'"),
        ("[{accepted_values: {}}]", 5, "'values' is missing"),
        ("[{unique: {config: {severity: fatal}}}]", 5, "valid: error, warn"),
        ("[unique, unique]", 5, "is already used"),
        ("[{accepted_values: {arguments: {values: [yes]}}}]", 5, "but found a boolean"),
        ("[{relationships: {arguments: {to: \"ref('none')\", field: id}}}]", 5, "unknown model 'none'"),
        ("[{relationships: {arguments: {to: \"ref('stg_items')\", field: di}}}]", 5, "unknown column 'di'"),
        ("[{unique: {config: {where: wight > 1}}}]", 5, "unknown column 'wight'"),
    ],
)
def test_errors_of_tests_name_the_line_in_the_yaml(write_project, tests, line, message):
    yml = f"models:\n  - name: mart_colours\n    columns:\n    - name: colour\n      data_tests: {tests}\n"
    folder = write_project({**TOY, "marts/y.yml": yml})
    with pytest.raises((ProjectFileError, UnknownReferenceError, UnknownColumnError)) as caught:
        load_project(folder)
    assert (caught.value.file, caught.value.line) == (folder / "marts/y.yml", line)
    assert message in str(caught.value)


def test_a_documented_column_that_the_model_lacks_is_an_error(write_project):
    yml = "models:\n  - name: mart_colours\n    columns:\n      - name: colour\n      - name: total\n"
    with pytest.raises(UnknownColumnError, match=r"y\.yml:5: unknown column 'total'; valid: colour, n"):
        load_project(write_project({**TOY, "marts/y.yml": yml}))


def test_missing_project_file_and_bytes_that_are_not_utf8(tmp_path, write_project):
    with pytest.raises(ProjectFileError, match="cannot be read"):
        load_project(tmp_path / "nowhere")
    folder = write_project(TOY)
    (folder / "staging" / "stg_items.sql").write_bytes(b"select '\xff'")
    with pytest.raises(ProjectFileError, match="not UTF-8"):
        load_project(folder)


def test_a_circle_is_named_in_the_order_of_need(write_project):
    files = {
        "staging/a.sql": "select x from {{ ref('b') }}",
        "staging/b.sql": "select x from {{ ref('c') }}",
        "staging/c.sql": "select x from {{ ref('a') }}",
    }
    with pytest.raises(CycleError) as caught:
        load_project(write_project(files))
    needs = {"a": "b", "b": "c", "c": "a"}
    cycle = caught.value.cycle
    assert len(cycle) == 4
    assert all(needs[first] == second for first, second in itertools.pairwise(cycle))


def test_a_test_cannot_look_at_a_child_of_its_model(write_project):
    yml = """
    models:
      - name: stg_items
        columns:
          - name: colour
            data_tests:
              - relationships: {arguments: {to: ref('mart_colours'), field: colour}}
    """
    with pytest.raises(CycleError, match="stg_items"):
        load_project(write_project({**TOY, "staging/y.yml": yml}))


def test_a_model_runs_after_the_tables_that_its_tests_read(write_project):
    yml = """
    models:
      - name: mart_a
        columns:
          - name: colour
            data_tests:
              - relationships: {arguments: {to: ref('mart_z'), field: colour}}
    """
    body = "{{ config(materialized='table') }} select colour from {{ ref('stg_items') }} order by colour"
    files = {**TOY, "marts/mart_a.sql": body, "marts/mart_z.sql": body, "marts/y.yml": yml}
    project = load_project(write_project(files))
    assert list(project.models).index("mart_z") < list(project.models).index("mart_a")
    assert tables_read(project, "mart_a") == ["items", "mart_z"]


def test_a_singular_test_belongs_to_the_last_stored_model(write_project):
    sql = "select id from {{ ref('late') }} where id in (select colour from {{ ref('mart_colours') }})"
    files = {**TOY, "staging/late.sql": "select id from {{ ref('stg_items') }}", "tests/t.sql": sql}
    project = load_project(write_project(files))
    assert [test.name for test in project.model("mart_colours").tests] == ["t"]
    assert project.model("late").tests == ()


INCREMENTAL = (
    "{{ config(materialized='incremental', unique_key='id') }}\n"
    "select id, weight\nfrom {{ ref('stg_items') }}\n"
    "{% if is_incremental() %}\n"
    "where weight > (select max(weight) from {{ this }})\n"
    "{% endif %}\n"
    "order by id\n"
)


def test_an_incremental_model_has_two_forms_that_keep_their_lines(write_project):
    path = "marts/m.sql"
    model = load_project(write_project({**TOY, path: INCREMENTAL})).model("m")
    assert model.materialized == "incremental"
    assert "max(" not in model.rendered.sql
    assert "max(" in model.increment.rendered.sql
    assert model.increment.unique_key == ("id",)
    assert dict(model.increment.reads) == {"stg_items": ("id", "weight")}
    with pytest.raises(UnorderedModelError) as caught:
        load_project(write_project({**TOY, path: INCREMENTAL.replace("order by id", "order by colour")}))
    assert caught.value.line == 7


@pytest.mark.parametrize(
    ("before", "after", "error", "line", "message"),
    [
        ("max(weight)", "max(wieght)", UnknownColumnError, 5, "did you mean 'weight'?"),
        ("'id')", "'name')", UnknownColumnError, 1, "unknown column 'name'; valid: id, weight"),
        (
            "'incremental'",
            "'table'",
            TemplateError,
            1,
            "unique_key is valid only with materialized='incremental'",
        ),
        (
            "select id, weight",
            "select id {% if not is_incremental() %}, weight{% endif %}",
            ProjectFileError,
            1,
            "has the columns id, weight when it is built whole, but id when is_incremental",
        ),
        ("from {{ this }}", "from {{ this", TemplateError, 5, "unexpected ')'"),
    ],
)
def test_both_forms_of_an_incremental_model_are_checked(write_project, before, after, error, line, message):
    path = "marts/m.sql"
    folder = write_project({**TOY, path: INCREMENTAL.replace(before, after)})
    with pytest.raises(error) as caught:
        load_project(folder)
    assert (caught.value.file, caught.value.line) == (folder / path, line)
    assert message in str(caught.value)


def test_code_version_follows_the_increment_and_its_key(write_project):
    variants = [
        INCREMENTAL,
        INCREMENTAL.replace("max(weight)", "min(weight)"),
        INCREMENTAL.replace("unique_key='id'", "unique_key=['id', 'weight']"),
        INCREMENTAL.replace(", unique_key='id'", ""),
    ]
    versions = [
        load_project(write_project({**TOY, "marts/m.sql": text})).model("m").code_version for text in variants
    ]
    assert len(set(versions)) == len(variants)
