"""Withdrawals in an audit: what is gone by intent is amber, and every withdrawal must have its receipt."""

from tamis.lineage.audit_node import Node
from tamis.lineage.audit_records import Records
from tamis.lineage.manifest import ManifestError
from tamis.store.home import Home
from tamis.store.records import BY_DOC_IDS, stored_rows
from tamis.withdrawal.desired import TABLE
from tamis.withdrawal.receipts import ASSET, listed_in, read_ids, receipt_ids


def judge_withdrawn(home: Home, nodes: dict[str, Node]) -> None:
    """Rows that a manifest lists and somebody withdrew are gone by intent: amber, never red."""
    for manifest, count in listed_in(home).items():
        if manifest in nodes:
            nodes[manifest].withdrawn = count
            nodes[manifest].details.append(f"withdrawn: {count} of the documents that it lists")


def judge_receipts(home: Home, records: Records, nodes: dict[str, Node], quick: bool) -> None:
    """Add a node for each receipt: it must be there, and the rows that name it be what it lists."""
    for receipt in receipt_ids(home.store):
        node = nodes.setdefault(receipt, Node(manifest=receipt, asset=ASSET, partition=""))
        try:
            manifest = records.read(receipt)
            stated = records.folder.rows_path(manifest.rows[TABLE]).read_bytes()
        except (ManifestError, FileNotFoundError) as error:
            node.unreachable(str(error))
            continue
        node.inputs = [reference.manifest for reference in manifest.inputs]
        if not quick:
            node.intact = True
            found, _content = stored_rows(home.store, TABLE, BY_DOC_IDS, read_ids(stated))
            if found != manifest.rows[TABLE]:
                node.altered(f"table {TABLE}: rows that the receipt lists differ")
