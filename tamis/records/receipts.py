"""Receipts: manifests that prove which documents a withdrawal erased, when and for whom, without their text.

Each has the previous receipt as its input, so that none can be taken out of the middle unnoticed. A receipt
lists its rows of the table `withdrawals`, so that the audit finds a row that was changed or lost.
"""

import json
from collections.abc import Sequence
from typing import Any

from tamis.base.files import write_atomically
from tamis.records.listed_rows import listed
from tamis.records.losses import RESTORED, read_losses
from tamis.records.manifest import InputReference, Manifest, ManifestError, ManifestFolder, canonical_json
from tamis.store.digests import canonical_digest
from tamis.store.erasing import count_rows_of
from tamis.store.home import Home
from tamis.store.rows_files import BY_DOC_IDS, keys_of, stored_rows
from tamis.store.schemas import tables_of_texts
from tamis.store.tables import Store, quoted
from tamis.store.withdrawn import TABLE, read_withdrawals

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
    note_latest(home, receipt)
    return receipt


def _reference(folder: ManifestFolder, receipt: str) -> InputReference:
    version = folder.read(receipt).data_version
    return InputReference(asset=ASSET, partition="", data_version=version, manifest=receipt)


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
    if not store.exists(TABLE):
        return []
    named = read_withdrawals(store, "receipt IS NOT NULL")
    return named["receipt"].unique(maintain_order=True).to_list()


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
    counts = {table: count_rows_of(store, table, "doc_id", ids) for table in tables_of_texts()}
    return ", ".join(f"{count:,} in {table}" for table, count in counts.items() if count)


def listed_in(home: Home) -> dict[str, int]:
    """Return how many withdrawn documents each manifest lists, by manifest, as noted in the receipts."""
    found: dict[str, int] = {}
    for receipt in read_receipts(home).values():
        for key, count in receipt.config.get("listed_in", {}).items():
            found[key] = found.get(key, 0) + count
    return found
