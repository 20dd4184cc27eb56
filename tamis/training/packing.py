"""Documents packed end to end into rows of one length, in an order that a seed and an epoch fix.

Every document becomes `<bos> tokens <eos>`; rows cut the stream every `sequence_length` tokens, so no
position is padding except at the end of an epoch. A row may attend across a document boundary, the usual
trade for a utilisation of 100 %: one document a row would leave 40 % padding at 300 tokens a document.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tamis.training.batch import IGNORED, Batch
from tamis.training.errors import EmptyTextError
from tamis.training.tokenizer import blocks, boundary_tokens, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ENCODE_BLOCK = 512


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
        rows = self.rows(sequence_length)
        padded = np.full(rows * sequence_length + 1, IGNORED, dtype=np.int64)
        padded[: len(stream)] = stream
        return np.lib.stride_tricks.sliding_window_view(padded, sequence_length + 1)[::sequence_length]


@lru_cache(maxsize=1)
def _epoch(documents: PackedDocuments, sequence_length: int, seed: int, epoch: int) -> np.ndarray:
    """The rows of the epoch that is under way, made once."""
    return documents.epoch(sequence_length, seed, epoch)


def _gather(offsets: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Positions of the documents' tokens [T] when the documents stand in `order`."""
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
    lengths = [len(document) for document in documents]
    return PackedDocuments(
        tokens=np.concatenate(documents), offsets=np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    )


def _encoded(tokenizer: "PreTrainedTokenizerBase", texts: Iterable[str]) -> Iterator[list[int]]:
    for block in blocks(texts, ENCODE_BLOCK):
        yield from filter(None, encode(tokenizer, block))
