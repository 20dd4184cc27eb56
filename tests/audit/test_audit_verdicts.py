"""The data version of an audit: it depends on the verdicts, and on no time."""

import pytest

from tamis.audit.verdicts import Audit, Node

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
