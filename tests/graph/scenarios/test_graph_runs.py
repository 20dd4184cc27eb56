"""What arrives costs a run for each set of partitions that it touches; what such a run logs and leaves."""

import os
from collections.abc import Iterator
from functools import partial

import pytest
from projects import SmallProject, lines, names, texts, write

from tamis.corpus.shards import ShardChangedError
from tamis.platform.assets import corpus
from tamis.runtime.runs import DRIVER_TAG, SENSOR
from tamis.scan import sources
from tamis.scan.sources import LISTING, kept_listing


@pytest.fixture(scope="module")
def first(tmp_path_factory, made_graph) -> Iterator[SmallProject]:
    """The finished graph, with a second target of the same examples."""
    graph = made_graph.copy(tmp_path_factory.mktemp("targets") / "graph")
    start = graph.text.index("[[target]]")
    section = graph.text[start : graph.text.index("\n[", start + 1)]
    graph.configure(graph.text + section.replace('"goal"', '"other"') + "\n")
    graph.make()
    yield graph
    graph.close()


@pytest.fixture
def two_targets(tmp_path, first, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    graph = first.copy(tmp_path / "graph")
    graph.make()  # logs again what the copy of the event log lacks
    yield graph
    graph.close()


def drop(graph, count: int) -> None:
    for number in range(count):
        write(graph.landing / f"new{number}.jsonl", lines(texts("algebra", 6, seed=50 + number)))


def count_listings(monkeypatch) -> list[str]:
    """Return a list that gets the name of a corpus each time it is listed."""
    listed, whole = [], sources.list_shards

    def counted(corpus, *more):
        listed.append(corpus.name)
        return whole(corpus, *more)

    monkeypatch.setattr(sources, "list_shards", counted)
    return listed


@pytest.mark.parametrize(
    ("count", "until"),
    [
        (4, "selections"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, "selections"), (4, "reports"))),
    ],
)
def test_an_arrival_costs_a_run_of_sensors_for_each_set_of_partitions(two_targets, monkeypatch, count, until):
    """One file and many cost the same; the sources are listed by a tick alone, and a value is logged once.

    What is planned after one file and after three, and for reports, is in test_graph_automation.py.
    """
    listed = count_listings(monkeypatch)
    two_targets.reconfigure('until = "selections"', f'until = "{until}"')
    drop(two_targets, count)
    two_targets.arrive()
    made = []
    while requests := two_targets.tick()[0]:
        assert two_targets.execute(requests[0]).success
        made.append(names(requests[0]))
    assert listed == ["web"]
    for name, asked in zip(("raw_shards", "target_potential", "selected_subset"), made, strict=True):
        assert name in asked
    assert ({"mart_documents", "lineage_audit"} <= {*made[-1]}) == (until == "reports")
    two_targets.assert_sound(amber=True)  # a potential that its certificate accepts keeps its version
    runs = {run.run_id for run in two_targets.instance.get_runs() if run.tags.get(DRIVER_TAG) == SENSOR}
    logged = [event for event in two_targets.events() if event.run_id in runs]
    entries = [(event.asset, event.partition, event.run_id) for event in logged]
    assert len(entries) == len(set(entries))
    latest = {(event.asset, event.partition): event for event in reversed(logged)}
    for entry, event in latest.items():
        assert event.tags["dagster/data_version"] == two_targets.versions()[entry]
    new = {two_targets.versions()["documents", f"web__new{number}.jsonl"] for number in range(count)}
    assert len(new) == count


@pytest.mark.slow
def test_what_arrives_and_is_made_by_hand_costs_as_many_runs(two_targets, monkeypatch):
    drop(two_targets, 2)
    before, listed = two_targets.instance.get_runs_count(), count_listings(monkeypatch)
    two_targets.make()
    assert two_targets.instance.get_runs_count() - before == 3
    assert listed == ["web", "web"], "before, and whether anything came meanwhile"


def test_a_listing_of_other_corpora_is_not_gone_by(graph):
    graph.arrive()
    assert kept_listing(graph.project).keys() == graph.snapshot.shards.keys()
    graph.reconfigure('path = "landing"', 'path = "landing"\nexclude = ["no*"]')
    assert kept_listing(graph.project) is None


def test_a_listing_is_written_where_it_has_changed(graph):
    graph.arrive()
    path = graph.project.home.cache / LISTING
    first, content = path.stat(), path.read_bytes()
    graph.arrive()
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (first.st_mtime_ns, first.st_ino)
    write(graph.landing / "another.jsonl", lines(texts("algebra", 6, seed=60)))
    graph.arrive()
    assert kept_listing(graph.project).keys() == graph.snapshot.shards.keys()
    assert "web__another.jsonl" in kept_listing(graph.project, within=60.0)
    assert kept_listing(graph.project, within=-1.0) is None
    path.write_bytes(content)  # by another process, which knows best
    assert "web__another.jsonl" not in kept_listing(graph.project)
    path.unlink()
    assert kept_listing(graph.project) is None
    graph.arrive()
    assert "web__another.jsonl" in kept_listing(graph.project)
    assert path.read_bytes() != content


def test_a_listing_that_cannot_be_kept_leaves_no_earlier_one(graph):
    graph.arrive()
    (graph.landing / os.fsdecode(b"caf\xe9.jsonl")).write_text('{"text": "one"}\n')
    graph.arrive()
    assert kept_listing(graph.project) is None


@pytest.mark.parametrize("count", [1, 3])
def test_a_file_that_changes_while_it_is_read_fails_no_step_of_the_run(graph, monkeypatch, count):
    """What reads it waits for the next run."""
    drop(graph, count)
    monkeypatch.setattr("tamis.platform.assets.corpus.as_hashed", partial(_changed, corpus.as_hashed))
    graph.arrive()
    (request,), _ = graph.tick()
    assert "near_duplicates" in names(request)
    assert graph.execute(request).success
    assert ("documents", "web__new0.jsonl") not in graph.current
    assert count == 1 or ("documents", "web__new1.jsonl") in graph.current


def _changed(read, work, key, group_of, advance):
    if key.endswith("new0.jsonl"):
        raise ShardChangedError(key)
    yield from read(work, key, group_of, advance)
