"""Stages of coverage: a sketch of the pool's density, and the density at each document."""

from tamis.coverage import CODE_VERSION
from tamis.stage import Learning, Stage, edge, every, section_settings
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, real

SCORES_DENSITY = Table(
    name="scores_density",
    rewritten=True,
    key=("doc_id",),
    text=(),
    per_document=True,
    indexed=True,
    source="density_scores",
    scores=("density",),
    columns=(
        DOC_ID,
        real(
            "density",
            "debiased kernel density at the document: kernel values summed over the pool, its own being 1",
        ),
        FINGERPRINT,
    ),
)

_VECTORS = edge("embeddings", every("shards"))
SCORES_STAGE = Stage(
    name="density_scores",
    group="coverage",
    code_version=CODE_VERSION,
    edges=(edge("density_sketch"), _VECTORS),
    tables=(SCORES_DENSITY,),
)
STAGES = (
    Stage(
        name="density_sketch",
        group="coverage",
        code_version=CODE_VERSION,
        edges=(_VECTORS,),
        settings=section_settings("density"),
        files="fitted",
        learning=Learning.FITTED,
    ),
    SCORES_STAGE,
)
