"""Running a group of partitions, or the removal job, through Dagster in this process.

A run makes assets that only wait for each other, for all partitions that need them. A step goes on after a
partition that fails, and fails at its end; what failed is tried once a command.
"""

import contextlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from tamis.base.numbers import brief, counted
from tamis.base.processes import ENDING, signals_noted, this_process
from tamis.base.progress import Heartbeat, begin_step, close_all, is_verbose
from tamis.graph.automation import Group
from tamis.graph.failures import TRIALS
from tamis.graph.plan import due_partitions
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import made_together, stages
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.runtime.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    make_new_run_id,
)
from tamis.runtime.failures import failed_assets, take_withheld
from tamis.runtime.runs import (
    ALLOW_REMOVAL_TAG,
    CERTIFIED_TAG,
    COMMAND_LINE,
    DRIVER_TAG,
    IN_TIMELINE,
    ON_REQUEST_TAG,
    PARTITIONS_TAG,
    PROCESS_TAG,
    show_in_timeline,
    tags_of,
)
from tamis.scan.sources import scan_again
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

    def includes(self, asset: str) -> bool:
        """Return whether a stage is among those to bring up to date."""
        return self.only is None or asset in self.only

    @property
    def tags(self) -> dict[str, str]:
        """What tells the steps of a run about it."""
        named = {ON_REQUEST_TAG: self.on_request, CERTIFIED_TAG: self.certified}
        return {name: "yes" for name, on in named.items() if on}


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

    def begin(self, assets: Collection[str]) -> str:
        """Count the assets of a step; returns which step of how many it is, `[3/14] `."""
        self.begun.update(assets)
        return f"[{len(self.begun)}/{len(self.planned | self.begun)}] "

    def sentence(self, problems: bool, only: Collection[str] | None = None) -> str:
        """What came of it, in a line; `only` those assets were asked for."""
        counts = {"partition": sum(self.made.values()), "SQL view": self.views}
        if made := [counted(count, name) for name, count in counts.items() if count]:
            text = f"{' and '.join(made)} materialized in {brief(sum(self.seconds.values()))}"
            return f"{text}; finished with problems, listed above" if self.failed or problems else text
        if self.failed or problems:
            return "nothing was materialized; the problems are listed above"
        current = "everything" if only is None else ", ".join(sorted(only))
        return f"{current} {'are' if only and len(only) > 1 else 'is'} current"


@dataclass(frozen=True, kw_only=True)
class Runner:
    """The context of a run, apart from the group that it makes."""

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
            found[asset] = [one.partition for one in due if one.partition in group.partitions_of(asset)]
        return found

    def _run(self, group: Group, outcome: Outcome) -> dict[str, str]:
        """Run a group; returns the assets that failed, with the error."""
        steps = _Steps(group=group, outcome=outcome, say=self.say)
        run_id = make_new_run_id()
        self.instance.add_event_listener(run_id, steps.see)
        show_in_timeline(self.instance, run_id)
        steps.heartbeat = Heartbeat(group.assets[0])
        with steps.heartbeat, interruptible(), _cancelled_as_interrupted():
            result = self.job.execute_in_process(
                instance=self.instance,
                asset_selection=[key for asset in group.assets for key in selected_assets(stages()[asset])],
                raise_on_error=False,
                run_config=QUIET,
                run_id=run_id,
                **_run_arguments(self.instance, group, self.wanted.tags | tags_of(self.project.home)),
            )
            steps.finish()
        for kept, whole in take_withheld().items():  # after the run: Dagster keeps what a step prints
            if kept not in outcome.shown:
                outcome.shown.add(kept)
                for line in whole.splitlines():
                    self.say(line)
        return {} if result.success else failures(result)


@dataclass(kw_only=True)
class _Steps:
    """The steps of a run as they begin and end: a line each on the terminal, and what they made."""

    group: Group
    outcome: Outcome
    say: Callable[[str], None]
    heartbeat: Heartbeat | None = None

    def __post_init__(self) -> None:
        self._assets: dict[str, set[str]] = {}
        self._number = ""
        self._started: dict[str, float] = {}
        self._made: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._models: dict[str, float] = {}
        """Seconds by SQL model: there are many, and they are named in one line."""

    def see(self, entry: dg.EventLogEntry) -> None:
        """Take note of an event of the run."""
        event = entry.dagster_event
        if event is None or event.step_key is None:
            return
        step, asset = event.step_key, event.asset_key.path[-1] if event.asset_key else ""
        match event.event_type:
            case dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
                if asset in self.group.assets:
                    self._assets.setdefault(step, set()).add(asset)
            case _ if step not in self._assets:  # a check by itself
                return
            case dg.DagsterEventType.STEP_START:
                self._begin(step)
            case dg.DagsterEventType.ASSET_MATERIALIZATION:
                value = event.step_materialization_data.materialization
                if asset in self.group.assets and "current" not in value.metadata:
                    self._made[step].append((asset, value.partition or ""))
            case dg.DagsterEventType.STEP_SUCCESS | dg.DagsterEventType.STEP_FAILURE:
                failed = "FAILED" if event.is_step_failure else ""
                if failed and _is_interruption(event.step_failure_data.error):
                    failed = "interrupted"
                self._end(step, failed)

    def finish(self) -> None:
        """Count the SQL models that were made, in one line."""
        if self._models:
            models, seconds = counted(len(self._models), "SQL model"), sum(self._models.values())
            self.say(f"{self._number}{models}: materialized in {brief(seconds)}")

    def _begin(self, step: str) -> None:
        self._started[step] = time.monotonic()
        self._number = self.outcome.begin(self._assets[step])
        if self.heartbeat is not None:
            self.heartbeat.label = self._named(step)
        begin_step(self._number, self._named(step))
        if is_verbose():
            self.say(f"{self._number}{self._named(step)}: started")

    def _named(self, step: str) -> str:
        return ", ".join(name for name in self.group.assets if name in self._assets[step])

    def _end(self, step: str, failed: str) -> None:
        name, seconds = self._named(step), time.monotonic() - self._started[step]
        close_all(background=False)
        begin_step("")
        made = self._made[step]
        views = sum(is_view(stages()[asset]) for asset, _key in made)
        self.outcome.views += views
        if values := len(made) - views:
            self.outcome.made[name] = self.outcome.made.get(name, 0) + values
        self.outcome.seconds[name] = self.outcome.seconds.get(name, 0.0) + seconds
        first = stages()[min(self._assets[step])]
        if first.group in LAYERS and not failed:
            self._models[name] = seconds
            return
        what = _count(first, sorted({key for _asset, key in made}))
        if failed:
            what = f"{failed} after {brief(seconds)}" if not made else f"{what}; then {failed}"
        self.say(f"{self._number}{name}: {what}{f' in {brief(seconds)}' if made else ''}")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command at the latest when the run ends.

    Dagster swallows both between steps.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with signals_noted() as noted:
        yield
        if not ENDING.isdisjoint(noted()):
            raise KeyboardInterrupt


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
            if _is_interruption(error):
                raise KeyboardInterrupt
            found[str(event.step_key)] = _first_line(cause.message, cause.cls_name)
    return found or {"run": "no step names an error; see the log of the run in Dagster's UI (`tamis ui`)"}


def is_view(stage: Stage) -> bool:
    """Whether a stage is an SQL model whose rows nothing stores."""
    return stage.group in LAYERS and not stage.by_content


def selected_assets(stage: Stage) -> list[dg.AssetKey]:
    """The stage, and what is made in the same step."""
    return [dg.AssetKey(name) for name in made_together(stage.name)]


def range_tags(instance: dg.DagsterInstance, group: Group) -> dict[str, str]:
    """Return the tags of a run of many partitions: the range that holds them, and their list where the range
    holds others too.
    """
    assert group.partition_set is not None
    order = instance.get_dynamic_partitions(group.partition_set)
    places = {key: place for place, key in enumerate(order)}
    first, last = min(group.partitions, key=places.__getitem__), max(group.partitions, key=places.__getitem__)
    tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    whole = places[last] - places[first] + 1 == len(group.partitions)
    return tags if whole else tags | {PARTITIONS_TAG: json.dumps(sorted(group.partitions))}


def run_removal(
    instance: dg.DagsterInstance, project: Project, removal: dg.JobDefinition, allowed: frozenset[str]
) -> str:
    """Run the removal job in this process; returns the first line of its error, or "" where it succeeded."""
    tags = {DRIVER_TAG: COMMAND_LINE, PROCESS_TAG: this_process(), **IN_TIMELINE, **tags_of(project.home)}
    if allowed:
        tags[ALLOW_REMOVAL_TAG] = ",".join(sorted(allowed))
    run_id = make_new_run_id()
    show_in_timeline(instance, run_id)
    result = removal.execute_in_process(
        instance=instance,
        run_id=run_id,
        tags=tags,
        raise_on_error=False,
        run_config=QUIET,
    )
    if result.success:
        return ""
    return next(iter(failures(result).values()))


@contextlib.contextmanager
def _cancelled_as_interrupted() -> Iterator[None]:
    """Dagster's own name for Ctrl-C within a step, as Python's."""
    try:
        yield
    except dg.DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error


def _is_interruption(error: Any) -> bool:
    """Return whether a step ended by Ctrl-C or SIGTERM."""
    return any(one is not None and "Interrupt" in (one.cls_name or "") for one in (error, error.cause))


def _first_line(message: str, name: str | None) -> str:
    """The first line of an error, with the next one where that only announces it."""
    lines = [line.strip() for line in message.split(f".{name}: ")[-1].splitlines() if line.strip()]
    if not lines:
        return str(name)
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _run_arguments(instance: dg.DagsterInstance, group: Group, more: dict[str, str]) -> dict[str, Any]:
    tags = {DRIVER_TAG: COMMAND_LINE, PROCESS_TAG: this_process(), **IN_TIMELINE, **more}
    if group.partition_set is None:
        return {"tags": tags}
    if len(group.partitions) == 1:
        return {"tags": tags, "partition_key": group.partitions[0]}
    return {"tags": tags | range_tags(instance, group)}


def _count(stage: Stage, made: Sequence[str]) -> str:
    if not made:
        return "unchanged"
    if stage.partitions is None:
        return "materialized"
    return made[0] if len(made) == 1 else f"{len(made):,} {stage.partitions}"


EVERYTHING = Wanted()
