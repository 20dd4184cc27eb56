"""Reconciliation: with a document or a partition its rows leave every table that declares them, no others."""

from dataclasses import replace

import pyarrow as pa
import pytest
from projects import key_of

from tamis.corpus.intake import remove_shards
from tamis.project import open_project
from tamis.records.current_values import CurrentValue, read_current_values, write_current_values
from tamis.retention.reconciled import collect_orphans, forget_gone
from tamis.store.schemas import RETAINED, schema_of, tables
from tamis.store.tables import Store

STAYING, LEAVING = "a" * 32, "b" * 32
NAMES = {
    "embeddings": "embeddings_static",
    "target_embeddings": "target_embeddings_static",
    "retained_embeddings": "retained_embeddings_static",
}
OF_DOCUMENTS = {
    "documents", "embeddings", "near_duplicate_bands", "near_copy_bands", "column_scores",
    "classifier_scores", "plugin_scores",
    "document_flags", "form_scores",
    "kept_out_runs",
    "scores_by_model", "scores_density", "scores_judge", "scores_judge_again", "scores_perplexity",
    "scores_quality", "set_aside", "token_counts", "topic_words", "topics",
}  # fmt: skip
RETAINED_KINDS = {name for name, table in tables().items() if table.retained}
RETAINED_TABLES = {f"{RETAINED}{kind}" for kind in RETAINED_KINDS}
OF_OTHERS = {
    "near_duplicates", "near_copies", "judge_sample", "transport", "pool_potential",
    "selected_subset", "decisions", "served_examples", "target_gaps", "target_examples",
    "target_answers", "target_embeddings", "contamination", "contamination_runs",
    "kept_out", "kept_out_examples", "row_vectors",
    "mixture_documents", "trained_on", "withdrawals", "withdrawn_places", *RETAINED_TABLES,
}  # fmt: skip
"""Written again as a whole, of a partition that lists them, evidence that stays, or what is retained."""
OF_PARTITIONS = {
    "target_examples": ("target_examples", "target"),
    "target_answers": ("target_examples", "target"),
    "target_embeddings_static": ("target_embeddings", "target"),
    "contamination": ("contamination", "target"),
    "contamination_runs": ("contamination", "target"),
    "transport_old": ("transport_scores", "target"),
    "selected_subset": ("selected_subset", "selection"),
    "decisions": ("decisions", "selection"),
    "served_examples": ("served_examples", "selection"),
}
"""Tables with rows of a target or selection: who writes them, and the column that names it."""


def put(store: Store, table: str, rows: list[dict]) -> None:
    """Write rows with these values, and null or a short list of numbers in the other columns."""
    schema = schema_of(table, 4)
    lists = {field.name: [1] * 4 for field in schema if pa.types.is_fixed_size_list(field.type)}
    keys = {field.name: "x" for field in schema if field.name in key_of(table) and field.type == "string"}
    store.append(table, pa.Table.from_pylist([lists | keys | row for row in rows], schema=schema))


def kinds_with_documents() -> set[str]:
    """Return the kinds of tables that name documents by id."""
    names = {
        kind: NAMES.get(kind, "transport_goal" if kind == "transport" else kind)
        for kind in (*tables(), *RETAINED_TABLES)
    }
    of_files = {"occurrences", "kept_rows"}
    return {kind for kind, name in names.items() if "doc_id" in schema_of(name, 4).names} - of_files


def test_every_table_that_names_documents_is_in_one_of_the_lists_of_this_test():
    assert kinds_with_documents() == OF_DOCUMENTS | (OF_OTHERS & kinds_with_documents())


@pytest.mark.parametrize("kind", sorted(OF_DOCUMENTS))
def test_rows_of_a_document_that_no_file_holds_any_more_leave(imagined, kind):
    store, table = imagined.project.home.store, NAMES.get(kind, kind)
    places = [("web__a", 0, STAYING), ("web__b", 0, STAYING), ("web__b", 1, LEAVING)]
    put(store, "occurrences", [{"shard": s, "row": row, "doc_id": one} for s, row, one in places])
    for name in {"documents", table}:
        put(store, name, [{"doc_id": one} for one in (STAYING, LEAVING)])
    remove_shards(store, ["web__b"])
    collect_orphans(store, imagined.snapshot())
    for name in {"documents", table}:
        assert store.read(name, ["doc_id"])["doc_id"].to_list() == [STAYING]
    assert store.count("occurrences") == 1
    retained = {f"{RETAINED}{table}"} if kind in RETAINED_KINDS else set()
    assert {name for name in store.names() if name.startswith(RETAINED)} == retained, "the cheap is not kept"
    for name in retained:
        assert store.read(name, ["doc_id"])["doc_id"].to_list() == [LEAVING]


def test_with_zero_days_nothing_but_answers_of_a_server_is_retained(imagined):
    store, file = imagined.project.home.store, imagined.project.file
    file.write_text(f"{file.read_text()}\n[retention]\ndays = 0\n")
    snapshot = replace(imagined, project=open_project(file.parent)).snapshot()
    put(store, "occurrences", [{"shard": "web__a", "row": 0, "doc_id": STAYING}])
    tables = {"documents", "embeddings_static", "scores_judge", "scores_by_model"}
    for name in tables:
        put(store, name, [{"doc_id": one, "by_server": True} for one in (STAYING, LEAVING)])
    collect_orphans(store, snapshot)
    for name in tables:
        assert store.read(name, ["doc_id"])["doc_id"].to_list() == [STAYING]
    assert [name for name in store.names() if name.startswith(RETAINED)] == ["retained_scores_judge"]


@pytest.mark.parametrize("table", OF_PARTITIONS)
def test_rows_of_a_target_or_selection_that_left_the_project_leave(imagined, table):
    store, (asset, column) = imagined.project.home.store, OF_PARTITIONS[table]
    staying = {"target": "goal", "selection": "near"}[column]
    for name, partition in (("old", "old"), ("goal", staying)):
        own = table if table != "transport_old" else f"transport_{name}"
        put(store, own, [{"doc_id": STAYING, column: partition}])
        value = CurrentValue(asset=asset, partition=partition, manifest="m", input_key="k", data_version="v")
        write_current_values(store, [value])
    gone = forget_gone(store, imagined.snapshot(), read_current_values(store))
    assert gone == [(asset, "old")]
    assert set(read_current_values(store)) == {(asset, staying)}
    for own in {"transport_old", "transport_goal"} if table == "transport_old" else {table}:
        expected = [] if own == "transport_old" else [staying]
        assert store.read(own, [column])[column].to_list() == expected, own
