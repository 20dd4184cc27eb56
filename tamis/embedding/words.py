"""Tokens of texts by their words: what the tokenizer gives, in a fraction of its time.

A text is cut where the tokens on one side cannot depend on the other side. The tokenizer reads each distinct
piece once, and a text has the tokens of its pieces. Why these places are safe (tokenizers 0.22):

- `BertNormalizer` changes one character at a time, except that decomposition puts the marks after a character
  in order, and moves none across a character that is no mark itself. White space, ASCII punctuation and
  Chinese characters are no such marks.
- `BertPreTokenizer` ends a word at white space, makes each punctuation character a word, and the normalizer
  puts spaces around each Chinese character. `WordPiece` reads each word alone.
- Added tokens such as "[SEP]" are looked for in the text as it was; a text that holds one is not cut.

Accents, other scripts, control characters and long words are within a piece, so the tokenizer decides them.
Any other tokenizer has no `WordTokenizer`.
"""

import json
import re
import string
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tamis.base.threads import on_slices

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

MOST_WORDS, LONGEST_WORD = 262_144, 64
"""How many pieces are remembered, and of how many bytes; when they become too many, all are forgotten."""
WORDS_AT_ONCE = 1_024
NO_TOKEN = -1
WORD, MARK, SPACE, CHINESE = range(4)
BYTES_OF_CHINESE = 3
BLANK_TEXT = "."
LEAST_TEXTS = 64
"""A thread reads at least so many."""
BY_WORDS = ["WordPiece", "BertNormalizer", "BertPreTokenizer"]
"""Model, normalizer and pre-tokenizer of a tokenizer whose texts may be read by words."""


KIND_OF_BYTE = np.full(256, WORD, dtype=np.uint8)
"""The kind of each byte of UTF-8 [256]; what is not listed here is a part of a word."""
KIND_OF_BYTE[list(string.punctuation.encode())] = MARK
KIND_OF_BYTE[list(b" \t\n\r")] = SPACE
# Bytes E5 to E9 begin the characters U+5000 to U+9FFF, which the normalizer counts as Chinese.
KIND_OF_BYTE[0xE5:0xEA] = CHINESE


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """Texts in pieces.

    word_p: the distinct piece that each is. first_n: the first piece of each text, and how many there are in
    all [n + 1]. tokens: the ids of each distinct piece, as bytes of int32.
    """

    word_p: np.ndarray
    first_n: np.ndarray
    tokens: list[bytes]


def runs(starts_r: np.ndarray, lengths_r: np.ndarray) -> np.ndarray:
    """Return the numbers from each start on, as many as its length says, run after run."""
    ends_r = np.cumsum(lengths_r)
    return np.repeat(starts_r - (ends_r - lengths_r), lengths_r) + np.arange(int(lengths_r.sum()))


class WordTokenizer:
    """Reads the tokens of texts, all but `left_out`.

    separator: a mark that the tokenizer knows, put between pieces that it reads at once. added: the
    tokenizer's added tokens, as they are written in a text.
    """

    def __init__(self, tokenizer: "Tokenizer", left_out: int, separator: str, added: Sequence[str]) -> None:
        self._tokenizer, self._left_out = tokenizer, left_out
        self._separator, self._separator_id = separator.encode(), tokenizer.token_to_id(separator)
        self._vocabulary = tokenizer.get_vocab_size()
        self._added = [token.encode() for token in added]
        self._remembered: dict[bytes, bytes] = {}

    def count(self, texts: Sequence[str]) -> "csr_matrix":
        """Return how often each token is in each text [n, V], float64."""
        from scipy import sparse

        pieces = self._pieces(texts)
        ids_t = np.frombuffer(b"".join(pieces.tokens), dtype=np.int32)
        counts_nw = sparse.csr_matrix(
            (np.ones(len(pieces.word_p)), pieces.word_p, pieces.first_n),
            shape=(len(texts), len(pieces.tokens)),
        )
        counts_wv = sparse.csr_matrix(
            (np.ones(len(ids_t)), ids_t, np.cumsum([0, *map(len, pieces.tokens)]) // ids_t.itemsize),
            shape=(len(pieces.tokens), self._vocabulary),
        )
        return counts_nw @ counts_wv

    def read(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of the texts, one text after the other [t], int32, and how many each has [n]."""
        pieces = self._pieces(texts)
        ids_t = np.frombuffer(b"".join(pieces.tokens), dtype=np.int32)
        lengths_w = np.fromiter(map(len, pieces.tokens), np.int64, len(pieces.tokens)) // ids_t.itemsize
        starts_w = np.cumsum(lengths_w) - lengths_w
        lengths_p = lengths_w[pieces.word_p]
        ends_p = np.concatenate([[0], np.cumsum(lengths_p)])
        return ids_t[runs(starts_w[pieces.word_p], lengths_p)], np.diff(ends_p[pieces.first_n])

    def _pieces(self, texts: Sequence[str]) -> _Pieces:
        raw = [text.encode() for text in texts]
        content = b"".join(raw)
        starts_n = np.cumsum([0, *map(len, raw)])
        cuts_p = self._cuts(content, starts_n)
        pieces = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(cuts_p) - 1, [None, pa.py_buffer(cuts_p), pa.py_buffer(content)]
        ).dictionary_encode()
        return _Pieces(
            word_p=pieces.indices.to_numpy(),
            first_n=np.searchsorted(cuts_p, starts_n),
            tokens=self._tokens(pieces.dictionary.to_pylist()),
        )

    def _cuts(self, content: bytes, starts_n: np.ndarray) -> np.ndarray:
        """Return where pieces begin, and the end [p + 1]: a word or a mark each, and the space after it.

        content: texts in UTF-8, one after the other; each begins and ends where `starts_n` says.
        """
        kinds_b = KIND_OF_BYTE[np.frombuffer(content, dtype=np.uint8)]
        in_word_b = (kinds_b == WORD) | (kinds_b == CHINESE)
        cut_b = np.zeros(len(content) + 1, dtype=np.bool_)
        cut_b[1:-1] = (kinds_b[1:] != SPACE) & ~(in_word_b[1:] & in_word_b[:-1])
        chinese_c = np.flatnonzero(kinds_b == CHINESE)
        cut_b[chinese_c] = cut_b[chinese_c + BYTES_OF_CHINESE] = True
        for token in self._added:
            if token in content:
                # Matches may overlap: one across two texts must not hide one in the second.
                found = [match.start() for match in re.finditer(b"(?=" + re.escape(token) + b")", content)]
                for text in np.unique(np.searchsorted(starts_n, found, side="right")) - 1:
                    cut_b[starts_n[text] : starts_n[text + 1]] = False
        cut_b[starts_n] = True
        return np.flatnonzero(cut_b)

    def _tokens(self, words: list[bytes]) -> list[bytes]:
        """Return the tokens of each word, their ids as bytes of int32."""
        found = list(map(self._remembered.get, words))
        read = self._read([word for word, tokens in zip(words, found, strict=True) if tokens is None])
        if len(self._remembered) + len(read) > MOST_WORDS:
            self._remembered.clear()
        short = ((word, tokens) for word, tokens in read.items() if len(word) <= LONGEST_WORD)
        self._remembered.update(islice(short, MOST_WORDS))
        return [read[word] if tokens is None else tokens for word, tokens in zip(words, found, strict=True)]

    def _read(self, words: list[bytes]) -> dict[bytes, bytes]:
        """Return the tokens of each word, read many at once with the separator after each.

        Where a word gives a separator of its own, words are read one by one.
        """
        alone = [word for word in words if self._separator in word]
        plain = [word for word in words if self._separator not in word]
        blocks = [plain[start : start + WORDS_AT_ONCE] for start in range(0, len(plain), WORDS_AT_ONCE)]
        read: dict[bytes, bytes] = {}
        joined = [self._separator.join([*block, b""]) for block in blocks]
        for block, ids in zip(blocks, self._ids(joined), strict=True):
            ends_w = np.flatnonzero(ids == self._separator_id)
            if len(ends_w) != len(block):
                alone += block
                continue
            kept = (ids != self._left_out) & (ids != self._separator_id)
            tokens, ends = ids[kept].tobytes(), (ids.itemsize * np.cumsum(kept)[ends_w]).tolist()
            parts = (tokens[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True))
            read.update(zip(block, parts, strict=True))
        for word, ids in zip(alone, self._ids(alone), strict=True):
            read[word] = ids[ids != self._left_out].tobytes()
        return read

    def _ids(self, texts: list[bytes]) -> Iterator[np.ndarray]:
        """Yield the token ids of each text, int32."""
        encodings = self._tokenizer.encode_batch_fast(
            [text.decode() for text in texts], add_special_tokens=False
        )
        return (np.array(encoding.ids, dtype=np.int32) for encoding in encodings)


def word_tokenizer(
    tokenizer: "Tokenizer", unknown: int, *, keep_unknown: bool = False
) -> WordTokenizer | None:
    """Return what reads as this tokenizer does, without the unknown token unless it is kept.

    None where that is not proven.
    """
    config: dict[str, Any] = json.loads(tokenizer.to_str())
    normalizer, pre_tokenizer = config["normalizer"] or {}, config["pre_tokenizer"] or {}
    added = [token["content"] for token in config["added_tokens"]]
    proven = (
        normalizer.get("type") == "BertNormalizer"
        and normalizer["handle_chinese_chars"]
        and pre_tokenizer.get("type") == "BertPreTokenizer"
        and config["model"]["type"] == "WordPiece"
        and config["truncation"] is None
        and config["padding"] is None
        and not any(token["normalized"] for token in config["added_tokens"])
    )
    marks = (mark for mark in reversed(string.punctuation) if not any(mark in token for token in added))
    separator = next((mark for mark in marks if tokenizer.token_to_id(mark) not in (None, unknown)), None)
    if not proven or separator is None:
        return None
    return WordTokenizer(tokenizer, NO_TOKEN if keep_unknown else unknown, separator, added)


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
        return found["input_ids"]

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
    opening, closing = framed[: places[0]], framed[places[0] + len(bare) :]
    return word_tokenizer(tokenizer, unknown, keep_unknown=True), opening, closing
