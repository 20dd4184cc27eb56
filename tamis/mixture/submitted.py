"""Runs of a mixture on the command of [trainer]: from fresh weights, measured on all targets at their end.

A target that came later is measured by a further run of no steps, on the checkpoint that the first one left.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from tamis.base.errors import PermanentError
from tamis.mixture.runs import held_out_texts, run_documents, texts_in_order
from tamis.mixture.swarm import PlannedRun
from tamis.project import Project
from tamis.readers.text import normalised_id
from tamis.store.tables import Store
from tamis.trainer.exchange import EvaluationRow
from tamis.trainer.runs import RECORD, RunSubmission, Training
from tamis.trainer.trials import training_result
from tamis.training import preset_shape
from tamis.training.results import TrainingResult


class NoModelError(PermanentError):
    """A run of a mixture left no checkpoint, and is to be measured on further examples."""

    def __init__(self, run: str, missing: int) -> None:
        super().__init__(
            f"run {run} of the mixture is not measured on {missing} held-out examples, which came after it, "
            "and its trainer left no checkpoint to measure; let the command of [trainer] name one in its "
            "result, which trains the runs of the mixture again"
        )


def run_training(project: Project, run: PlannedRun, tokenizer: Path, targets: Sequence[str]) -> Training:
    """Return what a run is trained and measured on; `tokenizer`: its folder."""
    store, settings = project.home.store, project.settings.pretraining
    texts = held_out_texts(store, targets)
    return Training(
        model=tokenizer,
        shape=preset_shape(run.preset, settings.vocabulary),
        learning_rate=settings.learning_rate,
        held_out=list(dict.fromkeys(text for own in texts.values() for text in own)),
        train=texts_in_order(store, run_documents(store, run), project.seed),
        tokens=run.tokens,
        steps=-(-run.tokens // (settings.batch_size * settings.sequence_length)),
    )


def finish_run(submission: RunSubmission, folder: Path) -> TrainingResult:
    """Put the checkpoint and the record of a run that has ended into a folder; return its figures.

    Raises what `Run.result` raises.
    """
    run = submission.run
    result = run.result()
    submission.keep([[result]], folder)
    return training_result(run, result, [*run.measured], run.parameters)


def unmeasured(store: Store, checkpoint: Path, targets: Sequence[str]) -> list[str]:
    """Return the held-out texts of the targets that the run of a checkpoint was not measured on."""
    known = _measured(checkpoint)
    texts = held_out_texts(store, targets)
    return [
        text
        for text in dict.fromkeys(text for own in texts.values() for text in own)
        if normalised_id(text) not in known
    ]


def measuring(run: str, checkpoint: Path, missing: Sequence[str]) -> Training:
    """Return a run of no steps on the checkpoint of a run; raises `NoModelError` where there is none."""
    if not any(path.name != RECORD for path in checkpoint.iterdir()):
        raise NoModelError(run, len(missing))
    return Training(model=checkpoint, learning_rate=0.0, held_out=missing)


def measured_losses(
    store: Store, checkpoint: Path, targets: Sequence[str], later: RunSubmission | None
) -> list[tuple[str, float | None, int]]:
    """Return target, bits per byte and number of examples for each target, as the trainer measured them.

    `later`: the run of no steps, where one was needed. Raises what `Run.result` raises.
    """
    known = _measured(checkpoint)
    if later is not None:
        result = later.run.result()
        known |= {row.id: row for row in result.evaluations}
    found: list[tuple[str, float | None, int]] = []
    for target, texts in held_out_texts(store, targets).items():
        rows = [known[normalised_id(text)] for text in texts]
        n_bytes = sum(row.bytes for row in rows)
        bits = math.fsum(row.nats for row in rows) / math.log(2) / n_bytes if n_bytes else None
        found.append((target, bits, len(texts)))
    return found


def _measured(checkpoint: Path) -> dict[str, EvaluationRow]:
    """Return the losses in the record of a run, by id of the example; none of a run that Tamis trained."""
    if not (checkpoint / RECORD).exists():
        return {}
    (run,) = json.loads((checkpoint / RECORD).read_bytes())["runs"]
    return {row["id"]: EvaluationRow(**row) for row in run["result"]["evaluations"]}
