"""A corpus of one file on a web server: by HEAD and GET of the standard library's HTTP client.

A server decides where it redirects to, so a redirect is not followed to this machine or into a private
network: a corpus must not read what only they can reach. Such an address works where tamis.toml names it.
"""

import base64
import ipaddress
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from tamis.base.errors import without_secrets
from tamis.corpus.remote.errors import RemoteForbiddenError, RemoteUnavailableError, StoreProblemError
from tamis.corpus.shards import RemoteFile, Shard, ShardChangedError, ShardGoneError

SCHEMES = ("http://", "https://")
LISTING_SECONDS, READING_SECONDS = 30.0, 300.0
"""Timeouts of an answer, and of a file that is being read and of which nothing comes."""
ATTEMPTS, FIRST_WAIT_SECONDS = 4, 0.2
PASSING = (408, 425, 429, 500, 502, 503, 504)
BLOCK_BYTES = 1 << 20
KEPT_SIGNS = "/%:@!$&'()*+,;=~"


class RedirectRefusedError(OSError):
    """A server redirects into a private network; names where to."""

    def __init__(self, address: str) -> None:
        self.address = without_secrets(address)
        super().__init__(
            f"the server redirects to {self.address}, an address of this machine or of a private network, "
            "which is not followed; if that is the file you want, write this address into tamis.toml"
        )


def list_file(url: str) -> Iterator[tuple[str, RemoteFile]]:
    """Name and place of the file at an address; raises `StoreProblemError` where it does not answer."""
    try:
        with _answer(url, "HEAD", {}, LISTING_SECONDS) as answer:
            headers: HTTPMessage = answer.headers
            tag = headers["ETag"] or _time_of(headers)
            size = int(headers["Content-Length"]) if headers["Content-Length"] else None
    except (OSError, HTTPException, ValueError) as error:
        raise StoreProblemError(_said(error)) from error
    if not tag:
        raise StoreProblemError("the server names neither ETag nor Last-Modified, so no change would be seen")
    name = urlsplit(url).path.rpartition("/")[2]
    yield name, RemoteFile(url=url, base=url.rpartition("/")[0], tag=tag, size=size)


def download(shard: Shard, path: Path) -> None:
    """Fetch a file in the version that was listed; raises as `fetched` says."""
    remote = shard.remote
    assert remote is not None
    condition = {} if remote.tag.startswith("modified:") else {"If-Match": remote.tag}
    try:
        with _answer(remote.url, "GET", condition, READING_SECONDS) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file, BLOCK_BYTES)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            raise ShardGoneError(shard.key, shard.path) from error
        if error.code == 412:
            raise ShardChangedError(Path(remote.url)) from error
        if error.code in (401, 403):
            raise RemoteForbiddenError(remote.url, _said(error)) from error
        raise RemoteUnavailableError(remote.url, _said(error)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise RemoteUnavailableError(remote.url, _said(error)) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to public addresses, by the method of the first request."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        target = urlsplit(newurl)
        if target.scheme not in ("http", "https") or is_inside(target.hostname or ""):
            raise RedirectRefusedError(newurl)
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None:
            found.method = req.get_method()
        return found


def is_inside(host: str) -> bool:
    """Return whether a host is this machine or in a network that is not public, as far as its name is known.

    Behind a proxy, names of the outside are unknown.
    """
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return not all(_is_public(address) for address in found)


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_global and not (mapped or found).is_multicast)


def _answer(url: str, method: str, headers: Mapping[str, str], seconds: float) -> Any:
    """Ask for a file, up to four times where that may help; the caller closes the answer."""
    request = _request(url, method, headers)
    opener = urllib.request.build_opener(_Redirects)
    for attempt in range(ATTEMPTS):
        try:
            return opener.open(request, timeout=seconds)
        except RedirectRefusedError:
            raise
        except urllib.error.HTTPError as error:
            if error.code not in PASSING or attempt == ATTEMPTS - 1:
                raise
            error.close()
        except (OSError, HTTPException):
            if attempt == ATTEMPTS - 1:
                raise
        time.sleep(FIRST_WAIT_SECONDS * 2**attempt)
    raise AssertionError("every attempt returns or raises")


def _request(url: str, method: str, headers: Mapping[str, str]) -> urllib.request.Request:
    """Return the request of a file, with what an address may not contain encoded, and its user and password
    in a header, which no redirect takes along.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    address = urlunsplit(parts._replace(netloc=host, path=quote(parts.path, safe=KEPT_SIGNS), fragment=""))
    request = urllib.request.Request(address, headers={"User-Agent": "tamis", **headers}, method=method)
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
    return request


def _time_of(headers: HTTPMessage) -> str | None:
    """Return the time of the last change as a tag; None where the server says none."""
    try:
        changed = parsedate_to_datetime(headers["Last-Modified"]).astimezone(UTC)
    except (TypeError, ValueError):
        return None
    return f"modified:{changed:%Y-%m-%dT%H:%M:%S.%f}"


def _said(error: Exception) -> str:
    """Return what an error says in one line, without credentials."""
    if isinstance(error, urllib.error.HTTPError):
        return f"status {error.code} {error.reason}"
    reason = getattr(error, "reason", None) or error
    return without_secrets(" ".join(f"{reason or type(error).__name__}".split()))[:300]
