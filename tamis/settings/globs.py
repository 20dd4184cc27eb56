"""Globs over relative paths, as `include` and `exclude` of a [[corpus]] have them."""

import re
from functools import lru_cache

from pydantic_core import PydanticCustomError

GLOB_FORMS = 'a glob, such as "**/*.jsonl"; in brackets, a range such as [a-z] goes upwards'


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
