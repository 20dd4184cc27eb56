"""Long documents as passages: cut where a paragraph, a sentence or a word ends, with nothing lost.

A passage is a document like any other, under the id of its own text. Its place names the document that it is
from, by the id of the whole text, and keeps the white space before it: passages and these spaces are the
text, byte for byte. Cuts depend on the text and the limit alone. A cut depends on no more than what follows
within two limits, so a change near the end of a document leaves the passages before it as they were.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CHARACTERS_A_PIECE = 16
"""Of words, which are counted in pieces: scripts without spaces have no others."""
LEAST_SHARE, LAST_SHARE = 2, 4
"""A passage has at least a half of the limit, and the last one at least a quarter, where words allow it."""
_ATOM = re.compile(rf"(\s*)([^\s。！？]{{1,{CHARACTERS_A_PIECE}}}[。！？]*|[。！？]+)")
_SENTENCE = re.compile(r"(?:[.!?…]['\"”’»)\]]*|[。！？][”’」』）]*)$")
_WITHOUT_SPACE = re.compile(r"[。！？][”’」』）]*$")
_PARAGRAPH, _SENTENCE_END, _LINE, _WORD, _INSIDE, _NEVER = 5, 4, 3, 2, 1, 0
Sizes = Callable[[Sequence[str]], Sequence[int]]
"""The length of each text, in the unit of a limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A part of a text: where it begins, in characters, and the white space between it and the one before."""

    begin: int
    gap: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Cutter:
    """Cuts texts into passages of at most `limit`, as `sizes` counts."""

    limit: int
    sizes: Sizes

    def cut(self, text: str) -> list[Passage]:
        """Return the passages of a normalised text in order; none where it stays whole.

        Each is at most the limit long, unless it is a single character that is longer.
        """
        if len(text.encode()) <= self.limit or self.sizes([text])[0] <= self.limit:
            return []
        atoms = _atoms(text, self)
        passages, first = [], 0
        while first < len(atoms.begins):
            after = self._end(text, atoms, first)
            begin, end = int(atoms.begins[first]), int(atoms.ends[after - 1])
            before = int(atoms.ends[first - 1]) if first else 0
            passages.append(Passage(begin=begin, gap=text[before:begin], text=text[begin:end]))
            first = after
        return passages if len(passages) > 1 else []

    def _end(self, text: str, atoms: "_Atoms", first: int) -> int:
        """Return the atom after the last one of the passage that begins with atom `first`."""
        start = atoms.starts[first]
        left = int(atoms.totals[-1] - start)
        most = self.limit if left <= self.limit else min(self.limit, left - self.limit // LAST_SHARE)
        while True:
            # Of atoms: [first + 1, latest] end within `most`, those from `earliest` have the least length.
            latest = int(np.searchsorted(atoms.totals, start + most, side="right"))
            latest = max(first + 1, latest)
            if latest == len(atoms.totals):
                after = latest
            else:
                earliest = int(np.searchsorted(atoms.totals, start + self.limit // LEAST_SHARE)) + 1
                earliest = min(max(earliest, first + 1), latest)
                levels = atoms.levels[earliest - 1 : latest]
                after = latest - int(np.argmax(levels[::-1]))
            size = self.sizes([text[int(atoms.begins[first]) : int(atoms.ends[after - 1])]])[0]
            if size <= self.limit or after == first + 1:
                return after
            # Parts are counted one by one: together they may be more, which few tokenizers do.
            within = int(atoms.totals[after - 1] - start)
            most = min(most, within) - max(1, size - self.limit)


@dataclass(frozen=True, kw_only=True)
class _Atoms:
    """Pieces that are not cut, [n]: begin and end in the text, without the white space before them.

    totals: length up to the end of each; starts: length up to where a passage would begin with it. levels:
    how well a passage may end after it.
    """

    begins: np.ndarray
    ends: np.ndarray
    totals: np.ndarray
    starts: np.ndarray
    levels: np.ndarray


def _counted(sizes: Sizes, texts: Sequence[str]) -> list[int]:
    """Return the length of each text; words repeat, so each is counted once."""
    distinct = list(dict.fromkeys(texts))
    known = dict(zip(distinct, sizes(distinct), strict=True))
    return [known[text] for text in texts]


def _atoms(text: str, cutter: Cutter) -> _Atoms:
    spans = [(match.start(), *match.span(2)) for match in _ATOM.finditer(text)]
    sizes = _counted(cutter.sizes, [text[start:end] for start, _begin, end in spans])
    pieces: list[tuple[int, int, int]] = []
    for span, size in zip(spans, sizes, strict=True):
        start, begin, end = span
        if size > cutter.limit // LAST_SHARE and end > begin + 1:
            pieces += [(start, begin, begin + 1), *((at, at, at + 1) for at in range(begin + 1, end))]
        else:
            pieces.append(span)
    if len(pieces) > len(spans):
        sizes = _counted(cutter.sizes, [text[start:end] for start, _begin, end in pieces])
    spaced = [place for place, (start, begin, _end) in enumerate(pieces) if begin > start]
    sizes_n = np.asarray(sizes, dtype=np.int64)
    alone_n = sizes_n.copy()
    if spaced:
        words = [text[pieces[place][1] : pieces[place][2]] for place in spaced]
        alone_n[spaced] = _counted(cutter.sizes, words)
    totals = np.cumsum(sizes_n)
    _starts, begins, ends = np.array(pieces, dtype=np.int64).T
    following = [*begins[1:].tolist(), len(text)]
    levels = [
        _level(text, begin, end, text[end:next_one])
        for begin, end, next_one in zip(begins.tolist(), ends.tolist(), following, strict=True)
    ]
    return _Atoms(
        begins=begins,
        ends=ends,
        totals=totals,
        starts=totals - alone_n,
        levels=np.array(levels, dtype=np.int8),
    )


def _level(text: str, begin: int, end: int, gap: str) -> int:
    """Return how well a passage may end between an atom and the white space that follows it."""
    if gap.count("\n") > 1:
        return _PARAGRAPH
    ended = text[max(begin, end - 4) : end]
    if _SENTENCE.search(ended) if gap else _WITHOUT_SPACE.search(ended):
        return _SENTENCE_END
    if gap:
        return _LINE if "\n" in gap else _WORD
    joined = "\u200d" in text[end - 1 : end + 1] or unicodedata.category(text[end : end + 1] or " ")[0] == "M"
    return _NEVER if joined else _INSIDE
