"""A real webhook server for tests: the process of webhook_server.py, and what it was sent."""

import json
import subprocess
import sys
from pathlib import Path

from tamis.base.posting import Webhook

SERVER = Path(__file__).with_name("webhook_server.py")


class Receiver:
    """The server process, and what it was sent."""

    def __init__(self, *faults: str) -> None:
        command = [sys.executable, str(SERVER), *faults]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def hook(self, **keys) -> Webhook:
        url = f"http://127.0.0.1:{self.port}/secret-path"
        return Webhook(**({"url": url, "timeout_seconds": 0.5, "wait_seconds": 0.01} | keys))

    def stop(self) -> list[dict]:
        """End it; the requests it saw."""
        said, _ = self.process.communicate("", timeout=20)
        return [json.loads(line) for line in said.splitlines()]
