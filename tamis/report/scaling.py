"""The scaling page of one target: which model to tune, how far more data takes it, and the curves."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tamis.base.numbers import number, whole
from tamis.report.rendering import FONT_POINTS, INK, data_uri, new_figure, png_of, render
from tamis.scaling.choice import trust
from tamis.scaling.costs import Cost
from tamis.scaling.report_values import WIDEST, ModelReport, ScalingReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_MODELS = 12
CLIPPED = 2.0  # values further from the measured losses than this factor are not drawn
COLOURS = ("#1f5fa8", "#c25700", "#2c7a4b", "#8a2f8f", "#7a5a00", "#b3243a", "#3f6f7f", "#5b5b5b")
COLOURS_AND_MARKS = [(colour, mark) for mark in "os^D" for colour in COLOURS]


def curve_plot_png(report: ScalingReport) -> bytes:
    """Return points, laws and predictions of every model as PNG of at most 60 KB."""
    figure, (axis,) = new_figure()
    for model, (colour, mark) in zip(report.ranked[:MOST_MODELS], COLOURS_AND_MARKS, strict=False):
        _draw_model(axis, report, model, colour, mark)
    _finish(figure, axis, report)
    return png_of(figure)


def _draw_model(axis: Any, report: ScalingReport, model: ModelReport, colour: str, mark: str) -> None:
    chosen = " (chosen)" if model.model == report.chosen else ""
    axis.plot(model.sizes, model.losses, mark, color=colour, markersize=6, label=f"{model.model}{chosen}")
    for law, dashes in (("rectified", "-"), ("vanilla", ":")):
        losses = model.laws[law].grid_losses
        if losses:
            axis.plot(report.grid, losses, dashes, color=colour, linewidth=1.2, alpha=0.8)
    turn = model.pre_learned
    if report.grid[0] <= turn.examples <= report.grid[-1]:
        axis.plot(turn.examples, turn.loss, "x", color=colour, markersize=8, markeredgewidth=1.8, zorder=5)
        if chosen:
            axis.axvspan(report.grid[0], turn.examples, color=colour, alpha=0.07, zorder=0, linewidth=0)
            for text, side in (("slow phase  ", "right"), ("  power phase", "left")):
                axis.text(
                    turn.examples,
                    0.02,
                    text,
                    transform=axis.get_xaxis_transform(),  # at the bottom
                    ha=side,
                    color=colour,
                    fontsize=FONT_POINTS - 1,
                )
    shown = [one for one in model.predictions if math.isfinite(one.loss)]
    for one in shown:
        axis.plot(one.size, one.loss, mark, color=colour, markerfacecolor="white", markersize=6, zorder=4)
        if math.isfinite(one.low) and math.isfinite(one.high):
            axis.plot([one.size] * 2, [one.low, one.high], color=colour, linewidth=1.6, alpha=0.7, zorder=3)


def _finish(figure: "Figure", axis: Any, report: ScalingReport) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_xscale("log")
    axis.set_yscale("log")
    plain = FuncFormatter(lambda value, _place: short(value))
    sizes = sorted(
        {n for model in report.models for n in model.sizes} | {report.target_size * m for m in (1, 2, 4)}
    )
    step = max(1, math.ceil(len(sizes) / 10))
    axis.set_xticks(sizes[::-1][::step])
    axis.xaxis.set_major_formatter(plain)
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()
    _loss_ticks(axis, report, plain)
    axis.axvline(report.target_size, color=INK, linewidth=0.8, linestyle="--", alpha=0.5)
    axis.text(
        report.target_size,
        1.01,
        "target size",
        transform=axis.get_xaxis_transform(),  # at the top
        ha="center",
        fontsize=FONT_POINTS - 1,
    )
    axis.set_xlabel("training examples (logarithmic)", fontsize=FONT_POINTS)
    axis.set_ylabel(f"held-out loss, {report.unit}", fontsize=FONT_POINTS)
    axis.grid(color="#e6eaee", linewidth=0.6)
    if report.models:
        axis.legend(fontsize=FONT_POINTS - 1, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def short(value: float) -> str:
    """Return a number for an axis: 12.8k, 1.64M."""
    for least, unit, name in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / unit:.3g}{name}"
    return f"{value:,.4g}"


def loss_limits(report: ScalingReport) -> tuple[float, float] | None:
    """Return limits from points and intervals (a law may leave them), within `CLIPPED` of the points."""
    measured = [v for model in report.models for v in model.losses]
    if not measured:
        return None
    ends = [v for m in report.models for p in m.predictions for v in (p.loss, p.low, p.high)]
    ends = [*measured, *(v for v in ends if math.isfinite(v))]
    low, high = max(min(ends), min(measured) / CLIPPED), min(max(ends), max(measured) * CLIPPED)
    return low * 0.97, high * 1.03


def _loss_ticks(axis: Any, report: ScalingReport, plain: Any) -> None:
    """About six round ticks between the limits."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    if (limits := loss_limits(report)) is None:
        axis.set_ylim(1.0, 2.0)  # a logarithmic axis cannot be drawn without limits
        axis.set_yticks([])
        return
    low, high = limits
    axis.set_ylim(low, high)
    axis.yaxis.set_major_locator(
        FixedLocator([tick for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high])
    )
    axis.yaxis.set_major_formatter(plain)


@dataclass(frozen=True, kw_only=True)
class ScalingPage:
    """Fields of the page beyond the report.

    `basis`: the chosen model's predicted loss at the target size, of which percentages of losses are.
    `most_sizes`: so many are enough for everything. `preferred`: how many models each law is the best for.
    `lacking`: by number of sizes, the models for which some law has no AICc. `costs`: of each model, of runs
    that failed and of all: spent, and in full.
    `measured`: by size, the loss of each model.
    """

    report: ScalingReport
    chosen: ModelReport | None
    basis: float | None
    most_sizes: int
    trust: str
    picture: str
    most_models: int
    clipped: float
    widest: float
    preferred: dict[str, int]
    lacking: list[tuple[int, list[ModelReport]]]
    costs: list[tuple[str, Cost, Cost | None]]
    measured: list[tuple[float, list[float | None]]]


def scaling_law_page(report: ScalingReport) -> str:
    """Return the whole page."""
    models = report.models
    judged = [model.best_law for model in models if model.best_law]
    by_sizes: dict[int, list[ModelReport]] = {}
    for model in models:
        if len(model.compared) < len(model.laws):
            by_sizes.setdefault(len(set(model.sizes)), []).append(model)
    wasted: list[tuple[str, Cost, Cost | None]] = [("runs that failed", report.wasted, None)]
    losses = [dict(zip(model.sizes, model.losses, strict=True)) for model in models]
    chosen = next((model for model in models if model.model == report.chosen), None)
    return render(
        "scaling.html",
        ScalingPage(
            report=report,
            chosen=chosen,
            basis=chosen.predictions[0].loss if chosen else None,
            most_sizes=max((law.least_sizes for model in models for law in model.laws.values()), default=0),
            trust=trust(models, report.unit),
            picture=data_uri(curve_plot_png(report)),
            most_models=MOST_MODELS,
            clipped=CLIPPED,
            widest=WIDEST,
            preferred={law: judged.count(law) for law in (models[0].laws if models else ()) if law in judged},
            lacking=sorted(by_sizes.items()),
            costs=[
                *((model.model, model.spent, model.full) for model in models),
                *(wasted if report.failed else ()),
                ("all", report.spent, report.full),
            ],
            measured=[
                (size, [one.get(size) for one in losses])
                for size in sorted({n for one in losses for n in one})
            ],
        ),
    )


def models_markdown(report: ScalingReport) -> str:
    """Return the models as a Markdown table: what was measured and what is predicted at the target size."""
    predicted = f"predicted loss at {whole(report.target_size)} examples"
    head = f"| model | number of sizes | loss at the largest size | {predicted} | 90 % interval |"
    return "\n".join([head, "|---|---|---|---|---|", *(_model_row(model) for model in report.models)])


def _model_row(model: ModelReport) -> str:
    found, measured = model.predictions[0], [n for n in model.sizes if n > 0]
    last = f"{number(model.losses[-1])} at {whole(measured[-1])}" if measured else "none"
    interval = f"{number(found.low)} to {number(found.high)}" if math.isfinite(found.high) else "none"
    return f"| {model.model} | {len(measured)} | {last} | {number(found.loss)} | {interval} |"
