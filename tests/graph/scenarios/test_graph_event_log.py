"""The event log as the UI and the sensors query it: whatever one of its tables says otherwise is found."""

from collections.abc import Iterator

import dagster as dg
import pytest
from projects import SmallProject, lines, texts, write

from tamis.audit.whole import audit_graph
from tamis.runtime.events import log_again

ADDED = "web__more.jsonl"
NODE = f"documents[{ADDED}]"
OWN_ASSET = "asset_key = '[\"documents\"]'"
OWN_EVENT = f"{OWN_ASSET} and partition = '{ADDED}' and dagster_event_type = 'ASSET_MATERIALIZATION'"
OWN_TAGS = f"event_id = (select id from event_logs where {OWN_EVENT})"


def within(column: str, old: str, new: str) -> str:
    """An expression: the column with one text replaced by another one."""
    return f"{column} = replace({column}, '{old}', '{new}')"


CHANGES = {
    "a digit of the row count": ("event_logs", within("event", '"value": 7}', '"value": 8}'), OWN_EVENT),
    "a digit of another figure": (
        "event_logs",
        within("event", '0}, "label": "quarantined"', '1}, "label": "quarantined"'),
        OWN_EVENT,
    ),
    "the table's name": (
        "event_logs",
        within("event", '"text": "occurrences"', '"text": "0ccurrences"'),
        OWN_EVENT,
    ),
    "the seconds": (
        "event_logs",
        within("event", '"FloatMetadataEntryData", "value": ', '"FloatMetadataEntryData", "value": 1'),
        OWN_EVENT,
    ),
    "the description of a column": (
        "event_logs",
        within("event", "row within the shard", "row in the shard"),
        OWN_EVENT,
    ),
    "the data version": (
        "event_logs",
        within("event", '"dagster/data_version": "', '"dagster/data_version": "0'),
        OWN_EVENT,
    ),
    "the code version": (
        "event_logs",
        within("event", '"dagster/code_version": "', '"dagster/code_version": "0'),
        OWN_EVENT,
    ),
    "the time inside": ("event_logs", within("event", '"timestamp": 1', '"timestamp": 2'), OWN_EVENT),
    "the class of the event": ("event_logs", within("event", "DagsterEvent", "DagsterEvemt"), OWN_EVENT),
    "the end of the event": ("event_logs", "event = substr(event, 1, 500)", OWN_EVENT),
    "the column of the partition": ("event_logs", "partition = 'web__cooking.jsonl'", OWN_EVENT),
    "an empty partition": ("event_logs", "partition = null", OWN_EVENT),
    "the column of the asset": ("event_logs", "asset_key = '[\"raw_shards\"]'", OWN_EVENT),
    "the column of the kind": ("event_logs", "dagster_event_type = 'ASSET_OBSERVATION'", OWN_EVENT),
    "the column of the run": ("event_logs", "run_id = 'another'", OWN_EVENT),
    "the column of the step": ("event_logs", "step_key = 'another'", OWN_EVENT),
    "the column of the time": ("event_logs", "timestamp = '2020-01-01 00:00:00.000000'", OWN_EVENT),
    "a time that is none": ("event_logs", "timestamp = 'yesterday'", OWN_EVENT),
    "the indexed data version": ("asset_event_tags", "value = '0' || substr(value, 2) || '0'", OWN_TAGS),
    "the name of an indexed tag": ("asset_event_tags", "key = 'dagster/data_versiom'", OWN_TAGS),
    "the asset of an indexed tag": ("asset_event_tags", "asset_key = '[\"raw_shards\"]'", OWN_TAGS),
    "the time of an indexed tag": ("asset_event_tags", "event_timestamp = '2020-01-01 00:00:00'", OWN_TAGS),
    "the event of an indexed tag": ("asset_event_tags", "event_id = 1", OWN_TAGS),
    "the last materialization": (
        "asset_keys",
        within("last_materialization", '"value": 7}', '"value": 8}'),
        OWN_ASSET,
    ),
    "the number of the last materialization": (
        "asset_keys",
        within("last_materialization", '"storage_id": ', '"storage_id": 1'),
        OWN_ASSET,
    ),
    "no last materialization": ("asset_keys", "last_materialization = null", OWN_ASSET),
    "the last time": (
        "asset_keys",
        "last_materialization_timestamp = '2020-01-01 00:00:00.000000'",
        OWN_ASSET,
    ),
    "the last run": ("asset_keys", "last_run_id = '0' || last_run_id", OWN_ASSET),
    "the name of the asset": ("asset_keys", "asset_key = '[\"document\"]'", OWN_ASSET),
    "wiped": ("asset_keys", "wipe_timestamp = '2090-01-01 00:00:00.000000'", OWN_ASSET),
    "wiped in its details": (
        "asset_keys",
        'asset_details = \'{"__class__": "AssetDetails", "last_wipe_timestamp": 4000000000.0}\'',
        OWN_ASSET,
    ),
}
"""What is changed: a table of the log, the assignment, and in which rows."""


@pytest.fixture(scope="module")
def logged(tmp_path_factory, made_graph) -> Iterator[SmallProject]:
    """The small graph with a file more, whose events are those of runs."""
    graph = made_graph.copy(tmp_path_factory.mktemp("logged") / "graph")
    write(graph.landing / "more.jsonl", lines(texts("algebra", 7, 5)))
    graph.make({"raw_shards", "documents"})
    yield graph
    graph.close()


def noted(graph: SmallProject, status: str) -> dict[str, list[str]]:
    """Return what an audit finds that does not hash the content again, of the nodes with a status."""
    audit = audit_graph(graph.home, graph.snapshot, graph.current, graph.events(), quick=True)
    return {node.name: node.details for node in audit.nodes.values() if node.status == status}


def red(graph: SmallProject) -> dict[str, list[str]]:
    return noted(graph, "red")


def execute(graph: SmallProject, statement: str, *values: object) -> list[tuple]:
    with graph.instance.event_log_storage.index_connection() as connection:
        done = connection.exec_driver_sql(statement, values)
        return [tuple(row) for row in done] if done.returns_rows else []


@pytest.fixture
def changed(logged, request) -> Iterator[SmallProject]:
    """The graph with one change of its log, which is taken back afterwards."""
    table, assignment, where = request.param
    rows = execute(logged, f"select * from {table} where {where}")
    assert len(rows) == 1
    execute(logged, f"update {table} set {assignment} where {where}")
    assert not set(rows) <= set(execute(logged, f"select * from {table}")), "the change changes nothing"
    yield logged
    execute(logged, f"delete from {table} where id = {rows[0][0]}")
    execute(logged, f"insert into {table} values ({', '.join('?' * len(rows[0]))})", *rows[0])


def test_an_untouched_log_is_as_the_manifests_say(logged):
    assert red(logged) == {}
    assert not any(event.differences for event in logged.events())


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES, indirect=True)
def test_a_change_in_any_table_of_the_log_is_found_at_its_value(changed):
    found = red(changed)
    assert NODE in found
    assert {name.split("[")[0] for name in found} <= {"documents", "raw_shards", "target_examples"}


def test_rows_of_the_log_that_are_gone_are_found(logged):
    for table, where in (("asset_event_tags", OWN_TAGS), ("asset_keys", OWN_ASSET)):
        (row,) = execute(logged, f"select * from {table} where {where}")
        execute(logged, f"delete from {table} where {where}")
        assert NODE in red(logged)
        execute(logged, f"insert into {table} values ({', '.join('?' * len(row))})", *row)
    assert red(logged) == {}


def test_what_a_run_writes_while_the_log_is_read_is_no_difference(logged, monkeypatch):
    """An event that is indexed a moment after it is logged, as PostgreSQL does."""
    from tamis.runtime import events

    (row,) = execute(logged, f"select * from asset_event_tags where {OWN_TAGS}")
    execute(logged, f"delete from asset_event_tags where {OWN_TAGS}")
    read = events._Log.events

    def late(log: events._Log) -> object:
        found = read(log)
        if not execute(logged, f"select id from asset_event_tags where {OWN_TAGS}"):
            execute(logged, f"insert into asset_event_tags values ({', '.join('?' * len(row))})", *row)
        return found

    monkeypatch.setattr(events._Log, "events", late)
    assert not any(event.differences for event in logged.events())


@pytest.fixture
def settled_log(made_graph, tmp_path) -> Iterator[SmallProject]:
    """The small graph, of which one file was read twice, by two runs."""
    graph = made_graph.copy(tmp_path / "graph")
    for count in (7, 8):
        write(graph.landing / "more.jsonl", lines(texts("algebra", count, 5)))
        graph.make({"raw_shards", "documents"})
    yield graph
    graph.close()


def missing_is_logged(graph: SmallProject) -> int:
    return log_again(graph.instance, graph.home, graph.current)


@pytest.mark.parametrize("gone", ["an asset", "the last run", "all runs"])
def test_what_people_delete_in_dagsters_ui_is_logged_again(settled_log, gone):
    graph = settled_log
    assert red(graph) == {}
    assert missing_is_logged(graph) == 0
    runs = [run.run_id for run in graph.instance.get_runs() if run.job_name == "__ASSET_JOB"]
    if gone == "an asset":
        graph.instance.wipe_assets([dg.AssetKey("documents")])
    for run in {"an asset": [], "the last run": runs[:1], "all runs": runs}[gone]:
        graph.instance.delete_run(run)
    found = red(graph)
    said = "lacks the materialization of the current value" if gone == "an asset" else "the event log"
    assert any(said in line for line in found[NODE]), found
    assert missing_is_logged(graph) > 0
    assert red(graph) == {}
    assert missing_is_logged(graph) == 0


def test_a_log_that_contradicts_the_index_is_left_for_the_audit(settled_log):
    graph = settled_log
    (first, *_) = sorted(row[0] for row in execute(graph, f"select id from event_logs where {OWN_EVENT}"))
    execute(graph, "update event_logs set id = ? where id = ?", first + 10_000, first)
    assert NODE in red(graph)
    assert missing_is_logged(graph) == 0
    assert NODE in red(graph)


def test_events_in_another_instance_are_amber_until_they_are_logged_here(settled_log, tmp_path):
    graph = settled_log
    own = graph.instance
    write(graph.landing / "more.jsonl", lines(texts("algebra", 9, 5)))
    (tmp_path / "team").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "team")) as theirs:
        graph.__dict__["instance"] = theirs
        graph.make({"raw_shards", "documents"})
        graph.__dict__["instance"] = own
    assert red(graph) == {}
    assert any("another instance of Dagster" in line for line in noted(graph, "amber")[NODE])
    assert missing_is_logged(graph) > 0
    assert NODE not in noted(graph, "amber")
