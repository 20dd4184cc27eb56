"""Web pages: their main text by resiliparse, and the title, address and date that they state.

Bevendorff et al. 2018, "Elastic ChatNoir" (resiliparse, Apache-2.0): rules on the tree of a page, 500 pages
of 52 kB per CPU second (`benchmarks.web`). The text of a page depends on the version of the library, so the
version is a setting of the documents that are read with it.
"""

import contextlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

from tamis.base.errors import MissingPackageError
from tamis.base.installation import install_command
from tamis.readers.markup import is_markup
from tamis.readers.rows import WHOLE_SHARD, Defect, Item, Reason, Row, broken_stream, giant_row, malformed
from tamis.readers.streams import Content, format_of
from tamis.readers.text import ORIGINAL, document_id, excerpt, without_surrogates
from tamis.readers.text_columns import usual_place
from tamis.settings.config import CorpusSection

PACKAGE = "resiliparse"
INSTALL = install_command("web")
RECIPE = 1
"""Raise when a page gives another text, or other columns, with the same version of the library."""
MOST_NESTED = 1_000
"""Elements inside one another; a browser stops at 512, and the time of extraction grows with the square."""
HEAD_BYTES, LABEL_CHARACTERS = 4_096, 1_000
MOST_BINARY = 0.02
"""Share of control characters in the head of a page beyond which it is no text."""
FEW_UNDECODED = 1_000
"""One character in so many may be undecodable before another encoding than the stated one is tried."""
MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
ESCAPED = ("iso2022_jp", "utf-16-le", "utf-16-be")
"""Encodings whose bytes may be valid UTF-8, by their names in resiliparse."""
_STATED = re.compile(
    rb"""<(?:meta[^>]+?charset|\?xml[^>]+?encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
_BINARY = re.compile(r"[\0-\x08\x0b\x0e-\x1a\x1c-\x1f]")  # binary data bytes of WHATWG's MIME Sniffing
_NESTING = re.compile(
    r"<(/?)(?:div|section|article|main|aside|center|span|font|ul|ol|dl|table|blockquote)\b", re.IGNORECASE
)
_DATES = (
    ("meta[property='article:published_time']", "content"),
    ("meta[itemprop='datePublished']", "content"),
    ("meta[name='date']", "content"),
    ("meta[name='dcterms.date']", "content"),
    ("meta[name='DC.date']", "content"),
    ("time[itemprop='datePublished']", "datetime"),
    ("article time[datetime]", "datetime"),
)
_ADDRESSES = (("link[rel='canonical']", "href"), ("meta[property='og:url']", "content"))
_TITLES = (("meta[property='og:title']", "content"),)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Main text of a page, "" if it has none, and the columns `title`, `url` and `date` that it states."""

    text: str
    columns: Mapping[str, str]


class UnreadablePageError(Exception):
    """Raised for a page whose tree cannot be built; the message says why."""


def is_installed() -> bool:
    """Return whether the library that extracts main texts is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def require_installed(needed_for: str) -> None:
    """Raise `MissingPackageError` with the command that installs the library where it is absent."""
    if not is_installed():
        raise MissingPackageError(PACKAGE, needed_for, INSTALL)


@cache
def identity() -> str:
    """Return the library, its version and our recipe: main texts depend on these besides the page."""
    version = importlib.metadata.version(PACKAGE) if is_installed() else "absent"
    return f"{PACKAGE} {version} {RECIPE}"


def read_page(html: str) -> Page:
    """Return the main text of a page with what it states of itself; raises `UnreadablePageError`."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    html = without_surrogates(html)
    if _nesting(html) > MOST_NESTED:
        raise UnreadablePageError(f"over {MOST_NESTED:,} elements inside one another")
    try:
        tree = HTMLTree.parse(html)
        text = extract_plain_text(tree, main_content=True, alt_texts=False)
        return Page(text=text.strip(), columns=_columns(tree))
    except BaseException as error:  # a panic in Rust is no Exception
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise UnreadablePageError(f"its parser failed: {error}") from error
        raise


def _nesting(html: str) -> int:
    """Return the depth of nested block elements; 0 for a page with too few to exceed the limit."""
    found = _NESTING.findall(html)
    deepest = depth = 0
    for closes in found if len(found) > MOST_NESTED else ():
        depth = max(0, depth - 1) if closes else depth + 1
        deepest = max(deepest, depth)
    return deepest


def _columns(tree: Any) -> dict[str, str]:
    """Return the title, address and date that a page states; a date that does not parse is left out."""
    date = next(filter(None, map(_as_date, _attributes(tree, _DATES))), None)
    found = {
        "title": " ".join((tree.title or "").split()) or next(_attributes(tree, _TITLES), None),
        "url": next(_attributes(tree, _ADDRESSES), None),
        "date": date,
    }
    return {name: value[:LABEL_CHARACTERS] for name, value in found.items() if value}


def _attributes(tree: Any, places: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for selector, attribute in places:
        node = tree.document.query_selector(selector)
        if node is not None and (value := " ".join((node.getattr(attribute) or "").split())):
            yield value


def _as_date(stated: str) -> str | None:
    """Return a date or date and time in ISO 8601; None if it is neither ISO 8601 nor RFC 5322."""
    with contextlib.suppress(ValueError):
        datetime.fromisoformat(stated)
        return stated
    with contextlib.suppress(ValueError, TypeError, IndexError):
        return parsedate_to_datetime(stated).isoformat()
    return None


def decode_page(data: bytes, stated: str | None = None) -> str:
    """Decode a page; `stated`: the encoding that the server named.

    Valid UTF-8 is decoded as such whatever is stated, since text in another encoding is hardly ever valid.
    Otherwise the server's encoding counts before the page's, and detection by the bytes comes last.
    """
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    for mark, codec in MARKS.items():
        if data.startswith(mark):
            return data[len(mark) :].decode(codec, "replace")
    named = _STATED.search(data[:HEAD_BYTES])
    stated = stated or (named[1].decode("ascii", "replace") if named else None)
    stated = map_encoding_to_html5(stated, fallback_utf8=False) if stated else None
    if (stated or "").startswith("utf-16") and b"\0" not in data:
        stated = None  # no tag is without a zero byte there
    if stated not in ESCAPED:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode("utf-8")
    text = _decoded(data, stated or detect_encoding(data) or "cp1252")
    if FEW_UNDECODED * text.count("\ufffd") > len(text):
        other = _decoded(data, detect_encoding(data) or "cp1252")
        text = min(text, other, key=lambda one: one.count("\ufffd"))
    return text


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding, "replace")
    except LookupError:
        return data.decode("cp1252", "replace")


def page_item(row: int, data: bytes, corpus: CorpusSection, known: Mapping[str, str], where: str) -> Item:
    """Return the row of a page, or a defect if it has no main text or cannot be parsed.

    `known`: `url` and `date` of the request, and the `encoding` that the server stated. The request's address
    takes precedence over the page's, the page's date over the request's. `where`: position in the file, for
    the detail of a defect.
    """
    html = decode_page(data, known.get("encoding"))
    if other := _other_than_html(data, html):
        return malformed(row, f"the page is {other}, not HTML{where}", data)
    try:
        page = read_page(html)
    except UnreadablePageError as error:
        return malformed(row, f"{error}{where}", data)
    if not page.text:
        return _without_text(row, where, data)
    columns = {**known, **page.columns, "url": known.get("url") or page.columns.get("url", "")}
    values = {usual_place(corpus).name: page.text, ORIGINAL: document_id(html)}
    return Row(row=row, values=values | _in_order(columns, corpus))


def _other_than_html(data: bytes, html: str) -> str:
    """Return what a page is instead of HTML, "" if nothing shows it. `html`: the same, decoded."""
    head = html[:HEAD_BYTES]
    is_binary = len(_BINARY.findall(head)) > MOST_BINARY * len(head)
    return format_of(data[:HEAD_BYTES]) or ("binary data" if is_binary else "")


def _in_order(columns: Mapping[str, str], corpus: CorpusSection) -> dict[str, str]:
    names = (name for name in ("title", "url", "date") if name != usual_place(corpus).name)
    return {name: columns[name] for name in names if columns.get(name)}


def _without_text(row: int, where: str, content: bytes | str) -> Defect:
    detail = f"the page has no main text{where}"
    return Defect(row=row, reason=Reason.EMPTY_TEXT, detail=detail, excerpt=excerpt(content))


def read_html(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """Yield the whole file as one page."""
    if not is_installed():
        yield not_installed()
        return
    data = content.stream.read(corpus.maximum_row_bytes + 1)
    if len(data) > corpus.maximum_row_bytes:
        yield giant_row(WHOLE_SHARD, corpus.maximum_row_bytes, data)
    elif content.broken:
        yield broken_stream(WHOLE_SHARD, content.broken, data)
    else:
        item = page_item(0, data, corpus, {}, "")
        yield replace(item, row=WHOLE_SHARD) if isinstance(item, Defect) else item


def not_installed() -> Defect:
    """Return the defect of a file of pages that cannot be read without the library.

    A stray page in a folder must not stop a corpus; `extract`, which asks for the library, raises instead.
    """
    detail = str(MissingPackageError(PACKAGE, "a web page", INSTALL))
    return Defect(row=WHOLE_SHARD, reason=Reason.UNREADABLE, detail=detail)


def extracted(items: Iterator[Item], corpus: CorpusSection) -> Iterator[Item]:
    """Replace each text that is HTML by its main text; other texts of the column stay unchanged.

    Title, address and date of the page become columns unless the row has them. Raises `MissingPackageError`.
    """
    require_installed('extract = "html"')
    for item in items:
        yield _extracted(item, corpus) if isinstance(item, Row) else item


def _extracted(item: Row, corpus: CorpusSection) -> Item:
    name = (item.text or usual_place(corpus)).name
    raw = item.values[name]
    if not isinstance(raw, str) or len(raw) > corpus.maximum_row_bytes or not is_markup(raw, stated=True):
        return item
    try:
        page = read_page(raw)
    except UnreadablePageError as error:
        return malformed(item.row, str(error), raw)
    if not page.text:
        return _without_text(item.row, "", raw)
    added = {key: value for key, value in page.columns.items() if key not in item.columns}
    changed = {ORIGINAL: document_id(raw), name: page.text}
    values = item.values | _in_order(added, corpus) | changed
    return replace(item, values=values)
