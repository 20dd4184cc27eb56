"""The whole graph on an S3 server: the values of a disk, from any machine, through faults and kills."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from crashes import DYING
from object_storage import BUCKET, KEYS
from projects import (
    SmallProject,
    assets_made,
    heads_of,
    make_project,
    manifests_of,
    sentences,
    watched,
    write_jsonl,
)
from soundness import versions, versions_in

from tamis.graph.repair import find_damage
from tamis.project import read_project
from tamis.store.remote.objects import ObjectFolder
from tamis.store.tables import Store

FIRST = ("raw_shards", "documents")
KILLS = [("documents", "writes", 3), ("transport_scores", "writes", 4), ("selected_subset", "seconds", 1.0)]


def stored_versions(url: str) -> dict[tuple[str, str], str]:
    return versions_in(Store(ObjectFolder(f"{url}/lance")))


@pytest.fixture
def remote(tmp_path, encoder_cache, storage_url, monkeypatch) -> SmallProject:
    monkeypatch.setenv("TAMIS_STORAGE_URL", storage_url)
    return make_project(tmp_path / "project", encoder_cache)


def elsewhere(project: SmallProject, folder: Path, monkeypatch) -> SmallProject:
    """The same project on another machine: its files, a home made from nothing, the same store."""
    shutil.copytree(project.root, folder, ignore=shutil.ignore_patterns(".tamis"))
    shutil.copytree(project.home.cache / "encoders", folder / ".tamis" / "cache" / "encoders")
    return SmallProject(folder)


def assert_no_secret(project: SmallProject, storage, url: str) -> None:
    """The credentials stand in no file that Tamis, Dagster or a store holds."""
    files = {str(path): path.read_bytes() for path in project.root.rglob("*") if path.is_file()}
    held = files | storage.objects(url.split("/", 3)[3])
    for value in KEYS.values():
        assert [name for name, content in held.items() if value.encode() in content] == []


def test_the_first_stages_are_made_in_the_store_and_read_from_another_home(
    tmp_path, storage, storage_url, monkeypatch
):
    remote = make_project(tmp_path / "project", None)
    monkeypatch.setenv("TAMIS_STORAGE_URL", storage_url)
    storage.faults(errors=0.02, seed=1)
    remote.tamis("materialize", "--only", *FIRST)
    seen = storage.faults(latency=0.0)
    assert seen["counts"]["PUT"] > 20
    names = storage.objects(storage_url.split("/", 3)[3])
    assert not any(part in name for name in names for part in ("/cache/", "/dagster/", "writer.lock"))
    assert not list(remote.home.root.glob("lance/*")), "tables are in the store alone"
    monkeypatch.setenv("TAMIS_HOME", str(remote.root / "new-home"))
    there = read_project(remote.root)
    current = heads_of(there.home)
    assert {asset for asset, _partition in current} == set(FIRST)
    assert find_damage(there.home, current) == {}
    for value in current.values():
        manifests_of(there.home).read(value.manifest)
    assert_no_secret(remote, storage, storage_url)
    read_project(remote.root)
    assert set(storage.faults(latency=0.0)["counts"]) <= {"GET", "HEAD"}, "readers write nothing"


@pytest.fixture
def two_machines(tmp_path, storage_url, monkeypatch) -> tuple[SmallProject, SmallProject]:
    """One that has made the first stage in a store, and one that has made nothing yet."""
    remote = make_project(tmp_path / "project", None)
    monkeypatch.setenv("TAMIS_STORAGE_URL", storage_url)
    remote.tamis("materialize", "--only", "raw_shards")
    shutil.copytree(remote.root, tmp_path / "elsewhere", ignore=shutil.ignore_patterns(".tamis"))
    return remote, SmallProject(tmp_path / "elsewhere")


def test_the_audit_of_a_machine_that_has_made_nothing_says_so(two_machines, storage_url):
    _, other = two_machines
    audit = other.json("audit")
    (note,) = [node for node in audit["nodes"] if node["asset"] == "event log"]
    assert note["status"] == audit["status"] == "amber"
    parts = ("empty on this machine", storage_url, "`tamis materialize`", "docs/postgresql.md")
    assert [part for part in parts if part not in note["details"][0]] == []
    assert {node["status"] for node in audit["nodes"] if node is not note} <= {"green", "amber"}


def test_the_audit_of_a_machine_that_has_made_something_contradicts(two_machines):
    remote, other = two_machines
    assert "empty on this machine" in other.tamis("audit").stdout
    other.tamis("materialize", "--only", "raw_shards")
    assert [node for node in other.json("audit")["nodes"] if node["asset"] == "event log"] == []
    write_jsonl(remote.root / "landing" / "more.jsonl", sentences("algebra", 30, 5))
    remote.tamis("materialize", "--only", "raw_shards")
    assert other.json("audit", code=1)["status"] == "red", "a log that holds anything speaks"


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
    assert versions(on_disk) == made


def test_kills_are_resumed_from_the_same_home_at_once(
    remote, storage_url, tmp_path, encoder_cache, monkeypatch
):
    for stage, kind, amount in KILLS:
        done = subprocess.run(
            [sys.executable, str(DYING), stage, kind, str(amount), "materialize"],
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
    assert versions(on_disk) == made


def test_what_was_altered_in_the_store_is_found_and_a_withdrawal_erases_there(
    remote, storage, storage_url, tmp_path, monkeypatch
):
    remote.tamis("materialize")
    remote.tamis("export", "near-algebra", "--format", "jsonl")
    prefix = storage_url.split("/", 3)[3]
    opened = remote.project
    current, folder = heads_of(opened.home), manifests_of(opened.home)
    potential = folder.read(current["target_potential", "algebra"].manifest)
    chosen = folder.read(current["selected_subset", "near-algebra"].manifest)
    cases = {
        "target_potential[algebra]": next(iter(potential.files)),
        "density_sketch": opened.home.relative(folder.path(current["density_sketch", ""].manifest)),
        "list of rows": opened.home.relative(folder.rows_path(chosen.rows["selected_subset"])),
    }
    for node, key in ((node, f"{prefix}/{name}") for node, name in cases.items()):
        before = storage.objects(key)[key]
        storage.client.put_object(Bucket=BUCKET, Key=key, Body=before[:-1] + b"?")
        audit = remote.json("audit", code=1)
        red = [found["name"] for found in audit["nodes"] if found["status"] == "red"]
        assert any(found.startswith(node) for found in red), (node, red)
        storage.client.put_object(Bucket=BUCKET, Key=key, Body=before)
    assert remote.json("audit")["status"] == "green"
    document = Store(opened.home.store.folder).read("selected_subset", ["doc_id"])["doc_id"][0]
    assert document.encode() in storage.objects(prefix)[f"{prefix}/exports/near-algebra.jsonl"]
    other = elsewhere(remote, tmp_path / "elsewhere", monkeypatch)
    other.tamis("withdraw", document, "--reason", "owner_request")
    assert other.json("withdraw", "--verify")["holds"]
    remote.tamis("status", code=None)
    for home in (remote.home, other.home):
        assert not any(document in path.read_text() for path in home.reports.glob("selection_*"))
    left = storage.objects(f"{prefix}/exports") | storage.objects(f"{prefix}/reports")
    assert not any(document.encode() in body for body in left.values())
    remote.tamis("materialize")
    assert remote.json("audit")["status"] == "green"


def test_a_bucket_that_keeps_versions_is_not_said_to_have_forgotten(remote, storage, monkeypatch):
    bucket = "tamis-with-versions"
    storage.client.create_bucket(Bucket=bucket)
    storage.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    url = f"s3://{bucket}/small"
    monkeypatch.setenv("TAMIS_STORAGE_URL", url)
    remote.tamis("materialize", "--only", *FIRST)
    document = Store(ObjectFolder(f"{url}/lance")).read("documents", ["doc_id"])["doc_id"][0]
    said = remote.tamis("withdraw", document, "--reason", "owner_request", code=1).stdout
    assert all(part in said for part in ("NOT erased", bucket, "aws s3api list-object-versions")), said
    verified = remote.json("withdraw", "--verify", code=1)
    assert not verified["holds"]
    assert "keeps earlier versions" in " ".join(verified["problems"])
    storage.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def test_commands_say_what_is_wrong_with_the_store_and_go_on_when_it_is_right(
    remote, storage, storage_url, monkeypatch
):
    storage.faults(errors=1.0)
    said = remote.tamis("materialize", "--only", *FIRST, code=1).stderr
    assert all(part in said for part in (storage_url, "500", "AWS_ENDPOINT_URL")), said
    storage.faults(latency=0.0)
    monkeypatch.setenv("TAMIS_STORAGE_URL", "s3://no-such-bucket/small")
    absent = remote.tamis("status", code=2).stderr
    monkeypatch.setenv("TAMIS_STORAGE_URL", "s3://me:hidden@bucket/small")
    refused = remote.tamis("status", code=2).stderr
    assert "the bucket does not exist" in absent
    for text in (said, absent, refused):
        assert [part for part in ("Traceback", "secret-of-the-tests", "hidden") if part in text] == []
    monkeypatch.setenv("TAMIS_STORAGE_URL", storage_url)
    (remote.home.root / "storage.url").unlink(missing_ok=True)
    remote.tamis("materialize", "--only", *FIRST)


def test_a_home_moves_from_a_disk_to_the_store(remote, storage, storage_url, monkeypatch):
    monkeypatch.delenv("TAMIS_STORAGE_URL")
    remote.tamis("materialize", "--only", *FIRST)
    before = versions(remote)
    prefix = storage_url.split("/", 3)[3]
    monkeypatch.setenv("TAMIS_STORAGE_URL", storage_url)
    assert "tables of its own" in remote.tamis("status", code=2).stderr
    for folder in ("lance", "manifests", "reports"):
        for path in (remote.home.root / folder).rglob("*"):
            if path.is_file():
                name = f"{prefix}/{path.relative_to(remote.home.root).as_posix()}"
                storage.client.upload_file(str(path), BUCKET, name)
    shutil.move(remote.home.root / "lance", remote.root / "tables-before")
    said = remote.tamis("materialize", "--only", *FIRST).stderr
    assert "are current" in said
    assert stored_versions(storage_url) == before
    monkeypatch.delenv("TAMIS_STORAGE_URL")
    assert "working copy of" in remote.tamis("status", code=2).stderr


def test_two_machines_with_one_store_and_one_database_go_on_from_each_other(
    remote, storage_url, postgres_url, tmp_path, monkeypatch
):
    name = f"shared_{tmp_path.name[-6:].replace('-', '_')}"
    server = sqlalchemy.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    server.dispose()
    url = sqlalchemy.make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    monkeypatch.setenv("TAMIS_POSTGRES_URL", url)
    remote.tamis("materialize", "--only", *FIRST)
    other = elsewhere(remote, tmp_path / "elsewhere", monkeypatch)
    for project in (other, remote):
        write_jsonl(project.root / "landing" / "more.jsonl", sentences("algebra", 30, 5))
    assert "2 partitions materialized" in other.tamis("materialize", "--only", *FIRST).stderr
    made = stored_versions(storage_url)
    assert "are current" in remote.tamis("materialize", "--only", *FIRST).stderr
    for project in (remote, other):
        assert project.json("audit")["status"] == "green"
    assert stored_versions(storage_url) == made
    assert len(made) == 8


def test_sensors_bring_a_store_up_to_date(remote, monkeypatch):
    remote.tamis("materialize")
    for platform in watched(remote, monkeypatch):
        assert platform.until_rest() == []
        write_jsonl(remote.root / "landing" / "more.jsonl", sentences("algebra", 30, 5))
        remote.tamis("status", code=None)
        made = assets_made(platform.until_rest())
        assert {"documents", "embeddings", "transport_scores", "selected_subset"} <= made
    assert remote.json("audit", code=None)["status"] == "amber", "what no selection reads is left to a person"
