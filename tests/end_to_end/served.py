"""`tamis ui` of a project, and Dagster's GraphQL there, as its pages ask it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from projects import SmallProject

from tamis.store import served as note


@contextlib.contextmanager
def served(project: SmallProject) -> Iterator[str]:
    """Serve a project at the URL that is given; ends as Ctrl-C ends it."""
    port = free_port()
    with (project.root / "server.log").open("w") as log:
        process = subprocess.Popen(
            project.command("ui", "--port", str(port)),
            cwd=project.root,
            env=project.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: answers(port), 180, project)
        assert note.served(project.home).port == port
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    assert note.served(project.home) is None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_for(condition: Callable[[], Any], seconds: float, project: SmallProject) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, (project.root / "server.log").read_text()[-4000:]
        time.sleep(0.5)
    return found


def ask(url: str, query: str, **variables: object) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["data"]
