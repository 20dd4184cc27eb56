"""Documents packed end to end into rows of one length, in an order that a seed and an epoch fix.

Every document becomes `<bos> tokens <eos>`; rows cut the stream every `sequence_length` tokens, so no
position is padding except at the end of an epoch. A row may attend across a document boundary, the usual
trade for a utilisation of 100 %: one document a row would leave 40 % padding at 300 tokens a document.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tamis.training.errors import EmptyTextError
from tamis.training.tokenizer import blocks, boundary_tokens, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -1  # a target that is scored nowhere, and what fills a row up
WIDTH_STEP = 16
"""Rows are as wide as the longest of a batch, rounded up: a CPU's matrix products are compiled for each
shape, and oneDNN keeps 1,024 of them. A step of a classifier of .8M parameters takes 65 ms so, 83 ms with
rows of any width (`python -m benchmarks.training --threads 1 --batch-size 16 --length 128`)."""
ENCODE_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of tokens, filled up on the right with `IGNORED`.

    rows: [b, l + 1], inputs `row[:-1]` and targets `row[1:]`; of labelled texts and where tokens are hidden
    [b, l], all of it input. hidden: [b, l], the tokens that were hidden, `IGNORED` where nothing is scored.
    first_scored: [b], which target of a row is the first to count; None: all do. scored: [b, l], which of
    them count, of rows with several answers. sources: [b, s], what an encoder reads. classes: [b].
    """

    rows: np.ndarray
    first_scored: np.ndarray | None = None
    scored: np.ndarray | None = None
    sources: np.ndarray | None = None
    classes: np.ndarray | None = None
    hidden: np.ndarray | None = None

    @cached_property
    def targets(self) -> np.ndarray:
        """Tokens to predict: [b, l], `IGNORED` where it does not count."""
        if self.hidden is not None:
            return self.hidden
        targets = self.rows[:, 1:]
        if self.scored is not None:
            return np.where(self.scored, targets, IGNORED)
        if self.first_scored is None:
            return targets
        return np.where(np.arange(targets.shape[1]) >= self.first_scored[:, None], targets, IGNORED)

    @property
    def count(self) -> int:
        """Predictions that count."""
        return len(self.rows) if self.classes is not None else int((self.targets != IGNORED).sum())


class TrainingSet(Protocol):
    """Examples in the form that training takes, in an order that a seed and an epoch fix."""

    @property
    def targets(self) -> int:
        """Tokens that an epoch reads."""

    def rows(self, sequence_length: int) -> int:
        """Rows an epoch."""

    def batch(self, sequence_length: int, seed: int, epoch: int, part: slice) -> Batch:
        """Some rows of an epoch."""

    def tokens_in(self, sequence_length: int, seed: int, epoch: int, rows: int) -> tuple[int, int]:
        """Tokens in the first rows of an epoch, and those that an encoder reads for them."""

    def content(self) -> bytes:
        """All that decides what is learnt, for a digest."""


def filled(parts: list[np.ndarray], longest: int, behind: int = 0) -> np.ndarray:
    """Lists of tokens as rows of one width, in steps of `WIDTH_STEP`: int64 [n, width].

    longest: of all lists that there are; no row gets wider. behind: tokens at the end that are no input.
    """
    lengths = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
    width = -(-(int(lengths.max(initial=0)) - behind) // WIDTH_STEP) * WIDTH_STEP + behind
    rows = np.full((len(parts), min(width, longest)), IGNORED, dtype=np.int64)
    rows[np.arange(rows.shape[1])[None] < lengths[:, None]] = np.concatenate(parts)
    return rows


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedDocuments:
    """Token stream of documents: `tokens` [T], document i at `offsets[i]:offsets[i + 1]`, offsets [n + 1]."""

    tokens: np.ndarray
    offsets: np.ndarray

    @property
    def targets(self) -> int:
        """Predicted tokens an epoch: every token but the first of the stream."""
        return len(self.tokens) - 1

    def rows(self, sequence_length: int) -> int:
        """Rows an epoch."""
        return -(-self.targets // sequence_length)

    def batch(self, sequence_length: int, seed: int, epoch: int, part: slice) -> Batch:
        """Some rows of an epoch."""
        return Batch(rows=_epoch(self, sequence_length, seed, epoch)[part])

    def tokens_in(self, sequence_length: int, seed: int, epoch: int, rows: int) -> tuple[int, int]:
        """Predicted tokens in the first rows of an epoch; no encoder reads any."""
        return min(self.targets, rows * sequence_length), 0

    def content(self) -> bytes:
        """Tokens and borders."""
        return self.tokens.tobytes() + self.offsets.tobytes()

    def epoch(self, sequence_length: int, seed: int, epoch: int) -> np.ndarray:
        """Rows of one epoch, documents shuffled: int64 [rows, sequence_length + 1], the end `IGNORED`.

        Inputs are `row[:-1]`, targets `row[1:]`; neighbouring rows share one token.
        """
        order = np.random.default_rng((seed, epoch)).permutation(len(self.offsets) - 1)
        stream = self.tokens[_gather(self.offsets, order)]
        padded = np.full(self.rows(sequence_length) * sequence_length + 1, IGNORED, dtype=np.int64)
        padded[: len(stream)] = stream
        return np.lib.stride_tricks.sliding_window_view(padded, sequence_length + 1)[::sequence_length]


@lru_cache(maxsize=1)
def _epoch(documents: PackedDocuments, sequence_length: int, seed: int, epoch: int) -> np.ndarray:
    """The rows of the epoch that is under way, made once."""
    return documents.epoch(sequence_length, seed, epoch)


def _gather(offsets: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the positions of the documents' tokens [T] when the documents are in `order`."""
    lengths = np.diff(offsets)[order]
    starts = offsets[:-1][order] - np.concatenate(([0], np.cumsum(lengths)[:-1]))
    return np.repeat(starts, lengths) + np.arange(lengths.sum())


def pack(
    tokenizer: "PreTrainedTokenizerBase", texts: Iterable[str], maximum_tokens: int | None = None
) -> PackedDocuments:
    """Encode `texts`, reading no further than `maximum_tokens` needs.

    Raises `EmptyTextError` when no text holds a token.
    """
    begin, end = boundary_tokens(tokenizer)
    prefix = [begin] if begin != end else []
    kind = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    documents = []
    total = 0
    for ids in _encoded(tokenizer, texts):
        documents.append(np.asarray([*prefix, *ids, end], dtype=kind))
        total += len(documents[-1])
        if maximum_tokens is not None and total > maximum_tokens:
            break
    if not documents:
        raise EmptyTextError("training")
    return PackedDocuments(
        tokens=np.concatenate(documents),
        offsets=np.concatenate(([0], np.cumsum([*map(len, documents)], dtype=np.int64))),
    )


def _encoded(tokenizer: "PreTrainedTokenizerBase", texts: Iterable[str]) -> Iterator[list[int]]:
    for block in blocks(texts, ENCODE_BLOCK):
        yield from filter(None, encode(tokenizer, block))
