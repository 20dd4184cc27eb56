"""A corpus of one file on a web server: read in the version that was listed, and by no redirect inward."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from tamis.corpus import ListingError, ShardChangedError, ShardGoneError, list_shards, read_shard
from tamis.corpus.documents import all_documents
from tamis.corpus.remote import http_file as module
from tamis.corpus.remote.errors import RemoteUnavailableError
from tamis.corpus.remote.http_file import is_inside
from tamis.settings.config import CorpusSection

CONTENT = b'{"text": "one"}\n{"text": "two"}\n'


class Web(BaseHTTPRequestHandler):
    """A server with what the test puts into `pages`: content or the address of a redirect, by path."""

    pages: ClassVar[dict[str, Any]] = {}
    seen: ClassVar[list[tuple[str, str, str | None]]] = []
    faults: ClassVar[list[int]] = []
    headers_of: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        self.seen.append((self.command, self.path, self.headers["Authorization"]))
        page = self.pages.get(self.path)
        if self.faults:
            self.send_error(self.faults.pop(0))
        elif page is None:
            self.send_error(404)
        elif isinstance(page, str):
            self.send_response(302)
            self.send_header("Location", page)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            tag = f'"{hashlib.sha256(page).hexdigest()[:8]}"'
            if self.headers["If-Match"] not in (None, tag):
                self.send_error(412)
                return
            self.send_response(200)
            for name, value in ({"ETag": tag} | self.headers_of).items():
                self.send_header(name, value) if value else None
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(page)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web(monkeypatch):
    """The address of a server on loopback, which every test starts anew."""
    Web.pages, Web.seen, Web.faults, Web.headers_of = {"/a.jsonl": CONTENT}, [], [], {}
    monkeypatch.setattr(module, "FIRST_WAIT_SECONDS", 0.0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def shard_at(url: str, tmp_path):
    (shard,) = list_shards(section(url), tmp_path, tmp_path / "cache")
    return shard


def section(url: str) -> CorpusSection:
    return CorpusSection(name="web", kind="files", path=url)


def texts(shard) -> list[str]:
    return all_documents(read_shard(shard, section(shard.remote.url))).documents["text"].to_list()


def test_the_file_of_an_address_is_listed_by_its_head_and_read(web, tmp_path):
    shard = shard_at(f"{web}/a.jsonl", tmp_path)
    assert [method for method, _path, _login in Web.seen] == ["HEAD"]
    assert (shard.key, shard.remote.size) == ("web__a.jsonl", len(CONTENT))
    assert texts(shard) == ["one", "two"]


def test_what_changes_or_goes_after_the_listing_is_not_read_as_what_was_listed(web, tmp_path):
    shard = shard_at(f"{web}/a.jsonl", tmp_path)
    Web.pages["/a.jsonl"] = b'{"text": "other"}\n'
    with pytest.raises(ShardChangedError):
        texts(shard)
    Web.pages.clear()
    with pytest.raises(ShardGoneError):
        texts(shard)
    with pytest.raises(ListingError, match="status 404"):
        shard_at(f"{web}/a.jsonl", tmp_path)


def test_a_fault_that_passes_is_overcome_and_one_that_stays_is_named(web, tmp_path):
    Web.faults = [503, 500]
    shard = shard_at(f"{web}/a.jsonl", tmp_path)
    Web.faults = [502]
    assert texts(shard) == ["one", "two"]
    Web.faults = [503] * 20
    with pytest.raises(RemoteUnavailableError, match="status 503"):
        texts(shard)
    with pytest.raises(ListingError, match="status 503"):
        shard_at(f"{web}/a.jsonl", tmp_path)


def test_without_a_tag_the_time_of_the_change_tells_versions_apart(web, tmp_path):
    Web.headers_of = {"ETag": "", "Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT"}
    assert shard_at(f"{web}/a.jsonl", tmp_path).remote.tag == "modified:2026-10-21T07:28:00.000000"
    Web.headers_of = {"ETag": ""}
    with pytest.raises(ListingError, match="neither ETag nor Last-Modified"):
        shard_at(f"{web}/a.jsonl", tmp_path)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.1.2.3"]
)
def test_no_redirect_into_this_machine_or_a_private_network_is_followed(web, tmp_path, host):
    Web.pages["/a.jsonl"] = f"http://{host}:{web.rpartition(':')[2]}/secret.jsonl"
    Web.pages["/secret.jsonl"] = CONTENT
    with pytest.raises(ListingError, match="an address of this machine or of a private network") as found:
        shard_at(f"{web}/a.jsonl", tmp_path)
    assert "write this address into tamis.toml" in str(found.value)
    assert [path for _method, path, _login in Web.seen] == ["/a.jsonl"]


def test_a_redirect_that_appears_after_the_listing_is_not_followed_either(web, tmp_path):
    shard = shard_at(f"{web}/a.jsonl", tmp_path)
    Web.pages |= {"/a.jsonl": f"{web}/secret.jsonl", "/secret.jsonl": CONTENT}
    with pytest.raises(RemoteUnavailableError, match="not followed"):
        texts(shard)
    assert "/secret.jsonl" not in {path for _method, path, _login in Web.seen}


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://example.org/x"])
def test_a_redirect_to_another_protocol_is_not_followed(web, tmp_path, address):
    Web.pages["/a.jsonl"] = address
    with pytest.raises(ListingError):
        shard_at(f"{web}/a.jsonl", tmp_path)


def test_a_redirect_to_a_public_address_is_followed_without_the_password(web, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "is_inside", lambda host: False)
    Web.pages |= {"/a.jsonl": f"{web}/b.jsonl", "/b.jsonl": CONTENT}
    shard = shard_at(web.replace("//", "//me:secret@") + "/a.jsonl", tmp_path)
    assert texts(shard) == ["one", "two"]
    logins = {path: login for _method, path, login in Web.seen}
    assert logins["/a.jsonl"] == "Basic bWU6c2VjcmV0"
    assert logins["/b.jsonl"] is None
    assert [method for method, path, _login in Web.seen if path == "/b.jsonl"] == ["HEAD", "GET"]


def test_signs_that_an_address_may_not_contain_are_encoded(web, tmp_path):
    Web.pages["/a%20b/%C3%A4.jsonl?x=1"] = CONTENT
    shard = shard_at(f"{web}/a b/ä.jsonl?x=1", tmp_path)
    assert shard.name == "ä.jsonl"
    assert texts(shard) == ["one", "two"]


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        *(
            (name, True)
            for name in ("127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1")
        ),
        *((name, True) for name in ("169.254.169.254", "0.0.0.0", "fe80::1", "fd00::1", "::ffff:127.0.0.1")),
        *((name, True) for name in ("2130706433", "0x7f.1", "127.1", "localhost", "224.0.0.1")),
        *((name, False) for name in ("8.8.8.8", "2001:4860:4860::8888", "no-such-host.invalid")),
    ],
)
def test_which_addresses_are_inside(host, inside):
    assert is_inside(host) == inside
