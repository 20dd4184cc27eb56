"""Verifying: whether the home holds anything again of what is withdrawn, in any version that can be read.

By ids it looks at every version of every table, at kept versions of selections, at exports and pages.
The text itself is no longer known; whoever gives it once more has it searched for in all other files too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tamis.corpus.text import document_id, normalise_text
from tamis.lineage.manifest import ManifestFolder
from tamis.store.home import Home
from tamis.store.tables import Store
from tamis.withdrawal.desired import unfinished, withdrawn_ids
from tamis.withdrawal.excerpts import TABLE as EXCERPTS
from tamis.withdrawal.files import UnreadableRowsError, held_in, holds_rows, searched
from tamis.withdrawal.pieces import holds_any, pieces_of, showing
from tamis.withdrawal.purging import tables_of_documents
from tamis.withdrawal.receipts import TEXTS, receipt_ids, receipt_problems
from tamis.withdrawal.refusing import near_repeat_lines, refusal

SHOWING = {"documents": ["text"], "target_examples": ["text"], EXCERPTS: ["detail", "excerpt"]}
"""Columns that show text of raw files."""


@dataclass(kw_only=True)
class Verification:
    """What was looked at, and what was found that must not be there."""

    withdrawn: int
    receipts: int = 0
    versions: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)
    near_repeats: dict[str, str] = field(default_factory=dict)
    """Documents that differ from a withdrawn one in case or white space alone, with that; no problem."""

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
        lines = [f"{self.withdrawn:,} withdrawn: {state} ({looked})", *(f"  {one}" for one in self.problems)]
        return lines + [f"  {line}" for line in near_repeat_lines(self.near_repeats)]


def verify(home: Home, text: str | None = None) -> Verification:
    """Look for everything that is withdrawn, and for one text where it is given."""
    gone = withdrawn_ids(home.store)
    found = Verification(withdrawn=len(gone))
    waiting = unfinished(home.store)
    if len(waiting):
        found.problems.append(
            f"{len(waiting)} withdrawals were cut short; `tamis materialize` completes them"
        )
    with home.as_stored("manifests", "exports", "reports") as stored:
        found.problems += _receipts(stored, found)
        found.problems += _files(stored, gone, found)
    found.problems += _tables(home.store, gone, found)
    found.near_repeats = _near_repeats(home.store)
    if len(gone) and (kept := home.files.still_kept()):
        found.problems.append(kept)
    if text is not None:
        found.problems += _text(home, normalise_text(text), gone, found)
    return found


def _near_repeats(store: Store) -> dict[str, str]:
    """All documents and examples that nearly repeat a withdrawn one, those from before its withdrawal too."""
    barred = refusal(store)
    found: dict[str, str] = {}
    for table in TEXTS if barred.loose_ids else ():
        for batch in store.batches(table, ["doc_id", "text"]):
            found |= barred.near_repeats(pl.DataFrame(batch))
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


def _files(home: Home, gone: pl.Series, found: Verification) -> Iterator[str]:
    for path in [*ManifestFolder.of(home).kept(), *_data_files(home.exports)]:
        found.files += 1
        try:
            if holds_rows(path, gone):
                yield f"{home.relative(path)} has rows of withdrawn documents"
        except UnreadableRowsError as error:
            yield str(error)
    for path in sorted(home.reports.rglob("selection_*.html")) if home.reports.is_dir() else ():
        found.files += 1
        if holds_any(path.read_text(errors="replace"), gone.to_list()):
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
    for table, columns in SHOWING.items():
        if not home.store.exists(table):
            continue
        for entry in home.store.open(table).list_versions():
            for batch in home.store.batches(table, columns, version=int(entry["version"])):
                if _shown(["\n".join(row.values()) for row in batch.to_pylist()], text, table):
                    yield f"table {table} version {entry['version']} holds the text"


def _shown(contents: list[str], text: str, table: str) -> bool:
    if table == EXCERPTS:
        return any(showing(contents, [text]))
    return holds_any("\n".join(contents), [text])
