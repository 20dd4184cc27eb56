"""Receipts: manifests that prove which documents a withdrawal erased, when and for whom, without their text.

Each has the previous receipt as its input, so that none can be taken out of the middle unnoticed. A receipt
lists its rows of the table `withdrawals`, so that the audit finds a row that was changed or lost.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tamis.base.errors import PermanentError
from tamis.base.files import file_digest, write_atomically
from tamis.base.numbers import counted, named
from tamis.records.listed_rows import listed
from tamis.records.losses import RESTORED, note_records, read_losses
from tamis.records.manifest import InputReference, Manifest, ManifestError, ManifestFolder, canonical_json
from tamis.records.registered import read_registered, withdrawn_of
from tamis.store.digests import canonical_digest, hashed_columns, read_records, row_digests
from tamis.store.erasing import count_rows_of
from tamis.store.home import Home
from tamis.store.rows_files import BY_DOC_IDS, keys_of, stored_rows
from tamis.store.schemas import schema_of, tables_of_texts
from tamis.store.tables import Store, quoted
from tamis.store.withdrawn import DOCUMENT, EXCERPT, NO_REASON, PLACES, TABLE, Withdrawal, read_withdrawals

ASSET = "withdrawals"
CODE_VERSION = "1"
LATEST = "manifests/withdrawals.json"
"""A file of a home in which documents were withdrawn: which receipt is the latest."""


def write_receipt(home: Home, doc_ids: Sequence[str], done: dict[str, Any]) -> str:
    """Write the receipt of a withdrawal whose rows are in the table `withdrawals`, and return its id.

    `done`: the steps of the withdrawal as JSON values.
    """
    folder, ids = ManifestFolder.of(home), sorted(set(doc_ids))
    digest, content = stored_rows(home.store, TABLE, BY_DOC_IDS, ids)
    folder.write_rows(digest, content)
    receipt = folder.write(
        Manifest(
            asset=ASSET,
            partition="",
            code_version=CODE_VERSION,
            config=done,
            seed=0,
            input_key=canonical_digest(",".join(ids)),
            data_version=digest,
            digest=digest,
            row_count=len(ids),
            rows={TABLE: digest},
            scopes={TABLE: BY_DOC_IDS},
            inputs=tuple(
                InputReference(
                    asset=ASSET, partition="", data_version=folder.read(one).data_version, manifest=one
                )
                for one in receipt_ids(home.store)[-1:]
            ),
        )
    )
    home.publish(folder.take_unpublished())
    note_latest(home, receipt)
    return receipt


def latest_receipt(home: Home) -> str | None:
    """Return the id of the latest receipt; None where the home does not say it."""
    try:
        return str(json.loads((home.root / LATEST).read_bytes())["receipt"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_latest(home: Home, receipt: str | None = None) -> None:
    """Note which receipt is the latest; without one, in a home that has receipts and says nothing of them."""
    path = home.root / LATEST
    if receipt is None and not path.exists():
        receipt = next(reversed(receipt_ids(home.store)), None)
    if receipt is not None:
        write_atomically(path, canonical_json({"receipt": receipt}).encode())
        home.publish([path])


def receipt_ids(store: Store) -> list[str]:
    """Return the ids of the receipts that withdrawals name, oldest first."""
    return read_withdrawals(store, "receipt IS NOT NULL")["receipt"].unique(maintain_order=True).to_list()


def read_receipts(home: Home) -> dict[str, Manifest]:
    """Return the readable receipts by id, oldest first; the audit names the others."""
    return ManifestFolder.of(home).readable(receipt_ids(home.store))


def receipt_problems(home: Home, receipt: str, missing_only: bool = False) -> list[str]:
    """Return the problems of a receipt: it or the one before cannot be read, or its rows have changed.

    `missing_only` does not compare the rows. What is known to be lost is no problem; of rows that were
    written again from the receipt only the ids are compared.
    """
    folder, noted = ManifestFolder.of(home), read_losses(home).records
    known = noted.get(receipt)
    if known is not None and known.why != RESTORED:
        return []
    try:
        manifest = folder.read(receipt)
        for before in manifest.inputs:
            if before.manifest not in noted:
                folder.read(before.manifest)
    except ManifestError as error:
        return [str(error)]
    if missing_only:
        return []
    rows = home.store.read(TABLE, ["doc_id"], f"receipt = {quoted(receipt)}")["doc_id"].to_list()
    digest, content = stored_rows(home.store, TABLE, BY_DOC_IDS, rows)
    same = digest == manifest.rows[TABLE]
    if not same and known is not None:
        same = set(keys_of(content)) == set(listed(folder, manifest.rows[TABLE]))
    return [] if same else [f"the rows of table {TABLE} do not match receipt {receipt[:16]}…"]


def stored_again(store: Store) -> str:
    """Return, as a clause, how many rows of withdrawn documents the tables of texts hold; "" for none."""
    ids = read_withdrawals(store, "receipt IS NOT NULL")["doc_id"].to_list()
    return ", ".join(
        f"{count:,} in {table}"
        for table in tables_of_texts()
        if (count := count_rows_of(store, table, "doc_id", ids))
    )


def listed_in(home: Home) -> dict[str, int]:
    """Return how many withdrawn documents each manifest lists, by manifest, as noted in the receipts.

    A checkpoint may be registered after a withdrawal, so its own list of documents is searched.
    """
    found = Counter[str]()
    for receipt in read_receipts(home).values():
        found.update(receipt.config.get("listed_in", {}))
    return found | Counter(withdrawn_of(home, read_registered(home.store)))


class WithdrawalsLostError(PermanentError):
    """The table of what is withdrawn is gone, so nothing may be read; says what brings it back.

    `restorable`: whether receipts or places may still say what was in it.
    """

    def __init__(self, restorable: bool = True) -> None:
        self.restorable = restorable
        cure = (
            f"restore lance/{TABLE}.lance in the home from a backup, or run `tamis materialize`, which "
            "writes the table again from the receipts and from the places of withdrawn documents"
        )
        if not restorable:
            cure = (
                "no receipt can be read either, and no place of a withdrawn document is known; restore "
                f"lance/{TABLE}.lance, or the folder manifests, in the home from a backup; without a backup, "
                f"delete {LATEST} and withdraw all documents again before anything is materialized"
            )
        super().__init__(
            f"table {TABLE!r} is gone although documents were withdrawn, so nothing is read, since withdrawn "
            f"texts would come back: {cure}"
        )


def is_lost(home: Home) -> bool:
    """Return whether documents were withdrawn but the table that says so is gone.

    Asked at every scan, so no manifest is read: a withdrawal leaves a file, which `tamis materialize` adds to
    a home that was written before there was one, and mostly places, which the home keeps elsewhere.
    """
    store = home.store
    return not store.exists(TABLE) and ((home.root / LATEST).exists() or store.count(PLACES) > 0)


def require_withdrawals(home: Home) -> None:
    """Raise `WithdrawalsLostError` where the table of what is withdrawn is gone."""
    if is_lost(home):
        raise WithdrawalsLostError


def restore_lost(home: Home) -> list[str]:
    """Write the table `withdrawals` again where it is gone; return lines for a person, none where it is not.

    Else withdrawn texts would be read again. Its rows are those of the receipts. A document with a place but
    without a receipt, since that is lost, too, or was not written yet, becomes a withdrawal to complete. Lost
    for good are the hashes that recognise a text with other case or white space, and the ids of documents of
    lost receipts that were never stored. The caller holds the writer's lock. Raises `WithdrawalsLostError`
    where nothing names a document.
    """
    if not is_lost(home):
        note_latest(home)
        return []
    rows, unreadable = _rows_of_receipts(home)
    now = datetime.now(UTC).replace(tzinfo=None)
    others = sorted({*home.store.read(PLACES, ["doc_id"])["doc_id"]} - rows.keys())
    begun = [Withdrawal(doc_id=one, withdrawn_at=now, reason=NO_REASON, scope=DOCUMENT) for one in others]
    if not (rows or begun):
        raise WithdrawalsLostError(restorable=False)
    # In one commit: a table that is there is taken for whole.
    home.store.overwrite_values(TABLE, [asdict(row) for row in (*rows.values(), *begun)])
    note_records(home, {row.receipt: (ASSET, "") for row in rows.values() if row.receipt}, RESTORED)
    return _restored_lines(len(rows), len(begun), unreadable)


def _restored_lines(of_receipts: int, begun: int, unreadable: Sequence[str]) -> list[str]:
    lines = [
        "the table of withdrawals was gone; it was written again from the receipts "
        f"({counted(of_receipts, 'row')}), without the hashes that recognise a text with other case or spaces"
    ]
    if begun:
        documents = counted(begun, "withdrawn document or excerpt", "withdrawn documents or excerpts")
        lines.append(
            f"{documents} had no readable receipt, so the reason and time are lost; the ids were taken from "
            "the places where the text was found, and these withdrawals are completed now"
        )
    if unreadable:
        lines.append(
            f"warning: {counted(len(unreadable), 'receipt')} of withdrawals cannot be read "
            f"({named([f'{one[:16]}…' for one in unreadable], most=3)}), so documents that were "
            "withdrawn by them before they had ever been stored are not known any more; withdraw these again "
            "from your own records"
        )
    return lines


def _rows_of_receipts(home: Home) -> tuple[dict[str, Withdrawal], list[str]]:
    """Return the rows of all receipts by document, and the ids of the receipts that are gone or unreadable.

    Each receipt names the one before it, and a file of the home the latest, so none is missed unnoticed.
    """
    folder = ManifestFolder.of(home)
    found = {key: one for key, one in folder.readable(folder.ids()).items() if one.asset == ASSET}
    expected = {reference.manifest for one in found.values() for reference in one.inputs}
    expected.update(filter(None, [latest_receipt(home)]))
    rows, unreadable = dict[str, Withdrawal](), sorted(expected - found.keys())
    # One that no other names was mostly written by a withdrawal that was then killed, and written again.
    for receipt in sorted(found, key=lambda key: (key not in expected, key)):
        digest = found[receipt].rows[TABLE]
        listed = folder.rows_path(digest)
        if not listed.is_file() or file_digest(listed) != digest:
            unreadable.append(receipt)
            continue
        for row in _rows_of(receipt, found[receipt], listed.read_bytes()):
            rows.setdefault(row.doc_id, row)
    return rows, unreadable


def _rows_of(receipt: str, manifest: Manifest, listed: bytes) -> list[Withdrawal]:
    """Return the rows that a receipt lists, each with the scope under which its digest is that of the row.

    That of a row with a lost hash fits none. Excerpts have no such hash.
    """
    when, reason = datetime.fromisoformat(manifest.config["withdrawn_at"]), manifest.config["reason"]
    digests = dict(read_records(listed))
    found: dict[str, Withdrawal] = {}
    for scope in sorted(manifest.config["scopes"], key=lambda one: (one == EXCERPT, one)):
        rows = [
            Withdrawal(doc_id=one, withdrawn_at=when, reason=reason, scope=scope, receipt=receipt)
            for one in digests
        ]
        table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema_of(TABLE))
        for row, digest in zip(rows, row_digests(table, hashed_columns(table.schema.names)), strict=True):
            if row.doc_id not in found or digest.hex() == digests[row.doc_id]:
                found[row.doc_id] = row
    return list(found.values())
