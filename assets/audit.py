"""Audit: from checkpoints and selections down to raw bytes, checked against the event log."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg

from tamis.audit.verdicts import AMBER, GREEN, RED
from tamis.audit.whole import audit_graph
from tamis.base.files import write_atomically
from tamis.graph.stages import AUDIT_ASSET
from tamis.platform.assets.specification import asset
from tamis.report.audit import page_of
from tamis.runtime.events import logged_events
from tamis.runtime.record import Output
from tamis.runtime.step import Work

NOT_RED = (
    "not_red",
    "In the lineage of checkpoints and selections, no record or file is missing, altered or inconsistent.",
    False,
)
PAGE = "lineage_audit.html"


@asset(AUDIT_ASSET, ["sha256"], [NOT_RED])
def lineage_audit(work: Work) -> Iterator[Any]:
    """Lineage audit: is the record of each result reachable, intact, consistent and current? On one page."""
    with work.progress("audit", unit="manifests") as progress:
        audit = audit_graph(
            work.project.home,
            work.snapshot,
            work.current,
            logged_events(work.context.instance, work.project.home),
            results_only=True,
            advance=progress.advance,
        )
        page = work.project.home.reports / PAGE
        write_atomically(page, page_of(audit).encode())
        counts = Counter(node.status for node in audit.nodes.values())
        check = dg.AssetCheckResult(
            asset_key=AUDIT_ASSET,
            check_name="not_red",
            passed=audit.status != RED,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"lowest_broken": dg.MetadataValue.json([node.name for node in audit.lowest_broken()])},
        )
        facts = {status: counts[status] for status in (GREEN, AMBER, RED)} | {"report": work.link(page)}
        yield from work.record(
            Output(
                files=[page],
                row_count=len(audit.nodes),
                data_version=audit.version,
                metadata=facts,
                checks=[check],
            )
        )
