"""The lineage graph as inline SVG: boxes in columns, curves between them, colours with a letter beside.

Colour never stands alone: each box shows its four verdicts as marks, so the drawing can be read in grey.
"""

from tamis.report.audit_layout import Box, Layout
from tamis.report.page import Markup, element, escape

BOX_WIDTH, BOX_HEIGHT, ROW_GAP, COLUMN_GAP, MARGIN = 150, 40, 10, 34, 8
ASSET_CHARACTERS, LABEL_CHARACTERS = 19, 13
SMALLEST_SCALE = 0.75
FILLS = {"green": ("#e3f4e6", "#2c7a4b"), "amber": ("#fdeec2", "#b07a00"), "red": ("#fbd9d7", "#b3241d")}
MARKS = {True: ("✓", "#2c7a4b"), False: ("✗", "#b3241d"), None: ("–", "#7d8994")}


def drawing(layout: Layout) -> Markup:
    """The graph as an SVG that fills the page's width and scrolls where that would be too small."""
    width = 2 * MARGIN + layout.layers * (BOX_WIDTH + COLUMN_GAP) - COLUMN_GAP
    height = 2 * MARGIN + layout.rows * (BOX_HEIGHT + ROW_GAP) - ROW_GAP
    lines = [_edge(layout, start, end) for start, end in layout.edges]
    boxes = [_box(layout, box) for box in layout.boxes.values()]
    svg = element(
        "svg",
        *lines,
        *boxes,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label="Lineage graph, inputs at the left, results at the right",
        font_family="system-ui, 'DejaVu Sans', sans-serif",
        style=f"width:100%;max-width:{width}px;min-width:{round(SMALLEST_SCALE * width)}px",
    )
    return element("div", svg, class_="wide")


def _corner(layout: Layout, box: Box) -> tuple[float, float]:
    """Top left corner; columns shorter than the fullest are centred."""
    rows = sum(other.layer == box.layer for other in layout.boxes.values())
    step = BOX_HEIGHT + ROW_GAP
    return MARGIN + box.layer * (BOX_WIDTH + COLUMN_GAP), MARGIN + (
        box.place + (layout.rows - rows) / 2
    ) * step


def _edge(layout: Layout, start: str, end: str) -> Markup:
    source, sink = layout.boxes[start], layout.boxes[end]
    (x1, y1), (x2, y2) = _corner(layout, source), _corner(layout, sink)
    x1, y1, y2 = x1 + BOX_WIDTH, y1 + BOX_HEIGHT / 2, y2 + BOX_HEIGHT / 2
    bend = max(abs(x2 - x1) / 2, 18.0)
    path = f"M{x1:g},{y1:g} C{x1 + bend:g},{y1:g} {x2 - bend:g},{y2:g} {x2:g},{y2:g}"
    broken = source.status == "red"
    colour = "#b3241d" if broken else "#9aa7b3"
    strength = {"stroke_width": "2"} if broken else {"stroke_width": "1.1", "opacity": ".55"}
    return element("path", d=path, fill="none", stroke=colour, **strength)


def _box(layout: Layout, box: Box) -> Markup:
    x, y = _corner(layout, box)
    fill, stroke = FILLS.get(box.status, FILLS["red"])
    frame = element(
        "rect",
        x=f"{x:g}",
        y=f"{y:g}",
        width=str(BOX_WIDTH),
        height=str(BOX_HEIGHT),
        rx="5",
        fill=fill,
        stroke=stroke,
        stroke_width="2" if box.status == "red" else "1.2",
    )
    asset = _text(x + 8, y + 16, _cut(box.asset, ASSET_CHARACTERS), "600", "12.5", "#1c2733")
    marks = element(
        "text",
        *(element("tspan", MARKS[value][0], fill=MARKS[value][1], dx="2") for _name, value in box.verdicts),
        x=f"{x + BOX_WIDTH - 50:g}",
        y=f"{y + 32:g}",
        font_size="11",
    )
    label = _text(x + 8, y + 32, _cut(box.label, LABEL_CHARACTERS), "400", "10.5", "#3d4a56")
    verdicts = ", ".join(f"{name}: {WORDS[value]}" for name, value in box.verdicts)
    return element("g", element("title", f"{box.title} ({verdicts})"), frame, asset, label, marks)


WORDS = {True: "yes", False: "no", None: "not checked"}


def _text(x: float, y: float, content: str, weight: str, size: str, fill: str) -> Markup:
    return element(
        "text", escape(content), x=f"{x:g}", y=f"{y:g}", font_size=size, font_weight=weight, fill=fill
    )


def _cut(text: str, characters: int) -> str:
    """The text, or its two ends: partitions differ at the end as often as at the beginning."""
    if len(text) <= characters:
        return text
    head = (characters - 1) // 2
    return f"{text[:head]}…{text[len(text) - (characters - 1 - head) :]}"
