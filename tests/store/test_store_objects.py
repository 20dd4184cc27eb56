"""Objects by URL on a real S3 server: the verbs, what a faulty store does to them, and what is said of it."""

import hashlib
import os
import socket
import time

import pytest

from tamis.store.remote import objects as module
from tamis.store.remote.objects import (
    EndpointError,
    ObjectFolder,
    StorageRefusedError,
    StorageUnavailableError,
    object_store_problem,
    require_endpoint,
)
from tamis.store.tables import Store


@pytest.fixture
def folder(storage_url):
    return ObjectFolder(storage_url)


@pytest.fixture
def impatient(monkeypatch):
    """A store that is asked for a second only."""
    from datetime import timedelta

    monkeypatch.setattr(module, "PATIENCE", timedelta(seconds=1))
    module._store.cache_clear()
    yield
    module._store.cache_clear()


def test_what_is_written_is_listed_read_hashed_and_deleted(folder, tmp_path):
    large = bytes(range(256)) * 80_000  # over 20 MB: sent in parts
    (tmp_path / "large").write_bytes(large)
    folder.write("a/large", tmp_path / "large")
    folder.write("a/small", b"small")
    folder.write("b", b"")
    assert {name: one.size for name, one in folder.listed("a/").items()} == {
        "a/large": len(large),
        "a/small": 5,
    }
    assert folder.below("a").listed().keys() == {"large", "small"}
    assert folder.digest("a/large") == hashlib.sha256(large).hexdigest()
    assert folder.download("a/large", tmp_path / "back") == folder.head("a/large")
    assert (tmp_path / "back").read_bytes() == large
    assert folder.read("a/small") == b"small"
    folder.delete(["a/large", "a/small", "never"])
    assert folder.listed().keys() == {"b"}
    assert not folder.holds_any("a/")
    assert folder.head("a/small") is None
    with pytest.raises(FileNotFoundError):
        folder.read("a/small")


def test_an_object_is_created_once_and_swapped_by_its_tag_alone(folder):
    first = folder.create("lock", b"1")
    assert folder.create("lock", b"2") is None
    second = folder.swap("lock", b"3", first)
    assert folder.swap("lock", b"4", first) is None
    assert folder.read("lock") == b"3"
    folder.delete(["lock"])
    assert folder.swap("lock", b"5", second) is None


@pytest.mark.parametrize("faults", [{"errors": 0.3}, {"after": 0.3}, {"cut": 0.5}, {"latency": 0.05}])
def test_requests_are_made_again_while_a_store_fails_now_and_then(folder, storage, tmp_path, faults):
    storage.faults(**faults, seed=3)
    content = bytes(range(256)) * 8_000
    for number in range(8):
        folder.write(f"{number}", content)
        folder.download(f"{number}", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == content
    assert len(folder.listed()) == 8


def test_a_store_that_only_fails_is_named_with_what_to_check(folder, storage, impatient):
    storage.faults(errors=1.0)
    began = time.monotonic()
    with pytest.raises(StorageUnavailableError) as raised:
        folder.write("x", b"1")
    assert time.monotonic() - began < 10
    said = str(raised.value)
    for part in (f"write {folder.url}/x", "500", "AWS_ENDPOINT_URL", "run the same command again"):
        assert part in said


def test_a_store_that_does_not_answer_is_named_without_its_password(folder, impatient, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:hidden@127.0.0.1:1")
    with pytest.raises(StorageUnavailableError) as raised:
        folder.read("x")
    assert "hidden" not in str(raised.value)
    assert "AWS_ENDPOINT_URL" in str(raised.value)


def test_a_store_that_takes_requests_and_is_silent_is_given_up(folder, impatient, monkeypatch):
    monkeypatch.setitem(module._LIMITS, "read_timeout", "1s")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(StorageUnavailableError):
            folder.listed()
    assert time.monotonic() - began < 20


def test_a_bucket_that_is_not_there_names_the_settings(folder):
    absent = ObjectFolder("s3://no-such-bucket/prefix")
    for request in (absent.listed, lambda: absent.read("x"), lambda: absent.create("x", b"")):
        with pytest.raises(StorageRefusedError, match=r"bucket does not exist; check \[storage\] url"):
            request()


@pytest.mark.parametrize(
    ("said", "part"),
    [
        (
            "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1ms",
            "set AWS_ACCESS_KEY_ID",
        ),
        (
            "The operation lacked the necessary privileges to complete for path x: Error performing GET "
            "https://host/b/x in 1ms - Server returned non-2xx status code: 403 Forbidden: "
            "<Code>AccessDenied</Code>",
            "their owner's permissions",
        ),
        (
            "Generic S3 error: Error performing GET https://host/b in 1ms - Server returned non-2xx status "
            "code: 403 Forbidden: <Code>SignatureDoesNotMatch</Code>",
            "does not match the access key id",
        ),
        ('Generic { store: "S3", source: MissingSecretAccessKey }', "set AWS_SECRET_ACCESS_KEY"),
        ('IO { source: "Failed to get AWS credentials: ProviderError" }', "set AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_refusal_says_which_variable(said, part):
    found = object_store_problem(RuntimeError(said))
    assert isinstance(found, StorageRefusedError)
    assert part in str(found)


def test_a_key_without_its_secret_is_said(folder, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    module._store.cache_clear()
    with pytest.raises(StorageRefusedError, match="set AWS_SECRET_ACCESS_KEY"):
        folder.listed()


@pytest.mark.parametrize("address", ["127.0.0.1:9000", "minio", "s3://me:hunter2@host", "http://"])
def test_an_endpoint_that_is_no_address_is_said_by_objects_and_tables(folder, monkeypatch, address):
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    for request in (folder.listed, Store(folder).names):
        with pytest.raises(EndpointError, match=r"AWS_ENDPOINT_URL = .* expected https://HOST") as found:
            request()
        assert "hunter2" not in str(found.value)


@pytest.mark.parametrize("blank", ["", " "])
def test_a_variable_that_is_set_to_nothing_is_none(folder, monkeypatch, blank):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", blank)
    for request in (folder.listed, Store(folder).names):
        module._store.cache_clear()
        with pytest.raises(StorageRefusedError, match=r"set .*AWS_SECRET_ACCESS_KEY"):
            request()


def test_an_endpoint_that_is_set_to_nothing_is_that_of_amazon(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "")
    require_endpoint()
    assert not {"AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"} & os.environ.keys()


def test_an_error_of_another_kind_is_none_of_the_stores():
    assert object_store_problem(RuntimeError("lance error: column x does not exist")) is None


def test_a_bucket_that_keeps_versions_is_found_out(folder, storage):
    assert not folder.keeps_versions()
    storage.client.create_bucket(Bucket="with-versions")
    storage.client.put_bucket_versioning(
        Bucket="with-versions", VersioningConfiguration={"Status": "Enabled"}
    )
    assert ObjectFolder("s3://with-versions/x").keeps_versions()
    assert ObjectFolder("s3://with-versions/x").listed() == {}
