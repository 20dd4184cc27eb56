"""A run whose held-out losses are followed while it trains: what a comparison of training sets is made of.

Every run of a comparison predicts the same number of tokens, over as many epochs as its set needs, so sets
of all sizes cost the same. A checkpoint is kept only where one is asked for. 200,000 tokens and nine
evaluations on 100 documents take 0.8M parameters 15 s on two cores.
"""

import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from tamis.training.device import choose_device
from tamis.training.evaluation import Evaluation, loss_of, measure
from tamis.training.examples import Example
from tamis.training.loop import Outcome, save_checkpoint, train
from tamis.training.models import LoadedModel, load_model, model_identity, prepared
from tamis.training.options import Session, StepOptions
from tamis.training.packing import pack
from tamis.training.plan import Plan, run_key, steps_for
from tamis.training.results import read_losses, write_losses
from tamis.training.shapes import ModelShape, new_model
from tamis.training.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch

CURVE_FILE = "curve.json"


@dataclass(frozen=True, kw_only=True)
class MeasuredOptions(StepOptions):
    """Training for a number of tokens; the loss is measured at `evaluations` equal steps of it."""

    tokens: int = 200_000
    evaluations: int = 8


@dataclass(frozen=True, kw_only=True)
class Start:
    """Start of a run: a shape with fresh weights (and the folder of a tokenizer), or a model."""

    shape: ModelShape | None = None
    model: str | Path


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """Cost, the losses on each held-out set at the end, and those on the first of them on the way.

    seconds: without those that loading libraries and the model took. curve: [(tokens predicted, bits per
    byte)], the last entry that of the end.
    """

    tokens: int
    epochs: float
    steps: int
    seconds: float
    curve: list[tuple[int, float]]
    evaluations: Mapping[str, Evaluation]


def train_measured(
    start: Start,
    texts: Iterable[str],
    options: MeasuredOptions,
    held_out: Mapping[str, Sequence[Example]],
    session: Session,
    checkpoint: Path | None = None,
) -> MeasuredRun:
    """Train on `texts` and measure bits per byte on each set of `held_out`, whose first is followed.

    Sets are of texts, pairs or conversations; of these the answers are measured.

    The seed of the options draws fresh weights and the order of documents. `checkpoint`: folder to write the
    model to, where it is wanted. The resume state is removed at the end. Raises `EmptyTextError`,
    `DivergedError`, `UnknownModelError`.
    """
    device = choose_device(session.runtime.device)
    loaded, origin = _loaded(start, options, device)
    began = time.monotonic()
    documents = pack(loaded.tokenizer, texts)
    plan = Plan(
        documents=documents,
        steps=steps_for(documents, options, options.tokens),
        options=options,
        key=run_key(origin, options, documents, device.type),
    )
    followed = next(iter(held_out))
    curve = _Curve(loaded, plan, held_out[followed], session.resume, options)
    outcome: Outcome = train(loaded, plan, session, observe=curve.observe)
    found = {
        name: cast(Evaluation, measure(loaded, examples, options.sequence_length))
        for name, examples in held_out.items()
    }
    if checkpoint is not None:
        save_checkpoint(loaded, checkpoint)
    shutil.rmtree(session.resume, ignore_errors=True)
    return MeasuredRun(
        tokens=outcome.tokens,
        epochs=outcome.tokens / documents.targets,
        steps=plan.steps,
        seconds=time.monotonic() - began,
        curve=[*curve.points(), (outcome.tokens, found[followed].bits_per_byte)],
        evaluations=found,
    )


def _loaded(start: Start, options: MeasuredOptions, device: "torch.device") -> tuple[LoadedModel, str]:
    """The model that a run begins with, and what identifies it."""
    if start.shape is None:
        return load_model(start.model, device, options.sequence_length), model_identity(start.model)
    tokenizer = load_tokenizer(Path(start.model))
    model = new_model(start.shape, options.seed, tokenizer)
    loaded = prepared(model, tokenizer, device, options.sequence_length)
    return loaded, json.dumps([asdict(start.shape), model_identity(start.model)])


class _Curve:
    """Losses measured on the way; they are kept next to the resume state and outlive a kill."""

    def __init__(
        self,
        loaded: LoadedModel,
        plan: Plan,
        texts: Sequence[Example],
        resume: Path,
        options: MeasuredOptions,
    ) -> None:
        self._loaded, self._plan, self._texts = loaded, plan, texts
        self._path, self._length = resume / CURVE_FILE, options.sequence_length
        places = np.linspace(0, plan.steps, options.evaluations + 1)[1:-1]
        self._steps = {int(step) for step in np.round(places) if 0 < step < plan.steps}
        self._found = read_losses(self._path, plan.key)

    def observe(self, done: int) -> None:
        """Called when `done` steps are finished."""
        if done not in self._steps:
            return
        self._loaded.model.eval()
        self._found[done] = loss_of(measure(self._loaded, self._texts, self._length))
        self._loaded.model.train()
        write_losses(self._path, self._plan.key, self._found)

    def points(self) -> list[tuple[int, float]]:
        """(tokens, bits per byte) in order."""
        return [(self._plan.tokens(step), loss) for step, loss in sorted(self._found.items())]
