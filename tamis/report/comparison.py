"""What the trained comparison says, in sentences and tables: for the sampler page and the terminal.

A difference is named as one only when it holds after correction for the number of samplers; else the page
says that nothing is proven, which with three data seeds is common.
"""

import math
from collections.abc import Iterator

from tamis.comparison.analysis import ArmLoss, ComparisonReport, Measured
from tamis.comparison.convergence import Convergence
from tamis.comparison.grid import FULL
from tamis.comparison.statistics import Contrast
from tamis.report.comparison_plot import comparison_plot_png, name_of
from tamis.report.page import (
    Column,
    Markup,
    bullets,
    count,
    definitions,
    image,
    number,
    paragraph,
    percent,
    section,
    significant,
    table,
)

TERMS = {
    "loss, bits per byte": "How many bits the model needs for one byte of held-out text; smaller is better.",
    "data seed": "Another part of the pool to choose from, and another draw of samplers that draw. It is the "
    "repetition that counts: parts overlap, so real pools may differ a little more.",
    "training seed": "Other first weights of the model and another order of its documents.",
    "difference": "Loss of a sampler less that of random at the same budget and the same seeds, so that luck "
    "which both share cancels.",
    "95 % interval": "By the t distribution over data seeds, widened by what other held-out documents would "
    "change; beside it the same by resampling seeds and documents.",
    "p (Holm)": "Probability of a difference this large by luck alone, corrected for the number of "
    "comparisons; under .05 counts as proven.",
    "recovers": "Non-inferiority to all data: proven when the loss is worse by less than the margin, twice "
    "the standard deviation (its lower 95 % bound) between runs on all data that differ in their training "
    "seed alone.",
    "tokens saved": "How much sooner than all data the sampler reaches the loss that all data end with. The "
    "learning rate has not fallen yet when it does, so this is understated.",
}


def comparison_sections(report: ComparisonReport) -> list[Markup]:
    """Sections of the page: answer, picture, losses, contrasts, recovery, convergence, terms."""
    return [
        section("What training on them gives", *answers(report), _picture(report)),
        section("Losses", _note(report), _losses_table(report)),
        section("Against random", _contrasts_table(report, report.target), *_pool_contrasts(report)),
        section("Against all data", *_recovery(report)),
        section("Words of the comparison", definitions(TERMS)),
    ]


def answers(report: ComparisonReport) -> list[Markup]:
    """The answer in sentences, and what to doubt."""
    return [paragraph(sentence, class_="answer") for sentence in sentences(report)]


def sentences(report: ComparisonReport) -> Iterator[str]:
    """What is proven about the target loss, or that nothing is; and which means leave runs out."""
    yield from _claims(report)
    for arm in report.target.arms:
        if arm.diverged:
            yield (
                f"{name_of(report, arm.sampler, arm.budget)}: {arm.diverged} of {arm.planned} runs diverged; "
                "its figures are of the others alone and flatter it. A lower learning_rate is the usual cure."
            )


def _claims(report: ComparisonReport) -> Iterator[str]:
    better = [one for one in report.target.proven if one.difference < 0]
    worse = [one for one in report.target.proven if one.difference > 0]
    if not report.target.contrasts or all(math.isnan(one.p) for one in report.target.contrasts):
        yield "One run a sampler cannot show a difference: raise data_seeds to 3 or more."
        return
    if report.data_seeds == 1:
        yield "One data seed says nothing about other pools: raise data_seeds to 3 or more."
        return
    if better:
        yield f"Better than random on the target: {_listed(report, better)}."
    if worse:
        yield f"Worse than random on the target: {_listed(report, worse)}."
    if not better and not worse:
        yield (
            f"No sampler is proven better or worse than random on the target with {report.data_seeds} data "
            f"seeds and {report.training_seeds} training seeds."
        )
    recovered = [name_of(report, one.sampler, one.budget) for one in report.target.recovered]
    if recovered:
        yield f"Proven to give at least what all data give, within the margin: {', '.join(recovered)}."


def _listed(report: ComparisonReport, found: list[Contrast]) -> str:
    ordered = sorted(found, key=lambda one: one.difference)
    return "; ".join(
        f"{name_of(report, one.sampler, one.budget)} by {abs(one.difference):.3f} bits per byte "
        f"(95 %: {_range(*sorted((abs(one.low), abs(one.high))))})"
        for one in ordered
    )


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}"


def _picture(report: ComparisonReport) -> Markup:
    return image(
        comparison_plot_png(report), "Differences to random with intervals, and target losses over tokens"
    )


def _note(report: ComparisonReport) -> Markup:
    text = (
        f"Every run predicts {report.tokens:,} tokens, over as many epochs as its set needs; "
        f"{report.data_seeds} data seeds x {report.training_seeds} training seeds, in pairs. "
        f"Intervals: 95 %, by resampling seeds and held-out documents.{_partly_read(report)}"
    )
    if not report.failures:
        return paragraph(text, class_="note")
    return paragraph(text, bullets(["Runs without a loss: " + one for one in report.failures]), class_="note")


def _losses_table(report: ComparisonReport) -> Markup:
    columns = [
        Column(heading="sampler"),
        Column(heading="budget", kind="s"),
        Column(heading="documents", kind="n"),
        Column(heading="runs", kind="s"),
        Column(heading="epochs", kind="n"),
        Column(heading="target loss", kind="n"),
        Column(heading="95 % interval", kind="n"),
        Column(heading="pool loss", kind="n"),
        Column(heading="95 % interval", kind="n"),
    ]
    rows = [
        [
            target.sampler,
            target.budget,
            count(target.documents),
            _runs(target),
            significant(target.epochs, 2),
            number(target.loss),
            _range(target.low, target.high),
            number(pool.loss),
            _range(pool.low, pool.high),
        ]
        for target, pool in zip(report.target.arms, report.pool.arms, strict=True)
    ]
    best = min(range(len(rows)), key=lambda place: _finite(report.target.arms[place].loss))
    return table(columns, rows, strong=frozenset({best}))


def _runs(arm: ArmLoss) -> str:
    """How many runs a mean is of, and what became of the others."""
    if arm.runs == arm.planned:
        return str(arm.runs)
    others = arm.planned - arm.runs - arm.diverged
    lost = [f"{arm.diverged} diverged"] * bool(arm.diverged) + [f"{others} not trained"] * bool(others)
    return f"{arm.runs} of {arm.planned}, {' and '.join(lost)}"


def _partly_read(report: ComparisonReport) -> str:
    """What to think of runs that ended before they had read all of their documents."""
    read = next(arm.epochs for arm in report.target.arms if arm.sampler == FULL)
    if not read < 1:
        return ""
    return (
        f' "full" read {percent(read)} of its documents: raise tokens, or take it for a random part of that '
        "size."
    )


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _contrasts_table(report: ComparisonReport, measured: Measured) -> Markup:
    columns = [
        Column(heading="sampler"),
        Column(heading="difference", kind="n"),
        Column(heading="95 % interval", kind="n"),
        Column(heading="by resampling", kind="n"),
        Column(heading="p", kind="n"),
        Column(heading="p (Holm)", kind="n"),
        Column(heading="pairs", kind="n"),
    ]
    rows = [
        [
            name_of(report, one.sampler, one.budget),
            number(one.difference, 4),
            _range(one.low, one.high),
            _range(one.bootstrap_low, one.bootstrap_high),
            number(one.p, 4),
            number(corrected, 4),
            count(one.pairs),
        ]
        for one, corrected in zip(measured.contrasts, measured.p_holm, strict=True)
    ]
    proven = {(one.sampler, one.budget) for one in measured.proven}
    strong = (at for at, one in enumerate(measured.contrasts) if (one.sampler, one.budget) in proven)
    return table(columns, rows, strong=frozenset(strong))


def _pool_contrasts(report: ComparisonReport) -> list[Markup]:
    note = "The same on held-out documents of the pool: what a choice for the target costs elsewhere."
    return [paragraph(note, class_="note"), _contrasts_table(report, report.pool)]


def _recovery(report: ComparisonReport) -> list[Markup]:
    measured = report.target
    if not measured.recoveries:
        note = (
            "The margin is the spread between training seeds on all data: raise training_seeds to 2 or more."
        )
        return [paragraph(note, class_="note")]
    columns = [
        Column(heading="sampler"),
        Column(heading="difference to all data", kind="n"),
        Column(heading="95 % bound", kind="n"),
        Column(heading="margin", kind="n"),
        Column(heading="p (Holm)", kind="n"),
        Column(heading="tokens saved", kind="n"),
        Column(heading="gets there", kind="n"),
    ]
    pace = {(one.sampler, one.budget): one for one in report.convergences}
    rows = [
        [
            name_of(report, one.sampler, one.budget),
            number(one.difference, 4),
            number(one.upper, 4),
            number(one.margin, 4),
            number(corrected, 4),
            _saved(pace[one.sampler, one.budget]),
            percent(pace[one.sampler, one.budget].reached, 0),
        ]
        for one, corrected in zip(measured.recoveries, measured.recovery_p, strict=True)
    ]
    note = (
        '"Gets there" is the share of resamplings in which the full-data loss is reached at all; the '
        "interval of the tokens saved is over these. The loss is measured a few times on the way, with "
        "straight lines between."
    )
    return [paragraph(note, class_="note"), table(columns, rows)]


def _saved(pace: Convergence) -> str:
    if not math.isfinite(pace.saved):
        return "not reached"
    return f"{percent(pace.saved, 0)} ({percent(pace.low, 0)} to {percent(pace.high, 0)})"


def comparison_text(report: ComparisonReport) -> list[str]:
    """The same for the terminal: a line an arm, then the sentences."""
    corrected = {
        (one.sampler, one.budget): (one, p)
        for one, p in zip(report.target.contrasts, report.target.p_holm, strict=True)
    }
    lines = [f"{'trained on':24}{'target loss':>13}{'pool loss':>11}{'to random':>11}{'p (Holm)':>10}  runs"]
    for target, pool in zip(report.target.arms, report.pool.arms, strict=True):
        contrast = corrected.get((target.sampler, target.budget))
        shown = (contrast[0].difference, contrast[1]) if contrast else (math.nan, math.nan)
        name = name_of(report, target.sampler, target.budget)
        line = f"{name:24}{number(target.loss):>13}{number(pool.loss):>11}"
        lines.append(f"{line}{number(shown[0]):>11}{number(shown[1]):>10}  {_runs(target)}")
    return [*lines, *sentences(report)]
