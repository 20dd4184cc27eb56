"""Globs over relative paths, as `include` and `exclude` of a [[corpus]] have them."""

import math
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator, StringConstraints
from pydantic_core import PydanticCustomError

from tamis.settings.budget import (
    BUDGET_FORMS,
    COMPUTE_FORMS,
    SECONDS,
    BadBudgetError,
    BadComputeError,
    parse_budget,
    parse_compute,
)
from tamis.settings.language_codes import short_code

GLOB_FORMS = 'a glob, such as "**/*.jsonl"; in brackets, a range such as [a-z] goes upwards'
_GLOB = re.compile(r"[*?]|\[[^]]+\]")
RULE_NAMES = (
    "gopher_word_count",
    "gopher_mean_word_length",
    "gopher_hash_ratio",
    "gopher_ellipsis_ratio",
    "gopher_bullet_lines",
    "gopher_ellipsis_lines",
    "gopher_alphabetic_words",
    "gopher_stop_words",
    "gopher_duplicate_lines",
    "gopher_duplicate_paragraphs",
    "gopher_duplicate_line_characters",
    "gopher_duplicate_paragraph_characters",
    "gopher_top_2_grams",
    "gopher_top_3_grams",
    "gopher_top_4_grams",
    *(f"gopher_duplicate_{words}_grams" for words in range(5, 11)),
    "fineweb_line_punctuation",
    "fineweb_duplicate_characters",
    "fineweb_short_lines",
    "word_order_misplaced",
    "noise_letters",
    "noise_encoding",
    "noise_random_letters",
    "noise_repetition",
    "noise_items",
    "noise_labels",
    "noise_word_order",
    "boilerplate_repeated",
    "form_implausible",
)
"""Names of the heuristics of form that can be switched off (`tamis.filters.FAMILIES` has the rules)."""
NAME_FORM = r"^[a-z0-9][a-z0-9._-]{0,59}$"
SCORE_FORM = r"^[a-z][a-z0-9_]{0,59}$"
LANGUAGE_FORM = r"^[a-z]{2,3}$"
OWNER_FORM = r"^(team:[\w-]+|[^@\s]+@[^@\s]+)$"
STORAGE_FORM = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.-]*[\w-][\w.-]*)*$"
URL_FORM = r"^https?://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+)(:\d{1,5})?([/?#][!-~]*)?$"
TRACKER_FORM = r"^((https?|(sqlite|postgresql|mysql|mssql)(\+\w+)?)://[^\s]+|file:[^\s]+|databricks)"
ADDRESS_FORM = r"^(auto|[^\s/:]+:\d+)$"
VARIABLE_FORM = r"^[A-Za-z_][A-Za-z0-9_]*$"
SHARES_FORMS = (
    "one share from 0 to 1 for every group, such as 0.3, or a share for each named group, such as "
    "{ web = 0.3, wiki = 0.2 }"
)
RANGE_FORMS = "two numbers, the lower end first, such as [0, 5]"
COLUMN_FORMS = (
    'the name of a column, such as "edu", or a path to a nested field, such as "meta.edu", without quotation '
    "marks and backslashes"
)
NAMES_FORMS = 'a name, such as "news", or a list of names, such as ["news", "law"]'
COLUMNS_FORMS = (
    'the name of a column, such as "text", a path to a nested field, such as "doc.body", a list of these, or '
    '"auto"'
)
DURATION_FORMS = 'a time above zero with its unit (s, min, h or d), such as "90min", or a number of seconds'
TOKENS, WORDS, CHARACTERS = "tokens", "words", "characters"
LEAST_SPLIT, MOST_SPLIT = 16, 10_000_000
SPLIT_FORMS = (
    f'a length of at least {LEAST_SPLIT} with its unit (tokens, words or characters), such as "2000 tokens"'
)
_SPLIT = re.compile(r"(\d[\d_,]{0,12}) ?(token|word|character)s?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)")
TRACKERS_IN_WORDS = (
    "the address of an MLflow server, which begins with https:// or http://, or of a database, which begins "
    "with postgresql:// or sqlite:///"
)
FORMS_IN_WORDS = {
    NAME_FORM: "at most 60 characters from a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
    SCORE_FORM: "at most 60 characters from a-z, 0-9 and '_', beginning with a letter, such as \"edu\"",
    LANGUAGE_FORM: 'a language code of two or three lower-case letters, such as "en"',
    STORAGE_FORM: "s3://BUCKET or s3://BUCKET/PREFIX; credentials and endpoint come from the environment",
    URL_FORM: "an address that begins with https:// or http://, without a user or password, and with all but "
    "ASCII letters, digits and signs percent-encoded",
    VARIABLE_FORM: "the name of an environment variable",
    ADDRESS_FORM: '"auto" (the Ray cluster that this machine belongs to), or host:port of the head node',
    OWNER_FORM: '"team:NAME" or an e-mail address',
}
Name = Annotated[str, StringConstraints(pattern=NAME_FORM)]
ScoreName = Annotated[str, StringConstraints(pattern=SCORE_FORM)]
Pattern = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def has_glob_signs(name: str) -> bool:
    """Return whether a name has a sign that globs give a meaning."""
    return bool(_GLOB.search(name))


def is_glob(path: str, root: Path = Path()) -> bool:
    """Return whether a path is a glob; a file below `root` may have the signs of a glob in its name."""
    return has_glob_signs(path) and not os.path.lexists(root / path)


def split_glob(pattern: str) -> tuple[str, str]:
    """Return the folder before the first part of a glob that has a sign, and the parts that follow."""
    parts = pattern.split("/")
    first = next(place for place, part in enumerate(parts) if has_glob_signs(part))
    folder = "/".join(parts[:first])
    return folder or ("/" if pattern.startswith("/") else "."), "/".join(parts[first:])


@lru_cache
def glob_pattern(glob: str) -> re.Pattern[str]:
    """Regular expression of a glob over a relative path: `**/` any folders, `*` and `?` within a name.

    Raises `re.error` where brackets hold what is no set of characters.
    """
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^]]+\])", glob)
    return re.compile("".join(_translated(token, parts) for token in tokens), re.DOTALL)


def _translated(token: str, parts: dict[str, str]) -> str:
    if token in parts:
        return parts[token]
    if token.startswith("[") and token.endswith("]"):
        return token.replace("[!", "[^", 1).replace("\\", "\\\\")
    return re.escape(token)


def checked_glob(glob: str) -> str:
    """Return a glob; refuse one that no path can be compared with."""
    try:
        glob_pattern(glob)
    except re.error as error:
        raise PydanticCustomError("glob", "{forms}", {"forms": GLOB_FORMS}) from error
    return glob


def _checked_budget(budget: Any) -> Any:
    try:
        parse_budget(budget)
    except BadBudgetError as error:
        raise PydanticCustomError("budget", "{forms}", {"forms": BUDGET_FORMS}) from error
    return budget


def _checked_compute(compute: Any) -> Any:
    try:
        parse_compute(compute)
    except BadComputeError as error:
        raise PydanticCustomError("compute", "{forms}", {"forms": COMPUTE_FORMS}) from error
    return compute


def _checked_names(names: Any) -> Any:
    each = [names] if isinstance(names, str) else names
    listed = isinstance(each, list | tuple) and each
    if not listed or not all(isinstance(name, str) and re.match(NAME_FORM, name) for name in each):
        raise PydanticCustomError("names", "{forms}", {"forms": NAMES_FORMS})
    return names if isinstance(names, str) else tuple(each)


def _checked_columns(columns: Any) -> Any:
    each = [columns] if isinstance(columns, str) else columns
    listed = isinstance(each, list | tuple) and each and all(isinstance(name, str) for name in each)
    if not listed or len(set(each)) < len(each):
        raise PydanticCustomError("columns", "{forms}", {"forms": COLUMNS_FORMS})
    return columns if isinstance(columns, str) else tuple(each)


def _checked_column(column: Any) -> Any:
    if not isinstance(column, str) or not re.fullmatch(r"[^\"\\\x00-\x1f]+", column):
        raise PydanticCustomError("column", "{forms}", {"forms": COLUMN_FORMS})
    return column


def _checked_range(ends: Any) -> Any:
    listed = isinstance(ends, list | tuple) and len(ends) == 2
    if not listed or not all(type(end) in (int, float) and math.isfinite(end) for end in ends):
        raise PydanticCustomError("range", "{forms}", {"forms": RANGE_FORMS})
    if not ends[0] < ends[1]:
        raise PydanticCustomError(
            "range", "{forms}", {"forms": f'{RANGE_FORMS}; where smaller is better, set higher = "worse"'}
        )
    return float(ends[0]), float(ends[1])


def _checked_shares(shares: Any) -> Any:
    each = list(shares.values()) if isinstance(shares, dict) else [shares]
    if not each or not all(type(one) in (int, float) and 0 <= one <= 1 for one in each):
        raise PydanticCustomError("shares", "{forms}", {"forms": SHARES_FORMS})
    return {name: float(one) for name, one in shares.items()} if isinstance(shares, dict) else float(shares)


def _checked_duration(duration: Any) -> Any:
    """Return a time in seconds."""
    seconds = duration
    if isinstance(duration, str) and (parts := _DURATION.fullmatch(duration.strip())):
        seconds = float(parts[1]) * SECONDS[parts[2]]
    if type(seconds) not in (int, float) or not 0 < seconds < math.inf:
        raise PydanticCustomError("duration", "{forms}", {"forms": DURATION_FORMS})
    return float(seconds)


@dataclass(frozen=True, kw_only=True)
class SplitLength:
    """The longest passage that a document is split into: `amount` of `unit` (tokens, words, characters)."""

    amount: int
    unit: str


def split_length(split: str) -> SplitLength:
    """Return the length that `split` states; raises `ValueError`."""
    parts = _SPLIT.fullmatch(split.strip().lower())
    amount = int(parts[1].replace("_", "").replace(",", "")) if parts else 0
    if parts is None or not LEAST_SPLIT <= amount <= MOST_SPLIT:
        raise ValueError(SPLIT_FORMS)
    return SplitLength(amount=amount, unit=f"{parts[2]}s")


def _checked_split(split: Any) -> Any:
    """Return a length as it is written in one way, so that another spelling is no other setting."""
    try:
        length = split_length(split if isinstance(split, str) else "")
    except ValueError as error:
        raise PydanticCustomError("split", "{forms}", {"forms": SPLIT_FORMS}) from error
    return f"{length.amount} {length.unit}"


def _checked_rule(rule: Any) -> Any:
    if rule not in RULE_NAMES:
        raise PydanticCustomError("rule", "{names}", {"names": f"one of {', '.join(RULE_NAMES)}"})
    return rule


def _checked_region(code: object) -> object:
    from phonenumbers import SUPPORTED_REGIONS  # those that have a numbering plan

    if code not in SUPPORTED_REGIONS:
        raise PydanticCustomError("region", 'a two-letter region code, such as "US" or "DE"')
    return code


def _checked_language(code: str) -> str:
    """The code as rows are compared with it; one that no language has keeps no row, as stated."""
    return short_code(code) or code


def _without_slash(url: Any) -> Any:
    """The same place: folders are often named with a slash at their end."""
    return url.removesuffix("/") if isinstance(url, str) else url


Names = Annotated[str | tuple[str, ...], PlainValidator(_checked_names)]
TextColumns = Annotated[str | tuple[str, ...], BeforeValidator(_checked_columns)]
ScoreColumn = Annotated[str, PlainValidator(_checked_column)]
ScoreRange = Annotated[tuple[float, float], PlainValidator(_checked_range)]
Language = Annotated[str, StringConstraints(pattern=LANGUAGE_FORM), AfterValidator(_checked_language)]
Region = Annotated[str, PlainValidator(_checked_region)]
Duration = Annotated[float | str, PlainValidator(_checked_duration)]
Split = Annotated[str, PlainValidator(_checked_split)]
RuleName = Annotated[str, PlainValidator(_checked_rule)]
Glob = Annotated[str, AfterValidator(checked_glob)]
GroupShares = Annotated[float | dict[str, float], PlainValidator(_checked_shares)]
Budget = Annotated[int | str, PlainValidator(_checked_budget)]
Compute = Annotated[str, PlainValidator(_checked_compute)]
StorageUrl = Annotated[str, BeforeValidator(_without_slash), StringConstraints(pattern=STORAGE_FORM)]


def wrong_key(key: str, found: object, expected: str) -> PydanticCustomError:
    """A problem that concerns several keys: says itself which of them to name."""
    return PydanticCustomError("tamis", "{expected}", {"key": key, "found": found, "expected": expected})


def refuse(*rules: tuple[object, str, object, str]) -> None:
    """Raise `wrong_key` for the first rule that is broken: whether it is, key, value found, what is valid."""
    for broken, key, found, expected in rules:
        if broken:
            raise wrong_key(key, found, expected)
