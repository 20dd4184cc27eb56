"""Trials that are due, on the command of [trainer]: submitted as far as there is room, recorded once ended.

The caller holds the writer's lock while it submits, and gives it up while the runs train.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tamis.base.errors import TamisError
from tamis.base.numbers import brief, counted, named
from tamis.base.own_command import PROCESS, poll, supervisor_of
from tamis.base.progress import Heartbeat
from tamis.graph.automation import Group
from tamis.graph.plan import input_key
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.trial_data import trial_data
from tamis.project import Project
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.store.home import Home
from tamis.trainer.runs import (
    NOTED,
    Submission,
    erase,
    erase_unused,
    given_spec,
    room,
    run_folders,
    submitted,
    trainer_folder,
    under_way,
)
from tamis.training.stage import BASE_MODELS_STAGE, TRIALS_STAGE
from tamis.training.trial import TrialData

LOOK_SECONDS = 0.5
"""Between two looks at the runs."""


@dataclass(frozen=True, kw_only=True)
class Submissions:
    """The trials of a project on the command of [trainer], as of a snapshot."""

    project: Project
    snapshot: ProjectSnapshot
    current: CurrentValues

    def of(self, trial: str, key: str) -> Submission:
        """Return a trial with its input key."""
        return Submission(project=self.project, trial=self.snapshot.trials[trial], input_key=key)

    def data(self, submission: Submission) -> TrialData:
        """Return what a trial is trained and measured on."""
        home, model = self.project.home, submission.trial.model
        base = self.current[BASE_MODELS_STAGE.name, model]
        folder = home.checkpoints / BASE_MODELS_STAGE.name / model / base.input_key[:16]
        home.files.fetch(folder)
        return trial_data(self.project, self.snapshot, self.current, submission.trial, folder)

    def advance(self, group: Group) -> Group | None:
        """Submit runs of a group of trials as far as there is room; return the trials that have ended.

        Among these are trials that cannot be submitted: their step fails with the reason. None: there are
        no trials to record yet.
        """
        ended = []
        for trial, key in zip(group.partitions, group.keys, strict=True):
            submission = self.of(trial, key)
            try:
                if submission.waiting and room(self.project):
                    submission.submit(self.data(submission))
                if submission.has_ended:
                    ended.append((trial, key))
            except TamisError:
                ended.append((trial, key))
        if not ended:
            return None
        trials, keys = zip(*ended, strict=True)
        return replace(group, partitions=trials, keys=keys)

    def first(self, groups: Iterable[Group]) -> tuple[Group | None, bool]:
        """Return the first group that a run can make now, of trials those that have ended.

        With it: whether trials are in training by the command of [trainer], or wait for their turn.
        """
        in_training = False
        for group in groups:
            if group.assets[0] != TRIALS_STAGE.name or self.project.settings.trainer is None:
                return group, in_training
            if ended := self.advance(group):
                return ended, True
            in_training = True
        return None, in_training

    def can_advance(self, trial: str, key: str) -> bool:
        """Return whether a step on a trial would submit a run or record the trial now."""
        submission = self.of(trial, key)
        return submission.has_ended or bool(submission.waiting and (room(self.project) or self._stale()))

    def ended(self) -> list[str]:
        """Return the trials that have ended and wait to be recorded."""
        due = [
            (trial, key) for _folder, trial, key in submitted(self.project.home) if self._is_due(trial, key)
        ]
        return [trial for trial, key in due if self.of(trial, key).has_ended]

    def end_stale(self) -> Iterator[str]:
        """Erase the folders of trials that are made, or are due with other inputs, stopping what runs there.

        Yields a line for each trial that was stopped.
        """
        for folder, trial in self._stale():
            if any(poll(run) is None for run in run_folders(self.project.home, folder.name)):
                yield f"trial {trial} was stopped: its inputs or settings changed while it trained"
            erase(folder)
        erase_unused(self.project.home)

    def _stale(self) -> list[tuple[Path, str]]:
        every = submitted(self.project.home)
        return [(folder, trial) for folder, trial, key in every if not self._is_due(trial, key)]

    def _is_due(self, trial: str, key: str) -> bool:
        """Return whether a trial with this input key is to be made, or may be: an input is being made."""
        if self.project.settings.trainer is None or trial not in self.snapshot.trials:
            return False
        now = input_key(TRIALS_STAGE, trial, self.snapshot, self.current)
        value = self.current.get((TRIALS_STAGE.name, trial))
        made = value is not None and value.finished and value.input_key == key
        return now is None or (now == key and not made)


def end_stale(project: Project, snapshot: ProjectSnapshot, say: Callable[[str], None]) -> None:
    """Stop trials on the command of [trainer] that are no longer due as they were submitted."""
    if trainer_folder(project.home).exists():
        current = read_current_values(project.home.store)
        for line in Submissions(project=project, snapshot=snapshot, current=current).end_stale():
            say(line)


@dataclass(frozen=True, kw_only=True)
class InTraining:
    """A trial on the command of [trainer] that is submitted and not recorded yet.

    `running`: its runs that train now. `seconds`: since the first was submitted. `time_limit`: of each run.
    """

    trial: str
    running: int
    seconds: float
    time_limit: float

    @property
    def line(self) -> str:
        """One line for a person."""
        ago = f"submitted {brief(self.seconds)} ago"
        if not self.running:
            return (
                f"trial {self.trial}: {ago}; no run of it trains now, and `tamis materialize`, or the sensor "
                "trial_budget, submits the next or records the trial"
            )
        return (
            f"trial {self.trial}: {counted(self.running, 'run')} in training, {ago}; time limit of each run: "
            f"{brief(self.time_limit)}"
        )


def in_training(home: Home) -> list[InTraining]:
    """Return the trials that are submitted, in the order of their names; those that failed are not."""
    trials = []
    for folder, trial, _key in submitted(home):
        runs = [] if (folder / NOTED).exists() else run_folders(home, folder.name)
        with suppress(OSError):  # recorded, or erased, in this moment
            specs = [given_spec(run) for run in runs]
            began = [(run / PROCESS).stat().st_mtime for run in runs]
            if runs:
                trials.append(
                    InTraining(
                        trial=trial,
                        running=sum(poll(run) is None for run in runs),
                        seconds=max(0.0, time.time() - min(began)),
                        time_limit=specs[0].time_limit,
                    )
                )
    return sorted(trials, key=lambda entry: entry.trial)


def wait_for_trainer(home: Home, say: Callable[[str], None]) -> None:
    """Wait until a run of the command of [trainer] ends; after Ctrl-C, say that they go on."""
    running = under_way(home)
    trials = named(sorted({folder.parent.name for folder in running}))
    try:
        with Heartbeat(f"{counted(len(running), 'run')} of the trainer ({trials})"):
            while running == under_way(home):
                time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        for folder in under_way(home):
            say(
                f"{home.relative(folder)} goes on; `tamis materialize` waits for it again, "
                f"`kill {supervisor_of(folder)}` stops it"
            )
        raise
