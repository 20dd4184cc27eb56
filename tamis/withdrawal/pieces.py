"""Pieces of withdrawn texts, to find them where they are not stored as documents: logs, excerpts.

In logs and databases a piece is a run of characters that HTML and SQL write as they are, and JSON, too, or
as escapes: of a text with long runs, pieces of 40 characters; of any other its longest run, if that has 12.
Excerpts of raw rows are compared without white space, quotes and escapes, in any script.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence

import polars as pl

LONG, SHORT = 40, 12
WINDOW = 24
PLACEHOLDER = "[withdrawn]"
_RUN = re.compile(r"[A-Za-z0-9 ,.;:!?()\[\]{}=+*/_#$%@|~^\-\u00a1-\u2027\u202a-\ufefe\U00010000-\U0010ffff]+")
_CODES = re.compile(r"\\+u([0-9a-fA-F]{4})|\\+x([0-9a-fA-F]{2})")
_UNSTABLE = re.compile(r"\\+[abfnrtv0]?|[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\"'<>&]+")
"""What rows in JSON, CSV or Python write in more ways than one, and excerpts leave out."""


def pieces_of(texts: Iterable[str]) -> list[str]:
    """What to look for, longest first."""
    found: set[str] = set()
    for text in texts:
        runs = [run.strip() for run in _RUN.findall(text)]
        cut = [run[start : start + LONG] for run in runs for start in range(0, len(run) - LONG + 1, LONG)]
        longest = max(runs, key=len, default="")
        found.update(cut if cut else [longest] if len(longest) >= SHORT else [])
    found |= {json.dumps(piece)[1:-1] for piece in found if not piece.isascii()}
    return sorted(found, key=lambda piece: (-len(piece), piece))


def showing(shown: Sequence[str], texts: Sequence[str]) -> list[bool]:
    """Of each excerpt, whether it shares a run of 24 characters with a text, or holds all of a short one."""
    bare = [_bare(one) for one in shown]
    windows = [[one[start : start + WINDOW] for start in range(len(one) - WINDOW + 1)] for one in bare]
    if not bare or not texts:
        return [False] * len(shown)
    looked_for = [_bare(text) for text in texts]
    patterns = sorted({window for some in windows for window in some})
    shared = set(_found(pl.Series(looked_for), patterns))
    short = [text for text in looked_for if len(text) < WINDOW and len(text.encode()) >= SHORT]
    return [
        any(window in shared for window in some) or any(text in one for text in short)
        for one, some in zip(bare, windows, strict=True)
    ]


def _bare(text: str) -> str:
    """The text as far as JSON, CSV, Python and an excerpt of any of them show it alike."""
    plain = _CODES.sub(lambda code: chr(int(code[1] or code[2], 16)), text)
    joined = plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return unicodedata.normalize("NFC", _UNSTABLE.sub("", joined))


def _found(contents: pl.Series, patterns: Sequence[str]) -> list[str]:
    if not patterns:
        return []
    found = contents.str.extract_many(list(patterns), overlapping=True).explode()
    return found.drop_nulls().unique().to_list()


def holds_any(content: str, pieces: Sequence[str]) -> bool:
    """Whether a text holds one of the pieces."""
    return bool(pieces) and bool(pl.Series([content]).str.contains_any(list(pieces))[0])


def held_pieces(content: str, pieces: Sequence[str]) -> list[str]:
    """Those of the pieces that a text holds."""
    return _found(pl.Series([content]), pieces) if holds_any(content, pieces) else []


def without_pieces(content: str, pieces: Sequence[str]) -> str:
    """The text with each piece replaced by a placeholder."""
    return str(pl.Series([content]).str.replace_many(list(pieces), [PLACEHOLDER] * len(pieces))[0])
