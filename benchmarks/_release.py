"""Every benchmark once, the shortest first: `make bench-release` before a release, on a quiet machine.

    python -m benchmarks._release --list
    python -m benchmarks._release --to build/release [--hours 36] [--only NAME ...]

--list prints the order, the expected hours, and the minutes that each took when it last ended. Otherwise each
is run by itself and writes NAME.jsonl (its figures) and NAME.log into the folder of --to; NAME.done.json says
at which commit, how long it took and how it ended.

What ended there with exit 0 at the commit of this checkout is done and not run again, so an interrupted
release goes on. All else is run again, missed limits too: a failure also ends with exit 1, and what keeps a
home goes on from there. A benchmark that would end after --hours by what is expected is left out, and what
still runs then is stopped and left for the next time, each with a line. Exits 1 unless all are done.
"""

import argparse
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._stopping import run_within
from benchmarks._yardstick import commit
from tamis.base.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A benchmark, its flags and the minutes that it is expected to take on two cores."""

    name: str
    minutes: float
    flags: tuple[str, ...] = ()
    keeps_home: bool = False

    @property
    def module(self) -> str:
        """The name without what tells two runs of one module apart."""
        return self.name.partition(":")[0]

    def file(self, to: Path, suffix: str) -> Path:
        """A file of it in the folder of the release."""
        return to / f"{self.name.replace(':', '-')}.{suffix}"


RELEASE = (
    Entry(name="yardstick", minutes=0.1),
    Entry(name="filters", minutes=1),
    Entry(name="install", minutes=3),
    Entry(name="keep_out", minutes=1),
    Entry(name="own_scores", minutes=3),
    Entry(name="own_trainer", minutes=1),
    Entry(name="training", minutes=3),
    Entry(name="start_up", minutes=3),
    Entry(name="tune", minutes=3),
    Entry(name="size", minutes=0.1),
    Entry(name="reads", minutes=0.2),
    Entry(name="web", minutes=2),
    Entry(name="way", minutes=2),
    Entry(name="map", minutes=4),
    Entry(name="gaps", minutes=4),
    Entry(name="default_rules", minutes=4),
    Entry(name="transport_behaviour", minutes=5),
    Entry(name="transport_estimate", minutes=5),
    Entry(name="transport_increment", minutes=5),
    Entry(name="encoding", minutes=9),
    Entry(name="coverage", minutes=5),
    Entry(name="scripts", minutes=9),
    Entry(name="short_texts", minutes=9),
    Entry(name="tune_projects", minutes=20),
    Entry(name="mixtures", minutes=5),
    Entry(name="small_files", minutes=5),
    Entry(name="scaling", minutes=6),
    Entry(name="demo", minutes=5, flags=("--seeds", "5")),
    Entry(name="selection_quality", minutes=8),
    Entry(name="arrivals", minutes=9, flags=("--steps", "drop", "queued", "slow", "idle")),
    Entry(name="object_store", minutes=10),
    Entry(name="quality", minutes=10),
    Entry(name="samplers", minutes=10),
    Entry(name="exact_transport", minutes=15),
    Entry(name="junk", minutes=30, keeps_home=True),
    Entry(name="form", minutes=30),
    Entry(name="token_budgets", minutes=15),
    Entry(name="transport", minutes=20),
    Entry(name="select_files", minutes=60, keeps_home=True),
    Entry(name="scale", minutes=30),
    Entry(name="lineage", minutes=30),
    Entry(name="own_curves", minutes=40, keeps_home=True),
    Entry(name="contrast", minutes=40, keeps_home=True),
    Entry(name="warm_up", minutes=60, keeps_home=True),
    Entry(name="incremental", minutes=120),
    Entry(name="mixture_swarm", minutes=60, keeps_home=True),
    Entry(name="soak", minutes=75, flags=("--minutes", "60")),
    Entry(name="data_efficiency", minutes=95, keeps_home=True),
    Entry(name="better_than_knn:choose", minutes=60, flags=("--part", "choose"), keeps_home=True),
    Entry(name="better_than_knn:registered", minutes=90, flags=("--part", "registered"), keeps_home=True),
    Entry(name="attribution", minutes=90, keeps_home=True),
    Entry(name="tune_tasks", minutes=200, keeps_home=True),
    Entry(
        name="ladder", minutes=240, flags=("--rungs", "llama-0.8m", "minilm", "--seeds", "2"), keeps_home=True
    ),
)
LEFT_OUT = {
    "gpu_session": "it needs a GPU",
    "tune_large": "it needs a GPU",
    "download": "it measures a wheel, which is built first",
    "mutants": "it measures the tests, and needs a run of them under coverage first",
    "digest_mutants": "it measures the digests of the code, and builds the goldens many times",
    "suite": "it measures the tests",
}
MOST_HOURS = 36.0


def noted(entry: Entry, to: Path) -> dict[str, Any]:
    """Commit, seconds, exit code and command of its last run that was not stopped; {} without any."""
    note = entry.file(to, "done.json")
    return dict(json.loads(note.read_text())) if note.is_file() else {}


def run(entry: Entry, to: Path, at: str, seconds: float) -> int | None:
    """Run one benchmark to its end, and note its exit code; None where it was stopped after these seconds."""
    command = [sys.executable, "-m", f"benchmarks.{entry.module}", *entry.flags]
    command += ["--home", str(to / "homes" / at / entry.module)] if entry.keeps_home else []
    began = time.monotonic()
    with entry.file(to, "jsonl").open("wb") as figures, entry.file(to, "log").open("wb") as log:
        code = run_within(seconds, command, figures, log)
    if code is not None:
        note = {"commit": at, "seconds": round(time.monotonic() - began), "exit": code}
        text = json.dumps({**note, "command": command[1:]})
        write_atomically(entry.file(to, "done.json"), f"{text}\n".encode())
    return code


def release(entries: tuple[Entry, ...], to: Path, hours: float) -> bool:
    """Run what is not done at this commit, within these hours; whether all is done."""
    to.mkdir(parents=True, exist_ok=True)
    found, began, fine = commit(), time.monotonic(), True
    at = f"{found['commit']}{'-modified' if found['modified'] else ''}"
    for entry in entries:
        note = noted(entry, to)
        if not found["modified"] and (note.get("commit"), note.get("exit")) == (at, 0):
            print(f"{entry.name}: done at this commit", flush=True)
            continue
        left = 3600 * hours - (time.monotonic() - began)
        if 60 * entry.minutes > left:
            print(f"{entry.name}: left out, as it would end after {hours:g} hours", flush=True)
            fine = False
            continue
        code = run(entry, to, at, left)
        ended = f"stopped after {hours:g} hours in all" if code is None else f"exit {code}"
        print(f"{entry.name}: {ended}", flush=True)
        fine = fine and code == 0
    return fine


def print_list(entries: tuple[Entry, ...], to: Path) -> None:
    """Print the benchmarks in order, the hours expected of each, and what it took when it last ended."""
    print("expected   measured")
    for entry in entries:
        note = noted(entry, to)
        took = f"{note['seconds'] / 60:.1f} min" if note else "-"
        ended = f" (ended with exit {note['exit']})" if note.get("exit") else ""
        print(f"{entry.minutes / 60:6.2f} h {took:>10}  {' '.join((entry.name, *entry.flags))}{ended}")
    print(f"{sum(entry.minutes for entry in entries) / 60:6.2f} h             in all")
    for name, reason in LEFT_OUT.items():
        print(f"     -            -  {name}: {reason}")


def main() -> None:
    """List the release or run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--list", action="store_true", help="print order, expected and measured time, run nothing"
    )
    parser.add_argument("--to", type=Path, default=Path("build/release"))
    parser.add_argument("--hours", type=float, default=MOST_HOURS)
    parser.add_argument("--only", nargs="+", choices=[entry.name for entry in RELEASE], metavar="NAME")
    flags = parser.parse_args()
    chosen = [entry for entry in RELEASE if not flags.only or entry.name in flags.only]
    entries = tuple(sorted(chosen, key=lambda entry: entry.minutes))
    if flags.list:
        print_list(entries, flags.to)
        return
    # Stopped, it stops what it runs, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(not release(entries, flags.to.resolve(), flags.hours))


if __name__ == "__main__":
    main()
