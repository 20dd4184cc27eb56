"""Stages of the mixture: runs of a small model on many mixtures, a law of their losses, the best mixture."""

from typing import Any

from tamis import training
from tamis.corpus.sources import SOURCES_AS_COUNTED
from tamis.coverage.stage import SCORES_STAGE as DENSITY_STAGE
from tamis.mixture import CODE_VERSION
from tamis.mixture.swarm import SWARM_CODE_VERSION
from tamis.quality.stage import QUALITY_STAGE
from tamis.selection import find_sampler
from tamis.selection.stage import (
    MIXTURE,
    computes_itself,
    filter_settings,
    measured_by,
    own_score_edges,
    pool_edges,
    scored_by,
)
from tamis.settings.references import mixture_presets
from tamis.stage import (
    Automation,
    Growth,
    Learning,
    PartitionMapping,
    PartitionSet,
    Snapshot,
    Stage,
    edge,
    every,
    only,
    precision_settings,
    same,
    when,
)
from tamis.store.columns import DOC_ID, Table, flag, integer, real, text
from tamis.topics.stage import TOPICS_STAGE
from tamis.training.stage import PERPLEXITY_STAGE, TRAINED_ON, trainer_settings, with_twins
from tamis.transport.stage import POOL_STAGE
from tamis.transport.stage import SCORES_STAGE as TRANSPORT_STAGE

_PLANNED = (
    text("run", "name of the run, with a digest of the run's mixture and documents"),
    text("source", "name of a source that the run trains on"),
    real("weight", "share of the run's tokens from this source; the shares of a run sum to 1"),
    text(
        "documents_digest",
        "digest of the ids of the source's documents that the run draws from, in the sampler's order",
    ),
    integer("generation", "number of the plan that the run belongs to, from 0"),
    integer("place", "position of the run among all planned runs, from 0"),
    text("preset", "preset that sets the size and shape of the model"),
    integer("tokens", "number of tokens that the run trains on"),
    text(
        "parts",
        "the run's share of each part of the plan, as JSON; a part is one source or all unchanged sources",
    ),
    text(
        "ratios",
        "share of each source within each part of the latest plan, as JSON; the shares of a part sum to 1",
    ),
    text("recipe", "digest of the training settings of the runs"),
    real("repetition", "fraction of each source's tokens that runs draw from, 0 to 1"),
)

MIXTURE_PLAN = Table(name="mixture_plan", key=("run", "source"), text=(), columns=_PLANNED)

AGREEMENT_PLAN = Table(
    name="agreement_plan",
    key=("run", "source"),
    text=(),
    columns=(*_PLANNED, flag("wanted", "whether the current law is validated with the run")),
)

MIXTURE_SOURCES = Table(
    name="mixture_sources",
    key=("source",),
    text=(),
    columns=(
        text("source", "name of the corpus, source or topic"),
        integer("documents", "number of the source's documents that may be selected"),
        integer("tokens", "tokens of the source's documents that may be selected"),
        integer(
            "estimated",
            "number of the source's documents that may be selected and whose token count is an estimate",
        ),
        real("share", "natural share: the source's tokens divided by the tokens of all sources"),
        integer("run_tokens", "tokens of the source's documents that runs draw from"),
        text(
            "documents_digest",
            "digest of the ids of the source's documents that runs draw from, in the sampler's order",
        ),
        text(
            "change",
            "change of the source since earlier runs were planned: first (there were none), unchanged, "
            "grown, revised, added or removed",
        ),
        real("changed_share", "share of the source's tokens that were removed or are of a new kind, 0 to 1"),
        real(
            "distance",
            "mean transport divergence of the source from the targets, no unit; null without vectors",
        ),
    ),
)

MIXTURE_DOCUMENTS = Table(
    name="mixture_documents",
    key=("source", "doc_id"),
    text=(),
    evidence=True,
    sealed=True,
    columns=(
        text("source", "source that the document is assigned to"),
        DOC_ID,
        integer("n_tokens", "number of tokens in the document"),
        integer(
            "rank",
            "rank of the document in the sampler's order, from 1; null if runs do not draw the document",
        ),
    ),
)

MIXTURE_RUNS = Table(
    name="mixture_runs",
    key=("run",),
    text=(),
    sealed=True,
    partition="run",
    columns=(
        text("run", "name of the run"),
        text("preset", "preset that sets the size and shape of the model"),
        integer("documents", "number of distinct documents that the run is trained on"),
        integer("largest_count", "copies of the run's most repeated document in the training set"),
        integer("steps", "number of optimiser steps"),
        integer("tokens", "number of training tokens, repeated documents counted each time"),
        real("flops", "training compute in FLOP: 6 x parameters x tokens"),
        real("seconds", "wall-clock time of the training, in seconds"),
        integer("peak_memory_bytes", "peak resident memory of the process, in bytes"),
        integer("parameters", "number of parameters of the model"),
        text("failure", "why the run has no losses; null if the run succeeded"),
        text(
            "checkpoint", "folder of the model's weights, relative to the home folder; null if the run failed"
        ),
        text("mlflow_run", "id of the MLflow run"),
    ),
)

MIXTURE_LOSSES = Table(
    name="mixture_losses",
    key=("run", "target"),
    text=(),
    sealed=True,
    partition="run",
    columns=(
        text("run", "name of the run"),
        text("target", "target on whose held-out examples the run is evaluated"),
        real(
            "bits_per_byte", "loss on the target's held-out examples, bits per byte; null if the run failed"
        ),
        integer(
            "examples",
            "number of held-out examples that the loss is measured on: those that no run was trained on",
        ),
    ),
)

MIXTURE_LAW = Table(
    name="mixture_law",
    key=("run", "target"),
    text=(),
    columns=(
        text("run", "name of the run"),
        text("target", "name of the target"),
        real("measured", "loss on the target's held-out examples, bits per byte; null if the run failed"),
        real("predicted", "loss predicted by a law fitted without this run, bits per byte"),
        real("fitted", "loss predicted by the law fitted to all runs, bits per byte"),
        flag("outlier", "whether the fit left the run out as an outlier"),
    ),
)

MIXTURE_METHODS = Table(
    name="mixture_methods",
    key=("target", "method"),
    text=(),
    columns=(
        text("target", "name of the target"),
        text("method", "form of the law"),
        real(
            "rank_correlation",
            "Spearman correlation between the held-out predictions and the measured losses of the runs",
        ),
        flag("chosen", "whether this form was chosen for the law that predicts the target's loss"),
    ),
)

MIXTURE_SHARES = Table(
    name=MIXTURE,
    key=("source",),
    text=(),
    columns=(
        text("source", "name of the corpus, source or topic"),
        real("weight", "share of the source in the mixture; the shares of all sources sum to 1"),
        real("low", "lower end of the weight's 90 % interval over resampled runs and law forms"),
        real("high", "upper end of the weight's 90 % interval over resampled runs and law forms"),
        real("natural", "the source's share of all tokens that may be selected"),
        integer("tokens", "tokens of the source's documents that may be selected"),
        real(
            "repetition",
            "passes over the source's tokens when training on train_tokens tokens of the mixture",
        ),
        real(
            "worth",
            "passes over unique tokens that would be worth as much as `repetition` passes over the source's "
            "tokens (arXiv 2305.16264)",
        ),
        real(
            "marginal_value",
            "change of the predicted mean loss if 1 % of the mixture moves to the source, bits per byte",
        ),
        flag("at_cap", "whether max_repetition or the source's largest share in any run limits the weight"),
    ),
)

MIXTURE_CONTROLS = Table(
    name="mixture_controls",
    key=("name",),
    text=(),
    columns=(
        text(
            "name",
            "name of the mixture: chosen, or a control (natural, uniform, unimax, transport, best run)",
        ),
        text("shares", "share of each source in the mixture, as JSON"),
        real("predicted", "loss predicted by the law, mean over the targets, bits per byte"),
        real("low", "lower end of the 90 % interval of the predicted loss"),
        real("high", "upper end of the 90 % interval of the predicted loss"),
        real(
            "difference",
            "predicted loss of the chosen mixture minus predicted loss of this mixture, bits per byte",
        ),
        real("difference_low", "lower end of the 90 % interval of the difference"),
        real("difference_high", "upper end of the 90 % interval of the difference"),
        real(
            "measured",
            "measured loss of a run of this mixture, mean over the targets, bits per byte; null if no run "
            "has this mixture",
        ),
    ),
)


SWARM_SETS: tuple[PartitionSet, ...] = ("mixture_runs", "agreement_runs")
"""Partition sets of the runs."""


def _configured(snapshot: Snapshot) -> bool:
    return snapshot.project.settings.mixture is not None


def _validated(snapshot: Snapshot) -> bool:
    """Return whether some mixtures are run at a larger preset too."""
    return mixture_presets(snapshot.project.settings)[1] is not None


def _targets(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    section = snapshot.project.settings.mixture
    return section.targets if section else ()


def _of_topics(snapshot: Snapshot) -> bool:
    """Return whether the sources are topics."""
    section = snapshot.project.settings.mixture
    return section is not None and section.sources == "topics"


def _sampler(snapshot: Snapshot) -> str:
    section = snapshot.project.settings.mixture
    return section.sampler if section else "random"


def _when_scored(stage: Stage, mapping: PartitionMapping) -> PartitionMapping:
    """For scores that the sampler inside sources ranks by."""
    return when(
        lambda snapshot: stage.name in scored_by(find_sampler(_sampler(snapshot)).score_columns), mapping
    )


def _first_target(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    return _targets(snapshot, partition)[:1]


def _models(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    return with_twins(snapshot, [_sampler(snapshot)])


def recipe_settings(snapshot: Snapshot) -> dict[str, Any]:
    """Return how runs are trained, whatever their mixture."""
    recipe = snapshot.project.settings.pretraining.recipe()
    return recipe | precision_settings(snapshot) | trainer_settings(snapshot)


def _design_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    settings = snapshot.project.settings
    section = settings.mixture
    assert section is not None
    names = {"target", "sampler", "sources", "runs", "run_tokens", "train_tokens", "max_repetition"}
    transport = settings.transport.model_dump(include={"relative_epsilon", "tolerance"})
    return {
        **section.model_dump(include=names),
        "preset": mixture_presets(settings)[0],
        "recipe": recipe_settings(snapshot),
        **({"transport": transport} if computes_itself(section.sampler) else {}),
        **(SOURCES_AS_COUNTED if section.sources == "source" else {}),
        **measured_by(snapshot, [section.sampler]),
        **filter_settings(snapshot),
    }


def _run_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """Return what a run is trained on and how; inputs do not count, so that no arrival trains it again."""
    swarm = snapshot.swarm
    if swarm is None:
        return {}  # kept without [mixture]: it has the key that it was made with
    run = swarm.run(partition)
    return {
        "preset": run.preset,
        "tokens": run.tokens,
        "weights": dict(run.weights),
        "documents": dict(run.documents),
    } | recipe_settings(snapshot)


def _evaluation_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    settings = snapshot.project.settings
    return {"sequence_length": settings.pretraining.sequence_length} | precision_settings(snapshot)


def _law_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    return {
        "target": _targets(snapshot, partition),
        "agreement": mixture_presets(snapshot.project.settings)[1],
    }


def _mixture_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    section = snapshot.project.settings.mixture
    assert section is not None
    return section.model_dump(include={"target", "train_tokens", "max_repetition", "stay_near"})


def wanted_runs(partition_set: PartitionSet) -> PartitionMapping:
    """Return a mapping to the runs of the present plan."""
    return lambda snapshot, partition: tuple(
        key for key in snapshot.keys(partition_set) if not snapshot.waits_for_request(partition_set, key)
    )


def _runs_stage(name: PartitionSet, planned_by: str) -> Stage:
    return Stage(
        name=name,
        group="mixture",
        partitions=name,
        code_version=f"{SWARM_CODE_VERSION}.{training.CODE_VERSION}",
        active=_validated if name == "agreement_runs" else _configured,
        frozen=True,
        edges=(edge("documents", every("shards")), edge("tokenizer"), edge(planned_by)),
        settings=_run_settings,
        tables=(MIXTURE_RUNS, TRAINED_ON),
        files="checkpoints",
        learning=Learning.PRE_TRAINED,
        result=True,
        automation=Automation.BY_HAND,
        growth=Growth.NOTHING,
    )


def _losses_stage(name: str, runs: PartitionSet) -> Stage:
    return Stage(
        name=name,
        group="mixture",
        partitions=runs,
        code_version=f"{SWARM_CODE_VERSION}.{training.CODE_VERSION}",
        active=_validated if runs == "agreement_runs" else _configured,
        edges=(edge(runs, same), edge("target_examples", _targets)),
        settings=_evaluation_settings,
        tables=(MIXTURE_LOSSES,),
        automation=Automation.BY_HAND,
        growth=Growth.NOTHING,
    )


DESIGN_STAGE = Stage(
    name="mixture_design",
    group="mixture",
    code_version=SWARM_CODE_VERSION,
    active=_configured,
    by_content=True,
    plans="mixture_runs",
    edges=(
        *pool_edges(),
        edge("transport_scores", _when_scored(TRANSPORT_STAGE, _first_target)),
        edge("pool_potential_scores", _when_scored(POOL_STAGE, _first_target)),
        edge("quality_scores", _when_scored(QUALITY_STAGE, every("shards"))),
        edge("density_scores", _when_scored(DENSITY_STAGE, only)),
        edge("perplexity_scores", _when_scored(PERPLEXITY_STAGE, every("shards"))),
        *own_score_edges(lambda snapshot: [_sampler(snapshot)]),
        edge("embeddings", every("shards")),
        edge("target_embeddings", _targets),
        edge("base_models", _models),
        edge(TOPICS_STAGE.name, when(_of_topics, only)),
    ),
    settings=_design_settings,
    tables=(MIXTURE_SOURCES, MIXTURE_PLAN, MIXTURE_DOCUMENTS),
    automation=Automation.BY_HAND,
)
RUNS_STAGE = _runs_stage("mixture_runs", DESIGN_STAGE.name)
LOSSES_STAGE = _losses_stage("mixture_losses", "mixture_runs")
LAW_STAGE = Stage(
    name="mixture_law",
    group="mixture",
    code_version=f"{SWARM_CODE_VERSION}.{CODE_VERSION}",
    active=_configured,
    by_content=True,
    plans="agreement_runs",
    edges=(edge(DESIGN_STAGE.name), edge(LOSSES_STAGE.name, wanted_runs("mixture_runs"))),
    settings=_law_settings,
    tables=(MIXTURE_LAW, MIXTURE_METHODS, AGREEMENT_PLAN),
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)
LARGER_STAGE = _runs_stage("agreement_runs", LAW_STAGE.name)
LARGER_LOSSES_STAGE = _losses_stage("agreement_losses", "agreement_runs")
MIXTURE_STAGE = Stage(
    name=MIXTURE,
    group="mixture",
    code_version=f"{SWARM_CODE_VERSION}.{CODE_VERSION}",
    active=_configured,
    by_content=True,
    edges=(
        edge(DESIGN_STAGE.name),
        edge(LAW_STAGE.name),
        edge(LOSSES_STAGE.name, wanted_runs("mixture_runs")),
        edge(LARGER_LOSSES_STAGE.name, when(_validated, wanted_runs("agreement_runs"))),
    ),
    settings=_mixture_settings,
    tables=(MIXTURE_SHARES, MIXTURE_CONTROLS),
    result=True,
    automation=Automation.BY_HAND,
    growth=Growth.NOTHING,
)
STAGES = (
    DESIGN_STAGE,
    RUNS_STAGE,
    LOSSES_STAGE,
    LAW_STAGE,
    LARGER_STAGE,
    LARGER_LOSSES_STAGE,
    MIXTURE_STAGE,
)
