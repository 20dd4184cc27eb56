"""What arrives costs a run for each set of partitions that it touches; what such a run logs and leaves."""

from functools import partial

import pytest
from projects import lines, names, texts, write

from assets import corpus
from resources.tags import DRIVER_TAG, SENSOR
from tamis.corpus.shards import ShardChangedError

SETS = (["raw_shards"], ["target_potential"], ["selected_subset"])


@pytest.fixture
def two_targets(graph, monkeypatch):
    """The finished graph, with a second target of the same examples, made."""
    monkeypatch.setattr("sensors.requests.SETTLED_SECONDS", 0)
    start = graph.text.index("[[target]]")
    section = graph.text[start : graph.text.index("\n[", start + 1)]
    graph.configure(graph.text + section.replace('"goal"', '"other"') + "\n")
    graph.make()
    return graph


@pytest.mark.parametrize("count", [1, 3])
def test_an_arrival_costs_a_run_of_sensors_for_each_set_of_partitions(two_targets, count):
    for number in range(count):
        write(two_targets.landing / f"new{number}.jsonl", lines(texts("algebra", 6, seed=50 + number)))
    before = two_targets.instance.get_runs_count()
    requests = two_targets.until_rest()
    made = [names(request) for request in requests]
    assert [{*own} & {*asked} == {*own} for own, asked in zip(SETS, made, strict=True)] == [True] * 3
    assert two_targets.instance.get_runs_count() - before == 3
    two_targets.assert_sound(amber=True)  # a potential that its certificate accepts keeps its version


def test_what_arrives_and_is_made_by_hand_costs_as_many_runs(two_targets):
    write(two_targets.landing / "new.jsonl", lines(texts("algebra", 6, seed=50)))
    before = two_targets.instance.get_runs_count()
    two_targets.make()
    assert two_targets.instance.get_runs_count() - before == 3


def test_a_run_of_many_partitions_logs_each_value_once_with_its_own_version(two_targets):
    for number in range(3):
        write(two_targets.landing / f"new{number}.jsonl", lines(texts("algebra", 6, seed=50 + number)))
    two_targets.until_rest()
    logged = two_targets.events()
    runs = {run.run_id for run in two_targets.instance.get_runs() if run.tags.get(DRIVER_TAG) == SENSOR}
    entries = [(event.asset, event.partition) for event in logged if event.run_id in runs]
    assert len(entries) == len(set(entries))
    versions = two_targets.versions()
    for event in logged:
        if event.run_id in runs and (event.asset, event.partition) in versions:
            assert event.tags["dagster/data_version"] == versions[event.asset, event.partition]


@pytest.mark.parametrize("count", [1, 3])
def test_a_file_that_changes_while_it_is_read_fails_no_step_of_the_run(graph, monkeypatch, count):
    """What reads it waits for the next run."""
    graph.make()  # logs what the copy of the event log lacks
    for number in range(count):
        write(graph.landing / f"new{number}.jsonl", lines(texts("algebra", 6, seed=50 + number)))
    with monkeypatch.context() as patched:
        patched.setattr("assets.corpus.as_hashed", partial(_changed, corpus.as_hashed))
        graph.arrive()
        (request,), _ = graph.tick()
        assert "near_duplicates" in names(request)
        assert graph.execute(request).success
    assert ("documents", "landing__new0.jsonl") not in graph.current
    graph.until_rest()
    graph.make()
    graph.assert_sound()


def _changed(read, work, key, advance):
    if key.endswith("new0.jsonl"):
        raise ShardChangedError(key)
    yield from read(work, key, advance)
