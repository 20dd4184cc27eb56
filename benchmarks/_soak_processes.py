"""The interface that is soaked: starting it, asking it, its long-lived processes and its runs, ending all.

A run is a process that the code server of Dagster starts; it lives for seconds. All others live as long as
the interface: theirs are the process ids whose memory makes a series.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks._yardstick import CHECKOUT

ROLES = {
    "-m tamis.cli ui": "dagster dev",
    "-m dagster code-server": "code server",
    "-m dagster api grpc": "grpc",
    "-m dagster_webserver": "webserver",
    "-m dagster._daemon": "daemon",
}
RUN = "spawn_main"
SENSORS = """
{ sensorsOrError(repositorySelector:
    {repositoryName: "__repository__", repositoryLocationName: "definitions.py"}) {
    ... on Sensors { results { name sensorState { ticks(limit: 1) { timestamp status skipReason } } } } }
  runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}, limit: 1) {
    ... on Runs { results { runId } } } }
"""
RUNS = """
query($statuses: [RunStatus!]) {
  runsOrError(filter: {statuses: $statuses}) { ... on Runs { results { runId } } } }
"""
BEGUN = ("NOT_STARTED", "STARTING", "STARTED", "CANCELING")
START_SECONDS, STOP_SECONDS, ANSWER_SECONDS = 240.0, 30.0, 60.0
CURRENT = "every selection is current"
RESTS = (CURRENT, "materialize it to see why")


class SoakError(RuntimeError):
    """The soak itself cannot go on; what it was to check is not known."""


@dataclass(frozen=True)
class Paths:
    """The project, its home, and a folder for what the interface prints."""

    root: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which every command of the soak runs."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_HOME")}
        return plain | {
            "TAMIS_PROJECT": str(self.root / "tamis.toml"),
            "TAMIS_HOME": str(self.home),
            "PYTHONPATH": str(CHECKOUT),
        }

    def tamis(self, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a command over the project and this home; its exit code is the caller's business."""
        return subprocess.run(
            [sys.executable, "-m", "tamis.cli", *arguments],
            cwd=self.root,
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=timeout,
        )


class Interface:
    """`tamis ui` on a free port of the loopback address, in a session of its own."""

    def __init__(self, paths: Paths) -> None:
        self.paths, self.log = paths, paths.root / "ui.log"
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port: int = listener.getsockname()[1]
        self.killed_runs: set[str] = set()
        self._seen: set[psutil.Process] = set()
        self._commanded = threading.Event()
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tamis.cli", "ui", "--port", str(self.port)],
                cwd=paths.root,
                env=paths.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it answers and its daemon has looked once; raises `SoakError`."""
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends and self.process.poll() is None:
            with contextlib.suppress(OSError, KeyError, TypeError, ValueError):
                if self.sensor_tick()[0]:
                    return
            time.sleep(1)
        raise SoakError(f"the interface did not answer within {START_SECONDS:.0f} s\n{self.tail()}")

    def tail(self, characters: int = 3_000) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(errors="replace")[-characters:]

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask its GraphQL, as a browser does; raises `OSError` when it does not answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)["data"]
        return found

    def sensor_tick(self) -> tuple[float, str, bool]:
        """Return time and reason of the reselection sensor's last tick, and whether a run is active."""
        found = self.ask(SENSORS)
        sensors = {one["name"]: one["sensorState"]["ticks"] for one in found["sensorsOrError"]["results"]}
        ticks = sensors["reselection"]
        active = bool(found["runsOrError"]["results"])
        if not ticks:
            return 0.0, "", active
        return float(ticks[0]["timestamp"]), ticks[0]["skipReason"] or "", active

    def status_of(self, url: str) -> int:
        """Read a page whole; return its status. Raises `OSError` when there is no answer."""
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
                answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def begun_runs(self) -> set[str]:
        """Return the ids of the runs that have begun and not ended."""
        return {one["runId"] for one in self.ask(RUNS, statuses=BEGUN)["runsOrError"]["results"]}

    def failed_runs(self) -> set[str] | None:
        """Return the ids of failed runs, those that were killed included; None when it does not answer."""
        with contextlib.suppress(OSError):
            return {one["runId"] for one in self.ask(RUNS, statuses=["FAILURE"])["runsOrError"]["results"]}
        return None

    def rests(self, since: float) -> tuple[bool, str]:
        """Return whether nothing is left for the sensors to do, and what the last tick says of it."""
        try:
            moment, reason, active = self.sensor_tick()
        except OSError as error:
            return False, f"no answer: {error}"
        done = any(words in reason for words in RESTS)
        return moment > since and not active and done, reason

    def processes(self) -> list[psutil.Process]:
        """Return the interface and all below it that live; each is remembered for the end."""
        with contextlib.suppress(psutil.NoSuchProcess):
            whole = psutil.Process(self.process.pid)
            self._seen |= {whole, *whole.children(recursive=True)}
        return [one for one in [*self._seen] if _lives(one)]

    def long_lived(self) -> dict[str, psutil.Process]:
        """Return the processes that live as long as the interface, by what they are."""
        found = {}
        for process in self.processes():
            command = _command(process)
            for part, role in ROLES.items():
                if part in command:
                    found[role] = process
        return found

    def runs(self) -> list[psutil.Process]:
        """Return the processes of runs."""
        return [process for process in self.processes() if RUN in _command(process)]

    @contextlib.contextmanager
    def commanded(self) -> Iterator[None]:
        """Count the time as one in which a run is going on: the soak itself works on the home."""
        self._commanded.set()
        try:
            yield
        finally:
            self._commanded.clear()

    def at_work(self) -> bool:
        """Return whether a run or a command of the soak is going on."""
        return self._commanded.is_set() or bool(self.runs())

    def listens_at(self) -> set[str]:
        """Return the addresses at which any of its processes listens on a network."""
        found = set()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                connections = process.net_connections(kind="inet")
                found |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
        return found

    def stop(self) -> None:
        """End it as Ctrl-C does, and kill what is left of all that it started."""
        self.processes()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        left = self.processes()
        psutil.wait_procs(left, timeout=STOP_SECONDS / 3)
        for process in (one for one in left if _lives(one)):
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()


@contextlib.contextmanager
def interface(paths: Paths) -> Iterator[Interface]:
    """Start the interface, wait for it, and end all its processes in the end, whatever happens."""
    started = Interface(paths)
    try:
        started.wait()
        yield started
    finally:
        started.stop()


def figures_of(process: psutil.Process) -> dict[str, Any]:
    """Return process id, megabytes in memory, open file descriptors and threads; raises `psutil.Error`."""
    with process.oneshot():
        megabytes = round(process.memory_info().rss / 1e6, 1)
        return {
            "pid": process.pid,
            "megabytes": megabytes,
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
        }


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
