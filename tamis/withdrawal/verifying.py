"""Verifying: whether the home holds anything again of what is withdrawn, in any version that can be read.

It looks where a withdrawal erases (`places`): by ids at every version of every table, at kept versions of
selections, exports and pages, and by the hash of whole values and keys at the columns of other rows. The
text itself is no longer known: who gives it once more has excerpts of quarantined rows, every string of all
tables, exports and receipts searched for it, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tamis.base.numbers import counted, named
from tamis.corpus.refusing import WITHHELD, near_repeat_lines, refusal, stored_near_repeats
from tamis.corpus.stage import QUARANTINE
from tamis.readers.text import document_id, normalise_text
from tamis.records.receipts import WithdrawalsLostError, is_lost, receipt_ids, receipt_problems
from tamis.store.erasing import TRIED, untried_version
from tamis.store.home import Home, writer
from tamis.store.retained import aside_lines
from tamis.store.schemas import declaration
from tamis.store.tables import Store, quoted
from tamis.store.withdrawn import unfinished_line, withdrawn_ids
from tamis.withdrawal.places import Named, copies_naming, files_holding, files_named, tables_of_excerpts
from tamis.withdrawal.purging import NO_DOCUMENT, copies_in_columns, rows_in_versions, unwritten
from tamis.withdrawal.quotations import files_quoting, quotations, short_text_line, showing

SHOWN = 3


@dataclass(kw_only=True)
class Verification:
    """What was looked at, and what was found that must not be there."""

    withdrawn: int
    receipts: int = 0
    versions: int = 0
    files: int = 0
    not_compared: int = 0
    """Rows in quarantine, where no text was given: what they quote names no document."""
    compared: list[str] = field(default_factory=list)
    """What the verdict rests on, as clauses."""
    unsearched: bool = False
    """Whether rows were not searched for quotations, since no text was given."""
    problems: list[str] = field(default_factory=list)
    near_repeats: dict[str, str] = field(default_factory=dict)
    """Documents that differ from a withdrawn one in case or white space alone, with that; no problem."""
    near_copies: list[str] = field(default_factory=list)
    """Rows with most of the words of the given text; no problem."""
    aside: list[str] = field(default_factory=list)
    """What holds no text and is not looked into; no problem either."""

    @property
    def holds(self) -> bool:
        """Whether nothing is there."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"holds": self.holds, **self.__dict__}

    def lines(self) -> list[str]:
        """For a person."""
        looked = (
            f"checked: {counted(self.versions, 'table version')}, {counted(self.receipts, 'receipt')}, "
            f"{counted(self.files, 'file')}"
        )
        looked += f", compared by {', '.join(self.compared)}" if self.compared else ""
        if self.unsearched:
            looked += "; quotations in other rows were not looked for"
            if self.not_compared:
                looked += f"; not compared: {counted(self.not_compared, 'row')} in quarantine"
            looked += ", for which --verify needs --text FILE"
        clean = "nothing was found" if self.unsearched else "no trace is left in the home folder"
        state = clean if self.holds else "NOT everything has been removed"
        lines = [f"{self.withdrawn:,} withdrawn: {state} ({looked})", *(f"  {one}" for one in self.problems)]
        others = (*near_repeat_lines(self.near_repeats), *self.near_copies, *self.aside)
        return lines + [f"  {line}" for line in others]


def verify(home: Home, text: str | None = None) -> Verification:
    """Look for everything that is withdrawn, and for one text where it is given."""
    gone = withdrawn_ids(home.store)
    found = Verification(withdrawn=len(gone))
    if is_lost(home):
        found.problems.append(str(WithdrawalsLostError()))
    if line := unfinished_line(home.store):
        found.problems.append(line)
    with home.as_stored("manifests", "exports", "reports") as stored:
        for receipt in receipt_ids(stored.store):
            found.receipts += 1
            found.problems += receipt_problems(stored, receipt)
        found.files += sum(1 for kind in (Named.BY_ROWS, Named.BY_IDS) for _ in files_named(stored, kind))
        found.problems += [problem for _path, problem in files_holding(stored, gone.to_list())]
        found.problems += copies_naming(stored, gone.to_list())
    found.problems += _tables(home.store, gone, found)
    found.problems += _unwritten(home) if len(gone) else ()
    found.near_repeats = stored_near_repeats(home.store, refusal(home.store))
    found.aside = aside_lines(home.store) if len(gone) else []
    if len(gone) and (kept := home.files.still_kept()):
        found.problems.append(kept)
    found.compared = ["ids", "whole values and keys of kept columns"] if len(gone) else []
    if text is None and len(gone):
        found.not_compared = home.store.count(QUARANTINE.name, f"detail != {quoted(WITHHELD)}")
        found.unsearched = True
    elif text is not None:
        _search(home, normalise_text(text), gone, found)
    return found


def _search(home: Home, text: str, gone: pl.Series, found: Verification) -> None:
    """Look for one text in all that the home keeps, whatever it is part of."""
    found.problems += _text(home.store, text, gone)
    if short := short_text_line(text):
        found.compared.append(f"pieces in quarantine; {short}")
        return
    found.compared.append("the given text in every string of all tables, in exports and in receipts")
    for one in quotations(home.store, {document_id(text): text}, versions=True, near=True):
        (found.problems if one.share == 1 else found.near_copies).append(one.line)
    with home.as_stored("manifests", "exports") as stored:
        found.problems += files_quoting(stored, text, receipt_ids(home.store))


def _tables(store: Store, gone: pl.Series, found: Verification) -> Iterator[str]:
    excerpts = tables_of_excerpts(store)
    for table, version, held in rows_in_versions(store, gone.to_list()):
        found.versions += 1
        what = "with withdrawn excerpts" if table in excerpts else "of withdrawn documents"
        if held:
            yield f"table {table} version {version}: {counted(held, 'row')} {what}"
    for table, rows in copies_in_columns(store, gone.to_list()).items() if len(gone) else ():
        where = f"{counted(len(rows), 'row')} of other documents"
        owners = named(sorted(set(rows["doc_id"]) - {NO_DOCUMENT}), SHOWN)
        yield (
            f"table {table}: a withdrawn text is in a column of {where}{f' ({owners})' if owners else ''}; "
            "repeat the `tamis withdraw` of any withdrawn document to remove it"
        )


def _unwritten(home: Home) -> Iterator[str]:
    """What killed writes have left, unless it may be of one that goes on."""
    if installed := untried_version():
        yield (
            f"whether files of interrupted writes hold withdrawn text cannot be told with LanceDB "
            f"{installed}; it was tried with {named(TRIED)}"
        )
        return
    for table, count in unwritten(home.store).items() if not writer(home) else ():
        yield (
            f"table {table}: {counted(count, 'file')} of an interrupted write may contain withdrawn text; "
            "repeat the `tamis withdraw` of any withdrawn document to remove it"
        )


def _text(store: Store, text: str, gone: pl.Series) -> Iterator[str]:
    """One text, in the excerpts of every version of the quarantine."""
    if document_id(text) not in gone:
        yield f"the text belongs to document {document_id(text)}, which is not withdrawn"
    for table in tables_of_excerpts(store):
        for entry in store.open(table).list_versions():
            shown = store.read(table, declaration(table).text, version=int(entry["version"]))
            if any(showing(["\n".join(row) for row in shown.iter_rows()], [text])):
                yield f"table {table} version {entry['version']} contains part of the given text"
