"""A server of a judge's model with log-probabilities, as an OpenAI-compatible one would be.

It answers /v1/completions and /v1/chat/completions; each fault spoils one request: 429, 500, cut, silent.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from tamis.quality.local_judge import LocalJudge

TOP = 20
ONE_AT_A_TIME = threading.Lock()


def answer(judge: LocalJudge, question: str) -> tuple[dict[str, float], int]:
    """The most likely first tokens with their log-probabilities, and the tokens read and written."""
    begun = judge.prompt.prefix.split("Text: ")[0] + question  # the first token, as servers add it
    ids = judge.tokenizer(begun, return_tensors="pt")["input_ids"]
    with ONE_AT_A_TIME, torch.inference_mode():
        logits = judge.model(input_ids=ids, logits_to_keep=1).logits[0, -1].float()
    values, tokens = logits.log_softmax(-1).topk(TOP)
    pairs = zip(tokens.tolist(), values.tolist(), strict=True)
    shown = {judge.tokenizer.decode([token]): value for token, value in pairs}
    return shown, ids.shape[1] + 1


def handler(judge: LocalJudge, faults: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fault = faults.pop(0) if faults else ""
            if fault.isdigit():
                self.send_error(int(fault))
                return
            chat = self.path.endswith("/chat/completions")
            question = body["messages"][0]["content"] if chat else body["prompt"]
            shown, used = answer(judge, question)
            self.reply(chat, {} if fault == "silent" else shown, used, cut=fault == "cut")

        def reply(self, chat: bool, shown: dict[str, float], used: int, cut: bool) -> None:
            top = [{"token": token, "logprob": value} for token, value in shown.items()]
            logprobs = {"content": [{"top_logprobs": top}]} if chat else {"top_logprobs": [shown]}
            text = json.dumps({"choices": [{"logprobs": logprobs}], "usage": {"total_tokens": used}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text[: len(text) // 2] if cut else text)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@contextmanager
def serving(judge: LocalJudge, *faults: str) -> Iterator[str]:
    """Serve on a thread of this process, which has loaded the model, and spoil the first requests."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(judge, [*faults])) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
