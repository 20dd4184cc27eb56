"""A process that takes webhook messages: a JSON line on stdout for each, after the port.

    python webhook_server.py FAULT ...     # each fault spoils one request: 500, hang, cut, redirect

It ends with its standard input.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = sys.argv[1:]
HANG_SECONDS = 30.0


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"null")
        fault = FAULTS.pop(0) if FAULTS else ""
        seen = {"body": body, "key": self.headers.get("Authorization"), "path": self.path, "fault": fault}
        print(json.dumps(seen), flush=True)
        if fault == "hang":
            time.sleep(HANG_SECONDS)
        elif fault == "cut":
            self.close_connection = True
        elif fault == "redirect":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.end_headers()
        else:
            self.send_response(int(fault or 204))
            self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *arguments: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
