"""Runs of the command of [trainer]: submitted, polled, and read once they have ended, never waited for here.

Each submission has a folder under the home's cache, with a folder for each of its runs. All state is in these
folders, so whoever looks at them, after a kill too, goes on where the last one was.
"""

import json
import os
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tamis.base.errors import PermanentError, TamisError
from tamis.base.files import replace_folder, write_atomically
from tamis.base.own_command import LOG, Ended, fill, forget, last_lines, poll, start, stop, was_started
from tamis.base.own_command import PROCESS as SUBMITTED
from tamis.plugins.commands import command_files
from tamis.project import Project
from tamis.settings.training_sections import SPEC as PLACEHOLDER
from tamis.settings.training_sections import TrainerSection
from tamis.store.home import Home
from tamis.trainer.exchange import (
    EVALUATE,
    RESULT,
    SPEC,
    TRAIN,
    RefusedResultError,
    Result,
    Spec,
    ids_of,
    learnt_bytes,
    read_result,
    relative_model,
    row_of,
    write_fresh_model,
    write_run,
)
from tamis.training.examples import Example
from tamis.training.models import count_parameters
from tamis.training.shapes import ModelShape
from tamis.training.stage import TRIALS_STAGE
from tamis.trust import require_trusted

FOLDER = "trainer"
STATED, NOTED, RECORD = "trial.json", "noted", "trainer.json"
"""Files of a submission: its name, that its failure is noted, and, in its checkpoint, specs and results."""
BEFORE = "before"
FRESH = "model"
"""Folder of a run for a model with fresh weights that it starts from."""


class _RunError(TamisError):
    """A run that gave no result: names the run and its log, whose end is for the terminal alone."""

    def __init__(self, run: "Run", ended: Ended, time_limit: float) -> None:
        said = ended.in_words(time_limit)
        super().__init__(f"the command of [trainer] {said}; its output is in {run.shown(LOG)}")
        self.spent_seconds = ended.seconds
        if tail := last_lines(run.folder):
            self.withheld = f"{self}\n{tail}"


class TrainerFailedError(_RunError):
    """A run that failed: it may succeed when it is submitted again."""


class ErasedRunError(TamisError):
    """A run whose command erased the folder with its log and result."""

    def __init__(self, shown: str) -> None:
        super().__init__(
            f"the command of [trainer] erased {shown}, the folder of its spec, so the run was stopped; erase "
            "there only what the command has written itself"
        )


class TrainerTimeLimitError(_RunError, PermanentError):
    """A run that was stopped at its time limit."""


class InTrainingError(TamisError):
    """A submission whose runs train, or wait for others: it has no result yet, and has not failed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is in training or waits for its turn; it is recorded once it has ended")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Content of one run: what it starts from, how long it is, and its rows; without steps it only measures.

    `model`: a folder, or an id on a hub. `shape`: of a model with fresh weights, which the run's seed draws;
    `model` is then the folder of its tokenizer.
    """

    model: str | Path
    learning_rate: float
    held_out: Iterable[Example]
    train: Iterable[Example] = ()
    tokens: int = 0
    steps: int = 0
    shape: ModelShape | None = None


class NothingToEvaluateError(PermanentError):
    """A trial whose trainer left no checkpoint."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"trial {name} has no checkpoint to evaluate, since the result of the command of [trainer] named "
            "none; write the trained model to the output folder and name it as checkpoint, or remove "
            "[evaluation]"
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the command; `stage`: which stage of its training, None for a model as it is."""

    project: Project
    folder: Path
    seed: int
    stage: int | None = 0

    @property
    def name(self) -> str:
        """Name of the run in its spec and its result, unlike that of any other run."""
        return f"{self.folder.parent.name}-{self.folder.name}"

    def shown(self, file: str) -> str:
        """Return a file of the run for messages: relative to the project where it is below it."""
        path = self.folder / file
        root = self.project.root
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    @property
    def ended(self) -> Ended | None:
        """The end of the run; None while it runs, and before it was submitted."""
        return poll(self.folder) if self.is_submitted else None

    @property
    def is_submitted(self) -> bool:
        """Return whether the command was started."""
        return _given(self.folder).exists() or was_started(self.folder)

    @property
    def is_erased(self) -> bool:
        """Return whether the command was started, and its folder is gone."""
        return _given(self.folder).exists() and not was_started(self.folder)

    @property
    def has_failed(self) -> bool:
        """Return whether the run ended in another way than by itself with exit code 0, or unseen."""
        ended = self.ended
        return bool(ended and not (ended.succeeded or self._ended_unseen(ended) or self.is_interrupted))

    @property
    def is_interrupted(self) -> bool:
        """Return whether the run died with its supervisor, for the first time: it is submitted again."""
        ended = self.ended
        if ended is None or not ended.vanished or self._ended_unseen(ended):
            return False
        return was_started(self.folder) and not self._again.exists()

    @property
    def _again(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.again")

    @property
    def spec(self) -> Spec:
        """The spec that the command was given; that in its folder it may have changed."""
        return given_spec(self.folder)

    def _ended_unseen(self, ended: Ended) -> bool:
        """Return whether a result was written, but no exit code, as when the machine restarts."""
        return ended.vanished and (self.folder / RESULT).exists()

    def start(self, training: Training) -> None:
        """Write the rows and the spec, and start the command; an interrupted run starts again, once.

        It goes on from what it has written; the next time it has failed.
        """
        if self.is_interrupted:
            self._again.touch()
            _given(self.folder).unlink(missing_ok=True)
            forget(self.folder)
        section = self.project.settings.trainer
        assert section is not None
        model, parameters, held_out = training.model, None, list(training.held_out)
        if training.shape is not None:
            model = self.folder / FRESH
            write_fresh_model(training.shape, self.seed, Path(training.model), model)
            parameters = count_parameters(model)
        spec = Spec(
            run=self.name,
            model=relative_model(model, self.folder),
            seed=self.seed,
            tokens=training.tokens,
            steps=training.steps,
            learning_rate=training.learning_rate,
            time_limit=section.seconds,
        )
        write_run(self.folder, spec, training.train, held_out)
        measured = {row_of(example)["id"]: learnt_bytes(example) for example in held_out}
        given = {"spec": asdict(spec), "measured": measured, "parameters": parameters}
        draft = _draft(self.folder)
        write_atomically(draft, json.dumps(given).encode())
        command = fill(section.command, {PLACEHOLDER: self.folder / SPEC})
        start(command, cwd=self.project.root, folder=self.folder, time_limit=section.seconds)
        draft.replace(_given(self.folder))

    def stop(self) -> None:
        """Stop the command, where it was started, with all that it has started."""
        if was_started(self.folder):
            stop(self.folder)

    @property
    def measured(self) -> dict[str, int]:
        """Ids of the held-out examples that the command was given, in order, with what it may measure."""
        return dict(_read_given(self.folder)["measured"])

    @property
    def parameters(self) -> int | None:
        """Number of parameters of the fresh weights that the command was given; None of another model."""
        count = _read_given(self.folder)["parameters"]
        return None if count is None else int(count)

    def result(self, held_out: Iterable[Example] | None = None) -> Result:
        """Return the result of a run that has ended, measured on `held_out`, or on what it was given.

        Raises `TrainerFailedError`, `TrainerTimeLimitError`, `ErasedRunError` and `RefusedResultError`.
        """
        ended, spec = self.ended, self.spec
        assert ended is not None, self.name
        if ended.timed_out:
            raise TrainerTimeLimitError(self, ended, spec.time_limit)
        if not was_started(self.folder):
            raise ErasedRunError(self.shown(""))
        if self.has_failed:
            raise TrainerFailedError(self, ended, spec.time_limit)
        if held_out is None:
            bytes_by_id = self.measured
        else:
            bytes_by_id = {row_of(example)["id"]: learnt_bytes(example) for example in held_out}
        try:
            return read_result(self.folder, spec, bytes_by_id, self.shown(spec.result))
        except RefusedResultError as error:
            error.spent_seconds = ended.seconds  # type: ignore[attr-defined]
            raise


@dataclass(frozen=True, kw_only=True)
class Submission(ABC):
    """Runs that give one result together: their folder, and how far they are."""

    project: Project
    input_key: str

    @property
    @abstractmethod
    def entry(self) -> tuple[str, str]:
        """Stage and name of what the runs are submitted for."""

    @property
    @abstractmethod
    def chains(self) -> list[list[Run]]:
        """The runs of each seed; each starts from the checkpoint of the one before it in its chain."""

    @property
    def extra(self) -> list[Run]:
        """Further runs, which have to end, and may fail."""
        return []

    @cached_property
    def folder(self) -> Path:
        """Folder of the submission."""
        return trainer_folder(self.project.home) / self.input_key[:16]

    @property
    def section(self) -> TrainerSection:
        """The section [trainer]."""
        assert self.project.settings.trainer is not None
        return self.project.settings.trainer

    @property
    def is_submitted(self) -> bool:
        """Return whether runs were submitted whose end is not recorded or noted yet."""
        is_stated = (self.folder / STATED).exists() or any(run.is_erased for run in self._own)
        return is_stated and not (self.folder / NOTED).exists()

    @property
    def _own(self) -> list[Run]:
        return [run for chain in self.chains for run in chain]

    @property
    def running(self) -> list[Run]:
        """The runs under way."""
        if not self.is_submitted:
            return []
        return [run for run in (*self.extra, *self._own) if run.is_submitted and run.ended is None]

    @property
    def has_failed(self) -> bool:
        """Return whether one of the runs ended without success, which is not noted yet."""
        return self.is_submitted and any(run.has_failed for run in self._own)

    @property
    def waiting(self) -> list[Run]:
        """Runs that could be submitted now; none once one has failed."""
        if not self.is_submitted:
            return self._own[:1]
        if self.has_failed:
            return []
        waiting = [run for run in self.extra if _waits(run)]
        for chain in self.chains:
            place = next((place for place, run in enumerate(chain) if _waits(run)), None)
            if place is not None and (place == 0 or chain[place - 1].ended):
                waiting.append(chain[place])
        return waiting

    @property
    def has_ended(self) -> bool:
        """Return whether nothing runs or is left to submit: the result or the failure is known."""
        return self.is_submitted and (self.has_failed or not (self.running or self.waiting))

    def begin(self, **stated: str) -> None:
        """State what is submitted, where it is not yet; a submission whose failure is noted starts again.

        Raises `UntrustedError` where nobody has accepted the command.
        """
        require_trusted(self.project)
        if not self.is_submitted:
            self.erase()
            self._state(stated)

    def _state(self, stated: Mapping[str, str]) -> None:
        stage, name = self.entry
        # "trial": whatever the runs are submitted for, since 0.2 knew trials alone.
        known = {"stage": stage, "trial": name, "input_key": self.input_key}
        write_atomically(self.folder / STATED, json.dumps({**known, **stated}).encode())

    @property
    def command_identity(self) -> list[object]:
        """The command and the digests of the project's files that it names."""
        command = self.section.command
        return [list(command), command_files(command, self.project.root)]

    def keep(self, results: Sequence[Sequence[Result]], checkpoint: Path) -> None:
        """Put the checkpoint of the first seed into a folder, with the specs and results of all runs.

        Files are linked rather than moved: a kill leaves the run as it was.
        """
        run, result = self.chains[0][-1], results[0][-1]
        command, files = self.command_identity
        runs = [
            {"spec": asdict(one.spec), "result": answer.model_dump()}
            for chain, of_seed in zip(self.chains, results, strict=True)
            for one, answer in zip(chain, of_seed, strict=True)
        ]
        with replace_folder(checkpoint) as draft:
            if result.checkpoint is not None:
                shutil.copytree(
                    run.folder / result.checkpoint, draft, copy_function=_link, dirs_exist_ok=True
                )
            record = {"command": command, "files": files, "runs": runs}
            write_atomically(draft / RECORD, json.dumps(record, indent=1).encode())

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of the run whose checkpoint is kept."""
        return asdict(self.chains[0][-1].spec)

    def give_up(self) -> None:
        """Stop what runs of a submission that failed, and note that its failure is recorded; logs stay."""
        if self.is_submitted:
            for run in self._own:
                run.stop()
            if not (self.folder / STATED).exists():  # a command erased it
                self._state({})
            (self.folder / NOTED).touch()

    def erase(self) -> None:
        """Stop what runs, and erase the folder."""
        erase(self.folder)


def require_checkpoint(trial: str, folder: Path) -> None:
    """Raise `NothingToEvaluateError` where the folder of a trial has the record of its runs alone."""
    if [path.name for path in folder.glob("*")] == [RECORD]:
        raise NothingToEvaluateError(trial)


@dataclass(frozen=True, kw_only=True)
class RunSubmission(Submission):
    """A single run, submitted for a stage under a name; `measures`: of a model as it is."""

    stage: str
    name: str
    seed: int
    measures: bool = False

    @property
    def entry(self) -> tuple[str, str]:
        """Stage and name."""
        return self.stage, self.name

    @property
    def run(self) -> Run:
        """The run."""
        folder = self.folder / f"seed-{self.seed}-0"
        return Run(project=self.project, folder=folder, seed=self.seed, stage=None if self.measures else 0)

    @property
    def chains(self) -> list[list[Run]]:
        """The run."""
        return [[self.run]]

    def submit(self, training: Training) -> None:
        """Submit the run, where it waits and [trainer] at_once leaves room; raises what `begin` raises."""
        self.begin()
        if self.waiting and room(self.project):
            self.run.start(training)


def trainer_folder(home: Home) -> Path:
    """Return the folder of all runs of a home."""
    return home.cache / FOLDER


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A folder of runs: the stage and the name that they are submitted for, and their input key."""

    folder: Path
    stage: str
    name: str
    input_key: str


def submitted(home: Home) -> Iterator[Submitted]:
    """Yield what has a folder."""
    for path in sorted(trainer_folder(home).glob(f"*/{STATED}")):
        stated = json.loads(path.read_bytes())
        yield Submitted(
            folder=path.parent,
            stage=stated.get("stage", TRIALS_STAGE.name),
            name=stated["trial"],
            input_key=stated["input_key"],
        )


def given_spec(folder: Path) -> Spec:
    """Return the spec that was given to the run in a folder."""
    return Spec(**_read_given(folder)["spec"])


def _read_given(folder: Path) -> dict[str, Any]:
    """Return the spec of a run, and what else counts of what it was given."""
    path = _given(folder)
    return dict(json.loads((path if path.exists() else _draft(folder)).read_bytes()))


def _given(folder: Path) -> Path:
    """Return the file with what a run was given, next to the folder of its submission.

    A command may change its own folder, and erase the one around it.
    """
    return folder.parent.with_name(f"{folder.parent.name}-{folder.name}.json")


def _draft(folder: Path) -> Path:
    """Return the same file until the command was started."""
    return _given(folder).with_suffix(".draft")


def run_folders(home: Home, submission: str = "*") -> list[Path]:
    """Return the folders of the runs that were submitted, of all submissions or of the folder of one."""
    return sorted(path.parent for path in trainer_folder(home).glob(f"{submission}/*/{SUBMITTED}"))


def under_way(home: Home) -> list[Path]:
    """Return the folders of the runs that have not ended."""
    return [folder for folder in run_folders(home) if poll(folder) is None]


def room(project: Project) -> int:
    """Return how many more runs may train now."""
    assert project.settings.trainer is not None
    return max(0, project.settings.trainer.at_once - len(under_way(project.home)))


def erase(folder: Path) -> None:
    """Stop the runs in the folder of a submission, and erase it."""
    for path in folder.glob(f"*/{SUBMITTED}"):
        stop(path.parent)
    for place, _folders, _files in os.walk(folder):  # a command may have taken access away
        for path in (Path(place), *Path(place).glob("*/")):
            if not path.is_symlink() and path.stat().st_mode & stat.S_IRWXU != stat.S_IRWXU:
                path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)
    for ending in ("json", "draft"):
        for given in folder.parent.glob(f"{folder.name}-*.{ending}"):
            given.unlink(missing_ok=True)


def erase_unused(home: Home) -> None:
    """Erase runs on base models that no trial with a folder is compared with."""
    stated = [json.loads(path.read_bytes()) for path in trainer_folder(home).glob(f"*/{STATED}")]
    used = {one["before"][:16] for one in stated if "before" in one}
    for path in trainer_folder(home).glob(f"{BEFORE}-*"):
        key = path.name.removeprefix(f"{BEFORE}-")[:16]
        if key not in used:
            erase(path.with_name(f"{BEFORE}-{key}"))


def erase_naming(home: Home, doc_ids: Collection[str]) -> Iterator[Path]:
    """Erase the folders in which a run was given one of these documents; yield each."""
    for folder in folders_naming(home, doc_ids):
        erase(folder)
        yield folder


def folders_naming(home: Home, doc_ids: Collection[str]) -> Iterator[Path]:
    """Yield the folders in which a run was given one of these documents."""
    gone = set(doc_ids)
    for folder in sorted(trainer_folder(home).glob("*")):
        paths = [path / name for path in folder.glob("*/") for name in (TRAIN, EVALUATE)]
        # A command that erased its rows may have copied them: nobody knows that the document is not there.
        if any(not path.is_file() or not gone.isdisjoint(ids_of(path)) for path in paths):
            yield folder


def _waits(run: Run) -> bool:
    return not run.is_submitted or run.is_interrupted


def _link(source: str, target: str) -> None:
    source = os.path.realpath(source)  # the home has no symbolic links
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
