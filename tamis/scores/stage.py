"""The stage of the user's own scores: the values of each [[score]], by document."""

from typing import Any

from tamis.scores import CODE_VERSION
from tamis.stage import Snapshot, Stage, edge, every
from tamis.store.columns import DOC_ID, Table, integer, real, text

COLUMN_SCORES = Table(
    name="column_scores",
    key=("score", "doc_id"),
    text=(),
    per_document=True,
    emptied=True,
    rewritten=True,
    scores=("value",),
    named_by="score",
    columns=(
        text("score", "name of the score in tamis.toml"),
        DOC_ID,
        real(
            "value",
            "value of the score's column in the document's row, of several rows the best; in the unit of the "
            "column; null if none of them has a number",
        ),
        integer("not_numbers", "number of the document's rows whose value is no number"),
    ),
)


def _settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """The columns, and which of several values is the best; a range changes no value."""
    scores = snapshot.project.settings.score
    return {one.name: one.model_dump(include={"column", "higher"}) for one in scores}


SCORES_STAGE = Stage(
    name="column_scores",
    group="quality",
    code_version=CODE_VERSION,
    active=lambda snapshot: bool(snapshot.project.settings.score),
    by_content=True,
    edges=(edge("documents", every("shards")),),
    settings=_settings,
    tables=(COLUMN_SCORES,),
)
STAGES = (SCORES_STAGE,)
