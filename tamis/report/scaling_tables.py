"""The tables of the scaling page, each with the note that says how to read it."""

import math
from collections.abc import Callable

from tamis.report.page import Column, Content, Markup, count, number, paragraph, percent, significant, table
from tamis.report.scaling_data import ModelReport, Prediction, ScalingReport
from tamis.report.scaling_report import METHODS
from tamis.scaling.costs import Cost

NAMES = {
    "best": "trend (used)",
    "ats": "Accept-then-Stop",
    "rectified": "rectified law",
    "vanilla": "vanilla law",
}
TOO_FEW = "too few sizes"
LISTED_SIZES = 4
HOUR, MINUTE = 3600.0, 60.0


def interval(found: Prediction) -> str:
    """ "low to high", or a dash."""
    both = math.isfinite(found.low) and math.isfinite(found.high)
    return f"{number(found.low)} to {number(found.high)}" if both else "–"


def duration(seconds: float) -> str:
    """Seconds in words that suit their size."""
    if not math.isfinite(seconds):
        return "–"
    if seconds >= HOUR:
        return f"{seconds / HOUR:,.1f} hours"
    return f"{seconds / MINUTE:.1f} minutes" if seconds >= 2 * MINUTE else f"{seconds:.3g} seconds"


def alternatives_table(report: ScalingReport) -> list[Markup]:
    """Models by predicted loss, and by how much and how surely each is behind the chosen one."""
    ranked = sorted(report.models, key=_rank)
    best = ranked[0].predictions[0].loss if ranked else math.nan
    headings = ("sizes", "zero-shot loss", "loss at largest size")
    more = (
        f"predicted at {count(report.target_size)}",
        "90 % interval",
        "behind the best",
        "chance of being better",
    )
    columns = _columns("model", *headings, *more)
    rows = [_alternative(model, best, model.model == report.chosen) for model in ranked]
    strong = frozenset(place for place, model in enumerate(ranked) if model.model == report.chosen)
    note = f"Losses in {report.unit} of held-out target text, best first. The chosen model is set off."
    return [_note(note), table(columns, rows, strong)]


def _rank(model: ModelReport) -> tuple[float, str]:
    loss = model.predictions[0].loss
    return (loss if math.isfinite(loss) else math.inf, model.model)


def _alternative(model: ModelReport, best: float, chosen: bool) -> list[Content]:
    found = model.predictions[0]
    behind = (
        f"{number(found.loss - best)} ({percent(found.loss / best - 1)})"
        if math.isfinite(found.loss)
        else None
    )
    return [
        model.model,
        str(len(model.sizes)),
        number(model.zero_shot),
        f"{number(model.losses[-1])} at {count(model.sizes[-1])}" if model.sizes else None,
        number(found.loss),
        interval(found) if math.isfinite(found.high) else TOO_FEW,
        "chosen" if chosen else behind,
        "–" if chosen else percent(model.chance_better, 0),
    ]


def doublings_table(report: ScalingReport) -> list[Markup]:
    """Predicted loss at the target size, at twice and four times that, and what a run on twice costs."""
    sizes = [count(report.target_size * multiple) for multiple in (1, 2, 4)]
    columns = _columns(
        "model",
        *(f"at {size} (90 % interval)" for size in sizes),
        "saved by doubling",
        "a run on twice the data, FLOP",
        "its time",
    )
    rows = [
        [model.model, *map(_with_interval, model.predictions), *_doubling(model)] for model in report.models
    ]
    note = (
        "What the next doubling of the data saves of the loss, and what training anew on all "
        f"{count(2 * report.target_size)} examples costs, evaluation included; gathering "
        f"{count(report.target_size)} more examples comes on top."
    )
    return [_note(note), table(columns, rows, _place_of_chosen(report))]


def _doubling(model: ModelReport) -> list[Content]:
    gain = model.next_doubling
    saved = (
        f"{number(gain)} ({percent(gain / model.predictions[0].loss)})"
        if math.isfinite(gain) and len(model.sizes) > 1
        else TOO_FEW
    )
    return [saved, significant(model.double.flops, 3), duration(model.double.seconds)]


def phases_table(report: ScalingReport) -> list[Markup]:
    """Pre-learned data of every model, with its interval, and whether the runs went past it."""
    columns = _columns(
        "model", "pre-learned examples D0", "90 % interval", "fitted loss there", last="the runs"
    )
    rows = [_phase(model) for model in report.models]
    note = (
        "By the rectified law, with intervals from a parametric bootstrap. A curve that was measured in its "
        "slow phase alone says little about the power law that follows."
    )
    return [_note(note), table(columns, rows, _place_of_chosen(report))]


def _phase(model: ModelReport) -> list[Content]:
    found = model.pre_learned
    if not math.isfinite(found.low):
        return [model.model, TOO_FEW, TOO_FEW, None, None]
    low, high = (_examples(end) for end in (found.low, found.high))
    past = sum(size > found.examples for size in model.sizes)
    return [
        model.model,
        _examples(found.examples),
        f"{low} to {high}",
        number(found.loss),
        f"{past} of {len(model.sizes)} sizes lie in the power phase",
    ]


def _examples(value: float) -> str:
    if not math.isfinite(value) or value > 1e15:
        return "no bound"
    return "under 1" if value < 1 else significant(value, 3)


def methods_table(report: ScalingReport) -> list[Markup]:
    """Predictions at the target by each method."""
    columns = _columns(
        "model", *(NAMES[method] for method in METHODS), last="sizes that Accept-then-Stop accepted"
    )
    rows = [
        [model.model, *(_with_interval(model.at_target[method]) for method in METHODS), _accepted(model)]
        for model in report.models
    ]
    note = f"At {count(report.target_size)} examples, with 90 % intervals. Agreement deserves more trust."
    return [_note(note), table(columns, rows)]


def _with_interval(found: Prediction) -> str:
    return f"{number(found.loss)} ({interval(found)})" if math.isfinite(found.loss) else TOO_FEW


def _accepted(model: ModelReport) -> str | None:
    sizes = model.at_target["ats"].accepted
    if not sizes:
        return None
    if len(sizes) <= LISTED_SIZES:
        return ", ".join(count(size) for size in sizes)
    return f"{count(min(sizes))} to {count(max(sizes))} ({len(sizes)})"


def backtest_table(report: ScalingReport) -> list[Markup]:
    """The largest size of every model, hidden and predicted."""
    tried = [(model.model, model.backtest) for model in report.models if model.backtest is not None]
    if not tried:
        return [_note("No model has the four sizes that this needs: too few sizes.")]
    columns = _columns(
        "model", "hidden size", "measured", *(NAMES[method] for method in METHODS), last="interval"
    )
    rows: list[list[Content]] = [
        [
            name,
            f"{count(test.size)} (from {test.sizes_used} sizes)",
            number(test.measured),
            *(
                f"{number(test.predictions[method].loss)} ({100 * test.error(method):+.1f} %)"
                if math.isfinite(test.predictions[method].loss)
                else TOO_FEW
                for method in METHODS
            ),
            f"{interval(test.predictions['best'])}: {'held' if test.within else 'missed'}",
        ]
        for name, test in tried
    ]
    note = f"Predicted loss in {report.unit}, in brackets its error relative to the measured loss."
    return [_note(note), table(columns, rows)]


def cost_table(report: ScalingReport) -> list[Markup]:
    """Cost of the runs, in three currencies, beside that of tuning every model once at the target size."""
    columns = [Column(heading="model")]
    for currency in ("examples", "FLOP", "time"):
        columns += [Column(heading=f"{currency}: {what}", kind="n") for what in ("spent", "in full", "share")]
    rows = [_cost_row(model.model, model.spent, model.full) for model in report.models]
    if report.failed:
        rows.append(_cost_row("runs that failed", report.wasted, None))
    rows.append(_cost_row("all", report.spent, report.full))
    note = (
        "Spent: all runs, with the evaluation of each. In full: tuning every model of the table once at the "
        "target size and evaluating it, reckoned from what training on an example and evaluating a run took "
        "here. FLOP weigh each model by its size; time is that of the machine."
    )
    if report.failed:
        note += " Runs that failed count in full, but for their time, which was measured."
    return [_note(note), table(columns, rows, frozenset({len(rows) - 1}))]


def failed_table(report: ScalingReport) -> list[Markup]:
    """The runs that were left out, and why."""
    columns = [
        Column(heading="model"),
        Column(heading="examples", kind="n"),
        Column(heading="time", kind="n"),
        Column(heading="last error"),
    ]
    rows: list[list[Content]] = [
        [run.model, count(run.size), duration(run.cost.seconds), run.reason] for run in report.failed
    ]
    note = (
        "They failed as often as they may, or for good, and were left out. When the cause is gone, "
        "`tamis materialize --try-again` tries them again."
    )
    return [_note(note), table(columns, rows)]


def _cost_row(name: str, spent: Cost, full: Cost | None) -> list[Content]:
    shows: list[tuple[str, Callable[[float], str]]] = [
        ("examples", count),
        ("flops", lambda value: significant(value, 3)),
        ("seconds", duration),
    ]
    cells: list[Content] = [name]
    for currency, show in shows:
        one, whole = getattr(spent, currency), getattr(full, currency, math.nan)
        cells += [show(one), show(whole) if full else None, percent(one / whole) if whole > 0 else None]
    return cells


def points_table(report: ScalingReport) -> Markup:
    """Every loss that was measured."""
    sizes = sorted({size for model in report.models for size in model.sizes})
    columns = [Column(heading="examples", kind="n")]
    columns += [Column(heading=model.model, kind="n") for model in report.models]
    rows = [["0 (zero-shot)", *(number(model.zero_shot) for model in report.models)]]
    for size in sizes:
        known = [dict(zip(model.sizes, model.losses, strict=True)).get(size) for model in report.models]
        rows.append([count(size), *(number(loss) for loss in known)])
    return table(columns, rows)


def _columns(first: str, *numbers: str, last: str = "") -> list[Column]:
    columns = [Column(heading=first), *(Column(heading=heading, kind="n") for heading in numbers)]
    return [*columns, Column(heading=last)] if last else columns


def _note(text: str) -> Markup:
    return paragraph(text, class_="note")


def _place_of_chosen(report: ScalingReport) -> frozenset[int]:
    return frozenset(place for place, model in enumerate(report.models) if model.model == report.chosen)
