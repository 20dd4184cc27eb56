"""The yardstick: what this machine does in a second, and limits that are stated for another machine.

A limit in seconds, or of so many a second, is stated for the machine on which it was chosen: a named
yardstick in yardsticks.json. On another machine it is scaled by the component in which most of the time is
spent (README.md lists which). Limits on memory, counts and ratios are the same everywhere and not scaled.
"""

import functools
import json
import math
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

CHECKOUT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_name("yardsticks.json")
REFERENCE = "epyc-2026-11"
NOTED_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8", "sha_ni")
LEAST_FACTOR, MOST_FACTOR = 0.5, 3.0
"""How far a limit may be scaled.

Below a half: the time of a benchmark has more than one component, so a machine that is ten times as fast in
one of them is not ten times as fast in all. Above three: such a yardstick was more likely taken while the
machine was busy (an fsync took between .3 and 3.5 ms within one minute on a busy machine), and a limit scaled
without a bound would excuse any time. A line whose limit reached a bound says `clamped`.
"""

Kind = Literal["float32", "bfloat16", "core", "disk", "process"]


class YardstickError(RuntimeError):
    """The yardstick cannot be taken, read, or compared with the one that is named."""


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """Speeds and delays of one machine."""

    float32_gflops: float
    bfloat16_gflops: float
    tokens_per_second: float
    fsync_ms: float
    python_ms: float
    numpy_ms: float

    def delay(self, kind: Kind) -> float:
        """Return the time of a fixed piece of work of that kind; its unit matters in ratios alone."""
        if kind == "float32":
            return 1 / self.float32_gflops
        if kind == "bfloat16":
            return 1 / self.bfloat16_gflops
        if kind == "core":
            return 1 / self.tokens_per_second
        return self.fsync_ms if kind == "disk" else self.python_ms + self.numpy_ms


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit as it was stated for a named yardstick, and what it is here."""

    stated: float
    here: float
    kind: Kind
    reference: str
    measured_factor: float

    def figures(self, name: str = "limit_seconds") -> dict[str, Any]:
        """Return what a line of results says of it: the limit here, the stated one, and how it was scaled."""
        clamped = not LEAST_FACTOR <= self.measured_factor <= MOST_FACTOR
        found: dict[str, Any] = {name: float(f"{self.here:.4g}"), f"stated_{name}": self.stated}
        found |= {"yardstick": f"{self.reference}: {self.kind}", "slower": round(self.measured_factor, 3)}
        return found | ({"clamped": True} if clamped else {})


def most_seconds(stated: float, kind: Kind, reference: str = REFERENCE) -> Limit:
    """Return the limit in seconds here of work that may take `stated` seconds on the reference."""
    factor = slower_than(reference, kind)
    return Limit(
        stated=stated, here=stated * _clamped(factor), kind=kind, reference=reference, measured_factor=factor
    )


def least_rate(stated: float, kind: Kind, reference: str = REFERENCE) -> Limit:
    """Return the least rate here of work that has to reach `stated` a second on the reference."""
    factor = slower_than(reference, kind)
    return Limit(
        stated=stated, here=stated / _clamped(factor), kind=kind, reference=reference, measured_factor=factor
    )


def slower_than(reference: str, kind: Kind) -> float:
    """Return how many times as long as on the reference that kind of work takes here."""
    there = named(reference)
    return here().delay(kind) / there.delay(kind)


def _clamped(factor: float) -> float:
    return min(max(factor, LEAST_FACTOR), MOST_FACTOR)


def named(reference: str) -> Yardstick:
    """Return a yardstick of the table; raises `YardstickError` for a name that is not in it."""
    table = json.loads(TABLE.read_text())
    if reference not in table:
        raise YardstickError(f"no yardstick {reference!r} in {TABLE.name}; it has {', '.join(sorted(table))}")
    return parsed(table[reference]["figures"])


def parsed(figures: dict[str, Any]) -> Yardstick:
    """Return the yardstick in a JSON object, which may hold more.

    Raises `YardstickError` when a figure is missing, no number, or not above zero.
    """
    values = {}
    for field in fields(Yardstick):
        value = figures.get(field.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise YardstickError(f"the yardstick has no number {field.name}: {value!r}")
        if not (math.isfinite(value) and value > 0):
            raise YardstickError(f"{field.name} = {value} of the yardstick is no speed or delay")
        values[field.name] = float(value)
    return Yardstick(**values)


def here() -> Yardstick:
    """Return the yardstick of this machine, taken once in a process."""
    return parsed(_measured())


@functools.cache
def _measured() -> dict[str, Any]:
    """Return what a process of its own measures, so that torch adds nothing to the memory of a benchmark."""
    command = [sys.executable, "-m", "benchmarks._yardstick_measures"]
    done = subprocess.run(command, cwd=CHECKOUT, env=_environment(), capture_output=True, text=True)
    if done.returncode:
        raise YardstickError(f"the yardstick cannot be taken: {done.stderr.strip()[-2_000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _environment() -> dict[str, str]:
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def print_yardstick() -> None:
    """Print the yardstick of this machine with commit and machine, as one JSON line."""
    print(json.dumps(line()), flush=True)


def line() -> dict[str, Any]:
    """Return what that line says."""
    measured = _measured()
    software = {"python": platform.python_version(), "torch": measured["torch"]}
    machine = {**machine_of_cpuinfo(_cpuinfo()), **_cores(), "threads": measured["threads"]}
    load = round(os.getloadavg()[0], 1)
    return {
        "benchmark": "yardstick",
        **commit(),
        "machine": machine,
        **software,
        "load": load,
        **asdict(here()),
    }


def commit() -> dict[str, Any]:
    """Return the commit of the checkout, and whether tracked files differ from it; None without git."""
    found = _git("rev-parse", "HEAD")
    changed = None if found is None else bool(_git("status", "--porcelain", "--untracked-files=no"))
    return {"commit": found, "modified": changed}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()


def machine_of_cpuinfo(text: str) -> dict[str, Any]:
    """Return model of the processor and the flags that decide how fast products are, from /proc/cpuinfo."""
    entries = [entry.partition(":") for entry in text.split("\n\n")[0].splitlines()]
    found = {name.strip(): value.strip() for name, _, value in entries}
    flags = set(found.get("flags", "").split())
    model = found.get("model name") or platform.processor() or platform.machine()
    family = [found[name] for name in ("cpu family", "model") if name in found]
    noted = [flag for flag in NOTED_FLAGS if flag in flags]
    return {"processor": model, "family": "/".join(family), "flags": noted}


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.is_file() else ""


def _cores() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": usable, "memory_gigabytes": round(memory / 1e9, 1)}
