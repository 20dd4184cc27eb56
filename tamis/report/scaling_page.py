"""The scaling page: which model to tune, how far more data takes it, and how certain that is.

The answer stands first, then what to doubt, then the numbers it comes from.
"""

import math

from tamis.report.page import (
    Column,
    Content,
    Markup,
    bullets,
    count,
    definitions,
    document,
    element,
    image,
    number,
    paragraph,
    percent,
    section,
    significant,
    table,
)
from tamis.report.scaling_plot import MOST_MODELS, curve_plot_png
from tamis.report.scaling_report import (
    BITS_PER_BYTE,
    METHODS,
    NATS_PER_EXAMPLE,
    FittedLaw,
    ModelReport,
    Prediction,
    ScalingReport,
)
from tamis.scaling.laws import LAWS

NAMES = {
    "best": "trend (used)",
    "ats": "Accept-then-Stop",
    "rectified": "rectified law",
    "vanilla": "vanilla law",
}
LISTED_SIZES = 4
LIMITS = {
    "share": "E (or else B) is zero",
    "delay": "D_l is zero or without bound",
    "beta": "beta at the end of its range",
    "alpha": "alpha at the end of its range",
}
LOSSES = {
    BITS_PER_BYTE: "How many bits the model needs for one byte of text it was not trained on; smaller is "
    "better. Unlike loss per token it can be compared between models with different tokenizers.",
    NATS_PER_EXAMPLE: "What the right label of a text costs that the model was not trained on: the natural "
    "logarithm of one over its probability; smaller is better.",
}
TERMS = {
    "zero-shot": "The loss of the base model before any training on the target.",
    "90 % interval": "The range that should hold the true loss nine times in ten, widened by how well the "
    "same method predicts points that are already known.",
    "trend": "The method used for the choice: the robust slope at the end of each curve, bent by the "
    "acceleration that all curves share.",
    "Accept-then-Stop (AtS)": "A straight line in log size and log loss through the largest sizes, taking in "
    "smaller ones for as long as they lie on it (Lin et al., arXiv 2402.02314).",
    "rectified law": "L(D) = B / (D_l + D^beta) + E: loss after D examples. E is the loss that no amount of "
    "data removes.",
    "pre-learned data D_l": "What the base model already knows of the task: it behaves as if it had seen "
    "this much before the first example. Shown as fitted (in units of D^beta) and as a number of examples.",
    "vanilla law": "L(D) = (B / D^beta + E)^alpha: the usual law, which knows of no pre-learned data.",
    "misfit (RMSD)": "Typical relative distance between law and measured points, on the points it was fitted "
    "to.",
    "AICc": "Misfit with a penalty for every parameter, to compare laws on one model: smaller is better. It "
    "does not exist when there are hardly more points than parameters.",
    "backtest": "The prediction tried on a known point: sizes above half the largest are hidden, then the "
    "largest is predicted.",
}


def scaling_law_page(report: ScalingReport) -> str:
    """The whole page as HTML."""
    return document(
        "Scaling: which model, and how much data",
        "Several base models were tuned on growing subsets of the same examples. From how the loss falls, "
        "this page predicts the loss at sizes that were not run.",
        _answer(report),
        _doubts(report),
        section("The curves", *_picture(report)),
        section("Models", _models_table(report)),
        section("Predicted loss by method", _methods_table(report)),
        section("Fitted laws", _laws_table(report)),
        section("Backtest: would it have been right?", *_backtest(report)),
        section("Cost", *_cost(report)),
        section("All measurements", _points_table(report)),
        section("Terms", definitions({f"loss, {report.unit}": LOSSES[report.unit], **TERMS})),
    )


def interval(found: Prediction) -> str:
    """ "low to high", or a dash."""
    both = math.isfinite(found.low) and math.isfinite(found.high)
    return f"{number(found.low)} to {number(found.high)}" if both else "–"


def _chosen(report: ScalingReport) -> ModelReport | None:
    return next((model for model in report.models if model.model == report.chosen), None)


def _answer(report: ScalingReport) -> Markup:
    chosen = _chosen(report)
    if chosen is None:
        return paragraph(report.why, class_="answer")
    now, double = chosen.predictions[:2]
    cost = (
        f" Finding this out cost {percent(report.cost_share, 0)} of tuning every model at that size."
        if math.isfinite(report.cost_share)
        else ""
    )
    return paragraph(
        "Tune ",
        element("strong", chosen.model),
        f". With {count(report.target_size)} examples its predicted loss is {number(now.loss)} {report.unit} "
        f"(90 % interval {interval(now)}). {report.why} Doubling the data again, to {count(double.size)} "
        f"examples, should {_moves(chosen.next_doubling)} by {number(abs(chosen.next_doubling))} "
        f"({percent(abs(chosen.next_doubling) / now.loss)}).{cost}",
        class_="answer",
    )


def _moves(gain: float) -> str:
    return "raise it" if gain < 0 else "lower it"


def _doubts(report: ScalingReport) -> Markup:
    defects: list[Content] = [f"{d['model']}: {d['kind']} ({d['detail']})" for d in report.defects]
    parts = [element("strong", "How far to trust this"), bullets(report.caveats)]
    if defects:
        parts += [element("strong", "Oddities found in the measurements"), bullets(defects)]
    return element("div", *parts, class_="caution")


def _picture(report: ScalingReport) -> list[Markup]:
    shown = f" Only the best {MOST_MODELS} models are drawn." if len(report.models) > MOST_MODELS else ""
    return [
        image(curve_plot_png(report), "Held-out loss over the number of training examples, for every model"),
        paragraph(
            "Filled marks are measured. Open marks are predicted by the method used (the trend), with a bar "
            "for the 90 % interval, at the target size and at twice and four times that. Lines are fitted "
            "laws: solid the rectified one, dotted the vanilla one; where they part, more data alone can "
            "tell which is right." + shown,
            class_="note",
        ),
    ]


def _models_table(report: ScalingReport) -> Markup:
    sizes = [count(report.target_size * multiple) for multiple in (1, 2, 4)]
    headings = (
        "sizes",
        "zero-shot loss",
        "loss at largest size",
        f"predicted at {sizes[0]} (90 % interval)",
    )
    more = (f"at {sizes[1]}", f"at {sizes[2]}", "gain of next doubling", "pre-learned examples")
    columns = [Column(heading="model"), *(Column(heading=name, kind="n") for name in (*headings, *more))]
    rows = [_model_row(model) for model in report.models]
    strong = frozenset(place for place, model in enumerate(report.models) if model.model == report.chosen)
    return element(
        "div",
        paragraph(
            f"Losses in {report.unit} of held-out target text. The chosen model is set off.", class_="note"
        ),
        table(columns, rows, strong),
    )


def _model_row(model: ModelReport) -> list[Content]:
    now, double, fourfold = model.predictions
    gain = model.next_doubling
    return [
        model.model,
        str(len(model.sizes)),
        number(model.zero_shot),
        f"{number(model.losses[-1])} at {count(model.sizes[-1])}" if model.sizes else None,
        _with_interval(now),
        number(double.loss),
        number(fourfold.loss),
        f"{number(gain)} ({percent(gain / now.loss)})" if math.isfinite(gain) else None,
        _pre_learned(model.pre_learned_examples, len(model.sizes)),
    ]


def _pre_learned(examples: float, sizes: int) -> str:
    if sizes <= len(
        LAWS["rectified"].free
    ):  # the law fits any such curve, so the number would be an accident
        return "too few sizes"
    return "under 1" if examples < 1 else significant(examples, 3)


def _methods_table(report: ScalingReport) -> Markup:
    columns = [Column(heading="model")]
    columns += [Column(heading=NAMES[method], kind="n") for method in METHODS]
    columns.append(Column(heading="sizes that Accept-then-Stop accepted"))
    rows = [
        [model.model, *(_with_interval(model.at_target[method]) for method in METHODS), _accepted(model)]
        for model in report.models
    ]
    note = f"At {count(report.target_size)} examples, with 90 % intervals. Agreement deserves more trust."
    return element("div", paragraph(note, class_="note"), table(columns, rows))


def _with_interval(found: Prediction) -> str | None:
    return f"{number(found.loss)} ({interval(found)})" if math.isfinite(found.loss) else None


def _accepted(model: ModelReport) -> str | None:
    sizes = model.at_target["ats"].accepted
    if not sizes:
        return None
    ends = f"{count(min(sizes))} to {count(max(sizes))}"
    return (
        ", ".join(count(size) for size in sizes) if len(sizes) <= LISTED_SIZES else f"{ends} ({len(sizes)})"
    )


def _laws_table(report: ScalingReport) -> Markup:
    kinds = {"misfit (RMSD)": "n", "AICc": "n"}
    headings = ("model", "law", "parameters", "misfit (RMSD)", "AICc", "how the fit went")
    columns = [Column(heading=name, kind="n" if name in kinds else "t") for name in headings]
    return table(
        columns, [[model.model, *_law_row(law)] for model in report.models for law in model.laws.values()]
    )


def _law_row(law: FittedLaw) -> list[Content]:
    known = all(math.isfinite(value) for value in law.parameters.values())
    parameters = ", ".join(f"{name} = {significant(value, 3)}" for name, value in law.parameters.items())
    aicc = number(law.aicc, 1) if math.isfinite(law.aicc) else "too few sizes"
    limits = "".join(f"; {LIMITS.get(name, name)}" for name in law.at_bounds)
    return [law.law, parameters if known else None, percent(law.rmsd, 2), aicc, law.status + limits]


def _backtest(report: ScalingReport) -> list[Markup]:
    tried = [(model.model, model.backtest) for model in report.models if model.backtest is not None]
    if not tried:
        return [paragraph("No model has the four sizes that this needs.", class_="note")]
    columns = [
        Column(heading="model"),
        Column(heading="hidden size", kind="n"),
        Column(heading="measured", kind="n"),
    ]
    columns += [Column(heading=NAMES[method], kind="n") for method in METHODS]
    rows = [
        [
            name,
            f"{count(test.size)} (from {test.sizes_used} sizes)",
            number(test.measured),
            *(
                f"{number(test.predictions[method].loss)} ({100 * test.error(method):+.1f} %)"
                if math.isfinite(test.predictions[method].loss)
                else "too few sizes"
                for method in METHODS
            ),
        ]
        for name, test in tried
    ]
    note = f"Predicted loss in {report.unit}, in brackets its error relative to the measured loss."
    return [paragraph(note, class_="note"), table(columns, rows)]


def _cost(report: ScalingReport) -> list[Markup]:
    headings = ("spent on these runs, FLOP", "tuning at the target size, FLOP", "share")
    columns = [Column(heading="model"), *(Column(heading=name, kind="n") for name in headings)]
    rows = [_cost_row(model.model, model.cost_spent, model.cost_full) for model in report.models]
    spent, full = (sum(m.cost_spent for m in report.models), sum(m.cost_full for m in report.models))
    rows.append(_cost_row("all models", spent, full))
    note = (
        "FLOP: floating-point operations of training, measured per example. The share compares all runs "
        "above with simply tuning every model once at the target size."
    )
    return [paragraph(note, class_="note"), table(columns, rows, frozenset({len(rows) - 1}))]


def _cost_row(name: str, spent: float, full: float) -> list[Content]:
    share = spent / full if full > 0 else math.nan
    return [name, significant(spent, 3), significant(full, 3), percent(share)]


def _points_table(report: ScalingReport) -> Markup:
    sizes = sorted({size for model in report.models for size in model.sizes})
    columns = [Column(heading="examples", kind="n")]
    columns += [Column(heading=model.model, kind="n") for model in report.models]
    rows = [["0 (zero-shot)", *(number(model.zero_shot) for model in report.models)]]
    for size in sizes:
        known = [dict(zip(model.sizes, model.losses, strict=True)).get(size) for model in report.models]
        rows.append([count(size), *(number(loss) for loss in known)])
    return table(columns, rows)
