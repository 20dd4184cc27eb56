"""Withdrawals in an audit: what is gone by intent is amber, and every withdrawal must have its receipt."""

from tamis.lineage.audit_node import Node
from tamis.lineage.receipts import ASSET, listed_in, receipt_ids, receipt_problems, standing_again
from tamis.store.home import Home


def judge_withdrawn(home: Home, nodes: dict[str, Node]) -> None:
    """Rows that a manifest lists and somebody withdrew are gone by intent: amber, never red."""
    for manifest, count in listed_in(home).items():
        if manifest in nodes:
            nodes[manifest].withdrawn = count
            nodes[manifest].details.append(f"withdrawn: {count} of the documents that it lists")


def judge_receipts(home: Home, nodes: dict[str, Node], quick: bool) -> None:
    """Every withdrawal must have its receipt, be what that says, and have nothing stand there again."""
    before: list[str] = []
    for receipt in receipt_ids(home.store):
        node = nodes[receipt] = Node(manifest=receipt, asset=ASSET, partition="", inputs=before)
        problems = receipt_problems(home, receipt, missing_only=quick)
        node.intact = None if quick else True
        for problem in problems:
            (node.unreachable if quick else node.altered)(problem)
        before = [receipt]
    if before and (back := standing_again(home.store)):
        nodes[before[0]].contradicted(f"withdrawn, and there again: {back}; withdraw it once more")
