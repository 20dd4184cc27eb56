"""Phone numbers: international ones with +, and national ones as people of a region write them.

What looks like a number is found by a pattern over all texts at once; Google's rules (the package
phonenumbers, a table of every numbering plan) then decide about the few that do. Without a word such as
"tel" before it a national number must be grouped as its region groups it ("020 7946 0018", "(212) 867-5309",
"1-415-867-5309"), with one any valid number of a region counts. 70 to 300 microseconds a candidate.
"""

import re
from functools import lru_cache
from importlib.metadata import version
from itertools import pairwise

import polars as pl

DEFAULT_REGIONS = ("US", "GB", "DE", "FR")
_PACKAGE = "phonenumbers"

_WORD = (
    r"\b(?:tel|telephone|telefon|phone|fax|mobile|mob|handy|cell|call|ph)\b[.:]{0,2} {0,2}"
    r"(?:(?:number|no\.?|me|us|is|at|on)\b:? ?){0,2}"
)
# International; as in North America; with the 0 of a trunk.
_WRITTEN = (
    r"\+\d{1,3}[ .-]?(?:\(\d{1,5}\)[ .-]?)?\d{1,5}(?:[ .-]?\d{2,5}){1,4}|"
    r"(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}|"
    r"1[ .-]\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}|"
    r"\(?0\d{1,5}\)?[ ./-](?:[ ./-]{0,2}\d{2,8}){1,5}"
)
_ANNOUNCED_FORM = r"[+(]?\d[\d ()./-]{5,20}\d"
# A digit or word character next to a match becomes part of it, so that a part of a longer number fails: the
# engine looks neither ahead nor behind.
PATTERN = rf"(?i){_WORD}{_ANNOUNCED_FORM}\w?|(?:\d[ .]|[\w.+/-])?(?:{_WRITTEN})(?:[ .]\d|[\w-])?"
_ANNOUNCED = re.compile(rf"(?i){_WORD}")
_ANY_FORM, _ALONE = re.compile(_ANNOUNCED_FORM), re.compile(_WRITTEN)
_OTHER_NUMBER = re.compile(r"\d{3}[ -]\d\d[ -]\d{4}")  # a US social security number
# 555 is for films; counting up, and one digit many times, are for forms and tables.
_FICTIONAL = re.compile(r"1?\d{3}555\d{4}|1?555\d{7}|.*(?:0123456|1234567|2345678|0{6}|1{6}|9{6}).*")


def phone_rules_version(regions: tuple[str, ...]) -> str:
    """Return what decides about national numbers: the regions, and the version of the numbering plans."""
    return f"{_PACKAGE} {version(_PACKAGE)} {','.join(sorted(set(regions)))}"


def is_phone(found: pl.Series, regions: tuple[str, ...]) -> pl.Series:
    """Return whether strings that `PATTERN` found are phone numbers of the regions, or international."""
    return found.is_in([text for text in found.unique() if _is_real(text, regions)])


@lru_cache(maxsize=100_000)
def _is_real(text: str, regions: tuple[str, ...]) -> bool:
    announced = _ANNOUNCED.match(text)
    number = text[announced.end() :] if announced else text
    if (
        not (_ANY_FORM if announced else _ALONE).fullmatch(number)
        or _OTHER_NUMBER.fullmatch(number)
        or _counts_up(number)
    ):
        return False
    if number.startswith("+"):
        return _is_number(number, None, strictly=False)
    return any(_is_number(number, region, strictly=announced is None) for region in regions)


def _is_number(text: str, region: str | None, strictly: bool) -> bool:
    """Return whether the text is one valid number; `strictly`: and grouped as the region does it."""
    from phonenumbers import Leniency, NumberParseException, PhoneNumberMatcher, is_valid_number, parse

    try:
        if not is_valid_number(parse(text, region)):
            return False
    except NumberParseException:
        return False
    digits = re.sub(r"\D", "", text)
    if _FICTIONAL.fullmatch(digits):
        return False
    leniency = Leniency.STRICT_GROUPING if strictly else Leniency.VALID
    matches = [match.raw_string for match in PhoneNumberMatcher(text, region, leniency=leniency)]
    return len(matches) == 1 and re.sub(r"\D", "", matches[0]) == digits


def _counts_up(text: str) -> bool:
    """Return whether the groups are consecutive numbers, as on a ruler: 01 02 03 04 05."""
    groups = [int(group) for group in re.findall(r"\d+", text)]
    return len(groups) > 2 and all(later - earlier == 1 for earlier, later in pairwise(groups))
