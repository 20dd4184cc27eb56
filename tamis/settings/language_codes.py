"""Language codes as people write them: of two or three letters, retired, with a script or a region.

The tables are those of langcodes (the IANA registry, and CLDR for what has been renamed), loaded when the
first code is read. "iw", "heb" and "he-IL" are "he"; "ger" and "deu" are "de". A language that CLDR counts as
its macrolanguage has the code of that ("cmn_Hani": "zh", "arb": "ar", "ekk": "et"), so either may be named.
"""

import re
from collections.abc import Iterable
from functools import cache

VERSION = 2
"""Raised when codes are read in another way, or other languages belong to a macrolanguage."""
NO_LANGUAGE = frozenset({"und", "mul", "mis", "zxx"})
"""Codes that name no language."""
_FORM = re.compile(r"\s*([A-Za-z]{2,3})((?:[-_][A-Za-z0-9_-]+)?)\s*")
# Serbo-Croatian is a macrolanguage of its own for ISO 639-3 and Serbian for CLDR; Filipino is Tagalog.
_OWN = {"sh": "sh", "hbs": "sh", "fil": "tl", "tgl": "tl"}
# ISO 639-3 has Indonesian as a part of Malay; whoever keeps one of the two does not mean the other.
_APART = frozenset({"id"})


@cache
def short_code(code: str) -> str | None:
    """Return the two letters of a language, or the three of one that has no two: "eng" and "en-US" are "en".

    None where no language has that code ("English", "zz"), and for codes that name none ("und").
    """
    from langcodes import standardize_tag, tag_is_valid
    from langcodes.tag_parser import LanguageTagError

    form = _FORM.fullmatch(code)
    if form is None:
        return None
    first = form.group(1).lower()
    if first in NO_LANGUAGE or not tag_is_valid(first):
        return None
    if first in _OWN:
        return _OWN[first]
    try:  # of the whole tag, since some are renamed as a whole ("zh-min-nan": "nan")
        tag = standardize_tag(form.group(0).strip().replace("_", "-"), macro=True)
    except LanguageTagError:
        tag = standardize_tag(first, macro=True)
    language = tag.split("-")[0].lower()
    return _OWN.get(language, language)


def is_known(code: str) -> bool:
    """Return whether a stated language is a code: of a language, or one that says that there is none."""
    form = _FORM.fullmatch(code)
    return short_code(code) is not None or (form is not None and form.group(1).lower() in NO_LANGUAGE)


@cache
def _members() -> dict[str, str]:
    """Return the macrolanguage of each language that is a part of one, by ISO 639-3."""
    from langcodes.data_dicts import MACROLANGUAGES

    return {code: whole for code, whole in MACROLANGUAGES.items() if code not in _APART}


def counted_as(languages: Iterable[str]) -> list[str]:
    """Return the codes, as `short_code` has them, of what counts as one of these languages.

    Beside the languages themselves those that ISO 639-3 has as parts of them: "no" keeps "nb" and "nn", "zh"
    keeps "yue", "ar" keeps "arz". Indonesian is not kept by "ms".
    """
    wanted = [short_code(code) or code for code in languages]
    parts = [part for part, whole in _members().items() if whole in wanted]
    return list(dict.fromkeys([*wanted, *parts])) if wanted else []
