"""Tokens of texts by a tokenizer of any kind, loaded when the first text is counted.

Special tokens that a model adds around a text do not count, and one that is spelled in a text is plain text,
as in training. Truncation and padding that a tokenizer's file states are switched off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tamis.base.files import write_atomically
from tamis.base.progress import Advance, ignore
from tamis.base.unfit import Refusal, read_each
from tamis.corpus.intake import texts_of
from tamis.corpus.quarantine import note_refused
from tamis.store.tables import Store
from tamis.tokens.identity import UnknownTokenizerError, tokenizer_folder, tokenizer_identity
from tamis.tokens.stage import TOKEN_COUNTS, TOKEN_COUNTS_STAGE
from tamis.training.errors import NoTokenizerError, UnknownModelError
from tamis.training.fitting import tokenizer_in
from tamis.training.gguf_model import embedded_model_file, load_gguf_tokenizer
from tamis.training.models import SMOLLM2
from tamis.training.tokenizer import encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BLOCK = 512
"""Texts tokenized at once: about 50 MB of encodings where they have 500 words."""
NOT_COUNTED = -1
FILE = "tokenizer.json"
BATCH = 2_000


@dataclass(frozen=True)
class TokenCounter:
    """A tokenizer by folder, hub id or embedded name.

    `cache`: folder that keeps the embedded one in a form that is read in .1 s; from its model it takes 4 s.
    """

    name: str
    cache: Path | None = None

    @cached_property
    def _count(self) -> Callable[[list[str]], list[int]]:
        return _embedded(self.cache) if self.name == SMOLLM2 else _counting(self.name)

    def count(self, texts: Sequence[str]) -> tuple[np.ndarray, dict[int, Refusal]]:
        """Tokens of each text, int64 [n], `NOT_COUNTED` where the tokenizer fails on one; by position, why.

        Raises what the tokenizer raises where it fails on a plain sentence, too, and `UnknownTokenizerError`
        where it cannot be loaded.
        """
        tokens_n = np.full(len(texts), NOT_COUNTED, dtype=np.int64)
        refused: dict[int, Refusal] = {}
        for start in range(0, len(texts), BLOCK):
            parts, failed = read_each(self._count, texts[start : start + BLOCK])
            for places, counts in parts:
                tokens_n[np.asarray(places, dtype=np.int64) + start] = counts
            for place, why in failed.items():
                detail = f"{why.detail}; its tokens are estimated as bytes / 4"
                refused[start + place] = replace(why, detail=detail)
        return tokens_n, refused


def _counting(name: str) -> Callable[[list[str]], list[int]]:
    """Load a tokenizer and return the function that counts by it; raises `UnknownTokenizerError`."""
    folder = tokenizer_folder(name)
    named = any((folder / one).is_file() for one in ("tokenizer_config.json", "config.json"))
    try:
        if not named and (folder / FILE).is_file():
            return _of_file(folder / FILE)
        tokenizer: Any = tokenizer_in(name, str(folder))
    except (NoTokenizerError, UnknownModelError, OSError, ValueError) as error:
        raise UnknownTokenizerError(name, str(error).split("\n", 1)[0]) from error
    if tokenizer.is_fast:
        return _of_backend(tokenizer.backend_tokenizer)
    return lambda texts: [len(ids) for ids in encode(tokenizer, texts)]


def _embedded(cache: Path | None) -> Callable[[list[str]], list[int]]:
    kept = cache / f"{tokenizer_identity(SMOLLM2)}.json" if cache else None
    if kept and kept.is_file():
        return _of_file(kept)
    tokenizer = load_gguf_tokenizer(embedded_model_file()).backend_tokenizer
    if kept:
        write_atomically(kept, tokenizer.to_str().encode())
    return _of_backend(tokenizer)


def _of_file(path: Path) -> Callable[[list[str]], list[int]]:
    from tokenizers import Tokenizer

    try:
        return _of_backend(Tokenizer.from_file(str(path)))
    except Exception as error:  # the tokenizers library raises a plain one
        raise UnknownTokenizerError(str(path.parent), f"{path.name} cannot be read: {error}") from error


def _of_backend(tokenizer: "Tokenizer") -> Callable[[list[str]], list[int]]:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True

    def count(texts: list[str]) -> list[int]:
        return [len(one) for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return count


def count_missing(
    store: Store, counter: TokenCounter, mark: str, doc_ids: Sequence[str], advance: Advance = ignore
) -> list[str]:
    """Count and store the documents without a row of this fingerprint, and return their ids.

    A document that the tokenizer fails on has a row without a number, and is noted as set aside.
    """
    known: set[str] = set()
    for block in store.by_ids(TOKEN_COUNTS.name, doc_ids, ["doc_id", "fingerprint"]):
        known.update(pl.DataFrame(pl.from_arrow(block)).filter(pl.col("fingerprint") == mark)["doc_id"])
    missing = sorted(set(doc_ids) - known)
    for start in range(0, len(missing), BATCH):
        texts = texts_of(store, missing[start : start + BATCH])
        ids = list(texts)
        tokens_n, refused = counter.count(list(texts.values()))
        note_refused(
            store, TOKEN_COUNTS_STAGE.name, mark, {ids[place]: why for place, why in refused.items()}
        )
        counted = pl.DataFrame({"doc_id": ids, "n_tokens": tokens_n, "fingerprint": [mark] * len(ids)})
        store.put(TOKEN_COUNTS.name, counted.with_columns(pl.col("n_tokens").replace(NOT_COUNTED, None)))
        advance(len(ids))
    return missing
