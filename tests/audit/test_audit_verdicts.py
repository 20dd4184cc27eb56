"""An audit for a person, and its data version, which depends on the verdicts and on no time."""

import pytest

from tamis.audit.verdicts import Audit, Node, audit_lines

CHANGES = {
    "a verdict": {"intact": False},
    "what was found": {"details": ["file page.html was altered"]},
    "what it holds": {"data_version": "another key"},
    "what it was made of": {"inputs": ["one"]},
    "what was withdrawn": {"withdrawn": 1},
}


def audited(page: str = "p1", **found) -> Audit:
    """Return an audit of a page made from two raw files; `page` is the id of its manifest."""
    raw = [
        Node(manifest=key, asset="raw_shards", partition=key, data_version=f"bytes of {key}")
        for key in ("one", "two")
    ]
    own = {"asset": "scaling_law_report", "partition": "", "data_version": "key", "inputs": ["one", "two"]}
    nodes = [*raw, Node(manifest=page, **own | found)]
    return Audit(nodes={node.manifest: node for node in nodes}, roots=[page])


def test_the_ids_of_manifests_do_not_change_the_version():
    assert audited("p1").to_json() != audited("p2").to_json()
    assert audited("p1").version == audited("p2").version


def test_the_order_of_the_nodes_does_not_change_the_version():
    found = audited()
    backwards = Audit(nodes=dict(reversed(found.nodes.items())), roots=found.roots)
    assert backwards.version == found.version


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_every_other_difference_changes_the_version(change):
    assert audited(**change).version != audited().version


@pytest.mark.parametrize(
    ("intact", "said"),
    [
        (None, "all are there, consistent and current (--quick: their content was not hashed)"),
        (True, "all are there, consistent and current, and their content, hashed again, is unaltered"),
    ],
)
def test_a_green_audit_is_said_in_two_lines_unless_the_tree_is_asked_for(intact, said):
    first, hint = audit_lines(audited(intact=intact))
    assert first == f"GREEN: 3 records lead to scaling_law_report; {said}"
    assert "--tree" in hint
    assert "├─ raw_shards[one]: green" in audit_lines(audited(intact=intact), tree=True)


def test_what_is_not_green_has_a_line_and_what_is_red_the_tree():
    amber = audit_lines(audited(current=False, details=["stale"]))
    assert amber[:2] == [
        "AMBER: 3 records lead to scaling_law_report",
        "  amber: scaling_law_report: stale",
    ]
    assert len(amber) == 3
    red = audit_lines(audited(intact=False, details=["altered"]))
    assert red[1] == "  red: scaling_law_report: altered"
    assert red[-1] == "└─ raw_shards[two]: green"


def test_one_record_is_counted_as_one():
    only = Audit(nodes={"a": Node(manifest="a", asset="documents", partition="")}, roots=["a"])
    assert audit_lines(only)[0].startswith("GREEN: 1 record leads to documents;")
