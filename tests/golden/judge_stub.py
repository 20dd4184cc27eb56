"""A judge's server whose answers follow from the text alone: log-probabilities from a hash and the words of
it.

    python judge_stub.py

It prints its port, answers /v1/completions in the form of OpenAI's, and ends with its standard input.
"""

import hashlib
import json
import math
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PRAISED = ("theorem", "because", "therefore", "which")
REFUSED = "REFUSED"
"""A text with this word is answered with 400."""


def log_probabilities(question: str) -> dict[str, float]:
    """Of yes and no after a question: a document, its last in the prompt, is praised for some words."""
    document = question.rpartition("Text: ")[2]
    drawn = int.from_bytes(hashlib.sha256(document.encode()).digest()[:4]) / 2**32
    words = document.lower().split()
    praised = sum(word.strip(".,") in PRAISED for word in words) / max(len(words), 1)
    yes = 1 / (1 + math.exp(1.0 - drawn - 12.0 * praised))
    return {" yes": round(math.log(0.9 * yes), 6), " no": round(math.log(0.9 * (1 - yes)), 6), " maybe": -3.0}


class Handler(BaseHTTPRequestHandler):
    """Answer one question about one document."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if REFUSED in body["prompt"].rpartition("Text: ")[2]:
            self.send_error(400)
            return
        shown = log_probabilities(body["prompt"])
        used = {"total_tokens": len(body["prompt"].split())}
        answer = {"choices": [{"logprobs": {"top_logprobs": [shown]}}], "usage": used}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        pass


def main() -> None:
    """Serve until standard input ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
