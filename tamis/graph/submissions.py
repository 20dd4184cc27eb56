"""Work that is due, on the command of [trainer]: submitted as far as there is room, recorded once ended.

The caller holds the writer's lock while it submits, and gives it up while the runs train.
"""

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tamis.base.errors import TamisError
from tamis.base.numbers import brief, counted, named
from tamis.base.own_command import PROCESS, poll, supervisor_of
from tamis.base.progress import Heartbeat
from tamis.comparison.stage import SAMPLER_TRIALS_STAGE
from tamis.graph.automation import Group, is_submitted
from tamis.graph.plan import input_key
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.graph.trial_data import trial_data
from tamis.mixture.runs import measuring_content, run_content, unmeasured
from tamis.mixture.stage import LARGER_LOSSES_STAGE, LARGER_STAGE, LOSSES_STAGE, RUNS_STAGE
from tamis.project import Project
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.store.home import Home
from tamis.trainer.batches import SubmittedBatch, erase_batches
from tamis.trainer.runs import (
    NOTED,
    Content,
    Run,
    Submitted,
    erase,
    erase_unused,
    given_spec,
    room,
    run_folders,
    submitted,
    trainer_folder,
    under_way,
)
from tamis.trainer.trials import trial_content, trial_run
from tamis.training.stage import BASE_MODELS_STAGE, TRIALS_STAGE
from tamis.tuning.stage import GAIN_STAGE, RECIPE_STAGE

IN_ROUNDS = (RECIPE_STAGE.name, GAIN_STAGE.name)
"""Stages that decide on further runs by those that have ended, failed ones included."""
BATCHES = (SAMPLER_TRIALS_STAGE.name, *IN_ROUNDS)
"""Stages whose runs are made together."""
MEASURED = {LOSSES_STAGE.name: RUNS_STAGE.name, LARGER_LOSSES_STAGE.name: LARGER_STAGE.name}
"""Stages of losses of mixtures, and the stages of the runs that they measure."""
Next = tuple[Group | None, list[Path] | None]
"""A group that a run can make now, or else the folders of runs to wait for, None where nothing trains."""
LOOK_SECONDS = 0.5
"""Between two looks at the runs."""


@dataclass(frozen=True, kw_only=True)
class Submissions:
    """The runs of a project on the command of [trainer], as of a snapshot."""

    project: Project
    snapshot: ProjectSnapshot
    current: CurrentValues

    def of(self, stage: str, partition: str, key: str) -> Run | SubmittedBatch:
        """Return the run of a partition of a stage with its input key, of a comparison all its runs.

        Of a search for a recipe, or the test of a mixture, these are the runs of a round.
        """
        if stage in BATCHES:
            rounds = stage in IN_ROUNDS
            return SubmittedBatch(project=self.project, stage=stage, input_key=key, goes_on=rounds)
        if stage == TRIALS_STAGE.name:
            return trial_run(self.project, self.snapshot.trials[partition], key)
        return Run(
            project=self.project,
            stage=stage,
            name=partition,
            input_key=key,
            seeds=(self.project.seed,),
            stages=0 if stage in MEASURED else 1,
        )

    def submit(self, run: Run | SubmittedBatch) -> None:
        """Start what waits, as far as there is room; raises what that fails with."""
        if isinstance(run, SubmittedBatch):
            run.submit(room(self.project))
        else:
            run.submit(self._content(run))

    def _content(self, run: Run) -> Content:
        store, section, swarm = self.project.home.store, self.project.settings.mixture, self.snapshot.swarm
        if run.stage == TRIALS_STAGE.name:
            trial = self.snapshot.trials[run.name]
            base = self._files(BASE_MODELS_STAGE.name, trial.model)
            data = trial_data(self.project, self.snapshot, self.current, trial, base)
            return trial_content(self.project, trial, data)
        assert section is not None
        assert swarm is not None
        if run.stage in MEASURED:
            checkpoint = self._files(MEASURED[run.stage], run.name)
            return measuring_content(run.name, checkpoint, unmeasured(store, checkpoint, section.targets))
        return run_content(self.project, swarm.run(run.name), self._files("tokenizer", ""), section.targets)

    def _files(self, stage: str, partition: str) -> Path:
        """Return the folder of the files of a current value."""
        home, value = self.project.home, self.current[stage, partition]
        folder = home.checkpoints / stage / (partition or "all") / value.input_key[:16]
        home.files.fetch(folder)
        return folder

    def is_measured(self, run: Run | SubmittedBatch) -> bool:
        """Return whether a stage that measures runs of a mixture finds all losses in their records."""
        if not isinstance(run, Run) or run.stage not in MEASURED:
            return False
        section, store = self.project.settings.mixture, self.project.home.store
        assert section is not None
        return not unmeasured(store, self._files(MEASURED[run.stage], run.name), section.targets)

    def advance(self, group: Group) -> Group | None:
        """Submit runs of a group as far as there is room; return the partitions whose runs have ended.

        Among these are partitions that cannot be submitted, whose step fails with the reason, and comparisons
        whose runs only a step can plan. None: there is nothing to record yet.
        """
        ended = []
        for partition, key in zip(group.partitions, group.keys, strict=True):
            run = self.of(group.assets[0], partition, key)
            try:
                is_unplanned = isinstance(run, SubmittedBatch) and not run.is_planned
                if is_unplanned or self.is_measured(run):
                    ended.append((partition, key))
                    continue
                if run.waiting and room(self.project):
                    self.submit(run)
                if run.has_ended:
                    ended.append((partition, key))
            except TamisError:
                ended.append((partition, key))
        if not ended:
            return None
        partitions, keys = zip(*ended, strict=True)
        return replace(group, partitions=partitions, keys=keys)

    def first(self, groups: Iterable[Group], tried: Container[tuple[str, ...]] = ()) -> Next:
        """Return the first group that a run can make now; of submitted ones, what `advance` returns.

        `tried`: keys of groups to leave out, since a run has made them in vain. Without a group: the folders
        of the runs to wait for, those that were under way before it was asked what has ended, and those that
        it has started; None where nothing is in training.
        """
        home = self.project.home
        running, known, in_training = under_way(home), {*run_folders(home)}, False
        for group in groups:
            if not is_submitted(self.snapshot, group.assets[0]):
                if group.keys not in tried:
                    return group, None
            elif ended := self.advance(group):
                return ended, None
            else:
                in_training = True
        started = [folder for folder in run_folders(home) if folder not in known]
        return None, [*running, *started] if in_training else None

    def can_advance(self, stage: str, partition: str, key: str) -> bool:
        """Return whether a step on a partition would start something or record the partition now."""
        run = self.of(stage, partition, key)
        if isinstance(run, SubmittedBatch) and not run.is_planned:
            return True
        return run.has_ended or bool(run.waiting and (room(self.project) or self._stale()))

    def begun(self) -> set[tuple[str, str]]:
        """Return (stage, partition) of what a person has submitted, and a step would go on with now.

        Where a run has failed, and the failure is noted, only a person submits it again.
        """
        entries = {
            (one.stage, "" if one.stage in BATCHES else one.name)
            for one in submitted(self.project.home)
            if not (one.folder / NOTED).exists()
        }
        begun = set()
        for stage, partition in entries:
            key = self._key(stage, partition)
            if key is None or not self._is_due(stage, partition, key):
                continue
            run = self.of(stage, partition, key)
            if stage == TRIALS_STAGE.name:
                can_go_on = run.has_ended
            elif isinstance(run, SubmittedBatch) and run.is_planned and run.is_given_up:
                can_go_on = False
            else:
                can_go_on = self.can_advance(stage, partition, key)
            if can_go_on:
                begun.add((stage, partition))
        return begun

    def end_stale(self) -> Iterator[str]:
        """Erase the folders of what is made, or is due with other inputs, stopping what runs there.

        Yields a line for each that was stopped.
        """
        for one in self._stale():
            if any(poll(run) is None for run in run_folders(self.project.home, one.folder.name)):
                yield f"{_in_words(one)} was stopped: its inputs or settings changed while it trained"
            erase(one.folder)
        erase_unused(self.project.home)
        for stage in BATCHES:
            if not self._is_wanted(stage):
                erase_batches(self.project.home, stage)

    def _stale(self) -> list[Submitted]:
        is_wanted = {stage: self._is_wanted(stage) for stage in BATCHES}
        return [
            one
            for one in submitted(self.project.home)
            if not (
                is_wanted[one.stage]
                if one.stage in is_wanted
                else self._is_due(one.stage, one.name, one.input_key)
            )
        ]

    def _is_wanted(self, stage: str) -> bool:
        """Return whether a batch is to be made, or may be: an input is being made.

        Its runs outlive a change of inputs until they are planned again, since many stay as they are.
        """
        return self._is_due(stage, "", self._key(stage, ""))

    def _key(self, stage: str, partition: str) -> str | None:
        # A stage whose section left tamis.toml has no settings to make a key of.
        if not is_submitted(self.snapshot, stage) or not stages()[stage].active(self.snapshot):
            return None
        if partition not in self.snapshot.keys(stages()[stage].partitions):
            return None
        return input_key(stages()[stage], partition, self.snapshot, self.current)

    def _is_due(self, stage: str, partition: str, key: str | None) -> bool:
        """Return whether a partition with this input key is to be made, or may be: an input is being made."""
        if not is_submitted(self.snapshot, stage) or not stages()[stage].active(self.snapshot):
            return False
        if partition not in self.snapshot.keys(stages()[stage].partitions):
            return False
        now, value = self._key(stage, partition), self.current.get((stage, partition))
        made = value is not None and value.finished and value.input_key == key
        return now is None or (now == key and not made)


def end_stale(project: Project, snapshot: ProjectSnapshot, say: Callable[[str], None]) -> None:
    """Stop what trains on the command of [trainer] and is no longer due as it was submitted."""
    if trainer_folder(project.home).exists():
        current = read_current_values(project.home.store)
        for line in Submissions(project=project, snapshot=snapshot, current=current).end_stale():
            say(line)


@dataclass(frozen=True, kw_only=True)
class InTraining:
    """A trial or another run on the command of [trainer] that is submitted and not recorded yet.

    `running`: its runs that train now. `seconds`: since the first was submitted. `time_limit`: of each run.
    """

    name: str
    running: int
    seconds: float
    time_limit: float

    @property
    def run(self) -> str:
        """The name without its kind."""
        return self.name.partition(" ")[2]

    @property
    def line(self) -> str:
        """One line for a person."""
        ago = f"submitted {brief(self.seconds)} ago"
        if not self.running:
            return (
                f"{self.name}: {ago}; nothing of it trains now, and `tamis materialize`, or the sensor "
                "trial_budget, submits the next run or records it"
            )
        return (
            f"{self.name}: {counted(self.running, 'run')} in training, {ago}; time limit of each run: "
            f"{brief(self.time_limit)}"
        )


def in_training(home: Home) -> list[InTraining]:
    """Return what is submitted, in the order of names; what failed is not."""
    entries = []
    for one in submitted(home):
        runs = [] if (one.folder / NOTED).exists() else run_folders(home, one.folder.name)
        with suppress(OSError):  # recorded, or erased, in this moment
            specs = [given_spec(run) for run in runs]
            began = [(run / PROCESS).stat().st_mtime for run in runs]
            if runs:
                entries.append(
                    InTraining(
                        name=_in_words(one),
                        running=sum(poll(run) is None for run in runs),
                        seconds=max(0.0, time.time() - min(began)),
                        time_limit=specs[0].time_limit,
                    )
                )
    return sorted(entries, key=lambda entry: entry.name)


def _in_words(one: Submitted) -> str:
    return f"{'trial' if one.stage == TRIALS_STAGE.name else 'run'} {one.name}"


def wait_for_trainer(home: Home, running: Sequence[Path], say: Callable[[str], None]) -> None:
    """Wait until one of these runs of the [trainer] has ended; after Ctrl-C, say that they go on."""
    names = named(sorted({folder.parent.name for folder in running}))
    try:
        with Heartbeat(f"{counted(len(running), 'run')} of the trainer ({names})"):
            time.sleep(0 if running else LOOK_SECONDS)
            while running and all(poll(folder) is None for folder in running):
                time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        for folder in under_way(home):
            say(
                f"{home.relative(folder)} goes on; `tamis materialize` waits for it again, "
                f"`kill {supervisor_of(folder)}` stops it"
            )
        raise
