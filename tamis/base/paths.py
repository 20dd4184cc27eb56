"""Paths that libraries below do not take: databases want valid UTF-8, Dagster text without line breaks."""

import os
import re
from pathlib import Path

from tamis.base.errors import PermanentError
from tamis.base.progress import visible_name

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LINE_BREAKS = "\n\r\x0b\x0c\x85\u2028\u2029"


class PathError(PermanentError):
    """A folder that cannot be worked in, for its name or the length of its path; says what to do."""

    def __init__(self, path: Path, problem: str, cure: str) -> None:
        self.path, self.problem = path, problem
        shown = visible_name(os.fsencode(path).decode("utf-8", "backslashreplace"))
        super().__init__(f"the path {shown} {problem}; {cure}")


def require_plain(path: Path, cure: str) -> None:
    """Raise `PathError` for a path that is no UTF-8 or has line breaks or other control characters."""
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"is not valid UTF-8 (byte 0x{error.object[error.start]:02x}), which databases require"
        raise PathError(path, problem, cure) from error
    if found := _CONTROL.search(str(path)):
        what = "a line break" if found[0] in _LINE_BREAKS else f"the control character {found[0]!r}"
        raise PathError(path, f"contains {what}, which databases and logs do not take", cure)


def require_short(path: Path, most: int, cure: str) -> None:
    """Raise `PathError` for a path of more than so many bytes."""
    if (found := len(os.fsencode(path))) > most:
        raise PathError(path, f"has {found} bytes, and at most {most} work, since SQLite takes no more", cure)
