"""Partitions stay registered while a run that has not ended names them."""

from collections.abc import Sequence
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from tamis.runtime.runs import partitions_in_use, register_partitions, tags_of
from tamis.store.home import Home, claim

PARTITION, START, END = (
    f"dagster/{name}" for name in ("partition", "asset_partition_range_start", "asset_partition_range_end")
)
UNENDED = ["NOT_STARTED", "QUEUED", "STARTING", "STARTED", "CANCELING"]
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__"), "__ASSET_JOB"
)
SHARDS = ["web__a", "web__b", "web__c", "web__d"]


@pytest.fixture
def home(tmp_path) -> Home:
    found = Home(tmp_path)
    claim(found, "small")
    return found


@pytest.fixture
def instance(home):
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("shards", SHARDS)
        instance.add_dynamic_partitions("targets", ["goal", "web__a"])
        register_partitions(instance, world(home, shards=SHARDS, targets=("goal", "web__a")))
        yield instance


def run(instance: dg.DagsterInstance, status: str, assets: tuple[str, ...], **tags: str) -> dg.DagsterRun:
    return instance.add_run(
        dg.DagsterRun(
            job_name="__ASSET_JOB",
            tags=tags,
            remote_job_origin=ORIGIN,
            status=dg.DagsterRunStatus[status],
            asset_selection=frozenset(dg.AssetKey(name) for name in assets) or None,
        )
    )


def world(home: Home, **sets: Sequence[str]) -> SimpleNamespace:
    project = SimpleNamespace(home=home)
    return SimpleNamespace(project=project, keys=lambda name: sets.get(name, ()), held=(), kept={})


@pytest.mark.parametrize("status", UNENDED)
def test_a_partition_leaves_when_the_run_that_names_it_has_ended(instance, home, status):
    named = run(instance, status, ("documents",), **{PARTITION: "web__b"})
    changes = register_partitions(instance, world(home, shards=("web__a",), targets=("goal", "web__a")))
    assert changes == {"shards": ([], ["web__c", "web__d"])}
    assert instance.get_dynamic_partitions("shards") == ["web__a", "web__b"]
    instance.report_run_failed(named) if status != "CANCELING" else instance.report_run_canceled(named)
    assert register_partitions(instance, world(home, shards=("web__a",), targets=("goal", "web__a"))) == {
        "shards": ([], ["web__b"])
    }


def test_a_range_names_all_between_its_ends(instance, home):
    run(instance, "QUEUED", ("embeddings",), **{START: "web__b", END: "web__d"})
    assert partitions_in_use(instance, home)["shards"] == {"web__b", "web__c", "web__d"}
    register_partitions(instance, world(home))
    assert instance.get_dynamic_partitions("shards") == ["web__b", "web__c", "web__d"]


def test_a_run_names_partitions_of_the_sets_of_its_assets_alone(instance, home):
    run(instance, "STARTED", ("transport_scores",), **{PARTITION: "web__a"})
    run(instance, "SUCCESS", ("documents",), **{PARTITION: "web__c"})
    found = partitions_in_use(instance, home)
    assert (found["targets"], found["shards"]) == ({"web__a"}, set())
    run(instance, "QUEUED", (), **{PARTITION: "web__d"}, **tags_of(home))
    assert all("web__d" in keys for keys in partitions_in_use(instance, home).values()), (
        "of a job: it may be any"
    )
