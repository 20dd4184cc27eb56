"""The pages over HTTP: nothing but pages, for browsers of this machine, at an address that stays."""

import http.client
import os
import socket
from urllib.parse import urlsplit

import psutil
import pytest

from tamis.report.address import BASE_VARIABLE, DEFAULT_PORT, NOTE, keep_port, page_url, pages_address
from tamis.report.server import HEADERS, PagesServer, served_pages
from tamis.store.home import Home

PAGE = "<p>one page</p>"


@pytest.fixture
def home(tmp_path) -> Home:
    """A home with two pages, and much in and around their folder that is none."""
    home = Home(tmp_path / "home")
    home.reports.mkdir(parents=True)
    for name in ("index.html", "selection_a.html"):
        (home.reports / name).write_text(PAGE)
    (home.reports / "picture.svg").write_text("<svg/>")
    (home.reports / "rows.parquet").write_text("secret")
    (home.reports / ".page.html").write_text("secret")
    (home.root / "secret.html").write_text("secret")
    (home.reports / "link.html").symlink_to(home.root / "secret.html")
    (home.reports / "folder.html").mkdir()
    (home.reports / "folder.html" / "deep.html").write_text("secret")
    os.mkfifo(home.reports / "pipe.html")
    return home


@pytest.fixture
def pages(home):
    with served_pages(home, free_port()) as address:
        yield address


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(address, path, method="GET", **headers) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_a_page_is_served_with_its_type_and_kept_by_no_browser(pages, home):
    status, headers, body = ask(pages, f"/{pages.key}/selection_a.html")
    assert (status, body) == (200, PAGE)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers.items() >= HEADERS.items()
    assert ask(pages, f"/{pages.key}/picture.svg")[1]["Content-Type"] == "image/svg+xml"
    (home.reports / "selection_a.html").unlink()  # as a withdrawal does
    assert ask(pages, f"/{pages.key}/selection_a.html")[0] == 404


def test_the_root_leads_to_the_page_of_all_pages(pages):
    for path in ("/", f"/{pages.key}"):
        status, headers, _body = ask(pages, path)
        assert (status, headers["Location"]) == (302, f"/{pages.key}/")
    assert ask(pages, f"/{pages.key}/")[::2] == (200, PAGE)
    assert urlsplit(pages.url).path == f"/{pages.key}/"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.html",
        "..%2fsecret.html",
        "%2e%2e/secret.html",
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "link.html",
        "folder.html",
        "folder.html/",
        "folder.html/deep.html",
        "pipe.html",
        ".page.html",
        "rows.parquet",
        "selection_a.html%00.png",
        "selection_a.html/",
        "./selection_a.html",
        "nothing.html",
    ],
)
def test_nothing_but_a_page_is_served(pages, name):
    status, _headers, body = ask(pages, f"/{pages.key}/{name}")
    assert status == 404
    assert "secret" not in body
    assert "selection_a" not in body, "no listing"


def test_a_folder_of_pages_that_is_a_link_is_not_followed(home, tmp_path):
    home.reports.rename(tmp_path / "elsewhere")
    home.reports.symlink_to(tmp_path / "elsewhere")
    with served_pages(home, free_port()) as address:
        assert ask(address, f"/{address.key}/selection_a.html")[0] == 404


def test_a_link_to_a_page_of_another_project_shows_none(pages):
    status, _headers, body = ask(pages, "/00000000/selection_a.html")
    assert status == 404
    assert "belongs to a different project" in body


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:3001", "LOCALHOST:8080", "[::1]:3001"])
def test_a_browser_that_asks_for_this_machine_is_answered(pages, host):
    assert ask(pages, f"/{pages.key}/", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[", ""]
)
def test_a_name_that_somebody_else_points_at_this_machine_is_refused(pages, host):
    status, _headers, body = ask(pages, f"/{pages.key}/selection_a.html", Host=host)
    assert status == 403
    assert PAGE not in body


@pytest.mark.parametrize("lines", ["", "Host: localhost\r\nHost: evil.example\r\n"])
def test_a_request_with_no_or_two_hosts_is_refused(pages, lines):
    with socket.create_connection(("127.0.0.1", pages.port), timeout=10) as connection:
        connection.sendall(f"GET /{pages.key}/ HTTP/1.1\r\n{lines}\r\n".encode())
        assert b" 403 " in connection.makefile("rb").readline()


def test_an_address_that_cannot_be_read_is_refused(pages):
    with socket.create_connection(("127.0.0.1", pages.port), timeout=10) as connection:
        connection.sendall(b"GET http://[::1/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 400 " in connection.makefile("rb").readline()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_written(pages, home, method):
    before = {path.name for path in home.reports.iterdir()}
    status, headers, _body = ask(pages, f"/{pages.key}/selection_a.html", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert {path.name for path in home.reports.iterdir()} == before
    assert (home.reports / "selection_a.html").read_text() == PAGE


def test_head_says_what_get_would_and_sends_no_page(pages):
    status, headers, body = ask(pages, f"/{pages.key}/selection_a.html", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(PAGE)), "")


def test_links_are_the_same_before_and_after_pages_are_served(home):
    link = page_url(home, "selection_a.html")
    assert link.startswith(f"http://127.0.0.1:{DEFAULT_PORT}/")
    port = free_port()
    with served_pages(home, port):
        kept = page_url(home, "selection_a.html")
    assert kept == link.replace(str(DEFAULT_PORT), str(port))
    assert page_url(home, "selection_a.html") == kept
    with served_pages(home) as address:
        assert address.port == port
        assert ask(address, urlsplit(kept).path)[2] == PAGE


def test_the_next_free_port_is_taken_for_good_but_never_the_one_of_the_ui(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        keep_port(home, port)
        with served_pages(home, ui_port=port + 1) as address:
            assert address.port > port + 1
        with pytest.raises(OSError, match="in use"), served_pages(home, port):
            pass
    assert pages_address(home).port == address.port
    listening = [
        one.laddr.port for one in psutil.Process().net_connections() if one.status == psutil.CONN_LISTEN
    ]
    assert address.port not in listening  # another process may have taken it since


def test_two_homes_have_different_keys_and_a_damaged_note_is_replaced(home, tmp_path):
    assert pages_address(home) != pages_address(Home(tmp_path / "other"))
    for damaged in ("", "[]", '{"port": "x", "key": "y"}', '{"port": 1}'):
        (home.dagster / NOTE).write_text(damaged)
        assert pages_address(home) == pages_address(home)


def test_links_lead_to_where_else_the_pages_are_served(home, monkeypatch):
    monkeypatch.setenv(BASE_VARIABLE, "https://tamis.example.org/pages/")
    assert page_url(home, "selection_a.html") == "https://tamis.example.org/pages/selection_a.html"
    monkeypatch.setenv(BASE_VARIABLE, "")
    assert page_url(home, "selection_a.html") is None
    assert not (home.dagster / NOTE).exists()


def test_serving_ends_though_a_connection_says_nothing(home):
    with served_pages(home, free_port()) as address:
        silent = socket.create_connection(("127.0.0.1", address.port))
    silent.close()
    PagesServer(home.reports, address.port, address.key).server_close()
