"""Text that many documents of a file share: a system turn, a header, a footer.

Below a template of 400 words, any two answers share four fifths of their words, so a comparison by words
would see the template and not the documents. Left out of it, wherever they stand, are therefore runs of 20
words that a tenth of a file's documents share, and a system turn that several conversations share. A document
needs 10 words in a row of its own, where the shared text begins or ends. Else its whole text counts: what
differs within text that the others go on with is an edit, and small edits of one text are one document,
however many of them a file holds.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.duplicates.minhash import counting, split_words, windows_of

VERSION = "1"
SAMPLE = 500
"""Documents of a file that are looked at: those with the smallest ids."""
LEAST_HOLDERS, LEAST_SHARE, LEAST_RUN = 10, 0.1, 20
"""Least number and share of documents that hold a shared run, and the fewest words of one."""
LEAST_OWN = 10
"""Words in a row that a document needs of its own."""
LEAST_CONVERSATIONS = 2
"""Conversations that share a system turn."""
SHINGLE = 5
_WITHIN = LEAST_RUN - SHINGLE + 1
"""Shingles within a shared run."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class SharedRuns:
    """Hashes, ascending, of the runs of 5 words within text that many documents share.

    `begins`, `ends`: those of them that the shared text begins or ends with, in most documents.
    """

    shingles: Hashes
    begins: Hashes
    ends: Hashes


NOTHING = SharedRuns(**dict.fromkeys(("shingles", "begins", "ends"), np.empty(0, dtype=np.uint64)))


def shared_runs_of(lists: pl.Series) -> SharedRuns:
    """Return what texts share that are given as lists of their words (`split_words`)."""
    runs = windows_of(lists, LEAST_RUN)
    held = pl.DataFrame({"run": runs.hashes, "document": runs.document}).unique()
    often = pl.col("len") >= max(LEAST_HOLDERS, LEAST_SHARE * len(lists))
    shared = held.group_by("run").len().filter(often)["run"].sort().to_numpy()
    whole = _lengths(lists)[runs.document] >= LEAST_RUN  # a shorter text is a run, but no part of others
    found = _among(runs.hashes, shared) & whole
    if not found.any():
        return NOTHING
    shingles = windows_of(lists, SHINGLE)
    first_n = np.searchsorted(shingles.document, np.arange(len(lists)))
    places = first_n[runs.document[found]] + runs.first_word[found]
    inside = np.zeros(len(shingles.hashes), dtype=bool)
    inside[places[:, None] + np.arange(_WITHIN)] = True
    on = np.diff(shingles.document) == 0  # within one text
    begins = ~np.append(False, inside[:-1] & on)
    ends = ~np.append(inside[1:] & on, False)
    edges = pl.DataFrame({"hash": shingles.hashes, "begins": begins, "ends": ends}).filter(inside)
    mostly = edges.group_by("hash").agg(pl.col("begins", "ends").mean() > 0.5).sort("hash")
    return SharedRuns(
        shingles=mostly["hash"].to_numpy(),
        begins=mostly.filter("begins")["hash"].to_numpy(),
        ends=mostly.filter("ends")["hash"].to_numpy(),
    )


def joined_runs(parts: Sequence[SharedRuns]) -> SharedRuns:
    """Return what any of several files shares."""
    return SharedRuns(
        **{
            name: np.unique(np.concatenate([getattr(NOTHING, name), *(getattr(one, name) for one in parts)]))
            for name in ("shingles", "begins", "ends")
        }
    )


@dataclass(frozen=True, kw_only=True)
class OwnWords:
    """The words of texts [n], and which of all their words [t] are left out of a comparison.

    `turns`: hash of the system turn whose words are left out; null in a text without one.
    """

    texts: pl.Series
    turns: pl.Series
    lists: pl.Series
    left_out_t: NDArray[np.bool_]

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Share [n] of the words of each text that are left out."""
        ends_n = np.cumsum(self._lengths_n)
        before_t = np.append(0, np.cumsum(self.left_out_t))
        left_out_n = before_t[ends_n] - before_t[ends_n - self._lengths_n]
        return np.asarray(left_out_n / np.maximum(self._lengths_n, 1))

    def own_texts(self) -> pl.Series:
        """Return the own words of each text [n], separated by spaces; the text if none is left out."""
        row_t = np.repeat(np.arange(len(self.lists)), self._lengths_n)
        words = pl.DataFrame({"row": row_t, "word": self.lists.explode().drop_nulls()})
        own = words.filter(~self.left_out_t).group_by("row").agg(pl.col("word").str.join(" "))
        frame = (
            pl.DataFrame({"text": self.texts, "share": self.shares})
            .with_row_index("row")
            .with_columns(pl.col("row").cast(pl.Int64))
            .join(own, on="row", how="left", maintain_order="left")
        )
        return frame.select(text=pl.when(pl.col("share") > 0).then("word").otherwise("text"))["text"]

    def compared(self) -> pl.Series:
        """Return the own texts [n] with a hash in place of the system turn.

        So answers of a word or two to different system turns differ.
        """
        words = pl.concat_str("turn", "own", separator=" ", ignore_nulls=True).alias("text")
        return pl.DataFrame({"turn": self.turns, "own": self.own_texts()}).select(words).to_series()

    @cached_property
    def _lengths_n(self) -> NDArray[np.int64]:
        return _lengths(self.lists)


def own_words(texts: pl.Series, turn_ends: pl.Series, runs: SharedRuns) -> OwnWords:
    """Return which words are the texts' own.

    turn_ends: number of characters of the system turn [n] that is to be left out, null or 0 for none.
    """
    parts = pl.DataFrame({"text": texts, "end": turn_ends.cast(pl.Int64).fill_null(0)}).select(
        turn=pl.col("text").str.slice(0, pl.col("end")), rest=pl.col("text").str.slice(pl.col("end"))
    )
    turn, rest = split_words(parts["turn"]), split_words(parts["rest"])
    turn_n, rest_n = _lengths(turn), _lengths(rest)
    answered_n = (rest_n > 0) & (turn_n > 0)
    row_t = np.repeat(np.arange(len(texts)), turn_n + rest_n)
    in_turn_t = counting(turn_n + rest_n) < turn_n[row_t]
    left_out_t = in_turn_t & answered_n[row_t]
    left_out_t[~in_turn_t] = _shared_words(rest, runs)
    turned = zip(parts["turn"], answered_n, strict=True)
    return OwnWords(
        texts=texts,
        turns=pl.Series([system_turn(text) if out else None for text, out in turned], dtype=pl.String),
        lists=pl.DataFrame({"turn": turn, "rest": rest}).select(pl.concat_list("turn", "rest"))["turn"],
        left_out_t=left_out_t,
    )


def own_words_of_file(doc_ids: pl.Series, texts: pl.Series, turn_ends: pl.Series) -> OwnWords:
    """Return which words are the texts' own, as `own_words`, of texts that are all there is of a file."""
    turns = [system_turn(text[:end]) if end else None for text, end in zip(texts, turn_ends, strict=True)]
    columns = {"doc_id": doc_ids, "text": texts, "end": turn_ends.cast(pl.Int64).fill_null(0)}
    several = pl.col("turn").is_not_null() & (pl.len().over("turn") >= LEAST_CONVERSATIONS)
    frame = pl.DataFrame(columns | {"turn": pl.Series(turns, dtype=pl.String)}).with_columns(
        pl.when(several).then("end").otherwise(0).alias("end")
    )
    sample = frame.sort("doc_id").head(SAMPLE).select(pl.col("text").str.slice(pl.col("end")))["text"]
    return own_words(frame["text"], frame["end"], shared_runs_of(split_words(sample)))


def system_turn(text: str) -> str:
    """Return the hash of a system turn, a word of 16 hex digits."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _shared_words(lists: pl.Series, runs: SharedRuns) -> NDArray[np.bool_]:
    """Return the mask [t] of the words within shared text, of those texts that have words of their own."""
    lengths_n = _lengths(lists)
    count = int(lengths_n.sum())
    if not len(runs.shingles):
        return np.zeros(count, dtype=bool)
    windows = windows_of(lists, SHINGLE)
    known = _among(windows.hashes, runs.shingles)
    places = (np.cumsum(lengths_n) - lengths_n)[windows.document] + windows.first_word
    begins, sizes = _stretches(known, windows.document)
    long = known & np.repeat(sizes >= _WITHIN, sizes)
    shared_t, row_t = _covered(places[long], count), np.repeat(np.arange(len(lists)), lengths_n)
    begins, sizes = _stretches(shared_t, row_t)
    # Whether the shared text ends where a stretch begins, and begins where it ends, give or take some words.
    edges = np.zeros((2, count + 2 * SHINGLE + 1), dtype=np.int64)
    edges[0, places[_among(windows.hashes, runs.ends)] + SHINGLE + 1] = 1
    edges[1, places[_among(windows.hashes, runs.begins)] + 1] = 1
    ended, begun = np.cumsum(edges, axis=1)
    row_s, ends = row_t[begins], begins + sizes
    first, last = np.diff(row_s, prepend=-1) != 0, np.diff(row_s, append=-1) != 0
    apart = (first | (ended[begins + 1] > ended[np.maximum(begins - SHINGLE + 1, 0)])) & (
        last | (begun[ends + SHINGLE] > begun[ends])
    )
    unlike = np.add.reduceat(~_covered(places[known], count), begins) if count else sizes
    own = ~shared_t[begins] & ((apart & (sizes >= LEAST_OWN)) | (unlike >= LEAST_RUN))
    has_own_n = np.bincount(row_s[own], minlength=len(lists)) > 0
    return np.asarray(shared_t & has_own_n[row_t])


def _covered(places: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Return the mask of the words, among so many, of runs of 5 that begin at these places."""
    change_t = np.zeros(count + SHINGLE + 1, dtype=np.int64)
    change_t[places] += 1
    change_t[places + SHINGLE] -= 1
    return np.asarray(np.cumsum(change_t)[:count] > 0)


def _stretches(
    mask: NDArray[np.bool_], row: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the stretches of one value of the mask within one row begin, and their sizes."""
    begins = np.flatnonzero(np.append(True, (np.diff(mask) != 0) | (np.diff(row) != 0))[: len(mask)])
    return begins, np.diff(begins, append=len(mask))


def _lengths(lists: pl.Series) -> NDArray[np.int64]:
    return lists.list.len().fill_null(0).cast(pl.Int64).to_numpy()


def _among(hashes: Hashes, among: Hashes) -> NDArray[np.bool_]:
    """Return the mask of the hashes that are among others, which are in ascending order."""
    if not len(among):
        return np.zeros(len(hashes), dtype=bool)
    place = np.searchsorted(among, hashes)
    place[place == len(among)] = 0
    return np.asarray(among[place] == hashes)
