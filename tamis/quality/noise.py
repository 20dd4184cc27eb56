"""Bad documents made on purpose, and how well a judge tells them from the good ones they were made of.

Every judge has its AUC on such noise, next to that of length alone, since a judge near .5 or below
(the paper's prompt on a 135M model: .33 on prose) would rank the pool at random and nothing downstream
could see it. Six kinds, since a judge may be blind to one: the same model that finds shuffled words may
like a page's menu.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from tamis.base.arguments import as_floats, as_whole, strings
from tamis.base.errors import PermanentError
from tamis.base.words import CHARACTER, SPACELESS
from tamis.readers.text import without_surrogates

LONGEST_WORDS = 400  # noise is made of the first words of a text: no judge reads further
MENU = (  # nothing that the prompt's own example of a menu shows
    *("Overview", "Our team", "Sign up", "My account", "Wish list", "Basket", "Imprint", "Careers", "Press"),
    *("Newsletter", "Follow us", "Top stories", "Weather", "RSS", "Cookie settings", "FAQ", "Support"),
    *("Store finder", "View all", "Change language"),
)
TAGS = ("div", "span", "li", "td", "a", "nav")
ROWS_OF_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")

# Two characters of a script without spaces are about a word. The space before a piece is a part of it.
_PIECE = rf"\s?(?:(?:{CHARACTER}){{1,2}}|[\S--{SPACELESS}]+)"


class Maker(Protocol):
    """Makes noise of the words of a text, with what stands between these."""

    def __call__(self, words: list[str], generator: np.random.Generator, between: str = " ") -> str: ...


class NoScoresError(PermanentError, ValueError):
    """One side of a comparison has no score."""

    def __init__(self, clean: int, noisy: int) -> None:
        self.clean, self.noisy = clean, noisy
        super().__init__(
            "an AUC (area under the ROC curve) needs scores of both clean and noisy texts, but there are "
            f"{clean} scores of clean and {noisy} of noisy texts"
        )


@dataclass(frozen=True, kw_only=True)
class AreaUnderCurve:
    """AUC = P(clean scores above noisy) + half of ties, with a 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    n_clean: int
    n_noisy: int


def planted_noise(texts: Sequence[str], seed: int = 0) -> pl.DataFrame:
    """One bad document per text, in order: columns `text` and `kind`, one of six.

    A row depends on its text and the seed alone, so that what is said about it can be kept. Texts in scripts
    without spaces are taken apart into pairs of characters.
    """
    texts, seed = strings("texts", texts), as_whole("seed", seed, 0)
    kinds = sorted(MAKERS)
    rows = []
    for text, words in zip(texts, _words(texts), strict=True):
        generator = np.random.default_rng(
            [seed, int.from_bytes(sha256(text.encode("utf-8", "replace")).digest()[:8], "big")]
        )
        kind = kinds[int(generator.integers(len(kinds)))]
        between = " " if words is None else ""
        words = (text.split() if words is None else words)[:LONGEST_WORDS] or ["empty"]
        rows.append((MAKERS[kind](words, generator, between), kind))
    return pl.DataFrame(rows, schema={"text": pl.String, "kind": pl.String}, orient="row")


def _words(texts: Sequence[str]) -> list[list[str] | None]:
    """Return the pieces of each text that is in a script without spaces, None for the others."""
    text = pl.col("text")
    frame = pl.DataFrame({"text": list(map(without_surrogates, texts))}, schema={"text": pl.String})
    pieces = pl.when(text.str.contains(SPACELESS)).then(text.str.extract_all(_PIECE))
    return frame.select(pieces).to_series().to_list()


def auc(clean_n: ArrayLike, noisy_m: ArrayLike, *, seed: int = 0, resamples: int = 1_000) -> AreaUnderCurve:
    """Area under the ROC curve of clean [n] against noisy [m] scores; NaN scores are left out.

    Raises `NoScoresError` when either side has no score.
    """
    clean, noisy = as_floats("clean_n", clean_n, "scores [n]"), as_floats("noisy_m", noisy_m, "scores [m]")
    seed, resamples = as_whole("seed", seed, 0), as_whole("resamples", resamples, 1)
    clean, noisy = clean[~np.isnan(clean)], noisy[~np.isnan(noisy)]
    if not len(clean) or not len(noisy):
        raise NoScoresError(len(clean), len(noisy))
    generator = np.random.default_rng(seed)
    drawn = [
        _area(generator.choice(clean, len(clean)), generator.choice(noisy, len(noisy)))
        for _ in range(resamples)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return AreaUnderCurve(
        value=_area(clean, noisy), low=float(low), high=float(high), n_clean=len(clean), n_noisy=len(noisy)
    )


def _area(clean: np.ndarray, noisy: np.ndarray) -> float:
    ordered = np.sort(noisy)
    below = np.searchsorted(ordered, clean, side="left") + np.searchsorted(ordered, clean, side="right")
    return float(below.mean() / 2 / len(noisy))


def _shuffled_words(words: list[str], generator: np.random.Generator, between: str = " ") -> str:
    return between.join(generator.permutation(words).tolist())


def _repeated_ngram(words: list[str], generator: np.random.Generator, between: str = " ") -> str:
    length = int(generator.integers(2, 6))
    start = int(generator.integers(0, max(len(words) - length, 0) + 1))
    phrase = words[start : start + length]
    return between.join(phrase * max(len(words) // len(phrase), 3))


def _menu(words: list[str], generator: np.random.Generator, between: str = " ") -> str:
    count = max(len(words) // 2, 8)
    entries = generator.choice(MENU, count).tolist()
    if generator.random() < 0.5:
        return " | ".join(entries)
    return "\n".join(
        f'<{tag} class="{entry[:3].lower()}">{entry}</{tag}>'
        for tag, entry in zip(generator.choice(TAGS, count).tolist(), entries, strict=True)
    )


def _keyboard_mash(words: list[str], generator: np.random.Generator, between: str = " ") -> str:
    def mashed(word: str) -> str:
        keys = ROWS_OF_KEYS[int(generator.integers(len(ROWS_OF_KEYS)))]
        return "".join(keys[key] for key in generator.integers(0, len(keys), len(word)))

    return between.join(mashed(word) for word in words)


def _fragments(words: list[str], generator: np.random.Generator, between: str = " ") -> str:
    # Four-word pieces from all over the text, each cut inside its last word.
    starts = generator.permutation(max(len(words) - 4, 1))[: max(len(words) // 6, 2)]
    pieces = [between.join(words[start : start + 4]) for start in starts]
    return " ... ".join(piece[: max(len(piece) - 2, 1)] for piece in pieces)


def _number_dump(words: list[str], generator: np.random.Generator, between: str = " ") -> str:
    values = generator.lognormal(3.0, 3.0, max(len(words), 8))
    return " ".join(
        f"{value:.{int(places)}f}"
        for value, places in zip(values, generator.integers(0, 4, len(values)), strict=True)
    )


MAKERS: dict[str, Maker] = {
    "fragments": _fragments,
    "keyboard_mash": _keyboard_mash,
    "menu": _menu,
    "number_dump": _number_dump,
    "repeated_ngram": _repeated_ngram,
    "shuffled_words": _shuffled_words,
}
