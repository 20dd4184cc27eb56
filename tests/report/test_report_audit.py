"""Audit page: layers point to the right, large families share a box, red comes first."""

import re

from hypothesis import given
from hypothesis import strategies as st

from tamis.audit.verdicts import Audit, Node
from tamis.report.audit import VERDICTS, lay_out, layers_of, page_of


def node(key, asset, partition="", inputs=()):
    return Node(manifest=key, asset=asset, partition=partition, inputs=list(inputs))


def family(shards):
    raw = [node(f"r{i}", "raw_shards", f"s{i:03}") for i in range(shards)]
    documents = [node(f"d{i}", "documents", f"s{i:03}", [f"r{i}"]) for i in range(shards)]
    trial = node("t", "trials", "tune", [f"d{i}" for i in range(shards)])
    return {one.manifest: one for one in (*raw, *documents, trial)}


def audit_page(nodes):
    return page_of(Audit(nodes=nodes, roots=[]))


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
    assert layers_of(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "b")])["a"] == 0
    nodes = {
        "a": node("a", "x", inputs=["gone"]),
        "b": node("b", "y", inputs=["a", "c"]),
        "c": node("c", "z", inputs=["b", "c"]),
    }
    read_page(audit_page(nodes))


def test_twelve_siblings_are_drawn_and_thirteen_share_a_box():
    assert len(lay_out(family(12)).boxes) == 25
    layout = lay_out(family(13))
    assert sorted(box.label for box in layout.boxes.values()) == ["13 partitions", "13 partitions", "tune"]
    assert len(layout.edges) == 2


def test_boxes_of_a_column_do_not_overlap():
    layout = lay_out(family(9))
    places = [(box.layer, box.place) for box in layout.boxes.values()]
    assert len(set(places)) == len(places)
    assert {box.layer for box in layout.boxes.values() if box.asset == "raw_shards"} == {0}
    assert {box.layer for box in layout.boxes.values() if box.asset == "trials"} == {2}


def test_a_shared_box_shows_its_worst_member(read_page):
    nodes = family(20)
    nodes["r3"].altered("file raw/3 was altered")
    (box,) = (box for box in lay_out(nodes).boxes.values() if box.asset == "raw_shards")
    assert box.status == "red"
    assert dict(box.verdicts)["intact"] is False
    assert "1 red" in box.label
    text = read_page(audit_page(nodes))
    assert "file raw/3 was altered" in text
    assert "chain of evidence is broken" in text


def test_red_is_listed_before_amber_and_sources_before_results(read_page):
    nodes = family(2)
    nodes["t"].altered("LATE")
    nodes["r0"].outdated("OLD")
    nodes["d0"].contradicted("EARLY")
    text = read_page(audit_page(nodes))
    assert text.index("EARLY") < text.index("LATE") < text.index("OLD")


def test_all_green(read_page):
    text = read_page(audit_page(family(2)))
    assert "5 recorded results: 5 green" in text
    assert "not checked" in text
    for name in VERDICTS:
        assert name in text


def test_nothing_to_audit(read_page):
    assert "nothing to audit" in read_page(audit_page({}))


def test_names_and_details_are_escaped(hostile, read_page):
    record = node("<id>", hostile, hostile)
    record.altered(hostile)
    text = read_page(audit_page({"<id>": record}))
    assert text.count(f"{hostile}[{hostile}]") == 2
    assert text.count(hostile) == 4 + 2 + 3  # names, details, what shows when the box is pointed at
    assert text.count("<id>") == 3


def test_the_drawing_is_inside_its_view():
    page = audit_page(family(5))
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', page).groups())
    frames = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)"', page)
    assert len(frames) == 11
    for frame in frames:
        x, y, wide, high = map(float, frame)
        assert x + wide <= width
        assert y + high <= height
