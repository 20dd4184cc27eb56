"""Groups of partitions that fail: what is beside them in their range holds none of them back."""

import dagster as dg
import pytest
from projects import (
    SmallProject,
    base_model,
    due_key,
    heads_of,
    note_made,
    plain_project,
    rows_of,
    settings,
    target,
)

from resources.instance import register_partitions
from resources.platform import retried, tried_once
from resources.running import EVERYTHING, Outcome, Runner
from tamis.lineage.automation import Group
from tamis.project import Project
from tamis.training.failures import failure_noted, failures_of

SCALING = """
[scaling]
target = "goal"
models = ["small"]
sizes = [10, 20, 160]
"""
GROUP = ("law__small__10", "law__small__20")
BESIDE = "law__small__160"  # between them in the order of names


@pytest.fixture
def project(tmp_path, nowhere) -> Project:
    """A project with three trials, all due."""
    found = plain_project(tmp_path, settings(target(), base_model(), SCALING)).project
    for asset, key in (("tokenizer", ""), ("base_models", "small"), ("target_examples", "goal")):
        note_made(found, asset, key)
    return found


def outcome_of(project: Project, failing: str) -> Outcome:
    """Make the group by a step that fails at one partition, as the real one does at a broken model."""

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="trials"))
    def trials(context: dg.AssetExecutionContext) -> None:
        for key in context.partition_keys:
            if key == failing:
                raise dg.Failure(f"{key} does not fit", allow_retries=False)
            project.home.store.merge("trials", rows_of("trials", [{"trial": key}]))
            note_made(project, "trials", key)

    outcome, world = Outcome(), SmallProject(project.root).world
    keys = tuple(str(due_key(project, "trials", name)) for name in GROUP)
    with dg.DagsterInstance.ephemeral() as instance:
        register_partitions(instance, world)
        order = list(instance.get_dynamic_partitions("trials"))
        assert order == [GROUP[0], BESIDE, GROUP[1]]
        job = dg.Definitions(assets=[trials]).resolve_implicit_global_asset_job_def()
        runner = Runner(project=project, job=job, instance=instance, say=lambda _: None, wanted=EVERYTHING)
        runner.make(world, Group(assets=("trials",), partitions=GROUP, keys=keys), outcome)
    return outcome


def test_what_fails_beside_a_group_holds_none_of_it_back(project):
    outcome = outcome_of(project, failing=BESIDE)
    assert {("trials", name) for name in GROUP} <= set(heads_of(project.home))
    assert outcome.failed == {}, "what failed is told by the group that it is in"
    assert outcome.given_up == set()


def test_what_fails_in_a_group_is_given_up_alone(project):
    outcome = outcome_of(project, failing=GROUP[1])
    assert ("trials", GROUP[0]) in heads_of(project.home)
    assert outcome.given_up == {("trials", GROUP[1])}
    assert f"{GROUP[1]} does not fit" in outcome.failed["trials"]


@pytest.mark.parametrize("failing", [GROUP[:1], GROUP[1:], (BESIDE,), GROUP, (*GROUP, BESIDE)])
def test_a_trial_that_fails_is_tried_once_a_command_and_holds_no_other_back(project, failing):
    """However the range is halved, and whatever Dagster would try again; so it is left out in time."""
    tried: list[str] = []

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="trials"))
    def trials(context: dg.AssetExecutionContext) -> None:
        with retried(context.retry_number):
            for key in context.partition_keys:
                if ("trials", key) in heads_of(project.home):
                    continue
                tried.append(key)
                with tried_once(), failure_noted(project.home.store, key, f"key of {key}"):
                    if key in failing:
                        raise RuntimeError(f"{key} ran out of memory")
                note_made(project, "trials", key)

    job = dg.Definitions(assets=[trials]).resolve_implicit_global_asset_job_def()
    for command in (1, 2):
        tried.clear()
        outcome, world = Outcome(), SmallProject(project.root).world
        heads = heads_of(project.home)
        names = [name for name in (GROUP[0], BESIDE, GROUP[1]) if ("trials", name) not in heads]
        keys = tuple(str(due_key(project, "trials", name)) for name in names)
        with dg.DagsterInstance.ephemeral() as instance:
            register_partitions(instance, world)
            runner = Runner(
                project=project, job=job, instance=instance, say=lambda _: None, wanted=EVERYTHING
            )
            group = Group(assets=("trials",), partitions=tuple(names), keys=keys)
            runner.make(world, group, outcome)
        assert sorted(tried) == sorted(names if command == 1 else failing)
        assert outcome.given_up == {("trials", name) for name in failing}
        assert "out of memory" in outcome.failed["trials"]
        assert {one.trial: one.attempts for one in failures_of(project.home.store)} == dict.fromkeys(
            failing, command
        )
    assert {("trials", name) for name in {*GROUP, BESIDE} - {*failing}} <= set(heads_of(project.home))
