"""Stages of models: those trained on the pool, trials, the scaling law, comparisons, and their audit."""

from tamis import (
    comparison,
    scaling,
    selection,
    training,
)
from tamis.lineage.choosers import (
    any_trained,
    compared,
    compared_target,
    if_trained,
    law_active,
    law_trials,
    models_compared,
    standing_trials,
    tokenizer_compared,
    trial_data,
    trial_target,
    when_compared,
    when_judged,
    when_perplexity,
    when_scored,
)
from tamis.lineage.pool_edges import pool_edges
from tamis.lineage.stage import Stage, edge, every, only
from tamis.lineage.stage_settings import (
    base_model_settings,
    comparison_settings,
    prediction_settings,
    sampler_trials_settings,
    trial_settings,
)


def base_model_stages() -> list[Stage]:
    """Tokenizer and base models."""
    return [
        Stage(
            name="tokenizer",
            group="training",
            code_version=training.CODE_VERSION,
            frozen=True,
            active=any_trained,
            edges=(edge("documents", every("shards")),),
            settings=lambda world, key: {"vocabulary": world.project.settings.pretraining.vocabulary},
        ),
        Stage(
            name="base_models",
            group="training",
            partitions="models",
            code_version=training.CODE_VERSION,
            frozen=True,
            edges=(
                edge("tokenizer", if_trained(only)),
                edge("documents", if_trained(every("shards"))),
                edge("target_examples", if_trained(every("targets"))),
                edge("contamination", if_trained(every("targets"))),
            ),
            settings=base_model_settings,
        ),
    ]


def trial_stages() -> list[Stage]:
    """Trials, the law fitted to them, and the model it speaks for."""
    return [
        Stage(
            name="trials",
            group="training",
            partitions="trials",
            code_version=training.CODE_VERSION,
            edges=(
                edge("base_models", lambda world, key: (world.trials[key].model,)),
                edge("target_examples", trial_target),
                edge("selected_subset", trial_data("warm_up", "two_stage")),
            ),
            settings=trial_settings,
        ),
        Stage(
            name="loss_curves",
            group="scaling",
            code_version=scaling.CODE_VERSION,
            active=law_active,
            edges=(edge("trials", law_trials),),
        ),
        Stage(
            name="scaling_law_report",
            group="scaling",
            code_version=scaling.CODE_VERSION,
            active=law_active,
            edges=(edge("loss_curves"),),
            settings=prediction_settings,
        ),
        Stage(
            name="model_choice",
            group="scaling",
            code_version=scaling.CODE_VERSION,
            active=law_active,
            edges=(edge("loss_curves"),),
            settings=prediction_settings,
        ),
    ]


def comparison_stages() -> list[Stage]:
    """What samplers choose, and what a model learns of it."""
    whole = (
        edge("transport_scores", every("targets")),
        edge("quality_scores", when_judged(every("shards"))),
        edge("density_scores"),
        edge("perplexity_scores", when_perplexity(every("shards"))),
    )
    ranked_by = (
        edge("transport_scores", when_scored("transport_scores", compared_target)),
        edge("quality_scores", when_scored("quality_scores", every("shards"))),
        edge("density_scores", when_scored("density_scores", only)),
        edge("perplexity_scores", when_scored("perplexity_scores", every("shards"))),
        edge("embeddings", when_scored("vectors", every("shards"))),
        edge("target_embeddings", when_scored("vectors", compared_target)),
    )
    return [
        Stage(
            name="sampler_trials",
            group="training",
            code_version=f"{comparison.CODE_VERSION}.{training.CODE_VERSION}.{selection.CODE_VERSION}",
            active=compared,
            edges=(
                *pool_edges(),
                *ranked_by,
                edge("tokenizer", tokenizer_compared),
                edge("base_models", models_compared),
            ),
            settings=sampler_trials_settings,
        ),
        Stage(
            name="sampler_comparison",
            group="selection",
            code_version=selection.CODE_VERSION,
            by_content=True,
            active=lambda world: bool(world.keys("selections") and world.keys("targets")),
            edges=(*pool_edges(), *whole, edge("sampler_trials", when_compared(only))),
            settings=comparison_settings,
        ),
    ]


def audit_stage() -> Stage:
    """The audit, which reads every result."""
    return Stage(
        name="lineage_audit",
        group="audit",
        code_version="2",
        by_content=True,
        edges=(
            edge("selected_subset", every("selections")),
            edge("decisions", every("selections")),
            edge("trials", standing_trials),
            edge("base_models", every("models")),
            edge("scaling_law_report", lambda world, key: ("",) if law_active(world) else ()),
        ),
    )
