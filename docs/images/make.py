"""Makes the pictures of README.md and docs/, and prints the outputs that docs/how-to quotes.

    python docs/images/make.py            all: minutes, and it takes a Chromium on the machine
    python docs/images/make.py --ui DIR   ui.png alone, of a materialized project in DIR
    python docs/images/make.py --graph    lineage.svg alone, from the definitions: a second

The page is photographed from a real project: the docstrings of four packages as a reader's own files, a goal
of scipy.stats, the tamis.toml that README.md shows, and one small model trained on the choice.
"""

import argparse
import html
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tamis.audit.verdicts import Node
from tamis.corpus.docstrings import read_package
from tamis.graph.stages import stages
from tamis.readers.rows import Row
from tamis.report.audit import Box, Edge, Layout, lay_out
from tamis.store.tables import Store

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Page

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
SQL = {"staging": "sql_models", "marts": "sql_models"}
WIDTH, HEIGHT, GAP, LAYER, MARGIN = 152, 38, 10, 62, 10
COLOURS = {
    "corpus": "#e8edf2",
    "embedding": "#dcebf7",
    "target": "#fdeec2",
    "coverage": "#e1f3e8",
    "quality": "#f6e3f1",
    "selection": "#cfe3fb",
    "training": "#fbe1d2",
    "scaling": "#e6e0f8",
    "mixture": "#f3ead8",
    "marts": "#eeeeee",
    "audit": "#d9f0dd",
}
TRIAL = """
[[selection]]
name = "random"
sampler = "random"
budget = "10%"

[[base_model]]
name = "small"
preset = "llama-0.8m"

[pretraining]
tokens = 300_000

[fine_tuning]
epochs = 1

[comparison]
model = "small"
selections = ["best", "random"]
"""


def graph() -> tuple[dict[str, tuple[str, str]], list[Edge]]:
    """Group and partition set of each box, and the edges that no longer path implies.

    SQL models are one box.
    """
    named = {stage.name: SQL.get(stage.group, stage.name) for stage in stages().values()}
    boxes = {named[stage.name]: (stage.group, stage.partitions or "") for stage in stages().values()}
    pairs = ((named[edge.asset], named[stage.name]) for stage in stages().values() for edge in stage.edges)
    edges = {(start, end) for start, end in pairs if start != end}
    return boxes, [edge for edge in sorted(edges) if not _implied(edge, edges)]


def _implied(edge: Edge, edges: set[Edge]) -> bool:
    """Whether the end is reached from the start without this edge."""
    found, reached = [edge[0]], set[str]()
    while found:
        here = found.pop()
        ends = {end for start, end in edges if start == here and (start, end) != edge} - reached
        reached |= ends
        found.extend(ends)
    return edge[1] in reached


def lineage_svg() -> str:
    """The graph of assets as SVG, raw files at the top, results at the bottom."""
    groups, edges = graph()
    inputs = {name: [start for start, end in edges if end == name] for name in groups}
    layout = lay_out(
        {name: Node(manifest=name, asset=name, partition="", inputs=inputs[name]) for name in groups}
    )
    width = 2 * MARGIN + layout.rows * (WIDTH + GAP) - GAP
    height = 2 * MARGIN + (layout.layers - 1) * LAYER + HEIGHT
    return element(
        "svg",
        element("rect", width="100%", height="100%", fill="#ffffff"),
        *(_line(layout, start, end) for start, end in layout.edges),
        *(_drawn(layout, box, *groups[box.key]) for box in layout.boxes.values()),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=str(width),
        height=str(height),
        font_family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif",
    )


def element(tag: str, *children: str, **attributes: str) -> str:
    """Return an element of SVG."""
    named = "".join(f' {name.replace("_", "-")}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{named}>{''.join(children)}</{tag}>"


def _corner(layout: Layout, box: Box) -> tuple[float, float]:
    """Top left; rows shorter than the fullest are centred."""
    members = sum(other.layer == box.layer for other in layout.boxes.values())
    place = box.place + (layout.rows - members) / 2
    return MARGIN + place * (WIDTH + GAP), MARGIN + box.layer * LAYER


def _line(layout: Layout, start: str, end: str) -> str:
    x1, y1 = _corner(layout, layout.boxes[start])
    x2, y2 = _corner(layout, layout.boxes[end])
    x1 += WIDTH * _spread(layout, end, [b for a, b in layout.edges if a == start])
    x2 += WIDTH * _spread(layout, start, [a for a, b in layout.edges if b == end])
    y1 += HEIGHT
    bend = LAYER - HEIGHT
    path = f"M{x1:g},{y1:g} C{x1:g},{y1 + bend:g} {x2:g},{y2 - bend:g} {x2:g},{y2:g}"
    return element("path", d=path, fill="none", stroke="#8795a1", stroke_width="1.2", opacity=".7")


def _spread(layout: Layout, other: str, others: list[str]) -> float:
    """Where along its side a box is met, so that edges to the left leave at the left."""
    order = sorted(others, key=lambda key: _corner(layout, layout.boxes[key]))
    return round((order.index(other) + 1) / (len(order) + 1), 3)


def _drawn(layout: Layout, box: Box, group: str, partitions: str) -> str:
    x, y = _corner(layout, box)
    frame = {"x": f"{x:g}", "y": f"{y:g}", "width": str(WIDTH), "height": str(HEIGHT), "rx": "5"}
    below = f"{group}, per {partitions.removesuffix('s')}" if partitions else group
    words = ((box.asset, 16, "12.5", "600", "#1c2733"), (below, 30, "10.5", "400", "#46535f"))
    return element(
        "g",
        element("rect", fill=COLOURS[group], stroke="#8795a1", **frame),
        *(
            element(
                "text", text, x=f"{x + 8:g}", y=f"{y + down:g}", font_size=size, font_weight=weight, fill=ink
            )
            for text, down, size, weight, ink in words
        ),
    )


def write_files(root: Path) -> None:
    """What a reader brings: documents/, target/ and the tamis.toml of README.md."""
    settings = re.search(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)
    assert settings, "README.md shows no tamis.toml"
    (root / "tamis.toml").write_text(settings[1] + TRIAL)
    for package in ("networkx", "numpy", "scipy", "sklearn"):
        write_jsonl(root / "documents" / f"{package}.jsonl", docstrings(package))
    write_jsonl(root / "target" / "stats.jsonl", docstrings("scipy", "scipy.stats"))


def docstrings(package: str, module: str | None = None) -> Iterable[dict[str, str]]:
    """Those of 200 characters and more; without a module, of all but scipy.stats."""
    found = find_spec(package)
    assert found is not None, f"pip install {package}"
    assert found.origin is not None
    for item in read_package(Path(found.origin).parent, package, "text", module):
        values = item.values if isinstance(item, Row) else {"text": "", "source": ""}
        of_goal = values["source"].startswith("scipy.stats")
        if len(values["text"]) >= 200 and (of_goal == bool(module)):
            yield {name: values[name] for name in ("text", "source", "licence")}


def write_jsonl(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """A row a document."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def tamis(root: Path, *arguments: str) -> str:
    """Run the command in the project."""
    command = [sys.executable, "-m", "tamis.cli", *arguments]
    return subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def opened(width: int, height: int) -> "Iterator[Page]":
    """An empty page of a browser."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1.5)
        browser.close()


def photograph(page: Path, target: Path, plot: str = "img") -> None:
    """A page down to its first plot, or to what another selector finds."""
    with opened(960, 800) as shown:
        shown.goto(page.as_uri())
        box = shown.locator(plot).first.bounding_box()
        assert box, f"{page} shows no plot"
        clip: FloatRect = {"x": 0, "y": 0, "width": 960, "height": box["y"] + box["height"] + 12}
        shown.screenshot(path=target, full_page=True, clip=clip)
    in_256_colours(target)


def photograph_ui(root: Path, target: Path) -> None:
    """What Dagster's UI shows of the project: its graph."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    served = subprocess.Popen([sys.executable, "-m", "tamis.cli", "ui", "--port", str(port)], cwd=root)
    try:
        with opened(1400, 900) as shown:
            while served.poll() is None:
                with suppress(Exception):  # refused, until the server listens
                    shown.goto(f"http://127.0.0.1:{port}/asset-groups")
                    break
                time.sleep(2)
            shown.wait_for_load_state("networkidle")
            time.sleep(10)  # for the marks of each asset, which follow one after the other
            shown.screenshot(path=target)
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(60)
    in_256_colours(target)


def in_256_colours(target: Path) -> None:
    """Make a PNG small."""
    from PIL import Image

    with Image.open(target) as picture:
        picture.convert("RGB").quantize(256).save(target, optimize=True)


def pages() -> None:
    """Make the project, photograph its page, print what docs/how-to quotes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root)
        tamis(root, "materialize")
        photograph(root / ".tamis/reports/map_best.html", HERE / "map.png", "#map")
        photograph(root / ".tamis/reports/selection_best.html", HERE / "selection.png")
        photograph_ui(root, HERE / "ui.png")
        decisions = Store(root / ".tamis/lance").read("decisions", where="selection = 'best'").sort("rank")
        for reason in ("within_budget", "near_duplicate"):
            print(tamis(root, "explain", decisions.filter(pl.col("reason") == reason)["doc_id"][0]))
        print(tamis(root, "audit", "warm-up__small__best"))


def main() -> None:
    """Write the pictures next to this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--graph", action="store_true", help="only lineage.svg")
    parser.add_argument("--ui", type=Path, metavar="DIR", help="only ui.png, of the project in DIR")
    flags = parser.parse_args()
    if flags.ui:
        photograph_ui(flags.ui, HERE / "ui.png")
        return
    (HERE / "lineage.svg").write_text(lineage_svg() + "\n")
    if not flags.graph:
        pages()


if __name__ == "__main__":
    main()
