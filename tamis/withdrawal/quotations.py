"""Rows of other documents that hold a text: within a longer text or value, as a key, or nearly word for word.

A withdrawal erases whole values, by document; it never searches and replaces within a text. So these rows are
named, and a person decides about their documents. The text has to be known: the home keeps hashes alone.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.base.nesting import on_own_stack
from tamis.base.numbers import counted
from tamis.corpus.refusing import NAME_CHARACTERS, WITHHELD, content_ids, withheld
from tamis.corpus.stage import QUARANTINE
from tamis.duplicates.minhash import word_windows
from tamis.readers.streams import Content
from tamis.records.manifest import ManifestFolder
from tamis.store.home import Home
from tamis.store.schemas import declared, schema_of, tables_of_texts
from tamis.store.tables import Store
from tamis.withdrawal.departed import earlier_versions
from tamis.withdrawal.places import UnreadableRowsError, rows_of_batch

MOST_TEXTS = 1_000
"""Of more texts at once the quotations are not looked for."""
BLOCK_BYTES = 1 << 24
SHINGLE, NEAR = 5, 0.8
"""A row nearly holds a text with so large a share of its runs of so many words."""
_ESCAPED = re.compile(r"\\+u([0-9a-fA-F]{4})")
_LINE, _MARK, _SPACE = r"\\+[bfnrt]", r"[\\\"\u00ad\u200b\ufeff]+", r"\s+"
TABLE = QUARANTINE.name
SHORT, WINDOW = 12, 24
_CODES = re.compile(r"\\+u([0-9a-fA-F]{4})|\\+x([0-9a-fA-F]{2})")
_UNSTABLE = re.compile(r"\\+[abfnrtv0]?|[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\"'<>&]+")
"""What rows in JSON, CSV or Python write in more ways than one, and excerpts leave out."""


@dataclass(frozen=True, kw_only=True)
class Quotation:
    """A row that holds the text of `text_id`: its table, column and place.

    `version`: of an earlier state of the table. `column`: with the name of the value, where it is JSON.
    `share`: part of the runs of words of the text that the row has, 1 where it holds the text as it is.
    """

    text_id: str
    table: str
    version: int | None
    column: str
    doc_id: str | None
    shard: str | None
    row: int | None
    share: float = 1.0

    @property
    def line(self) -> str:
        """The finding for a person, with the way to withdraw the row."""
        place = "" if self.shard is None else f", {self.shard}"
        place += "" if self.row is None else f" row {self.row}"
        table = f"table {self.table}" + ("" if self.version is None else f" version {self.version}")
        how = "holds" if self.share == 1 else f"holds {100 * self.share:.0f} % of the runs of five words of"
        whose = f"document {self.doc_id}" if self.doc_id else "a row"
        cure = f"; to withdraw it too, run `tamis withdraw {self.doc_id}`" if self.doc_id else ""
        return f"{whose} {how} the text of {self.text_id} ({table}, column {self.column}{place}){cure}"

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return dict(self.__dict__)


def is_long_enough(text: str) -> bool:
    """Return whether a text is looked for within others; a shorter one counts as a name."""
    return len(plain(pl.Series([text]))[0]) >= NAME_CHARACTERS


def plain(values: pl.Series) -> pl.Series:
    """Return texts in NFC, with single spaces and without escapes, double quotes and invisible characters.

    So JSON within JSON, CSV and files with soft hyphens or byte-order marks show a text alike.
    """
    codes = values.str.contains(r"\\u[0-9a-fA-F]{4}").fill_null(False)
    if codes.any():
        values = pl.Series(
            [_decoded(one) if code else one for one, code in zip(values, codes, strict=True)], dtype=pl.String
        )
    values = values.str.normalize("NFC")
    for pattern, written in ((_LINE, " "), (_MARK, ""), (_SPACE, " ")):
        values = values.str.replace_all(pattern, written)
    return values.str.strip_chars()


def _decoded(text: str, codes: re.Pattern[str] = _ESCAPED) -> str:
    joined = codes.sub(lambda code: chr(int(next(filter(None, code.groups())), 16)), text)
    return joined.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def quotations(
    store: Store, texts: Mapping[str, str], *, versions: bool = False, near: bool = False
) -> Iterator[Quotation]:
    """Yield the rows that hold one of these texts, by id, and are of another document; short texts are names.

    `versions`: look at earlier versions of the tables of texts, too. `near`: of these tables, also find rows
    with most of the words of a text.
    """
    known = {key: plain(pl.Series([text]))[0] for key, text in texts.items() if is_long_enough(text)}
    for table in store.names() if known else ():
        declaration = declared(table)
        of_text = declaration is not None and bool(declaration.text)
        looked_at: list[int | None] = [None]
        if versions and of_text:
            looked_at += reversed(earlier_versions(store, table))
        for version in looked_at if table != QUARANTINE.name else ():  # excerpts are compared by pieces
            yield from _in_table(store, table, version, known, near and table in tables_of_texts())


def _in_table(
    store: Store, table: str, version: int | None, texts: Mapping[str, str], near: bool
) -> Iterator[Quotation]:
    columns = [
        field.name
        for field in store.schema(table)
        if field.name not in ("doc_id", "shard")
        and (pa.types.is_string(field.type) or pa.types.is_large_string(field.type))
    ]
    beside = [name for name in ("doc_id", "shard", "row") if name in store.schema(table).names]
    patterns = list(texts.values())
    shingles = {key: _runs(text) for key, text in texts.items()} if near else {}
    for batch in store.batches(table, [*columns, *beside], version=version) if columns else ():
        frame = pl.DataFrame(pl.from_arrow(batch))
        for column in columns:
            shown = plain(frame[column])
            for at in shown.str.contains_any(patterns).fill_null(False).arg_true():
                for key in [key for key, text in texts.items() if text in shown[at]]:
                    named = f"{column}{_named(frame[column][at], texts[key])}"
                    yield from _found(key, table, version, named, frame.row(at, named=True))
            for key, share_n in _shares(shown, shingles) if column == "text" else ():
                held_n = shown.str.contains(texts[key], literal=True).fill_null(False).to_numpy()
                for at in np.flatnonzero((share_n >= NEAR) & ~held_n):
                    yield from _found(
                        key, table, version, column, frame.row(int(at), named=True), float(share_n[at])
                    )


def _found(
    text_id: str, table: str, version: int | None, column: str, row: Mapping[str, Any], share: float = 1.0
) -> Iterator[Quotation]:
    """Yield what a row holds, unless it is one of the document itself."""
    doc_id = row.get("doc_id") or None
    if doc_id != text_id:
        yield Quotation(
            text_id=text_id,
            table=table,
            version=version,
            column=column,
            doc_id=doc_id,
            shard=row.get("shard"),
            row=row.get("row"),
            share=share,
        )


def _named(content: str, text: str) -> str:
    """Return the names of the values, or keys, of a JSON object that hold a text, in brackets."""
    try:
        values = on_own_stack(json.loads, content)
    except (ValueError, RecursionError):
        return ""
    names = [
        "a key" if text in plain(pl.Series([name]))[0] else f"value {name!r}"
        for name, value in (values.items() if isinstance(values, dict) else ())
        if text in plain(pl.Series([on_own_stack(json.dumps, {name: value}, ensure_ascii=False)]))[0]
    ]
    return f" ({', '.join(names)})" if names else ""


def _runs(text: str) -> np.ndarray:
    """Return the hashes of the runs of words of a text; of a text of fewer words none."""
    windows = np.unique(word_windows([text], SHINGLE).hashes)
    return windows if len(windows) > 1 else windows[:0]


def _shares(shown: pl.Series, shingles: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield, of each text, the share of its runs of words that each row has, [n]."""
    if not any(map(len, shingles.values())):
        return
    windows = word_windows(shown.fill_null(""), SHINGLE)
    for key, hashes in shingles.items():
        if len(hashes):
            own = np.isin(windows.hashes, hashes)
            pairs = np.unique(np.stack([windows.document[own], windows.hashes[own].view(np.int64)]), axis=1)
            yield key, np.bincount(pairs[0], minlength=len(shown)) / len(hashes)


def short_text_line(text: str) -> str:
    """Return the restriction that holds of a text too short to be looked for within others; "" for none."""
    least = counted(NAME_CHARACTERS, "character")
    line = f"a text under {least} counts as a name, so it was compared as a whole value only"
    return "" if is_long_enough(text) else line


def files_quoting(home: Home, text: str, receipts: Iterable[str]) -> Iterator[str]:
    """Say of each exported file and receipt that it holds a text, whatever the text is part of."""
    sought, folder = plain(pl.Series([text]))[0], ManifestFolder.of(home)
    paths = [path for path in home.exports.rglob("*") if path.is_file()] if home.exports.is_dir() else []
    paths += [path for one in receipts if (path := folder.path(one)).is_file()]
    for path in sorted(paths):
        try:
            quotes = any(sought in plain(some).str.join(" ")[0] for some in _strings(path))
        except (pa.ArrowException, ValueError, OSError) as error:
            yield str(UnreadableRowsError(path, str(error).partition("\n")[0]))
            continue
        if quotes:
            yield f"{home.relative(path)} holds the given text; delete the file, or export again"


def _strings(path: Path) -> Iterator[pl.Series]:
    """Yield what a file shows, in blocks: of Parquet rows as JSON, and the schema; else decoded bytes."""
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as rows:
            stated = (rows.schema_arrow.metadata or {}).values()
            yield pl.Series(
                [
                    str(rows.schema_arrow.remove_metadata()),
                    *(one.decode("utf-8", "replace") for one in stated),
                ]
            )
            for batch in rows.iter_batches():
                yield pl.Series(
                    [
                        on_own_stack(json.dumps, row, ensure_ascii=False, default=str)
                        for row in rows_of_batch(batch)
                    ],
                    dtype=pl.String,
                )
        return
    with Content(path) as content:
        while block := content.stream.read(BLOCK_BYTES):
            yield pl.Series([(block + content.stream.readline()).decode("utf-8", "replace")])


def excerpts_showing(store: Store, texts: Sequence[str], shards: Sequence[str] = ()) -> pl.DataFrame:
    """Return quarantined rows, with content ids, that show a piece of the texts or are in the shards."""
    found = store.read(TABLE, schema_of(TABLE).names).filter(pl.col("detail") != WITHHELD)
    if not len(found):
        return found.with_columns(doc_id=pl.Series([], dtype=pl.String))
    shown = [f"{detail}\n{excerpt}" for detail, excerpt in found.select("detail", "excerpt").iter_rows()]
    held = pl.Series(showing(shown, texts)) | found["shard"].is_in(list(shards))
    return found.with_columns(content_ids(found)).filter(held)


def excerpts_with_ids(store: Store, content: Sequence[str]) -> pl.DataFrame:
    """Rows of the quarantine, with their content ids, that have one of these."""
    found = store.read(TABLE, schema_of(TABLE).names)
    return found.with_columns(content_ids(found)).filter(pl.col("doc_id").is_in(list(content)))


def withhold(store: Store, rows: pl.DataFrame) -> None:
    """Let these rows of the quarantine show nothing of the raw input any more."""
    if len(rows):
        store.put(TABLE, withheld(rows, pl.lit(True)))


def showing(shown: Sequence[str], texts: Sequence[str]) -> list[bool]:
    """Of each excerpt, whether it shares a run of 24 characters with a text, or holds all of a short one."""
    bare = [_bare(one) for one in shown]
    windows = [[one[start : start + WINDOW] for start in range(len(one) - WINDOW + 1)] for one in bare]
    if not bare or not texts:
        return [False] * len(shown)
    looked_for = [_bare(text) for text in texts]
    patterns = sorted({window for some in windows for window in some})
    found = pl.Series(looked_for).str.extract_many(patterns, overlapping=True).explode() if patterns else ()
    shared = set(found)
    short = [text for text in looked_for if len(text) < WINDOW and len(text.encode()) >= SHORT]
    return [
        any(window in shared for window in some) or any(text in one for text in short)
        for one, some in zip(bare, windows, strict=True)
    ]


def _bare(text: str) -> str:
    """The text as far as JSON, CSV, Python and an excerpt of any of them show it alike."""
    return unicodedata.normalize("NFC", _UNSTABLE.sub("", _decoded(text, _CODES)))
