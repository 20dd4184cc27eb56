"""Runs of the command of [trainer]: submitted, polled, and read once they have ended, never waited for here.

Each trial has a folder under the home's cache, with a folder for each of its runs: one for each seed, and of
a trial in two stages another one that starts from the checkpoint of the first. A run of no steps measures the
base model; trials that start from the same model and are measured on the same examples share it. All state is
in these folders, so whoever looks at them, after a kill too, goes on where the last one was.
"""

import json
import math
import os
import shlex
import shutil
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tamis.base.errors import PermanentError, TamisError
from tamis.base.files import replace_folder, write_atomically
from tamis.base.own_command import LOG, Ended, fill, forget, last_lines, poll, start, stop, was_started
from tamis.base.own_command import PROCESS as SUBMITTED
from tamis.plugins.commands import command_files
from tamis.project import Project
from tamis.readers.text import normalised_id
from tamis.settings.training_sections import SPEC as PLACEHOLDER
from tamis.settings.training_sections import FineTuningSection, TrainerSection
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
    read_spec,
    relative_model,
    row_of,
    write_run,
    write_spec,
)
from tamis.training.chats import Chat
from tamis.training.cost import tokens_per_epoch
from tamis.training.errors import UnknownModelError
from tamis.training.examples import Example, Pair, text_of
from tamis.training.models import count_parameters
from tamis.training.planned import Trial, model_section
from tamis.training.results import Outcomes, TrainingResult
from tamis.training.trial import Finished, TrialData, finished_trial
from tamis.trust import require_trusted

FOLDER = "trainer"
TRIAL, NOTED, RECORD = "trial.json", "noted", "trainer.json"
"""Files of a trial: which it is, that its failure is noted, and, in its checkpoint, its specs and results."""
BEFORE = "before"
BYTES_PER_TOKEN = 4
"""Of a model whose tokenizer cannot be read here."""


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
    """A trial that is submitted, or waits for others: it has no result yet, and has not failed."""

    def __init__(self, trial: str) -> None:
        super().__init__(
            f"trial {trial} is in training or waits for its turn; it is recorded once it has ended"
        )


class NoAdapterError(PermanentError):
    """A base model is to get an adapter, which the spec of a trainer has no place for."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"[[base_model]] {model} has lora_rank, but the command of [trainer] decides what is trained; "
            "remove the keys that begin with lora_, and make the adapter in the command"
        )


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
class Run:
    """One run of the command; `stage`: which stage of its trial, None for the base model as it is."""

    project: Project
    folder: Path
    seed: int
    stage: int | None

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

    def clear(self) -> None:
        """Let an interrupted run start again, from what it has written; the next time it has failed."""
        if self.is_interrupted:
            self._again.touch()
            _given(self.folder).unlink(missing_ok=True)
            forget(self.folder)

    def start(self, command: Sequence[str], spec: Spec) -> None:
        """Start the command on the files in the folder of the run."""
        start(command, cwd=self.project.root, folder=self.folder, time_limit=spec.time_limit)
        write_spec(_given(self.folder), spec)

    def stop(self) -> None:
        """Stop the command, where it was started, with all that it has started."""
        if was_started(self.folder):
            stop(self.folder)

    def result(self, data: TrialData) -> Result:
        """Return the result of a run that has ended; raises what the trial fails with."""
        ended, spec = self.ended, self.spec
        assert ended is not None, self.name
        if ended.timed_out:
            raise TrainerTimeLimitError(self, ended, spec.time_limit)
        if not was_started(self.folder):
            raise ErasedRunError(self.shown(""))
        if self.has_failed:
            raise TrainerFailedError(self, ended, spec.time_limit)
        bytes_by_id = {row_of(example)["id"]: learnt_bytes(example) for example in data.held_out}
        try:
            return read_result(self.folder, spec, bytes_by_id, self.shown(spec.result))
        except RefusedResultError as error:
            error.spent_seconds = ended.seconds  # type: ignore[attr-defined]
            raise


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A trial on the command of [trainer]: its folder, its runs, and how far they are."""

    project: Project
    trial: Trial
    input_key: str

    @cached_property
    def folder(self) -> Path:
        """Folder of the trial."""
        return trainer_folder(self.project.home) / self.input_key[:16]

    @property
    def section(self) -> TrainerSection:
        """The section [trainer]."""
        assert self.project.settings.trainer is not None
        return self.project.settings.trainer

    @cached_property
    def chains(self) -> list[list[Run]]:
        """The runs of each seed, by stage: each starts from the checkpoint of the one before."""
        stages = 2 if self.trial.kind == "two_stage" else 1
        return [
            [
                Run(project=self.project, folder=self.folder / f"seed-{seed}-{stage}", seed=seed, stage=stage)
                for stage in range(stages)
            ]
            for seed in range(self.project.seed, self.project.seed + self.project.settings.fine_tuning.seeds)
        ]

    @property
    def is_submitted(self) -> bool:
        """Return whether runs were submitted whose end is not recorded or noted yet."""
        return (self.folder / TRIAL).exists() and not (self.folder / NOTED).exists()

    @property
    def before(self) -> Run:
        """The run that measures the base model, of a trial that is submitted."""
        key = json.loads((self.folder / TRIAL).read_bytes())["before"]
        return self._before(key)

    def _before(self, key: str) -> Run:
        folder = trainer_folder(self.project.home) / f"{BEFORE}-{key[:16]}" / "base"
        return Run(project=self.project, folder=folder, seed=self.project.seed, stage=None)

    @property
    def runs(self) -> list[Run]:
        """All runs of a trial that is submitted, that of the base model included."""
        return [self.before, *(run for chain in self.chains for run in chain)]

    @property
    def running(self) -> list[Run]:
        """The runs under way."""
        return (
            [run for run in self.runs if run.is_submitted and run.ended is None] if self.is_submitted else []
        )

    @property
    def waiting(self) -> list[Run]:
        """Runs that could be submitted now; none once one has failed."""
        own = [run for chain in self.chains for run in chain]
        if not self.is_submitted:
            return own[:1]
        if any(run.has_failed for run in own):
            return []
        before = [self.before] if _waits(self.before) and not self._measured.exists() else []
        for chain in self.chains:
            place = next((place for place, run in enumerate(chain) if _waits(run)), None)
            if place is not None and (place == 0 or chain[place - 1].ended):
                before.append(chain[place])
        return before

    @property
    def has_ended(self) -> bool:
        """Return whether nothing of the trial runs or is left to submit: its result or failure is known."""
        if not self.is_submitted:
            return False
        own = [run for chain in self.chains for run in chain]
        if any(run.has_failed for run in own):
            return True
        return not self.running and not self.waiting

    @property
    def _measured(self) -> Path:
        """File with the loss of the base model, once it is measured."""
        key = self.before.folder.parent.name
        return self.project.home.cache / "zero_shot" / f"{key}.json"

    def submit(self, data: TrialData) -> None:
        """Submit the runs that wait, as far as [trainer] at_once leaves room.

        Raises `UntrustedError` where nobody has accepted the command, `UnknownProgramError`,
        `NoAdapterError`, `NoCheckpointError`, `RefusedResultError` and what else a trial fails with.
        """
        require_trusted(self.project)
        if model_section(self.project, self.trial.model)[0].lora_rank is not None:
            raise NoAdapterError(self.trial.model)
        if not self.is_submitted:
            self.erase()
            key = canonical_digest(json.dumps([data.zero_shot_key, self._command_identity()], sort_keys=True))
            stated = {"trial": self.trial.name, "input_key": self.input_key, "before": key}
            write_atomically(self.folder / TRIAL, json.dumps(stated).encode())
        for run in self.waiting[: room(self.project)]:
            self._start(run, data)

    def _command_identity(self) -> list[object]:
        command = self.section.command
        return [list(command), command_files(command, self.project.root)]

    def _start(self, run: Run, data: TrialData) -> None:
        run.clear()
        settings = self.project.settings.fine_tuning
        own, _fold = model_section(self.project, self.trial.model)
        model, train = data.base, data.stages[run.stage].examples if run.stage is not None else ()
        tokens, steps = _length(settings, data.base, train)
        if run.stage:
            former = self.chains[run.seed - self.project.seed][run.stage - 1]
            checkpoint = former.result(data).checkpoint
            if checkpoint is None:
                raise NoCheckpointError(former.shown(RESULT))
            model = former.folder / checkpoint
        spec = Spec(
            run=run.name,
            model=relative_model(model, run.folder),
            seed=run.seed,
            tokens=tokens,
            steps=steps,
            learning_rate=own.learning_rate or settings.learning_rate,
            time_limit=self.section.seconds,
        )
        write_run(run.folder, spec, train, data.held_out)
        run.start(fill(self.section.command, {PLACEHOLDER: run.folder / SPEC}), spec)

    def results(self, data: TrialData) -> list[list[Result]]:
        """Return the results of a trial that has ended, of each seed and stage.

        Raises `TrainerFailedError`, `TrainerTimeLimitError`, `ErasedRunError` and `RefusedResultError`.
        """
        return [[run.result(data) for run in chain] for chain in self.chains]

    def finish(self, data: TrialData, results: Sequence[Sequence[Result]], checkpoint: Path) -> Finished:
        """Return a trial with these results, its checkpoint and record put into the folder `checkpoint`."""
        zero_shot = self._zero_shot(data)
        parameters = None
        with suppress(UnknownModelError):
            parameters = count_parameters(data.base)
        by_seed = [
            [
                _training_result(run, result, data, before, parameters)
                for run, result, before in zip(
                    chain, of_seed, (zero_shot, *(one.bits_per_byte for one in of_seed)), strict=False
                )
            ]
            for chain, of_seed in zip(self.chains, results, strict=True)
        ]
        self._keep(results, checkpoint)
        finished = finished_trial(self.project, self.trial, data, by_seed, checkpoint, self.input_key)
        unknown = {"parameters": None} if parameters is None else {}
        if math.isnan(finished.values["flops"]):
            unknown |= {"flops": None}
        stated = {"trainer": shlex.join(self.section.command)}
        return replace(
            finished,
            values={**finished.values, **unknown},
            parameters={**finished.parameters, **unknown, **stated},
        )

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of the run whose checkpoint is that of the trial."""
        return asdict(self.chains[0][-1].spec)

    def _zero_shot(self, data: TrialData) -> float | None:
        """Return the loss of the base model, bits per byte; None where its run gave no result."""
        if not self._measured.exists():
            try:
                measured = self.before.result(data).bits_per_byte
            except TamisError:
                return None
            write_atomically(self._measured, json.dumps({"bits_per_byte": measured}).encode())
        return float(json.loads(self._measured.read_bytes())["bits_per_byte"])

    def _keep(self, results: Sequence[Sequence[Result]], checkpoint: Path) -> None:
        """Put the checkpoint of the first seed into a folder, with the specs and results of all runs.

        Files are linked rather than moved: a kill leaves the run as it was.
        """
        run, result = self.chains[0][-1], results[0][-1]
        command, files = self._command_identity()
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

    def give_up(self) -> None:
        """Stop what runs of a trial that failed, and note that its failure is recorded; logs stay."""
        if self.folder.exists():
            for chain in self.chains:
                for run in chain:
                    run.stop()
            (self.folder / NOTED).touch()

    def erase(self) -> None:
        """Stop what runs of the trial, and erase its folder."""
        erase(self.folder)


def require_checkpoint(trial: str, folder: Path) -> None:
    """Raise `NothingToEvaluateError` where the folder of a trial has the record of its runs alone."""
    if [path.name for path in folder.glob("*")] == [RECORD]:
        raise NothingToEvaluateError(trial)


def trainer_folder(home: Home) -> Path:
    """Return the folder of all runs of a home."""
    return home.cache / FOLDER


def submitted(home: Home) -> Iterator[tuple[Path, str, str]]:
    """Yield folder, trial and input key of each trial that has a folder."""
    for path in sorted(trainer_folder(home).glob(f"*/{TRIAL}")):
        stated = json.loads(path.read_bytes())
        yield path.parent, stated["trial"], stated["input_key"]


def given_spec(folder: Path) -> Spec:
    """Return the spec that was given to the run in a folder."""
    path = _given(folder)
    return read_spec(path if path.exists() else folder / SPEC)


def _given(folder: Path) -> Path:
    """Return the file next to the folder of a run with its spec: a command may change its own folder."""
    return folder.with_name(f"{folder.name}.json")


def run_folders(home: Home, trial: str = "*") -> list[Path]:
    """Return the folders of the runs that were submitted, of all trials or of the folder of one."""
    return sorted(path.parent for path in trainer_folder(home).glob(f"{trial}/*/{SUBMITTED}"))


def under_way(home: Home) -> list[Path]:
    """Return the folders of the runs that have not ended."""
    return [folder for folder in run_folders(home) if poll(folder) is None]


def room(project: Project) -> int:
    """Return how many more runs may train now."""
    assert project.settings.trainer is not None
    return max(0, project.settings.trainer.at_once - len(under_way(project.home)))


def erase(folder: Path) -> None:
    """Stop the runs in the folder of a trial, and erase it."""
    for path in folder.glob(f"*/{SUBMITTED}"):
        stop(path.parent)
    for place, _folders, _files in os.walk(folder):  # a command may have taken access away
        for path in (Path(place), *Path(place).glob("*/")):
            if not path.is_symlink() and path.stat().st_mode & stat.S_IRWXU != stat.S_IRWXU:
                path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def erase_unused(home: Home) -> None:
    """Erase runs on base models that no trial with a folder is compared with."""
    used = {json.loads(path.read_bytes())["before"][:16] for path in trainer_folder(home).glob(f"*/{TRIAL}")}
    for folder in trainer_folder(home).glob(f"{BEFORE}-*"):
        if folder.name.removeprefix(f"{BEFORE}-") not in used:
            erase(folder)


def erase_naming(home: Home, doc_ids: Collection[str]) -> Iterator[Path]:
    """Erase the folders of trials in which a run was given one of these documents; yield each."""
    for folder in folders_naming(home, doc_ids):
        erase(folder)
        yield folder


def folders_naming(home: Home, doc_ids: Collection[str]) -> Iterator[Path]:
    """Yield the folders of trials in which a run was given one of these documents."""
    gone = set(doc_ids)
    for folder in sorted(trainer_folder(home).glob("*")):
        paths = [path / name for path in folder.glob("*/") for name in (TRAIN, EVALUATE)]
        # A command that erased its rows may have copied them: nobody knows that the document is not there.
        if any(not path.exists() or not gone.isdisjoint(ids_of(path)) for path in paths):
            yield folder


def _waits(run: Run) -> bool:
    return not run.is_submitted or run.is_interrupted


def _link(source: str, target: str) -> None:
    source = os.path.realpath(source)  # the home has no symbolic links
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _length(settings: FineTuningSection, base: str | Path, examples: Sequence[Example]) -> tuple[int, int]:
    """Return the tokens and the optimizer steps of a training by [fine_tuning].

    Tokens are estimated from bytes where the tokenizer of the model cannot be read here. A pair or a
    conversation is one row of a batch; texts are packed.
    """
    if not examples:
        return 0, 0
    tokens = 0
    if (Path(base) / "tokenizer.json").is_file():
        with suppress(OSError, ValueError):
            tokens = tokens_per_epoch(Path(base), examples, settings.sequence_length)
    tokens = tokens or max(1, sum(len(text_of(one).encode()) for one in examples) // BYTES_PER_TOKEN)
    packed = -(-tokens // settings.sequence_length)
    rows = len(examples) if isinstance(examples[0], Pair | Chat) else packed
    return settings.epochs * tokens, settings.epochs * -(
        -rows // (settings.batch_size * settings.accumulation)
    )


def _training_result(
    run: Run, result: Result, data: TrialData, before: float | None, parameters: int | None
) -> TrainingResult:
    """Return a run in the form of a training by Tamis; `before`: bits per byte of what it started from."""
    ended, rows = run.ended, {row.id: row for row in result.evaluations}
    assert ended is not None, run.name
    ordered = [rows[normalised_id(text_of(example))] for example in data.held_out]
    flops = result.flop
    if flops is None:
        flops = math.nan if parameters is None else 6.0 * parameters * result.tokens
    return TrainingResult(
        steps=run.spec.steps,
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
