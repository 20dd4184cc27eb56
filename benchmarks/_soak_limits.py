"""Limits of the soak: growth of the long-lived processes, answers, disk, and what went wrong by itself.

Each judgment is a function of a series. One about time says None, and that the soak was too short to judge,
when it was shorter than `LEAST_MINUTES`: processes still load what they use for the first time, and a handful
of answers has no quantile. From that length on a series with too little in it does not hold.
"""

import math
import re
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from benchmarks._soak_answers import ABSENT, Answer
from benchmarks._soak_disk import Count
from benchmarks._yardstick import Limit

LEAST_MINUTES = 20.0
MOST_GROWTH = 1.1
LEAST_SAMPLES, OF_HALF = 3, 6
"""A median is that of a sixth of the samples of the second half, three at least."""
LEAST_ANSWERS, IN_TIME = 30, 0.95
SHOWN = 10
TOO_SHORT = "too short to judge"
RECORD, COLOUR = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d .* - dagster"), re.compile(r"\x1b\[\d+m")
Found = tuple[bool | None, dict[str, Any]]


def growth(samples: Sequence[Mapping[str, Any]], minutes: float, roles: Collection[str]) -> Found:
    """Judge the memory of each long-lived process: its last median over the first one of the second half.

    Descriptors and threads are figures alone: one more of six is no leak.
    """
    if not samples:
        return _judged(False, {"said": TOO_SHORT, "samples": 0}, minutes)
    middle = (samples[0]["second"] + samples[-1]["second"]) / 2
    half = [one for one in samples if one["second"] >= middle]
    covered = half[-1]["second"] - half[0]["second"]
    figures = {"samples": len(half), "seconds": round(covered, 1), "most": MOST_GROWTH}
    if len(half) < 2 * LEAST_SAMPLES or covered < 0.8 * 60 * minutes / 2:
        return _judged(False, {"said": TOO_SHORT, **figures}, minutes)
    count = max(LEAST_SAMPLES, len(half) // OF_HALF)
    ends = [[one["processes"] for one in part] for part in (half[:count], half[-count:])]
    absent = sorted(role for role in roles if not all(role in one for part in ends for one in part))
    grown: dict[str, dict[str, list[float]]] = {}
    for role in sorted({*roles} - {*absent}):
        for figure in ("megabytes", "descriptors", "threads"):
            first, last = (statistics.median(one[role][figure] for one in part) for part in ends)
            grown.setdefault(role, {})[figure] = [first, last, round(last / max(first, 1), 3)]
    holds = not absent and all(one["megabytes"][2] < MOST_GROWTH for one in grown.values())
    figures |= {"from_to_ratio": grown, **({"absent": absent} if absent else {})}
    return _judged(holds, figures, minutes)


def disk(half: Count | None, end: Count, minutes: float) -> Found:
    """Judge the disk of a live document: at the end over that at half the time."""
    if half is None or not half.documents or not end.documents:
        return _judged(False, {"said": TOO_SHORT, "documents": end.documents}, minutes)
    ratio = end.each / half.each
    figures = {
        "bytes_each": [round(half.each, 1), round(end.each, 1)],
        "documents": [half.documents, end.documents],
        "ratio": round(ratio, 3),
        "most": MOST_GROWTH,
    }
    return _judged(ratio < MOST_GROWTH, figures, minutes)


def disk_of_rebuild(settled: Count, rebuilt: Count) -> Found:
    """Judge the disk of the home next to that of a home which was made at once from the same files.

    The documents are the same ones, so nothing that a home takes without any hides what was left over.
    """
    ratio = settled.live / rebuilt.live if rebuilt.live else math.inf
    figures = {
        "live_bytes": [settled.live, rebuilt.live],
        "documents": [settled.documents, rebuilt.documents],
        "ratio": round(ratio, 3),
        "most": MOST_GROWTH,
    }
    return settled.documents == rebuilt.documents and ratio < MOST_GROWTH, figures


def answers(found: Sequence[Answer], minutes: float, idle: Limit, during: Limit) -> Found:
    """Judge the seconds of answers: when idle the slowest one, during a run all but one in twenty."""
    figures: dict[str, Any] = {}
    right = []
    for name, run, share, limit in (("idle", False, 1.0, idle), ("during_a_run", True, IN_TIME, during)):
        seconds = [one.seconds for one in found if one.during == run and not one.problem]
        figures[name] = {"answers": len(seconds), **limit.figures()}
        if seconds:
            shares = {f"{100 * one:.0f}_percent": quantile(seconds, one) for one in (0.5, 0.95, 0.99, 1.0)}
            figures[name] |= {"within_seconds": shares}
        right.append(len(seconds) >= LEAST_ANSWERS and quantile(seconds, share) <= limit.here)
        if len(seconds) < LEAST_ANSWERS:
            figures[name] |= {"said": TOO_SHORT}
    slowest = sorted((one for one in found if not one.problem), key=lambda one: -one.seconds)[:SHOWN]
    figures["slowest"] = [[one.of, one.seconds, "run" if one.during else "idle"] for one in slowest]
    return _judged(all(right), figures, minutes)


def unanswered(found: Sequence[Answer], asked_of: Collection[str]) -> Found:
    """Judge that every question was answered, and each address at least once with what is there.

    The soak restarts nothing that answers, so nothing excuses a silence. A page that a withdrawal removed is
    absent until it is made again; the asking counts that as no answer once all is current.
    """
    problems = [one for one in found if one.problem not in ("", ABSENT)]
    never = sorted({*asked_of} - {one.of for one in found if not one.problem})
    figures = {
        "asked": len(found),
        "unanswered": len(problems),
        "absent_for_a_while": sum(one.problem == ABSENT for one in found),
        "examples": [[one.second, one.of, one.problem] for one in problems[:SHOWN]],
        "never_seen": never,
    }
    return not problems and not never, figures


def failures(failed_runs: Collection[str] | None, killed_runs: Collection[str], log: str) -> Found:
    """Judge that nothing failed but runs whose process the soak killed.

    `failed_runs`: their ids, None when the interface did not say; `log`: what the interface printed.
    """
    errors = errors_in(log, killed_runs)
    unexplained = sorted({*(failed_runs or ())} - {*killed_runs})
    figures = {
        "failed_runs": None if failed_runs is None else len(failed_runs),
        "of_these_not_killed": unexplained[:SHOWN],
        "errors_in_log": len(errors),
        "examples": errors[:SHOWN],
    }
    return failed_runs is not None and not unexplained and not errors, figures


def errors_in(log: str, killed_runs: Collection[str]) -> list[str]:
    """Return the records of errors, and of each traceback its error and the record before it.

    Those of killed runs are left out: a run that is killed while it is launched fails its launch. Of a
    traceback the record before it names the run.
    """
    found, record, lines = [], "", COLOUR.sub("", log).splitlines()
    for number, line in enumerate(lines):
        begins = RECORD.match(line) is not None
        record = line if begins else record
        if any(run in record for run in killed_runs):
            continue
        if begins and (" ERROR " in line or " CRITICAL " in line):
            found.append(line[:600])
        elif line.startswith("Traceback"):
            error = next((one for one in lines[number + 1 :] if one.strip() and not one.startswith(" ")), "")
            found.append(f"{error[:300]}, after: {record[:300]}")
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the values that at least this share of them do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _judged(holds: bool, figures: dict[str, Any], minutes: float) -> Found:
    """Return whether a limit holds, with its figures; None where the soak was too short to say."""
    return (None, {"said": TOO_SHORT, **figures}) if minutes < LEAST_MINUTES else (holds, figures)
