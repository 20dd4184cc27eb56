"""The whole graph on an S3 server: the values of a disk, from any machine, through faults and kills."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from crashes import DYING
from object_storage import BUCKET
from small_project import SmallProject, make_project

from tamis.lineage.damage import find_damage
from tamis.lineage.heads import read_heads
from tamis.lineage.manifest import ManifestFolder
from tamis.project import open_project, read_project
from tamis.store.objects import ObjectFolder
from tamis.store.tables import Store

FIRST = ("raw_shards", "documents")
KILLS = [("documents", "writes", 3), ("transport_scores", "writes", 4), ("decisions", "seconds", 0.2)]


def stored_versions(url: str) -> dict[tuple[str, str], str]:
    frame = Store(ObjectFolder(f"{url}/lance")).read("heads", ["asset", "partition", "data_version"])
    return {(asset, partition): version for asset, partition, version in frame.iter_rows()}


def versions_on_disk(project: SmallProject) -> dict[tuple[str, str], str]:
    frame = Store(project.home / "lance").read("heads", ["asset", "partition", "data_version"])
    return {(asset, partition): version for asset, partition, version in frame.iter_rows()}


@pytest.fixture
def remote(tmp_path, encoder_cache, storage_url, monkeypatch) -> SmallProject:
    monkeypatch.setenv("TAMIS_STORAGE_URL", storage_url)
    return make_project(tmp_path / "project", encoder_cache)


def elsewhere(project: SmallProject, folder: Path, monkeypatch) -> SmallProject:
    """The same project on another machine: its files, a home made from nothing, the same store."""
    shutil.copytree(project.root, folder, ignore=shutil.ignore_patterns(".tamis"))
    shutil.copytree(project.home / "cache" / "encoders", folder / ".tamis" / "cache" / "encoders")
    return SmallProject(folder)


def test_the_first_stages_are_made_in_the_store_and_read_from_another_home(
    tmp_path, storage, storage_url, monkeypatch
):
    (tmp_path / "no-encoder").mkdir()
    remote = make_project(tmp_path / "project", tmp_path / "no-encoder")
    monkeypatch.setenv("TAMIS_STORAGE_URL", storage_url)
    storage.faults(errors=0.02, seed=1)
    remote.tamis("materialize", "--only", *FIRST)
    told = storage.faults(latency=0.0)
    assert told["counts"]["PUT"] > 20
    names = storage.objects(storage_url.split("/", 3)[3])
    assert not any(part in name for name in names for part in ("/cache/", "/dagster/", "writer.lock"))
    assert not list(remote.home.glob("lance/*")), "tables are in the store alone"
    monkeypatch.setenv("TAMIS_HOME", str(remote.root / "new-home"))
    there = read_project(remote.root)
    heads = read_heads(there.home.store)
    assert {asset for asset, _partition in heads} == set(FIRST)
    assert find_damage(there.home, heads) == {}
    for head in heads.values():
        ManifestFolder.of(there.home).read(head.manifest)
    read_project(remote.root)
    assert set(storage.faults(latency=0.0)["counts"]) <= {"GET", "HEAD"}, "readers write nothing"


@pytest.mark.slow
def test_values_are_those_of_a_disk_and_another_machine_goes_on(
    remote, storage, storage_url, tmp_path, encoder_cache, monkeypatch
):
    storage.faults(errors=0.02, cut=0.02, seed=2)
    remote.tamis("materialize")
    storage.faults(latency=0.0)
    made = stored_versions(storage_url)
    remote.tamis("materialize")
    written = storage.faults(latency=0.0)["written"]
    assert [name for name in written if "writer.lock" not in name and name != f"POST /{BUCKET}"] == []
    other = elsewhere(remote, tmp_path / "elsewhere", monkeypatch)
    assert other.json("plan") == []
    assert other.tamis("status").returncode == 0
    assert "everything is current" in other.tamis("materialize").stderr
    assert other.json("audit")["status"] == "green"
    document = Store(ObjectFolder(f"{storage_url}/lance")).read("documents", ["doc_id"])["doc_id"][0]
    assert document in other.tamis("explain", document).stdout
    other.tamis("export", "near-algebra")
    prefix = storage_url.split("/", 3)[3]
    assert f"{prefix}/exports/near-algebra.parquet" in storage.objects(prefix)
    other.tamis("export", "uniform", "--format", "jsonl")
    remote.tamis("status")
    assert stored_versions(storage_url) == made
    monkeypatch.delenv("TAMIS_STORAGE_URL")
    on_disk = make_project(tmp_path / "disk", encoder_cache)
    on_disk.tamis("materialize")
    assert versions_on_disk(on_disk) == made


@pytest.mark.slow
def test_kills_are_resumed_from_the_same_home_at_once(
    remote, storage_url, tmp_path, encoder_cache, monkeypatch
):
    for stage, kind, amount in KILLS:
        done = subprocess.run(
            [os.sys.executable, str(DYING), stage, kind, str(amount), "materialize"],
            cwd=remote.root,
            env=remote.environment,
            capture_output=True,
            text=True,
            timeout=400,
            start_new_session=True,
        )
        assert done.returncode == -9, f"{stage} was not reached\n{done.stderr}"
    remote.tamis("materialize")
    assert remote.json("audit")["status"] == "green"
    made = stored_versions(storage_url)
    monkeypatch.delenv("TAMIS_STORAGE_URL")
    on_disk = make_project(tmp_path / "disk", encoder_cache)
    on_disk.tamis("materialize")
    assert versions_on_disk(on_disk) == made


@pytest.mark.slow
def test_what_was_altered_in_the_store_is_found_and_a_withdrawal_erases_there(
    remote, storage, storage_url, tmp_path, monkeypatch
):
    remote.tamis("materialize")
    remote.tamis("export", "near-algebra")
    prefix = storage_url.split("/", 3)[3]
    opened = open_project(remote.root)
    heads = read_heads(opened.home.store)
    folder = ManifestFolder.of(opened.home)
    potential = folder.read(heads["target_potential", "algebra"].manifest)
    cases = {
        f"fitted: {next(iter(potential.files))}": next(iter(potential.files)),
        "manifest": opened.home.relative(folder.path(heads["density_sketch", ""].manifest)),
        "rows": opened.home.relative(folder.rows_path(next(iter(potential.rows.values())))),
    }
    for case, name in cases.items():
        before = storage.objects(f"{prefix}/{name}")[f"{prefix}/{name}"]
        storage.client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=before[:-1] + b"?")
        audit = remote.json("audit", code=1)
        assert audit["status"] == "red", case
        broken = " ".join(audit["lowest_broken"])
        assert {"fitted": "target_potential", "manifest": "density_sketch", "rows": "list of rows"}[
            case.partition(":")[0]
        ] in broken or "target_potential" in broken, (case, broken)
        storage.client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=before)
        assert remote.json("audit")["status"] == "green", case
    document = Store(opened.home.store.folder).read("selected_subset", ["doc_id"])["doc_id"][0]
    other = elsewhere(remote, tmp_path / "elsewhere", monkeypatch)
    other.tamis("withdraw", document, "--reason", "owner_request")
    assert other.json("withdraw", "--verify")["holds"]
    remote.tamis("status", code=None)
    for home in (remote.home, other.home):
        assert not any(document in path.read_text() for path in (home / "reports").glob("selection_*"))
    left = storage.objects(f"{prefix}/exports") | storage.objects(f"{prefix}/reports")
    assert not any(document.encode() in body for body in left.values())
    remote.tamis("materialize")
    assert remote.json("audit")["status"] == "green"
