"""Receipts: manifests that prove which documents a withdrawal erased, when and for whom, without their text.

Each has the previous receipt as its input, so that none can be taken out of the middle unnoticed. A receipt
lists its rows of the table `withdrawals`, so that the audit finds a row that was changed or lost.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pyarrow as pa

from tamis.records.manifest import InputReference, Manifest, ManifestError, ManifestFolder
from tamis.store.digests import canonical_digest, hashed_columns, read_records, row_digests
from tamis.store.erasing import count_rows_of
from tamis.store.home import Home
from tamis.store.records import BY_DOC_IDS, stored_rows
from tamis.store.schemas import schema_of, tables_of_texts
from tamis.store.tables import Store, quoted
from tamis.store.withdrawn import (
    EXCERPT,
    TABLE,
    Withdrawal,
    WithdrawalsLostError,
    is_lost,
    read_withdrawals,
    write_withdrawals,
)

ASSET = "withdrawals"
CODE_VERSION = "1"


def write_receipt(home: Home, doc_ids: Sequence[str], done: dict[str, Any]) -> str:
    """Write the receipt of a withdrawal whose rows are in the table `withdrawals`, and return its id.

    `done`: the steps of the withdrawal as JSON values.
    """
    folder, ids = ManifestFolder.of(home), sorted(set(doc_ids))
    digest, content = stored_rows(home.store, TABLE, BY_DOC_IDS, ids)
    folder.write_rows(digest, content)
    before = next(reversed(receipt_ids(home.store)), None)
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
            inputs=(_reference(folder, before),) if before else (),
        )
    )
    home.publish(folder.take_unpublished())
    return receipt


def _reference(folder: ManifestFolder, receipt: str) -> InputReference:
    version = folder.read(receipt).data_version
    return InputReference(asset=ASSET, partition="", data_version=version, manifest=receipt)


def receipt_ids(store: Store) -> list[str]:
    """Return the ids of the receipts that withdrawals name, oldest first."""
    if not store.exists(TABLE):
        return []
    named = read_withdrawals(store, "receipt IS NOT NULL")
    return named["receipt"].unique(maintain_order=True).to_list()


def read_receipts(home: Home) -> dict[str, Manifest]:
    """Return the readable receipts by id, oldest first; the audit names the others."""
    return ManifestFolder.of(home).readable(receipt_ids(home.store))


def restore_lost(home: Home) -> int:
    """Write the table `withdrawals` again from the receipts where it is gone; return how many rows that are.

    Else what was withdrawn would be read again. What no receipt says is lost: the hashes that recognise a
    text with other case or white space, and withdrawals that were not complete. The caller holds the
    writer's lock. Raises `WithdrawalsLostError` where a file of a receipt is gone, too.
    """
    if not is_lost(home.store):
        return 0
    folder, rows = ManifestFolder.of(home), list[Withdrawal]()
    for receipt, manifest in folder.readable(folder.ids()).items():
        if manifest.asset == ASSET:
            listed = folder.rows_path(manifest.rows[TABLE])
            if not listed.is_file():
                raise WithdrawalsLostError
            rows += _rows_of(receipt, manifest, listed.read_bytes())
    write_withdrawals(home.store, rows)
    return len(rows)


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


def receipt_problems(home: Home, receipt: str, missing_only: bool = False) -> list[str]:
    """Return the problems of a receipt: it cannot be read, or its rows of `withdrawals` have changed.

    `missing_only` does not compare the rows.
    """
    try:
        manifest = ManifestFolder.of(home).read(receipt)
    except ManifestError as error:
        return [str(error)]
    if missing_only:
        return []
    rows = home.store.read(TABLE, ["doc_id"], f"receipt = {quoted(receipt)}")["doc_id"].to_list()
    same = stored_rows(home.store, TABLE, BY_DOC_IDS, rows)[0] == manifest.rows[TABLE]
    return [] if same else [f"the rows of table {TABLE} do not match receipt {receipt[:16]}…"]


def stored_again(store: Store) -> str:
    """Return, as a clause, how many rows of withdrawn documents the tables of texts hold; "" for none."""
    ids = read_withdrawals(store, "receipt IS NOT NULL")["doc_id"].to_list()
    counts = {table: count_rows_of(store, table, "doc_id", ids) for table in tables_of_texts()}
    return ", ".join(f"{count:,} in {table}" for table, count in counts.items() if count)


def listed_in(home: Home) -> dict[str, int]:
    """Return how many withdrawn documents each manifest lists, by manifest, as noted in the receipts."""
    found: dict[str, int] = {}
    for receipt in read_receipts(home).values():
        for key, count in receipt.config.get("listed_in", {}).items():
            found[key] = found.get(key, 0) + count
    return found
