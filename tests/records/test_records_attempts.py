"""Attempts: a value whose latest attempt did not end is known, is made again, and is no input of others."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tamis.graph.plan import due_partitions, full_plan, input_references
from tamis.graph.stages import stages
from tamis.records.attempts import begin, read_attempts
from tamis.records.current_values import CurrentValue, read_current_values, unfinished, write_current_values
from tamis.retention.reconciled import forget_gone
from tamis.store.schemas import schema_of
from tamis.store.table_errors import DamagedTableError
from tamis.store.tables import Store

CHECKOUT = Path(__file__).resolve().parents[2]
ENTRY = ("documents", "web__a")


def value(attempt: str, **more) -> CurrentValue:
    asset, partition = ENTRY
    values = {"manifest": "m", "input_key": "k", "data_version": "v"} | more
    return CurrentValue(asset=asset, partition=partition, attempt=attempt, **values)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "lance")


def test_a_current_value_is_finished_only_with_the_token_of_the_latest_attempt(store):
    first = begin(store, [ENTRY])
    assert unfinished(read_current_values(store), read_attempts(store)) == {ENTRY}
    write_current_values(store, [value(first)])
    assert read_current_values(store)[ENTRY].finished
    second = begin(store, [ENTRY])
    assert not read_current_values(store)[ENTRY].usable
    write_current_values(store, [value(second)])
    assert unfinished(read_current_values(store), read_attempts(store)) == set()
    assert read_current_values(store)[ENTRY].usable


def test_a_current_value_of_a_table_without_attempts_is_finished(store):
    asset, partition = ENTRY
    row = value("").__dict__ | {"made_at": None}
    old = pa.schema([field for field in schema_of("heads") if field.name != "attempt"])
    store.merge("heads", pa.Table.from_pylist([{name: row[name] for name in old.names}], schema=old))
    assert read_current_values(store) == {(asset, partition): value("")}


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from tamis.records.current_values import CurrentValue, write_current_values
from tamis.store.tables import Store

store, data_version = Store(Path(sys.argv[1])), sys.argv[2]
if data_version == "again":
    store.drop("heads")
names = ("documents", "web__a", "m", "k", data_version)
fields = ("asset", "partition", "manifest", "input_key", "data_version")
write_current_values(store, [CurrentValue(**dict(zip(fields, names)))])
"""


@pytest.mark.parametrize("data_version", ["other", "again"])
def test_current_values_that_another_process_writes_are_seen_at_once(store, data_version):
    """That holds, too, where the table was dropped and made again with as many versions as before."""
    write_current_values(store, [value("")])
    assert read_current_values(store)[ENTRY].data_version == "v"
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(store.folder), data_version]
    subprocess.run(command, check=True, cwd=CHECKOUT)
    assert read_current_values(store)[ENTRY].data_version == data_version


@pytest.mark.parametrize("table", ["heads", "attempts"])
def test_a_table_that_is_damaged_after_it_was_read_raises(store, table):
    write_current_values(store, [value(begin(store, [ENTRY]))])
    assert read_current_values(store)[ENTRY].usable
    (data,) = (Path(store.folder) / f"{table}.lance" / "data").iterdir()
    data.write_bytes(b"\0" * data.stat().st_size)
    with pytest.raises(DamagedTableError, match=table):
        read_current_values(Store(store.folder))  # as each step opens it


def test_a_reader_that_changes_its_current_values_does_not_change_those_of_the_next(store):
    write_current_values(store, [value("")])
    read_current_values(store).clear()
    assert read_current_values(store) == {ENTRY: value("")}


def test_an_interrupted_value_is_due_though_its_inputs_are_unchanged(imagined):
    imagined.materialize()
    assert full_plan(imagined.snapshot(), imagined.current) == []
    made = imagined.current[ENTRY]
    imagined.current[ENTRY] = CurrentValue(**made.__dict__ | {"finished": False})
    (due,) = due_partitions(stages()["documents"], imagined.snapshot(), imagined.current)
    assert (due.partition, due.reason) == ("web__a", "interrupted")
    reading = input_references(stages()["embeddings"], "web__a", imagined.snapshot(), imagined.current)
    assert reading == ["documents[web__a]"]


def test_rows_of_an_attempt_that_did_not_end_are_removed_with_their_partition(imagined):
    store, snapshot = imagined.project.home.store, imagined.snapshot()
    begin(store, [("target_examples", "left"), ("documents", "web__left"), ("documents", "web__a")])
    rows = {
        "target_examples": {
            "target": "left",
            "doc_id": "0" * 32,
            "split": "train",
            "text": "t",
            "source": "s",
        },
        "occurrences": {"doc_id": "1" * 32, "shard": "web__left", "row": 0},
        "documents": {"doc_id": hashlib.sha256(b"nothing names it").hexdigest()[:32], "text": "t"},
    }
    for table, row in rows.items():
        schema = schema_of(table)
        full = {name: row.get(name) for name in schema.names}
        store.merge(table, pa.Table.from_pylist([full], schema=schema))
    gone = forget_gone(store, snapshot, taken_in(snapshot))
    assert set(gone) == {("target_examples", "left"), ("documents", "web__left")}
    assert [store.count(table) for table in rows] == [0, 0, 0]
    assert set(read_attempts(store)) == {("documents", "web__a")}
    assert forget_gone(store, snapshot, taken_in(snapshot)) == []


def taken_in(snapshot) -> dict:
    """Return current values that say that every shard was read in its present state."""
    found = {}
    for key, digest in snapshot.fingerprints.items():
        for asset in ("raw_shards", "documents"):
            values = {"manifest": "m", "input_key": "k", "data_version": digest}
            found[asset, key] = CurrentValue(asset=asset, partition=key, **values)
    return found


def test_documents_of_a_removed_shard_stay_while_another_shard_that_may_hold_them_waits(imagined):
    store, snapshot = imagined.project.home.store, imagined.snapshot()
    schema = schema_of("documents")
    row = dict.fromkeys(schema.names) | {"doc_id": "2" * 32, "text": "moved"}
    store.merge("documents", pa.Table.from_pylist([row], schema=schema))
    begin(store, [("documents", "web__left")])
    current = taken_in(snapshot)
    del current["documents", "web__b"]
    assert forget_gone(store, snapshot, current) == [("documents", "web__left")]
    assert store.count("documents") == 1
