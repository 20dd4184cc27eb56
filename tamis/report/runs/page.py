"""The page of all runs: their states, what they have cost, and their losses against compute."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.base.files import write_atomically
from tamis.base.numbers import significant
from tamis.graph.plan import Due
from tamis.graph.snapshot import ProjectSnapshot
from tamis.records.current_values import CurrentValues
from tamis.report.rendering import render, written_state
from tamis.report.runs.states import (
    COMPARED,
    GAIN,
    KINDS,
    MIXTURE,
    RECIPE,
    RECORDED,
    STATES,
    Outlook,
    Run,
    State,
    read_outlook,
    read_runs,
)
from tamis.store.table_errors import DamagedTableError
from tamis.training.failures import failures_of

PAGE = "runs.html"
WORDS = {
    "law": "law",
    "warm_up": "warm-up",
    "two_stage": "two-stage",
    "direct": "direct",
    COMPARED: "sampler",
    MIXTURE: "mixture",
    RECIPE: "recipe",
    GAIN: "test of the mixture",
}
"""Kinds of runs as the page calls them."""
RUNS_SHOWN, PANELS_SHOWN = 1_000, 3
FEWEST_POINTS = 3
COLOURS = dict(
    zip(
        KINDS,
        ("#1f5fa8", "#c25700", "#2c7a4b", "#7b4fa3", "#0f7c84", "#8a6d00", "#b3243a", "#4a4f57"),
        strict=True,
    )
)
WIDTH, HEIGHT, LEFT, BOTTOM, EDGE = 360, 240, 58, 40, 14
"""Size of a panel of the picture, and of its margins, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Total:
    """Cost of the runs of a kind, and how many are in each state; None: no table records it."""

    kind: str
    counts: Mapping[State, int]
    tokens: int | None
    flops: float | None
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Loss against compute of the runs that were measured on a target, in pixels.

    points: x, y, colour and title; ticks: position and label.
    """

    target: str
    points: list[tuple[float, float, str, str]]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


@dataclass(frozen=True, kw_only=True)
class RunsPage:
    """`left_out`: runs beyond those that are shown; `failed_seconds`: spent on attempts that failed.

    `problems`: stages and tests that failed. `legend`: kinds of the picture with their colours.
    `written_for`: digest of what the page says.
    """

    runs: list[Run]
    left_out: int
    counts: Mapping[State, int]
    totals: list[Total]
    failed_seconds: float
    problems: list[str]
    panels: list[Panel]
    legend: list[tuple[str, str]]
    kinds: Mapping[str, str]
    states: Sequence[State]
    width: int
    height: int
    left: int
    bottom: int
    edge: int
    written_for: str


def write_runs(snapshot: ProjectSnapshot, current: CurrentValues, due: Sequence[Due]) -> bool:
    """Write the page unless the one that is there says the same; return whether it was written or removed.

    A project without a run has no page. `due`: what is out of date. A tick asks for this: it compares plans,
    failures, what trains now and the versions of the tables, and reads the tables only for another page.
    """
    store, file = snapshot.project.home.store, snapshot.project.home.reports / PAGE
    try:
        outlook = read_outlook(snapshot, current, due)
        if not outlook.planned and not any(store.count(table) for table in RECORDED):
            had_page = file.exists()
            file.unlink(missing_ok=True)
            return had_page
        digest = outlook.digest(store)
        if written_state(file) == digest:
            return False
        page = _page(snapshot, current, outlook, digest)
    except DamagedTableError:  # `tamis status` and the audit name the table; the last page stays
        return False
    write_atomically(file, render(PAGE, page).encode())
    return True


def _page(snapshot: ProjectSnapshot, current: CurrentValues, outlook: Outlook, digest: str) -> RunsPage:
    runs, broken = read_runs(snapshot, current, outlook)
    drawn = [run for run in runs if run.flops and run.loss is not None and run.state != "failed"]
    panels = _panels(drawn)
    kinds_drawn = {run.kind for run in drawn} if panels else set()
    failures = failures_of(snapshot.project.home.store)
    return RunsPage(
        runs=runs[:RUNS_SHOWN],
        left_out=max(0, len(runs) - RUNS_SHOWN),
        counts=Counter(run.state for run in runs),
        totals=[_total(kind, [run for run in runs if run.kind == kind]) for kind in KINDS],
        failed_seconds=sum(failure.spent_seconds or 0.0 for failure in failures),
        problems=[*outlook.cautions, *broken],
        panels=panels,
        legend=[(WORDS[kind], COLOURS[kind]) for kind in KINDS if kind in kinds_drawn],
        kinds=WORDS,
        states=STATES,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        bottom=BOTTOM,
        edge=EDGE,
        written_for=digest,
    )


def _total(kind: str, runs: Sequence[Run]) -> Total:
    def paid(field: str) -> Any:
        values = [value for run in runs if (value := getattr(run, field)) is not None]
        return sum(values) if values else None

    return Total(
        kind=kind,
        counts=Counter(run.state for run in runs),
        tokens=paid("tokens"),
        flops=paid("flops"),
        seconds=paid("seconds"),
    )


def _panels(runs: Sequence[Run]) -> list[Panel]:
    """Return a panel for each of the targets with most runs, where these differ in compute."""
    by_target: dict[str, list[Run]] = {}
    for run in runs:
        by_target.setdefault(run.target, []).append(run)
    telling = [
        (target, own)
        for target, own in sorted(by_target.items(), key=lambda item: (-len(item[1]), item[0]))
        if len(own) >= FEWEST_POINTS and len({run.flops for run in own}) > 1
    ]
    return [_panel(target, own) for target, own in telling[:PANELS_SHOWN]]


def _panel(target: str, runs: Sequence[Run]) -> Panel:
    flops_n = np.log10([run.flops or 1.0 for run in runs])
    loss_n = np.array([run.loss for run in runs], float)
    ends = (flops_n.min(), flops_n.max()), (loss_n.min(), max(loss_n.max(), loss_n.min() + 1e-3))

    def across(values_n: np.ndarray) -> list[float]:
        share_n = (values_n - ends[0][0]) / (ends[0][1] - ends[0][0])
        return [round(float(x), 1) for x in LEFT + EDGE + share_n * (WIDTH - LEFT - 3 * EDGE)]

    def down(values_n: np.ndarray) -> list[float]:
        share_n = (ends[1][1] - values_n) / (ends[1][1] - ends[1][0])
        return [round(float(y), 1) for y in EDGE + share_n * (HEIGHT - BOTTOM - 2 * EDGE)]

    at_n, marks_n = np.linspace(*ends[0], 3), np.linspace(*ends[1], 4)
    titles = [f"{run.name}: {run.loss:.4f} bits per byte, {significant(run.flops, 3)} FLOP" for run in runs]
    return Panel(
        target=target,
        points=list(
            zip(across(flops_n), down(loss_n), (COLOURS[run.kind] for run in runs), titles, strict=True)
        ),
        x_ticks=list(zip(across(at_n), (f"{10.0**value:.2g}" for value in at_n), strict=True)),
        y_ticks=list(zip(down(marks_n), (f"{value:.3f}" for value in marks_n), strict=True)),
    )
