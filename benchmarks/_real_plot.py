"""What `benchmarks.warm_up` or `ladder` printed, drawn: how far each sampler is from random.

    python -m benchmarks._real_plot LINES PICTURE [FIGURE]

LINES: a file of the benchmark's standard output. One panel a figure (score, code length of the task's text)
and size of model, or of one figure alone, over all tasks; small marks are single tasks. An interval that
crosses the line at 0 proves nothing; blue is better than random, amber worse.
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks._real_tasks import ALL_TASKS
from tamis.report.rendering import AMBER, BLUE, FONT_POINTS, GREY, INK, new_figure, png_of

TITLES = {
    "score": "accuracy or macro-F1 less random's, in points",
    "text": "bits per byte of the task's text less random's",
    "zero_shot": "zero-shot accuracy or macro-F1 less random's, in points",
}
UNITS = {"score": 100, "text": 1, "zero_shot": 100}
LINE_INCHES, LEAST_INCHES = 0.34, 2.6

Line = dict[str, Any]


def plot_png(lines: list[Line]) -> bytes:
    """The picture of a run's lines, as PNG."""
    by_panel: dict[tuple[str, str], list[Line]] = {}
    for line in sorted(lines, key=lambda line: list(TITLES).index(line["kind"])):
        by_panel.setdefault((line["kind"], line.get("rung", "")), []).append(line)
    first = next(iter(by_panel.values()))
    samplers = [
        line["sampler"] for line in first if line["task"] == ALL_TASKS and line["sampler"] != "random"
    ]
    height = max(LEAST_INCHES, LINE_INCHES * len(samplers) + 0.9)
    figure, axes = new_figure(len(by_panel), width=5.0 * len(by_panel), height=height)
    for axis, ((kind, rung), drawn) in zip(axes, by_panel.items(), strict=True):
        _draw(axis, drawn, samplers[::-1])
        axis.set_xlabel(f"{rung}: {TITLES[kind]}" if rung else TITLES[kind], fontsize=FONT_POINTS)
    return png_of(figure)


def _draw(axis: Any, lines: list[Line], samplers: list[str]) -> None:
    unit = UNITS[lines[0]["kind"]]
    better = -1 if lines[0]["kind"] == "text" else 1  # the sign of a gain
    for line in lines:
        if line["sampler"] not in samplers:
            continue
        place = samplers.index(line["sampler"])
        if line["task"] != ALL_TASKS:
            axis.plot(unit * line["over_random"], place, "|", color=GREY, markersize=9)
            continue
        proven = line["low"] > 0 or line["high"] < 0
        colour = (BLUE if line["over_random"] * better > 0 else AMBER) if proven else INK
        axis.plot(unit * line["over_random"], place, "o", color=colour, markersize=6)
        axis.plot([unit * line["low"], unit * line["high"]], [place, place], color=colour, linewidth=1.6)
    axis.axvline(0, color=GREY, linewidth=1)
    axis.set_yticks(range(len(samplers)), samplers, fontsize=FONT_POINTS)
    axis.set_ylim(-0.6, len(samplers) - 0.4)
    axis.locator_params(axis="x", nbins=6)


def main() -> None:
    """Draw."""
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], *([name] for name in TITLES)):
        sys.exit(f"usage: python -m benchmarks._real_plot LINES PICTURE [{' | '.join(TITLES)}]")
    try:
        text = Path(sys.argv[1]).read_text()
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
    wanted = [line for line in figures_in(text) if line["kind"] in (sys.argv[3:] or TITLES)]
    if not any(line["task"] == ALL_TASKS for line in wanted):
        sys.exit(
            f"{sys.argv[1]} has no figures over all tasks: give a file of all that the benchmark printed"
        )
    Path(sys.argv[2]).write_bytes(plot_png(wanted))


def figures_in(text: str) -> list[Line]:
    """The lines of these benchmarks in a text that can be drawn; what else is there is left out."""
    found = []
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        named = isinstance(values, dict) and values.get("benchmark") in ("warm_up", "ladder")
        if named and values.get("kind") in TITLES:
            found.append(values)
    return found


if __name__ == "__main__":
    main()
