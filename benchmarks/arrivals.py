"""How long until what changed is in the selections, their pages and all reports, without a click: JSON lines.

    python -m benchmarks.arrivals [--documents 6000] [--files 100] [--seed 0] [--steps drop edit delete idle]

Builds a project of short texts with a target and two selections at the default intervals, materializes it,
starts `tamis ui`, and then takes one step after the other, each once the sensors rest:

    drop, edit, delete   a new file, other texts in one that is there, and the new file gone again
    queued               a new file while "Materialize all" is at work, with runs of it in the queue; counted
                         from its end
    slow                 a new file and another version of one that is there, both copied in pieces for 20 s;
                         counted from the end of the copy. No part of them may ever be read for the whole
    idle                 the CPU time of all processes while nothing happens, with sensors and without them

A line for each change: seconds until both selections have a new page, and until `tamis status` names nothing
that is out of date. Exits 1 when a figure misses its limit. About six minutes on two cores; with `--steps
drop queued slow` nine.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks._flags import at_least, begin
from benchmarks._soak_processes import Interface, Paths, SoakError, interface
from benchmarks._soak_project import COMMON, TOPICS
from benchmarks._yardstick import most_seconds
from tamis.corpus.shards import shard_key
from tamis.project import open_project
from tamis.records.manifest import ManifestFolder

LIMITS = {"selections": 60.0, "all": 90.0}
MOST_IDLE, IDLE_SECONDS = 0.03, 60.0
"""Share of a core that the sensors may take where nothing happens, and how long that is measured."""
PATIENCE = 600.0
COPY_SECONDS, PIECES = 20.0, 40
"""How long a slow copy takes, in how many pieces: a pause of .5 s, less than `settle_seconds`, after each."""
QUEUED, NEW, SLOW, ONE_THERE, OTHER_THERE = (
    "queued.jsonl",
    "new.jsonl",
    "slow.jsonl",
    "0001.jsonl",
    "0002.jsonl",
)
ASSETS = "{ assetNodes { assetKey { path } } }"
MATERIALIZE_ALL = """
mutation($given: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $given) {
  ... on LaunchBackfillSuccess { backfillId } ... on Error { message }
} }
"""
SENSORS = """
{ sensorsOrError(repositorySelector:
    {repositoryName: "__repository__", repositoryLocationName: "definitions.py"}) {
  ... on Sensors { results { id } }
} }
"""
STOP = "mutation($id: String!) { stopSensor(id: $id) { __typename ... on Error { message } } }"
BACKFILL = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }
"""
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


def lines(some_texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in some_texts).encode()


def write(file: Path, some_texts: list[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(lines(some_texts))


def texts(topic: str, count: int, chance: random.Random) -> list[str]:
    """Return short texts with words of a topic among common ones."""
    words = [*TOPICS[topic].split(), *COMMON]
    return [" ".join(chance.choices(words, k=WORDS)) for _ in range(count)]


def other_texts(file: Path, chance: random.Random) -> list[str]:
    """Return as many other texts as a file has: Tamis holds back a version that has far fewer."""
    return texts("railway", file.read_bytes().count(b"\n"), chance)


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
    """Print how long a change takes to be everywhere, from its end; return whether that is in the limits."""
    pages = [paths.home / "reports" / f"selection_{selection}.html" for selection in SELECTIONS]
    change()
    before = [page.stat().st_mtime_ns for page in pages]
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


def during_a_backfill(file: Path, some_texts: list[str], ui: Interface) -> None:
    """Materialize all, write a file once its first run is at work, and wait for the end of the last one."""
    assets = [node["assetKey"] for node in ui.ask(ASSETS)["assetNodes"]]
    given = {"assetSelection": assets, "allPartitions": True}
    begun = ui.ask(MATERIALIZE_ALL, given=given)["launchPartitionBackfill"]
    if "backfillId" not in begun:
        raise SoakError(f"no backfill was begun: {begun}")
    ends, written = time.monotonic() + PATIENCE, False
    while time.monotonic() < ends:
        if not written and ui.sensor_tick()[2]:
            write(file, some_texts)
            written = True
        status = ui.ask(BACKFILL, id=begun["backfillId"])["partitionBackfillOrError"]["status"]
        if status == "COMPLETED_SUCCESS" and written:
            return
        if status in ("FAILED", "COMPLETED_FAILED", "CANCELED"):
            raise SoakError(f"the backfill ended as {status}")
        time.sleep(0.5)
    raise SoakError(f"the backfill did not end within {PATIENCE:.0f} s")


def copy_slowly(contents: Mapping[Path, bytes]) -> None:
    """Write these files side by side, a piece of each every half second; the pieces end within rows."""
    opened = [(path.open("wb"), content) for path, content in contents.items()]
    for piece in range(PIECES):
        for file, content in opened:
            file.write(content[len(content) * piece // PIECES : len(content) * (piece + 1) // PIECES])
            file.flush()
        time.sleep(COPY_SECONDS / PIECES)
    for file, _content in opened:
        file.close()


def parts_read(paths: Paths, contents: Mapping[Path, bytes], before: Mapping[Path, bytes]) -> list[str]:
    """Return what was made of files that is neither of the whole nor of the version before.

    Every value has a manifest for good, so none that was replaced in between is missed; a bad row would be in
    quarantine.
    """
    home = open_project(paths.root).home
    folder = ManifestFolder.of(home)
    keys = {shard_key("web", path.name): path for path in contents}
    made = [one for one in map(folder.read, folder.ids()) if one.partition in keys]
    read = {one.partition for one in made if one.asset == "documents"}
    found = [f"{key} was never read" for key in keys if key not in read]
    for manifest in made:
        path = keys[manifest.partition]
        whole = [content for content in (contents[path], before.get(path)) if content is not None]
        digests = {hashlib.sha256(content).hexdigest() for content in whole}
        if manifest.asset == "raw_shards" and manifest.data_version not in digests:
            found.append(f"{manifest.asset}[{manifest.partition}] of other bytes")
        counts = {content.count(b"\n") for content in whole}
        if manifest.asset == "documents" and manifest.row_count not in counts:
            found.append(f"{manifest.asset}[{manifest.partition}] of {manifest.row_count} rows")
    quarantine = home.store.read("quarantine", ["shard", "reason"])
    return found + [f"{shard}: {why}" for shard, why in quarantine.iter_rows() if shard in keys]


def slow(paths: Paths, ui: Interface, chance: random.Random) -> bool:
    """Time a copy that takes 20 s, and print what was read of it before its end."""
    landing = paths.root / "landing"
    new, there = landing / SLOW, landing / OTHER_THERE
    before = {there: there.read_bytes()}
    contents = {new: lines(texts("garden", ARRIVING, chance)), there: lines(other_texts(there, chance))}
    right = timed("slow", lambda: copy_slowly(contents), paths, ui)
    parts = parts_read(paths, contents, before)
    print(
        json.dumps({"step": "slow: parts read for the whole", "parts": parts, "right": not parts}), flush=True
    )
    return right and not parts


def idle(ui: Interface) -> bool:
    """Print the shares of a core that the interface takes while nothing happens, and the sensors' part.

    What Dagster's processes take by themselves is measured right afterwards, with the sensors stopped.
    """

    def shares() -> dict[str, float]:
        before = spent()
        time.sleep(IDLE_SECONDS)
        return {role: round((end - before[role]) / IDLE_SECONDS, 4) for role, end in spent().items()}

    def spent() -> dict[str, float]:
        times = {role: process.cpu_times() for role, process in ui.long_lived().items()}
        return {role: one.user + one.system for role, one in times.items()}

    time.sleep(IDLE_SECONDS / 4)  # the first ticks after a change find out that there is nothing to do
    with_sensors = shares()
    for sensor in ui.ask(SENSORS)["sensorsOrError"]["results"]:
        if (answer := ui.ask(STOP, id=sensor["id"])["stopSensor"])[
            "__typename"
        ] != "StopSensorMutationResult":
            raise SoakError(f"a sensor could not be stopped: {answer}")
    without = shares()
    of_sensors = round(sum(with_sensors.values()) - sum(without.values()), 4)
    found = {"all": with_sensors, "sensors stopped": without, "of the sensors": of_sensors}
    print(json.dumps({"step": "idle", **found, "most": MOST_IDLE, "right": of_sensors <= MOST_IDLE}))
    return of_sensors <= MOST_IDLE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(600), default=6_000)
    parser.add_argument("--files", type=at_least(3), default=100)
    parser.add_argument("--seed", type=int, default=0)
    steps = ("drop", "edit", "delete", "queued", "slow", "idle")
    parser.add_argument("--steps", nargs="+", choices=steps, default=["drop", "edit", "delete", "idle"])
    options = begin(parser)
    if "delete" in options.steps and "drop" not in options.steps[: options.steps.index("delete")]:
        parser.error("delete takes away what drop has written: name drop before it")
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        paths = Paths(Path(name), Path(name) / ".tamis")
        started = time.monotonic()
        build(paths, options.documents, options.files, chance)
        seconds = round(time.monotonic() - started, 1)
        print(json.dumps({"step": "build", "documents": options.documents, "seconds": seconds}), flush=True)
        landing = paths.root / "landing"

        with interface(paths) as ui:
            changes: dict[str, Callable[[], None]] = {
                "drop": lambda: write(landing / NEW, texts("garden", ARRIVING, chance)),
                "edit": lambda: write(landing / ONE_THERE, other_texts(landing / ONE_THERE, chance)),
                "delete": (landing / NEW).unlink,
                "queued": lambda: during_a_backfill(landing / QUEUED, texts("garden", ARRIVING, chance), ui),
            }
            right = []
            for step in options.steps:
                if step == "idle":
                    right.append(idle(ui))
                elif step == "slow":
                    right.append(slow(paths, ui, chance))
                else:
                    right.append(timed(step, changes[step], paths, ui))
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
