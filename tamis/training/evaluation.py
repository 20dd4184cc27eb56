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
from typing import Any

import numpy as np

from tamis.base.progress import Advance, ignore
from tamis.training.batch import IGNORED
from tamis.training.device import choose_device, named_precision, retained_heap, weights_in
from tamis.training.errors import EmptyTextError, NeedsPairsError
from tamis.training.loss import token_losses
from tamis.training.models import Kind, LoadedModel, load_model
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
        """What a result says of it."""
        outcomes = Outcomes(bits=self.document_bits.tolist(), n_bytes=self.document_bytes.tolist())
        return {"held_out_bits_per_byte": self.bits_per_byte, "outcomes": outcomes}


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
    documents = encode(loaded.tokenizer, texts)
    with weights_in(loaded.model, named_precision(dtype, loaded.device)):
        nats = document_nats(loaded, documents, sequence_length, batch_size, advance)
    sizes = np.fromiter((len(text.encode()) for text in texts), dtype=np.int64, count=len(texts))
    n_bytes = int(sizes.sum())
    if n_bytes == 0:
        raise EmptyTextError("evaluation")
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
            np.add.at(nats, windows.owner[part], _window_nats(loaded, windows.rows(part)))
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
        start = (np.cumsum(sizes + 1) - sizes - 1)[owner] + offset
        closing = place == counts[owner] - 1
        return _Windows(
            stream=stream,
            owner=owner[order],
            start=start[order],
            length=length[order],
            closing=closing[order],
        )

    def rows(self, part: slice) -> np.ndarray:
        """Rows [b, longest + 1] of some windows, filled up with `IGNORED`."""
        start, length = self.start[part, None], self.length[part, None]
        column = np.arange(length.max() + 1)[None]
        inside = column <= length
        return np.where(inside, self.stream[np.where(inside, start + column, 0)], IGNORED)


def _window_nats(loaded: LoadedModel, rows: np.ndarray) -> np.ndarray:
    """Code length of each row [b, l + 1] after its first token: float64 [b]."""
    import torch

    # Padding stands on the right, where causal attention never looks, so no mask is needed.
    batch = torch.from_numpy(rows).to(loaded.device)
    inputs, targets = batch[:, :-1].clamp(min=0), batch[:, 1:]
    scored = targets != IGNORED
    if loaded.plain_head:
        losses = token_losses(loaded.hidden(inputs)[scored], loaded.head, targets[scored])
    else:
        logits = loaded.model(input_ids=inputs, use_cache=False).logits[scored]
        losses = torch.nn.functional.cross_entropy(logits.float(), targets[scored], reduction="none")
    owner = torch.nonzero(scored)[:, 0]
    return torch.bincount(owner, losses.double(), minlength=len(rows)).cpu().numpy()
