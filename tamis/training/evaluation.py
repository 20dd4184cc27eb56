"""Bits per byte: total code length of texts over their UTF-8 bytes, comparable between tokenizers.

Every token is scored exactly once: a document is `<bos>` and its tokens, cut into windows that share one
token, the last of a window being the first input of the next. Documents are scored in float32, where a
figure moves by less than 1e-5 with what it is batched with; a whole set is evaluated in the precision of
training, twice as fast in bfloat16: its total moves by 1e-4 bits per byte, a single document's by 1e-3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from tamis.base.progress import Advance, ignore
from tamis.training.device import choose_device, named_precision, retained_heap, weights_in
from tamis.training.errors import EmptyTextError, NeedsPairsError, UnknownModelError
from tamis.training.examples import (
    Answered,
    Chat,
    Example,
    ExampleRows,
    Labelled,
    Pair,
    answer_rows,
    labelled_rows,
)
from tamis.training.models import Kind, LoadedModel, load_model
from tamis.training.objective import row_logits, target_nats
from tamis.training.packing import IGNORED, Batch
from tamis.training.results import Outcomes
from tamis.training.tokenizer import boundary_tokens, encode

SLICE_DOCUMENTS = 4_096  # tokenized at once
WINDOWS_AT_ONCE = 16
LONGEST_TOKEN = 16  # characters a token that a text is assumed to need at most


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Code length of texts or responses; `document_bits` and `document_bytes` [n] in their order.

    n_tokens: all that were read for it, prompts included; source_tokens: those of them that an encoder read.
    """

    bits_per_byte: float
    nats: float
    n_bytes: int
    n_tokens: int
    document_bits: np.ndarray
    document_bytes: np.ndarray
    source_tokens: int = 0

    def figures(self) -> dict[str, Any]:
        """Return the fields of a training result."""
        return {
            "held_out_bits_per_byte": self.bits_per_byte,
            "outcomes": Outcomes(bits=self.document_bits.tolist(), n_bytes=self.document_bytes.tolist()),
        }


def evaluate(
    model: Path | str,
    texts: Sequence[str],
    *,
    sequence_length: int = 256,
    batch_size: int = WINDOWS_AT_ONCE,
    device: str = "auto",
    dtype: str = "auto",
    advance: Advance = ignore,
) -> Evaluation:
    """Bits per byte of whole documents under a model (folder, hub id or embedded name).

    `dtype`: "float32", "bfloat16" or "auto", the precision of training. Raises `EmptyTextError` when no text
    holds a byte.
    """
    loaded = load_model(model, choose_device(device), sequence_length)
    return evaluate_loaded(loaded, texts, sequence_length, batch_size, dtype, advance)


def evaluate_loaded(
    loaded: LoadedModel,
    texts: Sequence[str],
    sequence_length: int,
    batch_size: int = WINDOWS_AT_ONCE,
    dtype: str = "auto",
    advance: Advance = ignore,
) -> Evaluation:
    """The same for a model in memory; `sequence_length` tokens a window, `batch_size` windows at once."""
    sizes = np.fromiter((len(text.encode()) for text in texts), dtype=np.int64, count=len(texts))
    if not sizes.any():
        raise EmptyTextError("evaluation")
    documents = encode(loaded.tokenizer, texts)
    with weights_in(loaded.model, named_precision(dtype, loaded.device)):
        nats = document_nats(loaded, documents, sequence_length, batch_size, advance)
    return code_length(nats, sizes, sum(map(len, documents)))


def code_length(nats: np.ndarray, sizes: np.ndarray, n_tokens: int, source_tokens: int = 0) -> Evaluation:
    """The evaluation of documents [n] that cost so many nats and have so many bytes."""
    total, n_bytes = math.fsum(nats), int(sizes.sum())
    return Evaluation(
        bits_per_byte=total / math.log(2) / n_bytes,
        nats=total,
        n_bytes=n_bytes,
        n_tokens=n_tokens,
        document_bits=nats / math.log(2),
        document_bytes=sizes,
        source_tokens=source_tokens,
    )


def document_bits_per_byte(
    model: Path | str | LoadedModel,
    texts: Sequence[str],
    *,
    max_tokens: int = 128,
    batch_size: int = 32,
    device: str = "auto",
    advance: Advance = ignore,
) -> np.ndarray:
    """Bits per byte of the first `max_tokens` tokens of each document: float32 [n], NaN for an empty text.

    A perplexity feature: 2 to the power of (bits per byte times bytes per token) is the perplexity.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model, choose_device(device), max_tokens)
    scores = np.full(len(texts), np.nan, dtype=np.float32)
    for start in range(0, len(texts), SLICE_DOCUMENTS):
        part = slice(start, start + SLICE_DOCUMENTS)
        documents, sizes = _heads(loaded, texts[part], max_tokens)
        nats = document_nats(loaded, documents, max_tokens, batch_size, advance)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores[part] = np.where(sizes > 0, nats / math.log(2) / sizes, np.nan)
    return scores


def document_losses(
    loaded: LoadedModel, texts: Sequence[str], *, max_tokens: int = 128, batch_size: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean loss over the first `max_tokens` tokens of each text, in nats, and their number.

    Two arrays [n]; the loss of an empty text is NaN.
    """
    documents, _sizes = _heads(loaded, texts, max_tokens)
    tokens_n = np.fromiter(map(len, documents), dtype=np.int64, count=len(documents))
    nats_n = document_nats(loaded, documents, max_tokens, batch_size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(tokens_n > 0, nats_n / tokens_n, np.nan), tokens_n


def _heads(loaded: LoadedModel, texts: Sequence[str], max_tokens: int) -> tuple[list[list[int]], np.ndarray]:
    """First tokens of each text, and the UTF-8 bytes that they cover [n]."""
    # A giant text is not tokenized to its end: what is cut away is counted nowhere.
    starts = [text[: LONGEST_TOKEN * max_tokens] for text in texts]
    tokens = encode(loaded.tokenizer, starts)
    for index, ids in enumerate(tokens):
        if len(ids) > max_tokens:
            tokens[index] = ids[:max_tokens]
            starts[index] = str(loaded.tokenizer.decode(tokens[index], clean_up_tokenization_spaces=False))
    return tokens, np.fromiter((len(text.encode()) for text in starts), dtype=np.int64, count=len(starts))


def document_nats(
    loaded: LoadedModel,
    documents: Sequence[Sequence[int]],
    sequence_length: int,
    batch_size: int,
    advance: Advance = ignore,
) -> np.ndarray:
    """Code length of each token list given `<bos>`: float64 [n], in nats. `advance` counts documents.

    Raises `NeedsPairsError` for an encoder-decoder.
    """
    import torch

    if loaded.kind == Kind.ENCODER_DECODER:
        raise NeedsPairsError(loaded.name)
    windows = _Windows.cut(documents, boundary_tokens(loaded.tokenizer)[0], sequence_length)
    nats = np.zeros(len(documents))
    advance(len(documents) - int(windows.closing.sum()))  # documents without a token
    with torch.inference_mode(), retained_heap():
        for start in range(0, len(windows.owner), batch_size):
            part = slice(start, start + batch_size)
            scored = target_nats(loaded, Batch(rows=windows.rows(part)))
            np.add.at(nats, windows.owner[part], scored.cpu().numpy())
            advance(int(windows.closing[part].sum()))
    return nats


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """Windows over `stream`, shortest first: row i is `stream[start[i] : start[i] + length[i] + 1]`."""

    stream: np.ndarray  # [T], every document behind a <bos>
    owner: np.ndarray  # [w] document
    start: np.ndarray  # [w]
    length: np.ndarray  # [w] scored tokens
    closing: np.ndarray  # [w] whether the document ends here

    @staticmethod
    def cut(documents: Sequence[Sequence[int]], begin: int, sequence_length: int) -> "_Windows":
        sizes = np.fromiter(map(len, documents), dtype=np.int64, count=len(documents))
        stream = np.fromiter(
            (token for ids in documents for token in (begin, *ids)),
            dtype=np.int64,
            count=int((sizes + 1).sum()),
        )
        counts = -(-sizes // sequence_length)
        owner = np.repeat(np.arange(len(sizes)), counts)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        offset = place * sequence_length
        length = np.minimum(sizes[owner] - offset, sequence_length)
        order = np.argsort(length, kind="stable")
        return _Windows(
            stream=stream,
            owner=owner[order],
            start=((np.cumsum(sizes + 1) - sizes - 1)[owner] + offset)[order],
            length=length[order],
            closing=(place == counts[owner] - 1)[order],
        )

    def rows(self, part: slice) -> np.ndarray:
        """Rows [b, longest + 1] of some windows, filled up with `IGNORED`."""
        start, length = self.start[part, None], self.length[part, None]
        column = np.arange(length.max() + 1)[None]
        inside = column <= length
        return np.where(inside, self.stream[np.where(inside, start + column, 0)], IGNORED)


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
        """Return the fields of a training result."""
        return {
            "held_out_loss": self.nats,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "outcomes": Outcomes(
                expected=self.expected.tolist(),
                predicted=self.predicted.tolist(),
                nats=self.document_nats.tolist(),
            ),
        }


def measure(
    loaded: LoadedModel, examples: Sequence[Example], sequence_length: int, dtype: str = "auto"
) -> Evaluation | Classification:
    """Measure a model in memory on examples of one kind; raises `EmptyTextError`, `NeedsPairsError`."""
    first = examples[0]
    if isinstance(first, Labelled):
        return _classified(loaded, cast(Sequence[Labelled], examples), sequence_length, dtype)
    if isinstance(first, Pair | Chat):
        return _responses(loaded, cast(Answered, examples), sequence_length, dtype)
    if loaded.kind != Kind.CAUSAL:
        raise NeedsPairsError(loaded.name)
    return evaluate_loaded(loaded, cast(Sequence[str], examples), sequence_length, dtype=dtype)


def loss_of(measured: Evaluation | Classification) -> float:
    """The one figure that training brings down."""
    return measured.bits_per_byte if isinstance(measured, Evaluation) else measured.nats


def evaluate_pairs(
    model: Path | str,
    pairs: Answered,
    *,
    sequence_length: int = 256,
    device: str = "auto",
    dtype: str = "auto",
) -> Evaluation:
    """Bits per byte of responses given what comes before, under a causal model or an encoder-decoder."""
    return _responses(
        load_model(model, choose_device(device), sequence_length), pairs, sequence_length, dtype
    )


def classify(
    model: Path | str,
    examples: Sequence[Labelled],
    *,
    sequence_length: int = 256,
    device: str = "auto",
    dtype: str = "auto",
) -> Classification:
    """Classify labelled texts by a fine-tuned model; its configuration knows labels and pooling."""
    from transformers import AutoConfig

    named = AutoConfig.from_pretrained(model, trust_remote_code=False).id2label
    classes = [named[number] for number in sorted(named)]
    if unknown := {one.label for one in examples} - set(classes):
        raise UnknownModelError(
            str(model),
            f"{len(unknown)} labels of the examples are not among the model's {len(classes)} labels",
        )
    loaded = load_model(model, choose_device(device), sequence_length, classes=classes)
    return _classified(loaded, examples, sequence_length, dtype)


def _scored_bytes(example: Pair | Chat, kind: Kind) -> int:
    """Bytes of what is scored: of a conversation all answers, for an encoder-decoder the last one."""
    if isinstance(example, Pair):
        return len(example.response.encode())
    answers = example.answers[-1:] if kind == Kind.ENCODER_DECODER else example.answers
    return sum(len(answer.encode()) for answer in answers)


def _responses(loaded: LoadedModel, pairs: Answered, sequence_length: int, dtype: str) -> Evaluation:
    import torch

    sizes = np.asarray([_scored_bytes(pair, loaded.kind) for pair in pairs], dtype=np.int64)
    if not sizes.sum():
        raise EmptyTextError("evaluation")
    rows = answer_rows(loaded, pairs, sequence_length, ending=False)
    nats = np.zeros(len(pairs))
    with (
        torch.inference_mode(),
        retained_heap(),
        weights_in(loaded.model, named_precision(dtype, loaded.device)),
    ):
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
    with (
        torch.inference_mode(),
        retained_heap(),
        weights_in(loaded.model, named_precision(dtype, loaded.device)),
    ):
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
    """Return the mean F1 over the classes that occur in `expected`."""
    from sklearn.metrics import f1_score

    return float(
        f1_score(expected, predicted, labels=np.unique(expected), average="macro", zero_division=0.0)
    )


def _by_length(rows: ExampleRows) -> list[np.ndarray]:
    """Rows in batches of like length."""
    order = np.argsort(rows.lengths + rows.source_lengths, kind="stable")
    return [order[start : start + WINDOWS_AT_ONCE] for start in range(0, len(order), WINDOWS_AT_ONCE)]
