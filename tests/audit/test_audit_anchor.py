"""Anchors: with one kept outside the home, a consistent rewriting of the home is found."""

import json

import pytest
from projects import head_of, manifest_of

from tamis.audit.anchor import AnchorError, judge_anchor, read_anchor, write_anchor
from tamis.audit.verdicts import Audit
from tamis.records.current_values import CurrentValue
from tamis.records.manifest import ManifestFolder

NOTHING = Audit(nodes={}, roots=[])


def made(folder, content: str) -> CurrentValue:
    manifest = manifest_of("documents", "a", input_key=content, digest=content)
    ManifestFolder(folder).write(manifest)
    return head_of(manifest)


def test_a_manifest_of_an_anchor_that_is_gone_is_red(tmp_path):
    value, anchor = made(tmp_path / "manifests", "first"), tmp_path / "anchor.json"
    root = write_anchor(anchor, {("documents", "a"): value})
    assert len(root) == 64
    assert read_anchor(anchor) == [("documents", "a", value.manifest)]
    later = made(tmp_path / "manifests", "second")
    assert later.manifest != value.manifest
    assert judge_anchor(NOTHING, tmp_path / "manifests", anchor)[0].status == "green", "history goes on"


def test_a_home_that_was_rewritten_consistently_is_found(tmp_path):
    value, anchor = made(tmp_path / "manifests", "first"), tmp_path / "anchor.json"
    write_anchor(anchor, {("documents", "a"): value})
    ManifestFolder(tmp_path / "manifests").path(value.manifest).unlink()
    made(tmp_path / "manifests", "forged")
    found, there, named = judge_anchor(NOTHING, tmp_path / "manifests", anchor)
    assert (there, named) == (0, 1)
    assert found.status == "red"
    assert [node.name for node in found.lowest_broken()] == ["documents[a]"]


def test_an_anchor_that_was_altered_is_refused(tmp_path):
    value, anchor = made(tmp_path / "manifests", "first"), tmp_path / "anchor.json"
    write_anchor(anchor, {("documents", "a"): value})
    content = json.loads(anchor.read_text())
    content["manifests"][0][2] = "0" * 64
    anchor.write_text(json.dumps(content))
    with pytest.raises(AnchorError, match="altered"):
        read_anchor(anchor)
    for bad in ("", "[]", '{"root": 1}'):
        anchor.write_text(bad)
        with pytest.raises(AnchorError, match="not an anchor"):
            read_anchor(anchor)
    with pytest.raises(AnchorError, match="does not exist"):
        read_anchor(tmp_path / "none.json")
