"""Trials on the command of [trainer]: a run for each seed, of a trial in two stages two of them in a chain.

A run of no steps measures the base model; trials that start from the same model and are measured on the same
examples share it.
"""

import json
import math
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tamis.base.errors import PermanentError, TamisError
from tamis.base.files import write_atomically
from tamis.settings.tokenizer import BYTES_PER_TOKEN
from tamis.settings.training_sections import FineTuningSection
from tamis.store.digests import canonical_digest
from tamis.trainer.exchange import RESULT, Result, row_of
from tamis.trainer.runs import BEFORE, STATED, Run, Submission, Training, room, trainer_folder
from tamis.training.chats import Chat
from tamis.training.cost import tokens_per_epoch
from tamis.training.errors import UnknownModelError
from tamis.training.examples import Example, Pair, text_of
from tamis.training.models import count_parameters
from tamis.training.planned import Trial, model_section
from tamis.training.results import Outcomes, TrainingResult
from tamis.training.stage import TRIALS_STAGE
from tamis.training.trial import Finished, TrialData, finished_trial


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


@dataclass(frozen=True, kw_only=True)
class TrialSubmission(Submission):
    """A trial on the command of [trainer]."""

    trial: Trial

    @property
    def entry(self) -> tuple[str, str]:
        """The stage of trials, and the name of the trial."""
        return TRIALS_STAGE.name, self.trial.name

    @property
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
    def before(self) -> Run:
        """The run that measures the base model, of a trial that is submitted."""
        key = json.loads((self.folder / STATED).read_bytes())["before"]
        folder = trainer_folder(self.project.home) / f"{BEFORE}-{key[:16]}" / "base"
        return Run(project=self.project, folder=folder, seed=self.project.seed, stage=None)

    @property
    def extra(self) -> list[Run]:
        """The run that measures the base model, unless its loss is known."""
        if not (self.folder / STATED).exists():  # a command erased it
            return []
        return [] if self._measured.exists() else [self.before]

    @property
    def runs(self) -> list[Run]:
        """All runs of a trial that is submitted, that of the base model included."""
        return [self.before, *(run for chain in self.chains for run in chain)]

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
        own, _fold = model_section(self.project, self.trial.model)
        if own.lora_rank is not None:
            raise NoAdapterError(self.trial.model)
        identity = json.dumps([data.zero_shot_key, self.command_identity], sort_keys=True)
        self.begin(before=canonical_digest(identity))
        for run in self.waiting[: room(self.project)]:
            run.start(self._training(run, data))

    def _training(self, run: Run, data: TrialData) -> Training:
        settings = self.project.settings.fine_tuning
        own, _fold = model_section(self.project, self.trial.model)
        model, train = data.base, data.stages[run.stage].examples if run.stage is not None else ()
        tokens, steps = _length(settings, data.base, train)
        if run.stage:
            former = self.chains[run.seed - self.project.seed][run.stage - 1]
            checkpoint = former.result(data.held_out).checkpoint
            if checkpoint is None:
                raise NoCheckpointError(former.shown(RESULT))
            model = former.folder / checkpoint
        return Training(
            model=model,
            learning_rate=own.learning_rate or settings.learning_rate,
            held_out=data.held_out,
            train=train,
            tokens=tokens,
            steps=steps,
        )

    def results(self, data: TrialData) -> list[list[Result]]:
        """Return the results of a trial that has ended, of each seed and stage.

        Raises `TrainerFailedError`, `TrainerTimeLimitError`, `ErasedRunError` and `RefusedResultError`.
        """
        return [[run.result(data.held_out) for run in chain] for chain in self.chains]

    def finish(self, data: TrialData, results: Sequence[Sequence[Result]], checkpoint: Path) -> Finished:
        """Return a trial with these results, its checkpoint and record put into the folder `checkpoint`."""
        zero_shot = self._zero_shot(data)
        parameters = None
        with suppress(UnknownModelError):
            parameters = count_parameters(data.base)
        ids = [row_of(example)["id"] for example in data.held_out]
        by_seed = [
            [
                training_result(run, result, ids, parameters, before)
                for run, result, before in zip(
                    chain, of_seed, (zero_shot, *(one.bits_per_byte for one in of_seed)), strict=False
                )
            ]
            for chain, of_seed in zip(self.chains, results, strict=True)
        ]
        self.keep(results, checkpoint)
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

    def _zero_shot(self, data: TrialData) -> float | None:
        """Return the loss of the base model, bits per byte; None where its run gave no result."""
        if not self._measured.exists():
            try:
                measured = self.before.result(data.held_out).bits_per_byte
            except TamisError:
                return None
            write_atomically(self._measured, json.dumps({"bits_per_byte": measured}).encode())
        return float(json.loads(self._measured.read_bytes())["bits_per_byte"])


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


def training_result(
    run: Run,
    result: Result,
    ids: Sequence[str],
    parameters: int | None,
    before: float | None = None,
) -> TrainingResult:
    """Return a run in the form of a training by Tamis, with outcomes in the order of `ids`.

    `before`: bits per byte of what it started from.
    FLOP that neither the result nor a number of parameters states are NaN.
    """
    ended, rows = run.ended, {row.id: row for row in result.evaluations}
    assert ended is not None, run.name
    ordered = [rows[example] for example in ids]
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
