"""What a model makes of held-out examples: bits per byte of texts and responses, classes of labelled texts.

Bits per byte of pairs are over the bytes of the responses alone; the prompt stands before them and costs
nothing. A macro F1 is the plain mean over the classes that stand in the examples, so a rare class counts as
much as a frequent one; a class that is never predicted has 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from tamis.training.device import choose_device, named_precision, retained_heap, weights_in
from tamis.training.errors import EmptyTextError, NeedsPairsError, UnknownModelError
from tamis.training.evaluation import WINDOWS_AT_ONCE, Evaluation, code_length, evaluate_loaded
from tamis.training.example_rows import ExampleRows, labelled_rows, pair_rows
from tamis.training.examples import Example, Labelled, Pair
from tamis.training.models import Kind, LoadedModel, load_model
from tamis.training.objective import row_logits, target_nats
from tamis.training.pooling import pooling_of
from tamis.training.results import Outcomes


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Classes of labelled texts by their numbers [n], expected and predicted; nats: mean an example."""

    accuracy: float
    macro_f1: float
    nats: float
    n_tokens: int
    expected: np.ndarray
    predicted: np.ndarray
    document_nats: np.ndarray
    source_tokens: int = 0

    def figures(self) -> dict[str, Any]:
        """What a result says of it."""
        outcomes = Outcomes(
            expected=self.expected.tolist(),
            predicted=self.predicted.tolist(),
            nats=self.document_nats.tolist(),
        )
        return {
            "held_out_loss": self.nats,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "outcomes": outcomes,
        }


def measure(
    loaded: LoadedModel, examples: Sequence[Example], sequence_length: int, dtype: str = "auto"
) -> Evaluation | Classification:
    """Measure a model in memory on examples of one kind; raises `EmptyTextError`, `NeedsPairsError`."""
    first = examples[0]
    if isinstance(first, Labelled):
        return _classified(loaded, cast(Sequence[Labelled], examples), sequence_length, dtype)
    if isinstance(first, Pair):
        return _responses(loaded, cast(Sequence[Pair], examples), sequence_length, dtype)
    if loaded.kind != Kind.CAUSAL:
        raise NeedsPairsError(loaded.name)
    return evaluate_loaded(loaded, cast(Sequence[str], examples), sequence_length, dtype=dtype)


def loss_of(measured: Evaluation | Classification) -> float:
    """The one figure that training brings down."""
    return measured.bits_per_byte if isinstance(measured, Evaluation) else measured.nats


def evaluate_pairs(
    model: Path | str,
    pairs: Sequence[Pair],
    *,
    sequence_length: int = 256,
    device: str = "auto",
    dtype: str = "auto",
) -> Evaluation:
    """Bits per byte of responses given their prompts, under a causal model or an encoder-decoder."""
    loaded = load_model(model, choose_device(device), sequence_length)
    return _responses(loaded, pairs, sequence_length, dtype)


def classify(
    model: Path | str,
    examples: Sequence[Labelled],
    *,
    sequence_length: int = 256,
    device: str = "auto",
    dtype: str = "auto",
) -> Classification:
    """What a fine-tuned classifier makes of labelled texts; its configuration knows labels and pooling."""
    from transformers import AutoConfig

    configuration = AutoConfig.from_pretrained(model, trust_remote_code=False)
    named = configuration.id2label
    classes = [named[number] for number in sorted(named)]
    if unknown := {one.label for one in examples} - set(classes):
        problem = f"it knows {len(classes)} labels, and the examples have {len(unknown)} others"
        raise UnknownModelError(str(model), problem)
    pooling = pooling_of(configuration)
    loaded = load_model(model, choose_device(device), sequence_length, classes=classes, pooling=pooling)
    return _classified(loaded, examples, sequence_length, dtype)


def _responses(loaded: LoadedModel, pairs: Sequence[Pair], sequence_length: int, dtype: str) -> Evaluation:
    import torch

    sizes = np.fromiter((len(pair.response.encode()) for pair in pairs), dtype=np.int64, count=len(pairs))
    if not sizes.sum():
        raise EmptyTextError("evaluation")
    rows = pair_rows(loaded, pairs, sequence_length, ending=False)
    nats = np.zeros(len(pairs))
    precision = named_precision(dtype, loaded.device)
    with torch.inference_mode(), retained_heap(), weights_in(loaded.model, precision):
        for some in _by_length(rows):
            np.add.at(nats, rows.owner[some], target_nats(loaded, rows.chosen(some)).cpu().numpy())
    sources = int(rows.source_lengths.sum())
    return code_length(nats, sizes, int(rows.lengths.sum()) + sources, sources)


def _classified(
    loaded: LoadedModel, examples: Sequence[Labelled], sequence_length: int, dtype: str
) -> Classification:
    import torch

    rows = labelled_rows(loaded, examples, sequence_length)
    assert rows.classes is not None
    logits_nc = np.zeros((len(examples), len(loaded.classes)))
    precision = named_precision(dtype, loaded.device)
    with torch.inference_mode(), retained_heap(), weights_in(loaded.model, precision):
        for some in _by_length(rows):
            logits_nc[some] = row_logits(loaded, rows.chosen(some)).double().cpu().numpy()
    predicted = logits_nc.argmax(1)
    peak_n1 = logits_nc.max(1, keepdims=True)
    cost_nc = peak_n1 + np.log(np.exp(logits_nc - peak_n1).sum(1, keepdims=True)) - logits_nc
    nats = cost_nc[np.arange(len(examples)), rows.classes]
    return Classification(
        accuracy=float((predicted == rows.classes).mean()),
        macro_f1=macro_f1(rows.classes, predicted),
        nats=math.fsum(nats) / len(nats),
        n_tokens=int(rows.lengths.sum()),
        expected=rows.classes,
        predicted=predicted,
        document_nats=nats,
    )


def macro_f1(expected: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes that stand in `expected`."""
    from sklearn.metrics import f1_score

    return float(
        f1_score(expected, predicted, labels=np.unique(expected), average="macro", zero_division=0.0)
    )


def _by_length(rows: ExampleRows) -> list[np.ndarray]:
    """Rows in batches of like length."""
    order = np.argsort(rows.lengths + rows.source_lengths, kind="stable")
    return [order[start : start + WINDOWS_AT_ONCE] for start in range(0, len(order), WINDOWS_AT_ONCE)]
