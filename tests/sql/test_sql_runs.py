"""The view `runs`: each row of five tables once, read by marts, and no asset of its own."""

import re
import shutil
from pathlib import Path

import pytest

from tamis.graph.stages import SQL_FOLDER, mart_stages, stages
from tamis.sql import ProjectFileError, load_project, run_model
from tamis.sql.plan import pin_tables
from tamis.store.tables import Store

VIEW = "runs"
TABLES = {"trials": "trial"} | dict.fromkeys(
    ("sampler_trials", "mixture_runs", "tune_runs", "mixture_gain_runs"), "run"
)
MART = "mart_training_cost"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages.md"


def with_file(tmp_path: Path, place: str, text: str) -> Path:
    """Return a copy of the platform's SQL models with another file."""
    folder = tmp_path / "models"
    shutil.copytree(SQL_FOLDER, folder)
    (folder / place).write_text(text)
    return folder


def documented() -> str:
    """Return the mart that the documentation shows."""
    text = PAGE.read_text()
    assert f"marts/{MART}.sql" in text
    (block,) = re.findall(r"^```text\n({{ config.*?)^```", text, re.MULTILINE | re.DOTALL)
    return block


def declared_stages():
    return [stage for name, stage in stages().items() if name not in load_project(SQL_FOLDER).models]


def test_each_row_of_the_five_tables_is_a_row_of_the_view(project, world, rows):
    found = {row["name"]: row for row in world.run(project, VIEW).table.to_pylist()}
    assert found.keys() == {row[key] for table, key in TABLES.items() for row in rows[table]}
    assert len(found) == sum(len(rows[table]) for table in TABLES)
    trial, compared, mixture = found["t1"], found["c0"], found["m1"]
    assert (trial["kind"], trial["model"], trial["target"], trial["data"]) == (
        "warm_up",
        "llama",
        "stats",
        "core",
    )
    assert (trial["seeds"], trial["bits_per_byte"], trial["checkpoint"]) == (2, 1.5, "checkpoints/trials/t1")
    assert (compared["kind"], compared["data"], compared["data_seed"], compared["training_seed"]) == (
        "compared",
        "knn 10%",
        0,
        1,
    )
    assert (compared["documents"], compared["tokens"], compared["bits_per_byte"]) == (7, 1_000, 1.5)
    assert (mixture["kind"], mixture["model"], mixture["data"]) == (
        "mixture",
        "llama-0.3m",
        "law 75 %, web 25 %",
    )
    assert (mixture["target"], mixture["bits_per_byte"], mixture["flops"]) == ("law, stats", 1.5, 2e9)
    searched, tested = found["r0"], found["r1"]
    columns = ("kind", "model", "target", "data", "data_seed", "bits_per_byte", "flops", "seconds")
    figures = ("recipe", "llama", "stats, validation", "knn 10%, search at 25 %", 0, 1.5, 4e9, 6.0)
    assert tuple(searched[name] for name in columns) == figures
    assert (tested["target"], tested["data"], tested["training_seed"]) == (
        "stats",
        "knn 10%, guard of look 2",
        1,
    )
    figures = ("gain", "llama-0.3m", "law, stats", "recommended mixture", None, 1.25, 2e9, 3.0)
    assert tuple(found["g0"][name] for name in columns) == figures
    assert (found["g1"]["data"], found["g1"]["training_seed"]) == ("natural shares", 1)


def test_what_failed_or_is_not_measured_on_every_target_has_no_loss(project, world):
    found = {row["name"]: row for row in world.run(project, VIEW).table.to_pylist()}
    assert {name for name, row in found.items() if row["bits_per_byte"] is None} == {
        "t3",
        "c1",
        "m2",
        "m3",
        "r1",
        "g1",
    }
    assert {name for name, row in found.items() if row["failure"]} == {"c1", "r1", "g1"}
    assert found["m2"]["data"] == "web 100 %"
    assert found["m3"]["data"] is None, "no plan has it any more"


def test_a_run_in_two_tables_breaks_a_test_of_the_view(project, world, to_arrow, rows):
    world.tables["sampler_trials"] = to_arrow("sampler_trials", [*rows["sampler_trials"], {"run": "m1"}])
    result = run_model(project, VIEW, world.read)
    assert not result.passed
    assert [test.name for test in result.tests if not test.passed] == [f"unique_{VIEW}_name"]


def test_a_project_without_a_table_reads_no_row_of_it(tmp_path):
    project, store = load_project(SQL_FOLDER), Store(tmp_path / "lance")
    tables = pin_tables(store, project, VIEW)
    assert set(TABLES) < set(tables.versions)
    assert set(tables.versions.values()) == {0}
    result = run_model(project, VIEW, tables.read)
    assert (result.rows, result.passed) == (0, True)


def test_the_view_is_no_stage_and_changes_none():
    assert VIEW in load_project(SQL_FOLDER).models
    assert VIEW not in stages()
    assert not [stage.name for stage in stages().values() if VIEW in {edge.asset for edge in stage.edges}]


def test_the_mart_of_the_documentation_reads_the_view(tmp_path, world):
    project = load_project(with_file(tmp_path, f"marts/{MART}.sql", documented()))
    hours = {"compared": 8 / 3600, "law": 1 / 3600, "warm_up": 3 / 3600}
    assert world.run(project, MART).table.to_pylist() == [
        {"kind": "compared", "model": None, "runs": 2, "hours": pytest.approx(hours["compared"])},
        {"kind": "gain", "model": "llama-0.3m", "runs": 2, "hours": pytest.approx(6 / 3600)},
        {"kind": "law", "model": "llama", "runs": 1, "hours": pytest.approx(hours["law"])},
        {"kind": "mixture", "model": "llama-0.3m", "runs": 2, "hours": pytest.approx(10 / 3600)},
        {"kind": "mixture", "model": "llama-0.8m", "runs": 1, "hours": pytest.approx(5 / 3600)},
        {"kind": "recipe", "model": "llama", "runs": 2, "hours": pytest.approx(12 / 3600)},
        {"kind": "warm_up", "model": "llama", "runs": 3, "hours": pytest.approx(hours["warm_up"])},
    ]
    (mart,) = [stage for stage in mart_stages(declared_stages(), project.folder) if stage.name == MART]
    written = {"trials", "sampler_trials", "mixture_runs", "agreement_runs", "mixture_losses", "recipe"}
    written |= {"mixture_gain"}
    planned = {"agreement_losses", "mixture_design", "mixture_law"}
    assert {edge.asset for edge in mart.edges} == {*written, *planned, "stg_trials"}


def test_a_changed_view_changes_the_code_version_of_what_reads_it(tmp_path):
    folder = with_file(tmp_path, f"marts/{MART}.sql", documented())
    before = load_project(folder).models[MART].code_version
    view = folder / "views" / "runs.sql"
    view.write_text(view.read_text().replace("'compared' as kind", "'sampler' as kind"))
    assert load_project(folder).models[MART].code_version != before


@pytest.mark.parametrize("kind", ["table", "incremental"])
def test_a_model_of_views_is_refused_where_it_would_be_stored(tmp_path, kind):
    text = f"{{{{ config(materialized='{kind}') }}}}\nselect trial from {{{{ ref('stg_trials') }}}}"
    folder = with_file(tmp_path, "views/kept.sql", text)
    with pytest.raises(
        ProjectFileError, match=r"views/kept.sql:\d+: a model of views/ is not stored"
    ) as raised:
        load_project(folder)
    assert "move the file to marts/" in str(raised.value)


def test_a_view_of_a_table_that_no_asset_writes_is_refused(tmp_path):
    folder = with_file(tmp_path, "views/lost.sql", "select id from {{ source('lake', 'nowhere') }}")
    sources = folder / "staging" / "sources.yml"
    declared = "      - name: nowhere\n        columns:\n          - {name: id, data_type: varchar}\n"
    sources.write_text(
        sources.read_text().replace("      - name: trials\n", f"{declared}      - name: trials\n")
    )
    with pytest.raises(ProjectFileError, match="no asset writes the source table 'nowhere'"):
        mart_stages(declared_stages(), folder)
