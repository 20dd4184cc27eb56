"""Counts the tables that tamis/filters/form/statistics.py compares texts with.

    python -m benchmarks._form_tables

Reads texts in the public domain, under CC BY 4.0, CC BY 3.0 or Apache 2.0, or free for any use (DATA.md) and
writes tamis/filters/tables.npz: numbers and hashes, no text. Raise CODE_VERSION in tamis/filters when it
changes.
"""

import numpy as np
import polars as pl

from benchmarks._texts import read_texts
from tamis.filters.form.statistics import (
    _N,
    BREAK,
    FUNCTION_WORDS,
    SHAPES,
    STEP,
    SYMBOLS,
    TABLES,
    WORD_LIST,
    Floats,
    Tables,
    _blocks,
    grams_of,
    points_of,
    sequence_of,
    shapes_of,
    stored_grams,
    word_classes,
    words_of,
)

SOURCES = ("p_mixed_free", "p_law", "t_goemotions", "t_intent")
MOST = 3_000_000
"""Characters of a source that are counted."""
LANGUAGES = "q_nonenglish_udhr"
WORDS_A_LANGUAGE, ENDINGS = 25, 60
LEAST_OF_A_CONTEXT, COARSE = 60, 4
"""Contexts of three symbols that are counted for themselves; steps of their logarithms."""


def texts_of(source: str) -> list[str]:
    """Return texts of a source, shuffled, up to `MOST` characters."""
    rows = read_texts(source).sample(fraction=1.0, shuffle=True, seed=0)
    return rows.filter(pl.col("text").str.len_chars().cum_sum() <= MOST)["text"].to_list()


def logs(counts: Floats, prior: Floats, weight: float) -> Floats:
    """Return log probabilities [contexts, outcomes], each context mixed with this weight of a prior."""
    with np.errstate(divide="ignore"):
        return np.log((counts + weight * prior) / (counts.sum(-1, keepdims=True) + weight))


def whole(values: Floats) -> np.ndarray:
    """Return values as the tables hold them."""
    return np.clip(np.round(values * STEP), -127, 127).astype(np.int8)


def gram_table(blocks: list[list[str]]) -> np.ndarray:
    """Count four symbols in a row: log P of the last, interpolated with shorter ones."""
    count = np.zeros(SYMBOLS**4)
    for block in blocks:
        count += np.bincount(grams_of(points_of(block))[1], minlength=SYMBOLS**4)
    prior = three = np.full((1, SYMBOLS), 1 / 31)
    for length in (1, 2, 3, 4):
        shorter = count.reshape(-1, SYMBOLS**length).sum(0).reshape(-1, SYMBOLS)
        prior = np.exp(logs(shorter, np.tile(prior, (len(shorter) // len(prior), 1)), 4.0))
        few = np.repeat(shorter.sum(1) < LEAST_OF_A_CONTEXT, SYMBOLS).reshape(-1, SYMBOLS)
        if length == 4:  # a context that is rare says what the shorter one says, and takes no space
            prior = np.where(few, three, prior)
        three = np.tile(prior, (SYMBOLS, 1))
    coarse = np.round(np.maximum(np.log(prior.ravel()), -8.0) * STEP / COARSE) * COARSE
    return stored_grams(coarse.astype(np.int8))


def shape_table(blocks: list[list[str]]) -> np.ndarray:
    """Count three shapes of runs in a row: log P of the last, interpolated with shorter ones."""
    count = np.zeros(SHAPES**3)
    for block in blocks:
        coded = shapes_of(points_of(block))[1]
        count += np.bincount(coded[coded % SHAPES > 0], minlength=SHAPES**3)
    prior = np.full((1, SHAPES), 1 / SHAPES)
    for length in (1, 2, 3):
        shorter = count.reshape(-1, SHAPES**length).sum(0).reshape(-1, SHAPES)
        prior = np.exp(logs(shorter, np.tile(prior, (len(shorter) // len(prior), 1)), 8.0))
    return whole(np.maximum(np.round(np.log(prior.ravel()) * 2) / 2, -12.0))


def frequent(hashes: list[np.ndarray], count: int) -> np.ndarray:
    """Return the most frequent hashes, most frequent first."""
    one, number = np.unique(np.concatenate(hashes), return_counts=True)
    return one[np.lexsort((one, -number))[:count]]


def language_table() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return languages, and hashes of their most frequent words with the place of their language, by hash."""
    rows = read_texts(LANGUAGES, "label").sort("label")
    names, words, of = [], [], []
    for (label,), texts in rows.group_by(["label"], maintain_order=True):
        if not str(label)[:1].isalpha() or str(label).startswith(("eng", "pcm", "sco")):
            continue
        found = words_of(points_of(texts["text"].to_list()))
        hashes = frequent([found.hash_w[(found.length_w > 1) | found.single_w]], WORDS_A_LANGUAGE)
        words.append(hashes)
        of.append(np.full(len(hashes), len(names), np.int16))
        names.append(str(label))
    word_w, of_w = np.concatenate(words), np.concatenate(of)
    order = np.lexsort((of_w, word_w))
    return names, word_w[order], of_w[order]


def pair_table(blocks: list[list[str]], words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log ratios of pairs of classes, and the classes of endings."""
    held = [words_of(points_of(block)) for block in blocks]
    ends = np.zeros(SYMBOLS * SYMBOLS)
    for block, found in zip(blocks, held, strict=True):
        symbol, end = points_of(block).symbol_c.astype(np.int64), found.start_w + found.length_w - 1
        ends += np.bincount(
            np.where(found.length_w > 1, symbol[end - 1], 0) * SYMBOLS + symbol[end], minlength=len(ends)
        )
    classes = FUNCTION_WORDS + 1
    endings = (np.arange(SYMBOLS * SYMBOLS) % SYMBOLS + classes).astype(np.int16)
    for place, ending in enumerate(np.argsort(-ends, kind="stable")[:ENDINGS]):
        endings[ending] = classes + SYMBOLS + place
    size = classes + SYMBOLS + ENDINGS
    empty = np.zeros(0, np.int8)
    names = Tables(
        grams=empty,
        pairs=empty,
        usual=empty,
        shapes=empty,
        endings=endings,
        words=words,
        languages=(),
        language_words=words,
        language_of=empty.astype(np.int16),
    )
    seen = np.zeros((size, size))
    for block, found in zip(blocks, held, strict=True):
        _, first, second = sequence_of(found, word_classes(found, points_of(block), names)[1])
        np.add.at(seen, (first, second), 1)
    chance = seen.sum(1, keepdims=True) * seen.sum(0, keepdims=True) / seen.sum()
    return whole(np.log((seen + 0.5) / (chance + 0.5))), endings


def main() -> None:
    """Count and write."""
    texts = [text for source in SOURCES for text in texts_of(source)]
    blocks = list(_blocks(texts))
    words = frequent([words_of(points_of(block)).hash_w for block in blocks], WORD_LIST)
    pairs, endings = pair_table(blocks, words)
    usual = np.zeros((_N, _N))
    for block in blocks:
        kind = points_of(block).class_c.astype(np.int64)
        usual += np.bincount(kind[:-1] * _N + kind[1:], minlength=_N * _N).reshape(_N, _N)
    prior = usual.sum(0, keepdims=True) / usual.sum()
    languages, language_words, language_of = language_table()
    np.savez_compressed(
        TABLES,
        grams=gram_table(blocks),
        pairs=pairs,
        usual=whole(np.maximum(logs(usual, prior, 20.0), -9.0)),
        shapes=shape_table(blocks),
        endings=endings,
        words=words.astype(np.uint32),
        languages=languages,
        language_words=language_words.astype(np.uint32),
        language_of=language_of,
    )
    print(f"{TABLES}: {TABLES.stat().st_size:,} bytes, {len(languages)} languages, {BREAK} function words")


if __name__ == "__main__":
    main()
