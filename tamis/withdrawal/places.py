"""The places that hold raw input or name documents: a withdrawal erases in them, and verifying looks there.

Tables follow from what `tamis.store.schemas` declares of each kind, SQL models from their columns: they may
read no text (`tamis.graph.stages`). Files are declared here. Everything else in the home, Dagster's and
MLflow's databases and logs included, holds ids, digests, numbers and names alone. Weights, vocabularies and
labels of checkpoints are what they have learnt: they stay, and are named by their taint.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tamis.store.exports import DESCRIPTIONS
from tamis.store.home import Home
from tamis.store.schemas import declared, tables, tables_of_texts
from tamis.store.tables import Store

CUT_SHORT = (".part", ".tmp")
"""Endings of what a killed process has left of a file."""
WHOLE_FOLDER = ("",)


class Named(StrEnum):
    """How a file names the documents that it shows, and so what a withdrawal does to it."""

    BY_ROWS = "a doc_id column: their rows are removed"
    BY_IDS = "ids in its text: it is removed, and rebuilt"
    NOT = "not at all: it is removed at every withdrawal, and rebuilt where needed"


@dataclass(frozen=True, kw_only=True)
class FilePlace:
    """Files of one kind: those with these endings in a folder under the home."""

    folder: str
    endings: tuple[str, ...]
    named: Named

    def files(self, home: Home) -> list[Path]:
        """Return those that are there, sorted; what describes an export holds no document."""
        folder = home.root / self.folder
        found = folder.rglob("*") if folder.is_dir() else ()
        return sorted(
            path
            for path in found
            if path.name.endswith(self.endings) and not path.name.endswith(DESCRIPTIONS) and path.is_file()
        )


FILES = (
    FilePlace(folder="exports", endings=(".parquet", ".jsonl"), named=Named.BY_ROWS),
    FilePlace(folder="manifests/rows", endings=(".parquet",), named=Named.BY_ROWS),
    FilePlace(folder="reports", endings=(".html",), named=Named.BY_IDS),
    FilePlace(folder="exports", endings=CUT_SHORT, named=Named.NOT),
    FilePlace(folder="manifests/rows", endings=CUT_SHORT, named=Named.NOT),
    FilePlace(folder="reports", endings=CUT_SHORT, named=Named.NOT),
    FilePlace(folder="cache/training", endings=WHOLE_FOLDER, named=Named.NOT),
    FilePlace(folder="cache/density_buckets", endings=WHOLE_FOLDER, named=Named.NOT),
    FilePlace(folder="cache/remote", endings=WHOLE_FOLDER, named=Named.NOT),
)
"""States of interrupted training hold texts as tokens, `remote` files as they were fetched."""


def files_named(home: Home, named: Named, folder: str = "") -> Iterator[Path]:
    """Files that name documents so, of all places or of those in one folder."""
    for place in FILES:
        if place.named == named and folder in ("", place.folder):
            yield from place.files(home)


def tables_of_documents(store: Store) -> list[str]:
    """Tables with rows by doc_id that a withdrawal deletes, those of whole texts last."""
    names = [
        name
        for name in store.names()
        if not ((known := declared(name)) and known.evidence) and "doc_id" in store.schema(name).names
    ]
    texts = tables_of_texts()
    return sorted(names, key=lambda name: (name in texts, name))


def tables_of_excerpts(store: Store) -> list[str]:
    """Tables that exist of which a withdrawal blanks the columns of text: their rows name no document."""
    kinds = [name for name, table in tables().items() if table.text and "doc_id" not in table.column_names]
    return [name for name in kinds if store.exists(name)]
