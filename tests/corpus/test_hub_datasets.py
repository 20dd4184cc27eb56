"""Datasets on a hub: the real client against a server that answers as the hub does."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

from tamis.corpus import ListingError, fingerprint_shard, list_shards, read_shard
from tamis.corpus.documents import all_documents
from tamis.corpus.remote.errors import RemoteForbiddenError, RemoteUnavailableError
from tamis.corpus.remote.fetching import fetched
from tamis.settings.config import CorpusSection

NAME = "owner/name"


class Hub:
    """A dataset repository: files by path, its commit, and the requests that were made."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.status = 200
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()

    def tree(self) -> list[dict]:
        entries: list[dict] = [{"type": "directory", "path": "data", "oid": "0" * 40, "size": 0}]
        for path, data in sorted(self.files.items()):
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry = {"type": "file", "path": path, "oid": blob, "size": len(data)}
            if path.endswith(".parquet"):
                lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                entry |= {"lfs": lfs}
            entries.append(entry)
        return entries


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if hub.status != 200:
                self.answer(hub.status, b"{}")
            elif "/tree/" in path:
                self.answer(200, json.dumps(hub.tree()).encode(), Content_Type="application/json")
            elif "/resolve/" in path:
                commit, _, name = path.split("/resolve/")[1].partition("/")
                data = hub.files.get(name)
                if data is None or commit != hub.commit:
                    self.answer(404, b"", X_Error_Code="EntryNotFound")
                    return
                etag = hashlib.sha256(data).hexdigest()
                self.answer(200, data, ETag=f'"{etag}"', X_Repo_Commit=commit)
            else:
                body = json.dumps({"id": NAME, "sha": hub.commit}).encode()
                self.answer(200 if NAME in path else 404, body, Content_Type="application/json")

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


def lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants

    made = Hub()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made.files = {
        "README.md": b"# A dataset",
        ".gitattributes": b"",
        "load.py": b"raise SystemExit",
        "data/train-00000-of-00001.jsonl": lines("one", "two"),
        "data/test.jsonl": lines("three"),
    }
    yield made
    made.server.shutdown()
    made.server.server_close()


def section(**keys) -> CorpusSection:
    return CorpusSection(**({"name": "hf", "kind": "datasets", "hub": NAME} | keys))


def shards(tmp_path, **keys) -> dict:
    return {shard.name: shard for shard in list_shards(section(**keys), tmp_path, tmp_path / "cache")}


def texts(shard) -> list[str]:
    return all_documents(read_shard(shard, section())).documents["text"].to_list()


def test_data_files_are_shards_and_are_read_as_files(hub, tmp_path):
    found = shards(tmp_path)
    assert list(found) == ["data/test.jsonl", "data/train-00000-of-00001.jsonl"]
    assert not any("/resolve/" in asked for asked in hub.asked), "nothing is fetched to list it"
    assert texts(found["data/train-00000-of-00001.jsonl"]) == ["one", "two"]
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))
    assert list(shards(tmp_path, splits=["train"])) == ["data/train-00000-of-00001.jsonl"]
    assert list(shards(tmp_path, include=["data/te*"])) == ["data/test.jsonl"]


def test_a_new_commit_calls_for_the_files_alone_that_it_changed(hub, tmp_path):
    before = {name: fingerprint_shard(shard) for name, shard in shards(tmp_path).items()}
    hub.files["README.md"] = b"# Another text"
    hub.files["data/test.jsonl"] = lines("Three")
    after = {name: fingerprint_shard(shard) for name, shard in shards(tmp_path).items()}
    assert {name for name in before if before[name] != after[name]} == {"data/test.jsonl"}


def test_a_large_file_states_the_digest_of_its_bytes(hub, tmp_path):
    from shard_files import as_parquet

    data = as_parquet([{"text": "one"}])
    hub.files["data/train.parquet"] = data
    found = shards(tmp_path)["data/train.parquet"]
    assert fingerprint_shard(found) == hashlib.sha256(data).hexdigest()
    assert texts(found) == ["one"]


def test_a_listing_that_fails_or_is_empty_is_never_taken_for_an_empty_corpus(hub, tmp_path):
    with pytest.raises(ListingError, match="no data file for split validation"):
        shards(tmp_path, splits=["validation"])
    with pytest.raises(ListingError, match="other/name"):
        shards(tmp_path, hub="other/name")
    hub.status = 500
    with pytest.raises(ListingError, match=NAME):
        shards(tmp_path)


def test_what_cannot_be_fetched_is_told_by_kind(hub, tmp_path, monkeypatch):
    """The client tries a failure of the server again, ever later; the test does not wait for that."""
    waited: list[float] = []
    clock = SimpleNamespace(**vars(time) | {"sleep": waited.append})
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
    found = shards(tmp_path)["data/test.jsonl"]
    hub.status = 403
    with pytest.raises(RemoteForbiddenError), fetched(found):
        pass
    assert all_documents(read_shard(found, section())).quarantine["reason"].to_list() == ["unreadable"]
    hub.status = 500
    with pytest.raises(RemoteUnavailableError, match=r"test\.jsonl"), fetched(found):
        pass
    assert len(waited) >= 3
