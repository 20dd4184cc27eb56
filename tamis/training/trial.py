"""One trial: train, evaluate, what a tracker is given of it, and the row that says what came of it.

A killed trial goes on from its last saved step; what is finished of it is remembered until it is recorded.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from tamis.base.files import write_atomically
from tamis.base.progress import Advance, ignore
from tamis.project import Project
from tamis.store.schemas import schema_of
from tamis.training.adapters import Adapter, require_peft
from tamis.training.evaluation import evaluate, evaluate_pairs
from tamis.training.examples import Answered, Chat, Example, Labelled, Pair
from tamis.training.intervals import estimates
from tamis.training.loop import keep_newest, resume_folder
from tamis.training.options import FineTuningOptions, Session
from tamis.training.planned import Trial, model_section
from tamis.training.results import TrainingResult
from tamis.training.trainings import Schooling, TrainingStage, school

KIND = "trials"  # of training: states of other kinds are not counted with these
SUMMED = ("steps", "tokens", "flops", "seconds", "evaluation_flops", "evaluation_seconds")


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


def run_trial(
    project: Project, trial: Trial, data: TrialData, folder: Path, input_key: str, advance: Advance = ignore
) -> Finished:
    """Train and evaluate every stage with every seed; the checkpoint of the first seed is `folder`."""
    options, state = training_options(project, trial.model), state_folder(project, input_key)
    if options.adapter is not None:
        require_peft()
    state.mkdir(parents=True, exist_ok=True)
    state.touch()  # the newest of all, however long it has waited
    keep_newest(state.parent, project.settings.fine_tuning.kept_states, KIND)
    schooling = Schooling(
        base=data.base,
        stages=data.stages,
        held_out=data.held_out,
        validation=data.validation,
        zero_shot=_zero_shot(project, data, options),
    )
    seeds = project.settings.fine_tuning.seeds
    by_seed = school(schooling, options, seeds, folder, Session(resume=state, advance=advance))
    return finished_trial(project, trial, data, by_seed, folder, input_key)


def finished_trial(
    project: Project,
    trial: Trial,
    data: TrialData,
    by_seed: Sequence[Sequence[TrainingResult]],
    folder: Path,
    input_key: str,
) -> Finished:
    """Return a trial by the results of its runs, of each seed by stage; `folder`: its checkpoint."""
    values = _values(project, trial, data, by_seed)
    own = model_section(project, trial.model)[0].recipe()
    counted = {name: values[name] for name in ("parameters", "trainable_parameters", "seed", "seeds")}
    return Finished(
        trial=trial.name,
        input_key=input_key,
        results=[results[-1] for results in by_seed],
        values=values | {"checkpoint": project.home.relative(folder)},
        parameters=asdict(trial) | project.settings.fine_tuning.recipe() | own | counted,
        losses=by_seed[0][-1].losses,
        datasets=[(stage.data, stage.digest, len(stage.doc_ids)) for stage in data.stages],
    )


def forget_state(project: Project, input_key: str) -> None:
    """Remove what was remembered of a trial, once it is recorded."""
    shutil.rmtree(state_folder(project, input_key), ignore_errors=True)


def state_folder(project: Project, input_key: str) -> Path:
    """Folder in which a trial under way keeps its resume state, and what is finished of it."""
    return resume_folder(project.home.cache, KIND, input_key[:16])


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
    project: Project, trial: Trial, data: TrialData, by_seed: Sequence[Sequence[TrainingResult]]
) -> dict[str, Any]:
    """Numbers of a trial by the columns of its table: means over seeds with intervals, costs in all."""
    first, last = by_seed[0][0], [results[-1] for results in by_seed]
    every = [result for results in by_seed for result in results]
    found = estimates(last, project.seed)
    values: dict[str, Any] = {
        "trial": trial.name,
        "model": trial.model,
        "kind": trial.kind,
        "data": trial.data,
        "size": sum(len(stage.doc_ids) for stage in data.stages),
        "seed": project.seed,
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
