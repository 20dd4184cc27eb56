"""Projects of the incremental benchmark: files of real texts, and how the platform is driven over them."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from benchmarks._coverage_data import Report, texts

CHECKOUT = Path(__file__).resolve().parents[1]
TARGET_TEXTS = 500
DOCUMENTS_EACH = 10
"""In a file of those that come one after another."""
PROJECT = """
[project]
name = "incremental"
[[corpus]]
name = "pool"
kind = "files"
path = "pool"
[[target]]
name = "examples"
kind = "files"
path = "target"
train = 300
held_out = 150
[[selection]]
name = "got-d"
sampler = "got-d"
target = "examples"
budget = "10%"
[automation]
settle_seconds = 0.5
"""


def real_texts(count: int, seed: int) -> list[str]:
    """That many distinct real texts; beyond the texts there are, earlier ones with a number after them."""
    most = min(count, 400_000)
    found = texts(most, seed, Report())
    return found + [f"{found[row % most]} ({row})" for row in range(most, count)]


def make_project(folder: Path, documents: list[str], files: int) -> None:
    """A project whose pool holds the documents in that many files; its target are other texts."""
    (folder / "pool").mkdir(parents=True)
    (folder / "target").mkdir()
    (folder / "tamis.toml").write_text(PROJECT)
    pl.DataFrame({"text": documents[:TARGET_TEXTS]}).write_ndjson(folder / "target" / "examples.jsonl")
    add_files(folder, documents[TARGET_TEXTS:], files, "first")


def add_files(folder: Path, documents: list[str], files: int, name: str) -> None:
    """Put documents into the pool, in that many files."""
    frame = pl.DataFrame({"text": documents})
    size = -(-len(documents) // files)
    for number in range(files):
        part = frame.slice(number * size, size)
        part.write_ndjson(folder / "pool" / f"{name}-{number:05d}.jsonl")


def command(folder: Path, *arguments: str, home: Path | None = None) -> tuple[float, str]:
    """Seconds and output of a `tamis` command; raises when it fails."""
    environment = {**os.environ, "TAMIS_PROJECT": str(folder / "tamis.toml"), "PYTHONPATH": str(CHECKOUT)}
    environment["TAMIS_HOME"] = str(home or folder / ".tamis")
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tamis.cli", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(f"tamis {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - began, done.stdout


def in_process_of_its_own(part: str, folder: Path) -> dict[str, object]:
    """What `python -m benchmarks._incremental_parts PART FOLDER` prints, as JSON."""
    with _process(part, folder) as process:
        said, _ = process.communicate()
    assert not process.returncode, f"{part} ended with {process.returncode}"
    found: dict[str, object] = json.loads(said.splitlines()[-1])
    return found


@contextmanager
def arriving(folder: Path) -> Iterator[Callable[[int], float]]:
    """Yield a function that lets a file of coming.parquet come, by its number, and returns its seconds."""
    with _process("arrivals", folder) as process:

        def seconds(number: int) -> float:
            print(number, file=process.stdin, flush=True)
            assert process.stdout
            return float(process.stdout.readline())

        yield seconds


def _process(part: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "TAMIS_PROJECT": str(folder / "tamis.toml"), "PYTHONPATH": str(CHECKOUT)}
    environment["TAMIS_HOME"] = str(folder / ".tamis")
    program = [sys.executable, "-m", "benchmarks._incremental_parts", part, str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(program, cwd=CHECKOUT, env=environment, text=True, stdin=pipe, stdout=pipe)


def peak_megabytes() -> float:
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
