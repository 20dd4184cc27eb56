"""Many small txt files: seconds to a first selection, and what one more file costs, as JSON lines.

    python -m benchmarks.small_files [--files 2000 10000] [--seed 0]

Real texts, one a file, in one folder; static encoder, a GOT-D selection of 10 %. `first_selection`: a new
project; `tamis materialize` until the selection is there and until it ends, and how many shards the files
became. `one_more`: that command again when nothing changed, and after one more file. Exits 1 when a first
selection takes over 60 s for 2,000 files or 150 s for 10,000, as the yardstick states. Five minutes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._coverage_data import Report
from benchmarks._flags import at_least, begin
from benchmarks._incremental_project import CHECKOUT, TARGET_TEXTS, command, make_project, real_texts
from benchmarks._yardstick import most_seconds
from tamis.records.current_values import read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.store.home import Home

LIMITS = {2_000: 60.0, 10_000: 150.0}
SELECTION = ("selected_subset", "got-d")
TEXT_BYTES = 60_000


def build(folder: Path, texts: list[str]) -> None:
    """Write a project whose pool holds each text in a file of its own."""
    make_project(folder, [*texts[:TARGET_TEXTS], "a file of another type"], 1)
    shutil.rmtree(folder / "pool")
    (folder / "pool").mkdir()
    for number, text in enumerate(texts[TARGET_TEXTS:]):
        put(folder, number, text)


def put(folder: Path, number: int, text: str) -> None:
    """Write one small file into the pool."""
    path = folder / "pool" / f"text-{number:05d}.txt"
    path.write_bytes(text.encode()[:TEXT_BYTES].decode("utf-8", "ignore").encode())


def first_selection(folder: Path) -> tuple[float, float]:
    """Run `tamis materialize`; return the seconds until the selection was there, and until it ended."""
    environment = {**os.environ, "TAMIS_PROJECT": str(folder / "tamis.toml"), "PYTHONPATH": str(CHECKOUT)}
    environment["TAMIS_HOME"] = str(folder / ".tamis")
    began = time.perf_counter()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "tamis.cli", "materialize"],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=said,
        )
        selected = None
        while process.poll() is None:
            store = Home(folder / ".tamis").store
            if selected is None and store.exists("heads") and SELECTION in read_current_values(store):
                selected = time.perf_counter() - began
            time.sleep(0.5)
    if process.returncode:
        raise RuntimeError(f"tamis materialize ended with {process.returncode}: {folder / 'said'}")
    ended = time.perf_counter() - began
    return selected or ended, ended


def taken_in(folder: Path) -> dict[str, Any]:
    """Return how many shards there are, and how many rows of them became documents."""
    home = Home(folder / ".tamis")
    current = read_current_values(home.store)
    manifests = ManifestFolder.of(home)
    made = [value for (asset, _key), value in current.items() if asset == "documents"]
    rows = sum(manifests.read(value.manifest).row_count for value in made)
    return {"shards": len(made), "documents": rows}


def measure(folder: Path, files: int, seed: int, report: Report) -> None:
    """One size: a first selection, nothing to do, one more file."""
    texts = real_texts(TARGET_TEXTS + files + 1, seed)
    build(folder, texts[:-1])
    selected, ended = first_selection(folder)
    limit = most_seconds(LIMITS[files], "core") if files in LIMITS else None
    report.line(
        "first_selection",
        holds=selected <= limit.here if limit else None,
        files=files,
        seconds=selected,
        whole_seconds=ended,
        **taken_in(folder),
        **(limit.figures() if limit else {}),
    )
    nothing, _ = command(folder, "materialize")
    put(folder, files, texts[-1])
    one_more, _ = command(folder, "materialize")
    report.line("one_more", files=files, seconds=one_more, nothing_seconds=nothing)


def main() -> None:
    """Measure each size in a folder of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=at_least(100), nargs="+", default=[*LIMITS])
    parser.add_argument("--seed", type=int, default=0)
    flags = begin(parser)
    report = Report()
    for files in flags.files:
        with tempfile.TemporaryDirectory(prefix="tamis-small-files-") as folder:
            measure(Path(folder) / "project", files, flags.seed, report)
    sys.exit(f"missed: {', '.join(report.failed)}" if report.failed else 0)


if __name__ == "__main__":
    main()
