"""Statistics of form: how a text is written, whatever it says.

Of a block of texts every statistic is a sum over its characters, words or lines divided by their number, so
all are numpy passes over the block's code points; no loop runs over texts. What is compared with a table (how
usual a character is after three others, a word after a word, and which words are frequent) is compared with
tables counted from texts whose licences allow it (`python -m benchmarks._form_tables`), which hold no text.
Texts are looked at up to `LONGEST` characters.
"""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

TABLES = Path(__file__).with_name("tables.npz")
LONGEST = 5_000
"""Characters of a text that are looked at."""
MOST_NULS = 0.01
"""Share of NUL characters in a text up to which they are passed over."""
BLOCK = 250
"""Characters that are compared with the rest of their text."""
WINDOW = 75
"""Characters, about twelve words, of the least likely window."""
LEAST = 60
"""Characters, blanks left out, under which a text tells too little to be judged."""
STEP = 8.0  # of the tables' whole numbers, per natural logarithm
WORD_LIST = 6_000
"""Frequent words that the tables hold; the first `FUNCTION_WORDS` stand for themselves in pairs."""
FUNCTION_WORDS = 200
BREAK = FUNCTION_WORDS  # the class of what stands between words that no single space parts
_AT_ONCE = 300_000  # characters; numpy's temporaries then fit into the cache or nearly so
_SLOTS = 1 << 18  # of the hash tables of words
_SEEN = 1 << 11  # of the sketch of different sequences of four characters
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]

# Classes of characters.
_CLASSES = (
    *("edge", "space", "newline", "digit", "lower", "upper", "accented", "foreign", "stop", "comma"),
    *("quote", "apostrophe", "open", "close", "less", "greater", "dash", "slash", "bar", "equals"),
    *("mark", "bullet", "control", "latin", "symbol", "single"),
)
_CLASS = {name: number for number, name in enumerate(_CLASSES)}
_N = len(_CLASSES)
_LETTERS = ("lower", "upper", "accented", "foreign", "single")
_BMP = 0x10000
# Symbols of sequences: 0 no letter, 1 to 26 letters, 27 apostrophe, 28 digit, 29 accented, 30 foreign.
SYMBOLS = 32
_ASCII = {
    "space": " \t\u00a0",
    "newline": "\n\r\v\f\u0085\u2028\u2029",
    "digit": "0123456789",
    "stop": ".!?…",
    "comma": ",;:",
    "quote": '"“”„«»‘`',
    "apostrophe": "'’",
    "open": "([{",
    "close": ")]}",
    "less": "<",
    "greater": ">",
    "dash": "-–—",
    "slash": "/\\",
    "bar": "|",
    "equals": "=_",
    "mark": "#*+~^&%$@",
    "bullet": "•·‣●◦▪",
}
_MARKED = ".,;:!?\"'“”‘’()[]{}<>-–—/\\|=_#*+~&%$@…`•·"
_NUMBER, _GAP, _WORD, _ACCENTED, _SIGN = 1, 5, 11, 19, 20
_WIDE = np.r_[ord("\uff21") : ord("\uff3b"), ord("\uff41") : ord("\uff5b")]
"""Letters A to Z and a to z in full width."""
SHAPES = 64
"""Shapes of runs: 0 an edge, numbers by their length, gaps, words by their capitals, marks by kind."""
_WORD_CLASSES = np.zeros(_N, bool)
_WORD_CLASSES[[_CLASS[name] for name in _LETTERS]] = True
_MARKS = ~_WORD_CLASSES
_MARKS[[_CLASS[name] for name in ("edge", "space", "newline", "apostrophe")]] = False
_MARK_CODES = np.random.default_rng(2).integers(0, 2**63, _N, dtype=np.uint64)
_ODD = np.random.default_rng(1).integers(0, 2**63, 64, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


@cache
def _characters() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Hashes]:
    """Class, symbol and random number, by its lower case, of each code point under 65,536."""
    class_c, symbol_c = np.zeros(_BMP, np.uint8), np.zeros(_BMP, np.uint8)
    lower_c = np.arange(_BMP, dtype=np.uint16)
    for point in range(_BMP):
        one = chr(point)
        category = unicodedata.category(one)
        low = one.lower()
        if len(low) == 1 and ord(low) < _BMP:
            lower_c[point] = ord(low)
        name = "symbol"
        if category[0] == "L":
            if point < 0x80:
                name = "upper" if one.isupper() else "lower"
            elif point < 0x250 or 0x1E00 <= point < 0x1F00:
                name = "accented"
            else:
                spaceless = 0xE00 <= point < 0x1000 or 0x1000 <= point < 0x10A0 or 0x1780 <= point < 0x1800
                name = "single" if spaceless or 0x2E80 <= point < 0xA000 else "foreign"
        elif category[0] == "M":
            name = "foreign"
        elif category in ("Cc", "Cn", "Co", "Cs") or point == 0xFFFD:
            name = "control"
        elif category == "Zs":
            name = "space"
        elif category == "Nd":
            name = "digit"
        elif 0xA0 <= point < 0x180:
            name = "latin"
        class_c[point] = _CLASS[name]
    for name, ones in _ASCII.items():
        for one in ones:
            class_c[ord(one)] = _CLASS[name]
    for place, one in enumerate("abcdefghijklmnopqrstuvwxyz"):
        symbol_c[[ord(one), ord(one.upper())]] = place + 1
    symbol_c[[ord("'"), ord("’")]] = 27
    symbol_c[class_c == _CLASS["digit"]] = 28
    symbol_c[class_c == _CLASS["accented"]] = 29
    symbol_c[(class_c == _CLASS["foreign"]) | (class_c == _CLASS["single"])] = 30
    lower_c[ord("’")] = ord("'")
    random_c = np.random.default_rng(0).integers(0, 2**64, _BMP, dtype=np.uint64)
    return class_c, symbol_c, random_c[lower_c]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Tables that statistics compare with. Ratios and logarithms are natural, times `STEP`, as int8.

    grams: log P(symbol | three before) by their number [32**4]. pairs: log of observed over chance of two
    classes of words [c, c]; `endings` [1024]: class of a word by its last two symbols. usual: log P(class of
    character | class before) [26, 26]. shapes: log P(shape of a run | two before) [SHAPES**3].
    words: hashes of frequent words by their rank; languages: names, with `language_words` (hash) and
    `language_of` (place in languages), other than English.
    """

    grams: npt.NDArray[np.int8]
    pairs: npt.NDArray[np.int8]
    usual: npt.NDArray[np.int8]
    shapes: npt.NDArray[np.int8]
    endings: npt.NDArray[np.int16]
    words: Hashes
    languages: tuple[str, ...]
    language_words: Hashes
    language_of: npt.NDArray[np.int16]

    @cached_property
    def slots(self) -> tuple[Hashes, npt.NDArray[np.int32]]:
        """Hash and rank of the word in each slot of a hash table; of two words the more frequent is kept."""
        known, rank = np.zeros(_SLOTS, np.uint64), np.full(_SLOTS, WORD_LIST, np.int32)
        slot = (self.words & np.uint64(_SLOTS - 1)).astype(np.int64)[::-1]
        known[slot], rank[slot] = self.words[::-1], np.arange(len(self.words))[::-1]
        return known, rank


@cache
def tables() -> Tables:
    """Return the tables that are part of the package."""
    with np.load(TABLES) as held:
        return Tables(
            languages=tuple(held["languages"].tolist()),
            grams=stored_grams(held["grams"]),
            words=held["words"].astype(np.uint64),
            language_words=held["language_words"].astype(np.uint64),
            **{name: held[name] for name in ("pairs", "usual", "shapes", "endings", "language_of")},
        )


def stored_grams(gram_g: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Turn the table of four symbols into the order in which it compresses best, and back.

    Contexts that differ in their first symbol alone often hold the same row: they are stored side by side.
    """
    return gram_g.reshape((SYMBOLS,) * 4).swapaxes(0, 2).ravel()


@cache
def tables_digest() -> str:
    """Return the digest of the tables."""
    return hashlib.sha256(TABLES.read_bytes()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Points:
    """A block of texts as code points [c], each text after an edge: text, class, symbol and group of each.

    first: where each text's edge is [n]; place: of a character in its text. wide: number of
    full-width letters A to Z in each text [n].
    """

    text_c: Ints
    class_c: npt.NDArray[np.uint8]
    symbol_c: npt.NDArray[np.uint8]
    group_c: npt.NDArray[np.uint8]
    mixed_c: Hashes
    first_n: Ints
    wide_n: Ints
    count: int


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of a block [w]: text, first character, length, hash, whether one space precedes them, and
    whether they are a character of a script without spaces.
    """

    text_w: Ints
    start_w: Ints
    length_w: Ints
    hash_w: Hashes
    after_space_w: npt.NDArray[np.bool_]
    single_w: npt.NDArray[np.bool_]


@cache
def _groups() -> npt.NDArray[np.uint8]:
    """Group of each code point under 65,536: characters of one group that follow each other are a run."""
    class_c, _, _ = _characters()
    group_c = np.full(_BMP, SHAPES - 3, np.uint8)
    group_c[class_c == _CLASS["control"]] = SHAPES - 2
    for group, names in (
        (_WORD, ("lower", "upper")),
        (_ACCENTED, ("accented", "foreign", "single")),
        (_NUMBER, ("digit",)),
        (_GAP, ("space", "newline")),
    ):
        group_c[np.isin(class_c, [_CLASS[name] for name in names])] = group
    for place, mark in enumerate(_MARKED):
        group_c[ord(mark)] = _SIGN + place
    return group_c


def points_of(texts: list[str]) -> Points:
    """Return a block of texts as code points; a stray NUL is passed over, many are control characters."""
    joined = "\0" + "\0".join(
        text.replace("\0", "" if text.count("\0") <= MOST_NULS * len(text) else "\x01")[:LONGEST]
        for text in texts
    )
    code_c = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32)
    first_n = np.flatnonzero(code_c == 0)
    class_p, symbol_p, random_p = _characters()
    narrow_c = np.minimum(code_c, _BMP - 1).astype(np.uint16)
    class_c = class_p[narrow_c]
    class_c[code_c >= _BMP] = _CLASS["symbol"]
    class_c[first_n] = _CLASS["edge"]
    group_c = _groups()[narrow_c]
    group_c[code_c >= _BMP] = SHAPES - 3
    group_c[first_n] = 0
    text_c = np.repeat(np.arange(len(texts)), np.diff(first_n, append=len(code_c)))
    # Few texts have any, so the other characters are looked at only once.
    wide = np.flatnonzero((code_c >= _WIDE[0]) & (code_c <= _WIDE[-1]))
    return Points(
        text_c=text_c,
        class_c=class_c,
        symbol_c=symbol_p[narrow_c],
        group_c=group_c,
        mixed_c=random_p[narrow_c],
        first_n=first_n,
        wide_n=np.bincount(text_c[wide[np.isin(code_c[wide], _WIDE)]], minlength=len(texts)),
        count=len(texts),
    )


def words_of(points: Points) -> Words:
    """Return the runs of letters and inner apostrophes; a letter of a script without spaces is a word."""
    letter_c = _WORD_CLASSES[points.class_c]
    apostrophe = points.class_c == _CLASS["apostrophe"]
    within = np.zeros(len(letter_c), bool)
    within[1:-1] = apostrophe[1:-1] & letter_c[:-2] & letter_c[2:]
    letter_c = letter_c | within
    single = points.class_c == _CLASS["single"]
    start = letter_c.copy()
    start[1:] &= ~letter_c[:-1] | single[1:] | single[:-1]
    start_w = np.flatnonzero(start)
    if not len(start_w):
        empty = np.zeros(0, np.int64)
        return Words(
            text_w=empty,
            start_w=empty,
            length_w=empty,
            hash_w=empty.astype(np.uint64),
            after_space_w=empty > 0,
            single_w=empty > 0,
        )
    inner_c = np.flatnonzero(letter_c)
    begins_w = np.searchsorted(inner_c, start_w)
    length_w = np.diff(begins_w, append=len(inner_c))
    place_c = inner_c - np.repeat(start_w, length_w)
    hash_w = np.add.reduceat(points.mixed_c[inner_c] * _ODD[place_c & 63], begins_w)
    hash_w = (hash_w ^ (hash_w << np.uint64(23))) >> np.uint64(32)  # 32 bits, as the tables hold them
    before = points.class_c[start_w - 1]
    follows = np.zeros(len(start_w), bool)
    follows[1:] = (start_w[1:] - start_w[:-1] - length_w[:-1]) == 1
    return Words(
        text_w=points.text_c[start_w],
        start_w=start_w,
        length_w=length_w,
        hash_w=hash_w,
        after_space_w=follows & (before == _CLASS["space"]),
        single_w=single[start_w],
    )


def grams_of(points: Points) -> tuple[Ints, npt.NDArray[np.int32]]:
    """Return characters [g] within a word or at its end, and the number of each with the three before."""
    symbol = points.symbol_c.astype(np.int32)
    gram = symbol.copy()
    for back in (1, 2, 3):
        gram[back:] |= symbol[:-back] << (5 * back)
    for after, bits in ((1, 5), (2, 10)):  # nothing of the text before
        start = points.first_n + after
        gram[start[start < len(gram)]] &= (1 << bits) - 1
    word = (symbol > 0) & (symbol != 28)
    counts = word.copy()
    counts[1:] |= word[:-1]
    counts[points.first_n] = False
    place_g = np.flatnonzero(counts)
    return place_g, gram[place_g]


def shapes_of(points: Points) -> tuple[Ints, npt.NDArray[np.int32]]:
    """Return the first character of each run [r], and its shape with the two before, as one number.

    Runs are of letters, digits, blanks or of one mark. Texts' edges are runs, too.
    """
    group_c = points.group_c
    start_r = np.flatnonzero(np.append(True, group_c[1:] != group_c[:-1]))
    length_r = np.diff(start_r, append=len(group_c))
    shape_r = group_c[start_r].astype(np.int32)
    at = np.flatnonzero(shape_r == _NUMBER)
    shape_r[at] += np.minimum(length_r[at] - 1, 3).astype(np.int32)
    large_c, line_c = points.class_c == _CLASS["upper"], points.class_c == _CLASS["newline"]
    at = np.flatnonzero(shape_r == _WORD)  # small, letter, capital first, capital alone, all, within, mixed
    large = _within(large_c, start_r, at)
    first, alone = large_c[start_r[at]], length_r[at] == 1
    kind = np.where(large > 1, np.where(large == length_r[at], 4, 6), np.where(first, 2, 5) * large)
    shape_r[at] += np.where(alone, 1 + 2 * first, kind).astype(np.int32)
    at = np.flatnonzero(shape_r == _GAP)  # one blank, two, more; a line, more, an indented one
    lines, ends = _within(line_c, start_r, at), line_c[start_r[at] + length_r[at] - 1]
    shape_r[at] += np.where(
        lines == 0, np.minimum(length_r[at] - 1, 2), np.where(ends, 3 + (lines > 1), 5)
    ).astype(np.int32)
    shape_r[(shape_r >= _SIGN) & (length_r > 1)] = SHAPES - 1
    coded_r = shape_r.copy()
    coded_r[1:] |= shape_r[:-1] << 6
    coded_r[2:] |= shape_r[:-2] << 12
    after = np.flatnonzero(shape_r == 0) + 1
    coded_r[after[after < len(coded_r)]] &= (1 << 12) - 1  # nothing of the text before
    return start_r, coded_r


def _within(marked_c: npt.NDArray[np.bool_], start_r: Ints, at: Ints) -> Ints:
    """Count marked characters in some of the runs."""
    sums_c = np.append(0, np.cumsum(marked_c, dtype=np.int32))
    bound_r = np.append(start_r, len(marked_c))
    return sums_c[bound_r[at + 1]] - sums_c[start_r[at]]


def word_classes(words: Words, points: Points, held: Tables) -> tuple[Ints, Ints]:
    """Return rank [w] of each word among the frequent ones (`WORD_LIST` if none) and its class in pairs."""
    rank_w = _looked_up(held, words.hash_w)
    end_w = words.start_w + words.length_w - 1
    last = points.symbol_c[end_w].astype(np.int64)
    before = np.where(words.length_w > 1, points.symbol_c[end_w - 1], 0)
    class_w = np.where(
        rank_w < FUNCTION_WORDS, rank_w, held.endings[before * SYMBOLS + last].astype(np.int64)
    )
    return rank_w, class_w


def _looked_up(held: Tables, hash_w: Hashes) -> Ints:
    """Return the rank of each hash among the frequent words, or `WORD_LIST`."""
    known, rank = held.slots
    slot_w = (hash_w & np.uint64(_SLOTS - 1)).astype(np.int64)
    return np.where(known[slot_w] == hash_w, rank[slot_w], WORD_LIST).astype(np.int64)


def sequence_of(words: Words, class_w: Ints) -> tuple[Ints, Ints, Ints]:
    """Return pairs of classes that follow each other: text, first and second [p]; a break between others."""
    same = np.zeros(len(class_w), bool)
    same[1:] = words.text_w[1:] == words.text_w[:-1]
    joined = same & words.after_space_w
    apart = same & ~words.after_space_w
    before = np.roll(class_w, 1)
    text = np.concatenate([words.text_w[joined], words.text_w[apart], words.text_w[apart]])
    gap = np.full(int(apart.sum()), BREAK)
    return (
        text,
        np.concatenate([before[joined], before[apart], gap]),
        np.concatenate([class_w[joined], gap, class_w[apart]]),
    )


def form(texts: pl.Series) -> pl.DataFrame:
    """Return the statistics of each text in order, and what says whether the model has seen its language.

    Columns: `n` (characters that are no blanks), a float each of `NAMES`, `language` ("eng", another one of
    the tables, "other" for another script, "none" under five words, "short" under `LEAST` characters).
    """
    frames = [_block(block) for block in _blocks(texts.to_list())]
    return pl.concat(frames) if frames else _block([""]).clear()


def _blocks(texts: list[str]) -> Iterator[list[str]]:
    start, size = 0, 0
    for place, text in enumerate(texts):
        size += min(len(text), LONGEST)
        if size >= _AT_ONCE:
            yield texts[start : place + 1]
            start, size = place + 1, 0
    if start < len(texts):
        yield texts[start:]


def _block(texts: list[str]) -> pl.DataFrame:
    held, points = tables(), points_of(texts)
    words = words_of(points)
    rank_w, class_w = word_classes(words, points, held)
    number = np.bincount(points.text_c * _N + points.class_c, minlength=points.count * _N)
    counts_nk = number.reshape(points.count, _N).astype(np.float64)
    found = _by_characters(points, counts_nk, held)
    found |= _by_grams(points, held)
    found |= _by_shapes(points, held)
    found |= _by_words(points, words, rank_w, counts_nk)
    found |= _by_pairs(words, class_w, held, points.count)
    found |= _by_lines(points, counts_nk)
    found |= _at_line_ends(points, words, rank_w, class_w, held)
    shown_n = counts_nk.sum(1) - counts_nk[:, [_CLASS["edge"], _CLASS["space"], _CLASS["newline"]]].sum(1)
    return pl.DataFrame(
        {"n": shown_n, **found, "language": _language(points, words, rank_w, counts_nk, shown_n, held)}
    )


def _share(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    return np.asarray(part, np.float64) / np.maximum(np.asarray(whole, np.float64), 1.0)


def _total(text: Ints, weight: npt.ArrayLike | None, count: int) -> Floats:
    weights = None if weight is None else np.asarray(weight, np.float64)
    return np.bincount(text, weights, minlength=count).astype(np.float64)


def _sums(values: npt.NDArray[np.generic], points: Points, start: int = 0) -> Ints:
    """Sum whole numbers by text: `values` are of the block's characters from `start` on."""
    sums_c = np.zeros(len(points.text_c) + 1, np.int64)
    np.cumsum(values, out=sums_c[start + 1 : start + 1 + len(values)])
    sums_c[start + 1 + len(values) :] = sums_c[start + len(values)]
    bounds = np.append(points.first_n, len(points.text_c))
    return np.diff(sums_c[bounds])


def _by_characters(points: Points, counts_nk: Floats, held: Tables) -> dict[str, Floats]:
    """Shares of kinds of characters and of what follows what."""
    take = {name: counts_nk[:, number] for name, number in _CLASS.items()}
    shown = counts_nk.sum(1) - take["edge"] - take["space"] - take["newline"]
    whole = counts_nk.sum(1) - take["edge"]
    letters = sum((take[name] for name in _LETTERS), np.zeros(len(shown)))
    stops = take["stop"] + take["comma"]
    found = {
        "letters": _share(letters, shown),
        "spaces": _share(take["space"], whole),
        "capitals": _share(take["upper"], letters),
        "accented": _share(take["accented"] + take["latin"], shown),
        "quotes": _share(take["quote"] + take["apostrophe"], shown),
        "unbalanced": _share(
            np.abs(take["open"] - take["close"]) + np.abs(take["less"] - take["greater"]), shown
        ),
    }
    for name in ("digit", "foreign", "stop", "comma", "dash", "slash", "bar", "equals", "mark", "bullet"):
        found[name] = _share(take[name], shown)
    found["odd"] = _share(take["control"], shown)
    found["symbols"] = _share(take["symbol"], shown)
    found["brackets"] = _share(take["open"] + take["close"], shown)
    found["angles"] = _share(take["less"] + take["greater"], shown)
    share_nk = counts_nk[:, 1:] / np.maximum(whole, 1)[:, None]
    found["class_entropy"] = -(share_nk * np.log(np.maximum(share_nk, 1e-9))).sum(1)
    return found | _by_neighbours(points, held, letters=letters, shown=shown, whole=whole, stops=stops)


def _by_neighbours(
    points: Points, held: Tables, *, letters: Floats, shown: Floats, whole: Floats, stops: Floats
) -> dict[str, Floats]:
    """Log P of classes of characters after each other, and shares of pairs that sound texts have few of."""
    pair_c = points.class_c[:-1].astype(np.int32) * _N + points.class_c[1:]
    text = points.text_c[1:]
    to_edge = np.arange(_N * _N) % _N == _CLASS["edge"]
    usual = np.where(to_edge, 0, held.usual.ravel()).astype(np.int64)
    rare = usual < -5.0 * STEP
    both = _sums((usual + (rare.astype(np.int64) << 32))[pair_c], points, 1)  # two sums in one pass
    rare_n = (both + (1 << 31)) >> 32
    found = {
        "usual": _share((both - (rare_n << 32)) / STEP, whole),
        "rare_pairs": _share(rare_n, whole),
    }

    def follow(first: tuple[str, ...], second: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        table = np.zeros((_N, _N), bool)
        table[np.ix_([_CLASS[one] for one in first], [_CLASS[one] for one in second])] = True
        return table.ravel()

    letter, marks = ("lower", "upper", "accented"), ("mark", "bar", "equals", "slash", "symbol")
    kinds = {
        "letter_digit": (follow(letter, ("digit",)) | follow(("digit",), letter), letters),
        "mark_within": (follow(letter, (*marks, "control", "latin")), letters),
        "stop_letter": (follow(("stop", "comma"), letter), stops),
        "space_stop": (follow(("space", "newline"), ("stop", "comma")), stops),
        "spaces_twice": (follow(("space",), ("space",)), whole),
        "marks_twice": (follow(marks, marks), shown),
        "tags": (follow(("less",), ("lower", "upper", "slash", "mark", "stop")), shown),
        "calls": (follow(("lower", "close", "quote"), ("open", "close", "comma")), shown),
        "rises": (follow(("lower",), ("upper",)), letters),
        "opens": (follow(("stop",), ("space",)), shown),
    }
    code_c = np.zeros(_N * _N, np.int16)  # a pair counts for a few kinds at most: one pass for all of these
    for place, (pairs, _) in enumerate(kinds.values()):
        code_c |= pairs.astype(np.int16) << place
    code = code_c[pair_c]
    marked = np.flatnonzero(code)
    bits, at = code[marked], text[marked]
    for place, (name, (_, base)) in enumerate(kinds.items()):
        found[name] = _share(_total(at[(bits >> place) & 1 == 1], None, points.count), base)

    def total_of(kind: str) -> tuple[Ints, Ints]:
        first = marked[(bits >> list(kinds).index(kind)) & 1 == 1]
        return first, points.text_c[first + 1]

    padded = np.append(points.class_c, [_CLASS["edge"]] * 2)
    rise, of = total_of("rises")
    hump = (padded[rise - 1] == _CLASS["lower"]) & (padded[rise + 2] == _CLASS["lower"])
    found["case_changes"] = _share(_total(of[~hump], None, points.count), letters)
    found["humps"] = _share(_total(of[hump], None, points.count), letters)
    stop, of = total_of("opens")
    followed, begun = padded[stop + 2] != _CLASS["edge"], padded[stop + 2] == _CLASS["lower"]
    found["small_after_stop"] = _share(
        _total(of[begun], None, points.count), _total(of[followed], None, points.count) + 1
    )
    del found["rises"], found["opens"]
    return found


def _by_grams(points: Points, held: Tables) -> dict[str, Floats]:
    """Log P of characters after three others: in all, at worst, and its range within the text."""
    place_g, gram_g = grams_of(points)
    whole_g = held.grams[gram_g]
    bounds = np.searchsorted(place_g, np.append(points.first_n, len(points.text_c)))
    sums_g = np.zeros(len(place_g) + 1, np.int64)
    np.cumsum(whole_g, out=sums_g[1:])
    count_n = np.diff(bounds)
    text_g = np.repeat(np.arange(points.count), count_n)
    mean_n = _share(np.diff(sums_g[bounds]) / STEP, count_n)
    low_n, high_n = _extremes(place_g, sums_g, points, BLOCK)
    lowest_n, _ = _extremes(place_g, sums_g, points, WINDOW)
    length_n = np.diff(points.first_n, append=len(points.text_c))
    seen = np.zeros((points.count, _SEEN), bool)
    seen[text_g, (gram_g * 40503 >> 7) & (_SEEN - 1)] = True
    different = -_SEEN * np.log(np.maximum(1 - seen.mean(1), 1 / _SEEN))
    end_e = np.flatnonzero(points.symbol_c[place_g] == 0)
    log_e, text_e = whole_g[end_e] / STEP, text_g[end_e]
    at_break = points.class_c[place_g[end_e]] == _CLASS["newline"]
    n_break = _total(text_e[at_break], None, points.count)
    break_n = _share(_total(text_e[at_break], log_e[at_break], points.count), n_break)
    end_n = _share(_total(text_e, log_e, points.count), _total(text_e, None, points.count))
    return {
        "line_end_grams": np.where(n_break > 1, break_n - end_n, 0.0),
        "grams": mean_n,
        "unlikely_grams": _share(_total(text_g[whole_g < -5.5 * STEP], None, points.count), count_n),
        "lowest_block": np.where(np.isfinite(low_n), low_n, mean_n),
        "lowest_window": np.where(np.isfinite(lowest_n), lowest_n, mean_n),
        "block_range": np.where(np.isfinite(low_n), high_n - low_n, 0.0),
        "different_grams": _share(different, np.minimum(count_n, 4 * _SEEN)),
        "letter_runs": _share(count_n, length_n),
    }


def _windows(points: Points, size: int) -> tuple[Ints, Ints]:
    """Return the first characters of each text's windows of `size` characters, and its first window [n]."""
    windows_n = np.diff(points.first_n, append=len(points.text_c)) // size + 1
    first_n = np.cumsum(windows_n) - windows_n
    start_b = np.repeat(points.first_n - first_n * size, windows_n) + np.arange(windows_n.sum()) * size
    return start_b, first_n


def _extremes(place_g: Ints, sums_g: Ints, points: Points, size: int) -> tuple[Floats, Floats]:
    """Return the lowest and the highest mean value of each text's windows, infinite without any.

    place_g: characters with values; sums_g: of the values before each, and of all. Windows with values at
    under a quarter of their characters are left out.
    """
    start_b, first_n = _windows(points, size)
    bound_b = np.append(np.searchsorted(place_g, start_b), len(place_g))
    number_b = np.diff(bound_b)
    mean_b = np.diff(sums_g[bound_b]) / STEP / np.maximum(number_b, 1)
    enough_b = number_b >= size // 4
    low_n = np.minimum.reduceat(np.where(enough_b, mean_b, np.inf), first_n)
    return low_n, np.maximum.reduceat(np.where(enough_b, mean_b, -np.inf), first_n)


def _by_shapes(points: Points, held: Tables) -> dict[str, Floats]:
    """Log P of runs of letters, digits, blanks and marks after two others; markup; wide gaps."""
    count = points.count
    start_r, coded_r = shapes_of(points)
    kept = np.flatnonzero(coded_r & (SHAPES - 1))  # no edges
    start_r, coded_r = start_r[kept], coded_r[kept]
    text_r, whole_r = points.text_c[start_r], held.shapes[coded_r]
    runs = _total(text_r, None, count)
    log_n = _total(text_r, whole_r, count) / STEP
    length_n = np.diff(points.first_n, append=len(points.text_c)) - 1
    start_b, first_n = _windows(points, BLOCK)
    bound_b = np.append(np.searchsorted(start_r, start_b), len(start_r))
    log_b = np.diff(np.append(0, np.cumsum(whole_r, dtype=np.int64))[bound_b]) / STEP
    last, middle, first = coded_r & 63, coded_r >> 6 & 63, coded_r >> 12
    less, slash, ampersand, semicolon, number = (_SIGN + _MARKED.index(mark) for mark in "</&;#")
    tag = (middle == less) & (_lettered(last) | (last == slash))
    entity = (last == semicolon) & (
        ((first == ampersand) & _lettered(middle)) | ((first == number) & (middle < _GAP))
    )
    gap = (middle == _GAP + 1) | (middle == _GAP + 2)
    wide = gap & _lettered(first) & ((last == _WORD) | (last == _WORD + 1))
    return {
        "shapes": _share(log_n, runs),
        "shapes_a_character": _share(log_n, length_n),
        "unlikely_shapes": _share(_total(text_r[whole_r < -5 * STEP], None, count), runs),
        "lowest_shapes": np.minimum.reduceat(log_b / np.maximum(np.diff(bound_b), 8), first_n),
        "lowest_shapes_a_character": np.minimum.reduceat(log_b, first_n) / BLOCK,
        "runs": _share(runs, length_n),
        "markup": np.log1p(_total(text_r[tag], None, count)),
        "entities": np.log1p(_total(text_r[entity], None, count)),
        "wide_gaps": _share(_total(text_r[wide], None, count), runs),
    }


def _lettered(shape_r: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    return (shape_r >= _WORD) & (shape_r <= _ACCENTED)


def _longest(at: Ints, whole: int, text: Ints, count: int) -> Floats:
    """Return the logarithm of the longest distance from a place to the next, by text."""
    longest_n = np.zeros(count)
    if len(at):
        of = text[at]
        first = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
        longest_n[of[first]] = np.maximum.reduceat(np.diff(at, append=whole), first)
    return np.log1p(longest_n)


def _by_words(points: Points, words: Words, rank_w: Ints, counts_nk: Floats) -> dict[str, Floats]:
    """Lengths, frequent words, capitals and repetition of words."""
    text, count = words.text_w, points.count
    n_words = _total(text, None, count)
    length = words.length_w.astype(np.float64)
    mean = _share(_total(text, length, count), n_words)
    first_class = points.class_c[words.start_w] if len(text) else np.zeros(0, np.uint8)
    upper = first_class == _CLASS["upper"]
    digits_or_letters = counts_nk[:, [_CLASS["digit"], _CLASS["lower"], _CLASS["upper"]]].sum(1)
    again = np.zeros(len(text), bool)
    near = np.zeros(len(text), bool)
    for lag in (1, 2, 3, 4, 6, 8, 12):
        same = (words.hash_w[lag:] == words.hash_w[:-lag]) & (text[lag:] == text[:-lag])
        if lag == 1:
            near[lag:] |= same
        again[lag:] |= same & (length[lag:] > 3)
    triple = words.hash_w.copy()
    for lag in (1, 2):
        triple[lag:] = triple[lag:] * np.uint64(0x9E3779B97F4A7C15) + words.hash_w[:-lag]
    triple = (triple ^ text.astype(np.uint64)) * np.uint64(0xD6E8FEB86659FD93)
    repeated = _repeats(triple)
    repeated[:2] = False
    repeated[2:] &= text[2:] == text[:-2]
    repeated_one = _repeats(words.hash_w ^ text.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    rare = rank_w >= WORD_LIST
    is_upper = points.class_c == _CLASS["upper"]
    rises = np.flatnonzero((points.class_c[:-1] == _CLASS["lower"]) & is_upper[1:])
    mixed = np.unique(np.searchsorted(words.start_w, rises, "right") - 1)
    begins = np.append(True, text[1:] != text[:-1])[: len(text)]
    return {
        "longest_content": _longest(
            np.flatnonzero(begins | (rank_w < FUNCTION_WORDS)), len(text), text, count
        ),
        "longest_title": _longest(np.flatnonzero(begins | ~upper), len(text), text, count),
        "longest_rare": _longest(np.flatnonzero(begins | ~rare), len(text), text, count),
        "mixed_words": _share(_total(text[mixed], None, count), n_words),
        "word_length": mean,
        "word_length_spread": np.sqrt(
            np.maximum(_share(_total(text, length**2, count), n_words) - mean**2, 0)
        ),
        "long_words": _share(_total(text, length > 15, count), n_words),
        "single_letters": _share(_total(text, (length == 1) & (rank_w >= FUNCTION_WORDS), count), n_words),
        "short_words": _share(_total(text, (length <= 3) & (rank_w >= 1000), count), n_words),
        "function_words": _share(_total(text, rank_w < FUNCTION_WORDS, count), n_words),
        "unknown_words": _share(_total(text, rare, count), n_words),
        "unknown_small_words": _share(_total(text, rare & ~upper, count), _total(text, ~upper, count)),
        "capital_words": _share(_total(text, upper, count), n_words),
        "capital_function_words": _share(_total(text, upper & (rank_w < FUNCTION_WORDS), count), n_words),
        "after_space": _share(_total(text, words.after_space_w, count), n_words),
        "word_again": _share(_total(text, again, count), n_words),
        "word_twice": _share(_total(text, near, count), n_words),
        "repeated_triples": _share(_total(text, repeated, count), n_words),
        "repeated_words": _share(_total(text, repeated_one, count), n_words),
        "letters_a_word": _share(digits_or_letters, n_words),
    }


def _repeats(key_w: Hashes) -> npt.NDArray[np.bool_]:
    """Return which keys occur earlier in the block."""
    return (~pl.Series(key_w).is_first_distinct()).to_numpy()


def _by_pairs(words: Words, class_w: Ints, held: Tables, count: int) -> dict[str, Floats]:
    """Ratios of observed to chance pairs of words, next to those of words that are further apart."""
    text, first, second = sequence_of(words, class_w)
    ratio = held.pairs[first, second].astype(np.float64) / STEP
    number = _total(text, None, count)
    near = _share(_total(text, ratio, count), number)
    far_sum, far_number = np.zeros(count), np.zeros(count)
    for lag in (4, 7):
        same = words.text_w[lag:] == words.text_w[:-lag]
        far = held.pairs[class_w[:-lag][same], class_w[lag:][same]].astype(np.float64) / STEP
        far_sum += _total(words.text_w[lag:][same], far, count)
        far_number += _total(words.text_w[lag:][same], None, count)
    back = _share(_total(text, held.pairs[second, first].astype(np.float64) / STEP, count), number)
    return {
        "word_pairs": near,
        "word_order": np.where(far_number > 3, near - _share(far_sum, far_number), 0.6),
        "word_direction": near - back,
        "unlikely_pairs": _share(_total(text, ratio < -1.5, count), number),
    }


def _by_lines(points: Points, counts_nk: Floats) -> dict[str, Floats]:
    """Lengths and ends of lines and of what full stops and other marks part."""
    count = points.count
    newline = points.class_c == _CLASS["newline"]
    ends = newline | (points.class_c == _CLASS["edge"])
    at = np.append(np.flatnonzero(ends), len(ends))
    length = np.diff(at) - 1
    filled = length > 0
    start, end = at[:-1][filled] + 1, at[1:][filled] - 1
    text, length = points.text_c[start], length[filled].astype(np.float64)
    lines = _total(text, None, count)
    first, last = points.class_c[start], points.class_c[end]
    mean = _share(_total(text, length, count), lines)
    characters = counts_nk[:, 1:].sum(1)
    breaks = counts_nk[:, [_CLASS[name] for name in ("stop", "comma")]].sum(1)
    sum_c = np.cumsum(points.mixed_c)
    key = (sum_c[end] - sum_c[start]) ^ (text.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    repeated = _repeats(key) & (length > 1)
    marks, alike = _shapes(points, at)
    stops = (points.class_c == _CLASS["stop"]) | (points.class_c == _CLASS["edge"])
    return {
        "longest_unstopped": _longest(np.flatnonzero(stops), len(stops), points.text_c, count),
        "line_length": np.log1p(mean),
        "line_spread": _share(
            np.sqrt(np.maximum(_share(_total(text, length**2, count), lines) - mean**2, 0)), mean
        ),
        "short_lines": _share(_total(text, (length < 30) * length, count), characters) * (lines > 1),
        "ended_lines": _share(_total(text, (last == _CLASS["stop"]) * length, count), characters),
        "small_lines": _share(_total(text, first == _CLASS["lower"], count), lines),
        "indented_lines": _share(_total(text, first == _CLASS["space"], count), lines),
        "marked_lines": _share(
            _total(text, ~np.isin(first, [_CLASS[one] for one in (*_LETTERS, "digit", "space")]), count),
            lines,
        ),
        "repeated_lines": _share(_total(text, repeated * length, count), characters),
        "repeated_shapes": _share(_total(text, (alike & (marks > 1))[filled] * length, count), characters),
        "newlines": _share(counts_nk[:, _CLASS["newline"]], characters),
        "sentence_length": np.log1p(_share(characters, counts_nk[:, _CLASS["stop"]] + 1)),
        "part_length": np.log1p(_share(characters, breaks + 1)),
    }


def _shapes(points: Points, at: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return of each line its number of marks, and whether an earlier line of the text has the same sequence.

    at: where lines end, as edges and newlines, and the end of the block. A run of digits is one mark.
    """
    is_mark = _MARKS[points.class_c]
    digit = points.class_c == _CLASS["digit"]
    is_mark[1:] &= ~(digit[1:] & digit[:-1])
    mark_m = np.flatnonzero(is_mark)
    first_l = np.searchsorted(mark_m, at)
    marks = np.diff(first_l)
    line_m = np.repeat(np.arange(len(marks)), marks)
    place_m = np.arange(len(mark_m)) - first_l[line_m]
    sum_m = np.zeros(len(mark_m) + 1, np.uint64)
    np.cumsum(_MARK_CODES[points.class_c[mark_m]] * _ODD[place_m & 63], out=sum_m[1:])
    text = points.text_c[at[:-1]].astype(np.uint64)
    key = (sum_m[first_l[1:]] - sum_m[first_l[:-1]]) ^ (text * np.uint64(0x9E3779B97F4A7C15))
    return marks, _repeats(key)


def _at_line_ends(
    points: Points, words: Words, rank_w: Ints, class_w: Ints, held: Tables
) -> dict[str, Floats]:
    """Statistics of words next to line breaks: lines that were cut or put side by side end within words."""
    count, text = points.count, words.text_w
    if not len(text):
        return {"cut_words": np.zeros(count), "line_pairs": np.zeros(count), "dashed_lines": np.zeros(count)}
    follows, ends = words.start_w + words.length_w, np.zeros(len(text), bool)
    gap = _gaps(points)
    last = follows < len(gap)
    ends[last] = gap[follows[last]]
    begins = gap[words.start_w - 1]
    rare = rank_w >= WORD_LIST
    beside = ends | begins
    n_beside, n_inner = _total(text[beside], None, count), _total(text[~beside], None, count)
    cut = _share(_total(text[beside & rare], None, count), n_beside) - _share(
        _total(text[~beside & rare], None, count), n_inner
    )
    over = np.flatnonzero(ends[:-1] & begins[1:] & (text[1:] == text[:-1]))
    ratio = held.pairs[class_w[over], class_w[over + 1]].astype(np.float64) / STEP
    n_over = _total(text[over], None, count)
    newline = np.flatnonzero(points.class_c == _CLASS["newline"])
    dashed = newline[(newline > 0) & (points.class_c[newline - 1] == _CLASS["dash"])]
    return {
        "cut_words": np.where((n_beside > 3) & (n_inner > 3), cut, 0.0),
        "line_pairs": _total(text[over], ratio, count) / (n_over + 3),
        "dashed_lines": _share(
            _total(points.text_c[dashed], None, count), _total(points.text_c[newline], None, count) + 3
        ),
    }


def _gaps(points: Points) -> npt.NDArray[np.bool_]:
    """Return which characters are line breaks or belong to rows of dots, or are the blanks next to these."""
    stop, blank = points.class_c == _CLASS["stop"], points.class_c == _CLASS["space"]
    dots = np.flatnonzero(stop[:-1] & stop[1:])
    gap = points.class_c == _CLASS["newline"]
    gap[dots] = gap[dots + 1] = True
    before, after = np.maximum(dots - 1, 0), np.minimum(dots + 2, len(gap) - 1)
    gap[before[blank[before]]] = True
    gap[after[blank[after]]] = True
    return gap


def _language(
    points: Points, words: Words, rank_w: Ints, counts_nk: Floats, shown_n: Floats, held: Tables
) -> list[str]:
    """Return the language with most frequent words in a text, English unless another has clearly more.

    A text of mostly full-width letters is no text in another script, unlike one that holds some.
    """
    count = len(counts_nk)
    n_words = _total(words.text_w, None, count)
    english = _share(_total(words.text_w, rank_w < FUNCTION_WORDS, count), n_words)
    doubtful = (english < 0.25) & (n_words >= 5)
    names = np.where(n_words >= 5, "eng", "none").astype(object)
    if doubtful.any():
        kept = doubtful[words.text_w] & ((words.length_w > 1) | words.single_w)
        text, hashed = words.text_w[kept], words.hash_w[kept]
        low = np.searchsorted(held.language_words, hashed, "left")
        times = np.searchsorted(held.language_words, hashed, "right") - low
        row = np.repeat(np.arange(len(hashed)), times)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
        which = held.language_of[low[row] + offset]
        languages = len(held.languages)
        place = np.unique(text, return_inverse=True)
        hits = np.bincount(place[1][row] * languages + which, minlength=len(place[0]) * languages)
        share = hits.reshape(-1, languages) / n_words[place[0]][:, None]
        best = share.argmax(1)
        best_share, own = share.max(1), english[place[0]]
        is_other = (best_share >= 0.2) & (best_share > 1.5 * own)
        chosen = np.array(held.languages, dtype=object)[best]
        names[place[0][is_other]] = chosen[is_other]
    letters_n = counts_nk[:, [_CLASS[name] for name in _LETTERS]].sum(1)
    foreign = counts_nk[:, [_CLASS["foreign"], _CLASS["single"]]].sum(1) > letters_n / 2
    foreign &= points.wide_n <= letters_n / 2
    names[foreign & np.isin(names, ("eng", "none"))] = "other"
    names[shown_n < LEAST] = "short"
    return names.tolist()


def names() -> tuple[str, ...]:
    """Return the names of the statistics, in their order."""
    return tuple(
        name for name in form(pl.Series([""], dtype=pl.String)).columns if name not in ("n", "language")
    )
