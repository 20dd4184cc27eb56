"""The scaling page of one target: which model to tune, how far more data takes it, and how certain that is.

The answer stands first, then what to doubt, then the picture, then the numbers it comes from.
"""

import math

from tamis.report.page import (
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
)
from tamis.report.scaling_choice import trust
from tamis.report.scaling_data import (
    BITS_PER_BYTE,
    NATS_PER_EXAMPLE,
    WIDEST,
    ModelReport,
    Prediction,
    ScalingReport,
)
from tamis.report.scaling_laws import laws_table
from tamis.report.scaling_plot import CLIPPED, MOST_MODELS, curve_plot_png
from tamis.report.scaling_tables import (
    alternatives_table,
    backtest_table,
    cost_table,
    doublings_table,
    duration,
    failed_table,
    interval,
    methods_table,
    phases_table,
    points_table,
)

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
    "chance of being better": "That a model would beat the chosen one at the target size, taking the errors "
    "of the two predictions to be independent and normal in the logarithm.",
    "trend": "The method used for the choice: the robust slope at the end of each curve, bent by the "
    "acceleration that all curves share.",
    "Accept-then-Stop (AtS)": "A straight line in log size and log loss through the largest sizes, taking in "
    "smaller ones for as long as they lie on it (Lin et al., arXiv 2402.02314).",
    "rectified law": "L(D) = B / (D_l + D^beta) + E: loss after D examples. E is the loss that no amount of "
    "data removes.",
    "pre-learned data D_l": "What the base model already knows of the task: it behaves as if it had seen "
    "this much before the first example. In units of D^beta where the law is given, in examples elsewhere.",
    "slow phase, power phase": "Until a model has seen about as much data as it had learned before, its loss "
    "falls slowly; beyond, it falls as a power of the data. The phases meet at D0 = D_l^(1/beta).",
    "vanilla law, power3": "L(D) = (B / D^beta + E)^alpha and L(D) = B / D^beta + E: the usual laws, which "
    "know of no pre-learned data.",
    "misfit (RMSD)": "Typical relative distance between law and measured points, on the points it was fitted "
    "to.",
    "AICc": "Misfit with a penalty for every parameter, to compare laws on one model: the smaller, the "
    "better; a difference of less than two says little. It does not exist with hardly more points than "
    "parameters.",
    "backtest": "The prediction tried on a known point: sizes above half the largest are hidden, then the "
    "largest is predicted.",
    "FLOP": "Floating-point operations of training and evaluation, as the runs counted them.",
}


def scaling_law_page(report: ScalingReport) -> str:
    """The whole page as HTML."""
    of_target = f" on {report.target}" if report.target else ""
    return document(
        f"Scaling{of_target}: which model, and how much data",
        "Several base models were tuned on growing subsets of the same examples. From how the loss falls, "
        "this page predicts the loss at sizes that were not run.",
        _answer(report),
        _doubts(report),
        section("The curves", *_picture(report)),
        section("The models against each other", *alternatives_table(report)),
        section("What more data would buy", *doublings_table(report)),
        section("What finding out cost", *cost_table(report)),
        *([section("Runs that failed", *failed_table(report))] if report.failed else []),
        section("Backtest: would it have been right?", *backtest_table(report)),
        section("Two phases: what each model knew before", *phases_table(report)),
        section("Which law fits", *laws_table(report)),
        section("Predicted loss by method", *methods_table(report)),
        section("All measurements", points_table(report)),
        section("Terms", definitions({f"loss, {report.unit}": LOSSES[report.unit], **TERMS})),
    )


def _chosen(report: ScalingReport) -> ModelReport | None:
    return next((model for model in report.models if model.model == report.chosen), None)


def _answer(report: ScalingReport) -> Markup:
    chosen = _chosen(report)
    if chosen is None:
        return paragraph(report.why, class_="answer")
    now = chosen.predictions[0]
    certain = f"90 % interval {interval(now)}" if math.isfinite(now.high) else "too few sizes for an interval"
    certain += ", too wide to say anything" if math.isfinite(now.high) and now.says_nothing else ""
    answer = paragraph(
        "Tune ",
        element("strong", chosen.model),
        f". With {count(report.target_size)} examples its predicted loss is {number(now.loss)} {report.unit} "
        f"({certain}). {report.why}",
    )
    return element("div", answer, paragraph(_doubling(chosen)), paragraph(_cost(report)), class_="answer")


def _doubling(chosen: ModelReport) -> str:
    """What twice the data would do for the chosen model, and at what cost."""
    now, double = chosen.predictions[:2]
    gain = chosen.next_doubling
    if len(chosen.sizes) < 2 or not math.isfinite(gain):  # one size has no slope but the others'
        return f"Too few sizes to say what twice the data would do.{_telling(chosen)}"
    if double.says_nothing:
        return f"{_nothing_said(double)}{_telling(chosen)}"
    said = f"Twice the data, {count(double.size)} examples, {_moved(chosen)}"
    costs = [
        f"{significant(chosen.double.flops, 3)} FLOP" if math.isfinite(chosen.double.flops) else "",
        duration(chosen.double.seconds) if math.isfinite(chosen.double.seconds) else "",
    ]
    halves = [
        significant(chosen.full.flops, 3) if costs[0] else "",
        duration(chosen.full.seconds) if costs[1] else "",
    ]
    if not any(costs):
        return said
    took, instead = (" and ".join(filter(None, one)) for one in (costs, halves))
    return f"{said} A run on them takes {took}, one on {count(now.size)} takes {instead}."


def _moved(chosen: ModelReport) -> str:
    now, double = chosen.predictions[:2]
    gain = chosen.next_doubling
    moves = "raise" if gain < 0 else "lower"
    unsure = ", which holds the present prediction, too" if double.low <= now.loss <= double.high else ""
    return (
        f"should {moves} its loss by {number(abs(gain))} ({percent(abs(gain) / now.loss)}) to "
        f"{number(double.loss)}, 90 % interval {interval(double)}{unsure}."
    )


def _nothing_said(double: Prediction) -> str:
    """Why no sentence says what a doubling saves."""
    what = f"what twice the data, {count(double.size)} examples, would do"
    if not math.isfinite(double.high):
        return f"Nothing can be said of {what}: there is no interval."
    return (
        f"Nothing can be said of {what}: the 90 % interval of the loss there is {interval(double)}, and one "
        f"whose upper end is more than {WIDEST:g} times its lower end says nothing."
    )


def _telling(chosen: ModelReport) -> str:
    """Which further sizes would say something, if any below the one asked about would."""
    if not (sizes := chosen.telling_sizes):
        return ""
    listed = " and ".join(filter(None, [", ".join(map(count, sizes[:-1])), count(sizes[-1])]))
    what = "one more size" if len(sizes) == 1 else f"{len(sizes)} more sizes"
    return f" It takes at least {what} in [scaling] sizes, such as {listed} examples, to tell."


def _cost(report: ScalingReport) -> str:
    if not math.isfinite(report.cost_share):
        return ""
    spent, full = report.spent, report.full
    took = f" and took {duration(spent.seconds)}" if math.isfinite(spent.seconds) else ""
    of_time = f", {percent(spent.seconds / full.seconds, 0)} of the time" if full.seconds > 0 else ""
    failed = ", runs that failed included" if report.failed else ""
    return (
        f"Finding this out cost {percent(report.cost_share, 0)} of the operations of tuning every model once "
        f"at that size{of_time} and {percent(spent.examples / full.examples, 0)} of the examples"
        f"{took}{failed}."
    )


def _doubts(report: ScalingReport) -> Markup:
    said = trust(report.models)
    parts: list[Content] = [element("strong", "How far to trust this")]
    parts += [paragraph(said)] if said else []
    parts.append(bullets(report.caveats))
    if report.defects:
        parts.append(element("strong", "Oddities found in the measurements"))
        parts.append(
            bullets(f"{d['model']}: {d['kind'].replace('_', '-')}, {d['detail']}" for d in report.defects)
        )
    return element("div", *parts, class_="caution")


def _picture(report: ScalingReport) -> list[Markup]:
    shown = f" Only the best {MOST_MODELS} models are drawn." if len(report.models) > MOST_MODELS else ""
    return [
        image(curve_plot_png(report), "Held-out loss over the number of training examples, for every model"),
        paragraph(
            "Filled marks are measured. Open marks are predicted by the method used (the trend), with a bar "
            "for the 90 % interval, at the target size and at twice and four times that. Lines are fitted "
            "laws: solid the rectified one, dotted the vanilla one; where they part, more data alone can "
            "tell which is right. A cross stands where a model passes from its slow phase to the power law; "
            "the slow phase of the chosen model is shaded. The axis reaches at most from the smallest "
            f"measured loss over {CLIPPED:g} to {CLIPPED:g} times the largest; what lies beyond is cut."
            + shown,
            class_="note",
        ),
    ]
