"""The samplers: each is one score, one direction and one rule, so a single code path serves all of them.

A table instead of as many classes: the 19 samplers of Sachdeva et al. (arXiv 2402.09668,
appendix B) are all of this form. The price is that rules which look at a whole set at once
(facility location, determinantal processes) need scores computed by their own asset first.

Fifteen of those scores are one formula under fifteen models. So a family and the name of a model make a
sampler, "perplexity:MODEL", "perplexity:MODEL@SHARE" or "ask-llm:MODEL", and no table has to know the models
in advance. "target-path:MODEL" is named alike.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import polars as pl

from tamis.base.arguments import as_number
from tamis.base.errors import BadArgumentError, PermanentError, UnknownNameError
from tamis.plugins.declaration import GOAL, VECTORS
from tamis.plugins.reading import PLUGINS, Plugin, PluginError

Rule = Literal["top_k", "inverse_propensity", "softmax", "uniform"]
Direction = Literal["highest", "lowest"]
Options = Mapping[str, float]

METHOD_SCORE = "method_score"
AWAY_SCORE = "gradient_away"
"""The transport gradient of the target that a selection is to keep away from."""
POOL_SCORE = "pool_potential"
"""The pool's own potential: small where the pool is crowded."""
DEFAULT_OPTIONS: Options = MappingProxyType(
    {"quality_weight": 1.0, "away_weight": 1.0, "temperature": 1.0, "diversity_weight": 1.0}
)
ROUNDS_OPTIONS = frozenset({"rounds", "mixing"})
PERPLEXITY, ASK_LLM, TARGET_PATH = "perplexity", "ask-llm", "target-path"
OF_BASE_MODELS = frozenset({PERPLEXITY, TARGET_PATH})
"""Families whose model is a [[base_model]], which never scores documents that it was trained on."""
PLUGIN = "plugin"
"""Method of the samplers that are plug-ins."""
SCORE = "score"
"""Family of the samplers that rank by a [[score]] of the project."""
OWN_SCORE = "own_score"
"""The [[score]] that a selection ranks by, its sign turned where higher is worse: the largest comes first."""
QUALITY_SCORES = ("quality", "judge_margin_predicted")
"""Score columns of the judge, in whose place a selection may put a [[score]]."""
WEIGH_QUALITY = frozenset({"got-d-quality", "got-d-quality-rounds", "quality-diversity"})
"""Samplers for which it may."""
READS_TEXTS = frozenset({"dsir", "classifier"})
"""Methods that score texts by their words; the others, but for models that read them, look at vectors."""
MODEL_SCORES = frozenset({"bits_per_byte", "judge_margin_predicted", "quality"})
"""Score columns that a judge or a model of a project computes."""
VECTOR_SCORES = frozenset(
    {
        "transport_gradient",
        POOL_SCORE,
        AWAY_SCORE,
        "nearest_cost",
        "density",
        "judge_margin_predicted",
        "quality",
    }
)
"""Scores that are computed from vectors."""
FORMS = '"perplexity:MODEL", "perplexity:MODEL@SHARE", "target-path:MODEL", "ask-llm:MODEL" or "score:NAME"'


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How documents are ranked.

    `rule`: "top_k" takes the best scores; "inverse_propensity" draws without replacement with weights
    1 / max(score, 1), "softmax" with weights exp(score); "uniform" draws without looking. `direction` says
    which end of the score is best and has no meaning for the three rules that draw. `needs_target`: its
    scores exist for a target only. `options`: those of DEFAULT_OPTIONS that it reads. `formula`: what
    `combine` computes, for people, options in braces.
    `method`: computes the column method_score for the selection itself (tamis/samplers/methods.py).
    `version`: of what it alone computes, raised when that changes; "" for the first.
    `reads`: inputs of a plug-in.
    """

    name: str
    description: str
    rule: Rule
    direction: Direction = "highest"
    score_columns: tuple[str, ...] = ()
    needs_target: bool = False
    needs_vectors: bool = False
    method: str | None = None
    combine: Callable[[Options], pl.Expr] | None = None
    formula: str = ""
    options: tuple[str, ...] = ()
    version: str = ""
    reads: tuple[str, ...] = ()

    @property
    def ignored(self) -> set[str]:
        """Keys of a [[selection]] that change nothing with this sampler."""
        found = {*DEFAULT_OPTIONS} - {*self.options}
        found |= set() if AWAY_SCORE in self.score_columns else {"away_from"}
        return found if self.method == "rounds" else found | ROUNDS_OPTIONS

    @property
    def reads_vectors(self) -> bool:
        """Whether what the encoder makes of a text decides its rank."""
        if self.method == PLUGIN:
            return VECTORS in self.reads
        by_method = self.method not in READS_TEXTS | OF_BASE_MODELS | {ASK_LLM, None}
        return by_method or not VECTOR_SCORES.isdisjoint(self.score_columns)

    def score(self, options: Options) -> pl.Expr:
        """The score that is ranked, as an expression over `score_columns`."""
        assert self.score_columns, f"{self.name} ranks without a score"
        return self.combine(options) if self.combine else pl.col(self.score_columns[0])


class BadModelSamplerError(PermanentError, ValueError):
    """A sampler with a colon that names no model or score, or a share that is none."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name!r} is not a valid sampler with a name; valid: {FORMS}, where SHARE (above 0, below 1) "
            "is the share of its training that the model has completed"
        )


@dataclass(frozen=True, kw_only=True)
class ModelOf:
    """The model of such a sampler: its family, its name, and the share of its training (None: all of it)."""

    family: str
    model: str
    checkpoint: float | None = None


def _gradient_and_quality(options: Options) -> pl.Expr:
    # Gradient of OT((1-l) D_S + l D_U, D_R) / l + a E_U[1 - quality] with respect to the mass of a document.
    return pl.col("transport_gradient") + options["quality_weight"] * (1.0 - pl.col("quality"))


def _gradient_debiased(options: Options) -> pl.Expr:
    # Gradient of OT(pool, target) - OT(pool, pool) / 2 with respect to the mass of a document.
    return pl.col("transport_gradient") - pl.col(POOL_SCORE)


def _gradient_and_contrast(options: Options) -> pl.Expr:
    # Gradient of OT(pool, target) - w OT(pool, away) with respect to the mass of a document.
    return pl.col("transport_gradient") - options["away_weight"] * pl.col(AWAY_SCORE)


def _quality_and_diversity(options: Options) -> pl.Expr:
    # Log of p ~ exp(margin / temperature) / density^weight; documents below density 1 are thinned no less.
    diversity = options["diversity_weight"] * pl.col("density").clip(lower_bound=1.0).log()
    return pl.col("judge_margin_predicted") / options["temperature"] - diversity


def _mean_rank(options: Options) -> pl.Expr:
    by_target = pl.col("transport_gradient").rank()
    by_judge = pl.col("judge_margin_predicted").rank(descending=True)
    return (by_target + by_judge) / (2 * pl.len())


def _method(
    name: str,
    method: str,
    description: str,
    *columns: str,
    needs_target: bool = True,
    options: tuple[str, ...] = (),
) -> Sampler:
    return Sampler(
        name=name,
        description=description,
        rule="top_k",
        direction="lowest",
        score_columns=(METHOD_SCORE, *columns),
        needs_target=needs_target,
        method=method,
        options=options,
    )


_ALL = (
    Sampler(name="random", rule="uniform", description="Uniform draw without replacement: the baseline."),
    Sampler(
        name="got-d",
        rule="top_k",
        direction="lowest",
        score_columns=("transport_gradient",),
        needs_target=True,
        description="Smallest gradient of the optimal transport distance to the target with respect to "
        "the document's mass (arXiv 2405.02774).",
    ),
    Sampler(
        name="got-d-debiased",
        rule="top_k",
        direction="lowest",
        score_columns=("transport_gradient", POOL_SCORE),
        needs_target=True,
        combine=_gradient_debiased,
        formula="transport gradient - the pool's own potential",
        description="Smallest value of transport gradient - the pool's own potential: near the target, and "
        "not merely where the pool is crowded (debiased transport divergence, arXiv 1810.08278).",
    ),
    Sampler(
        name="got-d-quality",
        rule="top_k",
        direction="lowest",
        score_columns=("transport_gradient", "quality"),
        needs_target=True,
        combine=_gradient_and_quality,
        options=("quality_weight",),
        formula="transport gradient + {quality_weight:g} x (1 - quality)",
        description="Smallest value of transport gradient + quality_weight * (1 - quality): "
        "fit to the target combined with quality.",
    ),
    Sampler(
        name="got-d-contrast",
        rule="top_k",
        direction="lowest",
        score_columns=("transport_gradient", AWAY_SCORE),
        needs_target=True,
        combine=_gradient_and_contrast,
        options=("away_weight",),
        formula="transport gradient - {away_weight:g} x gradient for the target to avoid",
        description="Smallest value of transport gradient - away_weight * (gradient for away_from): "
        "towards one target and away from another (arXiv 2405.02774, section 4.1).",
    ),
    Sampler(
        name="ask-llm",
        rule="top_k",
        score_columns=("judge_margin_predicted",),
        description="Highest Ask-LLM margin (log-probability of yes minus that of no, arXiv 2402.09668), "
        "which the grader predicts for every document from the judge's answers on a sample.",
    ),
    Sampler(
        name="density",
        rule="inverse_propensity",
        score_columns=("density",),
        description="Random draw with weights 1 / density, so that crowded regions are thinned "
        "(arXiv 2402.09668).",
    ),
    Sampler(
        name="quality-diversity",
        rule="softmax",
        score_columns=("judge_margin_predicted", "density"),
        combine=_quality_and_diversity,
        options=("temperature", "diversity_weight"),
        formula="predicted margin / {temperature:g} - {diversity_weight:g} x log density",
        description="Random draw with weights exp(predicted Ask-LLM margin / temperature) / "
        "density^diversity_weight: good and diverse documents.",
    ),
    Sampler(
        name="rank-ensemble",
        rule="top_k",
        direction="lowest",
        score_columns=("transport_gradient", "judge_margin_predicted"),
        needs_target=True,
        combine=_mean_rank,
        formula="mean of the ranks by transport gradient and by predicted margin",
        description="Smallest mean of the ranks by got-d and by ask-llm; ranks, since the scores of "
        "these two samplers have different scales.",
    ),
    Sampler(
        name="knn",
        rule="top_k",
        direction="lowest",
        score_columns=("nearest_cost",),
        needs_target=True,
        description="Smallest transport cost to the nearest target example.",
    ),
    Sampler(
        name="perplexity",
        rule="top_k",
        direction="lowest",
        score_columns=("bits_per_byte",),
        description="Fewest bits per byte under a language model; "
        "a model trained by Tamis never scores its own training data.",
    ),
    _method(
        "got-d-rounds",
        "rounds",
        "got-d in several rounds, each on the pool mixed with the documents chosen so far.",
    ),
    _method(
        "got-d-quality-rounds",
        "rounds",
        "Like got-d-rounds, for the joint objective: transport distance plus quality_weight * (1 - quality).",
        "quality",
        options=("quality_weight",),
    ),
    replace(
        _method(
            "semdedup",
            "semdedup",
            "Documents least similar to those already kept in the same cluster (SemDeDup, arXiv 2303.09540).",
            needs_target=False,
        ),
        version="3",  # compares documents with both sides of a border; texts of a few words come last
    ),
    replace(
        _method(
            "prototypes",
            "prototypes",
            "Documents farthest from the centre of their cluster (SSL prototypes, arXiv 2206.14486).",
            needs_target=False,
        ),
        version="2",  # texts of a few words come last
    ),
    _method(
        "round-robin",
        "round-robin",
        "Target examples take turns, each taking the nearest document still available.",
    ),
    replace(
        _method(
            "dsir",
            "dsir",
            "Random draw with importance weights computed from hashed n-grams; texts far shorter than the "
            "target's come last (DSIR, arXiv 2302.03169).",
        ),
        version="2",  # texts under a least length come last
    ),
    replace(
        _method(
            "classifier",
            "classifier",
            "Highest log odds under a linear classifier of target versus pool; texts far shorter than the "
            "target's come last (DCLM, arXiv 2406.11794).",
        ),
        version="2",  # texts under a least length come last
    ),
    _method(
        "tsds",
        "tsds",
        "Nearest neighbours of the target, thinned in crowded regions (TSDS, arXiv 2410.11303).",
    ),
    _method(
        "unbalanced", "unbalanced", "Most mass received in unbalanced optimal transport from the target."
    ),
)

SAMPLERS: dict[str, Sampler] = {}
"""The samplers of Tamis by name; those of a model that the user names are made by `find_sampler`."""
_PLUGINS: dict[str, Sampler] = {}
"""Plug-ins of the projects that this process has opened; settings say which of them a project has."""


def register(sampler: Sampler) -> None:
    """Make a sampler known under its name: one of Tamis, or a plug-in, which replaces one read earlier."""
    (_PLUGINS if sampler.method == PLUGIN else SAMPLERS)[sampler.name] = sampler


for _sampler in _ALL:
    register(_sampler)


def sampler_of_plugin(plugin: Plugin) -> Sampler:
    """Return the sampler that a plug-in declares. Raises `PluginError` where Tamis has one of this name."""
    declaration = plugin.declaration
    if declaration.name in SAMPLERS:
        raise PluginError(
            f"{plugin.origin.shown}, line {plugin.line}: name = {declaration.name!r} is the name of a "
            "sampler of Tamis; choose another"
        )
    meaning = f": {declaration.meaning}" if declaration.meaning else ""
    citation = f" ({declaration.citation})" if declaration.citation else ""
    return Sampler(
        name=declaration.name,
        description=f"Smallest answer of {plugin.title}{meaning}{citation}.",
        rule="top_k",
        direction="lowest",
        score_columns=(METHOD_SCORE,),
        needs_target=GOAL in declaration.reads,
        method=PLUGIN,
        version=declaration.version,
        reads=declaration.reads,
    )


def model_of(name: str) -> ModelOf | None:
    """What a sampler's name says of a model; None for one without. Raises `BadModelSamplerError`."""
    family, colon, model = name.partition(":")
    if not colon or score_of(name):
        return None
    checkpoint = None
    if family == PERPLEXITY and "@" in model:
        model, _, share = model.rpartition("@")
        try:
            checkpoint = float(share)
        except ValueError as error:
            raise BadModelSamplerError(name) from error
    if (
        family not in OF_BASE_MODELS | {ASK_LLM}
        or not model
        or (checkpoint is not None and not 0 < checkpoint < 1)
    ):
        raise BadModelSamplerError(name)
    return ModelOf(family=family, model=model, checkpoint=checkpoint)


def score_of(name: str) -> str | None:
    """Return the name of the [[score]] that a sampler ranks by; None for other samplers."""
    family, _colon, score = name.partition(":")
    return score or None if family == SCORE else None


def _sampler_of_score(name: str) -> Sampler | None:
    score = score_of(name)
    if score is None:
        return None
    return Sampler(
        name=name,
        description=f"Best value of the score {score}.",
        rule="top_k",
        score_columns=(OWN_SCORE,),
    )


def sampler_of_model(name: str) -> Sampler | None:
    """Return the sampler that such a name means; None for a name without a model."""
    found = model_of(name)
    if found is None:
        return None
    part = "" if found.checkpoint is None else f" after {100 * found.checkpoint:g}% of its training"
    descriptions = {
        ASK_LLM: f"Highest Ask-LLM margin (log-probability of yes minus that of no) by {found.model}, "
        "which is asked about every eligible document.",
        PERPLEXITY: f"Fewest bits per byte under {found.model}{part}; "
        "a model trained by Tamis never scores its own training data.",
        TARGET_PATH: f"Largest share of its loss under {found.model} that a document loses when the model is "
        "trained briefly on the target (arXiv 2605.09404); a model trained by Tamis never scores its own "
        "training data.",
    }
    return Sampler(
        name=name,
        description=descriptions[found.family],
        rule="top_k",
        direction="lowest",
        score_columns=(METHOD_SCORE,),
        needs_target=found.family == TARGET_PATH,
        method=found.family,
    )


def find_sampler(name: str) -> Sampler:
    """The sampler of that name, plug-ins, "family:MODEL" and "score:NAME" included.

    Raises `UnknownNameError` that lists the valid names, `BadModelSamplerError`.
    """
    found = None
    if isinstance(name, str):
        found = SAMPLERS.get(name) or _PLUGINS.get(name) or _sampler_of_score(name) or sampler_of_model(name)
    if found is None:
        raise UnknownNameError("sampler", str(name), [*SAMPLERS, FORMS])
    return found


def weighs_quality(name: str) -> bool:
    """Return whether a sampler reads a weight of quality."""
    known = find_sampler(name)
    return "quality_weight" in known.options and not set(QUALITY_SCORES).isdisjoint(known.score_columns)


def register_as_made(settings: Mapping[str, Any]) -> None:
    """Make a sampler known that an earlier choice was made by, where its plug-in has left the project.

    settings: those of the choice, as its manifest has them.
    """
    for plugin in settings.get(PLUGINS, ()):
        if plugin["kind"] == "sampler" and plugin["name"] not in {*SAMPLERS, *_PLUGINS}:
            what = f"Smallest answer of the earlier plug-in {plugin['name']} ({plugin['file']})."
            register(
                Sampler(
                    name=plugin["name"],
                    description=what,
                    rule="top_k",
                    direction="lowest",
                    score_columns=(METHOD_SCORE,),
                    method=PLUGIN,
                    version=plugin["version"],
                )
            )


def complete_options(given: Options | None) -> Options:
    """Defaults overlaid with `given`.

    Raises `UnknownNameError` for a key that no sampler knows, `BadArgumentError` for a value that is none.
    """
    found = {**DEFAULT_OPTIONS, **(given or {})}
    for key, value in found.items():
        if key not in DEFAULT_OPTIONS:
            raise UnknownNameError("sampler option", key, DEFAULT_OPTIONS)
        if not math.isfinite(as_number(value)) or (key == "temperature" and value <= 0):
            expected = "a positive number" if key == "temperature" else "a finite number"
            raise BadArgumentError(f"sampler option {key}", repr(value), expected)
    return found
