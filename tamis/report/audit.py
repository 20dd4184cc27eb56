"""The audit page: can every result be traced to the bytes it came from, and is all of it unaltered?

Written for an auditor who has never seen the platform: the verdict first, then what is wrong, then the
graph, then every node. A graph of 2,000 manifests makes a page of about 1 MB.
"""

from collections import Counter
from dataclasses import dataclass

from tamis.audit.verdicts import Audit, Node
from tamis.report.audit_drawing import Drawing, draw
from tamis.report.audit_layout import SEVERITY, VERDICTS, edges_between, lay_out, layers_of
from tamis.report.rendering import render

Records = list[tuple[str, Node]]


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """What the page shows: results with their ids, those nearest to the raw inputs first.

    `worst`: the status of the whole. `counts`: results by status. `wrong`: the others than green.
    """

    worst: str
    counts: dict[str, int]
    wrong: Records
    nodes: Records
    drawing: Drawing
    verdicts: tuple[str, ...]


def page_of(audit: Audit) -> str:
    """Return the audit as one self-contained page."""
    layers = layers_of(list(audit.nodes), edges_between(audit.nodes))
    nodes = sorted(audit.nodes.items(), key=lambda record: (layers[record[0]], record[1].name, record[0]))
    counts = Counter(node.status for node in audit.nodes.values())
    wrong = [record for record in nodes if SEVERITY[record[1].status]]
    page = AuditPage(
        worst=audit.status,
        counts={status: counts[status] for status in SEVERITY if counts[status]},
        wrong=sorted(wrong, key=lambda record: -SEVERITY[record[1].status]),
        nodes=nodes,
        drawing=draw(lay_out(audit.nodes)),
        verdicts=VERDICTS,
    )
    return render("audit.html", page)
