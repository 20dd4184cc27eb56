"""Audit page: layers point to the right, large families share a box, red comes first."""

import re

from hypothesis import given
from hypothesis import strategies as st

from tamis.report import audit_page
from tamis.report.audit_layout import lay_out, layers_of

GOOD = {"reachable": True, "intact": None, "consistent": True, "current": True}


def _node(key, asset, partition="", status="green", detail="", **verdicts):
    return {
        "id": key,
        "asset": asset,
        "partition": partition,
        "verdicts": {**GOOD, **verdicts},
        "status": status,
        "detail": detail,
    }


def _family(shards):
    raw = [_node(f"r{i}", "raw_shards", f"s{i:03}") for i in range(shards)]
    documents = [_node(f"d{i}", "documents", f"s{i:03}") for i in range(shards)]
    nodes = [*raw, *documents, _node("t", "trials", "tune")]
    edges = [(f"r{i}", f"d{i}") for i in range(shards)] + [(f"d{i}", "t") for i in range(shards)]
    return nodes, edges


@given(st.sets(st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda pair: pair[0] < pair[1])))
def test_every_edge_of_a_graph_without_cycles_points_to_the_right(pairs):
    keys = [f"n{i}" for i in range(15)]
    edges = [(keys[a], keys[b]) for a, b in pairs]
    layers = layers_of(keys, edges)
    assert all(layers[a] < layers[b] for a, b in edges)
    for key in keys:
        before = [layers[a] for a, b in edges if b == key]
        assert layers[key] == (1 + max(before) if before else 0)


def test_cycles_do_not_hang(read_page):
    nodes = [_node("a", "x"), _node("b", "y"), _node("c", "z")]
    edges = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "c"), ("gone", "a")]
    assert layers_of(["a", "b", "c"], edges[:3])["a"] == 0
    read_page(audit_page(nodes, edges))


def test_twelve_siblings_are_drawn_and_thirteen_share_a_box():
    assert len(lay_out(*_family(12)).boxes) == 25
    layout = lay_out(*_family(13))
    assert sorted(box.label for box in layout.boxes.values()) == ["13 partitions", "13 partitions", "tune"]
    assert len(layout.edges) == 2


def test_boxes_of_a_column_do_not_overlap():
    layout = lay_out(*_family(9))
    places = [(box.layer, box.place) for box in layout.boxes.values()]
    assert len(set(places)) == len(places)
    assert {box.layer for box in layout.boxes.values() if box.asset == "raw_shards"} == {0}
    assert {box.layer for box in layout.boxes.values() if box.asset == "trials"} == {2}


def test_a_shared_box_shows_its_worst_member(read_page):
    nodes, edges = _family(20)
    nodes[3] |= {"status": "red", "detail": "file raw/3 was altered"}
    nodes[3]["verdicts"] = {**GOOD, "intact": False}
    (box,) = (box for box in lay_out(nodes, edges).boxes.values() if box.asset == "raw_shards")
    assert box.status == "red"
    assert dict(box.verdicts)["intact"] is False
    assert "1 red" in box.label
    text = read_page(audit_page(nodes, edges))
    assert "file raw/3 was altered" in text
    assert "chain of evidence is broken" in text


def test_red_is_listed_before_amber_and_sources_before_results(read_page):
    nodes, edges = _family(2)
    nodes[4] |= {"status": "red", "detail": "LATE"}
    nodes[0] |= {"status": "amber", "detail": "OLD"}
    nodes[2] |= {"status": "red", "detail": "EARLY"}
    text = read_page(audit_page(nodes, edges))
    assert text.index("EARLY") < text.index("LATE") < text.index("OLD")


def test_all_green(read_page):
    text = read_page(audit_page(*_family(2)))
    assert "5 recorded results: 5 green" in text
    assert "not checked" in text
    for name in GOOD:
        assert name in text


def test_nothing_to_audit(read_page):
    assert "nothing to audit" in read_page(audit_page([], []))


def test_names_and_details_are_escaped(hostile, read_page):
    page = audit_page([_node("<id>", hostile, hostile, status="red", detail=hostile, intact=False)], [])
    assert read_page(page).count(hostile) >= 3


def test_the_drawing_is_inside_its_view():
    page = audit_page(*_family(5))
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', page).groups())
    frames = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)"', page)
    assert len(frames) == 11
    for frame in frames:
        x, y, wide, high = map(float, frame)
        assert x + wide <= width
        assert y + high <= height
