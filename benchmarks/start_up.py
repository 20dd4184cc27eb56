"""How long a person waits for a command that only reads: JSON lines on stdout.

    python -m benchmarks.start_up [--files 1000]

Builds a project of many files, then times `tamis --help`, and `status`, `plan` and `explain` of the unchanged
project, each next to `python -c 'import lancedb'`, by turns: the median of the differences. Then `tamis ui`:
seconds until the graph answers, and the lines that it prints in a minute. Exits 1 when a figure misses its
limit. About three minutes on two cores.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._yardstick import Kind, most_seconds

CHECKOUT = Path(__file__).resolve().parents[1]
SECONDS: dict[str, tuple[float, Kind]] = {
    "--help": (0.4, "process"),
    "status": (2.0, "process"),
    "plan": (2.0, "process"),
    "explain": (1.0, "process"),
    "ui": (15.0, "process"),
}
ROUNDS, DOCUMENTS = 5, 3
MINUTE, MOST_LINES = 60.0, 30
SETTINGS = """
[project]
precision = "float32"

[[corpus]]
name = "web"
kind = "files"
path = "landing"

[[selection]]
name = "uniform"
sampler = "random"
budget = 100
"""
IMPORT = [sys.executable, "-c", "import lancedb"]


def tamis(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("tamis")), *arguments]


def build(folder: Path, files: int) -> dict[str, str]:
    """A project of that many files, materialized; the environment that names it."""
    (folder / "landing").mkdir()
    for number in range(files):
        texts = [
            f"Document {place} of file {number} is about {number * place}." for place in range(DOCUMENTS)
        ]
        rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (folder / "landing" / f"{number:04}.jsonl").write_text(rows)
    (folder / "tamis.toml").write_text(SETTINGS)
    environment = os.environ | {
        "TAMIS_PROJECT": str(folder / "tamis.toml"),
        "TAMIS_HOME": str(folder / "home"),
    }
    subprocess.run(tamis("materialize", "--quiet"), env=environment, stdout=sys.stderr, check=True)
    return environment


def seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def timed(name: str, command: list[str], environment: dict[str, str], beyond: list[str] | None) -> bool:
    """Print the median time of a command, beyond that of another if one is given; whether it is in time."""
    found = []
    for _ in range(ROUNDS):
        other = seconds(beyond, environment) if beyond else 0.0
        found.append(seconds(command, environment) - other)
    limit, middle = most_seconds(*SECONDS[name]), statistics.median(found)
    more = {"beyond": " ".join(beyond[1:])} if beyond else {}
    line = {
        "step": name,
        "seconds": round(middle, 2),
        "most": round(max(found), 2),
        **more,
        **limit.figures(),
    }
    print(json.dumps(line), flush=True)
    return middle <= limit.here


def served(environment: dict[str, str], port: int, folder: Path) -> bool:
    """Print when the UI answers and how many lines it prints in the first minute; whether both are right."""
    limit, log = most_seconds(*SECONDS["ui"]), folder / "ui.log"
    started = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(
            tamis("ui", "--port", str(port)),
            env=environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            while not answers(port) and time.perf_counter() - started < 120:
                time.sleep(0.1)
            ready = time.perf_counter() - started
            time.sleep(MINUTE)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
    lines = len(log.read_text().splitlines())
    line = {"step": "ui", "seconds": round(ready, 1), "lines_in_a_minute": lines, "most_lines": MOST_LINES}
    print(json.dumps({**line, **limit.figures()}), flush=True)
    return ready <= limit.here and lines <= MOST_LINES


def answers(port: int) -> bool:
    """Whether the web server answers and has loaded the graph."""
    query = json.dumps({"query": "{ assetNodes { id } }"}).encode()
    address = f"http://127.0.0.1:{port}/graphql"
    try:
        request = urllib.request.Request(address, query, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(json.load(answer)["data"]["assetNodes"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=at_least(1), default=1_000)
    parser.add_argument("--port", type=at_least(1), default=3_456)
    options = begin(parser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = build(folder, options.files)
        os.environ.update(environment)
        exported = seconds(tamis("export", "uniform"), environment)
        print(json.dumps({"step": "export", "seconds": round(exported, 2)}), flush=True)
        (file,) = (folder / "home" / "exports").rglob("*.parquet")
        doc_id = pl.read_parquet(file)["doc_id"][0]
        right = [timed("--help", tamis("--help"), environment, None)]
        for verb, arguments in {"status": [], "plan": [], "explain": [doc_id]}.items():
            right.append(timed(verb, tamis(verb, *arguments), environment, IMPORT))
        right.append(served(environment, options.port, folder))
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
