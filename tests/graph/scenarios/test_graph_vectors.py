"""Vectors of a changed encoder: a table of their own, until no shard needs those of before."""

import shutil

import dagster as dg
import pytest
from projects import FITTED, SAILING, VECTORS, SmallProject, lines, write

from tamis.embedding import encoder_identity, identity
from tamis.embedding.storing import current_table
from tamis.runtime.runs import tags_of
from tamis.store.schemas import kind_of
from tamis.store.tables import Store

COOKING_SHARD, SAILING_SHARD = "web__cooking.jsonl", "web__sailing.jsonl"


@pytest.fixture
def changed(graph, monkeypatch) -> SmallProject:
    """The small graph after other weights came under the name of its encoder."""
    encoders = graph.home.cache / "encoders"
    before = encoder_identity("static")
    monkeypatch.setattr(identity, "CODE_VERSION", "other weights")
    shutil.copytree(encoders / f"static-{before}", encoders / f"static-{encoder_identity('static')}")
    return graph


def embed(graph: SmallProject, *shards: str) -> None:
    """Materialize the vectors of these shards alone."""
    outcome = graph.try_making({"embeddings"}, partitions=shards)
    assert (outcome.made, outcome.failed) == ({"embeddings": len(shards)}, {})


def tables(store: Store) -> list[str]:
    return [name for name in store.names() if kind_of(name) == "embeddings"]


def red(graph: SmallProject) -> list[str]:
    return [node.name for node in graph.audit().nodes.values() if node.status == "red"]


def test_vectors_of_one_shard_under_a_changed_encoder_leave_those_of_the_others(changed):
    before = changed.store.read(VECTORS).sort("doc_id")
    embed(changed, COOKING_SHARD)
    assert changed.store.read(VECTORS).sort("doc_id").equals(before)
    table = current_table(changed.project)
    assert tables(changed.store) == sorted([VECTORS, table])
    assert set(changed.store.read(table)["fingerprint"]) == {encoder_identity("static")}
    assert changed.store.count(table) == 12
    assert not red(changed)


def test_a_table_of_vectors_that_no_shard_needs_is_dropped(changed):
    embed(changed, COOKING_SHARD)
    embed(changed, SAILING_SHARD)
    assert tables(changed.store) == [current_table(changed.project)]


def test_a_table_of_vectors_stays_while_a_run_is_requested_or_a_version_is_tagged(changed):
    tags = tags_of(changed.home)
    requested = dg.DagsterRun("removal", tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
    changed.instance.add_run(requested)
    embed(changed, COOKING_SHARD, SAILING_SHARD)
    assert VECTORS in tables(changed.store)
    changed.instance.delete_run(requested.run_id)
    opened = changed.store.open(VECTORS)
    opened.tags.create("pinned", opened.version)
    write(changed.landing / "more.jsonl", lines(SAILING[:3]))
    changed.make({"raw_shards", "documents"})
    assert VECTORS in tables(changed.store)
    opened.tags.delete("pinned")
    write(changed.landing / "more.jsonl", lines(SAILING[:4]))
    changed.make({"raw_shards", "documents"})
    assert VECTORS not in tables(changed.store)


def test_everything_that_reads_vectors_follows_the_changed_encoder(changed):
    before = changed.versions()
    changed.make(FITTED)
    after = changed.versions()
    for asset in ("embeddings", "target_embeddings", "density_sketch", "target_potential"):
        assert all(after[entry] != before[entry] for entry in before if entry[0] == asset), asset
    assert tables(changed.store) == [current_table(changed.project)]
    changed.assert_sound(FITTED)
