"""The end of every run: evaluate, write the checkpoint, drop the resume state, account for the cost."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from tamis.base.files import replace_folder
from tamis.training.adapters import FOLDER as ADAPTER_FOLDER
from tamis.training.adapters import merged, save_adapter
from tamis.training.cost import sizes_of
from tamis.training.evaluation import Evaluation
from tamis.training.examples import Example
from tamis.training.loop import Outcome
from tamis.training.measuring import Classification, measure
from tamis.training.models import LoadedModel, without_bars
from tamis.training.options import StepOptions
from tamis.training.results import TrainingResult, history

CHECKPOINTS = "checkpoints"


def finish(
    loaded: LoadedModel,
    outcome: Outcome,
    options: StepOptions,
    output: Path,
    resume: Path,
    *,
    held_out: Sequence[Example],
    zero_shot: Evaluation | float | None,
) -> TrainingResult:
    """Evaluate on `held_out` (if any), write `output`, remove `resume`; the run's result.

    Evaluations made for this run count towards its operations; a zero-shot figure that was given does not,
    nor do those on validation examples, which are part of its seconds alone.
    """
    started = time.monotonic()
    sizes = sizes_of(loaded)
    save_adapter(loaded, resume)
    whole = merged(loaded)
    after = measure(whole, held_out, options.sequence_length) if held_out else None
    evaluated = [done for done in (zero_shot, after) if isinstance(done, Evaluation | Classification)]
    reading = sum(sizes.reading(one.n_tokens, one.source_tokens) for one in evaluated)
    save_checkpoint(whole, output, kept=resume)
    shutil.rmtree(resume, ignore_errors=True)
    ended = time.monotonic() - started
    return TrainingResult(
        steps=len(outcome.losses),
        tokens=outcome.tokens,
        flops=sizes.training(outcome.tokens, outcome.source_tokens) + reading,
        seconds=outcome.seconds + ended,
        evaluation_flops=float(reading),
        evaluation_seconds=ended,
        peak_memory_bytes=outcome.peak_memory_bytes,
        parameters=sizes.whole.parameters,
        trainable_parameters=sizes.whole.trained,
        losses=history(outcome.losses),
        zero_shot_bits_per_byte=zero_shot.bits_per_byte if isinstance(zero_shot, Evaluation) else zero_shot,
        best_step=outcome.best_step,
        **(after.figures() if after else {}),
    )


def checkpoint_folder(model: Path, share: float) -> Path:
    """Where the folder of a model keeps it as it was after a share of its training."""
    return model / CHECKPOINTS / f"{share:g}"


def save_checkpoint(loaded: LoadedModel, output: Path, kept: Path | None = None) -> None:
    """Write config.json, model.safetensors and the tokenizer to `output`, all or nothing.

    With them what training has `kept` beside its resume state: earlier checkpoints, and the adapter.
    """
    with replace_folder(output) as draft, without_bars():
        loaded.model.save_pretrained(draft)
        if loaded.tokenizer.is_fast:  # it keeps the length that it was last asked to cut labelled texts to
            loaded.tokenizer.backend_tokenizer.no_truncation()
        loaded.tokenizer.save_pretrained(draft)
        for name in (CHECKPOINTS, ADAPTER_FOLDER):
            if kept is not None and (kept / name).is_dir():
                shutil.copytree(kept / name, draft / name)
