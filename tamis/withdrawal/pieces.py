"""Pieces of withdrawn texts, to find them where they are not stored as documents: logs, excerpts.

A piece is a run of characters that JSON, HTML and SQL write as they are, so quoting does not hide it. Of a
text with long runs, pieces of 40 characters; of any other its longest run, if that has 12.
"""

import re
from collections.abc import Iterable, Sequence

import polars as pl

LONG, SHORT = 40, 12
WINDOW = 24
PLACEHOLDER = "[withdrawn]"
_RUN = re.compile(r"[A-Za-z0-9 ,.;:!?()\[\]{}=+*/_#$%@|~^-]+")


def pieces_of(texts: Iterable[str]) -> list[str]:
    """What to look for, longest first."""
    found: set[str] = set()
    for text in texts:
        runs = [run.strip() for run in _RUN.findall(text)]
        cut = [run[start : start + LONG] for run in runs for start in range(0, len(run) - LONG + 1, LONG)]
        longest = max(runs, key=len, default="")
        found.update(cut if cut else [longest] if len(longest) >= SHORT else [])
    return sorted(found, key=lambda piece: (-len(piece), piece))


def showing(shown: Sequence[str], texts: Sequence[str]) -> list[bool]:
    """Of each excerpt, whether it shares a run of 24 characters with a text, or holds all of a short one."""
    windows = [_windows(one) for one in shown]
    patterns = sorted({window for some in windows for window in some})
    if not patterns or not texts:
        return [False] * len(shown)
    held = pl.Series(texts).str.extract_many(patterns, overlapping=True).explode().drop_nulls().unique()
    shared = set(held)
    short = pieces_of(text for text in texts if len(text) < WINDOW)
    return [
        any(window in shared for window in some) or any(run in one for run in short)
        for one, some in zip(shown, windows, strict=True)
    ]


def _windows(shown: str) -> list[str]:
    runs = _RUN.findall(shown)
    return [run[start : start + WINDOW] for run in runs for start in range(len(run) - WINDOW + 1)]


def holds_any(content: str, pieces: Sequence[str]) -> bool:
    """Whether a text holds one of the pieces."""
    return bool(pieces) and bool(pl.Series([content]).str.contains_any(list(pieces))[0])


def held_pieces(content: str, pieces: Sequence[str]) -> list[str]:
    """Those of the pieces that a text holds."""
    if not holds_any(content, pieces):
        return []
    found = pl.Series([content]).str.extract_many(list(pieces), overlapping=True).explode()
    return found.drop_nulls().unique().to_list()


def without_pieces(content: str, pieces: Sequence[str]) -> str:
    """The text with each piece replaced by a placeholder."""
    return str(pl.Series([content]).str.replace_many(list(pieces), [PLACEHOLDER] * len(pieces))[0])
