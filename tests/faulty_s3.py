"""An S3 server (moto) behind faults: `python faulty_s3.py` prints its port and ends with its standard input.

PUT /__faults__ sets them: {"latency": seconds, "errors": share of requests answered with 500, "after": share
answered so after they were carried out, "cut": share of bodies that end half way, "seed": 0}. Every answer to
it holds the numbers of requests so far by method, and the names that were written.
"""

import json
import random
import sys
import threading
import time
from collections import Counter

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

FAULTS: dict[str, float] = {"latency": 0.0, "errors": 0.0, "after": 0.0, "cut": 0.0}
COUNTS: Counter[str] = Counter()
WRITTEN: list[str] = []
DRAWN = {"chance": random.Random(0)}
FAILURE = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


def answer(start, status: str, body: bytes):
    start(status, [("Content-Length", str(len(body)))])
    return [body]


def settings(environ, start):
    given = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    state = {"counts": dict(COUNTS), "written": list(WRITTEN)}
    if given:
        faults = json.loads(given)
        DRAWN["chance"] = random.Random(faults.pop("seed", 0))
        FAULTS.update(dict.fromkeys(FAULTS, 0.0) | faults)
        COUNTS.clear()
        WRITTEN.clear()
    return answer(start, "200 OK", json.dumps(state).encode())


def half(chunks):
    """The first half of a body: the connection ends before what its header promised has come."""
    body = b"".join(chunks)
    yield body[: len(body) // 2]
    raise ConnectionAbortedError("cut by the test")


class Faulty:
    """The server behind its faults."""

    def __init__(self, application) -> None:
        self.application = application

    def __call__(self, environ, start):
        if environ["PATH_INFO"] == "/__faults__":
            return settings(environ, start)
        COUNTS[environ["REQUEST_METHOD"]] += 1
        if environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE"):
            WRITTEN.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        time.sleep(FAULTS["latency"])
        chance = DRAWN["chance"].random()
        if chance < FAULTS["errors"]:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return answer(start, "500 Internal Server Error", FAILURE)
        if chance < FAULTS["errors"] + FAULTS["after"]:
            b"".join(self.application(environ, lambda *_: None))
            return answer(start, "500 Internal Server Error", FAILURE)
        found = self.application(environ, start)
        is_read = environ["REQUEST_METHOD"] == "GET" and "list-type" not in environ["QUERY_STRING"]
        return half(found) if is_read and 1 - chance < FAULTS["cut"] else found


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_arguments) -> None:
        pass


if __name__ == "__main__":
    application = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    print(server.port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
