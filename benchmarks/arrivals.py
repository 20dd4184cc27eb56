"""How long until what changed is in the selections, their pages and all reports, without a click: JSON lines.

    python -m benchmarks.arrivals [--documents 6000] [--files 100] [--seed 0]

Builds a project of short texts with a target and two selections at the default intervals, materializes it,
starts `tamis ui`, and then drops a file, edits one and deletes one, each once the sensors rest. A line for
each: seconds until both selections have a new page, and until `tamis status` names nothing that is out of
date. A last line is the CPU time of the idle daemon. Exits 1 when a figure misses its limit. About six
minutes on two cores.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks._flags import at_least, begin
from benchmarks._soak_processes import Interface, Paths, interface
from benchmarks._soak_project import COMMON, TOPICS
from benchmarks._yardstick import most_seconds

LIMITS = {"selections": 60.0, "all": 90.0}
MOST_IDLE, IDLE_SECONDS = 0.03, 60.0
"""Share of a core that the sensors may take where nothing happens, and how long that is measured."""
PATIENCE = 600.0
TARGET_EXAMPLES, WORDS, ARRIVING = 520, 30, 60
SELECTIONS = ("near", "uniform")
SETTINGS = """
[project]
precision = "float32"

[[corpus]]
name = "web"
kind = "files"
path = "landing"

[[target]]
name = "statistics"
kind = "files"
path = "target"

[[selection]]
name = "near"
sampler = "got-d"
target = "statistics"
budget = "10%"

[[selection]]
name = "uniform"
sampler = "random"
budget = "10%"
"""


def write(file: Path, texts: list[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def texts(topic: str, count: int, chance: random.Random) -> list[str]:
    """Return short texts with words of a topic among common ones."""
    words = [*TOPICS[topic].split(), *COMMON]
    return [" ".join(chance.choices(words, k=WORDS)) for _ in range(count)]


def build(paths: Paths, documents: int, files: int, chance: random.Random) -> None:
    """Write the project and materialize it."""
    topics = [*TOPICS]
    for number in range(files):
        size = documents // files + (number < documents % files)
        topic = topics[number % len(topics)]
        write(paths.root / "landing" / f"{number:04}.jsonl", texts(topic, size, chance))
    write(paths.root / "target" / "goal.jsonl", texts("statistics", TARGET_EXAMPLES, chance))
    (paths.root / "tamis.toml").write_text(SETTINGS)
    made = paths.tamis("materialize", "--quiet")
    if made.returncode:
        raise SystemExit(f"the project could not be materialized:\n{made.stdout}{made.stderr}")


def out_of_date(paths: Paths) -> list[str]:
    """Return what `tamis status` names as out of date."""
    answer = paths.tamis("status", "--json")
    return [str(one) for one in json.loads(answer.stdout)["due"]]


def timed(name: str, change: Callable[[], None], paths: Paths, ui: Interface) -> bool:
    """Print how long a change takes to be everywhere; return whether it is within the limits."""
    pages = [paths.home / "reports" / f"selection_{selection}.html" for selection in SELECTIONS]
    before = [page.stat().st_mtime_ns for page in pages]
    change()
    started, found = time.monotonic(), {"selections": 0.0, "all": 0.0}
    while time.monotonic() - started < PATIENCE and not found["all"]:
        time.sleep(0.5)
        if not all(page.stat().st_mtime_ns > then for page, then in zip(pages, before, strict=True)):
            continue
        found["selections"] = found["selections"] or time.monotonic() - started
        asked = time.monotonic() - started
        if not ui.sensor_tick()[2] and not out_of_date(paths):
            found["all"] = asked
    limits = {step: most_seconds(seconds, "process") for step, seconds in LIMITS.items()}
    right = all(0 < found[step] <= limits[step].here for step in LIMITS)
    figures = {step: round(seconds, 1) for step, seconds in found.items()}
    most = {f"most_{step}": round(limit.here, 1) for step, limit in limits.items()}
    print(json.dumps({"step": name, **figures, **most, "right": right}), flush=True)
    return right


def idle(ui: Interface) -> bool:
    """Print the share of a core that all processes of the interface take while nothing happens."""

    def spent() -> dict[str, float]:
        found = {}
        for role, process in ui.long_lived().items():
            times = process.cpu_times()
            found[role] = times.user + times.system
        return found

    before = spent()
    time.sleep(IDLE_SECONDS)
    shares = {role: (end - before.get(role, end)) / IDLE_SECONDS for role, end in spent().items()}
    total = sum(shares.values())
    by_role = {role: round(share, 4) for role, share in shares.items()}
    print(json.dumps({"step": "idle", "cores": round(total, 4), "most": MOST_IDLE, "by_process": by_role}))
    return total <= MOST_IDLE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(600), default=6_000)
    parser.add_argument("--files", type=at_least(3), default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = begin(parser)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        paths = Paths(Path(name), Path(name) / ".tamis")
        build(paths, options.documents, options.files, chance)
        landing = paths.root / "landing"
        changes: dict[str, Callable[[], None]] = {
            "drop": lambda: write(landing / "new.jsonl", texts("garden", ARRIVING, chance)),
            "edit": lambda: write(landing / "0001.jsonl", texts("railway", ARRIVING, chance)),
            "delete": (landing / "new.jsonl").unlink,
        }
        with interface(paths) as ui:
            right = [timed(step, change, paths, ui) for step, change in changes.items()]
            right.append(idle(ui))
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
