"""Documents of a shard in batches: checked rows under their content ids, and what went to quarantine.

Rows are checked one after the other so that a bad one costs itself only; 2,000 rows or 32 MB of text a
batch bound the memory. 50,000 to 80,000 rows of 350 characters a second on one core, by format.
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from tamis.base.errors import TamisError
from tamis.base.progress import Advance, ignore
from tamis.corpus.docstrings import read_package
from tamis.corpus.remote.errors import RemoteForbiddenError
from tamis.corpus.remote.fetching import fetched
from tamis.corpus.shards import Shard, ShardGoneError
from tamis.duplicates.shared_text import system_turn
from tamis.passages.cutting import Cutter
from tamis.passages.places import BEGIN, COUNT, GAP, NUMBER, OF_PASSAGES, PARENT
from tamis.readers.arrow_values import Undecoded
from tamis.readers.conversations import (
    LABEL_CHARACTERS,
    columns_of,
    read_conversation,
    system_turn_end,
)
from tamis.readers.files import read_file
from tamis.readers.kept_columns import KEPT_BYTES, has_columns, heading_of, is_kept, is_told, kept_row
from tamis.readers.repair import MISTAKEN, UNMENDED, is_mistaken
from tamis.readers.rows import UNKNOWN, WHOLE_SHARD, Defect, Item, Reason, Row, giant_row, quarantine_frame
from tamis.readers.streams import rows_told
from tamis.readers.text import ORIGINAL, excerpt, normalise_text, without_surrogates
from tamis.readers.text_columns import TextPlace, is_plain_name, lowered, usual_place
from tamis.settings.config import CorpusSection

BATCH_BYTES = 32_000_000
REPORTED_ROWS = 200
SOURCE_CHARACTERS = 300
VALUE_CHARACTERS = 200
METADATA_CHARACTERS = 2_000
HELD_EXCERPTS = 10_000
_FORMATS = '; conversations need a `format` in their section, such as "messages" or "preference"'
LICENCE_COLUMNS = ("licence", "license")
LABELS = ("language", "source", *LICENCE_COLUMNS)
NO_METADATA = "{}"
DOCUMENT_SCHEMA = {
    "doc_id": pl.Utf8,
    "text": pl.Utf8,
    "n_chars": pl.UInt32,
    "n_bytes": pl.UInt32,
    "language": pl.Utf8,
    "row": pl.UInt32,
    "source": pl.Utf8,
    "licence": pl.Utf8,
    "metadata": pl.Utf8,
    "content": pl.Utf8,
    "system_turn": pl.Utf8,
    "system_turn_end": pl.UInt32,
    PARENT: pl.Utf8,
    NUMBER: pl.UInt32,
    COUNT: pl.UInt32,
    BEGIN: pl.UInt32,
    GAP: pl.Utf8,
}
WHOLE = (None,) * len(OF_PASSAGES)
"""Values of a document's row that are those of passages."""
Checked = list[tuple[Any, ...]] | Defect | None
"""A document (its row, or one for each passage, in the order of `DOCUMENT_SCHEMA`), a defect, or None for a
short text."""


@dataclass(frozen=True, kw_only=True)
class ShardBatch:
    """A part of a shard.

    documents: a row per occurrence, columns as in `DOCUMENT_SCHEMA`; a text that occurs twice has two
    rows of one doc_id. A text that is split has a row for each passage, all in one batch, of which the first
    has the content. content: the row's own columns (`tamis.readers.kept_columns`); system_turn and
    system_turn_end: of a conversation that begins with one, its hash and where it ends. quarantine: row (-1 =
    the whole shard), reason, detail, excerpt, rows_lost. skipped: rows shorter than `minimum_characters`,
    which are no error. Of a file, in its last batch: odd (how many values could not be kept as they were, by
    column and what was done to them) and heading (what the file states of its columns; None where none is
    kept). In a batch of many files both frames have a column `shard`, the key of the file.
    """

    documents: pl.DataFrame
    quarantine: pl.DataFrame
    skipped: int = 0
    odd: Mapping[tuple[str, str], int] = field(default_factory=dict)
    heading: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options of reading a shard: rows a batch, a callback for progress, and the most bytes of a kept row.

    `cutter`: makes passages of long texts; without it every row is one document.
    """

    batch_rows: int = 2_000
    advance: Advance = ignore
    kept_bytes: float = KEPT_BYTES
    cutter: Cutter | None = None


def read_shard(
    shard: Shard, corpus: CorpusSection, *, batch_rows: int = 2_000, advance: Advance = ignore
) -> Iterator[ShardBatch]:
    """Batches of a shard in the order of its rows, at least one; bad content never raises.

    Raises `ShardGoneError` when the file or package is not there, and as `fetched` does for a remote one.
    """
    return read_as(shard, corpus, Reading(batch_rows=batch_rows, advance=advance))


def read_as(shard: Shard, corpus: CorpusSection, reading: Reading) -> Iterator[ShardBatch]:
    """As `read_shard`."""
    if shard.remote is not None:
        return _read_remote(shard, corpus, reading)
    if not shard.path.exists():
        raise ShardGoneError(shard.key, shard.path)
    if shard.kind == "package":
        items = read_package(shard.path, shard.name, usual_place(corpus).name)
    else:
        items = read_file(shard.path, corpus)
    return _headed(items, shard.path, shard, corpus, reading)


def _read_remote(shard: Shard, corpus: CorpusSection, reading: Reading) -> Iterator[ShardBatch]:
    """Batches of a file that is fetched first; one that may not be read is a defect, as a local one is."""
    try:
        with fetched(shard) as path:
            yield from _headed(read_file(path, corpus), path, shard, corpus, reading)
    except RemoteForbiddenError as error:
        defect = Defect(row=WHOLE_SHARD, reason=Reason.UNREADABLE, detail=error.problem, rows=UNKNOWN)
        yield from batches_of([defect], shard, corpus, reading)


def _headed(
    items: Iterable[Item], path: Path, shard: Shard, corpus: CorpusSection, reading: Reading
) -> Iterator[ShardBatch]:
    """Yield the batches of a file, the last one with its odd values and the heading of its columns."""
    checks = _checks(shard, corpus, reading)
    batches = _batches(items, checks, shard, reading)
    last = next(batches)
    for batch in batches:
        yield last
        last = batch
    odd, heading = dict(checks.odd), None
    has_notes = any(is_told(corpus, *key) for key in odd)
    if has_columns(shard.name) and (corpus.keep_columns or checks.taken is not None or has_notes):
        heading = heading_of(path, corpus, checks.main, checks.taken, odd)
    yield replace(last, odd=odd, heading=heading)


def batches_of(
    items: Iterable[Item], shard: Shard, corpus: CorpusSection, reading: Reading
) -> Iterator[ShardBatch]:
    """Check the rows of a shard and hand them on in batches, at least one."""
    return _batches(items, _checks(shard, corpus, reading), shard, reading)


def _batches(
    items: Iterable[Item], checks: "_Checks", shard: Shard, reading: Reading
) -> Iterator[ShardBatch]:
    batch, advance = _Batch(), reading.advance
    for checked in _checked(items, checks, shard):
        batch.add(checked)
        if batch.read % REPORTED_ROWS == 0:
            advance(REPORTED_ROWS)
        if batch.is_full(reading):
            advance(batch.read % REPORTED_ROWS)
            yield batch.frames()
            batch = _Batch(first=False)
    if batch.rows or batch.first:
        advance(batch.read % REPORTED_ROWS)
        yield batch.frames()


def _checks(shard: Shard, corpus: CorpusSection, reading: Reading) -> "_Checks":
    """Return the checks of the rows of a file."""
    return _Checks(
        corpus=corpus,
        default_source=shard.name,
        kept_bytes=reading.kept_bytes,
        cutter=reading.cutter,
        own=columns_of(corpus.format, usual_place(corpus).name).union(LABELS),
        place=usual_place(corpus),
        taken=None if is_plain_name(corpus.text_column) or corpus.kind == "python-docs" else Counter(),
    )


def _checked(items: Iterable[Item], checks: "_Checks", shard: Shard) -> Iterator["Checked"]:
    """Yield the checked rows of a file; what its reader cannot read is a defect of the whole."""
    try:
        yield from _one_for_all(map(checks.apply, items))
    except FileNotFoundError as error:
        raise ShardGoneError(shard.key, shard.path) from error
    except (OSError, MemoryError, TamisError):
        raise
    except Exception as error:
        # A reader's own mistake: what it cannot read must not keep the other shards waiting for ever.
        detail = f"its reader failed: {type(error).__name__}: {error}"[:VALUE_CHARACTERS]
        rows = rows_told(shard.path)
        left = UNKNOWN if rows is None else max(1, rows - checks.rows)
        yield Defect(row=WHOLE_SHARD, reason=Reason.UNREADABLE, detail=detail, rows=left)


def checked_rows(items: Iterable[Item], shard: Shard, corpus: CorpusSection) -> Iterator["Checked"]:
    """Yield the checked rows of a file, one by one."""
    return map(_checks(shard, corpus, Reading()).apply, items)


def read_files_of_group(
    files: Iterable[Shard],
    corpus: CorpusSection,
    reading: Reading,
    whole: Callable[[Shard], None] = lambda file: None,
) -> Iterator[ShardBatch]:
    """Batches of many files of one document each, with a column `shard`: the key of the file.

    `whole` is called with each file once it was read, before its rows are handed on. Raises as `read_shard`.
    """
    batch = _Batch()
    for file in files:
        try:
            with fetched(file) if file.remote is not None else contextlib.nullcontext(file.path) as path:
                for checked in _checked(read_file(path, corpus), _checks(file, corpus, reading), file):
                    batch.add(checked, file.key)
        except RemoteForbiddenError as error:
            batch.add(Defect(row=WHOLE_SHARD, reason=Reason.UNREADABLE, detail=error.problem), file.key)
        whole(file)
        if batch.is_full(reading):
            reading.advance(batch.read)
            yield batch.frames()
            batch = _Batch()
    reading.advance(batch.read)
    yield batch.frames()


def _one_for_all(found: Iterable[Checked]) -> Iterator[Checked]:
    """Pass checked rows on; where every row of a shard is no text, for one reason, give one defect of it."""
    held: list[Defect] = []
    for one in (rows := iter(found)):
        if (
            not isinstance(one, Defect)
            or one.row == WHOLE_SHARD
            or one.reason != Reason.NON_TEXT
            or (held and held[0].detail != one.detail)
        ):
            yield from held
            yield one
            yield from rows
            return
        held.append(one if len(held) < HELD_EXCERPTS else replace(one, excerpt=""))
    if len(held) > 1:
        detail = f"in each of its {len(held):,} rows: {held[0].detail}"
        held = [
            replace(
                held[0],
                row=WHOLE_SHARD,
                detail=f"{detail}{_FORMATS if 'of type list' in detail else ''}",
                rows=len(held),
            )
        ]
    yield from held


class _Batch:
    """Checked rows on their way into two frames; `read`: how many, whatever passages they have."""

    def __init__(self, first: bool = True) -> None:
        self.first, self.skipped, self.n_bytes, self.read = first, 0, 0, 0
        self._documents: list[tuple[Any, ...]] = []
        self._defects: list[Defect] = []
        self._files: tuple[list[str], list[str]] = [], []

    @property
    def rows(self) -> int:
        return len(self._documents) + len(self._defects) + self.skipped

    def is_full(self, reading: Reading) -> bool:
        return self.rows >= reading.batch_rows or self.n_bytes >= BATCH_BYTES

    def add(self, checked: Checked, file: str | None = None) -> None:
        """Take a checked row; `file`: the key of its file, where the batch is of many."""
        self.read += 1
        if checked is None:
            self.skipped += 1
            return
        if file is not None:
            count = 1 if isinstance(checked, Defect) else len(checked)
            self._files[isinstance(checked, Defect)].extend([file] * count)
        if isinstance(checked, Defect):
            self._defects.append(checked)
        else:
            self._documents += checked
            self.n_bytes += sum(row[3] for row in checked)

    def frames(self) -> ShardBatch:
        documents = pl.DataFrame(self._documents, schema=DOCUMENT_SCHEMA, orient="row")
        quarantine = quarantine_frame(self._defects)
        if any(self._files):
            documents, quarantine = (
                frame.with_columns(pl.Series("shard", files, dtype=pl.String))
                for frame, files in zip((documents, quarantine), self._files, strict=True)
            )
        return ShardBatch(documents=documents, quarantine=quarantine, skipped=self.skipped)


@dataclass(kw_only=True, slots=True)
class _Checks:
    """The rules of one corpus, by which the raw rows of a file become documents.

    `own`: columns that become the document itself or its language, source or licence: no metadata. `place`:
    where the text is, unless a row says otherwise. `taken`: rows by the place of their text, where tamis.toml
    does not name the column; the first place is that of the file. `cutter`: as of `Reading`. `odd`: values
    that could not be kept as they were, by column and what was done to them.
    """

    corpus: CorpusSection
    default_source: str
    kept_bytes: float
    cutter: Cutter | None
    own: frozenset[str]
    place: TextPlace
    taken: Counter[TextPlace] | None
    odd: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: int = 0

    @property
    def main(self) -> TextPlace | None:
        """Return the place of the file's texts, which kept rows do not repeat; None before the first row."""
        return self.place if self.taken is None else next(iter(self.taken), None)

    def apply(self, item: Item) -> Checked:
        """Check one row."""
        self.rows += 1
        if isinstance(item, Defect):
            return item
        for note in item.notes:
            self.odd[note.column, note.problem] += note.values
        place = item.text or self.place
        if self.taken is not None:
            self.taken[place] += 1
        raw, turn_end = item.values[place.name], 0
        if self.corpus.format != "text":
            found = read_conversation(item.row, item.columns, self.corpus.format, place.name)
            if isinstance(found, Defect):
                return found
            raw, turn_end = found.text, system_turn_end(found.starts)
        if raw is None:
            return Defect(row=item.row, reason=Reason.EMPTY_TEXT, detail="the text is null")
        if not isinstance(raw, str):
            detail = f"the text is of type {type(raw).__name__}, not a string"
            return Defect(row=item.row, reason=Reason.NON_TEXT, detail=detail, excerpt=excerpt(raw))
        limit = self.corpus.maximum_row_bytes
        text = normalise_text(raw) if len(raw) <= limit else raw
        data = text.encode("utf-8", "replace")
        if len(data) > limit:
            return giant_row(item.row, limit, raw)
        if not text.strip("\0"):
            detail = "the text is nothing but NUL bytes" if text else "the text is empty or white space"
            return Defect(row=item.row, reason=Reason.EMPTY_TEXT, detail=detail, excerpt="")
        if len(text) < self.corpus.minimum_characters:
            return None
        if is_mistaken(text):
            self.odd[place.name, UNMENDED if self.corpus.repair else MISTAKEN] += 1
        doc_id = _id_of(data)
        turn = (system_turn(text[:turn_end]), turn_end) if turn_end else (None, None)
        passages = self.cutter.cut(text) if self.cutter else ()
        *origin, content = self._origin(item, place, split=bool(passages))
        if not passages:
            return [(doc_id, text, len(text), len(data), *origin, content, *turn, *WHOLE)]
        rows = []
        for number, passage in enumerate(passages):
            own = passage.text.encode()
            of_document = (doc_id, number, len(passages), passage.begin, passage.gap)
            sizes, kept = (len(passage.text), len(own)), content if number == 0 else None
            rows.append((_id_of(own), passage.text, *sizes, *origin, kept, *turn, *of_document))
        return rows

    def _origin(
        self, item: Row, place: TextPlace, *, split: bool
    ) -> tuple[str | None, int, str, str | None, str, str | None]:
        values, corpus = item.values, self.corpus
        apart = corpus.format == "text" and place.name not in LABELS
        if apart and len(values) == 1 and not item.as_json and place == self.main:  # nothing but the text
            return corpus.language, item.row, self.default_source, corpus.licence, NO_METADATA, None
        licence = next((found for name in LICENCE_COLUMNS if (found := _licence(values.get(name)))), None)
        kept = self._kept(item, place, split=split) if corpus.keep_columns else None
        whole = {name for name in values if kept and is_kept(corpus, name)}
        own = self.own if place is self.place else self.own | {place.name}
        return (
            _label(values.get("language")) or corpus.language,
            item.row,
            _label(values.get("source"), SOURCE_CHARACTERS) or self.default_source,
            licence or corpus.licence,
            short_metadata({name: value for name, value in values.items() if name not in own}, whole),
            kept,
        )

    def _kept(self, item: Row, place: TextPlace, *, split: bool) -> str | None:
        """Return the columns of a row to keep: without its text, if that is where the file has its texts.

        The text of a row that is `split` is kept in no column, since it shows passages that are not chosen.
        """
        is_text = self.corpus.format == "text"
        if is_text and place != self.main and not split:
            return self._with_text(item, place)
        # The turns of a nested conversation are in its column as well.
        own = place.name if is_text or place.is_nested else None
        others = {name: value for name, value in item.values.items() if name != own}
        return kept_row(others | item.as_json, self.corpus, self.kept_bytes, odd=self.odd)

    def _with_text(self, item: Row, place: TextPlace) -> str | None:
        """Return the columns of a row whose text is elsewhere than those of its file, which a null says."""
        row, main = item.values | item.as_json, self.main
        if place.is_nested:
            text = row.pop(place.name)
            if place.keys[0] in row:
                lowered(row, place.keys, text)
        apart = main.name if main and main.name not in row and is_kept(self.corpus, main.keys[0]) else None
        return kept_row(row, self.corpus, self.kept_bytes, apart, self.odd)


def _id_of(data: bytes) -> str:
    """Return the id of a normalised text in UTF-8."""
    return hashlib.sha256(data).hexdigest()[:32]


def _licence(value: object) -> str | None:
    """A licence; of a list of them all, joined by AND, since nothing says that one is enough."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return _label(" AND ".join(one.strip() for one in value))
    return _label(value)


def _label(value: object, characters: int = LABEL_CHARACTERS) -> str | None:
    """A short string of a row, or None when it is absent, empty or something else."""
    return without_surrogates(value).strip()[:characters] or None if isinstance(value, str) else None


def short_metadata(values: Mapping[str, Any], stored: Container[str]) -> str:
    """JSON of a row's other columns, keys sorted, at most about 2,000 characters: the rest is cut.

    Long values end in an ellipsis; keys that no longer fit are counted under the key `...`. Of a column that
    is not in `stored` a long or nested value is an ellipsis alone: nothing holds the whole of it, so a
    withdrawal could not see that it is the beginning of a withdrawn text.
    """
    kept: dict[str, Any] = {}
    length = 0
    for name in sorted(values, key=lambda name: (name != ORIGINAL, name)):  # which a withdrawal looks for
        value = _short_value(values[name], name in stored)
        length += len(name) + len(str(value)) + 6
        if length > METADATA_CHARACTERS:
            kept["..."] = f"{len(values) - len(kept)} more columns"
            break
        kept[without_surrogates(name)] = value
    return json.dumps(kept, ensure_ascii=False, sort_keys=True)


def _short_value(value: Any, stored: bool) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    value = str(value) if isinstance(value, Undecoded) else value
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    shown = without_surrogates(shown[: VALUE_CHARACTERS + 1])
    if not stored and not (isinstance(value, str) and len(shown) <= VALUE_CHARACTERS):
        return "…"
    return shown if len(shown) <= VALUE_CHARACTERS else shown[: VALUE_CHARACTERS - 1] + "…"


def all_documents(batches: Iterable[ShardBatch]) -> ShardBatch:
    """The batches of one or more shards as one."""
    held = list(batches)
    return ShardBatch(
        documents=pl.concat([batch.documents for batch in held]),
        quarantine=pl.concat([batch.quarantine for batch in held]),
        skipped=sum(batch.skipped for batch in held),
        odd=sum((Counter(batch.odd) for batch in held), Counter()),
    )
