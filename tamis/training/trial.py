"""One trial: fine-tune, evaluate, log to MLflow, and the row that says what came of it.

A killed trial goes on from its last saved step; a finished one is found by its input key, never repeated.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tamis.lineage.manifest import write_atomically
from tamis.lineage.world import Trial
from tamis.progress import Advance, ignore
from tamis.project import Project
from tamis.store.schemas import schema_of
from tamis.training.evaluation import evaluate
from tamis.training.fine_tuning import fine_tune
from tamis.training.options import FineTuningOptions
from tamis.training.results import TrainingResult
from tamis.training.tracking import log_trial, require_tracker


@dataclass(frozen=True, kw_only=True)
class TrialData:
    """What a trial is trained and evaluated on.

    `digest`: data version of the training set. `zero_shot_key`: names the base model, the held-out examples
    and the window, so that the base model is evaluated once and not by each trial.
    """

    base: str | Path
    doc_ids: Sequence[str]
    texts: Sequence[str]
    held_out: Sequence[str]
    digest: str
    zero_shot_key: str
    expected_tokens: int | None


def run_trial(
    project: Project, trial: Trial, data: TrialData, folder: Path, input_key: str, advance: Advance = ignore
) -> tuple[TrainingResult, pa.Table]:
    """Train and evaluate; returns the result and its row of the table `trials`."""
    require_tracker(project.tracking_uri)
    options = FineTuningOptions(seed=project.seed, **project.settings.fine_tuning.model_dump())
    result = fine_tune(
        data.base,
        data.texts,
        options,
        held_out=data.held_out,
        output=folder,
        resume=project.home.cache / "training" / input_key[:16],
        zero_shot=_zero_shot(project, data, options),
        advance=advance,
    )
    run = log_trial(
        project.tracking_uri,
        project.settings.tracking.experiment,
        trial.name,
        input_key=input_key,
        parameters=trial.__dict__
        | project.settings.fine_tuning.model_dump()
        | {"parameters": result.parameters},
        metrics=_metrics(result),
        loss_history=result.losses,
        dataset=(trial.data, data.digest, len(data.doc_ids)),
        checkpoint=project.home.relative(folder),
    )
    return result, _row(project, trial, data, result, project.home.relative(folder), run)


def _zero_shot(project: Project, data: TrialData, options: FineTuningOptions) -> float:
    """Held-out loss of the base model, evaluated once for all trials that start from it."""
    path = project.home.cache / "zero_shot" / f"{data.zero_shot_key[:32]}.json"
    if not path.exists():
        found = evaluate(
            data.base,
            data.held_out,
            sequence_length=options.sequence_length,
        )
        write_atomically(path, json.dumps({"bits_per_byte": found.bits_per_byte}).encode())
    return float(json.loads(path.read_text())["bits_per_byte"])


def _metrics(result: TrainingResult) -> dict[str, float]:
    values = {
        "zero_shot_bits_per_byte": result.zero_shot_bits_per_byte,
        "held_out_bits_per_byte": result.held_out_bits_per_byte,
        "seconds": result.seconds,
        "flops": result.flops,
        "tokens": float(result.tokens),
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def _row(
    project: Project, trial: Trial, data: TrialData, result: TrainingResult, checkpoint: str, run: str
) -> pa.Table:
    values: dict[str, Any] = {
        "trial": trial.name,
        "model": trial.model,
        "kind": trial.kind,
        "data": trial.data,
        "size": len(data.doc_ids),
        "seed": project.seed,
        "zero_shot_bits_per_byte": result.zero_shot_bits_per_byte,
        "held_out_bits_per_byte": result.held_out_bits_per_byte,
        "steps": result.steps,
        "tokens": result.tokens,
        "flops": float(result.flops),
        "seconds": result.seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "parameters": result.parameters,
        "checkpoint": checkpoint,
        "mlflow_run": run,
    }
    return pa.Table.from_pylist([values], schema=schema_of("trials"))


def trial_metadata(result: TrainingResult) -> dict[str, Any]:
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
