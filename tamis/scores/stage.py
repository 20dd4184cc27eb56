"""The stages of the user's own scores: the values of each [[score]], by document."""

from typing import Any

from tamis.plugins.reading import PLUGINS
from tamis.scores import CODE_VERSION, PLUGIN_CODE_VERSION
from tamis.scores.classifier import CLASSIFIER_CODE_VERSION
from tamis.stage import Automation, Snapshot, Stage, edge, every, same
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, integer, real, text
from tamis.training.errors import UnknownModelError
from tamis.training.models import model_identity

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
CLASSIFIER_SCORES = Table(
    name="classifier_scores",
    key=("score", "doc_id"),
    text=(),
    per_document=True,
    emptied=True,
    retained=True,
    scores=("value",),
    named_by="score",
    source=COLUMN_SCORES.name,
    columns=(
        text("score", "name of the score in tamis.toml"),
        DOC_ID,
        real(
            "value",
            "probability of the score's label, or number of a regressor; of a text longer than the model's "
            "window the mean over windows, weighted by tokens; null if the model gave no finite number",
        ),
        integer("not_numbers", "1 if the model gave no finite number for the document, else 0"),
        FINGERPRINT,
    ),
)
PLUGIN_SCORES = Table(
    name="plugin_scores",
    key=("score", "doc_id"),
    text=(),
    per_document=True,
    emptied=True,
    scores=("value",),
    named_by="score",
    source=COLUMN_SCORES.name,
    columns=(
        text("score", "name of the score in tamis.toml"),
        DOC_ID,
        real(
            "value",
            "answer of the score's plug-in for the document's text, in the unit that the plug-in states; "
            "null if it gave none, or failed on the document",
        ),
        integer("not_numbers", "1 if the plug-in answered None, NaN or an infinity for the document, else 0"),
        FINGERPRINT,
    ),
)


def _settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """The columns, and which of several values is the best; a range changes no value."""
    return {
        score.name: score.model_dump(include={"column", "higher"})
        for score in snapshot.project.settings.column_scores
    }


def _classifier_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """The files and the label of each model; which of its values is the best changes none."""
    return {
        score.name: {"model": _identity(snapshot.project.model(score.model)), "label": score.label}
        for score in snapshot.project.settings.classifier_scores
    }


def _identity(model: str) -> str | None:
    """Return the digest of a model's files; None where there are none, so that the step says so."""
    try:
        return model_identity(model)
    except UnknownModelError:
        return None


def _plugin_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """The plug-in of each score, with its code version."""
    plugins = snapshot.project.settings.plugin_scores
    used = {plugin.name: plugin.to_json() for plugin in plugins.values()}
    return {"scores": {name: plugin.name for name, plugin in plugins.items()}, PLUGINS: [*used.values()]}


SCORES_STAGE = Stage(
    name="column_scores",
    group="quality",
    code_version=CODE_VERSION,
    active=lambda snapshot: bool(snapshot.project.settings.column_scores),
    by_content=True,
    edges=(edge("documents", every("shards")),),
    settings=_settings,
    tables=(COLUMN_SCORES,),
)
CLASSIFIER_STAGE = Stage(
    name="classifier_scores",
    group="quality",
    partitions="shards",
    step="shards",
    code_version=CLASSIFIER_CODE_VERSION,
    active=lambda snapshot: bool(snapshot.project.settings.classifier_scores),
    edges=(edge("documents", same),),
    settings=_classifier_settings,
    tables=(CLASSIFIER_SCORES,),
    automation=Automation.ONCE_SELECTED,
)
PLUGIN_SCORES_STAGE = Stage(
    name="plugin_scores",
    group="quality",
    code_version=PLUGIN_CODE_VERSION,
    active=lambda snapshot: bool(snapshot.project.settings.plugin_scores),
    by_content=True,
    edges=(edge("documents", every("shards")),),
    settings=_plugin_settings,
    tables=(PLUGIN_SCORES,),
)
STAGES = (SCORES_STAGE, CLASSIFIER_STAGE, PLUGIN_SCORES_STAGE)
