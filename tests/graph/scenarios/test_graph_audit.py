"""The audit of a small graph: whatever is altered is found at its node, and results lead to raw bytes."""

import json
import shutil
import threading
import time
from dataclasses import replace
from itertools import chain, count

import pyarrow as pa
import pytest
from projects import VECTORS, SmallProject, key_of, record

from tamis.audit.verdicts import Audit, Node
from tamis.graph.snapshot import stamp_of
from tamis.graph.stages import AUDIT_ASSET
from tamis.runtime import commands
from tamis.runtime.commands import HomeBeingWrittenError, audit_project
from tamis.store.home import writing
from tamis.verbs.status import read_status

ALTERED = {
    "documents": ("text", "documents[web__cooking.jsonl]"),
    "occurrences": ("source", "documents[web__cooking.jsonl]"),
    "quarantine": ("detail", "documents[web__sailing.jsonl]"),
    "kept_rows": ("content", "documents[web__cooking.jsonl]"),
    "near_duplicates": ("jaccard", "near_duplicates"),
    "near_duplicate_bands": ("bands", "near_duplicates"),
    VECTORS: ("vector", "embeddings[web__cooking.jsonl]"),
    "scores_density": ("density", "density_scores"),
    "target_examples": ("text", "target_examples[goal]"),
    "target_embeddings_static": ("vector", "target_embeddings[goal]"),
    "transport_goal": ("transport_gradient", "transport_scores[goal]"),
    "selected_subset": ("rank", "selected_subset[near]"),
    "decisions": ("reason", "decisions[near]"),
    "heads": ("data_version", "table[heads]"),
}
"""Of each table a column, and the node that speaks of the row."""
OF_REPORTS = {
    "served_examples": ("mass", "served_examples[near]"),
    "target_gaps": ("supply", "target_gaps"),
}
"""The same of tables that are made after the selections."""


def alter(graph: SmallProject, table: str, column: str, where: str | None) -> None:
    """Another value in one cell of the first row that matches."""
    opened = graph.store.open(table)
    key = list(key_of(table))
    rows = (opened.search().where(where).to_arrow() if where else opened.to_arrow()).sort_by(key[0])
    row, kind = rows.slice(0, 1), rows.schema.field(column).type
    key = [name for name in key if row[name][0].is_valid]  # as a passage's place, which is null here
    value = row[column][0].as_py()
    if isinstance(value, list):
        value = [value[0] + 1, *value[1:]]
    else:
        value = f"{value}." if isinstance(value, str) else value + 1
    place = row.schema.get_field_index(column)
    forged = row.set_column(place, rows.schema.field(column), pa.array([value], kind))
    opened.merge_insert(key).when_matched_update_all().execute(forged)


def red(graph: SmallProject) -> dict[str, list[str]]:
    nodes = graph.audit().nodes.values()
    return {node.name: node.details for node in nodes if node.status == "red"}


def test_one_altered_cell_of_each_report_is_found_at_its_node(graph):
    graph.make({*OF_REPORTS})
    for table, (column, _node) in OF_REPORTS.items():
        alter(graph, table, column, None)
    found = red(graph)
    assert {*found} == {node for _column, node in OF_REPORTS.values()}
    (said,) = found["target_gaps"]
    assert said.endswith("target_gaps.lance away, and `tamis materialize` makes it again")
    shutil.rmtree(graph.home.root / "lance" / "target_gaps.lance")
    graph.make({"target_gaps"})
    assert "target_gaps" not in red(graph)


SECOND_OF_A_NODE = ["kept_rows", "near_duplicate_bands"]
"""Tables whose node speaks of another table, too: altered together, one of the two could be missed."""
ALONE = ["heads"], ["documents"]
TOGETHER = [one for one in ALTERED if [one] not in ALONE and one not in SECOND_OF_A_NODE]


@pytest.mark.parametrize("tables", [*ALONE, SECOND_OF_A_NODE, TOGETHER])
def test_one_altered_cell_is_found_at_its_node(graph, tables):
    """Of each table that is altered; nothing else is red but what cannot be without it."""
    assert len({ALTERED[table][1] for table in tables}) == len(tables)
    places = graph.store.read("occurrences", ["shard", "doc_id"])
    own = places.filter(shard="web__cooking.jsonl")["doc_id"].to_list()
    others = places.filter(shard="web__sailing.jsonl")["doc_id"].to_list()
    alone = min(doc_id for doc_id in own if doc_id not in others)
    where = {
        "documents": f"doc_id = '{alone}'",
        VECTORS: f"doc_id = '{alone}'",
        "occurrences": "shard = 'web__cooking.jsonl'",
        "kept_rows": "shard = 'web__cooking.jsonl'",
        "selected_subset": "selection = 'near'",
        "decisions": "selection = 'near'",
        "heads": "asset = 'near_duplicates'",
    }
    for table in tables:
        alter(graph, table, ALTERED[table][0], where.get(table))
    also = {"heads": {"near_duplicates"}, "documents": {"documents[web__sailing.jsonl]", "table[documents]"}}
    found, nodes = red(graph), {ALTERED[table][1] for table in tables}
    assert nodes <= {*found}
    assert {*found} - nodes <= {*chain(*(also.get(table, ()) for table in tables))}


def test_every_table_of_results_is_among_those_that_are_tried(graph):
    records = {"attempts", "selection_versions", "contamination", "contamination_runs"}
    records |= {"shard_files", "shared_text"}
    filled = {table for table in graph.store.names() if graph.store.count(table)}
    assert filled - records - {"target_answers"} == set(ALTERED)


def test_a_row_that_is_there_twice_or_gone_is_found(graph):
    rows = graph.store.read_arrow("documents").sort_by("doc_id")
    graph.store.append("documents", rows.slice(0, 1))
    graph.store.delete("scores_density", f"doc_id = '{rows['doc_id'][1].as_py()}'")
    found = red(graph)
    assert "density_scores" in found
    doubled = [name for name, details in found.items() if "more than once" in str(details)]
    assert doubled
    assert all(name.startswith("documents[") for name in doubled)


def test_a_row_that_nobody_lists_is_said(graph):
    row = graph.store.read_arrow("documents").slice(0, 1)
    place = row.schema.get_field_index("doc_id")
    graph.store.append("documents", row.set_column(place, row.schema.field(place), pa.array(["f" * 32])))
    audit = graph.audit()
    assert audit.status == "amber"
    assert "rows that no manifest lists: 1" in str([node.details for node in audit.nodes.values()])


def test_altered_files_of_every_kind_are_found(graph):
    manifests, fitted = graph.home.manifests, graph.home.fitted
    current = graph.current
    sketch = next((fitted / "density_sketch").rglob("sketch.npz"))
    sketch.write_bytes(sketch.read_bytes()[:-1] + b"?")
    next(path for path in (fitted / "target_potential").rglob("*") if path.suffix == ".npz").unlink()
    subset = current["selected_subset", "thin"].manifest
    path = manifests / subset[:2] / f"{subset}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 1}))
    (graph.home.reports / "selection_near.html").write_text("<p>another page")
    found = red(graph)
    assert {"density_sketch", "target_potential[goal]", "selected_subset[thin]"} <= set(found)
    assert "selected_subset[near]" in found
    again = "`tamis materialize` makes it again"
    assert f"was altered; move it away, and {again}" in str(found["density_sketch"])
    assert f"is missing; {again}" in str(found["target_potential[goal]"])


def test_an_altered_list_of_rows_is_found(graph):
    chosen = next(path for path in graph.manifests.lists() if path.stat().st_size)
    chosen.write_bytes(chosen.read_bytes()[::-1])
    assert any(name.startswith("list of rows[") for name in red(graph))


def test_a_raw_file_that_only_looks_untouched_is_found(graph):
    memory = graph.home.cache / "fingerprints.json"
    path = graph.landing / "cooking.jsonl"
    path.write_bytes(path.read_bytes().replace(b"butter", b"BUTTER", 1))
    known = json.loads(memory.read_text())
    known["web__cooking.jsonl"][0] = stamp_of(graph.snapshot.shards["web__cooking.jsonl"])
    memory.write_text(json.dumps(known))
    assert list(red(graph)) == ["raw_shards[web__cooking.jsonl]"]


@pytest.mark.parametrize(
    "table",
    [
        "heads",  # nothing can be audited without it; nor without the slow ones
        "documents",  # one table of content
        *(pytest.param(table, marks=pytest.mark.slow) for table in ("attempts", "shard_files", "decisions")),
    ],
)
def test_a_table_that_cannot_be_read_ends_in_a_verdict(graph, table):
    for file in (graph.home.root / "lance" / f"{table}.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    audit = audit_project(graph.project, None, quick=False, say=str)
    details = [detail for node in audit.nodes.values() if node.status == "red" for detail in node.details]
    assert any(f"table '{table}' is damaged" in detail for detail in details)


def test_an_audit_that_failed_is_made_again_by_the_next_run(graph):
    page = graph.home.reports / "selection_near.html"
    written = page.read_bytes()
    page.write_text("<p>another page")
    graph.make({AUDIT_ASSET})
    graph.make({"documents"})
    assert graph.current[AUDIT_ASSET, ""].finished, "nobody asked for the audit"
    assert AUDIT_ASSET in read_status(graph.project).failed_checks
    page.write_bytes(written)
    graph.make({AUDIT_ASSET})
    assert read_status(graph.project).failed_checks == []


def test_what_only_a_replaced_value_was_made_from_need_not_be_current(graph):
    before = graph.manifest("near_duplicates")
    (graph.landing / "sailing.jsonl").rename(graph.landing / "boats.jsonl")
    graph.make()
    after = graph.manifest("near_duplicates")
    assert (after.data_version, after.id != before.id) == (before.data_version, True)
    record(
        graph.home, "judge_scores", "", inputs=(before,)
    )  # its key has not changed, so it was not made again
    nodes = graph.audit().nodes.values()
    assert "documents[web__sailing.jsonl]" in {node.name for node in nodes}
    assert [node.name for node in nodes if not node.current] == ["judge_scores"], "which has no [judge]"


def test_values_that_are_being_written_are_not_called_altered(graph, monkeypatch):
    file = next((graph.home.fitted / "density_sketch").rglob("sketch.npz"))
    written = file.read_bytes()
    file.write_bytes(written[:-1])
    begun, said = threading.Event(), []

    def write() -> None:
        with writing(graph.home, "tamis materialize"):
            begun.set()
            while not said:
                time.sleep(0.05)
            file.write_bytes(written)

    other = threading.Thread(target=write)
    other.start()
    begun.wait()
    with monkeypatch.context() as impatient:
        impatient.setattr(commands, "PATIENCE_SECONDS", 0.0)
        with pytest.raises(HomeBeingWrittenError, match=r"materialize\) was writing"):
            audit_project(graph.project, None, quick=False, say=str)
    audit = audit_project(graph.project, None, quick=False, say=said.append)
    other.join()
    assert len(said) == 1
    assert all(node.intact for node in audit.nodes.values())


def test_what_is_found_twice_is_red_though_sensors_write_at_every_tick(graph, monkeypatch):
    altered = Node(manifest="m", asset="density_sketch", partition="")
    altered.altered("another digest")
    ticks, said, found = count(), [], Audit(nodes={"m": altered}, roots=["m"])
    monkeypatch.setattr(commands, "last_writing", lambda _home: next(ticks))
    monkeypatch.setattr(commands, "_whole_audit", lambda *_: found)
    assert audit_project(graph.project, None, quick=False, say=said.append) is found
    assert said == ["another process writes to the home; the audit starts again when it has finished"]


def test_index_and_event_log_that_disagree_are_found(graph):
    graph.make()
    current, events = graph.current, graph.events()
    entry = ("near_duplicates", "")
    moved = current | {entry: replace(current[entry], input_key="0" * 64)}
    lost = [event for event in events if event.asset != "density_scores"]
    other = {"dagster/data_version": "0"}
    tagged = [
        replace(event, tags={**event.tags, **other}) if event.asset == "density_sketch" else event
        for event in events
    ]
    cases = [
        (moved, events, "near_duplicates"),
        (current, lost, "density_scores"),
        (current, tagged, "density_sketch"),
    ]
    for changed, said, name in cases:
        audit = graph.audit(current=changed, events=said)
        assert [node.name for node in audit.nodes.values() if node.status == "red"] == [name]


def test_a_selection_leads_to_the_bytes_of_every_file(graph):
    graph.make()
    snapshot, audit = graph.snapshot, graph.audit("near")
    names = {node.name for node in audit.nodes.values()}
    for key in snapshot.shards:
        assert {f"raw_shards[{key}]", f"documents[{key}]", f"embeddings[{key}]"} <= names
    of_the_target = {"transport_scores[goal]", "target_potential[goal]", "target_examples[goal]"}
    assert of_the_target | {"near_duplicates"} <= names
    assert "selected_subset[thin]" not in names
    raw = {node.name: node.data_version for node in audit.nodes.values() if node.asset == "raw_shards"}
    assert raw == {f"raw_shards[{key}]": digest for key, digest in snapshot.fingerprints.items()}
