"""Runs that were deprived of what they were to read: they fail, and count for no attempt at the work."""

from collections.abc import Iterator

import dagster as dg
import pytest
from projects import CORPUS, SmallProject, make_graph

from tamis.corpus import document_id
from tamis.graph.automation import Group
from tamis.platform.sensors.requests import attempts, failed_attempts, work_id
from tamis.runtime.runs import WORK_TAG, register_partitions

COOKING = "web__cooking.jsonl"
MADE = CORPUS | {"embeddings"}


@pytest.fixture(scope="module")
def first(tmp_path_factory, encoder_cache) -> Iterator[SmallProject]:
    """Documents of two files, and nothing after them."""
    graph = make_graph(tmp_path_factory.mktemp("attempts") / "graph", encoder_cache)
    graph.make(MADE)
    yield graph
    graph.close()


@pytest.fixture
def graph(tmp_path, first, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    graph = first.copy(tmp_path / "graph")
    register_partitions(graph.instance, graph.snapshot)  # as the first run did with the first instance
    yield graph
    graph.close()


def run(graph: SmallProject, asset: str, partition: str = COOKING) -> list[str]:
    """Run a stage as a sensor asks for it, which fails; the runs of this work that count."""
    job = graph.definitions().resolve_implicit_global_asset_job_def()
    group = Group(assets=(asset,), partitions=(partition,), keys=("the inputs",))
    result = job.execute_in_process(
        instance=graph.instance,
        tags={WORK_TAG: work_id(group), "dagster/partition": partition},
        asset_selection=[dg.AssetKey(asset)],
        raise_on_error=False,
    )
    assert not result.success
    tried = attempts(graph.instance, graph.home, group)
    assert tried
    return [record.dagster_run.run_id for record in failed_attempts(graph.instance, tried)]


def test_a_run_whose_file_was_removed_counts_for_no_attempt(graph):
    (graph.landing / "cooking.jsonl").unlink()
    assert graph.arrive() == "removed"
    assert run(graph, "embeddings") == []


def test_a_run_before_the_removal_of_a_file_works_on_what_is_stored(graph):
    graph.make(MADE)  # logs again what the copy of the event log lacks
    (graph.landing / "cooking.jsonl").unlink()
    job = graph.definitions().resolve_implicit_global_asset_job_def()
    tags = {"dagster/partition": COOKING}
    assert job.execute_in_process(
        instance=graph.instance, tags=tags, asset_selection=[dg.AssetKey("embeddings")]
    ).success
    assert graph.arrive() == "removed"
    graph.until_rest()
    graph.assert_sound()


def test_a_run_whose_target_left_the_project_counts_for_no_attempt(graph):
    graph.reconfigure('"goal"', '"other"')
    assert run(graph, "target_examples", "goal") == []


def test_a_run_whose_inputs_were_withdrawn_counts_for_no_attempt(graph):
    (text,) = graph.store.read("documents", ["doc_id", "text"])["text"].head(1)
    graph.withdraw([document_id(text)])
    assert run(graph, "embeddings") == []


def test_a_run_that_fails_by_itself_counts(graph, monkeypatch):
    monkeypatch.setattr("tamis.runtime.opening.scan_files", lambda *_, **__: 1 / 0)
    assert len(run(graph, "documents")) == 1
