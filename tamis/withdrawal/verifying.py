"""Verifying: whether the home holds anything again of what is withdrawn, in any version that can be read.

By ids it looks at every version of every table, at kept versions of selections, at exports and pages.
The text itself is no longer known; whoever gives it once more has it searched for in all other files too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tamis.corpus.text import document_id, normalise_text
from tamis.lineage.manifest import ManifestFolder
from tamis.store.home import Home
from tamis.store.tables import Store
from tamis.withdrawal.desired import unfinished, withdrawn_ids
from tamis.withdrawal.files import held_in, scanned, searched
from tamis.withdrawal.pieces import held_pieces, holds_any, pieces_of
from tamis.withdrawal.purging import tables_of_documents
from tamis.withdrawal.receipts import receipt_ids, receipt_problems


@dataclass(kw_only=True)
class Verification:
    """What was looked at, and what was found that must not be there."""

    withdrawn: int
    receipts: int = 0
    versions: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing is there."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"holds": self.holds, **self.__dict__}

    def lines(self) -> list[str]:
        """For a person."""
        looked = f"{self.versions} versions of tables, {self.receipts} receipts, {self.files} files"
        state = "nothing of it is in the home" if self.holds else "NOT all of it is gone"
        return [f"{self.withdrawn:,} withdrawn: {state} ({looked})", *(f"  {one}" for one in self.problems)]


def verify(home: Home, text: str | None = None) -> Verification:
    """Look for everything that is withdrawn, and for one text where it is given."""
    gone = withdrawn_ids(home.store)
    found = Verification(withdrawn=len(gone))
    waiting = unfinished(home.store)
    if len(waiting):
        found.problems.append(
            f"{len(waiting)} withdrawals were cut short; `tamis materialize` completes them"
        )
    found.problems += _receipts(home, found)
    found.problems += _tables(home.store, gone, found)
    found.problems += _files(home, gone.to_list(), found)
    if text is not None:
        found.problems += _text(home, normalise_text(text), gone, found)
    return found


def _receipts(home: Home, found: Verification) -> Iterator[str]:
    for receipt in receipt_ids(home.store):
        found.receipts += 1
        yield from receipt_problems(home, receipt)


def _tables(store: Store, gone: pl.Series, found: Verification) -> Iterator[str]:
    for table in tables_of_documents(store):
        for entry in store.open(table).list_versions():
            found.versions += 1
            for batch in store.batches(table, ["doc_id"], version=int(entry["version"])):
                held = pl.Series(batch["doc_id"]).is_in(gone.implode())
                if held.any():
                    yield f"table {table} version {entry['version']}: {int(held.sum())} withdrawn rows"


def _files(home: Home, gone: Sequence[str], found: Verification) -> Iterator[str]:
    for path in [*ManifestFolder(home.manifests).kept(), *_data_files(home.exports)]:
        found.files += 1
        rows, held = scanned(path), pl.col("doc_id").is_in(list(gone)).any()
        if "doc_id" in rows.collect_schema() and rows.select(held).collect().item():
            yield f"{home.relative(path)} has rows of withdrawn documents"
    for path in sorted(home.reports.rglob("selection_*.html")) if home.reports.is_dir() else ():
        found.files += 1
        if holds_any(path.read_text(errors="replace"), gone):
            yield f"{home.relative(path)} names a withdrawn document"


def _data_files(folder: Path) -> list[Path]:
    files = folder.rglob("*") if folder.is_dir() else ()
    return sorted(path for path in files if path.suffix in (".jsonl", ".parquet"))


def _text(home: Home, text: str, gone: pl.Series, found: Verification) -> Iterator[str]:
    """Pieces of one text, in logs, databases and pages, and in every text column of every version."""
    if document_id(text) not in gone:
        yield f"the text is document {document_id(text)}, which is not withdrawn"
    pieces = pieces_of([text])
    for path in searched(home):
        found.files += 1
        if held_in(path, pieces):
            yield f"{home.relative(path)} shows a piece of the text"
    for table, column in (("documents", "text"), ("target_examples", "text"), ("quarantine", "excerpt")):
        if not home.store.exists(table):
            continue
        for entry in home.store.open(table).list_versions():
            for batch in home.store.batches(table, [column], version=int(entry["version"])):
                if held_pieces("\n".join(batch[column].to_pylist()), [text] if column == "text" else pieces):
                    yield f"table {table} version {entry['version']} holds the text"
