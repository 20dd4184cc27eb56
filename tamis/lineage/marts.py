"""Stages of the SQL models: one a model of dbt_like_sql/, with the stages that write what it reads."""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tamis.lineage.choosers import standing_trials, when_judged, when_perplexity
from tamis.lineage.stage import Chooser, Edge, Stage, edge, every, only
from tamis.lineage.world import World
from tamis.settings.config import platform_folder
from tamis.sql import Model, Project, ProjectFileError, Source, load_project
from tamis.sql.plan import tables_read
from tamis.sql.reading import CURRENT_TRIALS
from tamis.store.records import stored_rows
from tamis.store.schemas import KEYS, TEXT, kind_of

SQL_FOLDER = platform_folder() / "dbt_like_sql"
WITHDRAWALS = "withdrawals"
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")

SOURCE_STAGES: dict[str, dict[str, Chooser]] = {
    "documents": {"documents": every("shards")},
    "occurrences": {"documents": every("shards")},
    "quarantine": {"documents": every("shards")},
    "near_duplicates": {"near_duplicates": only},
    "density_scores": {"density_scores": only},
    "quality_scores": {"quality_scores": when_judged(every("shards"))},
    "perplexity_scores": {"perplexity_scores": when_perplexity(every("shards"))},
    "judge_scores": {"judge_scores": when_judged(only)},
    "transport_scores": {"transport_scores": every("targets")},
    "target_examples": {"target_examples": every("targets")},
    "decisions": {"decisions": every("selections")},
    "trials": {"trials": standing_trials},
    CURRENT_TRIALS: {"trials": standing_trials},
    "trained_on": {"base_models": every("models"), "trials": standing_trials},
    WITHDRAWALS: {},
}
"""Which stages, and which of their partitions, write each source of the SQL models.

No stage writes `withdrawals`: a person does, so it counts among the settings of what reads it.
"""


def mart_stages(folder: Path = SQL_FOLDER, taken: Collection[str] = ()) -> list[Stage]:
    """A stage for each model of the SQL project; adding a model is adding a file.

    `taken`: names of other stages. Raises `ProjectFileError`, and what `tamis.sql.load_project` raises.
    """
    project = load_project(folder)
    for source in project.sources.values():
        _check_text(source)
    for model in project.ordered():
        _check_name(model, taken)
    return [_stage(project, model) for model in project.ordered()]


def _check_text(source: Source) -> None:
    """Raise where a source lists a column of text: a model's rows need not name the document they show."""
    if listed := sorted({column.name for column in source.columns} & {*TEXT.get(source.name, ())}):
        problem = (
            f"{source.name}.{listed[0]} shows text of documents, which no SQL model may read: a withdrawal "
            "could not find it in the model's rows; list columns without text, say doc_id and n_chars"
        )
        raise ProjectFileError(source.file, source.line, problem)


def _check_name(model: Model, taken: Collection[str]) -> None:
    """A model is a table and an asset of its name, and must not replace one that the platform has."""
    if not _NAME.fullmatch(model.name):
        problem = "is no name of a model: letters without accents, digits and _, not beginning with a digit"
    elif kind_of(model.name) in KEYS or model.name in taken:
        problem = f"is the name of a table or asset of the platform; take another, say mart_{model.name}"
    else:
        return
    raise ProjectFileError(model.path, 1, f"{model.name!r} {problem}")


def _stage(project: Project, model: Model) -> Stage:
    read = _read_by(project, model.name)
    edges = {found.asset: found for name in read for found in _edges(project, name)}
    stage = Stage(
        name=model.name,
        group=model.layer,
        code_version=model.code_version,
        by_content=model.materialized != "view",
        edges=tuple(edges.values()),
    )
    if WITHDRAWALS not in read:
        return stage
    return replace(stage, settings=withdrawals_state)


def _read_by(project: Project, name: str) -> list[str]:
    """Sources and models that a model and its tests read; upstream views are inlined but stay edges."""
    return sorted({*tables_read(project, name), *project.model(name).models})


def _edges(project: Project, name: str) -> Iterator[Edge]:
    if name in project.models:
        yield edge(name)
    elif name in SOURCE_STAGES:
        yield from (edge(asset, partitions) for asset, partitions in SOURCE_STAGES[name].items())
    else:
        source, valid = project.sources[name], ", ".join(sorted(SOURCE_STAGES))
        problem = f"no stage of the graph is known to write the source {name!r}; known: {valid}"
        raise ProjectFileError(source.file, source.line, problem)


def withdrawals_state(world: World, partition: str) -> dict[str, Any]:
    """What was withdrawn, as a digest; empty while nothing was."""
    store = world.project.home.store
    return {WITHDRAWALS: stored_rows(store, WITHDRAWALS, "")[0]} if store.count(WITHDRAWALS) else {}
