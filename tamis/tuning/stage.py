"""Stages that answer by a test in new pairs of runs: which recipe to train by, and what a mixture gains."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tamis import comparison, selection, training
from tamis.comparison.stage import ranking_edges
from tamis.evaluation.stage import control_settings
from tamis.mixture.stage import DESIGN_STAGE, MIXTURE_STAGE, recipe_settings
from tamis.selection import find_sampler
from tamis.selection.stage import filter_settings, measured_by, pool_edges
from tamis.settings.references import mixture_presets
from tamis.settings.samplers import QUALITY_SCORES, SCORE
from tamis.stage import (
    Automation,
    Edge,
    Growth,
    Learning,
    Snapshot,
    Stage,
    edge,
    every,
    only,
    precision_settings,
    when,
)
from tamis.store.columns import Table, flag, integer, many, moment, real, text
from tamis.training.planned import model_section
from tamis.training.stage import trained_on_pool, trainer_settings, with_twins
from tamis.tuning import CODE_VERSION, GAIN_CODE_VERSION

Names = Callable[[Snapshot], tuple[str, ...]]

_RECIPE = (
    text(
        "sampler", "sampler that chooses the documents; null: the target's own training examples are learnt"
    ),
    text("share", "how much the sampler chooses, as in a [[selection]]; null without a sampler"),
    real("quality_weight", "weight of quality in the sampler's score; null where the sampler reads none"),
    text("model", "base model that training starts from"),
    real("learning_rate", "peak learning rate"),
)

_RUN = (
    text(
        "run",
        "id of the run: digest of everything that its losses depend on (data, model, settings, seeds, code "
        "version)",
    ),
    text("target", "name of the target"),
    text("part", 'purpose of the run: "rate" (speed of the machine), "search" or "guard"'),
    text("recipe", "name of the recipe"),
    *_RECIPE,
    integer("seed", "number of the seed, from 0: another draw of documents, first weights and order"),
    real("portion", "tokens and documents of the pool as a share of those of the guard's runs"),
    integer("look", "number of the look at the held-out examples; 0 for runs of the search"),
    integer("documents", "number of distinct documents in the training set"),
    integer("tokens", "number of tokens that the model was trained to predict, repeats counted"),
    real("flop", "operations of the training: 6 for each parameter and token"),
    real("bits_per_byte", "loss on validation examples, in a guard's run on held-out ones, in bits per byte"),
    many(real("example_bits", "code length (loss summed over its tokens) of each example, in bits")),
    many(integer("example_bytes", "length of each example, in UTF-8 bytes")),
    text("control", "name of the control, or pool for a part of the pool; null for runs of the search"),
    real("control_bits_per_byte", "loss on the control, in bits per byte; null for runs of the search"),
    many(real("control_bits", "code length of each document of the control, in bits")),
    many(integer("control_bytes", "length of each document of the control, in UTF-8 bytes")),
    many(integer("curve_tokens", "number of tokens trained on at each measurement of the loss")),
    many(real("curve_loss", "loss at each number of tokens in curve_tokens, in bits per byte")),
    text("failure", "why the run has no losses; null if the run has losses"),
    real("seconds", "duration of training and evaluation, in seconds"),
    real("scoring_seconds", "duration of scoring documents before the run; 0 with scores that exist"),
    real("pool_seconds", "duration of scoring the whole pool; null but for the part rate"),
)

TUNE_RUNS = Table(name="tune_runs", key=("run",), text=(), sealed=True, columns=_RUN)

TUNE_RUNS_LEFT = Table(
    name="tune_runs_left",
    key=("run",),
    text=(),
    sealed=True,
    columns=(*_RUN, moment("left_at", "when the run was set aside because no search plans it now, in UTC")),
)

RECIPES = Table(
    name="recipes",
    key=("recipe",),
    text=(),
    columns=(
        text("recipe", "name of the recipe"),
        *_RECIPE,
        integer("place", "place by the search, from 1 (best); recipes without a loss are last"),
        real("loss", "loss on validation examples at the guard's tokens by all runs, in bits per byte"),
        real("shrunken", "that loss, drawn towards the mean of all recipes as far as it may be noise"),
        real("error", "standard error of loss, in bits per byte"),
        real("best", "probability that the recipe is the best of those searched"),
        integer("runs", "number of runs of the search"),
        integer("failed", "number of these without a loss"),
        flag("finalist", "whether the recipe reached the last round of the search"),
        flag("chosen", "whether the recipe is the winner, which the guard tested"),
    ),
)

TUNE_ANSWERS = Table(
    name="tune_answers",
    key=("target",),
    text=(),
    columns=(
        text("target", "name of the target"),
        text("recipe", "name of the winner"),
        text("reference", "name of the recipe with random documents that the winner is compared with"),
        *_RECIPE,
        text("kind", 'kind of the answer: "use", "alike", "harms" or "no gain"'),
        text("sentence", "the answer in one sentence"),
        integer("look", "number of the look at these held-out examples"),
        real("level", "one-sided level at which the winner had to be better, at this look"),
        flag("shipped", "whether the winner is proven better than random at that level"),
        integer("pairs", "pairs of runs, winner and random, that have losses"),
        integer("examples", "held-out examples that the guard read"),
        real("difference", "loss of the winner less that of random, in bits per byte: negative is better"),
        real("low", "lower end of the 90 % interval of difference"),
        real("high", "upper end of the 90 % interval of difference"),
        real("given_shipped", "difference, given that the winner was proven better; null if it was not"),
        real("given_low", "lower end of the 90 % interval of given_shipped; null where unbounded"),
        real("given_high", "upper end of the 90 % interval of given_shipped; null where unbounded"),
        real("seen", "smallest improvement that four of five tests like this one would have proven"),
        text("control", "name of the control, or pool for a part of the pool; null without a control"),
        real("control_difference", "the same difference on the control"),
        real("control_low", "lower end of the 90 % interval of control_difference"),
        real("control_high", "upper end of the 90 % interval of control_difference"),
        flag("harms", "whether the winner is proven worse on the control"),
        real("parameters", "parameters of the winner's model"),
        integer("tokens", "tokens that each run of the test was trained on"),
        integer("fitted", "training examples that samplers of the search were given"),
        integer("validated", "training examples that runs of the search were measured on"),
        real("budget_flop", "budget, in operations"),
        real("choosing_flop", "operations of choosing, from its seconds and the speed of this machine"),
        real("search_flop", "operations of the search, with scores that it computed"),
        real("guard_flop", "operations of the guard"),
        real("own_flop", "operations of one run of the winner"),
        text("bound", 'how reached_flop is meant: "exact", "at least" or "at most"'),
        real("reached_flop", "operations at which random reaches the winner's loss"),
        real("net", "reached_flop over all operations for the winner: own, choosing, search and guard"),
        real("net_seconds", "the same in seconds of this machine"),
        real("break_even", "tokens of training from which choosing has paid; null if it never does"),
        real("agreement", "share of pairs of recipes in the same order at both sizes; null at one size"),
        real("agreement_low", "lower end of its 90 % interval"),
        real("agreement_high", "upper end of its 90 % interval"),
        integer("compared", "recipes that ran at both sizes"),
    ),
)

TUNE_LOOKS = Table(
    name="tune_looks",
    key=("held_out", "look"),
    text=(),
    sealed=True,
    decided=True,
    columns=(
        text("held_out", "digest of the held-out examples that the guard reads"),
        integer("look", "number of the look at these examples, from 1"),
        many(text("examples", "digest of each of these examples")),
        text("target", "name of the target when the look began"),
        text("winner", "digest of the winner and all that its runs depend on"),
        text("recipe", "name of the winner"),
        flag("shipped", "whether the winner was proven better; null until the look has ended"),
        moment("begun_at", "when the look began, in UTC"),
    ),
)

MIXTURE_GAIN_RUNS = Table(
    name="mixture_gain_runs",
    key=("run",),
    text=(),
    sealed=True,
    columns=(
        text(
            "run",
            "id of the run: digest of everything that its losses depend on (documents, model, settings, "
            "seed, held-out examples, code version)",
        ),
        text("mixture", 'mixture that the run trains on: "chosen" (the recommended one) or "natural"'),
        text("shares", "share of each source in the mixture, as JSON"),
        integer("pair", "number of the pair, from 0; both runs of a pair have the same seed"),
        integer("seed", "seed of the first weights and of the order of documents"),
        text("target", "names of the targets, separated by a comma"),
        text("preset", "preset that sets the size and shape of the model"),
        integer("documents", "number of distinct documents in the training set"),
        integer("tokens", "number of tokens that the model was trained to predict, repeats counted"),
        real("flop", "operations of the training: 6 for each parameter and token"),
        real("bits_per_byte", "loss on held-out examples, mean over the targets, in bits per byte"),
        many(integer("examples", "number of held-out examples of each target")),
        many(real("example_bits", "code length of each example, target after target, in bits")),
        many(integer("example_bytes", "length of each example, in UTF-8 bytes")),
        text("failure", "why the run has no losses; null if the run has losses"),
        real("seconds", "duration of training and evaluation, in seconds"),
    ),
)

MIXTURE_GAIN = Table(
    name="mixture_gain",
    key=("target",),
    text=(),
    columns=(
        text("target", "names of the targets, separated by a comma"),
        text("kind", 'kind of the answer: "better", "alike", "worse", "same" or "not tested"'),
        text("sentence", "the answer in one sentence"),
        flag("proven", "whether the recommended mixture is proven better, at a one-sided level of .05"),
        integer("pairs", "pairs of runs, recommended and natural shares, that have losses"),
        integer("examples", "held-out examples that the runs were measured on, of all targets"),
        real(
            "difference",
            "loss of the recommended mixture less that of the natural shares, mean over the targets, in bits "
            "per byte: negative is better; null without a test",
        ),
        real("low", "lower end of the 90 % interval of difference"),
        real("high", "upper end of the 90 % interval of difference"),
        text("preset", "preset that sets the size and shape of the model"),
        real("parameters", "parameters of the model"),
        integer("tokens", "tokens that each run was trained on"),
        text("chosen", "share of each source in the recommended mixture, as JSON"),
        text("natural", "natural share of each source, under max_repetition, as JSON"),
    ),
)

TABLES = (TUNE_RUNS_LEFT, TUNE_LOOKS)


def _tuned(snapshot: Snapshot) -> bool:
    return snapshot.project.settings.tune is not None


def _ranked_by(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the samplers, and that of the score that they read as quality."""
    tune = snapshot.project.settings.tune
    if tune is None:
        return ()
    return (*tune.samplers, *((f"{SCORE}:{tune.quality}",) if tune.quality else ()))


def ranking_inputs(ranked_by: Names) -> tuple[Edge, ...]:
    """Return what the samplers of [tune] rank by as inputs; its quality takes the place of the judge's."""

    def replaced(snapshot: Snapshot) -> tuple[str, ...]:
        tune = snapshot.project.settings.tune
        return QUALITY_SCORES if tune is not None and tune.quality is not None else ()

    return ranking_edges(ranked_by, target_of, lambda sampler: find_sampler(sampler).reads_vectors, replaced)


def target_of(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    """Return the target of [tune]: a mapping for an edge."""
    tune = snapshot.project.settings.tune
    return (tune.target,) if tune else ()


def starts_fresh(snapshot: Snapshot, model: str) -> bool:
    """Return whether runs begin with fresh weights in the shape of a base model."""
    tune = snapshot.project.settings.tune
    return tune is not None and tune.from_scratch and trained_on_pool(snapshot, model)


def _searched_models(snapshot: Snapshot) -> tuple[str, ...]:
    tune = snapshot.project.settings.tune
    return tune.models if tune else ()


def _edges(ranked_by: Names, models: Names) -> tuple[Edge, ...]:
    """Return the inputs of runs that choose by these samplers, and start from these base models."""

    def any_fresh(snapshot: Snapshot) -> bool:
        return any(starts_fresh(snapshot, model) for model in models(snapshot))

    def read(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
        begun = [model for model in models(snapshot) if not starts_fresh(snapshot, model)]
        return tuple(dict.fromkeys((*begun, *with_twins(snapshot, ranked_by(snapshot)))))

    return (
        *pool_edges(),
        *ranking_inputs(ranked_by),
        edge("tokenizer", when(any_fresh, only)),
        edge("base_models", read),
    )


def _run_settings(snapshot: Snapshot, samplers: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    """Return the settings of runs that choose by these samplers, and start from these base models."""
    settings = snapshot.project.settings
    tune = settings.tune
    assert tune is not None
    named = {
        name: [starts_fresh(snapshot, name), section.preset, section.recipe()]
        for name in models
        for section, _fold in [model_section(snapshot.project, name)]
    }
    own = {
        "target": tune.target,
        "tokens": tune.tokens,
        "models": named,
        "recipe": settings.fine_tuning.shared(),
        "transport": settings.transport.model_dump(include={"relative_epsilon", "tolerance"}),
    }
    is_fresh = any(starts_fresh(snapshot, name) for name in models)
    own |= {"pretraining": settings.pretraining.recipe()} if is_fresh else {}
    weighed = {score.name: score.range for score in settings.score if score.name == tune.quality}
    own |= {"quality": weighed} if f"{SCORE}:{tune.quality}" in samplers else {}
    own |= precision_settings(snapshot) | measured_by(snapshot, samplers)
    return own | trainer_settings(snapshot) | filter_settings(snapshot) | control_settings(snapshot)


def _settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    tune = snapshot.project.settings.tune
    assert tune is not None
    return tune.model_dump() | {"run": _run_settings(snapshot, _ranked_by(snapshot), tune.models)}


RECIPE_STAGE = Stage(
    name="recipe",
    group="training",
    code_version=f"{CODE_VERSION}.{comparison.CODE_VERSION}.{training.CODE_VERSION}.{selection.CODE_VERSION}",
    active=_tuned,
    edges=_edges(_ranked_by, _searched_models),
    settings=_settings,
    tables=(TUNE_RUNS, RECIPES, TUNE_ANSWERS),
    learning=Learning.FITTED,
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)


def _mixture_tested(snapshot: Snapshot) -> bool:
    section = snapshot.project.settings.mixture
    return section is not None and section.pairs > 0


def _targets_of_mixture(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    section = snapshot.project.settings.mixture
    return section.targets if section else ()


def run_settings_of_mixture(snapshot: Snapshot) -> dict[str, Any]:
    """Return how both runs of a pair are trained, whatever their mixture."""
    settings = snapshot.project.settings
    assert settings.mixture is not None
    own = {"preset": mixture_presets(settings)[0], "tokens": settings.mixture.run_tokens}
    return own | recipe_settings(snapshot)


def _gain_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    section = snapshot.project.settings.mixture
    assert section is not None
    return {"target": section.targets, "pairs": section.pairs, "run": run_settings_of_mixture(snapshot)}


GAIN_STAGE = Stage(
    name="mixture_gain",
    group="mixture",
    code_version=f"{GAIN_CODE_VERSION}.{comparison.CODE_VERSION}.{training.CODE_VERSION}",
    active=_mixture_tested,
    edges=(
        edge("documents", every("shards")),
        edge("tokenizer"),
        edge(DESIGN_STAGE.name),
        edge(MIXTURE_STAGE.name),
        edge("target_examples", _targets_of_mixture),
    ),
    settings=_gain_settings,
    tables=(MIXTURE_GAIN_RUNS, MIXTURE_GAIN),
    learning=Learning.FITTED,
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)
STAGES = (RECIPE_STAGE, GAIN_STAGE)


def run_stage(samplers: tuple[str, ...], model: str) -> Stage:
    """Return a stage with the inputs and settings that one run depends on, whatever else is searched."""
    return replace(
        RECIPE_STAGE,
        edges=_edges(lambda _: samplers, lambda _: (model,)),
        settings=lambda snapshot, _: _run_settings(snapshot, samplers, (model,)),
    )
