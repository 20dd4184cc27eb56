"""An S3 server (moto) that fails on request: `python object_server.py` prints its port.

PUT /__faults__ with {"list": [503, ...], "get": [500, "cut", ...]} spoils the next requests of each kind;
it answers with the numbers of requests so far. It ends with its standard input.
"""

import json
import sys
import threading
from urllib.parse import parse_qs

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

FAULTS: dict[str, list] = {"list": [], "get": []}
COUNTS = {"list": 0, "get": 0}


def answer(start, status: str, body: bytes):
    start(status, [("Content-Length", str(len(body)))])
    return [body]


class Faulty:
    """The server behind its faults."""

    def __init__(self, application) -> None:
        self.application = application

    def __call__(self, environ, start):
        if environ["PATH_INFO"] == "/__faults__":
            FAULTS.update(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
            return answer(start, "200 OK", json.dumps(COUNTS).encode())
        if environ["REQUEST_METHOD"] != "GET":
            return self.application(environ, start)
        kind = "list" if "list-type" in parse_qs(environ["QUERY_STRING"]) else "get"
        COUNTS[kind] += 1
        fault = FAULTS[kind].pop(0) if FAULTS[kind] else None
        if fault is None:
            return self.application(environ, start)
        return answer(start, f"{fault} Fault", b"<Error><Code>InternalError</Code></Error>")


server = make_server("127.0.0.1", 0, Faulty(DomainDispatcherApplication(create_backend_app)), threaded=True)
print(server.port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
