"""Corpora in an S3 bucket, on a real server process: changes by ETag, faults, and nothing taken for empty."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tamis.base.errors import MissingPackageError
from tamis.corpus import (
    ListingError,
    ShardChangedError,
    ShardGoneError,
    fingerprint_shard,
    list_shards,
    read_shard,
)
from tamis.corpus.documents import all_documents
from tamis.corpus.remote import object_store as module
from tamis.corpus.remote.errors import RemoteUnavailableError
from tamis.settings.config import CorpusSection

pytest.importorskip("obstore", reason="the extra object-store is not installed")
pytest.importorskip("moto", reason="moto, the S3 server of the tests, is not installed")
SERVER = Path(__file__).with_name("object_server.py")
BUCKET = "documents"


class Bucket:
    """A bucket of a server process."""

    def __init__(self) -> None:
        import boto3

        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
        }

    def put(self, name: str, *texts: str, data: bytes | None = None) -> None:
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
        self.client.put_object(Bucket=BUCKET, Key=name, Body=lines if data is None else data)

    def faults(self, **faults) -> dict[str, int]:
        """Spoil the next requests; how many there were."""
        body = json.dumps(faults).encode()
        request = urllib.request.Request(f"{self.url}/__faults__", body, method="PUT")
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def server():
    started = Bucket()
    yield started
    started.process.communicate("", timeout=20)


@pytest.fixture
def bucket(server, monkeypatch) -> Bucket:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.faults(list=[], get=[])
    for entry in server.client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        server.client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    server.put("web/a.jsonl", "one", "two")
    server.put("web/deep/b.jsonl", "three")
    return server


def section(path: str = f"s3://{BUCKET}/web", **keys) -> CorpusSection:
    return CorpusSection(name="s3", kind="files", path=path, **keys)


def shards(tmp_path, corpus: CorpusSection | None = None) -> dict:
    return {shard.name: shard for shard in list_shards(corpus or section(), tmp_path, tmp_path / "cache")}


def texts(shard) -> list[str]:
    return all_documents(read_shard(shard, section())).documents["text"].to_list()


def test_objects_are_listed_without_a_download_and_read_one_at_a_time(bucket, tmp_path):
    before = bucket.faults()["get"]
    found = shards(tmp_path)
    prints = {name: fingerprint_shard(shard) for name, shard in found.items()}
    assert list(found) == ["a.jsonl", "deep/b.jsonl"]
    assert bucket.faults()["get"] == before
    assert texts(found["a.jsonl"]) == ["one", "two"]
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*")), "removed once it was read"
    bucket.put("web/a.jsonl", "One", "two")  # of the same length
    bucket.put("web/deep/b.jsonl", "three")  # the same bytes again
    after = {name: fingerprint_shard(shard) for name, shard in shards(tmp_path).items()}
    assert {name for name in prints if after[name] != prints[name]} == {"a.jsonl"}


def test_globs_temporary_names_and_folder_markers(bucket, tmp_path):
    for name in ("web/.hidden/c.jsonl", "web/d.jsonl.tmp", "web/notes/x.txt"):
        bucket.put(name, "x")
    bucket.put("web/folder/", data=b"")
    assert list(shards(tmp_path)) == ["a.jsonl", "deep/b.jsonl", "notes/x.txt"]
    assert list(shards(tmp_path, section(include=["*.jsonl"]))) == ["a.jsonl"]
    assert list(shards(tmp_path, section(exclude=["deep/**", "notes/*"]))) == ["a.jsonl"]


def test_a_passing_fault_is_overcome(bucket, tmp_path):
    bucket.faults(list=[500, 503], get=[])
    found = shards(tmp_path)
    bucket.faults(list=[], get=[500])
    assert texts(found["deep/b.jsonl"]) == ["three"]


def test_a_listing_that_fails_is_never_taken_for_empty(bucket, tmp_path, monkeypatch):
    bucket.faults(list=[503] * 20, get=[])
    with pytest.raises(ListingError, match="503"):
        shards(tmp_path)
    bucket.faults(list=[403], get=[])
    with pytest.raises(ListingError, match="'s3'"):
        shards(tmp_path)
    bucket.faults(list=[], get=[])
    with pytest.raises(ListingError, match="no object was found under this prefix"):
        shards(tmp_path, section(f"s3://{BUCKET}/wbe"))
    with pytest.raises(ListingError, match="404"):
        shards(tmp_path, section("s3://no-such-bucket/web"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ListingError, match="s3://documents/web"):
        shards(tmp_path)


def test_what_changes_or_goes_between_listing_and_reading_is_not_read_as_what_was_listed(bucket, tmp_path):
    found = shards(tmp_path)
    bucket.put("web/a.jsonl", "other")
    with pytest.raises(ShardChangedError):
        texts(found["a.jsonl"])
    bucket.client.delete_object(Bucket=BUCKET, Key="web/deep/b.jsonl")
    with pytest.raises(ShardGoneError, match=r"deep-b\.jsonl"):
        texts(found["deep/b.jsonl"])


def test_an_object_that_stays_away_is_a_passing_problem_and_a_forbidden_one_a_defect(bucket, tmp_path):
    found = shards(tmp_path)
    bucket.faults(list=[], get=[500] * 20)
    with pytest.raises(RemoteUnavailableError, match=r"s3://documents/web/a\.jsonl"):
        texts(found["a.jsonl"])
    bucket.faults(list=[], get=[403])
    batch = all_documents(read_shard(found["a.jsonl"], section()))
    assert batch.quarantine.select("row", "reason").rows() == [(-1, "unreadable")]


def test_a_compressed_object_that_ends_early_is_quarantined_as_a_file_is(bucket, tmp_path):
    import gzip

    data = gzip.compress(b"".join(b'{"text": "%d"}\n' % number for number in range(3_000)))
    bucket.put("web/c.jsonl.gz", data=data[: len(data) // 2])
    batch = all_documents(read_shard(shards(tmp_path)["c.jsonl.gz"], section()))
    assert batch.quarantine["reason"].to_list() == ["broken_compression"]
    assert len(batch.documents) > 100


def test_a_folder_by_url_and_one_file_over_http(bucket, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x.txt").write_text("by url")
    local = shards(tmp_path, section(f"file://{tmp_path}/files"))
    assert texts(local["x.txt"]) == ["by url"]
    bucket.client.put_object_acl(Bucket=BUCKET, Key="web/a.jsonl", ACL="public-read")
    single = shards(tmp_path, section(f"{bucket.url}/{BUCKET}/web/a.jsonl"))
    assert texts(single["a.jsonl"]) == ["one", "two"]


def test_without_the_library_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingPackageError, match=r"\[object-store\]"):
        shards(tmp_path)
    assert module.is_url("s3://x/y")
    assert not module.is_url("documents")
