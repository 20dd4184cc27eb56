"""A run of a group: what fails of it is given up for the command, and what it made is not."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from tamis.graph.automation import Group
from tamis.graph.plan import Due
from tamis.runtime import running
from tamis.runtime.record import logged_by_hand
from tamis.runtime.running import Outcome, Runner, Wanted, interruptible
from tamis.store.home import Home


class Runs(Runner):
    """Runs whose step makes all partitions but the bad ones, and fails at its end."""

    def _run(self, group, outcome):
        self.job.runs.append(group.partitions)
        bad = [key for key in group.partitions if key in self.job.bad]
        self.job.made |= set(group.partitions) - set(bad)
        return {group.assets[0]: f"{', '.join(bad)} is bad"} if bad else {}


@pytest.fixture
def make(monkeypatch):
    def made(count: int, bad: set[str], asset: str = "embeddings", left_out: frozenset[str] = frozenset()):
        job = SimpleNamespace(runs=[], made=set(), bad=bad)
        keys = tuple(f"{number:04}" for number in range(count))

        def due(stage, snapshot, current, refit):
            gone = job.made | (left_out if job.runs else frozenset())
            return [Due(asset=stage.name, partition=key, reason="new") for key in keys if key not in gone]

        monkeypatch.setattr(running, "due_partitions", due)
        monkeypatch.setattr(running, "read_current_values", lambda store: {})
        monkeypatch.setattr(running, "scan_again", lambda snapshot, current: snapshot)
        project = SimpleNamespace(home=SimpleNamespace(store=None))
        said: list[str] = []
        runner = Runs(project=project, job=job, instance=None, say=said.append, wanted=Wanted())
        outcome = Outcome()
        runner.make(None, Group(assets=(asset,), partitions=keys, keys=keys), outcome)
        return job, outcome, said

    return made


@pytest.mark.parametrize(
    ("count", "bad"),
    [(1_000, {"0000"}), (1_000, {"0001", "0999"}), (3, {"0000", "0001", "0002"}), (1, {"0000"})],
)
def test_bad_partitions_are_given_up_alone_after_one_run(make, count, bad):
    job, outcome, said = make(count, bad)
    assert len(job.runs) == 1
    assert outcome.given_up == {("embeddings", key) for key in bad}
    assert outcome.failed == {"embeddings": f"{', '.join(sorted(bad))} is bad"}
    assert said == [], "the command says what failed when it ends"
    assert len(outcome.tried) == 1


def test_a_trial_that_a_search_leaves_out_fails_no_command(make):
    _job, outcome, said = make(3, {"0001"}, asset="trials", left_out=frozenset({"0001"}))
    assert outcome.failed == {}
    assert outcome.given_up == set()
    assert said == []


@pytest.mark.parametrize(
    ("assets", "said"),
    [
        (
            ("mart_documents", "stg_documents", "stg_scores"),
            "1 partition and 2 SQL views materialized in under 1 s",
        ),
        (("stg_scores",), "1 SQL view materialized in under 1 s"),
        (("mart_documents", "mart_intake"), "2 partitions materialized in under 1 s"),
    ],
)
def test_views_are_counted_apart_from_what_is_stored(monkeypatch, assets, said):
    lines, outcome = run(*(dg.asset(name=name)(lambda: None) for name in assets))
    assert outcome.sentence(problems=False) == said
    assert len(lines) == 1, "SQL models are many, and are counted in one line"


def run(*assets: dg.AssetsDefinition) -> tuple[list[str], Outcome]:
    """Make these assets in one run; returns what is said of its steps, without the seconds."""
    lines: list[str] = []
    names = tuple(key.path[-1] for one in assets for key in one.keys)
    job = dg.Definitions(assets=assets).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        project = SimpleNamespace(home=Home(Path("/nonexistent")))  # without an id
        runner = Runner(project=project, job=job, instance=instance, say=lines.append, wanted=Wanted())
        outcome = Outcome(planned=set(names))
        runner.make(None, Group(assets=names, partitions=("",), keys=("",)), outcome)
    return [line.rpartition(" in ")[0] or line for line in lines], outcome


def test_each_step_of_a_run_is_a_line_with_its_number():
    lines, outcome = run(
        dg.asset(name="near_duplicates")(lambda: None),
        dg.asset(name="density_sketch", deps=["near_duplicates"])(lambda: None),
    )
    assert lines == ["[1/2] near_duplicates: materialized", "[2/2] density_sketch: materialized"]
    assert outcome.made == {"near_duplicates": 1, "density_sketch": 1}


def test_a_step_that_makes_nothing_lets_those_go_on_that_read_it():
    @dg.multi_asset(specs=[dg.AssetSpec("near_duplicates", skippable=True)], can_subset=True)
    def unchanged():
        yield logged_by_hand(dg.AssetKey("near_duplicates"))

    lines, outcome = run(unchanged, dg.asset(name="near_copies", deps=["near_duplicates"])(lambda: None))
    assert lines == ["[1/2] near_duplicates: unchanged", "[2/2] near_copies: materialized"]
    assert outcome.made == {"near_copies": 1}


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
