"""The Ray engine on a real cluster: order, state, errors, and what lost workers and nodes cost."""

import itertools
from pathlib import Path

import pytest
from pieces_of_work import (
    BusyError,
    Counted,
    FieldError,
    always_die,
    die_once,
    fail_on,
    multiply,
    multiply_slowly,
    run_out,
    threads,
    where,
)

from tamis.embedding.storing import embed_missing, table_name
from tamis.engine import LOCAL, using
from tamis.engine.errors import UnlikeWorkerError, WorkersLostError


def test_results_come_in_order_and_progress_is_counted(ray_engine, tmp_path):
    rows = []
    found = list(ray_engine.map(multiply, Counted(tmp_path, 3), range(200), rows.append))
    assert found == list(LOCAL.map(multiply, Counted(Path("nowhere"), 3), range(200)))
    assert sum(rows) == sum(range(200))
    seen: set[str] = set()
    for block, node in ray_engine.map(where, None, itertools.count()):
        seen.add(node)
        if len(seen) == 2 or block == 1_000:
            break
    assert len(seen) == 2


def test_a_state_is_loaded_once_by_each_worker_and_again_when_it_has_changed(ray_engine, tmp_path):
    for _ in range(3):
        list(ray_engine.map(multiply, Counted(tmp_path, 3), range(40)))
    processes = [path.name.split("-")[1] for path in tmp_path.glob("loaded-*")]
    assert sorted(set(processes)) == sorted(processes) != []
    found = list(ray_engine.map(multiply, Counted(tmp_path, 5), [2]))
    assert found == [(2, 10)]


def test_blocks_are_read_only_as_they_are_needed(ray_engine, tmp_path):
    read = []
    blocks = (read.append(number) or number for number in itertools.count())
    results = ray_engine.map(multiply, Counted(tmp_path, 1), blocks)
    assert next(results) == (0, 0)
    assert len(read) <= 4 * 2 + 1
    results.close()


def test_no_blocks_are_no_results_and_start_nothing():
    from tamis.engine.ray_engine import RayEngine
    from tamis.settings.sections import EngineSection

    nowhere = RayEngine(EngineSection(kind="ray", address="127.0.0.1:1"))
    assert list(nowhere.map(multiply, None, [])) == []


def test_an_error_arrives_as_what_it_is(ray_engine):
    results = ray_engine.map(fail_on, "permanent", range(9))
    got = [block for block, _ in itertools.islice(results, 3)]
    with pytest.raises(FieldError, match="text is wrong in row 3") as raised:
        next(results)
    assert (raised.value.name, raised.value.row) == ("text", 3)
    assert "in a worker" in raised.value.__notes__[0]
    assert got == [0, 1, 2]


@pytest.mark.slow
def test_other_errors_arrive_as_what_they_are_too(ray_engine):
    with pytest.raises(BusyError):
        list(ray_engine.map(fail_on, "transient", range(9)))
    with pytest.raises(KeyError):
        list(ray_engine.map(fail_on, "other", range(9)))


def test_static_vectors_have_the_same_bits_and_the_same_commits(twins, static, ray_engine):
    local, spread, ids = twins
    assert embed_missing(local, static, ids) == sorted(ids)
    rows: list[int] = []
    with using(ray_engine):
        assert embed_missing(spread, static, ids, rows.append) == sorted(ids)
    table = table_name(static.name, static.fingerprint)
    ours, theirs = (store.read_arrow(table) for store in (local, spread))
    assert ours.equals(theirs)
    assert local.version(table) == spread.version(table)
    assert sum(rows) == len(ids)


def test_a_worker_that_is_killed_costs_its_blocks_again(ray_engine, tmp_path):
    notes: list[str] = []
    with using(ray_engine, notes.append):
        found = [block for block, _ in ray_engine.map(die_once, tmp_path, range(9))]
    assert found == list(range(9))
    assert (tmp_path / "died").exists()
    assert any("was lost during die once" in note and "memory" in note for note in notes)


@pytest.mark.slow
def test_a_worker_without_memory_costs_its_blocks_again(ray_engine, tmp_path):
    assert [block for block, _ in ray_engine.map(run_out, tmp_path, range(6))] == list(range(6))
    assert (tmp_path / "ran-out").exists()


@pytest.mark.slow
def test_a_block_that_kills_every_worker_is_named_with_what_would_help(ray_engine):
    with pytest.raises(WorkersLostError, match=r"always die: 2 workers in a row .* cpus_per_worker"):
        list(ray_engine.map(always_die, None, range(6)))


@pytest.mark.slow
def test_a_worker_computes_with_as_many_threads_as_it_has_processors(ray_engine):
    assert next(ray_engine.map(threads, None, [0])) == (0, (1, "1"))


@pytest.mark.slow
def test_a_worker_with_other_code_is_refused(ray_engine, monkeypatch):
    monkeypatch.setattr("tamis.engine.ray_pool.likeness", lambda: "tamis 99")
    with pytest.raises(UnlikeWorkerError, match=r"this process has tamis 99; install the same version"):
        list(ray_engine.map(where, None, range(3)))


@pytest.mark.slow
def test_a_node_that_dies_in_mid_run_costs_its_blocks_again(ray_cluster, ray_engine, tmp_path):
    notes: list[str] = []
    doomed = ray_cluster.add_node(num_cpus=2)
    ray_engine.section = ray_engine.section.model_copy(update={"workers": 3})
    with using(ray_engine, notes.append):
        results = ray_engine.map(multiply_slowly, Counted(tmp_path, 2), range(60))
        found = [next(results)]
        while len({path.name.split("-")[2] for path in tmp_path.glob("began-*")}) < 3:
            found.append(next(results))  # until a worker of each node is in the middle of a block
        ray_cluster.remove_node(doomed, allow_graceful=False)
        found += list(results)
    assert found == [(block, 2 * block) for block in range(60)]
    assert any("was lost during multiply slowly" in note for note in notes)
    began = [path.name.split("-")[1] for path in tmp_path.glob("began-*")]
    assert 60 < len(began) <= 60 + 3 * 2  # what the lost workers had, and nothing else
    assert len(set(began)) == 60


@pytest.mark.slow
def test_a_step_that_fails_in_the_middle_ends_the_workers(ray_engine, tmp_path):
    kept = ray_engine.map(multiply_slowly, Counted(tmp_path, 2), range(1_000))  # as a traceback keeps it
    with using(ray_engine):
        assert next(kept) == (0, 0)
    assert ray_engine._pool is None
    results = ray_engine.map(multiply_slowly, Counted(tmp_path, 3), range(10))
    next(results)
    kept.close()  # whenever that happens, it concerns nobody any more
    assert [found for _, found in results] == [3 * block for block in range(1, 10)]


@pytest.mark.slow
def test_giving_up_in_the_middle_ends_the_workers(ray_engine, tmp_path):
    results = ray_engine.map(multiply_slowly, Counted(tmp_path, 2), range(1_000))
    next(results)
    results.close()
    began = len(list(tmp_path.glob("began-*")))
    assert next(ray_engine.map(multiply, Counted(tmp_path, 7), [3])) == (3, 21)  # on others
    assert len(list(tmp_path.glob("began-*"))) <= began + 2
