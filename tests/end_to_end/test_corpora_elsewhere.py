"""A corpus in a bucket and a saved dataset through the real graph; a listing that fails loses nothing."""

import shutil
import sys
from pathlib import Path

import pytest
from projects import CHECKOUT, SmallProject, corpus, make_project, selection, sentences, settings

pytest.importorskip("obstore", reason="the extra object-store is not installed")
pytest.importorskip("moto", reason="moto, the S3 server of the tests, is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "corpus"))
SETTINGS = settings(
    corpus("bucket", "s3://documents/web"),
    corpus("saved", "saved", kind="datasets", splits=["train"]),
    selection("best", budget=5),
)


def shards(project: SmallProject) -> dict[str, int]:
    rows = project.store.read("occurrences", ["shard"]).group_by("shard").len()
    return dict(rows.sort("shard").iter_rows())


def test_what_lies_elsewhere_is_followed_and_never_lost(tmp_path, encoder_cache, monkeypatch):
    from test_object_store import Bucket

    bucket = Bucket()
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    bucket.put("web/a.jsonl", *sentences("algebra", 20, 1))
    project = make_project(tmp_path / "project", encoder_cache, SETTINGS)
    shutil.copytree(CHECKOUT / "tests" / "corpus" / "saved_dataset", project.root / "saved")
    project.tamis("materialize")
    before = shards(project)
    assert before["bucket__a.jsonl"] == 20
    assert len(before) == 3

    bucket.put("web/b.jsonl", *sentences("sailing", 10, 1))
    project.tamis("materialize")
    assert shards(project) == before | {"bucket__b.jsonl": 10}
    asked = bucket.faults()["get"]
    assert "everything is current" in project.tamis("materialize").stderr
    assert bucket.faults()["get"] == asked, "no byte is moved to see that nothing changed"

    bucket.faults(list=[503] * 50)
    assert "cannot list s3://documents/web" in project.tamis("materialize", code=2).stderr
    assert shards(project) == before | {"bucket__b.jsonl": 10}
    bucket.faults(list=[])
    bucket.client.delete_object(Bucket="documents", Key="web/b.jsonl")
    project.tamis("materialize")
    assert shards(project) == before
    assert project.json("audit")["status"] == "green"
    bucket.process.communicate("", timeout=20)
