"""Running a group of partitions through Dagster in this process, and finding what makes it fail.

A run makes one asset for all partitions that need it, or a chain of assets of one partition. Where it fails
its halves are tried, so that one bad partition holds no others back. A trial is tried once a command.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg

from resources.processes import this_process
from resources.tags import CERTIFIED_TAG, COMMAND_LINE, DRIVER_TAG, ON_REQUEST_TAG, PROCESS_TAG
from resources.work_errors import take_withheld
from tamis.base.progress import Heartbeat, begin_step, close_all, is_verbose
from tamis.lineage.automation import Group
from tamis.lineage.heads import read_heads
from tamis.lineage.look import look_again
from tamis.lineage.plan import due_partitions
from tamis.lineage.stages import stages
from tamis.lineage.world import World
from tamis.project import Project
from tamis.stage import Stage
from tamis.training.failures import failures_of

TRIALS = "trials"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Configuration of a run whose log lines do not go to the terminal."""
MOST_SPLITS = 48
"""How many runs a group that fails may cost: enough to find two bad partitions among 1,000."""


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

    `let_go`: shards whose missing documents a person let go.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
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
        made = sum(self.made.values())
        if made:
            told = f"made {made:,} {'value' if made == 1 else 'values'} in {sum(self.seconds.values()):.0f} s"
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

    def make(self, world: World, group: Group, outcome: Outcome) -> None:
        """Make a group; where that fails its halves, so that one bad partition holds no others back.

        Trials note themselves which of them fails: what is left of the others is run without it.
        """
        waiting, runs = self._apart(group, outcome), 0
        while waiting:
            part = waiting.pop(0)
            outcome.tried.add(part.keys)
            noted = self._failed_trials(part)
            failed, runs = self._run(part, outcome), runs + 1
            if failed and (culprits := {name for name, _time in self._failed_trials(part) - noted}):
                if due := self._still_due(world, culprits):
                    self._give_up(outcome, failed, due)
                waiting[:0] = self._apart(self._unmade(world, part), outcome)
                continue
            left, culprit_elsewhere = self._left(world, part) if failed else ((), False)
            if (len(left) > 1 or (left and culprit_elsewhere)) and runs <= MOST_SPLITS:
                self.say(f"{part.assets[0]}: failed for some of {len(left)} partitions; halves are tried")
                waiting[:0] = _halves(part, left)
            elif failed:
                # What a failed run has made is not given up: what comes after it would wait for it.
                self._give_up(outcome, failed, left if len(part.partitions) > 1 else part.partitions)

    def _give_up(self, outcome: Outcome, failed: dict[str, str], undone: Collection[str]) -> None:
        outcome.failed |= failed
        outcome.given_up |= {(asset, key) for asset in failed for key in undone}
        for asset, error in failed.items():
            self.say(f"{asset}: FAILED: {error}")

    def _failed_trials(self, group: Group) -> set[tuple[str, datetime]]:
        """Trials that are noted as failed, each with when it did last; none where others are made."""
        if group.assets[0] != TRIALS:
            return set()
        return {(one.trial, one.failed_at) for one in failures_of(self.project.home.store)}

    def _still_due(self, world: World, trials: Collection[str]) -> list[str]:
        """Those that a search has not left out: what it does without is said there, and fails no command."""
        heads = read_heads(self.project.home.store)
        due = due_partitions(stages()[TRIALS], look_again(world, heads), heads, not self.wanted.certified)
        return [found.partition for found in due if found.partition in trials]

    def _unmade(self, world: World, group: Group) -> Group:
        """What of a group is due still."""
        return _part(group, self._still_due(world, group.partitions))

    def _apart(self, group: Group, outcome: Outcome) -> list[Group]:
        """Trials in groups whose ranges cover none that is given up: it would be trained again."""
        given_up = {name for asset, name in outcome.given_up if asset == TRIALS}
        if group.assets[0] != TRIALS:
            return [group]
        wanted = set(group.partitions) - given_up
        parts: list[list[str]] = [[]]
        for name in self.instance.get_dynamic_partitions(str(stages()[TRIALS].partitions)):
            if name in given_up:
                parts.append([])
            elif name in wanted:
                parts[-1].append(name)
        return [_part(group, part) for part in parts if part]

    def _left(self, world: World, group: Group) -> tuple[tuple[str, ...], bool]:
        """Partitions that the failed run has not made, none where a whole chain failed.

        Also whether what made it fail may be none of them: a trial that a search leaves out is no longer due,
        and the range that the run covers may hold what is due beside the group.
        """
        if len(group.partitions) == 1:
            return (), False
        heads = read_heads(self.project.home.store)
        now = look_again(world, heads)
        due = due_partitions(stages()[group.assets[0]], now, heads, not self.wanted.certified)
        still = {found.partition for found in due}
        made = {
            name
            for name, key in zip(group.partitions, group.keys, strict=True)
            if (head := heads.get((group.assets[0], name))) and head.input_key == key
        }
        own, left = set(group.partitions), tuple(key for key in group.partitions if key in still)
        beside = (
            still.intersection(_covered(self.instance, stages()[group.assets[0]], group.partitions)) - own
        )
        return left, bool(beside or own - still - made)

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
            outcome.made[name] = outcome.made.get(name, 0) + len(group.partitions) * len(group.assets)
            return {}
        return failures(result)


def _halves(group: Group, left: tuple[str, ...]) -> list[Group]:
    """The partitions that are left, in two groups."""
    middle = len(left) // 2
    return [_part(group, part) for part in (left[:middle], left[middle:]) if part]


def _part(group: Group, names: Sequence[str]) -> Group:
    """These of the partitions of a group."""
    key_of = dict(zip(group.partitions, group.keys, strict=True))
    keys = tuple(key_of[name] for name in names)
    return Group(assets=group.assets[:1], partitions=tuple(names), keys=keys)


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


def _covered(instance: dg.DagsterInstance, stage: Stage, due: Sequence[str]) -> list[str]:
    """All partitions between the first and the last of these, in the order of the instance."""
    assert stage.partitions is not None
    order = instance.get_dynamic_partitions(stage.partitions)
    places = [order.index(key) for key in due]
    return list(order[min(places) : max(places) + 1])


def _count(stage: Stage, due: Sequence[str]) -> str:
    if stage.partitions is None:
        return "made"
    return due[0] if len(due) == 1 else f"{len(due):,} {stage.partitions}"
