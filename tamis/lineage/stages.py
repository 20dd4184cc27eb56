"""The graph as data: every stage, its inputs and its settings, in order of execution.

Plans, sensors, assets, audits and reports all read this one table, so they cannot disagree. It is the
only place where an edge of the graph is written down.
"""

from functools import cache

from tamis import (
    comparison,
    corpus,
    coverage,
    embedding,
    filters,
    quality,
    scaling,
    selection,
    training,
    transport,
)
from tamis.corpus import near_duplicates
from tamis.embedding import near_copies
from tamis.lineage.choosers import (
    any_trained,
    base_model_settings,
    compared,
    compared_target,
    comparison_settings,
    copies_wanted,
    corpus_settings,
    encoder_settings,
    flag_settings,
    flags_wanted,
    if_trained,
    judge_settings,
    law_active,
    law_trials,
    models_compared,
    models_of_selection,
    perplexity_models,
    prediction_settings,
    quality_wanted,
    sampler_trials_settings,
    score_partitions,
    section_settings,
    selection_settings,
    standing_trials,
    target_of_selection,
    target_settings,
    tokenizer_compared,
    trial_data,
    trial_settings,
    trial_target,
    unless_pinned,
    when_active,
    when_compared,
    when_computed,
    when_copies,
    when_flags_exclude,
    when_judged,
    when_perplexity,
    when_scored,
)
from tamis.lineage.marts import mart_stages
from tamis.lineage.stage import Edge, Stage, edge, every, only, same
from tamis.quality import second_asking


@cache
def stages() -> dict[str, Stage]:
    """Every stage by name, inputs before what reads them, and first what may fail for want of examples."""
    examples, *targets = _targets()
    made = (
        examples,
        *_corpus(),
        *targets,
        *_training_base(),
        *_scores(),
        *_selections(),
        *_trials(),
        *_comparisons(),
    )
    marts = mart_stages(taken={stage.name for stage in (*made, _audit())})
    return {stage.name: stage for stage in (*made, *marts, _audit())}


def _corpus() -> list[Stage]:
    documents = edge("documents", every("shards"))
    return [
        Stage(
            name="raw_shards",
            group="corpus",
            partitions="shards",
            code_version="1",
            by_content=True,
            settings=lambda world, key: {"sha256": world.fingerprints[key]},
        ),
        Stage(
            name="documents",
            group="corpus",
            partitions="shards",
            code_version=corpus.CODE_VERSION,
            by_content=True,
            edges=(edge("raw_shards", same),),
            settings=corpus_settings,
        ),
        Stage(
            name="near_duplicates",
            group="corpus",
            code_version=near_duplicates.CODE_VERSION,
            by_content=True,
            edges=(documents,),
            settings=section_settings("near_duplicates", frozenset({"cosine"})),
        ),
        Stage(
            name="embeddings",
            group="embedding",
            partitions="shards",
            code_version=embedding.CODE_VERSION,
            edges=(edge("documents", same),),
            settings=encoder_settings,
        ),
        Stage(
            name="near_copies",
            group="embedding",
            code_version=near_copies.CODE_VERSION,
            by_content=True,
            active=copies_wanted,
            edges=(edge("near_duplicates"), edge("embeddings", every("shards"))),
            settings=lambda world, key: {"cosine": world.project.settings.near_duplicates.cosine},
        ),
        Stage(
            name="document_flags",
            group="quality",
            partitions="shards",
            code_version=filters.CODE_VERSION,
            active=flags_wanted,
            edges=(edge("documents", same),),
            settings=flag_settings,
        ),
    ]


def _training_base() -> list[Stage]:
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


def _scores() -> list[Stage]:
    vectors = edge("embeddings", every("shards"))
    surprise = edge("perplexity_scores", when_perplexity(every("shards")))
    return [
        Stage(
            name="density_sketch",
            group="coverage",
            code_version=coverage.CODE_VERSION,
            edges=(vectors,),
            settings=section_settings("density"),
        ),
        Stage(
            name="density_scores",
            group="coverage",
            code_version=coverage.CODE_VERSION,
            edges=(edge("density_sketch"), vectors),
        ),
        Stage(
            name="perplexity_scores",
            group="quality",
            partitions="shards",
            code_version=training.CODE_VERSION,
            active=lambda world: bool(perplexity_models(world, "")),
            edges=(edge("documents", same), edge("base_models", perplexity_models)),
            settings=section_settings("perplexity"),
        ),
        Stage(
            name="judge_sample",
            group="quality",
            active=quality_wanted,
            code_version=quality.CODE_VERSION,
            by_content=True,
            edges=(
                edge("documents", every("shards")),
                edge("near_duplicates"),
                edge("embeddings", when_active(every("shards"))),
            ),
            settings=lambda world, key: world.project.settings.judge.model_dump(
                include={"sample", "active_share"}
            ),
        ),
        Stage(
            name="judge_scores",
            group="quality",
            active=quality_wanted,
            code_version=f"{quality.CODE_VERSION}.{second_asking.CODE_VERSION}",
            edges=(edge("judge_sample"),),
            settings=judge_settings,
        ),
        Stage(
            name="quality_grader",
            group="quality",
            active=quality_wanted,
            code_version=quality.GRADER_CODE_VERSION,
            edges=(edge("judge_scores"), vectors, surprise),
        ),
        Stage(
            name="quality_scores",
            group="quality",
            active=quality_wanted,
            partitions="shards",
            code_version=quality.GRADER_CODE_VERSION,
            edges=(
                edge("quality_grader"),
                edge("embeddings", same),
                edge("perplexity_scores", when_perplexity(same)),
            ),
        ),
    ]


def _targets() -> list[Stage]:
    return [
        Stage(
            name="target_examples",
            group="target",
            partitions="targets",
            code_version=corpus.CODE_VERSION,
            by_content=True,
            settings=target_settings,
        ),
        Stage(
            name="target_embeddings",
            group="target",
            partitions="targets",
            code_version=embedding.CODE_VERSION,
            edges=(edge("target_examples", same),),
            settings=encoder_settings,
        ),
        Stage(
            name="contamination",
            group="target",
            partitions="targets",
            code_version=selection.CODE_VERSION,
            by_content=True,
            edges=(edge("target_examples", same), edge("documents", every("shards"))),
            settings=section_settings("decontamination"),
        ),
        Stage(
            name="target_potential",
            group="target",
            partitions="targets",
            code_version=transport.CODE_VERSION,
            edges=(edge("target_embeddings", same), edge("embeddings", every("shards"))),
            settings=section_settings("transport"),
        ),
        Stage(
            name="transport_scores",
            group="target",
            partitions="targets",
            code_version=transport.CODE_VERSION,
            edges=(
                edge("target_potential", same),
                edge("target_embeddings", same),
                edge("embeddings", every("shards")),
            ),
        ),
    ]


def _pool() -> tuple[Edge, ...]:
    """The documents, and what says which of them may be chosen."""
    return (
        edge("documents", every("shards")),
        edge("near_duplicates"),
        edge("near_copies", when_copies(only)),
        edge("target_examples", every("targets")),
        edge("contamination", every("targets")),
        edge("document_flags", when_flags_exclude(every("shards"))),
    )


def _selections() -> list[Stage]:
    # What stands in the corpora counts for a pinned selection too: texts that are gone leave it.
    documents, *deciding = _pool()
    scores = (
        edge("transport_scores", score_partitions("transport_scores", same)),
        edge("quality_scores", score_partitions("quality_scores", every("shards"))),
        edge("density_scores", score_partitions("density_scores", only)),
        edge("perplexity_scores", score_partitions("perplexity_scores", every("shards"))),
        edge("embeddings", when_computed(every("shards"))),
        edge("target_embeddings", when_computed(target_of_selection)),
        edge("base_models", models_of_selection),
    )
    read = (documents, *(edge(one.asset, unless_pinned(one.partitions)) for one in (*deciding, *scores)))
    return [
        Stage(
            name="selected_subset",
            group="selection",
            partitions="selections",
            code_version=selection.CODE_VERSION,
            by_content=True,
            edges=read,
            settings=selection_settings,
        ),
        Stage(
            name="decisions",
            group="selection",
            partitions="selections",
            code_version=selection.CODE_VERSION,
            by_content=True,
            edges=read,
            settings=selection_settings,
            made_with="selected_subset",
        ),
    ]


def _trials() -> list[Stage]:
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


def _comparisons() -> list[Stage]:
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
                *_pool(),
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
            edges=(*_pool(), *whole, edge("sampler_trials", when_compared(only))),
            settings=comparison_settings,
        ),
    ]


def _audit() -> Stage:
    return Stage(
        name="lineage_audit",
        group="audit",
        code_version="1",
        by_content=True,
        edges=(
            edge("selected_subset", every("selections")),
            edge("decisions", every("selections")),
            edge("trials", standing_trials),
            edge("base_models", every("models")),
            edge("scaling_law_report", lambda world, key: ("",) if law_active(world) else ()),
        ),
    )
