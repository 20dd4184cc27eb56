"""Pinned tables: what is written while a run reads is not seen by it."""

import shutil

import pyarrow as pa
import pytest

from tamis.base.declared import declaring_modules
from tamis.sql import ProjectFileError, load_project, run_model
from tamis.sql.plan import pin_tables
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

OTHERS = [stage for module in declaring_modules() for stage in module.STAGES]


def documents(*numbers: int) -> pa.Table:
    rows = [{"doc_id": f"{n:032x}", "text": "x", "n_chars": 1, "n_bytes": n} for n in numbers]
    schema = schema_of("documents")
    return pa.Table.from_pylist([{**dict.fromkeys(schema.names), **row} for row in rows], schema=schema)


def transport(target: str, number: int) -> pa.Table:
    row = {"target": target, "doc_id": f"{number:032x}", "transport_gradient": 1.0, "nearest_cost": 1.0}
    return pa.Table.from_pylist([{**row, "fingerprint": "f"}], schema=schema_of("transport"))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "lance")


def test_reads_stay_at_the_version_of_the_beginning(project, store):
    store.insert_new("documents", documents(1, 2))
    store.insert_new("transport_a", transport("a", 1))
    pinned = pin_tables(store, project, "mart_scores")
    store.insert_new("documents", documents(3))
    store.insert_new("transport_a", transport("a", 2))
    store.insert_new("transport_b", transport("b", 1))
    store.insert_new("scores_density", pa.table([["x"], [1.0], ["f"]], schema=schema_of("scores_density")))
    assert pinned.read("documents", ["n_bytes"])["n_bytes"].to_pylist() == [1, 2]
    assert pinned.read("transport_scores", ["target"])["target"].to_pylist() == ["a"]
    assert pinned.read("density_scores", ["density"]).num_rows == 0
    assert pinned.versions["documents"] < store.version("documents")
    assert pinned.versions["scores_density"] == 0
    again = pin_tables(store, project, "mart_scores")
    assert again.read("documents", ["n_bytes"]).num_rows == 3
    assert again.read("transport_scores", ["target"]).num_rows == 3


def test_every_model_runs_over_a_store_with_nothing_in_it(project, store):
    for model in project.ordered():
        result = run_model(project, model.name, pin_tables(store, project, model.name).read)
        assert (result.rows, result.passed) == (0, True), model.name
        if model.materialized != "view":
            store.overwrite(model.name, result.table)


def test_pins_name_every_table_that_a_model_reads(project, store):
    store.insert_new("transport_a", transport("a", 1))
    names = set(pin_tables(store, project, "mart_scores").versions)
    assert {"documents", "scores_density", "scores_quality", "transport_a"} <= names
    assert "transport_scores" not in names
    assert set(pin_tables(store, project, "mart_checkpoint_provenance").versions) >= {"mart_checkpoints"}


def test_trials_are_current_that_the_project_asks_for(project, store):
    given = dict.fromkeys(schema_of("trials").names)
    rows = [{**given, "trial": name, "model": "m", "kind": "law", "size": 5} for name in ("a", "b")]
    store.merge("trials", pa.Table.from_pylist(rows, schema=schema_of("trials")))
    pinned = pin_tables(store, project, "mart_trials", trials=["b", "to come"])
    assert set(pinned.versions) >= {"trials"}
    assert "current_trials" not in pinned.versions, "no table of the store"
    made = run_model(project, "mart_trials", pinned.read)
    assert {row["trial"]: row["is_current"] for row in made.table.to_pylist()} == {"a": False, "b": True}


def test_the_targets_that_trials_were_measured_on_are_supplied(project, store):
    given = dict.fromkeys(schema_of("trials").names)
    row = {**given, "trial": "a", "model": "m", "kind": "warm_up", "data": "best", "size": 5}
    store.merge("trials", pa.Table.from_pylist([row], schema=schema_of("trials")))
    pinned = pin_tables(store, project, "mart_trials", targets={"a": "law"})
    assert "trial_targets" not in pinned.versions, "no table of the store"
    made = run_model(project, "mart_trials", pinned.read)
    assert [one["target"] for one in made.table.to_pylist()] == ["law"]


def test_a_folder_with_a_source_that_nothing_writes_says_so(write_project):
    from tamis.graph.stages import mart_stages

    folder = write_project({"staging/stg_items.sql": "select id from {{ source('raw', 'items') }}"})
    assert load_project(folder)
    with pytest.raises(
        ProjectFileError, match=r"sources\.yml:5: no asset .* 'items'; valid source tables: .*trials"
    ):
        mart_stages(OTHERS, folder)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "heads",
            "is already the name of a table or asset of Tamis; choose another name for the model, "
            "such as mart_heads",
        ),
        ("transport_law", "is already the name of a table or asset of Tamis"),
        ("embeddings_static", "is already the name of a table or asset of Tamis"),
        ("raw_shards", "is already the name of a table or asset of Tamis"),
        ("my model's", "is not a valid model name"),
        ("1st", "is not a valid model name"),
    ],
)
def test_a_model_cannot_replace_what_the_platform_has_of_that_name(write_project, name, problem):
    from tamis.graph.stages import mart_stages

    folder = write_project({f"marts/{name}.sql": "select 1 as n order by n"})
    with pytest.raises(ProjectFileError) as raised:
        mart_stages(OTHERS, folder)
    assert str(raised.value).startswith(f"{folder / 'marts' / name}.sql:1: {name!r} {problem}")


def test_names_of_other_stages_are_taken():
    from tamis.graph.stages import mart_stages, stages

    names = [stage.name for stage in mart_stages(OTHERS)]
    assert {"raw_shards", "lineage_audit", "mart_documents"} <= set(stages())
    assert len(set(names)) == len(names)


def test_no_model_may_read_text_of_documents(tmp_path):
    from tamis.graph.stages import SQL_FOLDER, mart_stages

    folder = tmp_path / "sql"
    shutil.copytree(SQL_FOLDER, folder)
    sources = folder / "staging" / "sources.yml"
    listed = "          - {name: n_chars, data_type: uinteger"
    assert listed in sources.read_text()
    text = "          - {name: text, data_type: varchar, description: The text.}\n"
    sources.write_text(sources.read_text().replace(listed, text + listed, 1))
    with pytest.raises(
        ProjectFileError, match=r"sources\.yml:\d+: documents\.text contains text of documents"
    ):
        mart_stages(OTHERS, folder)


def test_scores_of_columns_and_of_plugins_are_read_as_one_table(project, store):
    columns = {"doc_id": ["a" * 32], "value": [2.0], "not_numbers": [0]}
    store.put("column_scores", {"score": ["edu"], **columns})
    read = pin_tables(store, project, "mart_scores").read
    assert read("column_scores", ["score", "value"]).to_pydict() == {"score": ["edu"], "value": [2.0]}
    store.put("plugin_scores", {"score": ["len"], **columns, "fingerprint": ["f"]})
    pinned = pin_tables(store, project, "mart_scores")
    store.put("plugin_scores", {"score": ["later"], **columns, "fingerprint": ["f"]})
    assert sorted(pinned.read("column_scores", ["score"])["score"].to_pylist()) == ["edu", "len"]
    assert run_model(project, "mart_scores", pinned.read).table["scorer"].to_pylist() == ["edu", "len"]
