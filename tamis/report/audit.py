"""The audit page: can every result be traced to the bytes it came from, and is all of it unaltered?

Written for an auditor who has never seen the platform: the verdict first, then what is wrong, then the
graph, then every node. A graph of 2,000 manifests makes a page of about 1 MB.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tamis.audit.verdicts import Audit
from tamis.report.audit_drawing import MARKS, WORDS, drawing
from tamis.report.audit_layout import SEVERITY, VERDICTS, lay_out, layers_of
from tamis.report.page import (
    Column,
    Content,
    Markup,
    count,
    definitions,
    document,
    element,
    paragraph,
    section,
    table,
)

Node = Mapping[str, Any]
MEANINGS = {
    "reachable": "The record (manifest) of how this came about exists, and it hashes to its own name, so it "
    "was not changed afterwards.",
    "intact": "The stored content was read and hashed again just now, and the hash is the one in the record. "
    "Not checked for results that a later one has replaced.",
    "consistent": "The index of the platform and its event log both name this record for this result, and "
    "what the event log says of it is what the record says.",
    "current": "It would not be made again now: code, settings and inputs are still those it was made from.",
}
STATUSES = {
    "green": "All that was checked is in order.",
    "amber": "Traceable and unaltered, but out of date: made from older inputs, code or settings, or "
    "replaced by a later result.",
    "red": "Something is missing, altered or contradictory. What depends on it cannot be relied on.",
}
HEADLINES = {
    "green": "Every result can be traced to its raw inputs; all that was checked is unaltered and current.",
    "amber": "Every result can be traced and is unaltered, but some are out of date.",
    "red": "The chain of evidence is broken: at least one part is missing, altered or contradictory.",
}


def audit_page(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> str:
    """The page for nodes (id, asset, partition, verdicts, status, detail) and edges (input, output)."""
    return document(
        "Lineage audit",
        "Where every result came from, and whether anything on the way was lost, altered or is out of date.",
        _answer(nodes),
        section("What needs attention", _attention(nodes, edges)),
        section("The graph", *_graph(nodes, edges)),
        section("How to read it", *_legend()),
        section("All results", _all_nodes(nodes, edges)),
    )


def page_of(audit: Audit) -> str:
    """The audit as one self-contained page."""
    nodes = [
        {
            "id": key,
            "asset": node.asset,
            "partition": node.partition,
            "verdicts": {
                "reachable": node.reachable,
                "intact": node.intact,
                "consistent": node.consistent,
                "current": node.current,
            },
            "status": node.status,
            "detail": "; ".join(node.details),
        }
        for key, node in audit.nodes.items()
    ]
    edges = [
        (found, key) for key, node in audit.nodes.items() for found in node.inputs if found in audit.nodes
    ]
    return audit_page(nodes, edges)


def name_of(node: Node) -> str:
    """`asset[partition]`, or the asset alone."""
    return f"{node['asset']}[{node['partition']}]" if node["partition"] else str(node["asset"])


def _severity(node: Node) -> int:
    return SEVERITY.get(str(node["status"]), SEVERITY["red"])


def _mark(status: str) -> Markup:
    return element("span", status, class_=f"mark {status if status in SEVERITY else 'red'}")


def _answer(nodes: Sequence[Node]) -> Markup:
    if not nodes:
        return paragraph("Nothing has been made yet, so there is nothing to audit.", class_="answer")
    counts = Counter(str(node["status"]) for node in nodes)
    worst = str(max(nodes, key=_severity)["status"])
    parts = ", ".join(f"{count(counts[status])} {status}" for status in SEVERITY if counts[status])
    text = f" {HEADLINES.get(worst, HEADLINES['red'])} {count(len(nodes))} recorded results: {parts}."
    shade = worst if worst in SEVERITY else "red"
    return paragraph(_mark(worst), text, class_=f"answer {shade}")


def _attention(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> Markup:
    layers = layers_of([str(node["id"]) for node in nodes], edges)
    wrong = sorted(
        (node for node in nodes if _severity(node)),
        key=lambda node: (-_severity(node), layers[str(node["id"])], name_of(node)),
    )
    if not wrong:
        return paragraph("Nothing.", class_="note")
    columns = [Column(heading=name) for name in ("status", "result", "what was found", "record")]
    rows: list[list[Content]] = [
        [
            _mark(str(node["status"])),
            name_of(node),
            node["detail"] or "; ".join(_failed(node)),
            element("code", str(node["id"])[:16]),
        ]
        for node in wrong
    ]
    note = "Red first, and those nearest to the raw inputs first, since trouble there spreads to the rest."
    return element("div", paragraph(note, class_="note"), table(columns, rows))


def _failed(node: Node) -> list[str]:
    return [f"not {name}" for name in VERDICTS if node["verdicts"].get(name) is False]


def _graph(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> list[Markup]:
    if not nodes:
        return [paragraph("No nodes.", class_="note")]
    note = (
        "Each box is a recorded result; lines lead from inputs (left: raw files) to what was made of them "
        "(right: checkpoints and reports). The marks in a box are, in order, "
        f"{', '.join(VERDICTS)}. More than twelve results of one kind share a box. Point at a box for "
        "details; scroll sideways where the graph is wide."
    )
    return [paragraph(note, class_="note"), drawing(lay_out(nodes, edges))]


def _legend() -> list[Markup]:
    statuses = [[_mark(status), meaning] for status, meaning in STATUSES.items()]
    signs = ", ".join(f"{MARKS[value][0]} {WORDS[value]}" for value in (True, False, None))
    return [
        table([Column(heading="colour"), Column(heading="meaning")], statuses),
        paragraph(f"The four verdicts ({signs}):"),
        definitions(MEANINGS),
        paragraph(
            "A record (manifest) states the inputs, code version, settings and content hashes of a result, "
            "and names its inputs by their hashes. Without a copy of the top hashes kept elsewhere, someone "
            "who rewrites every record consistently cannot be detected.",
            class_="note",
        ),
    ]


def _all_nodes(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> Markup:
    layers = layers_of([str(node["id"]) for node in nodes], edges)
    ordered = sorted(nodes, key=lambda node: (layers[str(node["id"])], name_of(node), str(node["id"])))
    columns = [Column(heading=name, kind="s") for name in ("result", "status", *VERDICTS, "record")]
    columns.append(Column(heading="detail"))
    rows = [
        [
            name_of(node),
            _mark(str(node["status"])),
            *(WORDS[node["verdicts"].get(name)] for name in VERDICTS),
            element("code", str(node["id"])[:16]),
            str(node["detail"] or ""),
        ]
        for node in ordered
    ]
    return table(columns, rows)
