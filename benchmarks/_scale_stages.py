"""Where time, memory and disk of a materialization went, and how they grow.

Manifests say by the clock of their step when each value was made. What a stage takes is its share of that
clock; what is left of a run is spent on recording (manifests, events, compaction) and on Dagster, and what is
left of the command on starting, looking and planning.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from tamis.graph.stages import stages

RECORDING, PLANNING, WHOLE = "(recording, Dagster)", "(starting, looking, planning)", "(all)"
LEAST_SECONDS = 1.0
"""Under it a time is mostly what a step costs anyway, so that how it grows says nothing of the work."""
TERMS = ("seconds", "a_document", "a_target_example", "a_pair", "a_shard")
"""What a cost may be made of; a pair is a document and an example of the target."""
Line = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one `tamis materialize` took: seconds in all and by stage, memory in all and by step, bytes."""

    seconds: float
    peak_gigabytes: float
    stages: Mapping[str, float]
    peaks: Mapping[str, float]
    disk: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Point:
    """The size of a project."""

    documents: int
    target: int
    shards: int

    @property
    def terms(self) -> tuple[float, ...]:
        """What costs may be proportional to, in the order of `TERMS`."""
        return 1.0, self.documents, self.target, self.documents * self.target, self.shards


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a run, by the clock of the event log."""

    name: str
    began: float
    ended: float


def seconds_of_stages(manifests: Path) -> dict[str, float]:
    """Seconds a stage, of all that was made; what is made in another's step begins where that ends."""
    clocks: dict[tuple[str, str], dict[str, float]] = {}
    for path in manifests.glob("??/*.json"):
        manifest = json.loads(path.read_text())
        asset, beside = manifest["asset"], manifest["beside"]
        clock = clocks.setdefault((beside["run_id"], stages()[asset].made_with or asset), {})
        clock[asset] = max(clock.get(asset, 0.0), float(beside["seconds"]))
    found: dict[str, float] = {}
    for clock in clocks.values():
        before = 0.0
        for asset, until in sorted(clock.items(), key=lambda entry: entry[1]):
            found[asset] = found.get(asset, 0.0) + until - before
            before = until
    return {asset: found[asset] for asset in stages() if asset in found}


def with_the_rest(found: Mapping[str, float], runs: float, wall: float) -> dict[str, float]:
    """The stages, then what `runs` seconds of runs and `wall` seconds of a command hold besides them."""
    return {**found, RECORDING: runs - sum(found.values()), PLANNING: wall - runs, WHOLE: wall}


def steps_of_runs(home: Path) -> tuple[float, list[Step]]:
    """Seconds of all runs that the home's event log holds, and their steps."""
    import dagster as dg

    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS}
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        records = instance.get_run_records()
        seconds = sum(one.end_time - one.start_time for one in records if one.start_time and one.end_time)
        times: dict[tuple[str, str], list[float]] = {}
        for record in records:
            for log in instance.all_logs(record.dagster_run.run_id, of_type=kinds):
                times.setdefault((log.run_id, str(log.step_key)), []).append(log.timestamp)
    steps = [Step(name=name, began=min(found), ended=max(found)) for (_run, name), found in times.items()]
    return seconds, sorted(steps, key=lambda step: step.began)


def peaks_of_steps(steps: Sequence[Step], samples: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Gigabytes, most of them, while each step ran: with what earlier ones have not given back.

    A step that ended between two samples is not in it.
    """
    found: dict[str, float] = {}
    for step in steps:
        within = [size / 1e9 for moment, size in samples if step.began <= moment <= step.ended]
        if within:
            found[step.name] = max(found.get(step.name, 0.0), *within)
    return found


def bytes_on_disk(home: Path) -> dict[str, int]:
    """Bytes of each table (`lance/NAME`) and of each other entry of a home."""
    places = [*(home / "lance").glob("*.lance"), *(one for one in home.iterdir() if one.name != "lance")]
    return {place.relative_to(home).with_suffix("").as_posix(): _bytes(place) for place in sorted(places)}


def _bytes(place: Path) -> int:
    files = [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def growth(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """Slope of log seconds on log size: 1 where time is proportional; None where it says nothing."""
    if len(set(sizes)) < 2 or min(seconds) <= 0 or max(seconds) < LEAST_SECONDS:
        return None
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def note_on(seconds: Sequence[float]) -> str | None:
    """What to bear in mind when reading how a time grows."""
    if max(seconds) < LEAST_SECONDS:
        return f"under {LEAST_SECONDS:g} s: no exponent"
    if min(seconds) < LEAST_SECONDS:
        return f"under {LEAST_SECONDS:g} s where smallest: what a step costs anyway hides part of the growth"
    return None


def fitted_cost(points: Sequence[Point], seconds: Sequence[float]) -> dict[str, float]:
    """Seconds as a sum of `TERMS`, none negative, and the worst error of a point as a share of it.

    Least squares of errors relative to the time, or to a second where it is under one.
    """
    terms, wanted = np.array([point.terms for point in points]), np.asarray(seconds, dtype=float)
    units, weights = terms.max(axis=0), 1 / np.maximum(wanted, LEAST_SECONDS)
    factors = nnls(terms / units * weights[:, None], wanted * weights)[0]
    worst = float(np.abs((terms / units @ factors - wanted) * weights).max())
    a_unit = dict(zip(TERMS, (factors / units).tolist(), strict=True))
    return {name: float(f"{value:.3g}") for name, value in a_unit.items() if value} | {
        "worst_error": round(worst, 2)
    }


def stage_lines(line: Line, part: str, sizes: Sequence[int], runs: Sequence[Measured]) -> None:
    """A line a stage: its seconds at each number of documents, how they grow, and its memory."""
    for stage in runs[-1].stages:
        seconds = [run.stages.get(stage, 0.0) for run in runs]
        memory = [round(run.peaks[stage], 2) if stage in run.peaks else None for run in runs]
        line(part, stage=stage, **figures("documents", sizes, seconds), peak_gigabytes=memory)


def figures(dimension: str, sizes: Sequence[int], seconds: Sequence[float]) -> dict[str, object]:
    """Sizes, seconds, exponent and, where there is one, the note, for a line."""
    exponent, note = growth(sizes, seconds), note_on(seconds)
    found: dict[str, object] = {
        dimension: list(sizes),
        "seconds": [round(value, 2) for value in seconds],
        "exponent": None if exponent is None else round(exponent, 2),
    }
    return found | ({"note": note} if note else {})
