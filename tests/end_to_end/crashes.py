"""Killing `tamis materialize` at moments drawn by seed, uniformly over the stages that have work to do."""

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from projects import SmallProject, sentences, write_jsonl

from tamis.graph.stages import stages
from tamis.verbs.plan import read_plan

DYING = Path(__file__).with_name("dying_command.py")
MOST_WRITES = 12

FILES = {
    "first": {"cooking": ("cooking", 60, 1), "sailing": ("sailing", 60, 1), "algebra": ("algebra", 60, 1)},
    "second": {"cooking": ("cooking", 45, 1), "algebra": ("algebra", 60, 8), "more": ("sailing", 50, 1)},
    "third": {"cooking": ("sailing", 70, 1), "algebra": ("algebra", 60, 1), "new": ("cooking", 40, 1)},
}
TARGETS = {"first": 2, "second": 12, "third": 22}


def lay(project: SmallProject, state: str) -> None:
    """Make the files those of a state; between any two, files are edited, added, removed, and share texts.

    Of what goes, most is in other files, so that nothing is held back.
    """
    landing = project.root / "landing"
    for path in landing.iterdir():
        if path.stem not in FILES[state]:
            path.unlink()
    for name, (topic, count, seed) in FILES[state].items():
        write_if_other(landing / f"{name}.jsonl", sentences(topic, count, seed))
    write_if_other(project.root / "target" / "algebra.jsonl", sentences("algebra", 60, TARGETS[state]))


def write_if_other(path: Path, texts: list[str]) -> None:
    lines = [json.dumps({"text": text}) for text in texts]
    if not path.exists() or path.read_text().splitlines() != lines:
        write_jsonl(path, texts)


@dataclass(frozen=True)
class Usual:
    """What an undisturbed run shows: in which order stages are made, and how long each takes."""

    order: list[str]
    seconds: dict[str, float]


def usual(project: SmallProject) -> Usual:
    current = project.store.read("heads", ["asset", "manifest", "made_at"]).sort("made_at")
    folder = project.manifests
    seconds: dict[str, float] = {}
    for asset, manifest in current.select("asset", "manifest").iter_rows():
        took = folder.read(manifest).beside["seconds"]
        seconds[asset] = max(seconds.get(asset, 0.0), took)
    return Usual([asset for asset in seconds if not stages()[asset].made_with], seconds)


def draw(
    project: SmallProject, known: Usual, kills: int, chance: random.Random, ready: bool = False
) -> list[tuple[str, str, float]]:
    """(stage, kind, amount) of so many kills, in the order in which the stages come.

    `ready`: only stages whose inputs are all there. Where files went back to what they were, those that wait
    may turn out to be current.
    """
    plan = read_plan(project.project)
    due = {entry["asset"] for entry in plan if not (ready and entry["waits_for"])} - {"removal"}
    drawn = chance.sample(sorted(due), kills)
    moments = []
    for stage in sorted(drawn, key=known.order.index):
        if chance.random() < 0.5:
            moments.append((stage, "seconds", chance.uniform(0, known.seconds[stage])))
        else:
            moments.append((stage, "writes", chance.randint(1, MOST_WRITES)))
    return moments


def kill(project: SmallProject, stage: str, kind: str, amount: float) -> bool:
    """Run the command until it dies there; return whether it did.

    What waits for an input may turn out to be current: then the command ends well, and nothing is left to do.
    """
    done = subprocess.run(
        [sys.executable, str(DYING), stage, kind, str(amount), "materialize"],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=400,
        start_new_session=True,
    )
    ended = done.returncode == 0 and not read_plan(project.project)
    assert done.returncode == -9 or ended, f"{stage} was not reached: exit {done.returncode}\n{done.stderr}"
    return not ended
