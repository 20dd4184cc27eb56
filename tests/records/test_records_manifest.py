"""Manifests and current values: written, read back and verified; and the writer's lock."""

import json

import pytest

from tamis.records.current_values import (
    CurrentValue,
    forget_current_values,
    read_current_values,
    write_current_values,
)
from tamis.records.manifest import InputReference, Manifest, ManifestError, ManifestFolder
from tamis.store.home import Home, HomeLockedError, writing
from tamis.store.tables import Store


def manifest(**changes):
    values = {
        "asset": "documents",
        "partition": "c__a",
        "code_version": "1",
        "config": {"b": 1, "a": [1.5, None]},
        "seed": 0,
        "input_key": "k",
        "data_version": "v",
        "digest": "d",
        "row_count": 3,
        "inputs": (InputReference(asset="raw_shards", partition="c__a", data_version="x", manifest="m"),),
    }
    return Manifest(**(values | changes))


def test_the_id_of_a_manifest_never_changes():
    assert manifest().id == "b02de999f93fcaa1dcc13b196deade6577e6efc88903d20ec7506349a741ac16"


def test_beside_is_not_hashed_and_every_other_field_is():
    assert manifest(beside={"seconds": 3}).id == manifest().id
    changed = [
        manifest(seed=1),
        manifest(row_count=4),
        manifest(inputs=()),
        manifest(config={}),
        manifest(digest="e"),
    ]
    assert len({found.id for found in changed} | {manifest().id}) == 6


def test_a_manifest_reads_back_and_an_altered_lost_or_broken_one_raises(tmp_path):
    folder = ManifestFolder(tmp_path)
    key = folder.write(manifest(beside={"seconds": 3}))
    assert folder.read(key) == manifest(beside={"seconds": 3})
    values = json.loads(folder.path(key).read_text())
    folder.path(key).write_text(json.dumps(values | {"row_count": 99}))
    with pytest.raises(ManifestError, match="altered"):
        folder.read(key)
    with pytest.raises(ManifestError, match="missing"):
        folder.read("0" * 64)
    folder.path(key).write_text("{")
    with pytest.raises(ManifestError, match="cannot be read"):
        folder.read(key)


def test_a_current_value_replaces_the_one_before_and_can_be_forgotten(tmp_path):
    store = Store(tmp_path)
    first = CurrentValue(asset="a", partition="", manifest="m1", input_key="k1", data_version="v1")
    second = CurrentValue(
        asset="a", partition="", manifest="m2", input_key="k2", data_version="v2", passed=False
    )
    write_current_values(store, [first])
    write_current_values(store, [second])
    assert read_current_values(store) == {("a", ""): second}
    forget_current_values(store, [("a", "")])
    assert read_current_values(store) == {}


def test_the_lock_names_its_holder_and_may_be_taken_twice_by_one_process(tmp_path):
    import subprocess
    import sys

    home = Home(tmp_path)
    code = f"""
from pathlib import Path
from tamis.store.home import Home, HomeLockedError, writing
try:
    with writing(Home(Path({str(tmp_path)!r})), "second"):
        print("taken")
except HomeLockedError as error:
    print(error)
"""
    with writing(home, "first"), writing(home, "again"):
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert "first" in said
    assert (
        "taken"
        in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
    assert issubclass(HomeLockedError, Exception)
