"""The demonstration, timed: JSON lines on stdout.

    python -m benchmarks.demo

Runs `tamis demo` twice with an empty home folder, then `dagster definitions validate`, and prints for each:
seconds, peak memory (resident, summed over the process and its children every quarter second; pages they
share count several times), the longest time without a line of output, documents in the pool, what the
second run added (it must add nothing), and the held-out loss of the comparison's trials. Exits 1 when a
figure misses its limit. About eight minutes on two cores; nothing else should run meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import dagster as dg
import polars as pl
import psutil

from benchmarks._flags import begin
from benchmarks._yardstick import Kind, most_seconds
from tamis.store.home import Home

CHECKOUT = Path(__file__).resolve().parents[1]
SECONDS: dict[str, tuple[float, Kind]] = {
    "first": (420.0, "float32"),  # models pre-trained and tuned
    "second": (30.0, "process"),  # modules imported
    "validate": (10.0, "process"),
}
MOST_SILENCE, MOST_BYTES, LEAST_DOCUMENTS = 2.0, 4e9, 3_000


class Watched:
    """A command run to its end while its memory and its silences are measured."""

    def __init__(self, arguments: list[str], home: Path) -> None:
        self.peak_bytes, self.longest_silence = 0, 0.0
        began = self._last_line = time.perf_counter()
        environment = {**os.environ, "TAMIS_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        command = [str(Path(sys.executable).with_name(arguments[0])), *arguments[1:]]
        self.process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        for line in self.process.stdout or ():
            self._heard()
            print(f"{self._last_line - began:7.1f}  {line}", end="", file=sys.stderr)
        self.code = self.process.wait()
        self.seconds = time.perf_counter() - began

    def _heard(self) -> None:
        now = time.perf_counter()
        self.longest_silence = max(self.longest_silence, now - self._last_line)
        self._last_line = now

    def _watch(self) -> None:
        process = psutil.Process(self.process.pid)
        while self.process.poll() is None:
            self.peak_bytes = max(self.peak_bytes, resident(process))
            time.sleep(0.25)

    def figures(self) -> dict[str, object]:
        return {
            "exit_code": self.code,
            "seconds": round(self.seconds, 1),
            "peak_gigabytes": round(self.peak_bytes / 1e9, 2),
            "longest_silence_seconds": round(self.longest_silence, 1),
        }


def resident(process: psutil.Process) -> int:
    """Bytes in memory of the process and all below it."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def contents(home: Path) -> dict[str, int]:
    """How many documents, runs, table versions, manifests and trials a home folder holds."""
    store, instance = Home(home).store, dg.DagsterInstance.from_config(str(home / "dagster"))
    return {
        "documents": store.count("documents"),
        "runs": instance.get_runs_count(),
        "table_versions": sum(store.version(name) for name in store.names()),
        "manifests": sum(path.is_file() for path in (home / "manifests").rglob("*")),
        "trials": store.count("trials"),
    }


def warm_ups(home: Path) -> list[dict[str, object]]:
    """Held-out bits per byte before and after the warm-up on each selection compared."""
    trials = Home(home).store.read("trials").filter(pl.col("kind") == "warm_up").sort("trial")
    columns = ["data", "model", "size", "zero_shot_bits_per_byte", "held_out_bits_per_byte"]
    return trials.select(columns).to_dicts()


def measure(home: Path) -> bool:
    """Print a line a step; whether every figure is within its limit."""
    first = Watched(["tamis", "demo"], home)
    made = contents(home)
    limits = {name: most_seconds(*stated) for name, stated in SECONDS.items()}
    report("first", first, **made, **limits["first"].figures())
    second = Watched(["tamis", "demo"], home)
    after = contents(home)
    new = {f"new_{name}": after[name] - made[name] for name in made}
    report("second", second, **new, **limits["second"].figures())
    validate = Watched(["dagster", "definitions", "validate"], home)
    report("validate", validate, **limits["validate"].figures())
    compared = warm_ups(home)
    print(json.dumps({"step": "warm_ups", "trials": compared}))
    loss = {str(row["data"]): float(str(row["held_out_bits_per_byte"])) for row in compared}
    steps = {"first": first, "second": second, "validate": validate}
    within = all(steps[name].seconds < limit.here for name, limit in limits.items())
    quiet = max(first.longest_silence, second.longest_silence) <= MOST_SILENCE
    small = first.peak_bytes < MOST_BYTES and made["documents"] >= LEAST_DOCUMENTS
    return within and quiet and small and after == made and loss["got-d"] < loss["random"]


def report(step: str, watched: Watched, **more: object) -> None:
    """One JSON line about one command."""
    print(json.dumps({"step": step, **watched.figures(), **more}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="where results go and stay (default: removed at the end)")
    options = begin(parser)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if measure((options.home or Path(folder) / "home").resolve()) else 1)


if __name__ == "__main__":
    main()
