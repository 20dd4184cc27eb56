"""Pre-training of a small base model from nothing, on a stream of texts, for a number of tokens.

700,000 tokens cost 25, 50 and 100 s on two cores for 0.8M, 2.5M and 6M parameters. The data are read once
and packed; when they end before the tokens do, they are shown again in another order.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tamis.base.errors import BadArgumentError
from tamis.base.progress import Advance, ignore
from tamis.training.device import choose_device
from tamis.training.loop import checkpoint_folder, finish, save_checkpoint, train
from tamis.training.models import LoadedModel, model_identity, prepared
from tamis.training.options import PretrainingOptions, Runtime, Session
from tamis.training.packing import pack
from tamis.training.plan import Plan, run_key, steps_for
from tamis.training.results import TrainingResult
from tamis.training.shapes import ModelShape, new_model
from tamis.training.tokenizer import load_tokenizer


def pretrain(
    shape: ModelShape,
    texts: Iterable[str],
    tokenizer_folder: Path,
    options: PretrainingOptions,
    output: Path,
    resume: Path,
    *,
    held_out: Sequence[str] = (),
    checkpoints: Sequence[float] = (),
    runtime: Runtime = Runtime(),  # noqa: B008 (frozen)
    advance: Advance = ignore,
) -> TrainingResult:
    """Train a new model on `texts` and write it to `output` (config, safetensors, tokenizer), all or nothing.

    `checkpoints`: shares of the training after which the model is kept too (`checkpoint_folder`). `resume` is
    a folder for the state of an interrupted run, removed at the end; calling again with the same arguments
    continues it. `advance` counts tokens. Raises `EmptyTextError`, `DivergedError`, and `BadArgumentError`
    when the tokenizer is too large for the shape.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    if len(tokenizer) > shape.vocabulary:
        raise BadArgumentError(
            "tokenizer_folder",
            f"{len(tokenizer)} tokens",
            f"{shape.vocabulary} at most, as the shape of the model allows",
        )
    documents = pack(tokenizer, texts, options.tokens)
    device = choose_device(runtime.device)
    loaded = prepared(new_model(shape, options.seed, tokenizer), tokenizer, device, options.sequence_length)
    origin = json.dumps([asdict(shape), model_identity(tokenizer_folder)])
    plan = Plan(
        documents=documents,
        steps=steps_for(documents, options, options.tokens),
        options=options,
        key=run_key(origin, options, documents, device.type),
    )
    keep = partial(_keep, loaded, {round(share * plan.steps): share for share in checkpoints}, resume)
    outcome = train(loaded, plan, Session(resume=resume, runtime=runtime, advance=advance), observe=keep)
    return finish(loaded, outcome, options, output, resume, held_out=held_out, zero_shot=None)


def _keep(loaded: LoadedModel, shares: Mapping[int, float], resume: Path, done: int) -> None:
    """Save the model next to the resume state when this step is one of those to keep."""
    if done in shares:
        save_checkpoint(loaded, checkpoint_folder(resume, shares[done]))
