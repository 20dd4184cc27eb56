"""Web pages and archives of them (WARC), as tests make them up."""

WORDS = "The river carries sand and stones from the hills to the sea, and builds its banks anew each spring. "


def page(number: int, paragraphs: int = 3) -> str:
    """A page with a menu, a main text and a footer."""
    text = "".join(f"<p>Paragraph {place} of page {number}. {WORDS}</p>" for place in range(paragraphs))
    return (
        f"<!DOCTYPE html><html><head><title>Page {number}</title></head><body><nav><a href='/'>Home menu</a>"
        f"<a href='/a'>About menu</a></nav><main><h1>Page {number}</h1>{text}</main>"
        "<footer>All rights reserved</footer></body></html>"
    )


def http(
    body: bytes, kind: str = "text/html; charset=utf-8", fields: str = "", status: str = "200 OK"
) -> bytes:
    """An answer of a server."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{fields}\r\n".encode() + body


def record(
    body: bytes, kind: str = "response", number: int = 0, length: int | None = None, fields: str = ""
) -> bytes:
    """A record of an archive."""
    of_http = "application/http; msgtype=response" if kind == "response" else "application/octet-stream"
    header = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
        f"WARC-Date: 2026-01-02T03:04:05Z\r\nWARC-Target-URI: https://example.org/{number}\r\n{fields}"
        f"Content-Type: {of_http}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return header.encode() + body + b"\r\n\r\n"


def answer(number: int, **more) -> bytes:
    return record(http(page(number).encode()), number=number, **more)
