"""The repetition rules of Gopher (Rae et al., arXiv 2112.11446, table A1).

Fractions of repeated lines and paragraphs, by number and by characters; of characters in the most frequent
2- to 4-gram of words; and in repeated 5- to 10-grams, where overlapping ones count their characters once. As
in RedPajama's version an n-gram repeats from its second occurrence on, shares are of the characters of the
words, and an n-gram that occurs once is no repetition. datatrove's `GopherRepetitionFilter` skips ahead after
a repetition instead of uniting what repetitions cover, which counts a little less.

N-grams are compared by 64-bit hashes.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.filters.rule import LINES, TEXT, Rule, at_most, ratio, repeated, repeated_characters

_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
_PARAGRAPHS = pl.col("paragraphs")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
Floats = npt.NDArray[np.float64]

UNIT_MEASURES: dict[str, pl.Expr] = {
    "duplicate_line_share": ratio(repeated(LINES), LINES.list.len()),
    "duplicate_paragraph_share": ratio(repeated(_PARAGRAPHS), _PARAGRAPHS.list.len()),
    "duplicate_line_character_share": ratio(repeated_characters(LINES), TEXT.str.len_chars()),
    "duplicate_paragraph_character_share": ratio(repeated_characters(_PARAGRAPHS), TEXT.str.len_chars()),
}
_GRAM_COLUMNS = {n: f"top_{n}_gram_share" for n in _TOP} | {n: f"duplicate_{n}_gram_share" for n in _REPEATED}
MEASURES: tuple[str, ...] = (*UNIT_MEASURES, *_GRAM_COLUMNS.values())

RULES: tuple[Rule, ...] = (
    at_most("gopher_duplicate_lines", "duplicate_line_share", 0.30),
    at_most("gopher_duplicate_paragraphs", "duplicate_paragraph_share", 0.30),
    at_most("gopher_duplicate_line_characters", "duplicate_line_character_share", 0.20),
    at_most("gopher_duplicate_paragraph_characters", "duplicate_paragraph_character_share", 0.20),
    *(at_most(f"gopher_top_{n}_grams", _GRAM_COLUMNS[n], limit) for n, limit in _TOP.items()),
    *(at_most(f"gopher_duplicate_{n}_grams", _GRAM_COLUMNS[n], limit) for n, limit in _REPEATED.items()),
)


def repetition(units: pl.DataFrame) -> pl.DataFrame:
    """The columns `MEASURES` of a frame that `with_units` made, a row per text in order."""
    words = units.select("words").with_row_index("text").explode("words").drop_nulls("words")
    text_t = words["text"].to_numpy().astype(np.int64)
    length_t = words["words"].str.len_chars().to_numpy().astype(np.float64)
    hash_t = words["words"].hash().to_numpy()
    whole_n = np.maximum(np.bincount(text_t, length_t, minlength=len(units)), 1.0)
    columns = {
        _GRAM_COLUMNS[n]: (_most_frequent if n in _TOP else _covered)(gram_g, text_t, length_t, n, len(units))
        / whole_n
        for n, gram_g in repeated_grams(text_t, hash_t, max(_GRAM_COLUMNS))
    }
    paragraphs = (
        TEXT.str.replace_all(r"\n{2,}", "\n\n")
        .str.split("\n\n")
        .list.eval(pl.element().filter(pl.element() != ""))
    )
    of_units = units.with_columns(paragraphs=paragraphs).select(**UNIT_MEASURES)
    return of_units.with_columns(**{name: pl.Series(v) for name, v in columns.items()})


def repeated_grams(
    text_t: npt.NDArray[np.int64], hash_t: npt.NDArray[np.uint64], most: int
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield 2 and so on up to `most`, each with the n-grams that a text holds several times.

    Columns: `first` (word, in order) and `gram` (hash of text and words). Where an n-gram repeats, its first
    n - 1 words do, so longer ones are looked for where shorter ones repeat.
    """
    first_g, gram_g = np.arange(len(hash_t)), text_t.astype(np.uint64) * MULTIPLIER
    for n in range(1, most + 1):
        last_g = first_g + n - 1
        within_g = last_g < len(text_t)
        within_g[within_g] = text_t[last_g[within_g]] == text_t[first_g[within_g]]
        first_g, gram_g = first_g[within_g], (gram_g[within_g] ^ hash_t[last_g[within_g]]) * MULTIPLIER
        gram_g ^= gram_g >> np.uint64(29)
        if n > 1:
            repeats_g = pl.Series(gram_g, dtype=pl.UInt64).is_duplicated().to_numpy()
            first_g, gram_g = first_g[repeats_g], gram_g[repeats_g]
            yield n, pl.DataFrame({"first": first_g, "gram": gram_g})


def _most_frequent(
    grams: pl.DataFrame, text_t: npt.NDArray[np.int64], length_t: Floats, n: int, texts: int
) -> Floats:
    """Characters [n texts] of all occurrences of the most frequent n-gram; the earliest of equals."""
    counted = grams.group_by("gram").agg(pl.len().alias("count"), pl.col("first").min())
    first, count = counted["first"].to_numpy(), counted["count"].to_numpy()
    order = np.lexsort((first, -count.astype(np.int64), text_t[first]))
    holders, place = np.unique(text_t[first[order]], return_index=True)
    best = order[place]
    sums_t = np.concatenate([[0.0], np.cumsum(length_t)])
    found = np.zeros(texts)
    found[holders] = (sums_t[first[best] + n] - sums_t[first[best]]) * count[best]
    return found


def _covered(
    grams: pl.DataFrame, text_t: npt.NDArray[np.int64], length_t: Floats, n: int, texts: int
) -> Floats:
    """Return the characters [n texts] of the words in n-grams that occur earlier in the same text."""
    again = grams.filter(~pl.col("gram").is_first_distinct())["first"].to_numpy()
    begins_t, ends_t = (np.bincount(place, minlength=len(text_t) + 1) for place in (again, again + n))
    covered_t = np.cumsum(begins_t - ends_t)[:-1] > 0
    return np.bincount(text_t[covered_t], length_t[covered_t], minlength=texts).astype(np.float64)
