"""Receipts: manifests that prove what a withdrawal did, by whom it was asked for and when, without any text.

Each names the receipt before it, so one cannot be taken out of the middle unseen. What a receipt lists are
its rows of `withdrawals`, so that a row that is changed or lost is found by the audit.
"""

from collections.abc import Sequence
from typing import Any

from tamis.records.manifest import InputReference, Manifest, ManifestError, ManifestFolder
from tamis.store.digests import canonical_digest
from tamis.store.erasing import count_rows_of
from tamis.store.home import Home
from tamis.store.records import BY_DOC_IDS, stored_rows
from tamis.store.schemas import tables_of_texts
from tamis.store.tables import Store, quoted
from tamis.store.withdrawn import TABLE, read_withdrawals

ASSET = "withdrawals"
CODE_VERSION = "1"


def write_receipt(home: Home, doc_ids: Sequence[str], done: dict[str, Any]) -> str:
    """Prove a withdrawal whose rows stand in the table; returns the manifest's id.

    `done`: what was done, as JSON values.
    """
    folder, ids = ManifestFolder.of(home), sorted(set(doc_ids))
    digest, content = stored_rows(home.store, TABLE, BY_DOC_IDS, ids)
    folder.write_rows(digest, content)
    before = latest_receipt(home.store)
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
    """Receipts that withdrawals name, oldest first."""
    if not store.exists(TABLE):
        return []
    named = read_withdrawals(store, "receipt IS NOT NULL")
    return named["receipt"].unique(maintain_order=True).to_list()


def latest_receipt(store: Store) -> str | None:
    """The receipt of the latest completed withdrawal."""
    ids = receipt_ids(store)
    return ids[-1] if ids else None


def read_receipts(home: Home) -> dict[str, Manifest]:
    """Receipts by id, oldest first, those that can be read."""
    folder, found = ManifestFolder.of(home), {}
    for key in receipt_ids(home.store):
        try:
            found[key] = folder.read(key)
        except ManifestError:
            continue  # the audit says so
    return found


def receipt_problems(home: Home, receipt: str, missing_only: bool = False) -> list[str]:
    """What is wrong with a receipt: it cannot be read, or the rows that it proves are others now."""
    try:
        manifest = ManifestFolder.of(home).read(receipt)
    except ManifestError as error:
        return [str(error)]
    if missing_only:
        return []
    rows = home.store.read(TABLE, ["doc_id"], f"receipt = {quoted(receipt)}")["doc_id"].to_list()
    same = stored_rows(home.store, TABLE, BY_DOC_IDS, rows)[0] == manifest.rows[TABLE]
    return [] if same else [f"the rows of {TABLE} are not those of receipt {receipt[:16]}…"]


def standing_again(store: Store) -> str:
    """Tables of texts that hold something withdrawn again, "" for none."""
    ids = read_withdrawals(store, "receipt IS NOT NULL")["doc_id"].to_list()
    counts = {table: count_rows_of(store, table, "doc_id", ids) for table in tables_of_texts()}
    return ", ".join(f"{count} rows of {table}" for table, count in counts.items() if count)


def listed_in(home: Home) -> dict[str, int]:
    """Manifests that list withdrawn documents, and how many, as the receipts noted it."""
    found: dict[str, int] = {}
    for receipt in read_receipts(home).values():
        for key, count in receipt.config.get("listed_in", {}).items():
            found[key] = found.get(key, 0) + count
    return found
