"""Tables under a prefix of an S3 server: as in a folder, never taken for damaged while the store fails."""

import pickle
import time

import pyarrow as pa
import pytest
from projects import rows_of

from tamis.graph.repair import unreadable_tables
from tamis.store.compaction import compact
from tamis.store.erasing import erase_rows, forget_versions, is_bare
from tamis.store.remote import objects
from tamis.store.remote.objects import ObjectFolder, StorageUnavailableError
from tamis.store.retained import sweep_unmade
from tamis.store.schemas import schema_of
from tamis.store.tables import DamagedTableError, Store, UnknownTableError
from tamis.store.vectors import VectorBlocks

TABLE = "near_duplicates"


def rows(*ids: int, kept: int = 0) -> pa.Table:
    schema = schema_of(TABLE)
    values = {"doc_id": [f"{one:032x}" for one in ids], "kept": [f"{kept:032x}"] * len(ids)}
    columns = [pa.array(values.get(field.name, [None] * len(ids)), field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


@pytest.fixture
def store(storage_url):
    return Store(ObjectFolder(f"{storage_url}/lance"))


def ids_of(store: Store, **named) -> list[int]:
    return sorted(int(one, 16) for one in store.read(TABLE, ["doc_id"], **named)["doc_id"])


def test_writes_reads_and_versions_are_those_of_a_folder(store, tmp_path):
    found = []
    for one in (store, Store(tmp_path)):
        with pytest.raises(UnknownTableError):
            one.open(TABLE)
        assert (one.exists(TABLE), one.names(), one.count(TABLE), one.version(TABLE)) == (False, [], 0, 0)
        one.insert_new(TABLE, rows(1, 2, 3))
        first = one.version(TABLE)
        one.insert_new(TABLE, rows(3, 4, kept=9))
        one.merge(TABLE, rows(1, kept=7))
        one.delete(TABLE, f"doc_id = '{2:032x}'")
        assert ids_of(one, version=first) == [1, 2, 3]
        assert one.names() == [TABLE]
        kept = dict(one.read(TABLE, ["doc_id", "kept"]).iter_rows())
        found.append((kept, one.version(TABLE), one.count(TABLE), one.schema(TABLE)))
    assert found[0] == found[1]
    assert set(map(len, found[0][0])) == {32}


def test_data_without_a_version_waits_and_is_then_moved_aside(store):
    """As in a folder (tests/graph/scenarios/test_graph_repair.py): the store says when an object came."""
    answer = {"doc_id": "a" * 32, "margin": 1.0, "by_server": True, "fingerprint": "judge"}
    store.append("scores_judge", rows_of("scores_judge", [answer]))
    listed = sorted(store.folder.listed("scores_judge.lance/data/"))
    store.folder.delete(store.folder.listed("scores_judge.lance/_versions/"))
    again = Store(store.folder)
    assert sweep_unmade(again, 3_600) == []
    assert sorted(store.folder.listed("scores_judge.lance/data/")) == listed
    (said,) = sweep_unmade(again, -60)
    assert "were moved to lance/damaged/scores_judge-" in said
    moved = [name for name in store.folder.listed("damaged/") if "/data/" in name]
    assert [name.rpartition("/")[2] for name in moved] == [name.rpartition("/")[2] for name in listed]


def test_a_read_is_of_the_version_of_its_beginning(store):
    store.insert_new(TABLE, rows(*range(20_000)))
    batches = store.batches(TABLE, ["doc_id"], rows=1_000)
    first = next(batches)
    Store(store.folder).overwrite(TABLE, rows(1))
    assert len(first) + sum(map(len, batches)) == 20_000
    assert ids_of(store) == [1]


def test_another_process_opens_the_same_place(store):
    store.insert_new(TABLE, rows(1))
    again = pickle.loads(pickle.dumps(store))
    assert ids_of(again) == [1]
    assert pickle.loads(pickle.dumps(VectorBlocks(store, TABLE, version=1))).store.folder == store.folder


def test_what_is_erased_is_in_no_object(store, storage):
    prefix, schema = store.folder.url.split("/", 3)[3], schema_of("documents")
    texts = [{"doc_id": f"{n:032x}", "text": f"MARK{n:06d} {n * 7919}"} for n in range(20)]
    for start in (0, 10):
        store.append("documents", pa.Table.from_pylist(texts[start : start + 10], schema=schema))

    def shown(number: int) -> bool:
        return any(f"MARK{number:06d}".encode() in body for body in storage.objects(prefix).values())

    assert shown(7)
    assert erase_rows(store, "documents", "doc_id", [f"{7:032x}"]) == 1
    assert shown(7), "a deletion alone is a mark"
    assert not is_bare(store, "documents")
    assert forget_versions(store, "documents")
    assert is_bare(store, "documents")
    assert [shown(number) for number in range(20)] == [number != 7 for number in range(20)]
    assert store.count("documents") == 19


def test_many_small_commits_are_compacted(store):
    for number in range(40):
        store.append(TABLE, rows(number))
    assert compact(store) == [TABLE]
    assert ids_of(store) == list(range(40))


def test_a_store_that_fails_now_and_then_changes_nothing(store, storage):
    storage.faults(errors=0.15, cut=0.1, seed=5)
    for number in range(6):
        store.insert_new(TABLE, rows(*range(number * 100, number * 100 + 150)))
    assert ids_of(store) == list(range(650))


def test_a_store_that_fails_is_no_damage(store, storage, monkeypatch):
    store.insert_new(TABLE, rows(1, 2))
    monkeypatch.setattr("tamis.store.places.lance_options", quick_options)
    again = Store(store.folder)
    assert again.exists(TABLE)
    storage.faults(errors=1.0)
    with pytest.raises(StorageUnavailableError, match=r"500.*AWS_ENDPOINT_URL"):
        again.read(TABLE)
    storage.faults(latency=0.0)
    assert unreadable_tables(again) == []


def test_a_store_that_fails_while_it_is_connected_to_is_named(store, storage, monkeypatch):
    monkeypatch.setattr("tamis.store.places.lance_options", quick_options)
    storage.faults(errors=1.0)
    with pytest.raises(StorageUnavailableError, match="AWS_ENDPOINT_URL"):
        store.names()


@pytest.mark.parametrize("opened", [True, False])
def test_a_store_that_falls_silent_is_given_up_and_goes_on_when_it_answers(
    store, storage, monkeypatch, opened
):
    quick = {"read_timeout": "500ms", "client_retry_timeout": "0"}
    options = objects.lance_options()
    assert options.keys() >= quick.keys(), "what is shortened here has a default that is longer"
    store.insert_new(TABLE, rows(*range(5_000)))
    monkeypatch.setattr("tamis.store.places.lance_options", lambda: options | quick)
    again = Store(store.folder)
    again.exists(TABLE)
    if opened:
        again.alone(True)
        again.version(TABLE)
    storage.faults(latency=30.0)
    began = time.monotonic()
    with pytest.raises(StorageUnavailableError, match="AWS_ENDPOINT_URL"):
        again.read(TABLE)
    assert time.monotonic() - began < 10, "six tries of half a second, and room for a slow machine"
    storage.faults(latency=0.0)
    assert ids_of(again) == list(range(5_000))
    assert unreadable_tables(again) == []


@pytest.mark.slow
def test_the_silence_of_a_store_lasts_about_a_minute_at_most(store, storage):
    store.insert_new(TABLE, rows(1))
    again = Store(store.folder)
    again.exists(TABLE)
    storage.faults(latency=120.0)
    began = time.monotonic()
    with pytest.raises(StorageUnavailableError):
        again.read(TABLE)
    assert time.monotonic() - began < 75


def quick_options() -> dict[str, str]:
    from tamis.store.remote.objects import lance_options

    return lance_options() | {"client_max_retries": "1", "client_retry_timeout": "1"}


def test_an_object_that_was_removed_is_damage_and_the_table_can_be_dropped(store, storage):
    store.insert_new(TABLE, rows(1, 2))
    prefix = store.folder.url.split("/", 3)[3]
    data = [name for name in storage.objects(prefix) if "/data/" in name]
    for name in data:
        storage.client.delete_object(Bucket="tamis-bucket", Key=name)
    again = Store(store.folder)
    with pytest.raises(DamagedTableError, match=TABLE):
        again.read(TABLE)
    assert unreadable_tables(again) == [TABLE]
    again.drop(TABLE)
    assert not again.exists(TABLE)
    assert storage.objects(prefix) == {}
