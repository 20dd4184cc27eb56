"""Texts whose encoding was mistaken, such as UTF-8 that was read as Windows-1252: found, and mended by ftfy.

Speer 2019 (ftfy, Apache-2.0). They are found without it, by what they hold: the bytes of UTF-8, each as a
letter of Windows-1252 or Latin-1. Other mistakes (UTF-8 read as Windows-1251 or Mac Roman) only ftfy knows.
"""

import contextlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from tamis.base.errors import MissingPackageError
from tamis.readers.rows import Item, Note, Row
from tamis.readers.text import ORIGINAL, document_id
from tamis.readers.text_columns import usual_place
from tamis.settings.config import CorpusSection

PACKAGE = "ftfy"
INSTALL = "pip install -c constraints.txt -e '.[repair]'"
MISTAKEN = "whose encoding was mistaken (UTF-8 read as another)"
MENDED = "with a mistaken encoding, mended by ftfy"
LEAST_SHARE = 0.5
"""Of the letters beyond ASCII, the share that must be bytes of UTF-8 in another encoding."""
_HIGH = {bytes([byte]).decode("cp1252", "ignore") or chr(byte): byte for byte in range(0x80, 0x100)}
_HIGH |= {chr(byte): byte for byte in range(0x80, 0x100)}
_NEXT = f"[{re.escape(''.join(letter for letter, byte in _HIGH.items() if byte < 0xC0))}]"
_RUN = re.compile(f"[\xc2-\xdf]{_NEXT}|[\xe0-\xef]{_NEXT}{{2}}|[\xf0-\xf4]{_NEXT}{{3}}")


def is_mistaken(text: str) -> bool:
    """Return whether most letters of a text beyond ASCII are bytes of UTF-8, read as another encoding."""
    if text.isascii():
        return False
    beyond = len(text) - len(text.encode("ascii", "ignore"))
    inside = sum(len(run) for run in _RUN.findall(text) if _is_utf_8(run))
    return inside >= max(2, LEAST_SHARE * beyond)


def _is_utf_8(letters: str) -> bool:
    with contextlib.suppress(UnicodeDecodeError):
        bytes(_HIGH[letter] for letter in letters).decode("utf-8")
        return True
    return False


@cache
def identity() -> str:
    """Return what mended texts depend on: library and version."""
    is_installed = importlib.util.find_spec(PACKAGE) is not None
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE) if is_installed else 'absent'}"


def mended(items: Iterator[Item], corpus: CorpusSection) -> Iterator[Item]:
    """Yield rows with their texts mended, and `ORIGINAL` beside those that changed.

    Raises `MissingPackageError`.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise MissingPackageError(PACKAGE, 'repair = "ftfy"', INSTALL)
    from ftfy import fix_encoding

    for item in items:
        name = (item.text or usual_place(corpus)).name if isinstance(item, Row) else ""
        raw = item.values.get(name) if isinstance(item, Row) else None
        if isinstance(item, Row) and isinstance(raw, str) and (text := fix_encoding(raw)) != raw:
            notes = (*item.notes, Note(column=name, problem=MENDED))
            values = {ORIGINAL: document_id(raw)} | item.values | {name: text}
            item = replace(item, values=values, notes=notes)
        yield item
