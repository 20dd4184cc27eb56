"""Stages that compare samplers: by what they choose, and by what a model learns of it."""

from collections.abc import Callable, Iterable
from typing import Any

from tamis import selection, training
from tamis.comparison import CODE_VERSION
from tamis.coverage.stage import SCORES_STAGE as DENSITY_STAGE
from tamis.evaluation.stage import control_settings, evaluation_active, evaluation_settings
from tamis.quality.stage import QUALITY_STAGE, quality_wanted
from tamis.scores.stage import STAGES as SCORE_STAGES
from tamis.selection import find_sampler
from tamis.selection.stage import (
    computes_itself,
    filter_settings,
    measured_by,
    own_score_edges,
    pool_edges,
    scored_by,
)
from tamis.stage import (
    Automation,
    Edge,
    Growth,
    Learning,
    PartitionMapping,
    Snapshot,
    Stage,
    all_made,
    edge,
    every,
    only,
    precision_settings,
    when,
)
from tamis.store.columns import Table, integer, many, moment, real, text
from tamis.training.planned import model_section
from tamis.training.stage import (
    PERPLEXITY_STAGE,
    perplexity_wanted,
    trained_on_pool,
    trainer_settings,
    with_twins,
)
from tamis.transport.stage import POOL_STAGE, debiased_wanted
from tamis.transport.stage import SCORES_STAGE as TRANSPORT_STAGE

_SAMPLER_TRIAL = (
    text(
        "run",
        "id of the run: digest of everything that its losses depend on (training documents, starting model, "
        "settings, seeds, held-out texts, code version)",
    ),
    text(
        "sampler",
        'sampler that chose the training set; "full" means every eligible document of the part of the pool '
        "that the data seed draws",
    ),
    text(
        "budget",
        "how much the sampler was allowed to choose: documents, a share of the eligible documents, or tokens",
    ),
    integer(
        "data_seed",
        "number of the data seed, from 0; the data seed draws the part of the pool to choose from, and the "
        "documents if the sampler draws at random",
    ),
    integer(
        "training_seed",
        "number of the training seed, from 0; the training seed decides the initial weights and the order of "
        "the training documents",
    ),
    integer("documents", "number of distinct documents in the training set"),
    integer("tokens", "number of tokens that the model was trained to predict, repeats counted"),
    real("epochs", "number of passes over the training set; below 1, part of the set was not read"),
    real("target_bits_per_byte", "loss on the held-out examples of the target, in bits per byte"),
    real("pool_bits_per_byte", "loss on the held-out documents of the pool, in bits per byte"),
    many(
        real(
            "target_document_bits",
            "code length (loss summed over its tokens) of each held-out example of the target, in bits",
        )
    ),
    many(integer("target_document_bytes", "length of each held-out example of the target, in UTF-8 bytes")),
    many(
        real(
            "pool_document_bits",
            "code length (loss summed over its tokens) of each held-out document of the pool, in bits",
        )
    ),
    many(integer("pool_document_bytes", "length of each held-out document of the pool, in UTF-8 bytes")),
    many(integer("curve_tokens", "number of tokens trained on at each measurement of the target loss")),
    many(real("curve_target", "target loss at each number of tokens in curve_tokens, in bits per byte")),
    text("failure", "why the run has no losses; null if the run has losses"),
    real("seconds", "duration of training and evaluation, in seconds"),
)

SAMPLER_COMPARISON = Table(
    name="sampler_comparison",
    key=("sampler_a", "sampler_b"),
    text=(),
    columns=(
        text("sampler_a", "one sampler"),
        text("sampler_b", "the other sampler"),
        real(
            "jaccard",
            "documents that both samplers chose, divided by documents that at least one of them chose",
        ),
        real(
            "kendall_tau",
            "Kendall rank correlation of the two samplers over all documents that both rank, -1 to 1",
        ),
    ),
)

SAMPLER_TRIALS = Table(name="sampler_trials", key=("run",), text=(), sealed=True, columns=_SAMPLER_TRIAL)

SAMPLER_TRIALS_CONTROLS = Table(
    name="sampler_trials_controls",
    key=("run", "control"),
    text=(),
    emptied=True,
    columns=(
        text("run", "id of the run"),
        text("control", "name of the control in tamis.toml"),
        text("texts", "digest of the texts of the control that were measured"),
        real("bits_per_byte", "loss on the control, in bits per byte"),
        many(
            real(
                "document_bits",
                "code length (loss summed over its tokens) of each document of the control, in bits",
            )
        ),
        many(integer("document_bytes", "length of each document of the control, in UTF-8 bytes")),
    ),
)

SAMPLER_TRIALS_SCORES = Table(
    name="sampler_trials_scores",
    key=("run", "task", "example"),
    text=(),
    emptied=True,
    columns=(
        text("run", "id of the run"),
        text("settings", "digest of the command of [evaluation], its files and the metric"),
        text("task", "name of the task; of lm-eval's samples with the metric, as task:metric"),
        text("example", "id of the example within its task, as the evaluation gives it"),
        real("score", "score of the run's model on the example; higher is better"),
    ),
)

SAMPLER_TRIALS_LEFT = Table(
    name="sampler_trials_left",
    key=("run",),
    text=(),
    sealed=True,
    columns=(
        *_SAMPLER_TRIAL,
        moment("left_at", "when the run was set aside because the comparison no longer plans it, in UTC"),
    ),
)

TABLES = (SAMPLER_TRIALS_LEFT,)


def _compared(snapshot: Snapshot) -> bool:
    """Return whether samplers are compared by training on what they choose."""
    return snapshot.project.settings.sampler_trials.model is not None


def _nothing(snapshot: Snapshot) -> tuple[str, ...]:
    return ()


def ranking_edges(
    samplers: Callable[[Snapshot], Iterable[str]],
    target: PartitionMapping,
    reads_vectors: Callable[[str], bool] = computes_itself,
    replaced: Callable[[Snapshot], Iterable[str]] = _nothing,
) -> tuple[Edge, ...]:
    """Return what samplers rank by as inputs: scores, and vectors where a sampler reads them itself.

    `replaced`: score columns in whose place a [[score]] is read.
    """

    def scored(stage: Stage, mapping: PartitionMapping) -> Edge:
        def is_read(snapshot: Snapshot) -> bool:
            columns = {name for one in samplers(snapshot) for name in find_sampler(one).score_columns}
            return stage.name in scored_by(columns.difference(replaced(snapshot)))

        return edge(stage.name, when(is_read, mapping))

    def computed(snapshot: Snapshot) -> bool:
        return any(map(reads_vectors, samplers(snapshot)))

    return (
        scored(TRANSPORT_STAGE, target),
        scored(POOL_STAGE, target),
        scored(QUALITY_STAGE, every("shards")),
        scored(DENSITY_STAGE, only),
        scored(PERPLEXITY_STAGE, every("shards")),
        *own_score_edges(samplers),
        edge("embeddings", when(computed, every("shards"))),
        edge("target_embeddings", when(computed, target)),
    )


def _target(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    return (str(snapshot.project.settings.sampler_trials.target),)


def _from_fresh_weights(snapshot: Snapshot) -> bool:
    trials = snapshot.project.settings.sampler_trials
    return trials.from_scratch and trained_on_pool(snapshot, str(trials.model))


def _models(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    """The model that compared runs begin with, unless they begin with fresh weights, and samplers' models."""
    trials = snapshot.project.settings.sampler_trials
    begun = () if _from_fresh_weights(snapshot) else (str(trials.model),)
    return tuple(dict.fromkeys((*begun, *with_twins(snapshot, trials.samplers))))


def _trials_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    settings = snapshot.project.settings
    section = settings.sampler_trials.model_dump()
    recipe = settings.pretraining.recipe() if section["from_scratch"] else settings.fine_tuning.shared()
    transport = settings.transport.model_dump(include={"relative_epsilon", "tolerance"})
    shape = model_section(snapshot.project, str(settings.sampler_trials.model))[0].preset
    own = {"recipe": recipe, "transport": transport, "preset": shape} | precision_settings(snapshot)
    own |= measured_by(snapshot, settings.sampler_trials.samplers)
    own |= trainer_settings(snapshot)
    if evaluation_active(snapshot):
        own |= {"evaluation": evaluation_settings(snapshot)}
    return section | own | filter_settings(snapshot) | control_settings(snapshot)


def _comparison_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    budget = snapshot.project.settings.selection[0].budget
    found = {"budget": budget, "target": snapshot.keys("targets")[0]} | filter_settings(snapshot)
    scores = {score.name: score.higher for score in snapshot.project.settings.score}
    found |= {"scores": scores} if scores else {}
    return found | ({"page": 2} if _compared(snapshot) else {})  # 2: costs next to the target


SAMPLER_TRIALS_STAGE = Stage(
    name="sampler_trials",
    group="training",
    code_version=f"{CODE_VERSION}.{training.CODE_VERSION}.{selection.CODE_VERSION}",
    active=_compared,
    edges=(
        *pool_edges(),
        *ranking_edges(lambda snapshot: snapshot.project.settings.sampler_trials.samplers, _target),
        edge("tokenizer", when(_from_fresh_weights, only)),
        edge("base_models", _models),
    ),
    settings=_trials_settings,
    tables=(SAMPLER_TRIALS, SAMPLER_TRIALS_CONTROLS, SAMPLER_TRIALS_SCORES),
    learning=Learning.FITTED,
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)
COMPARISON_STAGE = Stage(
    name="sampler_comparison",
    group="selection",
    code_version=f"{selection.CODE_VERSION}.1",  # .1: intervals of losses by the t distribution
    by_content=True,
    active=lambda snapshot: bool(snapshot.keys("selections") and snapshot.keys("targets")),
    edges=(
        *pool_edges(),
        edge("transport_scores", every("targets")),
        edge("pool_potential_scores", when(debiased_wanted, every("targets"))),
        edge("quality_scores", when(quality_wanted, every("shards"))),
        edge("density_scores"),
        edge("perplexity_scores", when(perplexity_wanted, every("shards"))),
        *(edge(stage.name, all_made(stage)) for stage in SCORE_STAGES),
        edge("sampler_trials", when(_compared, only)),
    ),
    settings=_comparison_settings,
    tables=(SAMPLER_COMPARISON,),
)
STAGES = (SAMPLER_TRIALS_STAGE, COMPARISON_STAGE)
