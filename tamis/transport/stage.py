"""Stages of optimal transport from the pool to each target: the potential, and the scores it gives."""

from typing import Any

from tamis.settings.samplers import POOL_SCORE, find_sampler
from tamis.stage import Learning, Snapshot, Stage, edge, every, precision_settings, same
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, flag, real, text
from tamis.transport import CODE_VERSION, POOL_CODE_VERSION

TRANSPORT = Table(
    name="transport",
    rewritten=True,
    key=("doc_id",),
    text=(),
    many=True,
    partition="target",
    source="transport_scores",
    scores=("transport_gradient", "nearest_cost"),
    columns=(
        text("target", "name of the target"),
        DOC_ID,
        real(
            "transport_gradient",
            "gradient of the optimal transport distance between the pool and the target with respect to the "
            "document's mass, no unit; smaller is better",
        ),
        real("nearest_cost", "transport cost from the document to the nearest target example, no unit"),
        FINGERPRINT,
    ),
)
POOL_POTENTIAL = Table(
    name="pool_potential",
    rewritten=True,
    key=("doc_id",),
    text=(),
    many=True,
    partition="target",
    source="pool_potential_scores",
    scores=(POOL_SCORE,),
    columns=(
        text("target", "name of the target"),
        DOC_ID,
        real(
            POOL_SCORE,
            "the pool's own potential at the document, in the geometry of the target's; no unit, small where "
            "the pool is crowded",
        ),
        FINGERPRINT,
    ),
)
TARGET_GAPS = Table(
    name="target_gaps",
    key=("target", "doc_id"),
    text=(),
    emptied=True,
    columns=(
        text("target", "name of the target"),
        text("doc_id", "content id of the target example"),
        real(
            "supply",
            "eligible documents (no filter or target keeps them out) per target example in the neighbourhood "
            "of this target example; null if the target has too few examples",
        ),
        flag("is_gap", "whether too few eligible documents are near this target example"),
    ),
)
SCORES_STAGE = Stage(
    name="transport_scores",
    group="target",
    partitions="targets",
    code_version=CODE_VERSION,
    edges=(
        edge("target_potential", same),
        edge("target_embeddings", same),
        edge("embeddings", every("shards")),
    ),
    tables=(TRANSPORT,),
)


def debiased_wanted(snapshot: Snapshot) -> bool:
    """Return whether a configured sampler reads the pool's own potential."""
    used = snapshot.project.settings.ranking_samplers
    return any(POOL_SCORE in find_sampler(name).score_columns for name in used)


POOL_STAGE = Stage(
    name="pool_potential_scores",
    group="target",
    partitions="targets",
    code_version=POOL_CODE_VERSION,
    active=debiased_wanted,
    edges=(edge("pool_potential", same), edge("embeddings", every("shards"))),
    tables=(POOL_POTENTIAL,),
)


def _potential_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    return snapshot.project.settings.transport.model_dump() | precision_settings(snapshot)


STAGES = (
    Stage(
        name="target_potential",
        group="target",
        partitions="targets",
        code_version=CODE_VERSION,
        edges=(edge("target_embeddings", same), edge("embeddings", every("shards"))),
        settings=_potential_settings,
        files="fitted",
        learning=Learning.FITTED,
    ),
    SCORES_STAGE,
    Stage(
        name="pool_potential",
        group="target",
        partitions="targets",
        code_version=POOL_CODE_VERSION,
        active=debiased_wanted,
        edges=(edge("target_potential", same), edge("embeddings", every("shards"))),
        files="fitted",
        learning=Learning.FITTED,
    ),
    POOL_STAGE,
)
