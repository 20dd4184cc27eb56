"""The graph as data: every stage, its inputs and its settings, in order of execution.

Plans, sensors, assets, audits and reports all read this one table, so they cannot disagree. It is the
only place where an edge of the graph is written down.
"""

from functools import cache

from tamis import (
    corpus,
    coverage,
    embedding,
    filters,
    quality,
    selection,
    training,
    transport,
)
from tamis.corpus import near_duplicates
from tamis.embedding import near_copies
from tamis.lineage.choosers import (
    copies_wanted,
    flags_wanted,
    models_of_selection,
    perplexity_models,
    quality_wanted,
    score_partitions,
    target_of_selection,
    unless_pinned,
    when_active,
    when_computed,
    when_perplexity,
)
from tamis.lineage.marts import mart_stages
from tamis.lineage.pool_edges import pool_edges
from tamis.lineage.stage import Stage, edge, every, only, same
from tamis.lineage.stage_settings import (
    corpus_settings,
    encoder_settings,
    flag_settings,
    judge_settings,
    potential_settings,
    section_settings,
    selection_settings,
    target_settings,
)
from tamis.lineage.training_stages import audit_stage, base_model_stages, comparison_stages, trial_stages
from tamis.quality import second_asking


@cache
def stages() -> dict[str, Stage]:
    """Every stage by name, inputs before what reads them, and first what may fail for want of examples."""
    examples, *targets = _targets()
    made = (
        examples,
        *_corpus(),
        *targets,
        *base_model_stages(),
        *_scores(),
        *_quality(),
        *_selections(),
        *trial_stages(),
        *comparison_stages(),
    )
    marts = mart_stages(taken={stage.name for stage in (*made, audit_stage())})
    return {stage.name: stage for stage in (*made, *marts, audit_stage())}


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


def _scores() -> list[Stage]:
    vectors = edge("embeddings", every("shards"))
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
    ]


def _quality() -> list[Stage]:
    vectors = edge("embeddings", every("shards"))
    surprise = edge("perplexity_scores", when_perplexity(every("shards")))
    return [
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
            # .1: bad rows are listed, .2: a file without a column is one; the examples are the same
            code_version=f"{corpus.CODE_VERSION}.2",
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
            settings=potential_settings,
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


def _selections() -> list[Stage]:
    # What stands in the corpora counts for a pinned selection too: texts that are gone leave it.
    documents, *deciding = pool_edges()
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
