"""The pictures of README and docs/: the graph is that of the definitions, the others are small and there."""

import re
import runpy
from pathlib import Path

import pytest

from tamis.graph.stages import stages

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGES = CHECKOUT / "docs" / "images"
MAKE = runpy.run_path(str(IMAGES / "make.py"))


def test_the_graph_is_that_of_the_definitions():
    again = "python docs/images/make.py --graph"
    assert (IMAGES / "lineage.svg").read_text() == MAKE["lineage_svg"]() + "\n", again


def test_every_asset_is_drawn_once():
    drawn = re.findall(r'font-weight="600"[^>]*>(\w+)<', MAKE["lineage_svg"]())
    assets = {stage.name for stage in stages().values() if stage.group not in ("staging", "marts")}
    assert sorted(drawn) == sorted(assets | {"sql_models"})


def test_edges_that_others_imply_are_left_out_and_no_other():
    boxes, edges = MAKE["graph"]()
    assert ("raw_shards", "documents") in edges
    assert ("documents", "selected_subset") not in edges

    def reached(start):
        ends = {end for begin, end in edges if begin == start}
        return ends.union(*(reached(end) for end in ends))

    for stage in stages().values():
        for edge in stage.edges:
            start, end = (name if name in boxes else "sql_models" for name in (edge.asset, stage.name))
            assert start == end or end in reached(start)


@pytest.mark.parametrize("picture", sorted(IMAGES.glob("*.png")), ids=lambda path: path.name)
def test_a_picture_is_small_and_shown_somewhere(picture):
    assert picture.stat().st_size < 300_000
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").rglob("*.md")]
    assert any(f"images/{picture.name}" in page.read_text() for page in pages)
