"""A group that fails is halved until what fails is alone; what cannot be told apart is given up in time."""

import os
import signal
from types import SimpleNamespace

import pytest

from resources import running
from resources.running import MOST_SPLITS, Outcome, Runner, Wanted, interruptible
from tamis.lineage.automation import Group
from tamis.lineage.plan import Due


class Runs(Runner):
    """Runs that make all partitions but the bad ones; a run stops at the first that is bad."""

    def _run(self, group, outcome):
        self.job.runs.append(group.partitions)
        for key in group.partitions:
            if key in self.job.bad:
                return {group.assets[0]: f"{key} is bad"}
            self.job.made.add(key)
        return {}


@pytest.fixture
def make(monkeypatch):
    def made(count: int, bad: set[str], left_out: bool = False):
        job = SimpleNamespace(runs=[], made=set(), bad=bad)
        keys = tuple(f"{number:04}" for number in range(count))

        def due(stage, world, heads, settle):
            done = job.made | (job.bad & {key for run in job.runs for key in run} if left_out else set())
            return [Due(asset=stage.name, partition=key, reason="new") for key in keys if key not in done]

        monkeypatch.setattr(running, "due_partitions", due)
        monkeypatch.setattr(
            running,
            "read_heads",
            lambda store: {("embeddings", key): SimpleNamespace(input_key=key) for key in job.made},
        )
        monkeypatch.setattr(running, "look_again", lambda world, heads: world)
        project = SimpleNamespace(home=SimpleNamespace(store=None))
        said: list[str] = []
        instance = SimpleNamespace(get_dynamic_partitions=lambda _name: keys)
        runner = Runs(project=project, job=job, instance=instance, say=said.append, wanted=Wanted())
        outcome = Outcome()
        runner.make(None, Group(assets=("embeddings",), partitions=keys, keys=keys), outcome)
        return job, outcome, said

    return made


@pytest.mark.parametrize("bad", [{"0000"}, {"0123"}, {"0999"}, {"0001", "0800"}])
def test_bad_partitions_among_a_thousand_hold_no_others_back(make, bad):
    job, outcome, said = make(1_000, bad)
    assert {f"{number:04}" for number in range(1_000)} - job.made == bad
    assert outcome.given_up == {("embeddings", key) for key in bad}
    assert outcome.failed["embeddings"].removesuffix(" is bad") in bad
    assert sum("FAILED" in line for line in said) == len(bad)


@pytest.mark.parametrize("bad", [{"0000"}, {"0001"}, {"0002"}, {"0000", "0001"}])
def test_what_is_left_out_at_once_takes_none_of_the_others_with_it(make, bad):
    job, outcome, _said = make(3, bad, left_out=True)
    assert {"0000", "0001", "0002"} - job.made == bad
    assert not {key for _asset, key in outcome.given_up} & job.made, "what comes after would wait for it"


def test_what_fails_everywhere_is_given_up_after_a_stated_number_of_runs(make):
    job, outcome, _said = make(1_000, {f"{number:04}" for number in range(1_000)})
    assert job.made == set()
    assert len(job.runs) <= 2 * MOST_SPLITS + 1
    assert {key for _asset, key in outcome.given_up} == {f"{number:04}" for number in range(1_000)}


def test_one_partition_alone_is_tried_once(make):
    job, outcome, _said = make(1, {"0000"})
    assert len(job.runs) == 1
    assert outcome.given_up == {("embeddings", "0000")}


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_end_that_dagster_swallows_ends_the_command_after_the_run(asked):
    before = signal.signal(asked, lambda *_: None)  # as Dagster does between two steps
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            os.kill(os.getpid(), asked)
    finally:
        signal.signal(asked, before)


def test_whoever_listened_for_signals_before_learns_of_those_that_came_in_a_run():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before, handler = signal.set_wakeup_fd(writer), signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
        assert os.read(reader, 9) == bytes([signal.SIGTERM])
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGTERM, handler)
        os.close(reader)
        os.close(writer)


def test_other_signals_end_nothing():
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
