"""`tamis.load`: the published rows as a data set, and the order in which processes of torch read them."""

import json
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as within
from hypothesis import strategies as st
from projects import corpus, plain_project, selection, settings, texts, write

import tamis
from tamis.base.errors import BadArgumentError, MissingPackageError, UnknownNameError
from tamis.verbs.elsewhere.export import export_selection
from tamis.verbs.elsewhere.load import OtherStateError, RowsGoneError, _torch_type

MADE = frozenset({"raw_shards", "documents", "near_duplicates", "selected_subset"})
COUNT = 23
EACH = within(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose selection repeats some of its documents."""
    text = settings(corpus(), selection("all", "random", 1_000), selection("none", "random", 3))
    project = plain_project(tmp_path_factory.mktemp("loading") / "project", text, {})
    rows = [
        {"text": text, "n": at, "tags": ["a", {"b": at}]} for at, text in enumerate(texts("cooking", COUNT))
    ]
    write(project.root / "documents" / "a.jsonl", map(json.dumps, rows))
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def project(made, tmp_path, nowhere):
    """A copy of it that a test may change."""
    copied = made.copy(tmp_path / "project")
    yield copied
    copied.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """Rows as they are loaded, some of them to be read several times."""
    counts = [None if at % 3 else 1 + at % 4 for at in range(COUNT)]
    table = pa.table(
        {"doc_id": [str(at) for at in range(COUNT)], "training_count": pa.array(counts, pa.int64())}
    )
    path = tmp_path_factory.mktemp("rows") / "rows.arrow"
    with pa.ipc.new_stream(str(path), table.schema) as stream:
        stream.write_table(table, max_chunksize=7)
    return path


def times(file: Path) -> Counter:
    """Return how often each row of the file is to be read."""
    rows = pa.ipc.open_stream(file.read_bytes()).read_all().to_pylist()
    return Counter({row["doc_id"]: row["training_count"] or 1 for row in rows})


def dataset(file: Path, rank: int = 0, world_size: int = 1, seed: int = 0, batch_size: int = 1):
    return _torch_type()(file, seed=seed, rank=rank, world_size=world_size, batch_size=batch_size)


def ids(rows) -> list[str]:
    return [row["doc_id"] for row in rows]


def by_workers(monkeypatch, rows, workers: int, batch_size: int, skipped: int = 0) -> list[list[str]]:
    """The batches of a DataLoader with workers, which takes one of each in turn; `skipped`: of the first."""
    shares = []
    for number in range(workers):
        worker = SimpleNamespace(id=number, num_workers=workers)
        monkeypatch.setattr("torch.utils.data.get_worker_info", lambda worker=worker: worker)
        own = iter(ids(rows))
        shares.append(iter(lambda own=own: list(islice(own, batch_size)), []))
    monkeypatch.undo()
    batches: list[list[str]] = []
    while shares:
        for share in list(shares):
            batch = next(share, None)
            if batch is None:
                shares.remove(share)
            else:
                batches.append(batch)
    return batches


def test_the_data_set_has_the_rows_of_an_export(project):
    expected = pq.read_table(export_selection(project.project, "all", "parquet").path).to_pylist()
    loaded = tamis.load("all", project.root)
    assert loaded.to_list() == expected
    assert len(expected) == COUNT
    (file,) = (project.home.cache / "loaded" / "all").glob("*.arrow")
    assert [one["filename"] for one in loaded.cache_files] == [str(file)]
    before = file.stat().st_ino
    assert tamis.load("all", project.root / "tamis.toml").to_list() == expected
    assert file.stat().st_ino == before, "it is written once"
    assert tamis.load("all", project.root, as_torch=True).path == file
    assert sorted(ids(tamis.load("all", project.root, as_torch=True))) == sorted(ids(expected))


def test_another_choice_is_another_file_and_a_withdrawal_removes_it(project):
    first = tamis.load("all", project.root, as_torch=True)
    gone = next(iter(first))["doc_id"]
    project.reconfigure("budget = 1000", "budget = 5")
    project.make(MADE)
    chosen = tamis.load("all", project.root)
    assert len(chosen) == 5
    assert len(list((project.home.cache / "loaded" / "all").glob("*"))) == 1
    assert len(ids(first)) == COUNT, "who has opened the rows goes on reading them"
    project.withdraw([gone])
    assert not (project.home.cache / "loaded").exists()
    with pytest.raises(RowsGoneError, match=r"call tamis.load again"):
        next(iter(pickle.loads(pickle.dumps(first))))
    project.make(MADE)
    assert gone not in ids(tamis.load("all", project.root))


def test_what_cannot_be_loaded_is_said(project, monkeypatch, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown selection 'some'; valid: all, none"):
        tamis.load("some", project.root)
    with pytest.raises(BadArgumentError, match="as_torch"):
        tamis.load("all", project.root, seed=1)
    for wrong in ({"rank": 2, "world_size": 2}, {"rank": 1}, {"seed": -1}, {"batch_size": 0}):
        with pytest.raises(BadArgumentError, match=next(iter(wrong)) if len(wrong) > 1 else ""):
            tamis.load("all", project.root, as_torch=True, **wrong)
    monkeypatch.setattr("tamis.verbs.elsewhere.load.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"tamis\.load needs the package 'datasets'"):
        tamis.load("all", project.root)
    assert len(ids(tamis.load("all", project.root, as_torch=True))) == COUNT, "which needs torch alone"


def test_ranks_are_those_of_the_environment(project, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    rows = tamis.load("all", project.root, as_torch=True)
    assert (rows.rank, rows.world_size) == (1, 3)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{project.root}/store", rank=0, world_size=1
    )
    try:
        rows = tamis.load("all", project.root, as_torch=True)
        assert (rows.rank, rows.world_size) == (0, 1)
    finally:
        torch.distributed.destroy_process_group()


@EACH
@given(st.integers(1, 9), st.integers(0, 5), st.integers(0, 2**40), st.integers(1, 6), st.integers(1, 5))
def test_each_row_is_read_once_an_epoch_over_all_ranks_and_workers(
    file, world_size, epoch, seed, workers, batch_size
):
    with pytest.MonkeyPatch.context() as monkeypatch:
        read: Counter = Counter()
        for rank in range(world_size):
            rows = dataset(file, rank, world_size, seed, batch_size)
            rows.set_epoch(epoch)
            alone = ids(rows)
            batches = by_workers(monkeypatch, rows, workers, batch_size)
            assert [one for batch in batches for one in batch] == alone
            assert all(len(batch) == batch_size for batch in batches[:-1])
            assert len(rows) == len(alone)
            read.update(alone)
        assert read == times(file)


@EACH
@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 50), st.integers(1, 4), st.booleans(), st.data())
def test_a_state_continues_with_the_rows_that_are_left(file, world_size, epoch, step, batch_size, told, data):
    rank = data.draw(st.integers(0, world_size - 1))
    rows = dataset(file, rank, world_size, 3, batch_size)
    rows.set_epoch(epoch)
    whole = ids(rows)
    step = min(step, len(whole) // batch_size)
    rows = dataset(file, rank, world_size, 3, batch_size)
    rows.set_epoch(epoch)
    read = ids(islice(iter(rows), step * batch_size))
    state = json.loads(json.dumps(rows.state_dict(step if told else None)))
    other = dataset(file, rank, world_size, 3, batch_size)
    other.load_state_dict(state)
    other.set_epoch(epoch)
    assert read + ids(other) == whole
    assert len(other) == len(whole) - len(read)
    again = dataset(file, rank, world_size, 3, batch_size)
    again.load_state_dict(state)
    with pytest.MonkeyPatch.context() as monkeypatch:
        left = by_workers(monkeypatch, again, data.draw(st.integers(1, 4)), batch_size)
    assert read + [one for batch in left for one in batch] == whole
    other.set_epoch(epoch + 1)
    assert len(ids(other)) == len(whole) or world_size > 1
    assert other.state_dict()["epoch"] == epoch + 1


@EACH
@given(st.integers(1, 4), st.integers(0, 10), st.data())
def test_the_state_of_a_worker_continues_that_worker(file, workers, taken, data):
    number = data.draw(st.integers(0, workers - 1))
    with pytest.MonkeyPatch.context() as monkeypatch:
        worker = SimpleNamespace(id=number, num_workers=workers)
        monkeypatch.setattr("torch.utils.data.get_worker_info", lambda: worker)
        rows = dataset(file, batch_size=2)
        whole = ids(dataset(file, batch_size=2))
        read = ids(islice(iter(rows), taken))
        other = dataset(file, batch_size=2)
        other.load_state_dict(rows.state_dict())
        first = ids(islice(iter(other), 2))
        third = dataset(file, batch_size=2)
        third.load_state_dict(other.state_dict())
        assert read + first + ids(third) == whole


def test_another_seed_or_epoch_is_another_order(file):
    orders = set()
    for seed in range(4):
        for epoch in range(4):
            rows = dataset(file, seed=seed)
            rows.set_epoch(epoch)
            orders.add(tuple(ids(rows)))
            assert tuple(ids(rows)) in orders, "the same twice"
    assert len(orders) == 16


def test_copies_of_a_document_are_spread_over_the_epoch(file):
    order = ids(dataset(file))
    for doc_id, count in times(file).items():
        places = [place / len(order) for place, one in enumerate(order) if one == doc_id]
        for copy, place in enumerate(places):
            assert copy / count - 0.2 < place < (copy + 1) / count + 0.2


def test_a_state_of_other_rows_is_refused(file):
    state = dataset(file).state_dict()
    for name, other in {"seed": 4, "version": "other", "world_size": 2}.items():
        with pytest.raises(OtherStateError, match=name.replace("_", " ")):
            dataset(file).load_state_dict(state | {name: other})


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_loader_with_workers_reads_what_one_without_reads(file, start):
    rows = dataset(file, batch_size=3)

    def batches(workers: int, **more) -> list[list[list[str]]]:
        loader = torch.utils.data.DataLoader(rows, batch_size=3, num_workers=workers, collate_fn=ids, **more)
        found = []
        for epoch in range(2):
            rows.set_epoch(epoch)
            found.append(list(loader))
        return found

    alone = batches(0)
    rows.set_epoch(5)
    assert batches(2, multiprocessing_context=start, persistent_workers=True) == alone
    assert alone[0] != alone[1]
    state = rows.state_dict(2)
    rows.load_state_dict(state)
    assert list(torch.utils.data.DataLoader(rows, batch_size=3, collate_fn=ids)) == alone[1][2:]
