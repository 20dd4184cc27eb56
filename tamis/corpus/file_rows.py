"""Rows of a file by its extension: text, JSON, CSV, Arrow and Parquet, the first three also .gz or .zst."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tamis.corpus.arrow_rows import read_arrow
from tamis.corpus.csv_rows import read_csv, read_tsv
from tamis.corpus.json_rows import read_json, read_json_lines
from tamis.corpus.parquet_rows import read_parquet
from tamis.corpus.records import (
    WHOLE_SHARD,
    Defect,
    Item,
    Reason,
    Row,
    broken_stream,
    giant_row,
    require_text_column,
    wrong_encoding,
)
from tamis.corpus.streams import Content
from tamis.settings.config import CorpusSection

COMPRESSIONS = ("", ".gz", ".zst")


def read_text(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """The whole file as one document."""
    data = content.stream.read(corpus.maximum_row_bytes + 1)
    if len(data) > corpus.maximum_row_bytes:
        yield giant_row(WHOLE_SHARD, corpus.maximum_row_bytes, data)
    elif content.broken:
        yield broken_stream(WHOLE_SHARD, content.broken, data)
    else:
        try:
            yield Row(row=0, values={corpus.text_column: data.decode("utf-8")})
        except UnicodeDecodeError as error:
            yield wrong_encoding(WHOLE_SHARD, str(error), data)


READERS: dict[str, Callable[[Content, CorpusSection], Iterator[Item]]] = {
    ".csv": read_csv,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".md": read_text,
    ".ndjson": read_json_lines,
    ".tsv": read_tsv,
    ".txt": read_text,
}


WHOLE_FILES: dict[str, Callable[[Path, CorpusSection], Iterator[Item]]] = {
    ".arrow": read_arrow,
    ".parquet": read_parquet,
}


def is_readable(name: str) -> bool:
    """Whether the extension of a file is one that is read."""
    plain = name.lower()
    packed = plain.removesuffix(".gz").removesuffix(".zst")
    return Path(plain).suffix in WHOLE_FILES or Path(packed).suffix in READERS


def read_file(path: Path, corpus: CorpusSection) -> Iterator[Item]:
    """Rows and defects of a file, in order; `OSError` only when reading fails after the file was opened."""
    name = path.name.lower()
    try:
        if whole := WHOLE_FILES.get(Path(name).suffix):
            yield from whole(path, corpus)
            return
        extension = Path(name.removesuffix(".gz").removesuffix(".zst")).suffix
        if extension not in READERS:
            yield _unsupported(path)
            return
        content = Content(path)
    except (PermissionError, IsADirectoryError) as error:
        yield Defect(row=WHOLE_SHARD, reason=Reason.UNREADABLE, detail=str(error.strerror))
        return
    with content:
        yield from _content_items(content, READERS[extension], corpus)


def _content_items(
    content: Content, reader: Callable[[Content, CorpusSection], Iterator[Item]], corpus: CorpusSection
) -> Iterator[Item]:
    if content.format:
        problem = f"the file is {content.format}, whatever its name says: unpack it, or rename it"
        yield Defect(row=WHOLE_SHARD, reason=Reason.MALFORMED_FILE, detail=problem)
    elif content.encoding_problem:
        problem = f"the file is {content.encoding_problem}"
        yield wrong_encoding(WHOLE_SHARD, problem, content.stream.peek(64))
    elif content.empty and content.broken:
        yield broken_stream(WHOLE_SHARD, content.broken, b"")
    elif content.empty:
        yield Defect(row=WHOLE_SHARD, reason=Reason.EMPTY_FILE, detail="the file holds nothing")
    else:
        yield from require_text_column(reader(content, corpus), corpus.text_column)


def _unsupported(path: Path) -> Defect:
    valid = ", ".join([*(f"{extension}[.gz|.zst]" for extension in sorted(READERS)), *WHOLE_FILES])
    detail = f"cannot read {path.suffix or 'a file without extension'}; valid: {valid}"
    return Defect(row=WHOLE_SHARD, reason=Reason.UNSUPPORTED_FORMAT, detail=detail, excerpt=path.name)
