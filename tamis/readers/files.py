"""Rows of a file by its extension: text, web pages and archives of them, JSON, CSV, Arrow and Parquet.

All but the last two are read compressed, too (.gz or .zst).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from tamis.readers.arrow_rows import read_arrow
from tamis.readers.delimited import TAB, read_csv
from tamis.readers.json_rows import read_json, read_json_lines
from tamis.readers.pages import extracted, read_html
from tamis.readers.parquet_rows import read_parquet
from tamis.readers.repair import mended
from tamis.readers.rows import (
    UNKNOWN,
    WHOLE_SHARD,
    Defect,
    Item,
    Reason,
    Row,
    broken_stream,
    giant_row,
    with_texts,
    wrong_encoding,
)
from tamis.readers.streams import PAGES, Content, ending_of, holds_pages, rows_told
from tamis.readers.text_columns import usual_place
from tamis.readers.warc import read_warc
from tamis.settings.config import CorpusSection

COMPRESSIONS = ("", ".gz", ".zst")
WHOLE_FILES: dict[str, Callable[[Path, CorpusSection], Iterator[Item]]] = {
    ".arrow": read_arrow,
    ".parquet": read_parquet,
}


def read_text(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """The whole file as one document."""
    data = content.stream.read(corpus.maximum_row_bytes + 1)
    if len(data) > corpus.maximum_row_bytes:
        yield giant_row(WHOLE_SHARD, corpus.maximum_row_bytes, data)
    elif content.broken:
        yield broken_stream(WHOLE_SHARD, content.broken, data)
    else:
        try:
            yield Row(row=0, values={usual_place(corpus).name: data.decode("utf-8")})
        except UnicodeDecodeError as error:
            yield wrong_encoding(WHOLE_SHARD, str(error), data)


READERS: dict[str, Callable[[Content, CorpusSection], Iterator[Item]]] = {
    ".csv": read_csv,
    ".htm": read_html,
    ".html": read_html,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".md": read_text,
    ".ndjson": read_json_lines,
    ".tsv": partial(read_csv, delimiter=TAB),
    ".txt": read_text,
    ".warc": read_warc,
}


def is_readable(name: str) -> bool:
    """Return whether the extension of a file is one that is read."""
    return Path(name.lower()).suffix in WHOLE_FILES or ending_of(name) in READERS


def read_file(path: Path, corpus: CorpusSection) -> Iterator[Item]:
    """Rows and defects of a file, in order; `OSError` only when reading fails after the file was opened.

    Of a file that cannot be read the defect says how many rows it has, as far as the file tells.
    """
    items = _items(path, corpus)
    if corpus.extract and not holds_pages(path.name):
        items = extracted(items, corpus)
    if corpus.repair:
        items = mended(items, corpus)
    for item in items:
        if isinstance(item, Defect) and item.row == WHOLE_SHARD and item.rows is UNKNOWN:
            yield replace(item, rows=rows_told(path))
        else:
            yield item


def _items(path: Path, corpus: CorpusSection) -> Iterator[Item]:
    try:
        if whole := WHOLE_FILES.get(Path(path.name.lower()).suffix):
            yield from whole(path, corpus)
            return
        if reader_of(path) is None:
            valid = ", ".join([*(f"{extension}[.gz|.zst]" for extension in sorted(READERS)), *WHOLE_FILES])
            yield Defect(
                row=WHOLE_SHARD,
                reason=Reason.UNSUPPORTED_FORMAT,
                detail=f"cannot read {path.suffix or 'a file without extension'}; valid: {valid}",
                excerpt=path.name,
                rows=rows_told(path) or 1,
            )
            return
        content = Content(path)
    except (PermissionError, IsADirectoryError) as error:
        yield Defect(row=WHOLE_SHARD, reason=Reason.UNREADABLE, detail=str(error.strerror), rows=UNKNOWN)
        return
    with content:
        yield from with_texts(raw_items(content, path, corpus), corpus)


def reader_of(path: Path) -> Callable[[Content, CorpusSection], Iterator[Item]] | None:
    """Return the reader of a file of text, by its extension; None of one that is none."""
    return READERS.get(ending_of(path.name))


def raw_items(content: Content, path: Path, corpus: CorpusSection) -> Iterator[Item]:
    """Yield rows and defects of an opened text file; rows may lack the text column."""
    if content.format:
        problem = f"the file is {content.format}, whatever its name says: unpack it, or rename it"
        yield Defect(row=WHOLE_SHARD, reason=Reason.MALFORMED_FILE, detail=problem, rows=UNKNOWN)
    elif content.encoding_problem and ending_of(path.name) not in PAGES:
        yield wrong_encoding(WHOLE_SHARD, f"the file is {content.encoding_problem}", content.stream.peek(64))
    elif content.empty and content.broken:
        yield broken_stream(WHOLE_SHARD, content.broken, b"")
    elif content.empty:
        yield Defect(row=WHOLE_SHARD, reason=Reason.EMPTY_FILE, detail="the file holds nothing")
    elif (reader := reader_of(path)) is not None:
        yield from reader(content, corpus)
