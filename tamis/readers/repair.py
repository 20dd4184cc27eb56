"""Find mojibake, such as UTF-8 that was decoded as Windows-1252, and repair it with ftfy.

Speer 2019 (ftfy, Apache-2.0). `is_mistaken` needs no library: it looks for bytes of UTF-8, each shown as a
letter of Windows-1252 or Latin-1. Only ftfy knows other mistakes (UTF-8 as Windows-1251 or Mac Roman).
"""

import contextlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from tamis.base.errors import MissingPackageError
from tamis.base.installation import install_command
from tamis.readers.rows import Item, Note, Row
from tamis.readers.text import ORIGINAL, document_id, is_document_id
from tamis.readers.text_columns import usual_place
from tamis.settings.config import CorpusSection

PACKAGE = "ftfy"
INSTALL = install_command("repair")
MISTAKEN = "whose encoding was mistaken (UTF-8 read as another)"
MENDED = "with a mistaken encoding, mended by ftfy"
UNMENDED = "whose encoding was mistaken, and which ftfy does not mend"
LEAST_SHARE = 0.5
"""Least share of the characters beyond ASCII that are bytes of UTF-8 in another encoding."""
_HIGH = {bytes([byte]).decode("cp1252", "ignore") or chr(byte): byte for byte in range(0x80, 0x100)}
_HIGH |= {chr(byte): byte for byte in range(0x80, 0x100)}
_NEXT = f"[{re.escape(''.join(letter for letter, byte in _HIGH.items() if byte < 0xC0))}]"
_RUN = re.compile(f"[\xc2-\xdf]{_NEXT}|[\xe0-\xef]{_NEXT}{{2}}|[\xf0-\xf4]{_NEXT}{{3}}")


def is_mistaken(text: str) -> bool:
    """Return whether most characters beyond ASCII are bytes of UTF-8, decoded as another encoding."""
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
    """Return the library and its version, on which mended texts depend."""
    is_installed = importlib.util.find_spec(PACKAGE) is not None
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE) if is_installed else 'absent'}"


def mended(items: Iterator[Item], corpus: CorpusSection) -> Iterator[Item]:
    """Yield rows with mended texts, and the column `ORIGINAL` where a text changed.

    Raises `MissingPackageError`.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise MissingPackageError(PACKAGE, 'repair = "ftfy"', INSTALL)
    from ftfy import fix_encoding

    for item in items:
        if isinstance(item, Row):
            name = (item.text or usual_place(corpus)).name
            raw = item.values.get(name)
            if isinstance(raw, str) and (text := fix_encoding(raw)) != raw:
                page = str(item.values.get(ORIGINAL))  # a column of the user's own may be called so
                earlier = f"{page} " if is_document_id(page) else ""
                changed = {ORIGINAL: earlier + document_id(raw), name: text}
                notes = (*item.notes, Note(column=name, problem=MENDED))
                item = replace(item, values=item.values | changed, notes=notes)
        yield item
