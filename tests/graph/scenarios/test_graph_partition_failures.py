"""What fails in one partition is noted; the others go on, and the step fails at its end with the list."""

import dagster as dg
import pytest
from projects import (
    QUIET,
    SmallProject,
    corpus,
    make_graph,
    selection,
    settings,
    target,
    texts,
    write_jsonl,
)

from tamis.graph.failures import failed_steps
from tamis.graph.plan import full_plan
from tamis.platform.assets import corpus as corpus_assets
from tamis.platform.assets import embedding as embedding_assets
from tamis.runtime import opening
from tamis.runtime.runs import register_partitions
from tamis.store.unwritable import DiskFullError

BAD = ("web__bad0.jsonl", "web__bad1.jsonl", "web__bad2.jsonl")
GOOD = tuple(f"web__good{number}.jsonl" for number in range(6))
MADE = frozenset({"raw_shards", "documents", "embeddings"})
EMBEDDED = MADE | {"target_examples", "target_embeddings"}


@pytest.fixture
def graph(tmp_path, encoder_cache) -> SmallProject:
    two = [target(name, path=f"{name}", train=8, held_out=4) for name in ("goal", "short")]
    text = settings(corpus(path="landing"), *two, selection("any", "random", 5))
    project = make_graph(tmp_path / "project", encoder_cache, text)
    for path in project.landing.iterdir():
        path.unlink()
    for number, name in enumerate((*BAD, *GOOD)):
        write_jsonl(project.landing / name.removeprefix("web__"), texts("sailing", 3, 100 + number))
    write_jsonl(project.root / "goal" / "goal.jsonl", texts("algebra", 14, 2))
    write_jsonl(project.root / "short" / "short.jsonl", texts("algebra", 3, 3))
    yield project
    project.close()


def failing_where(monkeypatch, module, name: str, is_bad, error: type[Exception] = ValueError) -> list:
    """Let a function of an asset fail for some of its arguments; returns what it was called with."""
    called, real = [], getattr(module, name)

    def sometimes(*arguments, **named):
        called.append(arguments)
        if is_bad(*arguments):
            raise error("nothing here says why")
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, sometimes)
    return called


def made(graph: SmallProject, asset: str) -> set[str]:
    return {key for name, key in graph.current if name == asset}


def noted(graph: SmallProject, asset: str) -> set[str]:
    due = full_plan(graph.snapshot, graph.current)
    return {
        one.partition
        for one in failed_steps(graph.store, graph.snapshot, graph.current, due)
        if one.asset == asset
    }


@pytest.mark.parametrize("fault", ["reading", "encoding"])
def test_three_bad_shards_of_nine_hold_no_others_back_and_a_retry_makes_three(graph, monkeypatch, fault):
    asset = {"reading": "documents", "encoding": "embeddings"}[fault]
    with monkeypatch.context() as patch:
        if fault == "reading":
            failing_where(patch, corpus_assets, "read_as", lambda shard, *_: shard.key in BAD)
        else:
            bad = documents_of(graph, BAD)
            failing_where(patch, embedding_assets, "embed_missing", lambda _s, _e, every, *_: bad & {*every})
        outcome = graph.try_making(MADE)
    assert outcome.failed.keys() == {asset}
    assert outcome.failed[asset].startswith(f"3 of 9 partitions of {asset} failed: {BAD[0]}: ValueError")
    assert outcome.given_up == {(asset, key) for key in BAD}
    assert noted(graph, asset) == {*BAD}
    assert made(graph, asset) == {*GOOD}
    runs = graph.instance.get_runs()
    graph.said.clear()
    graph.make(MADE)
    assert made(graph, "embeddings") == {*GOOD, *BAD}
    assert noted(graph, asset) == set()
    assert [line for line in graph.said if f"{asset}: " in line or f"{asset}," in line]
    assert all("3 shards" in line for line in graph.said if "shards" in line), graph.said
    assert len(graph.instance.get_runs()) - len(runs) == 1, "one run for all stages of the three shards"
    graph.assert_sound(MADE)


def documents_of(graph: SmallProject, shards: tuple[str, ...]) -> set[str]:
    graph.make({"raw_shards", "documents"})
    rows = graph.store.read("occurrences", ["shard", "doc_id"])
    return set(rows.filter(rows["shard"].is_in(shards))["doc_id"])


def test_a_target_of_too_few_examples_holds_no_other_target_back(graph):
    outcome = graph.try_making(EMBEDDED)
    assert "1 of 2 partitions of target_examples failed: short: " in outcome.failed["target_examples"]
    assert made(graph, "target_examples") == {"goal"}
    assert noted(graph, "target_examples") == {"short"}
    assert made(graph, "target_embeddings") == {"goal"}
    write_jsonl(graph.root / "short" / "more.jsonl", texts("algebra", 14, 4))
    graph.make(EMBEDDED)
    assert made(graph, "target_embeddings") == {"goal", "short"}


def test_what_may_pass_is_tried_again_at_once_for_what_is_left_alone(graph, monkeypatch):
    tries = dict.fromkeys(BAD, 0)

    def is_bad(shard, *_):
        tries[shard.key] = tries.get(shard.key, 0) + 1
        return shard.key in BAD and tries[shard.key] == 1

    monkeypatch.setattr("tamis.runtime.failures.RETRY_SECONDS", 0.0)
    failing_where(monkeypatch, corpus_assets, "read_as", is_bad, error=TimeoutError)
    outcome = graph.try_making(MADE)
    assert outcome.failed == {}
    assert {tries[key] for key in BAD} == {2}
    assert {tries[key] for key in GOOD} == {1}, "what was made is not made again"
    graph.assert_sound(MADE)


def test_where_the_home_cannot_be_written_the_step_says_so_and_tries_no_other(graph, monkeypatch):
    def full(home, error=None):
        raise DiskFullError(home, 0)

    failing_where(monkeypatch, corpus_assets, "read_as", lambda shard, *_: shard.key == BAD[0])
    monkeypatch.setattr("tamis.runtime.step.stop_unless_writable", full)
    monkeypatch.setattr("tamis.runtime.failures.MOST_RETRIES", 0)
    outcome = graph.try_making(MADE)
    assert "is full" in outcome.failed["documents"]
    assert noted(graph, "documents") == {BAD[0]}


def test_a_full_disk_that_holds_the_tables_alone_ends_the_step_by_its_name(graph, monkeypatch):
    def full(*_given, **_named):
        called.append(1)
        raise RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)")

    graph.make(MADE - {"embeddings"})
    called: list[int] = []
    monkeypatch.setattr(embedding_assets, "embed_missing", full)
    monkeypatch.setattr("tamis.runtime.failures.MOST_RETRIES", 0)
    assert "is full" in graph.try_making({"embeddings"}).failed["embeddings"]
    assert len(called) == 1  # all files together, and none of them by itself


def test_each_line_of_an_error_of_another_library_is_a_line_on_the_terminal(graph, monkeypatch):
    def broken(*_given, **_named):
        raise ValueError("the first line\nthe second") from KeyError("the cause")

    graph.make(MADE - {"embeddings"})
    monkeypatch.setattr(embedding_assets, "embed_missing", broken)
    monkeypatch.setattr("tamis.runtime.failures.MOST_RETRIES", 0)
    graph.try_making({"embeddings"})
    assert {"the second", "KeyError: 'the cause'"} <= set(graph.said)
    assert not any("\n" in line for line in graph.said)


def test_a_run_looks_at_the_sources_once(graph, monkeypatch):
    looked = failing_where(monkeypatch, opening, "scan_files", lambda *_: False)
    graph.make(MADE)
    assert len(graph.instance.get_runs()) == 1, "nine files, three stages"
    assert len(looked) == 1
    graph.assert_sound(MADE)


@pytest.mark.parametrize("arrived", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_backfill_over_all_files_makes_what_is_due_and_counts_what_is_current(graph, arrived):
    graph.make(MADE)
    before = dict(graph.current)
    for number in range(arrived):
        write_jsonl(graph.landing / f"new{number}.jsonl", texts("cooking", 3))
    register_partitions(graph.instance, graph.snapshot)
    keys = sorted(graph.snapshot.keys("shards"))
    ends = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    result = graph.job.execute_in_process(
        instance=graph.instance,
        asset_selection=[dg.AssetKey(name) for name in sorted(MADE)],
        run_config=QUIET,
        tags=ends | {"dagster/backfill": "all"},
    )
    events = [event for event in result.all_events if event.event_type_value == "ASSET_MATERIALIZATION"]
    logged = [(event.asset_key.path[-1], event.partition) for event in events]
    assert sorted(logged) == sorted((name, key) for name in MADE for key in keys)
    assert {entry for entry in graph.current if graph.current[entry] != before.get(entry)} == {
        (name, f"web__new{number}.jsonl") for name in MADE for number in range(arrived)
    }
    graph.assert_sound(MADE)
