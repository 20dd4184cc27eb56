"""Where boxes and lines of the lineage graph are drawn; audit.html draws them as SVG.

Colour is never alone: each box shows its four verdicts as marks, so the drawing can be read in grey.
"""

from collections import Counter
from dataclasses import dataclass

from tamis.report.audit_layout import Box, Layout

BOX_WIDTH, BOX_HEIGHT, ROW_GAP, COLUMN_GAP, MARGIN = 150, 40, 10, 34, 8


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
