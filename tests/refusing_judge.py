"""A judge's server in this process that refuses what a test wants refused, and repeats requests in errors."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Refuse = Callable[[str], int | str | bytes | None]
USABLE = b'{"choices": [{"logprobs": {"top_logprobs": [{" yes": -1.0, " no": -2.0}]}}]}'
UNUSABLE: dict[str, bytes | str] = {
    "cut-off JSON": USABLE[:40],
    "empty": b"",
    "HTML": b"<!DOCTYPE html><html><body>Bad gateway</body></html>",
    "not UTF-8": b'{"choices": "\xff\xfe"}',
    "a list": b"[]",
    "no choices": b'{"id": "x", "choices": []}',
    "choices that are no list": b'{"choices": {"0": "yes"}}',
    "no log-probabilities": b'{"choices": [{"text": " yes", "logprobs": null}]}',
    "NaN": USABLE.replace(b"-1.0", b"NaN"),
    "null": USABLE.replace(b"-1.0", b"null"),
    "a log-probability over 0": USABLE.replace(b"-1.0", b"1000.0"),
    "an integer beyond all floats": USABLE.replace(b"-1.0", b"9" * 400),
    "an error": b'{"error": {"message": "cannot read it", "code": "oops"}}',
    "an error as a text": b'{"error": "cannot read it"}',
    "chunks that end too soon": "chunked",
}
"""Answers of status 200 that nothing can be done with."""


class RefusingJudge:
    """Answers by a hash of the question. `refuse` gives a status, "content_filter", a body, or None: answer.

    asked: every question, in order of arrival.
    """

    def __init__(self, refuse: Refuse) -> None:
        self.refuse, self.asked, self.lock = refuse, list[str](), threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.asked.append(body["prompt"])
                verdict = server.refuse(body["prompt"])
                if verdict in ("chunked", "refused in chunks"):
                    self.send_response(200 if verdict == "chunked" else 400)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"40\r\n" + USABLE[:40])
                    self.close_connection = True
                    return
                status, answer = server.answer(body["prompt"], verdict)
                text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def answer(self, question: str, verdict: int | str | bytes | None) -> tuple[int, dict[str, Any] | bytes]:
        """Status and body for a question; a refusal repeats it."""
        if isinstance(verdict, bytes):
            return 200, verdict
        if verdict == "content_filter":
            return 400, {"error": {"message": f"filtered: {question}", "code": "content_filter"}}
        if verdict == "filtered answer":
            return 200, {"choices": [{"text": "", "logprobs": None, "finish_reason": "content_filter"}]}
        if verdict is not None:
            return int(verdict), {"error": {"message": f"cannot read {question}", "code": question[-40:]}}
        yes = 0.1 + 0.8 * hashlib.sha256(question.encode()).digest()[0] / 255
        shown = {" yes": round(yes - 1.0, 6), " no": round(-yes, 6)}
        return 200, {"choices": [{"logprobs": {"top_logprobs": [shown]}}]}


@contextmanager
def refusing_judge(refuse: Refuse) -> Iterator[RefusingJudge]:
    """The server while it runs."""
    server = RefusingJudge(refuse)
    threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
