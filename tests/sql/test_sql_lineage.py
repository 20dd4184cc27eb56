"""Column lineage through chains of models."""

import pyarrow as pa
import pytest
import sqlglot.optimizer.qualify

from tamis.sql import column_lineage, load_project, syntax
from tamis.sql.plan import plan_run

CHANGED = "select id, id * 2 as twice, colour from {{ source('raw', 'items') }}"

CHAIN = {
    "staging/stg_items.sql": "select id, weight * 2 as twice, colour from {{ source('raw', 'items') }}",
    "staging/stg_heavy.sql": """
        with stg_items as (select * from {{ ref('stg_items') }})
        select id as item, twice + length(colour) as load from stg_items where twice > 1
    """,
    "marts/mart_load.sql": """
        {{ config(materialized='table') }}
        select item, sum(load) as total, count(*) as n, 'kg' as unit
        from {{ ref('stg_heavy') }} group by item order by item
    """,
    "marts/mart_top.sql": "select max(total) as top, max(n) as n from {{ ref('mart_load') }} order by top",
}


def test_leaves_through_three_models(write_project):
    project = load_project(write_project(CHAIN))
    assert column_lineage(project, project.model("mart_load")) == {
        "item": [("items", "id")],
        "total": [("items", "colour"), ("items", "weight")],
        "n": [],
        "unit": [],
    }


def test_lineage_goes_through_stored_models_or_stops_at_them(write_project):
    project = load_project(write_project(CHAIN))
    top = project.model("mart_top")
    assert column_lineage(project, top)["top"] == [("items", "colour"), ("items", "weight")]
    assert column_lineage(project, top, until="tables") == {
        "top": [("mart_load", "total")],
        "n": [("mart_load", "n")],
    }


def test_schemas_extend_what_a_star_means(write_project):
    project = load_project(write_project({"staging/s.sql": "select * from {{ source('raw', 'items') }}"}))
    for schema in (["extra"], pa.schema([("extra", pa.int64())])):
        lineage = column_lineage(project, project.model("s"), {"items": schema})
        assert lineage["extra"] == [("items", "extra")]
    assert "extra" not in column_lineage(project, project.model("s"))


@pytest.mark.parametrize(
    ("model", "column", "leaves"),
    [
        ("mart_documents", "shard", {("occurrences", "shard")}),
        ("mart_documents", "n_bytes", {("documents", "n_bytes")}),
        ("mart_selection_mix", "selected_bytes", {("decisions", "verdict"), ("documents", "n_bytes")}),
        ("mart_trials", "improvement", {("trials", c + "_bits_per_byte") for c in ("zero_shot", "held_out")}),
        ("mart_scores", "target", {("transport_scores", "target"), ("pool_potential_scores", "target")}),
    ],
)
def test_lineage_of_the_platform_models(project, model, column, leaves):
    assert set(column_lineage(project, project.model(model))[column]) == leaves


def test_answers_are_kept_for_the_next_process_until_a_model_changes(write_project, tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    project = load_project(write_project(CHAIN))
    lineage = {name: column_lineage(project, model) for name, model in project.models.items()}
    plans = {name: plan_run(project, model) for name, model in project.models.items()}
    syntax._answers.clear()  # as another process has none
    with monkeypatch.context() as patched:
        patched.setattr(sqlglot.optimizer.qualify, "qualify", None)
        for name, model in project.models.items():
            again = column_lineage(project, model)
            assert again == lineage[name]
            assert list(again) == list(lineage[name])
            assert plan_run(project, model) == plans[name]
    changed = load_project(write_project(CHAIN | {"staging/stg_items.sql": CHANGED}))
    assert column_lineage(changed, changed.model("mart_load"))["total"] == [
        ("items", "colour"),
        ("items", "id"),
    ]
