"""Stages of optimal transport from the pool to each target: the potential, and the scores it gives."""

from typing import Any

import pyarrow as pa

from tamis.stage import Learning, Snapshot, Stage, edge, every, precision_settings, same
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, column
from tamis.transport import CODE_VERSION

TRANSPORT = Table(
    name="transport",
    key=("doc_id",),
    text=(),
    many=True,
    partition="target",
    source="transport_scores",
    scores=("transport_gradient", "nearest_cost"),
    columns=(
        column("target", pa.string(), "name of the target"),
        DOC_ID,
        column("transport_gradient", pa.float64(), "gradient of OT(pool, target) in the document's mass"),
        column("nearest_cost", pa.float64(), "cost to the nearest target example"),
        FINGERPRINT,
    ),
)


def _potential_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    return snapshot.project.settings.transport.model_dump() | precision_settings(snapshot)


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
)
