"""The demonstration, timed, and what it shows over five seeds: JSON lines on stdout.

    python -m benchmarks.demo [--seeds 5]

Runs `tamis demo` as somebody who has never run Tamis (empty home, empty cache) on a terminal of 100 columns;
then again through a pipe; then `dagster definitions validate`. Prints for each: seconds, peak memory (summed
over the process and its children every quarter second; pages they share count several times), the longest
time without a sign of life, the lines that stay, documents in the pool, when the first selection was
shown, what the second run added (it must add nothing), which precision was chosen and what both took, and the
held-out loss of the comparison's trials.

With `--seeds`, the warm-ups on GOT-D's choice and on a random one are made with that many seeds (selection,
first weights, order; the encoder is distilled once): GOT-D's has to be better with each, and the 90 %
interval of the mean difference, paired by seed, above zero.

Exits 1 when a figure misses its limit. About four minutes on two cores, and 45 s a seed; nothing else should
run.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import psutil
from scipy.stats import t

from benchmarks._flags import at_least, begin
from benchmarks._yardstick import Kind, most_seconds
from tamis.base.precision import BFLOAT16
from tamis.store.home import Home
from tamis.store.precision_choice import read_choice

CHECKOUT = Path(__file__).resolve().parents[1]
SECONDS: dict[str, tuple[float, Kind]] = {
    "second": (30.0, "process"),  # modules imported
    "validate": (10.0, "process"),
}
FIRST_SECONDS = {"bfloat16": 180.0, "float32": 240.0}
"""By the type that is faster on the machine: the whole demonstration, on two cores of any kind.

Not scaled, as `SELECTION_SECONDS` is not: a product, the tokenizer and Python each take a part of it, and a
person waits for the seconds that it takes.
"""
SELECTION_SECONDS = 45.0
MOST_SILENCE = 2.0, 32.0
"""Seconds on a terminal, and in a pipe, which gets a line every half minute while a stage lasts."""
MOST_BYTES, LEAST_DOCUMENTS, MOST_LINES = 4e9, 5_000, 100
FIRST_RESULT = "page: "
COMPARED = ("got-d", "random")


class Watched:
    """A command run to its end while its memory, its silences and its lines are noted."""

    def __init__(self, arguments: list[str], environment: dict[str, str], terminal: bool = False) -> None:
        self.peak_bytes, self.longest_silence, self.silent_after = 0, 0.0, ""
        self.lines: list[tuple[float, str]] = []
        self._began = self._last = time.perf_counter()
        command = [str(Path(sys.executable).with_name(arguments[0])), *arguments[1:]]
        with _pair(terminal) as (ours, theirs):
            self.process = subprocess.Popen(
                command, cwd=CHECKOUT, env=environment, stdout=theirs, stderr=theirs
            )
            os.close(theirs)
            threading.Thread(target=self._watch, daemon=True).start()
            self._read(ours)
        self.code = self.process.wait()
        self.seconds = time.perf_counter() - self._began

    def _read(self, source: int) -> None:
        left = b""
        while part := _part(source):
            now = time.perf_counter()
            if now - self._last > self.longest_silence:
                self.longest_silence = now - self._last
                self.silent_after = standing(left.decode(errors="replace")) or (
                    self.lines[-1][1] if self.lines else "the start"
                )
            self._last = now
            *whole, left = (left + part).split(b"\n")
            for line in whole:
                text = standing(line.decode(errors="replace"))
                if text:
                    self.lines.append((now - self._began, text))
                    print(f"{now - self._began:7.1f}  {text}", file=sys.stderr)

    def _watch(self) -> None:
        process = psutil.Process(self.process.pid)
        while self.process.poll() is None:
            self.peak_bytes = max(self.peak_bytes, resident(process))
            time.sleep(0.25)

    def moment(self, words: str) -> float | None:
        """When a line with these words came, in seconds."""
        return next((round(when, 1) for when, line in self.lines if words in line), None)

    def figures(self) -> dict[str, object]:
        return {
            "exit_code": self.code,
            "seconds": round(self.seconds, 1),
            "peak_gigabytes": round(self.peak_bytes / 1e9, 2),
            "longest_silence_seconds": round(self.longest_silence, 1),
            "silent_after": self.silent_after,
            "lines": len(self.lines),
        }


@contextlib.contextmanager
def _pair(terminal: bool) -> Iterator[tuple[int, int]]:
    """Both ends of a terminal of 100 columns, or of a pipe."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def _part(source: int) -> bytes:
    try:
        return os.read(source, 65_536)
    except OSError:  # the other end of a terminal is closed
        return b""


def standing(line: str) -> str:
    """What stays of a line on a terminal: a carriage return begins it again and may overwrite it."""
    shown = ""
    for part in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line).split("\r"):
        shown = part + shown[len(part) :]
    return shown.rstrip()


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


def losses(home: Path) -> dict[str, float]:
    """Held-out bits per byte after the warm-up, by selection."""
    return {str(row["data"]): float(str(row["held_out_bits_per_byte"])) for row in warm_ups(home)}


def new_user(folder: Path, home: Path) -> dict[str, str]:
    """The environment of somebody who has never run Tamis: no caches, results in `home`."""
    fresh = {"HOME": folder / "user", "TAMIS_CACHE": folder / "user" / "cache", "TAMIS_HOME": home}
    (folder / "user").mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    return (
        kept | {name: str(path) for name, path in fresh.items()} | {"TERM": "xterm", "PYTHONUNBUFFERED": "1"}
    )


def measure(folder: Path, home: Path) -> bool:
    """Print a line a step; whether every figure is within its limit."""
    environment = new_user(folder, home)
    first = Watched(["tamis", "demo"], environment, terminal=True)
    made, chosen = contents(home), read_choice(Home(home).store) or {}
    faster = "bfloat16" if chosen.get("precision") == BFLOAT16 else "float32"
    limits = {name: most_seconds(*SECONDS[name]) for name in SECONDS}
    shown, most = first.moment(FIRST_RESULT), FIRST_SECONDS[faster]
    precision = {name: chosen.get(name) for name in ("precision", "float32_ms", "bfloat16_ms")}
    report("first", first, {"limit_seconds": most}, **made, **precision)
    print(json.dumps({"step": "first selection", "seconds": shown, "limit_seconds": SELECTION_SECONDS}))
    second = Watched(["tamis", "demo"], environment)
    after = contents(home)
    added = {f"new_{name}": after[name] - made[name] for name in made}
    report("second", second, limits["second"].figures(), **added)
    validate = Watched(["dagster", "definitions", "validate"], environment)
    report("validate", validate, limits["validate"].figures())
    print(json.dumps({"step": "warm_ups", "trials": warm_ups(home)}), flush=True)
    loss, steps = losses(home), {"second": second, "validate": validate}
    within = all(steps[name].seconds < limits[name].here and not steps[name].code for name in steps)
    within = within and first.seconds < most and not first.code
    soon = shown is not None and shown <= SELECTION_SECONDS
    heard = first.longest_silence <= MOST_SILENCE[0] and second.longest_silence <= MOST_SILENCE[1]
    small = first.peak_bytes < MOST_BYTES and made["documents"] >= LEAST_DOCUMENTS
    brief = len(first.lines) <= MOST_LINES
    return within and soon and heard and small and brief and after == made and loss["got-d"] < loss["random"]


def report(step: str, watched: Watched, limit: dict[str, Any], **more: object) -> None:
    """One JSON line about one command."""
    print(json.dumps({"step": step, **watched.figures(), **more, **limit}), flush=True)


def over_seeds(folder: Path, seeds: int) -> bool:
    """Make the two warm-ups with each seed; whether GOT-D's is better with all, and surely in the mean."""
    found = []
    for seed in range(seeds):
        home = folder / f"seed-{seed}"
        project = folder / f"project-{seed}" / "tamis.toml"
        project.parent.mkdir()
        project.write_text(only_warm_ups((CHECKOUT / "tamis.toml").read_text(), seed))
        (project.parent / "landing").mkdir()
        environment = new_user(folder, home) | {"TAMIS_PROJECT": str(project)}
        ran = Watched(["tamis", "materialize"], environment)
        loss = losses(home)
        found.append(loss["random"] - loss["got-d"])
        print(
            json.dumps({"step": "seed", "seed": seed, "seconds": round(ran.seconds, 1), **loss}), flush=True
        )
    differences = pl.Series(found)
    mean, error = float(differences.mean() or 0.0), float(differences.std() or 0.0) / seeds**0.5
    half = float(t.ppf(0.95, seeds - 1)) * error
    interval = {"better_by": mean, "low": mean - half, "high": mean + half}
    reversed_ = int((differences <= 0).sum())
    print(json.dumps({"step": "seeds", "seeds": seeds, **interval, "reversed": reversed_}), flush=True)
    return bool((differences > 0).all()) and mean - half > 0


def only_warm_ups(settings: str, seed: int) -> str:
    """The demonstration's settings with another seed, and without what its warm-ups do not need."""
    parts = re.split(r"(?m)^(?=\[)", settings)
    kept = [part for part in parts if _serves_warm_ups(part)]
    text = "".join(kept).replace("[project]\n", f"[project]\nseed = {seed}\n", 1)
    read = tomllib.loads(text)
    assert {one["name"] for one in read["selection"]} == set(COMPARED)
    return text


def _serves_warm_ups(part: str) -> bool:
    if part.startswith("[[selection]]"):
        return any(f'name = "{name}"\n' in part for name in COMPARED)
    if part.startswith("[[base_model]]"):
        return 'name = "llama-0.8m"' in part
    return not part.startswith(("[scaling]", "[judge]", "[perplexity]", "[comparison.on_request]"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="where results go and stay (default: removed at the end)")
    parser.add_argument("--seeds", type=at_least(2), help="compare the warm-ups over so many seeds instead")
    options = begin(parser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.seeds:
            sys.exit(0 if over_seeds(folder, options.seeds) else 1)
        sys.exit(0 if measure(folder, (options.home or folder / "home").resolve()) else 1)


if __name__ == "__main__":
    main()
