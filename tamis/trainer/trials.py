"""Trials: trained by Tamis or by the command of [trainer], and the row that says what came of each.

A trial has a training for each seed, one in two stages two of them in a chain. One that Tamis trains goes on
from its last saved step after a kill; what is finished of it is remembered until it is recorded. Trials on
the command that start from the same model and are measured on the same examples share its measurement.
"""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically
from tamis.base.progress import Advance, ignore
from tamis.project import Project
from tamis.settings.tokenizer import BYTES_PER_TOKEN
from tamis.settings.training_sections import FineTuningSection
from tamis.store.schemas import schema_of
from tamis.trainer.exchange import Result, row_of
from tamis.trainer.runs import Content, Rows, Run, training_result
from tamis.training.adapters import Adapter, require_peft
from tamis.training.cost import tokens_per_epoch
from tamis.training.errors import UnknownModelError
from tamis.training.evaluation import evaluate, evaluate_pairs
from tamis.training.examples import Answered, Chat, Example, Labelled, Pair, text_of
from tamis.training.intervals import estimates
from tamis.training.loop import keep_newest
from tamis.training.models import count_parameters
from tamis.training.options import FineTuningOptions, Session
from tamis.training.planned import Trial, model_section
from tamis.training.results import TrainingResult
from tamis.training.stage import TRIALS_STAGE
from tamis.training.trainings import Schooling, TrainingStage, school

SUMMED = ("steps", "tokens", "flops", "seconds", "evaluation_flops", "evaluation_seconds")


class NoAdapterError(PermanentError):
    """A base model is to get an adapter, which the spec of a trainer has no place for."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"[[base_model]] {model} has lora_rank, but the command of [trainer] decides what is trained; "
            "remove the keys that begin with lora_, and make the adapter in the command"
        )


@dataclass(frozen=True, kw_only=True)
class TrialData:
    """Data that a trial is trained and evaluated on.

    `zero_shot_key`: names the base model, the held-out examples and the window, so that the base model is
    evaluated once and not by each trial.
    """

    base: str | Path
    stages: Sequence[TrainingStage]
    held_out: Sequence[Example]
    validation: Sequence[Example]
    zero_shot_key: str
    expected_tokens: int | None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A trial that was trained: the results of its last stage, its values, and what a tracker is given.

    `results`: one for each seed. `losses`: (step, nats a token) of the first. `datasets`: name, digest and
    rows of each stage.
    """

    trial: str
    input_key: str
    results: Sequence[TrainingResult]
    values: Mapping[str, Any]
    parameters: Mapping[str, object]
    losses: Sequence[tuple[int, float]]
    datasets: Sequence[tuple[str, str, int]]

    @property
    def metrics(self) -> dict[str, float]:
        """The figures among the values."""
        found = {name: value for name, value in self.values.items() if isinstance(value, float)}
        return found | {name: float(self.values[name]) for name in ("tokens", "steps", "peak_memory_bytes")}

    def row(self, run: str) -> pa.Table:
        """Return the row of the table of trials; `run`: its id in the tracker."""
        return pa.Table.from_pylist([{**self.values, "mlflow_run": run}], schema=schema_of("trials"))

    @property
    def improved(self) -> bool:
        """Return whether training improved the held-out figure, or beats the most frequent label."""
        values = self.values
        if values.get("accuracy") is not None:
            return values["accuracy"] > (values["majority_accuracy"] or 0.0)
        return (values["held_out_bits_per_byte"] or 0.0) < (values["zero_shot_bits_per_byte"] or 0.0)


def trial_run(project: Project, trial: Trial, input_key: str) -> Run:
    """Return the run of a trial, whether Tamis or the command of [trainer] trains it."""
    seeds = range(project.seed, project.seed + project.settings.fine_tuning.seeds)
    return Run(
        project=project,
        stage=TRIALS_STAGE.name,
        name=trial.name,
        input_key=input_key,
        seeds=seeds,
        stages=2 if trial.kind == "two_stage" else 1,
    )


def trial_content(project: Project, trial: Trial, data: TrialData) -> Content:
    """Return what the command of [trainer] gets of a trial; raises `NoAdapterError`."""
    settings, (own, _fold) = project.settings.fine_tuning, model_section(project, trial.model)
    if own.lora_rank is not None:
        raise NoAdapterError(trial.model)
    lengths = [_length(settings, data.base, stage.examples) for stage in data.stages]
    return Content(
        model=data.base,
        held_out=data.held_out,
        learning_rate=own.learning_rate or settings.learning_rate,
        stages=[
            Rows(examples=stage.examples, tokens=tokens, steps=steps)
            for stage, (tokens, steps) in zip(data.stages, lengths, strict=True)
        ],
        start_key=data.zero_shot_key,
    )


def read_trial(
    run: Run, trial: Trial, data: TrialData, results: Sequence[Sequence[Result]], checkpoint: Path
) -> Finished:
    """Return a trial that the command has trained; put its checkpoint and record into a folder."""
    before, parameters = run.start_loss(data.held_out), None
    with suppress(UnknownModelError):
        parameters = count_parameters(data.base)
    ids = [row_of(example)["id"] for example in data.held_out]
    by_seed = [
        [
            training_result(one, result, ids, parameters, start)
            for one, result, start in zip(
                chain, of_seed, (before, *(result.bits_per_byte for result in of_seed)), strict=False
            )
        ]
        for chain, of_seed in zip(run.chains, results, strict=True)
    ]
    run.keep(results, checkpoint)
    finished = _finished(run, trial, data, by_seed, checkpoint)
    unknown: dict[str, None] = {} if parameters is not None else {"parameters": None}
    if math.isnan(finished.values["flops"]):
        unknown |= {"flops": None}
    stated = {"trainer": shlex.join(run.section.command)}
    return replace(
        finished,
        values={**finished.values, **unknown},
        parameters={**finished.parameters, **unknown, **stated},
    )


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


def train_trial(
    run: Run, trial: Trial, data: TrialData, checkpoint: Path, advance: Advance = ignore
) -> Finished:
    """Train and measure every stage with every seed; put the checkpoint of the first seed into a folder."""
    project, state = run.project, run.state
    options = training_options(project, trial.model)
    if options.adapter is not None:
        require_peft()
    state.mkdir(parents=True, exist_ok=True)
    state.touch()  # the newest of all, however long it has waited
    keep_newest(state.parent, project.settings.fine_tuning.kept_states, run.stage)
    schooling = Schooling(
        base=data.base,
        stages=data.stages,
        held_out=data.held_out,
        validation=data.validation,
        zero_shot=_zero_shot(project, data, options),
    )
    session = Session(resume=state, advance=advance)
    by_seed = school(schooling, options, len(run.seeds), checkpoint, session)
    return _finished(run, trial, data, by_seed, checkpoint)


def _finished(
    run: Run,
    trial: Trial,
    data: TrialData,
    by_seed: Sequence[Sequence[TrainingResult]],
    checkpoint: Path,
) -> Finished:
    """Return a trial by its results of each seed and stage."""
    project, values = run.project, _values(run, trial, data, by_seed)
    own = model_section(project, trial.model)[0].recipe()
    counted = {name: values[name] for name in ("parameters", "trainable_parameters", "seed", "seeds")}
    return Finished(
        trial=trial.name,
        input_key=run.input_key,
        results=[results[-1] for results in by_seed],
        values=values | {"checkpoint": project.home.relative(checkpoint)},
        parameters=asdict(trial) | project.settings.fine_tuning.recipe() | own | counted,
        losses=by_seed[0][-1].losses,
        datasets=[(stage.data, stage.digest, len(stage.doc_ids)) for stage in data.stages],
    )


def training_options(project: Project, model: str) -> FineTuningOptions:
    """[fine_tuning], with what the [[base_model]] says of its own training."""
    section, (own, _fold) = project.settings.fine_tuning, model_section(project, model)
    adapter = None
    if own.lora_rank is not None:
        adapter = Adapter(
            rank=own.lora_rank, alpha=own.lora_alpha, dropout=own.lora_dropout, targets=own.lora_targets
        )
    return FineTuningOptions(
        seed=project.seed,
        **section.shared() | ({"learning_rate": own.learning_rate} if own.learning_rate else {}),
        accumulation=section.accumulation,
        precision=section.precision,
        pooling=section.pooling,
        patience=section.patience if section.validation else 0,
        evaluations=section.evaluations,
        adapter=adapter,
    )


def _zero_shot(project: Project, data: TrialData, options: FineTuningOptions) -> float | None:
    """Held-out loss of the base model, evaluated once for all trials that start from it; None with labels."""
    if isinstance(data.held_out[0], Labelled):
        return None
    path = project.home.cache / "zero_shot" / f"{data.zero_shot_key[:32]}.json"
    if not path.exists():
        if isinstance(data.held_out[0], Pair | Chat):
            found = evaluate_pairs(
                data.base, cast(Answered, data.held_out), sequence_length=options.sequence_length
            )
        else:
            found = evaluate(
                data.base, cast(Sequence[str], data.held_out), sequence_length=options.sequence_length
            )
        write_atomically(path, json.dumps({"bits_per_byte": found.bits_per_byte}).encode())
    return float(json.loads(path.read_text())["bits_per_byte"])


def _values(
    run: Run, trial: Trial, data: TrialData, by_seed: Sequence[Sequence[TrainingResult]]
) -> dict[str, Any]:
    """Numbers of a trial by the columns of its table: means over seeds with intervals, costs in all."""
    first, last = by_seed[0][0], [results[-1] for results in by_seed]
    every = [result for results in by_seed for result in results]
    found = estimates(last, run.project.seed)
    values: dict[str, Any] = {
        "trial": trial.name,
        "model": trial.model,
        "kind": trial.kind,
        "data": trial.data,
        "size": sum(len(stage.doc_ids) for stage in data.stages),
        "seed": run.project.seed,
        "seeds": len(by_seed),
        "zero_shot_bits_per_byte": first.zero_shot_bits_per_byte,
        "held_out_bits_per_byte": _mean([one.held_out_bits_per_byte for one in last]),
        "held_out_loss": _mean([one.held_out_loss for one in last]),
        "majority_accuracy": last[0].majority_accuracy,
        **{name: sum(getattr(result, name) for result in every) for name in SUMMED},
        "peak_memory_bytes": max(result.peak_memory_bytes for result in every),
        "parameters": last[0].parameters,
        "trainable_parameters": last[0].trainable_parameters,
    }
    if len(data.stages) > 1:
        values["warm_up_bits_per_byte"] = _mean([one[0].held_out_bits_per_byte for one in by_seed])
    if "bits_per_byte" in found:
        ends = found["bits_per_byte"]
        values |= {"held_out_low": ends.low, "held_out_high": ends.high}
    for name in ("accuracy", "macro_f1"):
        if name in found:
            ends = found[name]
            values |= {
                name: ends.mean,
                f"{name}_low": max(0.0, ends.low),
                f"{name}_high": min(1.0, ends.high),
            }
    return values | {"flops": float(values["flops"])}


def _mean(found: Sequence[float | None]) -> float | None:
    known = [one for one in found if one is not None]
    return sum(known) / len(known) if known else None


def training_metadata(result: TrainingResult) -> dict[str, Any]:
    """Numbers of a training for the event log."""
    names = ("steps", "tokens", "parameters", "peak_memory_bytes")
    values: dict[str, Any] = {name: int(getattr(result, name)) for name in names}
    values["training_seconds"] = float(result.seconds)
    for name in ("zero_shot_bits_per_byte", "held_out_bits_per_byte"):
        if getattr(result, name) is not None:
            values[name] = float(getattr(result, name))
    if result.losses:
        values["final_training_loss"] = float(result.losses[-1][1])
    return values


def trial_metadata(finished: Finished, run: str) -> dict[str, Any]:
    """Numbers of a trial for the event log: what its row holds, and the last training loss.

    `run`: its id in the tracker.
    """
    row = finished.row(run).to_pylist()[0]
    named = {name: value for name, value in row.items() if isinstance(value, int | float) and name != "size"}
    named["training_seconds"] = named.pop("seconds")
    losses = finished.results[0].losses
    return named | ({"final_training_loss": float(losses[-1][1])} if losses else {}) | {"mlflow_run": run}
