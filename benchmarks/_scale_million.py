"""From files to a selection, at one size after another, in one process each that is timed and watched.

Documents are recombined from real text: each is three to seven sentences drawn from anywhere in the shared
files, so that lengths and words are real and two documents are near-duplicates by chance alone.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from benchmarks._real_tasks import data_folder
from benchmarks.demo import resident

LIMIT_SECONDS, LIMIT_GIGABYTES, FLAT = 1_200.0, 6.0, 1.2
IN_A_FILE = 10_000
SETTINGS = """
[project]
name = "million"

[[corpus]]
name = "pool"
kind = "files"
path = "pool"

[[target]]
name = "examples"
kind = "files"
path = "target.parquet"
train = 500
held_out = 150

[[selection]]
name = "got-d"
sampler = "got-d"
target = "examples"
budget = "10%"
"""
Line = Callable[..., None]


def files_to_selection(folder: Path, sizes: list[int], line: Line) -> bool:
    """A line a size, and whether the largest holds its limits and the time a document stays flat."""
    rates, largest = [], {}
    for size in sizes:
        project = folder / str(size)
        write_documents(project, size)
        largest = _materialized(project, size)
        line("million", **largest)
        rates.append(float(largest["seconds"]) / size)
    flat = rates[-1] / rates[0]
    holds = flat <= FLAT and float(largest["peak_gigabytes"]) < LIMIT_GIGABYTES
    holds &= float(largest["seconds"]) < LIMIT_SECONDS
    line("million_limits", holds=bool(holds), time_a_document_over_the_smallest=flat, limit=FLAT)
    return bool(holds)


def write_documents(folder: Path, count: int, seed: int = 0) -> None:
    """A project of `count` documents in jsonl files, and a target of real rows of another file."""
    sentences = _sentences()
    (folder / "pool").mkdir(parents=True)
    (folder / "tamis.toml").write_text(SETTINGS)
    for number, start in enumerate(range(0, count, IN_A_FILE)):
        generator = np.random.default_rng([seed, number])
        rows = min(IN_A_FILE, count - start)
        lengths_n = generator.integers(3, 8, rows)
        words = sentences.gather(generator.integers(len(sentences), size=int(lengths_n.sum())))
        owner = pl.Series("owner", np.repeat(np.arange(rows), lengths_n))
        texts = pl.DataFrame({"owner": owner, "text": words}).group_by("owner", maintain_order=True)
        texts.agg(pl.col("text").str.join(" ")).select("text").write_ndjson(
            folder / "pool" / f"part-{number:04d}.jsonl"
        )
    target = pl.read_parquet(data_folder() / "text" / "t_science_a.parquet", columns=["text"])
    target.unique(maintain_order=True).head(1_000).write_parquet(folder / "target.parquet")


def _sentences() -> pl.Series:
    """Sentences of 40 to 400 characters of the pool files, each once, in their order."""
    files = sorted((data_folder() / "text").glob("p_*.parquet"))
    texts = pl.concat([pl.read_parquet(file, columns=["text"]) for file in files])["text"]
    parts = texts.str.replace_all(r"\s+", " ").str.split(". ").explode()
    lengths = parts.str.len_chars()
    return parts.filter((lengths >= 40) & (lengths <= 400)).unique(maintain_order=True)


def _materialized(project: Path, size: int) -> dict[str, object]:
    """Seconds and most memory of `tamis materialize`."""
    environment = {**os.environ, "TAMIS_PROJECT": str(project / "tamis.toml")}
    environment.pop("TAMIS_HOME", None)
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tamis.cli", "materialize"],
        cwd=project,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
    )
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    told = process.communicate()[0]
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"tamis materialize ended with {process.returncode}: {told[-2000:]}")
    return {
        "documents": size,
        "seconds": seconds,
        "documents_a_second": size / seconds,
        "peak_gigabytes": peak[0] / 1e9,
    }


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    while process.poll() is None:
        try:
            whole = psutil.Process(process.pid)
            peak[0] = max(peak[0], resident(whole))
        except psutil.NoSuchProcess:
            return
        time.sleep(0.5)
