"""The scaling page of one target: which model to tune, how far more data takes it, and how certain that is.

The answer comes first, then what to doubt, then the picture, then the numbers it comes from.
"""

import math
from dataclasses import dataclass

from tamis.base.numbers import number, whole
from tamis.report.figures import data_uri
from tamis.report.rendering import render
from tamis.report.scaling_plot import CLIPPED, MOST_MODELS, curve_plot_png
from tamis.scaling.choice import trust
from tamis.scaling.costs import Cost
from tamis.scaling.report_values import WIDEST, ModelReport, ScalingReport


@dataclass(frozen=True, kw_only=True)
class ScalingPage:
    """What the page shows beyond the report.

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
    page = ScalingPage(
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
            (size, [one.get(size) for one in losses]) for size in sorted({n for one in losses for n in one})
        ],
    )
    return render("scaling.html", page)


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
