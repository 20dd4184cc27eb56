"""The end of every run: evaluate, write the checkpoint, drop the resume state, account for the cost."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from tamis.training.evaluation import Evaluation, evaluate_loaded
from tamis.training.files import replace_folder
from tamis.training.loop import Outcome
from tamis.training.models import LoadedModel, without_bars
from tamis.training.options import StepOptions
from tamis.training.results import TrainingResult, evaluation_flops, history, training_flops

CHECKPOINTS = "checkpoints"


def finish(
    loaded: LoadedModel,
    outcome: Outcome,
    options: StepOptions,
    output: Path,
    resume: Path,
    *,
    held_out: Sequence[str],
    zero_shot: Evaluation | float | None,
) -> TrainingResult:
    """Evaluate on `held_out` (if any), write `output`, remove `resume`; the run's result.

    Evaluations made for this run count towards its operations; a zero-shot figure that was given does not.
    """
    started = time.monotonic()
    after = None
    if held_out:
        after = evaluate_loaded(loaded, held_out, options.sequence_length)
    evaluated = sum(done.n_tokens for done in (zero_shot, after) if isinstance(done, Evaluation))
    save_checkpoint(loaded, output, kept=resume / CHECKPOINTS)
    shutil.rmtree(resume, ignore_errors=True)
    return TrainingResult(
        steps=len(outcome.losses),
        tokens=outcome.tokens,
        flops=training_flops(loaded.parameters, outcome.tokens)
        + evaluation_flops(loaded.parameters, evaluated),
        seconds=outcome.seconds + time.monotonic() - started,
        peak_memory_bytes=outcome.peak_memory_bytes,
        parameters=loaded.parameters,
        losses=history(outcome.losses),
        zero_shot_bits_per_byte=zero_shot.bits_per_byte if isinstance(zero_shot, Evaluation) else zero_shot,
        held_out_bits_per_byte=after.bits_per_byte if after else None,
    )


def checkpoint_folder(model: Path, share: float) -> Path:
    """Where the folder of a model keeps it as it was after a share of its training."""
    return model / CHECKPOINTS / f"{share:g}"


def save_checkpoint(loaded: LoadedModel, output: Path, kept: Path | None = None) -> None:
    """Write config.json, model.safetensors, the tokenizer and what was `kept` to `output`, all or nothing."""
    with replace_folder(output) as draft, without_bars():
        loaded.model.save_pretrained(draft)
        loaded.tokenizer.save_pretrained(draft)
        if kept is not None and kept.is_dir():
            shutil.copytree(kept, draft / CHECKPOINTS)
