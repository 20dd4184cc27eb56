"""Texts as windows of tokens, as a model's own tokenizer cuts them.

Where the tokenizer is of BERT's kind, texts are read by words (tamis.embedding.words), since a GPU encodes
faster than such a tokenizer reads. Any other tokenizer reads slices of the texts in threads.
"""

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from tamis.base.threads import on_slices
from tamis.embedding.words import WordTokenizer, runs, word_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

BLANK_TEXT = "."
LEAST_TEXTS = 64
"""A thread reads at least so many."""
BY_WORDS = ["WordPiece", "BertNormalizer", "BertPreTokenizer"]
"""Model, normalizer and pre-tokenizer of a tokenizer whose texts may be read by words."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Token ids of all windows, one after the other [t]; lengths [w], and the document of each [w]."""

    ids_t: np.ndarray
    lengths_w: np.ndarray
    document_w: np.ndarray

    def batches(self, tokens: int) -> Iterator[np.ndarray]:
        """Yield positions of windows of like length, longest first, at most so many `tokens` once padded."""
        order_w = np.argsort(-self.lengths_w, kind="stable")
        start = 0
        while start < len(order_w):
            size = max(tokens // int(self.lengths_w[order_w[start]]), 1)
            yield order_w[start : start + size]
            start += size

    def padded(self, batch: np.ndarray, side: str, padding: int) -> dict[str, np.ndarray]:
        """Return token ids and attention mask [b, t], int64, equal to those of `tokenizer.pad`.

        `tokenizer.pad` takes many times as long (`minilm_padding` of benchmarks.encoding).
        """
        starts_w = np.cumsum(self.lengths_w) - self.lengths_w
        lengths_b = self.lengths_w[batch]
        mask_bt = np.arange(lengths_b.max()) < lengths_b[:, None]
        if side == "left":
            mask_bt = mask_bt[:, ::-1]
        ids_bt = np.full(mask_bt.shape, padding, dtype=np.int64)
        ids_bt[mask_bt] = self.ids_t[runs(starts_w[batch], lengths_b)]
        return {"input_ids": ids_bt, "attention_mask": mask_bt.astype(np.int64)}


class WindowCutter:
    """Cuts texts into windows of at most `window` tokens.

    A window without a token, not even one that opens or closes it, has those of a full stop.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerFast", window: int) -> None:
        self._tokenizer, self._window = tokenizer, window
        self._blank = self._set()
        self._settings = tokenizer.backend_tokenizer.truncation
        self._words, self._opening, self._closing = _by_words(tokenizer.backend_tokenizer)
        self._room = window - len(self._opening) - len(self._closing)

    def _set(self) -> list[int]:
        """Make the tokenizer cut into windows, and not pad them; return the ids of a full stop."""
        found = self._tokenizer(BLANK_TEXT, truncation=True, max_length=self._window, padding=False)
        ids: list[int] = found["input_ids"]
        return ids

    def cut(self, texts: Sequence[str]) -> Windows:
        """Return the windows of the texts, in their order."""
        if self._words is None or self._room < 1:
            return self._cut_whole(texts)
        ids_t, lengths_n = self._words.read(texts)
        windows_n = np.maximum(-(-lengths_n // self._room), 1)
        document_w = np.arange(len(texts)).repeat(windows_n)
        place_w = runs(np.zeros_like(windows_n), windows_n)
        inner_w = np.minimum(lengths_n[document_w] - place_w * self._room, self._room)
        opening, closing = len(self._opening), len(self._closing)
        lengths_w = opening + inner_w + closing
        ends_w = np.cumsum(lengths_w)
        starts_w = ends_w - lengths_w
        framed_t = np.empty(int(ends_w[-1]), dtype=np.int32)
        framed_t[starts_w[:, None] + np.arange(opening)] = self._opening
        framed_t[runs(starts_w + opening, inner_w)] = ids_t
        framed_t[ends_w[:, None] - np.arange(closing, 0, -1)] = self._closing
        return Windows(ids_t=framed_t, lengths_w=lengths_w, document_w=document_w)

    def _cut_whole(self, texts: Sequence[str]) -> Windows:
        backend = self._tokenizer.backend_tokenizer
        if backend.truncation != self._settings or backend.padding is not None:
            self._set()  # somebody else has used the tokenizer

        def encoded(rows: slice) -> list[list[list[int]]]:
            found = backend.encode_batch_fast(list(texts[rows]))
            return [[one.ids or self._blank for one in (first, *first.overflowing)] for first in found]

        ids = [of_text for part in on_slices(encoded, len(texts), LEAST_TEXTS) for of_text in part]
        windows = list(chain.from_iterable(ids))
        lengths_w = np.array([len(window) for window in windows])
        return Windows(
            ids_t=np.fromiter(chain.from_iterable(windows), np.int32, int(lengths_w.sum())),
            lengths_w=lengths_w,
            document_w=np.arange(len(ids)).repeat([len(of_text) for of_text in ids]),
        )


def _by_words(backend: "Tokenizer") -> tuple[WordTokenizer | None, list[int], list[int]]:
    """Return what reads texts by words, and the ids that open and close each window.

    Without the first where that is not proven to give what the tokenizer gives, which must cut on the right
    and know its added tokens in a text.
    """
    kinds = [type(part).__name__ for part in (backend.model, backend.normalizer, backend.pre_tokenizer)]
    if kinds != BY_WORDS or backend.truncation["direction"] != "right" or backend.encode_special_tokens:
        return None, [], []
    tokenizer = deepcopy(backend)
    tokenizer.no_truncation()
    unknown = tokenizer.token_to_id(json.loads(tokenizer.to_str())["model"]["unk_token"])
    bare = tokenizer.encode(BLANK_TEXT, add_special_tokens=False).ids
    framed = tokenizer.encode(BLANK_TEXT).ids
    places = [place for place in range(len(framed)) if framed[place : place + len(bare)] == bare]
    # Without tokens around it, a text that has none would give a window of none.
    if unknown is None or not bare or len(places) != 1 or len(framed) == len(bare):
        return None, [], []
    words = word_tokenizer(tokenizer, unknown, keep_unknown=True)
    return words, framed[: places[0]], framed[places[0] + len(bare) :]
