"""The audit page: can every result be traced to the bytes it came from? With its lineage drawn."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tamis.audit.verdicts import Audit, Node
from tamis.report.rendering import render

MOST_SIBLINGS = 12
SEVERITY = {"green": 0, "amber": 1, "red": 2}
SWEEPS = 4
VERDICTS = ("reachable", "intact", "consistent", "current")
Edge = tuple[str, str]
BOX_WIDTH, BOX_HEIGHT, ROW_GAP, COLUMN_GAP, MARGIN = 150, 40, 10, 34, 8
Records = list[tuple[str, Node]]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box of the drawing: one node, or all siblings of an asset in a layer. `place`: row from the top."""

    key: str
    asset: str
    label: str
    status: str
    verdicts: tuple[tuple[str, bool | None], ...]
    title: str
    layer: int
    place: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Boxes by key, and the edges between them, each once."""

    boxes: dict[str, Box]
    edges: tuple[Edge, ...]

    @property
    def layers(self) -> int:
        """Number of columns."""
        return 1 + max((box.layer for box in self.boxes.values()), default=-1)

    @property
    def rows(self) -> int:
        """Boxes in the fullest column."""
        return 1 + max((box.place for box in self.boxes.values()), default=-1)


def layers_of(keys: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the longest path from a node without inputs; a cycle, which only damage can make, comes last."""
    outputs: dict[str, list[str]] = defaultdict(list)
    waiting: Counter[str] = Counter()
    for start, end in edges:
        outputs[start].append(end)
        waiting[end] += 1
    layers = {key: 0 for key in keys if not waiting[key]}
    ready = list(layers)
    for key in ready:
        for end in outputs[key]:
            layers[end] = max(layers.get(end, 0), layers[key] + 1)
            waiting[end] -= 1
            if not waiting[end]:
                ready.append(end)
    last = 1 + max((layers[key] for key in ready), default=-1)
    done = set(ready)
    return {key: layers[key] if key in done else last for key in keys}


def edges_between(nodes: Mapping[str, Node]) -> list[Edge]:
    """Return from which node each is made; inputs that are no node are left out."""
    return sorted({(found, key) for key, node in nodes.items() for found in node.inputs if found in nodes})


def lay_out(nodes: Mapping[str, Node]) -> Layout:
    """Return boxes and edges of the drawing."""
    known = [(start, end) for start, end in edges_between(nodes) if start != end]
    layers = layers_of(list(nodes), known)
    groups: dict[tuple[int, str], list[str]] = defaultdict(list)
    for key, node in nodes.items():
        groups[layers[key], node.asset].append(key)
    members: dict[str, list[str]] = {}
    for (layer, asset), keys in groups.items():
        if len(keys) > MOST_SIBLINGS:
            members[f"{asset} in layer {layer}"] = keys
        else:
            members |= {key: [key] for key in keys}
    box_of = {key: box for box, keys in members.items() for key in keys}
    joined = tuple(sorted({(box_of[a], box_of[b]) for a, b in known if box_of[a] != box_of[b]}))
    columns: dict[int, list[str]] = defaultdict(list)
    for box, keys in members.items():
        columns[layers[keys[0]]].append(box)
    first = {box: nodes[keys[0]] for box, keys in members.items()}
    order = _order(columns, joined, {box: (node.asset, node.partition) for box, node in first.items()})
    boxes = {
        box: _box(box, [nodes[key] for key in keys], layers[keys[0]], order[box])
        for box, keys in members.items()
    }
    return Layout(boxes=boxes, edges=joined)


def _order(
    columns: Mapping[int, list[str]], edges: Sequence[Edge], names: Mapping[str, tuple[str, str]]
) -> dict[str, int]:
    """Row of each box: by name at first, then by the mean row of neighbours, to and fro."""
    neighbours: dict[str, list[str]] = defaultdict(list)
    for start, end in edges:
        neighbours[start].append(end)
        neighbours[end].append(start)
    place: dict[str, int] = {}
    for boxes in columns.values():
        boxes.sort(key=lambda box: names[box])
        place |= {box: row for row, box in enumerate(boxes)}

    def barycentre(box: str) -> float:
        rows = [place[other] for other in neighbours[box]]
        return sum(rows) / len(rows) if rows else float(place[box])

    for sweep in range(SWEEPS):
        for layer in sorted(columns, reverse=bool(sweep % 2)):
            columns[layer].sort(key=lambda box: (barycentre(box), names[box]))
            place |= {box: row for row, box in enumerate(columns[layer])}
    return place


def _box(key: str, nodes: list[Node], layer: int, place: int) -> Box:
    statuses = Counter(node.status for node in nodes)
    worst, first = max(statuses, key=lambda status: SEVERITY[status]), nodes[0]
    if len(nodes) == 1:
        label = first.partition
        title = f"{first.asset} {label} {key[:16]}: {'; '.join(first.details) or worst}"
    else:
        counts = ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))
        label, title = f"{len(nodes)} partitions", f"{first.asset}: {len(nodes)} partitions, {counts}"
        if worst != "green":
            label += f", {statuses[worst]} {worst}"
    return Box(
        key=key,
        asset=first.asset,
        label=label,
        status=worst,
        verdicts=tuple((name, _joint([getattr(node, name) for node in nodes])) for name in VERDICTS),
        title=title,
        layer=layer,
        place=place,
    )


def _joint(verdicts: list[bool | None]) -> bool | None:
    """No where any is no, not checked where any was not, else yes."""
    if False in verdicts:
        return False
    return None if None in verdicts else True


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """`lines`: paths, and whether they begin at a broken result. `boxes`: left, top, what is in it."""

    width: int
    height: int
    box_width: int
    box_height: int
    lines: list[tuple[str, bool]]
    boxes: list[tuple[float, float, Box]]


def draw(layout: Layout) -> Drawing:
    """Return the drawing of a graph; columns shorter than the fullest are centred."""
    rows = Counter(box.layer for box in layout.boxes.values())
    corners = {
        key: (
            MARGIN + box.layer * (BOX_WIDTH + COLUMN_GAP),
            MARGIN + (box.place + (layout.rows - rows[box.layer]) / 2) * (BOX_HEIGHT + ROW_GAP),
        )
        for key, box in layout.boxes.items()
    }
    lines = []
    for start, end in layout.edges:
        (x1, y1), (x2, y2) = corners[start], corners[end]
        x1, y1, y2 = x1 + BOX_WIDTH, y1 + BOX_HEIGHT / 2, y2 + BOX_HEIGHT / 2
        bend = max(abs(x2 - x1) / 2, 18.0)
        path = f"M{x1:g},{y1:g} C{x1 + bend:g},{y1:g} {x2 - bend:g},{y2:g} {x2:g},{y2:g}"
        lines.append((path, layout.boxes[start].status == "red"))
    return Drawing(
        width=2 * MARGIN + layout.layers * (BOX_WIDTH + COLUMN_GAP) - COLUMN_GAP,
        height=2 * MARGIN + layout.rows * (BOX_HEIGHT + ROW_GAP) - ROW_GAP,
        box_width=BOX_WIDTH,
        box_height=BOX_HEIGHT,
        lines=lines,
        boxes=[(*corners[key], box) for key, box in layout.boxes.items()],
    )


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """Fields of the page: results with their ids, those nearest to the raw inputs first.

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
    return render(
        "audit.html",
        AuditPage(
            worst=audit.status,
            counts={status: counts[status] for status in SEVERITY if counts[status]},
            wrong=sorted(
                (record for record in nodes if SEVERITY[record[1].status]),
                key=lambda record: -SEVERITY[record[1].status],
            ),
            nodes=nodes,
            drawing=draw(lay_out(audit.nodes)),
            verdicts=VERDICTS,
        ),
    )
