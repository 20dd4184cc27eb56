"""`tamis select`: two small files twice, and a large pool next to a project of the same call, as JSON lines.

    python -m benchmarks.select_files [--documents 1000000] [--part small pool project] [--home FOLDER]

`small`: 5,000 and 300 real texts with all rules, a first call with an encoder and a cache that is empty but
for it, and a second; exits 1 when they take over 20 s and 10 s. `pool`: documents of about 750 characters,
recombined from real sentences, in files of 10,000 each, and 500 examples; exits 1 above 3 GB for all
processes. `project`: `tamis init --from-select` of the same call and `tamis materialize`, until the
selection is there and until it ends; exits 1 when the call takes over .9 of the one or .6 of the other.
Seconds of processor are of the whole tree of processes, whose memory is summed every half second. 60
minutes for a million documents.
"""

import argparse
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil

from benchmarks._coverage_data import Report
from benchmarks._flags import at_least, begin
from benchmarks._project import in_its_folder
from benchmarks._scale_million import write_documents
from benchmarks._texts import read_texts
from benchmarks._yardstick import most_seconds
from benchmarks.demo import resident
from tamis.embedding import load_encoder
from tamis.records.current_values import read_current_values
from tamis.store.home import Home
from tamis.verbs.choice.from_files import CHOSEN

PARTS = ("small", "pool", "project")
FIRST_SECONDS, SECOND_SECONDS, GIGABYTES = 20.0, 10.0, 3.0
OF_SELECTION, OF_WHOLE = 0.9, 0.6
SMALL, EXAMPLES = {"p_wikipedia": 1_000, "p_law": 1_500, "p_arxiv_a": 1_500, "p_mixed_free": 1_000}, 300
SELECTION = ("selected_subset", CHOSEN)
LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Cost of a command: seconds of the clock and of processors, and the peak memory of all its processes.

    `until`: seconds until a condition held, None where none was asked for.
    """

    seconds: float
    processor_seconds: float
    peak_gigabytes: float
    until: float | None


def taken(
    arguments: list[str], folder: Path, cache: Path, condition: Callable[[], bool] | None = None
) -> Taken:
    """Run a command of Tamis in a folder; exits when it fails."""
    own = {"TAMIS_PROJECT", "TAMIS_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    began, before = time.perf_counter(), _processor_seconds()
    process = subprocess.Popen(
        [sys.executable, "-m", "tamis.cli", *arguments],
        cwd=folder,
        env=environment | {"TAMIS_CACHE": str(cache)},
        stdout=sys.stderr,
    )
    sizes, until = [0], [0.0]

    def watch() -> None:
        while process.poll() is None:
            try:
                sizes.append(resident(psutil.Process(process.pid)))
            except psutil.NoSuchProcess:
                return
            if condition is not None and not until[0] and condition():
                until[0] = time.perf_counter() - began
            time.sleep(LOOK_SECONDS)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - began
    watcher.join()
    if code:
        sys.exit(f"tamis {arguments[0]} ended with exit code {code}")
    return Taken(
        seconds=seconds,
        processor_seconds=_processor_seconds() - before,
        peak_gigabytes=max(sizes) / 1e9,
        until=None if condition is None else until[0] or seconds,
    )


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def figures(found: Taken) -> dict[str, float]:
    """Return what a line says of a command."""
    return {
        "seconds": found.seconds,
        "processor_seconds": found.processor_seconds,
        "peak_gigabytes": found.peak_gigabytes,
    }


def small(folder: Path, report: Report) -> None:
    """Two calls of the same two files: the encoder is there, nothing else."""
    folder.mkdir(parents=True)
    cache = folder / "cache"
    load_encoder("static", cache=cache)
    pool = [text for name, count in SMALL.items() for text in read_texts(name)["text"].head(count)]
    goal = read_texts("t_science_a")["text"].head(EXAMPLES)
    for name, texts in (("pool", pool), ("goal", goal)):
        pl.DataFrame({"text": texts}).write_ndjson(folder / f"{name}.jsonl")
    call = ["select", "pool.jsonl", "--target", "goal.jsonl", "--output", "chosen.jsonl"]
    for name, stated in (("first", FIRST_SECONDS), ("second", SECOND_SECONDS)):
        found, limit = taken(call, folder, cache), most_seconds(stated, "core")
        report.line(f"select_{name}", holds=found.seconds <= limit.here, **figures(found), **limit.figures())


def large(folder: Path, documents: int, parts: list[str], report: Report) -> None:
    """One call of a large pool, and the project of the same call."""
    if not folder.exists():
        write_documents(folder, documents)
    cache = folder / "cache"
    load_encoder("static", cache=cache)
    call = ["pool", "--target", "target.parquet", "--budget", "10%"]
    found = taken(["select", *call, "--output", "chosen.parquet"], folder, cache)
    holds = found.peak_gigabytes <= GIGABYTES
    report.line("select_pool", holds=holds, documents=documents, limit_gigabytes=GIGABYTES, **figures(found))
    if "project" not in parts:
        return
    taken(["init", "project", "--from-select", *call], folder, cache)
    project = folder / "project"

    def is_chosen() -> bool:
        store = Home(project / ".tamis").store
        return store.exists("heads") and SELECTION in read_current_values(store)

    whole = taken(["-C", "project", "materialize"], folder, cache, is_chosen)
    assert whole.until is not None
    shares = {"of_selection": found.seconds / whole.until, "of_whole": found.seconds / whole.seconds}
    report.line(
        "select_and_project",
        holds=shares["of_selection"] <= OF_SELECTION and shares["of_whole"] <= OF_WHOLE,
        documents=documents,
        selection_seconds=whole.until,
        **figures(whole),
        **shares,
        limits=[OF_SELECTION, OF_WHOLE],
    )


def main() -> None:
    """Measure the parts in a folder of their own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(1_000), default=1_000_000)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--home", type=Path, help="Keep the files here.")
    flags = begin(parser)
    report = Report()

    def run(flags: argparse.Namespace, folder: Path) -> None:
        if "small" in flags.part:
            small(folder / "small", report)
        if "pool" in flags.part or "project" in flags.part:
            large(folder / f"pool-{flags.documents}", flags.documents, flags.part, report)

    in_its_folder(flags, run)
    sys.exit(f"missed: {', '.join(report.failed)}" if report.failed else 0)


if __name__ == "__main__":
    main()
