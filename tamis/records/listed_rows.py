"""Searching rows files for documents: which manifests list a withdrawn document, and how many of them.

A rows file holds 48 bytes a row, a key (an id, or the hash of several columns) and a digest, so no text is
needed to find a document in it. One that many manifests name is read once.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tamis.base.numbers import cut
from tamis.corpus.refusing import NEAR_REPEATS, Refusal
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import Manifest, ManifestFolder
from tamis.selection.filtering import FILES_LOST
from tamis.selection.stage import DECISIONS, SELECTED_SUBSET, SELECTION_STAGE
from tamis.store.digests import KEY_BYTES, RECORD_BYTES, key_bytes
from tamis.store.home import Home
from tamis.store.rows_files import BY_DOC_IDS, ID_ALONE, keys_of
from tamis.store.schemas import declaration, declared
from tamis.store.withdrawn import withdrawn_ids

_KEY = f"S{KEY_BYTES}"
OF_A_SELECTION = "where excludes "
"""Beginning of the lines of `tamis.selection.where.where_lines`, which do not name their selection."""


class Listing:
    """Search for documents in the rows files of one home."""

    def __init__(self, folder: ManifestFolder, doc_ids: Sequence[str]) -> None:
        self.folder, self.doc_ids = folder, sorted(set(doc_ids))
        self._keys: dict[tuple[str, ...], NDArray[np.bytes_]] = {}
        self._found: dict[tuple[str, ...], int] = {}

    def count(self, manifest: Manifest) -> int:
        """Return how many of the documents a manifest lists: the largest count over its tables."""
        return max(
            (self._count_in(manifest, table) for table in manifest.rows),
            default=0,
        )

    def lists(self, manifest: Manifest, table: str) -> bool:
        """Return whether a manifest lists any of the documents among its rows of one table."""
        return table in manifest.rows and self._count_in(manifest, table) > 0

    def _count_in(self, manifest: Manifest, table: str) -> int:
        known, digest, partition = declared(table), manifest.rows[table], manifest.partition
        if known is None or "doc_id" not in known.key:
            return 0
        key = ID_ALONE if manifest.scopes.get(table) == BY_DOC_IDS else known.key
        entry = (*key, partition if len(key) > 1 else "", digest)
        if entry not in self._found:
            keys = self._keys_by(key, partition)
            self._found[entry] = int(np.isin(keys, listed(self.folder, digest)).sum())
        return self._found[entry]

    def keys(self, table: str, partition: str) -> NDArray[np.bytes_]:
        """Return the keys of the documents in a table, [n] of 16 bytes.

        Where the key of the table has a second column, that holds the partition.
        """
        return self._keys_by(declaration(table).key, partition)

    def _keys_by(self, key: Sequence[str], partition: str) -> NDArray[np.bytes_]:
        entry = (*key, partition if len(key) > 1 else "")
        if entry not in self._keys:
            count = len(self.doc_ids)
            columns = {name: self.doc_ids if name == "doc_id" else [partition] * count for name in key}
            rows = pa.table(columns, schema=pa.schema([(name, pa.string()) for name in key]))
            self._keys[entry] = np.array(key_bytes(rows, key), dtype=_KEY)
        return self._keys[entry]


def listed(folder: ManifestFolder, digest: str) -> NDArray[np.bytes_]:
    """Return the keys that a rows file lists, [n] of 16 bytes; none where the file is missing."""
    try:
        return keys_of(folder.rows_path(digest).read_bytes())
    except FileNotFoundError:
        return keys_of(b"")


def noted_near_repeats(folder: ManifestFolder, manifests: Iterable[str], barred: Refusal) -> dict[str, str]:
    """Return the documents that these values noted as close to a withdrawn one, and the id of that one."""
    if not barred.loose_ids:
        return {}
    gone = set(barred.doc_ids)
    return {
        doc_id: other
        for one in folder.readable(manifests).values()
        for doc_id, other in one.beside.get(NEAR_REPEATS, {}).items()
        if doc_id not in gone
    }


def noted_files_lost(home: Home, current: CurrentValues) -> list[str]:
    """Return the lines that selections noted on files that lose most documents, and on their `where`."""
    made = [value.manifest for (asset, _name), value in current.items() if asset == SELECTION_STAGE.name]
    lines = {
        f"selection {manifest.partition}: {line}" if line.startswith(OF_A_SELECTION) else line
        for manifest in ManifestFolder.of(home).readable(made).values()
        for line in manifest.beside.get(FILES_LOST, ())
    }
    return cut(sorted(lines))


def listing(folder: ManifestFolder, doc_ids: Sequence[str]) -> dict[str, int]:
    """Return how many of the documents each stored manifest lists, without manifests that list none."""
    search = Listing(folder, doc_ids)
    return {
        key: count
        for key, manifest in folder.readable(folder.ids()).items()
        if (count := search.count(manifest))
    }


def only_withdrawn_missing(
    folder: ManifestFolder, table: str, partition: str, digest: str, stored: bytes, doc_ids: Sequence[str]
) -> bool:
    """Return whether stored rows differ from a rows file only in lacking withdrawn documents.

    `stored`: the stored rows in the format of a rows file.
    """
    try:
        before = folder.rows_path(digest).read_bytes()
    except FileNotFoundError:
        return False
    was, now = _records(before), _records(stored)
    gone = {record[:KEY_BYTES] for record in was - now}
    allowed = {bytes(key).ljust(KEY_BYTES, b"\0") for key in Listing(folder, doc_ids).keys(table, partition)}
    return now <= was and gone <= allowed


def _records(content: bytes) -> set[bytes]:
    return {content[start : start + RECORD_BYTES] for start in range(0, len(content), RECORD_BYTES)}


def lost_decisions(home: Home, selection: str, decided: str, subset: str) -> pl.DataFrame:
    """Return the withdrawn documents that a version of a selection had decided about: doc_id, verdict.

    Their rows are erased, but the rows files of the version still list their keys. `decided`: digest of the
    rows of its decisions; `subset`: manifest of its chosen documents.
    """
    folder = ManifestFolder.of(home)
    doc_ids = withdrawn_ids(home.store).sort()
    keys = Listing(folder, doc_ids.to_list()).keys(DECISIONS.name, selection)
    chosen = folder.read(subset).rows.get(SELECTED_SUBSET.name, "")
    verdicts = pl.Series(
        np.where(np.isin(keys, listed(folder, chosen)), "selected", "rejected"), dtype=pl.String
    )
    return pl.DataFrame({"doc_id": doc_ids, "verdict": verdicts}).filter(
        pl.Series(np.isin(keys, listed(folder, decided)))
    )
