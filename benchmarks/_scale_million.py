"""From files to a selection, at one size after another, in one process each that is timed and watched.

Documents are recombined from real text: each is three to seven sentences drawn from anywhere in the shared
files, so that lengths and words are real and two documents are near-duplicates by chance alone.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from benchmarks._project import MATERIALIZE, environment_of
from benchmarks._scale_stages import (
    Line,
    Measured,
    bytes_on_disk,
    peaks_of_steps,
    seconds_of_stages,
    stage_lines,
    steps_of_runs,
    with_the_rest,
)
from benchmarks._texts import enough, files_of_texts, read_texts
from benchmarks._yardstick import most_seconds
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
train = {target}
held_out = 150

[[selection]]
name = "got-d"
sampler = "got-d"
target = "examples"
budget = "10%"
"""


def files_to_selection(folder: Path, sizes: list[int], line: Line) -> bool:
    """A line a size and one a stage, and whether the largest holds its limits and the time stays flat."""
    runs: list[Measured] = []
    for size in sizes:
        project = folder / str(size)
        write_documents(project, size)
        runs.append(materialized(project))
        each = {"documents_a_second": size / runs[-1].seconds, "peak_gigabytes": runs[-1].peak_gigabytes}
        bytes_each = sum(runs[-1].disk.values()) / size
        line("million", documents=size, seconds=runs[-1].seconds, **each, disk_bytes_a_document=bytes_each)
    stage_lines(line, "million_stage", sizes, runs)
    flat = (runs[-1].seconds / sizes[-1]) / (runs[0].seconds / sizes[0])
    most = most_seconds(LIMIT_SECONDS, "core")
    holds = flat <= FLAT and runs[-1].peak_gigabytes < LIMIT_GIGABYTES and runs[-1].seconds < most.here
    figures = {"time_a_document_over_the_smallest": flat, "limit": FLAT, "limit_gigabytes": LIMIT_GIGABYTES}
    line("million_limits", holds=bool(holds), **figures, **most.figures())
    return bool(holds)


def write_documents(
    folder: Path, count: int, seed: int = 0, *, target: int = 500, in_a_file: int = IN_A_FILE
) -> None:
    """A project of `count` documents in jsonl files, and `target` real examples from another file."""
    sentences = sentences_of_pool()
    (folder / "pool").mkdir(parents=True)
    (folder / "tamis.toml").write_text(SETTINGS.format(target=target))
    for number, start in enumerate(range(0, count, in_a_file)):
        generator = np.random.default_rng([seed, number])
        rows = min(in_a_file, count - start)
        lengths_n = generator.integers(3, 8, rows)
        words = sentences.gather(generator.integers(len(sentences), size=int(lengths_n.sum())))
        owner = pl.Series("owner", np.repeat(np.arange(rows), lengths_n))
        texts = pl.DataFrame({"owner": owner, "text": words}).group_by("owner", maintain_order=True)
        texts.agg(pl.col("text").str.join(" ")).select("text").write_ndjson(
            folder / "pool" / f"part-{number:04d}.jsonl"
        )
    rows_of_target = read_texts("t_science_a")
    rows_of_target.unique(maintain_order=True).head(2 * target).write_parquet(folder / "target.parquet")


def sentences_of_pool() -> pl.Series:
    """Sentences of 40 to 400 characters of the pool files, each once, in their order; exits without any."""
    texts = pl.concat([read_texts(file) for file in files_of_texts("p_*")])["text"]
    parts = texts.str.replace_all(r"\s+", " ").str.split(". ").explode()
    lengths = parts.str.len_chars()
    sentences = parts.filter((lengths >= 40) & (lengths <= 400)).unique(maintain_order=True)
    return enough(sentences, 1, "sentences of the pool")


def materialized(project: Path) -> Measured:
    """What `tamis materialize` takes in a project folder; exits when it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        MATERIALIZE,
        cwd=project,
        env=environment_of(project),
        text=True,
        stdout=subprocess.PIPE,
    )
    samples: list[tuple[float, int]] = []
    watcher = threading.Thread(target=_watch, args=(process, samples), daemon=True)
    watcher.start()
    output = process.communicate()[0]
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"tamis materialize ended with {process.returncode}: {output[-2000:]}")
    home = project / ".tamis"
    in_runs, steps = steps_of_runs(home)
    return Measured(
        seconds=seconds,
        peak_gigabytes=max((size for _moment, size in samples), default=0) / 1e9,
        stages=with_the_rest(seconds_of_stages(home / "manifests"), in_runs, seconds),
        peaks=peaks_of_steps(steps, samples),
        disk=bytes_on_disk(home),
    )


def _watch(process: subprocess.Popen[str], samples: list[tuple[float, int]]) -> None:
    while process.poll() is None:
        try:
            whole = psutil.Process(process.pid)
            samples.append((time.time(), resident(whole)))
        except psutil.NoSuchProcess:
            return
        time.sleep(0.5)
