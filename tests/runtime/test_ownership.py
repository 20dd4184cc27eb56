"""Two homes and a foreign code location in one instance: each leaves alone what is of the others."""

import shutil
import time
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.code_pointer import CodePointer, FileCodePointer, ModuleCodePointer, PackageCodePointer
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from projects import SmallProject, plain_project, selection, settings, write_jsonl

from tamis.graph.automation import Group
from tamis.platform.sensors.requests import attempts, busy, removal_request, work_id
from tamis.runtime import runs
from tamis.runtime.checks import log_evaluation
from tamis.runtime.runs import (
    ASSET_JOB,
    COMMAND_LINE,
    DEFINITIONS,
    DRIVER_TAG,
    HOME_TAG,
    PROCESS_TAG,
    WORK_TAG,
    Owner,
    active_runs,
    end_killed_runs,
    other_homes,
    register_partitions,
    tags_of,
)
from tamis.store.home import ID_COPY, ID_MARKER, claim, home_id

HERE = RegisteredCodeLocationOrigin("definitions.py")
KILLED = dg.DagsterRunStatus.STARTED


class Home(SmallProject):
    """A project that shares an instance with others."""

    @property
    def tags(self) -> dict[str, str]:
        return tags_of(self.home)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def homes(tmp_path, instance, nowhere) -> tuple[Home, Home]:
    def make(name: str) -> Home:
        found = Home(plain_project(tmp_path / name, settings(selection("best"), name=name)).root)
        found.__dict__["instance"] = instance
        claim(found.home, name)
        return found

    return make("one"), make("other")


def origin(location=HERE, job: str = ASSET_JOB) -> RemoteJobOrigin:
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job)


def code(pointer: CodePointer, job: str = ASSET_JOB) -> JobPythonOrigin:
    return JobPythonOrigin(
        job, RepositoryPythonOrigin("python", pointer, entry_point=["dagster"], container_image=None)
    )


def run(
    instance, tags, status=KILLED, location=None, job=ASSET_JOB, assets=("documents",), defined=None
) -> dg.DagsterRun:
    return instance.add_run(
        dg.DagsterRun(
            job_code_origin=code(defined, job) if defined else None,
            job_name=job,
            tags=tags,
            status=status,
            remote_job_origin=origin(location, job) if location else None,
            asset_selection=frozenset(map(dg.AssetKey, assets)) or None,
        )
    )


def context(instance, location=HERE) -> SimpleNamespace:
    return SimpleNamespace(instance=instance, code_location_origin=location)


def test_a_home_has_one_id_that_moves_with_it(homes, tmp_path):
    one, other = homes
    known = home_id(one.home)
    assert known != home_id(other.home)
    claim(one.home, "one")
    assert home_id(one.home) == known
    assert home_id(SmallProject(one.root.rename(tmp_path / "moved")).home) == known
    before = home_id(other.home)
    shutil.rmtree((other.home.root / ID_MARKER).parent)
    assert home_id(other.home) == before, "as the copy next to the runs says"
    claim(other.home, "other")
    assert (other.home.root / ID_MARKER).read_text() == f"{before}\n"
    for place in (ID_MARKER, ID_COPY):
        (other.home.root / place).write_bytes(b"\xff\n")
    assert home_id(other.home) == ""
    claim(other.home, "other")
    assert home_id(other.home).startswith("other-")
    long = plain_project(tmp_path / "long", settings(name="n" * 60)).project
    claim(long.home, "n" * 60)
    assert 50 < len(home_id(long.home)) <= 63, "as Dagster's tags"


def test_killed_runs_of_others_are_not_ended(homes, instance, monkeypatch):
    one, other = homes
    monkeypatch.setattr(runs, "SILENT_SECONDS", -1.0)
    dead = runs.this_process().rsplit(":", 2)[0] + ":999999999:1"
    mine = run(instance, one.tags | {PROCESS_TAG: dead})
    left = [
        run(instance, other.tags | {PROCESS_TAG: dead}),
        run(instance, {}, job="etl", assets=()),  # started long ago, and has no tag of a process
        run(instance, {}, location=RegisteredCodeLocationOrigin("etl.py"), assets=("sales",)),
        run(instance, {}, location=HERE),  # nobody's yet
    ]
    began = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name="etl")
    for one_left in left:
        instance.report_dagster_event(began, one_left.run_id)
    assert end_killed_runs(instance, one.home) == 1
    assert instance.get_run_by_id(mine.run_id).status == dg.DagsterRunStatus.FAILURE
    assert {instance.get_run_by_id(found.run_id).status for found in left} == {KILLED}


def test_runs_of_0_2_are_the_homes_unless_another_home_is_there(homes, instance):
    one, other = homes
    of_0_2 = run(instance, {DRIVER_TAG: COMMAND_LINE})
    foreign = run(instance, {}, job="etl", assets=())
    assert Owner.of(instance, one.home).owns(of_0_2)
    assert not Owner.of(instance, one.home).owns(foreign)
    run(instance, one.tags)
    assert other_homes(instance, home_id(one.home)) == set()
    run(instance, other.tags)
    assert other_homes(instance, home_id(one.home)) == {home_id(other.home)}
    assert not Owner.of(instance, one.home).owns(of_0_2), "nobody knows whose it is"


def test_sensors_wait_for_runs_of_their_own_home_alone(homes, instance):
    one, other = homes
    foreign = RegisteredCodeLocationOrigin("etl.py")
    queued = dg.DagsterRunStatus.QUEUED
    for tags, location, assets in (
        (other.tags, HERE, ("documents",)),
        ({}, foreign, ("sales",)),
        ({}, foreign, ("documents",)),
        ({}, HERE, ("sales",)),
    ):
        run(instance, tags, queued, location, assets=assets)
        assert busy(context(instance), one.home) == "", (tags, location, assets)
    mine = run(instance, one.tags, queued, HERE)
    assert busy(context(instance), one.home).startswith("a run is in progress")
    assert [found.run_id for found in active_runs(instance, one.home)] == [mine.run_id]


def test_a_run_that_somebody_has_just_started_in_the_ui_is_waited_for(homes, instance):
    one, other = homes
    run(instance, {}, dg.DagsterRunStatus.QUEUED, HERE)
    assert busy(context(instance), one.home)
    run(instance, other.tags, dg.DagsterRunStatus.SUCCESS)
    here, there = (GrpcServerCodeLocationOrigin("localhost", socket=name) for name in ("/a", "/b"))
    run(instance, {}, dg.DagsterRunStatus.QUEUED, there)
    assert busy(context(instance, here), one.home) == "", "with two homes, the server tells whose it is"
    assert busy(context(instance, there), one.home)


def test_a_backfill_of_others_is_not_waited_for(homes, instance):
    one, other = homes

    def start(name: str, *assets: str) -> None:
        instance.add_backfill(
            PartitionBackfill(
                backfill_id=name,
                status=BulkActionStatus.REQUESTED,
                from_failure=False,
                tags={},
                backfill_timestamp=time.time(),
                asset_selection=list(map(dg.AssetKey, assets)),
            )
        )

    start("foreign", "sales")
    assert busy(context(instance), one.home) == ""
    start("in part", "documents", "sales")
    start("of the same name", "documents")
    crawler = FileCodePointer("definitions.py", "defs", "/srv/crawler")
    tags = {"dagster/backfill": "of the same name"}
    run(instance, tags, dg.DagsterRunStatus.SUCCESS, HERE, defined=crawler)
    assert busy(context(instance), one.home) == ""
    start("others", "documents")
    run(instance, other.tags | {"dagster/backfill": "others"}, dg.DagsterRunStatus.SUCCESS)
    assert busy(context(instance), one.home) == ""
    assert busy(context(instance), other.home).startswith("a backfill is in progress")


def test_failures_of_others_count_for_nothing_and_are_not_told(homes, instance):
    one, other = homes
    group = Group(assets=("documents",), partitions=("web__a",), keys=("key",))
    tags = {WORK_TAG: work_id(group)}
    failed = dg.DagsterRunStatus.FAILURE
    run(instance, other.tags | tags, failed)
    assert attempts(instance, one.home, group) == []
    mine = run(instance, one.tags | tags, failed)
    assert [found.dagster_run.run_id for found in attempts(instance, one.home, group)] == [mine.run_id]
    request = removal_request(instance, one.home, ["documents[web__a]"])
    assert request.tags[HOME_TAG] == home_id(one.home)
    run(instance, dict(request.tags) | other.tags, failed)
    assert isinstance(removal_request(instance, one.home, ["documents[web__a]"]), dg.RunRequest)
    for tags, job, told in ((one.tags, ASSET_JOB, True), (other.tags, ASSET_JOB, False), ({}, "etl", False)):
        found = dg.DagsterRun(job_name=job, tags=tags)
        assert Owner.of(instance, one.home).may_own(found) == told


@pytest.mark.parametrize(
    ("assets", "defined", "told"),
    [
        (["documents"], None, True),
        (["documents"], FileCodePointer(str(DEFINITIONS), "defs", str(DEFINITIONS.parent)), True),
        (["documents"], FileCodePointer("definitions.py", "defs", str(DEFINITIONS.parent)), True),
        (["documents"], ModuleCodePointer("definitions", str(DEFINITIONS.parent)), True),
        (["documents"], ModuleCodePointer("tamis.platform.definitions", "defs"), True),
        (["documents"], ModuleCodePointer("crawler.definitions", "defs"), False),
        (["documents"], FileCodePointer("definitions.py", "defs", "/srv/crawler"), False),
        (["documents"], ModuleCodePointer("crawler.definitions", "/srv"), False),
        (["documents"], PackageCodePointer("crawler", "defs", None), False),
        (["documents", "sales"], None, False),
        ([["crawler", "documents"]], None, False),
        ([], None, False),
    ],
)
def test_a_run_that_failed_before_it_was_claimed_is_told_where_its_assets_are_ours(
    homes, instance, assets, defined, told
):
    one, _other = homes
    failed = run(instance, {}, dg.DagsterRunStatus.FAILURE, HERE, assets=assets, defined=defined)
    assert Owner.of(instance, one.home).may_own(failed) == told
    assert bool(busy(context(instance), one.home)) is False
    run(instance, {}, dg.DagsterRunStatus.QUEUED, HERE, assets=assets, defined=defined)
    assert bool(busy(context(instance), one.home)) == (told or not assets)


def test_partitions_of_others_stay_registered(homes, instance):
    one, other = homes
    instance.add_dynamic_partitions("models", ["of another code location"])
    write_jsonl(one.root / "documents" / "mine.jsonl", ["a text of one"])
    for home in homes:
        register_partitions(instance, home.snapshot)
    both, mine = "web__a.jsonl", "web__mine.jsonl"
    assert set(instance.get_dynamic_partitions("shards")) == {both, mine}
    for name in ("a", "mine"):
        (one.root / "documents" / f"{name}.jsonl").unlink()
    run(instance, other.tags, dg.DagsterRunStatus.SUCCESS)
    assert register_partitions(instance, one.snapshot)["shards"] == ([], [both, mine])
    assert instance.get_dynamic_partitions("shards") == [both], "the other home has this file, too"
    assert register_partitions(instance, one.snapshot) == {}
    (other.root / "documents" / "a.jsonl").unlink()
    register_partitions(instance, other.snapshot)
    assert instance.get_dynamic_partitions("shards") == []
    assert instance.get_dynamic_partitions("models") == ["of another code location"]


def test_partitions_that_0_2_registered_leave_with_their_files(homes, instance):
    from projects import note_made

    one, _other = homes
    note_made(one.project, "raw_shards", "web__a.jsonl")
    instance.add_dynamic_partitions("shards", ["web__a.jsonl", "web__unknown"])
    (one.root / "documents" / "a.jsonl").unlink()
    assert register_partitions(instance, one.snapshot)["shards"] == ([], ["web__a.jsonl"])
    assert instance.get_dynamic_partitions("shards") == ["web__unknown"]


def test_the_audit_compares_the_events_of_its_own_home(homes, instance):
    one, other = homes
    write_jsonl(other.root / "documents" / "b.jsonl", ["a text of the other home alone"])
    for home in (one, other, one):
        home.make({"raw_shards", "documents"})

    @dg.asset(name="documents", partitions_def=dg.StaticPartitionsDefinition(["web__a.jsonl"]))
    def foreign():
        return dg.MaterializeResult(metadata={"rows": 1})

    @dg.asset
    def sales():
        return 1

    assert dg.materialize([foreign], instance=instance, partition_key="web__a.jsonl").success
    instance.report_runless_asset_event(dg.AssetMaterialization(["crawler", "documents"]))
    assert dg.materialize([sales], instance=instance).success
    for home in homes:
        events = home.events()
        assert {event.manifest for event in events} == {value.manifest for value in home.current.values()}
        assert home.audit(events=events).status == "green"


def test_a_run_that_somebody_starts_in_the_ui_is_claimed_before_its_first_step(homes, instance):
    one, _other = homes
    seen = []

    def see(entry: dg.EventLogEntry) -> None:
        if entry.dagster_event and entry.dagster_event.is_step_start:
            seen.append(instance.get_run_by_id(entry.run_id).tags.get(HOME_TAG))

    register_partitions(instance, one.snapshot)
    run_id = "6f5902ac237024bdd0c176cb93063dc4"[:8] + "-0000-4000-8000-000000000000"
    instance.add_event_listener(run_id, see)
    done = one.job.execute_in_process(
        instance=instance,
        run_id=run_id,
        asset_selection=[dg.AssetKey("raw_shards")],
        partition_key="web__a.jsonl",
    )
    assert done.success
    assert seen == [home_id(one.home)] * len(seen)
    assert seen


def test_homes_that_disagree_about_a_check_log_it_once_each(homes, instance):
    one, other = homes

    def log(home: Home, reason: str | None) -> bool:
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("documents"), check_name="current", passed=not reason, description=reason
        )
        key = evaluation.asset_check_key
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).get(key)
        return log_evaluation(instance, home.home, evaluation, record)

    assert log(one, "a new file")
    assert log(other, None)
    for _ in range(3):
        assert not log(one, "a new file"), "the other home has logged its own since"
        assert not log(other, None)
    assert log(one, "two new files"), "its own answer has changed"
    assert not log(other, None)
    assert log(other, "a changed file")
    assert not log(other, "a changed file")
