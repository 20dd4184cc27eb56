"""Runs: one result of training or measuring a model, whatever it is for, and the invocations it is made of.

The command of [trainer] is invoked, polled, and read once it has ended, never waited for here. Each run has a
folder under the home's cache, with a folder for each invocation. All state is in these folders, so whoever
looks at them, after a kill too, goes on where the last one was.
"""

import json
import math
import os
import shutil
import stat
import time
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
from tamis.store.digests import canonical_digest
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
from tamis.training.loop import resume_folder
from tamis.training.models import count_parameters
from tamis.training.results import Outcomes, TrainingResult
from tamis.training.shapes import ModelShape
from tamis.training.stage import TRIALS_STAGE
from tamis.trust import require_trusted

FOLDER = "trainer"
STATED, NOTED, RECORD = "trial.json", "noted", "trainer.json"
"""Files of a run: its name, that its failure is noted, and, in its checkpoint, specs and results."""
BEFORE = "before"
ERASING_SECONDS = 5.0
"""For which a command may go on erasing its folder after that was noticed: it is stopped then."""
FRESH = "model"
"""Folder of a run for a model with fresh weights that it starts from."""


class _RunError(TamisError):
    """A run that gave no result: names the run and its log, whose end is for the terminal alone."""

    def __init__(self, run: "Invocation", ended: Ended, time_limit: float) -> None:
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
    """A run that trains, or waits for others: it has no result yet, and has not failed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is in training or waits for its turn; it is recorded once it has ended")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one stage of a training, and how long it is."""

    examples: Iterable[Example]
    tokens: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Content:
    """Start of a run, the rows of its stages, and what it is measured on; without stages it only measures.

    `model`: a folder, or an id on a hub. `shape`: of a model with fresh weights, which the seed draws; the
    `model` is then the folder of its tokenizer. `start_key`: names the model and the held-out examples where
    the model is measured before training, too, once for all runs that start from it.
    """

    model: str | Path
    held_out: Iterable[Example]
    learning_rate: float = 0.0
    stages: Sequence[Rows] = ()
    shape: ModelShape | None = None
    start_key: str | None = None


class NoCheckpointError(PermanentError):
    """The first of two stages left no checkpoint for the second to start from."""

    def __init__(self, shown: str) -> None:
        super().__init__(
            f"the result of the trainer, {shown}, names no checkpoint, which the second of two stages starts "
            "from; write the trained model to the output folder and name it as checkpoint"
        )


class NothingToEvaluateError(PermanentError):
    """A trial whose trainer left no checkpoint."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"trial {name} has no checkpoint to evaluate, since the result of the command of [trainer] named "
            "none; write the trained model to the output folder and name it as checkpoint, or remove "
            "[evaluation]"
        )


@dataclass(frozen=True, kw_only=True)
class Invocation:
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

    def start(self, content: Content, former: Path | None = None) -> None:
        """Write the rows and the spec, and start the command; an interrupted run starts again, once.

        It goes on from what it has written; the next time it has failed. `former`: the checkpoint of the
        stage before, from which it starts.
        """
        if self.is_interrupted:
            self._again.touch()
            _given(self.folder).unlink(missing_ok=True)
            forget(self.folder)
        section = self.project.settings.trainer
        assert section is not None
        rows = Rows(examples=(), tokens=0, steps=0) if self.stage is None else content.stages[self.stage]
        model, parameters, held_out = former or content.model, None, list(content.held_out)
        if content.shape is not None and former is None:
            model = self.folder / FRESH
            write_fresh_model(content.shape, self.seed, Path(content.model), model)
            parameters = count_parameters(model)
        spec = Spec(
            run=self.name,
            model=relative_model(model, self.folder),
            seed=self.seed,
            tokens=rows.tokens,
            steps=rows.steps,
            learning_rate=content.learning_rate,
            time_limit=section.seconds,
        )
        write_run(self.folder, spec, rows.examples, held_out)
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
class Run:
    """A run of a stage, under a name: trained by Tamis, or by the command of [trainer], and how far that is.

    `seeds`: each trains a model of its own. `stages`: trainings of each, one on the checkpoint of the other;
    0 measures a model as it is.
    """

    project: Project
    stage: str
    name: str
    input_key: str
    seeds: Sequence[int]
    stages: int = 1

    @cached_property
    def folder(self) -> Path:
        """Folder of the run."""
        return trainer_folder(self.project.home) / self.input_key[:16]

    @property
    def state(self) -> Path:
        """Folder in which a training by Tamis keeps its resume state, and what is finished of it."""
        folder = resume_folder(self.project.home.cache, self.stage, self.input_key[:16])
        # Some that release 0.2 left have a longer name, or that of another stage.
        return next(iter(sorted(folder.parent.glob(f"*-{self.input_key[:16]}*"))), folder)

    @cached_property
    def chains(self) -> list[list[Invocation]]:
        """The invocations of each seed; each starts from the checkpoint of the one before it in its chain."""
        places = range(max(1, self.stages))
        return [
            [
                Invocation(
                    project=self.project,
                    folder=self.folder / f"seed-{seed}-{place}",
                    seed=seed,
                    stage=place if self.stages else None,
                )
                for place in places
            ]
            for seed in self.seeds
        ]

    @property
    def first(self) -> Invocation:
        """The first invocation; of many runs the only one."""
        return self.chains[0][0]

    @property
    def before(self) -> Invocation | None:
        """The invocation that measures the model before training; None of a run that has none."""
        path = self.folder / STATED
        key = json.loads(path.read_bytes()).get("before") if path.exists() else None  # a command may erase it
        if key is None:
            return None
        folder = trainer_folder(self.project.home) / f"{BEFORE}-{key[:16]}" / "base"
        return Invocation(project=self.project, folder=folder, seed=self.project.seed, stage=None)

    @property
    def _extra(self) -> list[Invocation]:
        """Further invocations, which have to end, and may fail: of the model whose loss is not known yet."""
        before = self.before
        return [] if before is None or _loss_file(before).exists() else [before]

    @property
    def section(self) -> TrainerSection:
        """The section [trainer]."""
        assert self.project.settings.trainer is not None
        return self.project.settings.trainer

    @property
    def is_submitted(self) -> bool:
        """Return whether it was submitted, and its end is not recorded or noted yet."""
        # A command may erase the folder, and its supervisor write there again.
        is_stated = (self.folder / STATED).exists() or any(
            _given(invocation.folder).exists() for invocation in self._own
        )
        return is_stated and not (self.folder / NOTED).exists()

    @property
    def _own(self) -> list[Invocation]:
        return [invocation for chain in self.chains for invocation in chain]

    @property
    def running(self) -> list[Invocation]:
        """The invocations under way."""
        if not self.is_submitted:
            return []
        return [
            invocation
            for invocation in (*self._extra, *self._own)
            if invocation.is_submitted and invocation.ended is None
        ]

    @property
    def has_failed(self) -> bool:
        """Return whether an invocation ended without success, which is not noted yet."""
        return self.is_submitted and any(invocation.has_failed for invocation in self._own)

    @property
    def waiting(self) -> list[Invocation]:
        """Invocations that could be started now; none once one of them has failed."""
        if not self.is_submitted:
            return self._own[:1]
        if self.has_failed:
            return []
        waiting = [invocation for invocation in self._extra if _waits(invocation)]
        for chain in self.chains:
            place = next((place for place, invocation in enumerate(chain) if _waits(invocation)), None)
            if place is not None and (place == 0 or chain[place - 1].ended):
                waiting.append(chain[place])
        return waiting

    @property
    def has_ended(self) -> bool:
        """Return whether nothing runs or is left to start: the result or the failure is known."""
        return self.is_submitted and (self.has_failed or not (self.running or self.waiting))

    def submit(self, content: Content) -> None:
        """Start what waits, as far as [trainer] at_once leaves room; a run that was given up starts again.

        Raises `UntrustedError` where nobody has accepted the command, `UnknownProgramError`,
        `NoCheckpointError` and `RefusedResultError`.
        """
        require_trusted(self.project)
        if not self.is_submitted:
            self.erase()
            identity = json.dumps([content.start_key, self.command_identity], sort_keys=True)
            self._state({"before": canonical_digest(identity)} if content.start_key else {})
        for invocation in self.waiting[: room(self.project)]:
            invocation.start(content, self._former(invocation, content) if invocation.stage else None)

    def _former(self, invocation: Invocation, content: Content) -> Path:
        """Return the checkpoint of the stage before."""
        former = self.chains[list(self.seeds).index(invocation.seed)][(invocation.stage or 0) - 1]
        checkpoint = former.result(content.held_out).checkpoint
        if checkpoint is None:
            raise NoCheckpointError(former.shown(RESULT))
        return former.folder / checkpoint

    def _state(self, stated: Mapping[str, str]) -> None:
        # "trial": whatever the run is for, since 0.2 knew trials alone.
        known = {"stage": self.stage, "trial": self.name, "input_key": self.input_key}
        write_atomically(self.folder / STATED, json.dumps({**known, **stated}).encode())

    def results(self, held_out: Iterable[Example] | None = None) -> list[list[Result]]:
        """Return the results of a run that has ended, of each seed and stage.

        Raises what `Invocation.result` raises.
        """
        return [[invocation.result(held_out) for invocation in chain] for chain in self.chains]

    def start_loss(self, held_out: Iterable[Example]) -> float | None:
        """Return the loss of the model before training, bits per byte; None where nothing measured it."""
        before = self.before
        if before is None:
            return None
        path = _loss_file(before)
        if not path.exists():
            try:
                measured = before.result(held_out).bits_per_byte
            except TamisError:
                return None
            write_atomically(path, json.dumps({"bits_per_byte": measured}).encode())
        return float(json.loads(path.read_bytes())["bits_per_byte"])

    @property
    def command_identity(self) -> list[object]:
        """The command and the digests of the project's files that it names."""
        command = self.section.command
        return [list(command), command_files(command, self.project.root)]

    def keep(self, results: Sequence[Sequence[Result]], checkpoint: Path) -> None:
        """Put the checkpoint of the first seed into a folder, with the specs and results of all invocations.

        Files are linked rather than moved: a kill leaves the run as it was.
        """
        last, result = self.chains[0][-1], results[0][-1]
        command, files = self.command_identity
        runs = [
            {"spec": asdict(invocation.spec), "result": answer.model_dump()}
            for chain, of_seed in zip(self.chains, results, strict=True)
            for invocation, answer in zip(chain, of_seed, strict=True)
        ]
        with replace_folder(checkpoint) as draft:
            if result.checkpoint is not None:
                shutil.copytree(
                    last.folder / result.checkpoint, draft, copy_function=_link, dirs_exist_ok=True
                )
            record = {"command": command, "files": files, "runs": runs}
            write_atomically(draft / RECORD, json.dumps(record, indent=1).encode())

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of the invocation whose checkpoint is kept."""
        return asdict(self.chains[0][-1].spec)

    def give_up(self) -> None:
        """Stop what runs of a run that failed, and note that its failure is recorded; logs stay."""
        if self.is_submitted:
            for invocation in self._own:
                invocation.stop()
            began = time.monotonic()
            while not (self.folder / NOTED).exists():
                try:
                    if not (self.folder / STATED).exists():  # a command erased it, and may not have ended yet
                        self._state({})
                    (self.folder / NOTED).touch()
                except FileNotFoundError:
                    if time.monotonic() - began > ERASING_SECONDS:
                        raise

    def erase(self) -> None:
        """Stop what runs, and erase the folder and the resume state."""
        erase(self.folder)
        shutil.rmtree(self.state, ignore_errors=True)


def training_result(
    invocation: Invocation,
    result: Result,
    ids: Sequence[str],
    parameters: int | None,
    before: float | None = None,
) -> TrainingResult:
    """Return a run in the form of a training by Tamis, with outcomes in the order of `ids`.

    `before`: bits per byte of what it started from.
    FLOP that neither the result nor a number of parameters states are NaN.
    """
    ended, rows = invocation.ended, {row.id: row for row in result.evaluations}
    assert ended is not None, invocation.name
    ordered = [rows[example] for example in ids]
    flops = result.flop
    if flops is None:
        flops = math.nan if parameters is None else 6.0 * parameters * result.tokens
    return TrainingResult(
        steps=invocation.spec.steps,
        tokens=result.tokens,
        flops=flops,
        seconds=result.seconds,
        peak_memory_bytes=ended.peak_memory_bytes,
        parameters=parameters or 0,
        losses=[],
        zero_shot_bits_per_byte=before,
        held_out_bits_per_byte=result.bits_per_byte,
        outcomes=Outcomes(
            bits=[row.nats / math.log(2) for row in ordered], n_bytes=[row.bytes for row in ordered]
        ),
    )


def require_checkpoint(trial: str, folder: Path) -> None:
    """Raise `NothingToEvaluateError` where the folder of a trial has the record of its runs alone."""
    if [path.name for path in folder.glob("*")] == [RECORD]:
        raise NothingToEvaluateError(trial)


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
    """Return the file with what a run was given, next to the folder that it belongs to.

    A command may change its own folder, and erase the one around it.
    """
    return folder.parent.with_name(f"{folder.parent.name}-{folder.name}.json")


def _draft(folder: Path) -> Path:
    """Return the same file until the command was started."""
    return _given(folder).with_suffix(".draft")


def run_folders(home: Home, run: str = "*") -> list[Path]:
    """Return the folders of the invocations that were started, of all runs or of one by its folder's name."""
    return sorted(path.parent for path in trainer_folder(home).glob(f"{run}/*/{SUBMITTED}"))


def under_way(home: Home) -> list[Path]:
    """Return the folders of the runs that have not ended."""
    return [folder for folder in run_folders(home) if poll(folder) is None]


def room(project: Project) -> int:
    """Return how many more runs may train now."""
    assert project.settings.trainer is not None
    return max(0, project.settings.trainer.at_once - len(under_way(project.home)))


def erase(folder: Path) -> None:
    """Stop what runs in the folder of a run, and erase it."""
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


def _waits(invocation: Invocation) -> bool:
    return not invocation.is_submitted or invocation.is_interrupted


def _loss_file(before: Invocation) -> Path:
    """Return the file with the loss of a model before training, once it is measured."""
    return before.project.home.cache / "zero_shot" / f"{before.folder.parent.name}.json"


def _link(source: str, target: str) -> None:
    source = os.path.realpath(source)  # the home has no symbolic links
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
