"""No lost update: each case in which Dagster's own conditions lose one, on a real instance and real values.

The cases without values (what is requested, back-off, attempts) are in tests/sensors/test_reselection.py.
"""

import gzip

import dagster as dg
import pytest
from projects import VECTORS, assets_made, names, sentences, small_settings, watched, write_jsonl
from soundness import BY_SENSORS, assert_pool, versions

from tamis.corpus.intake import documents_of_shards
from tamis.runtime.runs import tags_of

CHOSEN = ("selected_subset", "near-algebra")


@pytest.fixture(scope="module")
def built(tmp_path_factory, materialized):
    return materialized(tmp_path_factory.mktemp("watched") / "project", small_settings())


@pytest.fixture
def platform(built, tmp_path, monkeypatch):
    yield from watched(built.copy(tmp_path / "copy"), monkeypatch)


def put(platform, name: str, topic: str, count: int, seed: int) -> None:
    write_jsonl(platform.root / "landing" / name, sentences(topic, count, seed))


def texts_of(platform, shard: str) -> set[str]:
    occurrences = platform.store.read("occurrences", ["doc_id"], f"shard = '{shard}'")
    return set(platform.store.read("documents", ["doc_id", "text"]).join(occurrences, on="doc_id")["text"])


def assert_current(platform) -> None:
    """Everything that automation keeps is what the files say now."""
    assert platform.tick() == ([], "every selection is current")
    assert_pool(platform.store, platform.snapshot, BY_SENSORS)


def request_of(platform, asset: str) -> dg.RunRequest:
    """Follow the sensor until it requests this asset; that run is not executed."""
    for _ in range(20):
        platform.arrive()
        (request,), _reason = platform.tick()
        if asset in names(request):
            return request
        assert platform.execute(request).success
    raise AssertionError(f"{asset} was never requested")


def fail(*_arguments, **_named):
    raise dg.Failure("the accelerator is gone", allow_retries=False)


def test_the_run_fails_and_the_change_is_not_lost(platform, monkeypatch):
    put(platform, "cooking.jsonl", "algebra", 60, 9)
    request = request_of(platform, "embeddings")

    with monkeypatch.context() as broken:
        broken.setattr("tamis.platform.assets.embedding.embed_missing", fail)
        assert not platform.execute(request).success
        assert ("documents", "landing__cooking.jsonl") in platform.current
    monkeypatch.setattr("tamis.platform.sensors.requests.BACK_OFF_SECONDS", 0.0)
    before = versions(platform)
    platform.until_rest()
    assert versions(platform)[CHOSEN] != before[CHOSEN]
    assert_current(platform)
    vectors = platform.store.read(VECTORS, ["doc_id"])["doc_id"]
    assert len(vectors) == platform.store.count("documents") == 180


def test_the_change_lands_while_a_run_is_in_flight(platform, monkeypatch):
    put(platform, "cooking.jsonl", "algebra", 60, 9)
    request = request_of(platform, "selected_subset")
    from tamis.platform.assets import selection

    choose = selection.choose_documents

    def choose_while_a_file_changes(*arguments, **named):
        put(platform, "cooking.jsonl", "algebra", 60, 10)
        assert "in progress" in platform.tick()[1], "no second run next to the first"
        return choose(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr("tamis.platform.assets.selection.choose_documents", choose_while_a_file_changes)
        assert platform.execute(request).success
    made = assets_made(platform.until_rest())
    assert {"documents", "embeddings", "selected_subset"} <= made
    assert texts_of(platform, "landing__cooking.jsonl") == set(sentences("algebra", 60, 10))
    assert_current(platform)


def test_the_change_lands_in_the_tick_after_the_request(platform):
    put(platform, "cooking.jsonl", "algebra", 60, 9)
    request = request_of(platform, "raw_shards")
    put(platform, "cooking.jsonl", "algebra", 60, 10)
    started = dg.DagsterRun(
        job_name="__ASSET_JOB", status=dg.DagsterRunStatus.STARTED, tags=tags_of(platform.home)
    )
    waiting = platform.instance.add_run(started)
    assert "in progress" in platform.tick()[1]
    platform.instance.delete_run(waiting.run_id)
    assert platform.execute(request).success
    platform.until_rest()
    assert texts_of(platform, "landing__cooking.jsonl") == set(sentences("algebra", 60, 10))
    assert_current(platform)


def test_the_shard_set_shrinks_and_dagster_alone_would_call_the_selection_fresh(platform):
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    (platform.root / "landing" / "algebra.jsonl").unlink()
    platform.let_go("landing")  # a third of the documents
    graph, loading = platform.job.asset_layer.asset_graph, LoadingContextForTest(platform.instance)
    resolver = CachingStaleStatusResolver(platform.instance, graph, loading)
    assert resolver.get_status(dg.AssetKey("near_duplicates")) == StaleStatus.FRESH
    before = versions(platform)
    assert {"near_duplicates", "selected_subset"} <= assets_made(platform.until_rest())
    assert versions(platform)[CHOSEN] != before[CHOSEN]
    assert platform.store.count("documents") == 120
    assert_current(platform)


def test_a_version_that_flips_there_and_back_costs_nothing_and_half_way_is_undone(platform, monkeypatch):
    before, tables = versions(platform), table_versions(platform)
    original = (platform.root / "landing" / "cooking.jsonl").read_text()
    put(platform, "cooking.jsonl", "sailing", 60, 3)
    (platform.root / "landing" / "cooking.jsonl").write_text(original)
    assert platform.until_rest() == []
    assert table_versions(platform) == tables
    put(platform, "cooking.jsonl", "sailing", 60, 3)
    with monkeypatch.context() as broken:
        broken.setattr("tamis.platform.assets.embedding.embed_missing", fail)
        assert not platform.execute(request_of(platform, "embeddings")).success
    assert texts_of(platform, "landing__cooking.jsonl") == set(sentences("sailing", 60, 3))
    (platform.root / "landing" / "cooking.jsonl").write_text(original)
    platform.until_rest()
    assert_current(platform)
    after = versions(platform)
    assert {key: after[key] for key in before if key[0] in ("documents", "selected_subset")} == {
        key: before[key] for key in before if key[0] in ("documents", "selected_subset")
    }


def table_versions(platform) -> dict[str, int]:
    return {name: platform.store.version(name) for name in platform.store.names()}


def test_a_shard_that_can_never_be_read_blocks_nothing(platform, monkeypatch):
    from tamis.corpus import documents

    read_file = documents.read_file

    def read_but_one(path, section):
        if "odd" in path.name:
            raise ValueError("no such dialect")
        yield from read_file(path, section)

    monkeypatch.setattr("tamis.corpus.documents.read_file", read_but_one)
    whole = gzip.compress(b'{"text": "lost"}\n' * 1000)
    (platform.root / "landing" / "torn.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    put(platform, "odd.jsonl", "algebra", 3, 5)
    put(platform, "more.jsonl", "algebra", 30, 6)
    platform.until_rest()
    assert platform.store.count("occurrences", "shard = 'landing__more.jsonl'") == 30
    quarantine = platform.store.read("quarantine", ["shard", "reason", "detail"]).rows()
    assert (
        "landing__odd.jsonl",
        "unreadable",
        "its reader failed: ValueError: no such dialect",
    ) in quarantine
    assert "broken_compression" in [reason for _shard, reason, _detail in quarantine]
    assert_current(platform)


def test_a_shard_whose_runs_always_fail_is_given_up_alone_after_three_attempts(platform, monkeypatch):
    from tamis.platform.assets import embedding

    embed_missing = embedding.embed_missing

    def embed_but_one(store, encoder, doc_ids, advance, **named):
        (bad,) = documents_of_shards(store, ["landing__bad.jsonl"]).values()
        if set(bad).intersection(doc_ids):
            fail()
        return embed_missing(store, encoder, doc_ids, advance, **named)

    monkeypatch.setattr("tamis.platform.assets.embedding.embed_missing", embed_but_one)
    monkeypatch.setattr("tamis.platform.sensors.requests.BACK_OFF_SECONDS", 0.0)
    for name, count in (("a", 20), ("bad", 5), ("c", 30), ("d", 40)):
        put(platform, f"{name}.jsonl", "algebra", count, count)
    failures = 0
    for _ in range(25):
        platform.arrive()
        requests, reason = platform.tick()
        if not requests:
            break
        failures += not platform.execute(requests[0]).success
    assert "embeddings[landing__bad.jsonl] failed 3 times" in reason
    assert failures <= 6
    for name in "acd":
        assert ("embeddings", f"landing__{name}.jsonl") in platform.current


def test_a_file_that_comes_after_a_request_fails_no_run_and_is_taken_up_by_the_next_tick(platform):
    put(platform, "more.jsonl", "algebra", 20, 4)
    request = request_of(platform, "transport_scores")
    put(platform, "late.jsonl", "sailing", 20, 5)
    assert platform.execute(request).success
    assert ("embeddings", "landing__late.jsonl") not in platform.current
    platform.until_rest()
    assert ("embeddings", "landing__late.jsonl") in platform.current
    assert_current(platform)
