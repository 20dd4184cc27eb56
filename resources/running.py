"""Running a group of partitions through Dagster in this process.

A run makes one asset, or several that only wait for each other, for all partitions that need them. A step
goes on after a partition that fails, and fails at its end; what failed is tried once a command.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from resources.processes import this_process
from resources.tags import (
    CERTIFIED_TAG,
    COMMAND_LINE,
    DRIVER_TAG,
    ON_REQUEST_TAG,
    PARTITIONS_TAG,
    PROCESS_TAG,
)
from resources.work_errors import failed_assets, take_withheld
from tamis.base.progress import Heartbeat, begin_step, close_all, is_verbose
from tamis.graph.automation import Group
from tamis.graph.failed_steps import TRIALS
from tamis.graph.plan import due_partitions
from tamis.graph.scan import scan_again
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.sql.properties import LAYERS
from tamis.stage import Stage

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Configuration of a run whose log lines do not go to the terminal."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to bring up to date: the stages in `only`, or all; of `partitions` alone, where they are named.

    `on_request`: the trials too that are made only when somebody asks. `certified`: keep what was fitted on
    an earlier pool where its certificate allows; else everything is fitted again from nothing (settled).
    `try_again`: forget which trials failed. `allow_removal`: names of what may be removed although it is held
    back, or `all`. `choose_precision`: measure again which precision is faster.
    """

    only: frozenset[str] | None = None
    partitions: frozenset[str] | None = None
    on_request: bool = False
    certified: bool = False
    try_again: bool = False
    allow_removal: frozenset[str] = frozenset()
    choose_precision: bool = False

    @property
    def tags(self) -> dict[str, str]:
        """What tells the steps of a run about it."""
        named = {ON_REQUEST_TAG: self.on_request, CERTIFIED_TAG: self.certified}
        return {name: "yes" for name, on in named.items() if on}


EVERYTHING = Wanted()


@dataclass(kw_only=True)
class Outcome:
    """What a materialization did: seconds per stage, partitions made, and what failed with its error.

    `views`: SQL models that were checked and store nothing. `let_go`: shards whose missing documents a person
    let go.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    views: int = 0
    removed: list[str] = field(default_factory=list)
    let_go: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    tried: set[tuple[str, ...]] = field(default_factory=set)
    given_up: set[tuple[str, str]] = field(default_factory=set)
    shown: set[str] = field(default_factory=set)
    """Errors of which the terminal has shown what is stored nowhere."""
    planned: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)

    def begin(self, group: Group) -> str:
        """Count the assets of a group; returns which step of how many it is, `[3/14] `."""
        self.begun.update(group.assets)
        return f"[{len(self.begun)}/{len(self.planned | self.begun)}] "

    def sentence(self, problems: bool, only: Collection[str] | None = None) -> str:
        """What came of it, in a line; `only` those assets were asked for."""
        counts = {"value": sum(self.made.values()), "SQL view": self.views}
        made = [f"{count:,} {name}{'s' * (count > 1)}" for name, count in counts.items() if count]
        if made:
            told = f"made {' and '.join(made)} in {sum(self.seconds.values()):.0f} s"
            return f"{told}; what is named above is not right yet" if self.failed or problems else told
        if self.failed or problems:
            return "nothing was made"
        current = "everything" if only is None else ", ".join(sorted(only))
        return f"{current} {'are' if only and len(only) > 1 else 'is'} current"


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What a run needs beside the group that it makes."""

    project: Project
    job: Any
    instance: dg.DagsterInstance
    say: Callable[[str], None]
    wanted: Wanted

    def make(self, snapshot: ProjectSnapshot, group: Group, outcome: Outcome) -> None:
        """Make a group; what fails of it is given up in this command, what waits for it comes later."""
        outcome.tried.add(group.keys)
        failed = self._run(group, outcome)
        if not failed:
            return
        # What a failed run has made is not given up: what comes after it would wait for it.
        undone = self._still_due(snapshot, group)
        first = next((asset for asset in group.assets if undone[asset]), group.assets[0])
        for name, error in failed.items():
            asset = name if name in undone else first  # an error of a step that several assets share
            if asset == TRIALS and not undone[asset]:
                continue  # a search has left the trial out, and says so itself
            outcome.failed[asset] = error
            outcome.given_up |= {(asset, key) for key in undone[asset]}

    def _still_due(self, snapshot: ProjectSnapshot, group: Group) -> dict[str, list[str]]:
        """Return, by asset of the group, those of its partitions that are not made."""
        current = read_current_values(self.project.home.store)
        now, found = scan_again(snapshot, current), {}
        for asset in group.assets:
            due = due_partitions(stages()[asset], now, current, not self.wanted.certified)
            found[asset] = [one.partition for one in due if one.partition in group.partitions]
        return found

    def _run(self, group: Group, outcome: Outcome) -> dict[str, str]:
        """Run a group; returns the assets that failed, with the error."""
        first, name = stages()[group.assets[0]], ", ".join(group.assets)
        step, what = outcome.begin(group), f"{name}: {_count(first, group.partitions)}"
        begin_step(step)
        if is_verbose():
            self.say(f"{step}{what}: begins")
        started = time.monotonic()
        more = f" and {len(group.assets) - 1} more" if len(group.assets) > 1 else ""
        with Heartbeat(f"{first.name}{more}"), interruptible(), _cancelled_as_interrupted():
            result = self.job.execute_in_process(
                instance=self.instance,
                asset_selection=[key for asset in group.assets for key in selected_assets(stages()[asset])],
                raise_on_error=False,
                run_config=QUIET,
                **_run_arguments(self.instance, first, list(group.partitions), self.wanted.tags),
            )
            close_all()
            begin_step("")
        for kept, whole in take_withheld().items():  # after the run: Dagster keeps what a step prints
            if kept not in outcome.shown:
                outcome.shown.add(kept)
                self.say(whole)
        seconds = time.monotonic() - started
        outcome.seconds[name] = outcome.seconds.get(name, 0.0) + seconds
        self.say(f"{step}{what}, {seconds:.0f} s" + ("" if result.success else ", FAILED"))
        if result.success:
            views = sum(is_view(stages()[asset]) for asset in group.assets)
            outcome.views += views
            values = len(group.partitions) * (len(group.assets) - views)
            outcome.made[name] = outcome.made.get(name, 0) + values
            return {}
        return failures(result)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command at the latest when the run ends.

    Dagster swallows both between steps.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    received = b""
    try:
        try:
            yield
        finally:
            with contextlib.suppress(BlockingIOError):
                received = os.read(reader, 64)
        if {signal.SIGINT, signal.SIGTERM}.intersection(received):
            raise KeyboardInterrupt
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
        if before != -1:  # whoever listened before learns of them too
            os.write(before, received)


@contextlib.contextmanager
def _cancelled_as_interrupted() -> Iterator[None]:
    """Dagster's own name for Ctrl-C within a step, as Python's."""
    try:
        yield
    except dg.DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error


def failures(result: Any) -> dict[str, str]:
    """Assets that failed, with the first line of the error; raises `KeyboardInterrupt` after Ctrl-C."""
    found: dict[str, str] = {}
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause or error
            stated = event.step_failure_data.user_failure_data
            if named := failed_assets(stated.metadata if stated else None):
                found |= named
                continue
            if "Interrupt" in (cause.cls_name or "") or "Interrupt" in (error.cls_name or ""):
                raise KeyboardInterrupt
            first = (cause.message.strip().splitlines() or [""])[0]
            found[str(event.step_key)] = first.split(f".{cause.cls_name}: ")[-1] or str(cause.cls_name)
    return found or {"run": "see the run in the UI"}


def is_view(stage: Stage) -> bool:
    """Whether a stage is an SQL model whose rows nothing stores."""
    return stage.group in LAYERS and not stage.by_content


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


def range_tags(instance: dg.DagsterInstance, stage: Stage, due: Sequence[str]) -> dict[str, str]:
    """Return the tags of a run of these partitions: the range that holds them, and their list where the range
    holds others too.
    """
    assert stage.partitions is not None
    order = instance.get_dynamic_partitions(stage.partitions)
    places = {key: place for place, key in enumerate(order)}
    first, last = min(due, key=places.__getitem__), max(due, key=places.__getitem__)
    tags = {
        "dagster/asset_partition_range_start": first,
        "dagster/asset_partition_range_end": last,
    }
    whole = places[last] - places[first] + 1 == len(due)
    return tags if whole else tags | {PARTITIONS_TAG: json.dumps(sorted(due))}


def _count(stage: Stage, due: Sequence[str]) -> str:
    if stage.partitions is None:
        return "made"
    return due[0] if len(due) == 1 else f"{len(due):,} {stage.partitions}"
