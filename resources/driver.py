"""Materializing everything that is out of date, in one process and as few runs as possible.

A run makes one asset for all partitions that need it, or a chain of assets of one partition, so 1,000
shards cost one run and not 1,000 processes. Nothing out of date means no run at all.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from resources.events import log_again
from resources.instance import dagster_state, open_instance, register_partitions
from resources.processes import end_killed_runs, this_process
from resources.tags import CERTIFIED_TAG, COMMAND_LINE, DRIVER_TAG, ON_REQUEST_TAG, PROCESS_TAG
from tamis.lineage.attempts import TABLE as ATTEMPTS
from tamis.lineage.automation import Group, next_groups
from tamis.lineage.damage import drop_table, find_damage, forget_damaged, sweep_unwritten, unreadable_tables
from tamis.lineage.heads import TABLE, read_heads
from tamis.lineage.manifest import ManifestFolder
from tamis.lineage.plan import full_plan, label
from tamis.lineage.reconcile import forget_gone, set_aside
from tamis.lineage.stages import Stage, stages
from tamis.lineage.world import World, look
from tamis.progress import Heartbeat, close_all
from tamis.project import Project
from tamis.store.home import writing
from tamis.store.writable import stop_unless_writable, storing

PATIENCE_SECONDS = 5.0
"""Sensors write for moments only; a command that meets one waits, and says who writes when it is not one."""
MOST_ROUNDS = 3
"""How often a materialization begins again because files came or changed while it ran."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to bring up to date: the stages in `only`, or all; of `partitions` alone, where they are named.

    `on_request`: the trials too that are made only when somebody asks. `certified`: keep what was fitted on
    an earlier pool where its certificate allows; else everything is fitted again from nothing (settled).
    """

    only: frozenset[str] | None = None
    partitions: frozenset[str] | None = None
    on_request: bool = False
    certified: bool = False

    @property
    def tags(self) -> dict[str, str]:
        """What tells the steps of a run about it."""
        named = {ON_REQUEST_TAG: self.on_request, CERTIFIED_TAG: self.certified}
        return {name: "yes" for name, on in named.items() if on}


@dataclass(kw_only=True)
class Outcome:
    """What a materialization did: seconds per stage, partitions made, and what failed with its error."""

    seconds: dict[str, float] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    tried: set[tuple[str, ...]] = field(default_factory=set)
    given_up: set[tuple[str, str]] = field(default_factory=set)

    def sentence(self, problems: bool) -> str:
        """What came of it, in a line."""
        made = sum(self.made.values())
        if made:
            return f"made {made} values in {sum(self.seconds.values()):.0f} s"
        return "nothing was made" if self.failed or problems else "everything is current"


def materialize(
    project: Project,
    definitions: Callable[[], dg.Definitions],
    instance: dg.DagsterInstance,
    say: Callable[[str], None],
    wanted: Wanted = Wanted(),
) -> Outcome:
    """Bring the project up to date; a failed stage does not stop the others.

    The definitions are loaded when there is something to do: that takes a second.
    """
    outcome = Outcome()
    with storing(project.home.root), writing(project.home, "tamis materialize", PATIENCE_SECONDS):
        with Heartbeat("looking at what is there"):
            end_killed_runs(instance)
            repair(project, instance, say)
            world = _look_and_reconcile(project, instance, wanted, outcome)
            heads = read_heads(project.home.store)
        if wanted.only is None and not full_plan(world, heads, not wanted.certified):
            return outcome
        job = definitions().resolve_implicit_global_asset_job_def()
        for _ in range(MOST_ROUNDS):
            while group := _next(project, world, wanted, outcome):
                _materialize_group(job, instance, group, outcome, say, wanted.tags)
                if outcome.failed:  # on a full disk all that follows would fail, too
                    stop_unless_writable(project.home.root)
            with Heartbeat("looking at what came meanwhile"):
                before, world = world, _look_and_reconcile(project, instance, wanted, outcome)
            if world.same_files(before):
                return outcome
            say("files came or changed meanwhile")
            outcome.tried.clear()
        outcome.failed["corpus"] = "files kept changing; run `tamis materialize` again when they are at rest"
    return outcome


def _look_and_reconcile(
    project: Project, instance: dg.DagsterInstance, wanted: Wanted, outcome: Outcome
) -> World:
    """The world as it is now, with what is gone from it forgotten."""
    world = look(project, project.settings.automation.settle_seconds, wanted.on_request)
    set_aside(project.home.store, world)
    gone = forget_gone(project.home.store, world, read_heads(project.home.store))
    outcome.removed += [label(*entry) for entry in gone]
    register_partitions(instance, world)
    return world


def _next(project: Project, world: World, wanted: Wanted, outcome: Outcome) -> Group | None:
    """The first piece of work that has not failed in this materialization."""
    heads = read_heads(project.home.store)
    entries = (
        None
        if wanted.only is None
        else {
            (name, key)
            for name in wanted.only
            for key in world.keys(stages()[name].partitions)
            if wanted.partitions is None or key in wanted.partitions
        }
    )
    groups = next_groups(world, heads, entries, not wanted.certified, outcome.given_up)
    return next((group for group in groups if group.keys not in outcome.tried), None)


def repair(project: Project, instance: dg.DagsterInstance, say: Callable[[str], None]) -> None:
    """Forget what was damaged, so that it is made again, and log again what the event log has lost."""
    sweep_unwritten(project.home)
    if unreadable_tables(project.home.store, {TABLE, ATTEMPTS}):
        for table in {TABLE, ATTEMPTS}.intersection(project.home.store.names()):
            drop_table(project.home.store, table)
        say("the index of what was made cannot be read; everything is made again")
    heads = read_heads(project.home.store)
    damage = find_damage(project.home, heads)
    for line in forget_damaged(project.home, damage) if damage else ():
        say(line)
    kept = {entry: head for entry, head in heads.items() if entry not in damage}
    if logged := log_again(instance, kept, ManifestFolder(project.home.manifests)):
        say(f"the event log had lost {logged} materializations; they are logged again")


def _materialize_group(
    job: Any,
    instance: dg.DagsterInstance,
    group: Group,
    outcome: Outcome,
    say: Callable[[str], None],
    tags: dict[str, str],
) -> None:
    outcome.tried.add(group.keys)
    first = stages()[group.assets[0]]
    name = ", ".join(group.assets)
    say(f"{name}: {_count(first, group.partitions)}")
    started = time.monotonic()
    with Heartbeat(name), interruptible(), _cancelled_as_interrupted():
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[key for asset in group.assets for key in selected_assets(stages()[asset])],
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            **_run_arguments(instance, first, list(group.partitions), tags),
        )
        close_all()
    outcome.seconds[name] = time.monotonic() - started
    if result.success:
        outcome.made[name] = len(group.partitions) * len(group.assets)
        return
    for asset, error in failures(result).items():
        outcome.failed[asset] = error
        outcome.given_up |= {(asset, key) for key in group.partitions}
        say(f"{asset}: FAILED: {error}")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the command at the latest when the run ends: Dagster swallows it between steps."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
        with contextlib.suppress(BlockingIOError):
            if signal.SIGINT in os.read(reader, 64):
                raise KeyboardInterrupt
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _cancelled_as_interrupted() -> Iterator[None]:
    """Dagster's own name for Ctrl-C within a step, as Python's."""
    try:
        yield
    except dg.DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error


def failures(result: Any) -> dict[str, str]:
    """Assets that failed, with the first line of the error; raises `KeyboardInterrupt` after Ctrl-C."""
    found = {}
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause or error
            if "Interrupt" in (cause.cls_name or "") or "Interrupt" in (error.cls_name or ""):
                raise KeyboardInterrupt
            first = (cause.message.strip().splitlines() or [""])[0]
            found[str(event.step_key)] = first.split(f".{cause.cls_name}: ")[-1] or str(cause.cls_name)
    return found or {"run": "see the run in the UI"}


def selected_assets(stage: Stage) -> list[dg.AssetKey]:
    """The stage, and what is made in the same step."""
    together = [other.name for other in stages().values() if other.made_with == stage.name]
    return [dg.AssetKey(name) for name in (stage.name, *together)]


def _run_arguments(
    instance: dg.DagsterInstance, stage: Stage, due: list[str], more: dict[str, str]
) -> dict[str, Any]:
    tags = {DRIVER_TAG: COMMAND_LINE, PROCESS_TAG: this_process(), **more}
    if stage.partitions is None:
        return {"tags": tags}
    if len(due) == 1:
        return {"tags": tags, "partition_key": due[0]}
    return {"tags": tags | range_tags(instance, stage, due)}


def range_tags(instance: dg.DagsterInstance, stage: Stage, due: list[str]) -> dict[str, str]:
    """Tags of a run over the range that holds the due partitions; the asset itself skips the others."""
    assert stage.partitions is not None
    order = {key: place for place, key in enumerate(instance.get_dynamic_partitions(stage.partitions))}
    return {
        "dagster/asset_partition_range_start": min(due, key=order.__getitem__),
        "dagster/asset_partition_range_end": max(due, key=order.__getitem__),
    }


def _count(stage: Stage, due: Sequence[str]) -> str:
    if stage.partitions is None:
        return "materializing"
    return f"materializing {due[0]}" if len(due) == 1 else f"materializing {len(due)} {stage.partitions}"


def materialize_project(
    project: Project,
    say: Callable[[str], None],
    wanted: Wanted = Wanted(),
) -> Outcome:
    """Materialize from the command line: the definitions and the instance of the project, quiet logs."""
    with dagster_state(project):
        with storing(project.home.root):
            instance = open_instance(project)
        return materialize(project, _definitions, instance, say, wanted)


def _definitions() -> dg.Definitions:
    from definitions import defs

    return defs
