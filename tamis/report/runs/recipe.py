"""The recipe to train by for a target: the answer in one sentence, its figures, and the search behind it.

Differences keep their sign, winner less random, on the page, in the picture and in the terminal alike:
a loss below zero is better.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.base.numbers import MISSING, brief, counted, number, percent, significant
from tamis.project import Project
from tamis.report.choices import place_of
from tamis.report.rendering import (
    AMBER,
    BLUE,
    FONT_POINTS,
    GREY,
    INK,
    data_uri,
    ends,
    new_figure,
    png_of,
    render,
)
from tamis.store.tables import Store
from tamis.training.options import REFERENCE_WIDTH
from tamis.tuning.answer import Kind, as_selection, trained_by
from tamis.tuning.guard import level_of
from tamis.tuning.recipes import recipes_of
from tamis.tuning.search import RANDOM
from tamis.tuning.stage import RECIPES, TUNE_ANSWERS, TUNE_LOOKS, TUNE_RUNS

PAGE = "recipe.html"
NO_ANSWER = "No recipe has been tested yet: `tamis tune` searches for it and tests it."
SHADES = {Kind.USE: "green", Kind.ALIKE: "green", Kind.HARMS: "amber", Kind.NO_GAIN: ""}
SECTION = "tuned"
"""Name of the selection in the section to paste."""
LINE_INCHES, LEAST_INCHES, NAME_CHARACTERS = 0.3, 2.6, 36
_OF_RUN = ["seed", "bits_per_byte", "control_bits_per_byte", "failure"]

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure under the answer: its name, its value, and a remark; "" for none."""

    name: str
    value: str
    note: str = ""

    @property
    def line(self) -> str:
        """Say it in the terminal."""
        return f"{self.name}: {self.value}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The recipe to train by as settings: lines of a [[selection]], and what these cannot hold.

    `title`: says whose they are. `section` is empty where no document is chosen.
    """

    title: str
    section: list[str]
    model: str


@dataclass(frozen=True, kw_only=True)
class RecipePage:
    """`first`: figures that a decision needs; `others`: those that say how far to trust it.

    `recipes`, `pairs` and `looks`: rows of the tables. `sizes`: says for which sizes the answer holds.
    """

    answer: Row | None
    sentence: str
    shade: str
    first: list[Figure]
    others: list[Figure]
    advice: Advice | None
    picture: str
    recipes: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    looks: list[dict[str, Any]]
    sizes: str


def recipe_page(project: Project) -> str:
    """Return the page of the answer, of the search and of the guard."""
    store = project.home.store
    answer, recipes = _answer(store), _recipes(store)
    return render(
        PAGE,
        RecipePage(
            answer=answer,
            sentence=NO_ANSWER if answer is None else answer["sentence"],
            shade="" if answer is None else SHADES.get(answer["kind"], ""),
            first=[] if answer is None else _first(store, answer),
            others=[] if answer is None else _others(project, answer, recipes),
            advice=None if answer is None else _advice(project, answer, recipes),
            picture=data_uri(recipe_plot_png(recipes, answer)) if len(recipes) else "",
            recipes=recipes.to_dicts(),
            pairs=[] if answer is None else _pairs(store, answer).to_dicts(),
            looks=[] if answer is None else _looks(store, answer),
            sizes="" if answer is None else _sizes(answer),
        ),
    )


def recipe_lines(project: Project) -> list[str]:
    """Return the answer, its figures, and the settings to paste, for the terminal."""
    store = project.home.store
    answer, recipes = _answer(store), _recipes(store)
    if answer is None:
        return [NO_ANSWER]
    figures = (*_first(store, answer), *_others(project, answer, recipes))
    advice = _advice(project, answer, recipes)
    return [
        answer["sentence"],
        *(figure.line for figure in figures),
        advice.title,
        *advice.section,
        advice.model,
    ]


def recipe_plot_png(recipes: pl.DataFrame, answer: Row | None) -> bytes:
    """Return the recipes by loss, and the guard's differences, as PNG of at most 60 KB.

    `recipes`: rows of the table, best first; those without a loss are left out.
    """
    measured = recipes.filter(pl.col("loss").is_finite())
    panels = 1 if answer is None else 2
    height = max(LEAST_INCHES, LINE_INCHES * len(measured) + 1.0)
    figure, axes = new_figure(panels, width=5.2 * panels, height=height)
    _draw_recipes(axes[0], measured.to_dicts(), "" if answer is None else answer["reference"])
    if answer is not None:
        _draw_differences(axes[1], answer)
    return png_of(figure)


def _draw_recipes(axis: Any, rows: Sequence[Row], reference: str) -> None:
    for place, row in enumerate(reversed(rows)):
        colour = BLUE if row["chosen"] else AMBER if row["recipe"] == reference else INK
        error = row["error"] if _is_finite(row["error"]) else None
        axis.errorbar(
            row["loss"], place, xerr=error, fmt="*" if row["chosen"] else "o", color=colour,
            markersize=12 if row["chosen"] else 6, linewidth=1.6,
        )  # fmt: skip
    names = [
        ends(row["recipe"], NAME_CHARACTERS) + (" (winner)" if row["chosen"] else "")
        for row in reversed(rows)
    ]
    _label(axis, names, "loss in the search with its standard error,\nbits per byte")


def _draw_differences(axis: Any, answer: Row) -> None:
    drawn = [
        (name, colour, tuple(answer[column] for column in columns))
        for name, colour, columns in (
            (f"on {answer['target']}", BLUE, ("difference", "low", "high")),
            ("given that it was proven", GREY, ("given_shipped", "given_low", "given_high")),
            (
                f"on {place_of(answer['control'] or '')}",
                INK,
                ("control_difference", "control_low", "control_high"),
            ),
        )
        if _is_finite(answer[columns[0]])
    ][::-1]
    # An end without a bound is drawn to the edge of what the others need.
    known = [end for *_, values in drawn for end in (*values, 0.0) if _is_finite(end)]
    room = 0.08 * (max(known) - min(known)) if known else 0.0
    left, right = (min(known) - room, max(known) + room) if room else (-1.0, 1.0)
    for place, (_, colour, (mean, low, high)) in enumerate(drawn):
        if _is_finite(low) or _is_finite(high):
            line = [low if _is_finite(low) else left, high if _is_finite(high) else right]
            axis.plot(line, [place, place], color=colour, linewidth=1.8)
        axis.plot(mean, place, "o", color=colour, markersize=7)
    axis.axvline(0, color=GREY, linewidth=1)
    axis.set_xlim(left, right)
    names = [ends(name, NAME_CHARACTERS) for name, *_ in drawn]
    _label(axis, names, f"winner less {ends(answer['reference'], 20)}, bits per byte\n(left of 0 is better)")


def _label(axis: Any, names: Sequence[str], title: str) -> None:
    # Names are a user's: a dollar sign in one would begin a formula.
    axis.set_yticks(range(len(names)), names, fontsize=FONT_POINTS, parse_math=False)
    axis.set_ylim(-0.6, max(len(names) - 0.4, 0.6))
    axis.locator_params(axis="x", nbins=6)
    axis.set_xlabel(title, fontsize=FONT_POINTS, parse_math=False)


def _answer(store: Store) -> Row | None:
    rows = store.read(TUNE_ANSWERS.name).sort("target")
    return rows.row(0, named=True) if len(rows) else None


def _recipes(store: Store) -> pl.DataFrame:
    return store.read(RECIPES.name).sort("place", "recipe", nulls_last=True)


def _pairs(store: Store, answer: Row) -> pl.DataFrame:
    """Return the guard's runs of this look side by side, by seed; a run that is missing is null."""
    runs = store.read(TUNE_RUNS.name, ["target", "part", "recipe", "look", *_OF_RUN]).filter(
        pl.col("part") == "guard", target=answer["target"], look=answer["look"]
    )
    winner, reference = (
        runs.filter(recipe=answer[name]).select(_OF_RUN).unique("seed", keep="first", maintain_order=True)
        for name in ("recipe", "reference")
    )
    losses = ("bits_per_byte", "control_bits_per_byte")
    return (
        winner.join(reference, on="seed", how="full", coalesce=True, suffix="_reference")
        .with_columns((pl.col(name) - pl.col(f"{name}_reference")).alias(f"{name}_less") for name in losses)
        .sort("seed")
    )


def _looks(store: Store, answer: Row) -> list[dict[str, Any]]:
    """Return the looks at the held-out examples of this answer, each with its level."""
    looks = store.read(TUNE_LOOKS.name)
    own = looks.filter(target=answer["target"], recipe=answer["recipe"], look=answer["look"])
    if not len(own):
        return []
    held_out = own.sort("begun_at")["held_out"][-1]
    rows = looks.filter(pl.col("look") <= answer["look"], held_out=held_out).sort("look")
    return [row | {"level": level_of(row["look"])} for row in rows.to_dicts()]


def _first(store: Store, answer: Row) -> list[Figure]:
    """Return the figures that a decision needs, without those that are unknown."""
    return [
        Figure(
            name=f"loss on {answer['target']}, less that of {answer['reference']}",
            value=_signed(answer["difference"]),
            note=f"{_interval(answer['low'], answer['high'])}; negative is better",
        ),
        _control(answer),
        *_net(answer),
        _spent(answer, _seconds(store)),
    ]


def _control(answer: Row) -> Figure:
    if not _is_finite(answer["control_difference"]):
        return Figure(
            name="loss elsewhere",
            value="not measured",
            note="without a control, what the recipe costs elsewhere is unknown",
        )
    verdict = "proven worse" if answer["harms"] else "not proven worse"
    return Figure(
        name=f"loss on {place_of(answer['control'] or '')}, less that of {answer['reference']}",
        value=_signed(answer["control_difference"]),
        note=f"{_interval(answer['control_low'], answer['control_high'])}; {verdict}",
    )


def _net(answer: Row) -> list[Figure]:
    # What is not proven better has no gain that could pay.
    if not (_is_finite(answer["net"]) and answer["shipped"]):
        return []
    if answer["bound"] == "at least":
        parts = (answer[f"{name}_flop"] for name in ("own", "choosing", "search", "guard"))
        times = math.fsum(value for value in parts if _is_finite(value)) / answer["own_flop"]
        return [
            Figure(
                name="net gain",
                value="unknown",
                note=f"{answer['reference']} did not reach the winner's loss in {answer['tokens']:,} tokens; "
                f"choosing has paid if it needs more than {significant(times, 3)} times as many",
            )
        ]
    bound = "at most " if answer["bound"] == "at most" else ""
    seconds = f", {_times(answer['net_seconds'])} in seconds" if _is_finite(answer["net_seconds"]) else ""
    return [
        Figure(
            name="net gain",
            value=f"{bound}{_times(answer['net'])} in FLOP{seconds}",
            note=f"what {answer['reference']} needs to reach the winner's loss, over all that the winner "
            "took; choosing pays above 1",
        )
    ]


def _seconds(store: Store) -> float:
    """Return the seconds of all runs of the search and of the guard, with those of scores."""
    runs = store.read(TUNE_RUNS.name, ["seconds", "scoring_seconds"])
    return float(runs.fill_null(0.0).sum_horizontal().sum())


def _spent(answer: Row, seconds: float) -> Figure:
    parts = {name: answer[f"{name}_flop"] for name in ("choosing", "search", "guard")}
    spent = math.fsum(value for value in parts.values() if _is_finite(value))
    budget = answer["budget_flop"]
    shares = ", ".join(f"{name} {significant(value, 3)}" for name, value in parts.items())
    time = f"; {brief(seconds)} of runs" if seconds else ""
    if not _is_finite(budget) or not budget:
        return Figure(name="spent", value=f"{significant(spent, 3)} FLOP", note=f"{shares}{time}")
    return Figure(
        name="spent",
        value=f"{percent(spent / budget, 0)} of the budget",
        note=f"{significant(spent, 3)} of {significant(budget, 3)} FLOP: {shares}{time}",
    )


def _others(project: Project, answer: Row, recipes: pl.DataFrame) -> list[Figure]:
    """Return the figures that say how far to trust the answer, without those that are unknown."""
    figures = []
    if _is_finite(answer["given_shipped"]):
        figures.append(
            Figure(
                name="difference, given that it was proven",
                value=_signed(answer["given_shipped"]),
                note=f"{_interval(answer['given_low'], answer['given_high'])}; without the luck of what "
                "is proven, and by the noise of all runs, so the interval may be the narrower of the two",
            )
        )
    figures += _rates(answer, recipes)
    if answer["sampler"] is None:
        figures += _best_choice(recipes)
    for best in recipes.filter("chosen")["best"].head(1):
        if _is_finite(best):
            figures.append(
                Figure(
                    name="probability of being best",
                    value=percent(best, 0),
                    note=f"of {counted(len(recipes), 'recipe')} in the search",
                )
            )
    if _is_finite(answer["seen"]):
        figures.append(
            Figure(
                name="smallest effect that would have been seen",
                value=f"{number(answer['seen'])} bits per byte",
                note="proven by four of five guards like this one",
            )
        )
    if left_out := _left_out(project):
        figures.append(
            Figure(
                name="recipes that were left out",
                value=f"{left_out}",
                note="raise recipes in [tune] to search more of the combinations",
            )
        )
    if answer["shipped"]:
        figures.append(Figure(name="break-even", value=_break_even(project, answer)))
    if _is_finite(answer["agreement"]):
        low, high = answer["agreement_low"], answer["agreement_high"]
        between = f"90 % interval: {percent(low, 0)} to {percent(high, 0)}; " if _is_finite(low) else ""
        figures.append(
            Figure(
                name="agreement between sizes",
                value=percent(answer["agreement"], 0),
                note=f"{between}pairs of recipes in the same order, "
                f"{counted(answer['compared'] or 0, 'recipe')}",
            )
        )
    return figures


def _best_choice(recipes: pl.DataFrame) -> list[Figure]:
    """Return the best recipe that chooses documents, where the winner chooses none."""
    measured = recipes.filter(pl.col("loss").is_finite()).sort("place")
    chosen = measured.filter(pl.col("sampler") != RANDOM).head(1).to_dicts()
    winner = measured.filter("chosen").to_dicts()
    return [
        Figure(
            name="best recipe that chooses documents",
            value=row["recipe"],
            note=f"place {row['place']} in the search, {row['loss'] - winner[0]['loss']:+.3f} bits per byte "
            "on validation examples; the guard has not tested it",
        )
        for row in (chosen if winner else [])
    ]


def _rates(answer: Row, recipes: pl.DataFrame) -> list[Figure]:
    """Return what is to be known of learning rates: random has the winner's, which may not be its best."""
    figures, own = [], answer["learning_rate"]
    alike = recipes.filter(pl.col("loss").is_finite(), sampler=RANDOM, model=answer["model"])
    best, tested = alike.sort("place").head(1).to_dicts(), alike.filter(recipe=answer["reference"]).to_dicts()
    if tested and best != tested:
        figures.append(
            Figure(
                name="random at its own best rate",
                value=best[0]["recipe"],
                note=f"place {best[0]['place']} in the search, {answer['reference']} place "
                f"{tested[0]['place']}; the guard tested the latter, which is trained as the winner",
            )
        )
    rates = recipes.filter(model=answer["model"])["learning_rate"].drop_nulls().unique().sort()
    if len(rates) > 1 and own in (rates[0], rates[-1]):
        end, further = ("largest", "larger") if own == rates[-1] else ("smallest", "smaller")
        figures.append(
            Figure(
                name="learning rate",
                value=f"{own:g}, the {end} that was searched",
                note=f"a {further} one may be better: add it to learning_rates",
            )
        )
    return figures


def _break_even(project: Project, answer: Row) -> str:
    if answer["bound"] == "at least":
        return "unknown: no loss of random was measured that is as low as the winner's"
    if not _is_finite(answer["break_even"]):
        return "never: at no number of tokens is more saved than was spent"
    text = f"{significant(answer['break_even'], 3)} tokens of training"
    tokens = project.settings.tune and project.settings.tune.train_tokens
    if not tokens:
        return text
    pays = "pays" if tokens > answer["break_even"] else "does not pay"
    return f"{text}: for train_tokens = {tokens:,} choosing {pays}, if the saved share stays the same"


def _sizes(answer: Row) -> str:
    if not _is_finite(answer["agreement"]):
        return "Nothing is said of another size: the answer holds for these parameters and tokens."
    low, high = answer["agreement_low"], answer["agreement_high"]
    between = f" (90 % interval: {percent(low, 0)} to {percent(high, 0)})" if _is_finite(low) else ""
    return (
        f"The search ran {counted(answer['compared'] or 0, 'recipe')} at two sizes, which differ in tokens "
        f"and documents: {percent(answer['agreement'], 0)} of the pairs of recipes{between} came in the same "
        "order. No more than that is known of another size."
    )


def _advice(project: Project, answer: Row, recipes: pl.DataFrame) -> Advice:
    """Return the settings of the winner, or of the reference where choosing does not pay."""
    row, title = trained_by(answer, recipes), f"settings of {answer['recipe']}, for tamis.toml:"
    if answer["kind"] == Kind.NO_GAIN:
        verdict = "does not pay" if answer["shipped"] else "is not proven better"
        title = f"{answer['recipe']} {verdict}; settings of {row['recipe']}, for tamis.toml:"
    rate = f", learning_rate = {row['learning_rate']:g}" if _is_finite(row["learning_rate"]) else ""
    if rate and project.settings.trainer is None:
        rate += f" (of a model {REFERENCE_WIDTH} wide)"
    model = f"base model: {row['model'] or MISSING}{rate}"
    if row["sampler"] is None:
        return Advice(
            title=f"no [[selection]] for {row['recipe']}: the training examples of the target alone are "
            "learnt",
            section=[],
            model=model,
        )
    return Advice(title=title, section=_section(project, row, answer["target"]), model=model)


def _section(project: Project, row: Row, target: str) -> list[str]:
    tune = project.settings.tune
    section = as_selection(SECTION, row, target, tune.quality if tune else None)
    keys = section.model_dump(exclude_unset=True, exclude_none=True)
    # Strings of JSON are strings of TOML.
    return [
        "[[selection]]",
        *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()),
    ]


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _left_out(project: Project) -> int:
    """Return how many combinations of [tune] the search leaves out, whatever the models' own rates are."""
    section = project.settings.tune
    if section is None:
        return 0
    rates = dict.fromkeys(section.models, section.learning_rates or (1.0,))
    return recipes_of(section, rates, project.seed).left_out


def _times(value: float | None) -> str:
    return f"{significant(value, 3)} times"


def _signed(value: float | None) -> str:
    return f"{value:+.3f} bits per byte" if value is not None and math.isfinite(value) else MISSING


def _interval(low: float | None, high: float | None) -> str:
    """Return a 90 % interval in words; an end that is null has no bound."""
    ends_known = _is_finite(low), _is_finite(high)
    if ends_known == (True, True):
        return f"90 % interval: {low:+.3f} to {high:+.3f}"
    if ends_known == (True, False):
        return f"90 % interval: from {low:+.3f}, unbounded above"
    if ends_known == (False, True):
        return f"90 % interval: up to {high:+.3f}, unbounded below"
    return "no interval"
