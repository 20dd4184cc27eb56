"""A run of some partitions of a range: what is between them is not made, and holds none of them back."""

import json

import dagster as dg
import pytest
from projects import (
    SmallProject,
    base_model,
    due_key,
    heads_of,
    note_made,
    plain_project,
    settings,
    target,
)

from tamis.graph.automation import Group
from tamis.project import Project
from tamis.runtime.running import EVERYTHING, Outcome, Runner, range_tags
from tamis.runtime.runs import PARTITIONS_TAG, named_partitions, register_partitions
from tamis.training.failures import failure_noted, failures_of

SCALING = """
[scaling]
target = "goal"
models = ["small"]
sizes = [10, 20, 160]
"""
GROUP = ("law__small__10", "law__small__20")
BETWEEN = "law__small__160"  # between them in the order of names


@pytest.fixture
def project(tmp_path, nowhere) -> Project:
    """A project with three trials, all due."""
    found = plain_project(tmp_path, settings(target(), base_model(), SCALING)).project
    for asset, key in (("tokenizer", ""), ("base_models", "small"), ("target_examples", "goal")):
        note_made(found, asset, key)
    return found


@pytest.mark.parametrize("failing", [(), GROUP[:1], GROUP[1:], GROUP])
def test_a_trial_that_fails_is_tried_once_a_command_and_holds_no_other_back(project, failing):
    """Of its range a run makes those that it names: what is between them is due as well."""
    tried: list[str] = []

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="trials"))
    def trials(context: dg.AssetExecutionContext) -> None:
        named, failed = named_partitions(context.run), []
        for key in context.partition_keys:
            if named is not None and key not in named:
                continue
            tried.append(key)
            try:
                with failure_noted(project.home.store, key, f"key of {key}"):
                    if key in failing:
                        raise RuntimeError(f"{key} ran out of memory")
                note_made(project, "trials", key)
            except RuntimeError as error:
                failed.append(str(error))
        if failed:
            raise dg.Failure("; ".join(failed), allow_retries=False)

    job = dg.Definitions(assets=[trials]).resolve_implicit_global_asset_job_def()
    for command in (1, 2):
        tried.clear()
        outcome, snapshot = Outcome(), SmallProject(project.root).snapshot
        names = [name for name in GROUP if ("trials", name) not in heads_of(project.home)]
        if not names:
            break
        keys = tuple(str(due_key(project, "trials", name)) for name in names)
        with dg.DagsterInstance.ephemeral() as instance:
            register_partitions(instance, snapshot)
            assert list(instance.get_dynamic_partitions("trials")) == [GROUP[0], BETWEEN, GROUP[1]]
            runner = Runner(
                project=project, job=job, instance=instance, say=lambda _: None, wanted=EVERYTHING
            )
            runner.make(snapshot, Group(assets=("trials",), partitions=tuple(names), keys=keys), outcome)
        assert sorted(tried) == sorted(names)
        assert outcome.given_up == {("trials", name) for name in failing}
        assert all(name in outcome.failed["trials"] for name in failing)
        assert {one.trial: one.attempts for one in failures_of(project.home.store)} == dict.fromkeys(
            failing, command
        )
    made = {key for asset, key in heads_of(project.home) if asset == "trials"}
    assert made == {*GROUP} - {*failing}


@pytest.mark.parametrize(
    ("due", "named"), [("abc", None), ("bc", None), ("b", None), ("ac", ["a", "c"]), ("bd", ["b", "d"])]
)
def test_a_range_with_others_in_it_names_what_is_to_be_made(due, named):
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("shards", list("abcd"))
        group = Group(assets=("near_duplicates", "documents"), partitions=tuple(due), keys=())
        tags = range_tags(instance, group)
    assert tags["dagster/asset_partition_range_start"] == due[0]
    assert tags["dagster/asset_partition_range_end"] == due[-1]
    assert json.loads(tags.get(PARTITIONS_TAG, "null")) == named
