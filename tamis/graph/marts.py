"""Stages of the SQL models: one for each model of dbt_like_sql/, whose inputs write the tables it reads."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tamis.base.installation import PLATFORM
from tamis.sql import Model, Project, ProjectFileError, Source, load_project
from tamis.sql.plan import tables_read
from tamis.sql.reading import SUPPLIED
from tamis.stage import Edge, Growth, Snapshot, Stage, all_made, edge
from tamis.store.records import stored_rows
from tamis.store.schemas import declared, table_of_source
from tamis.training.stage import TRIALS

SQL_FOLDER = (PLATFORM / "dbt_like_sql").resolve()
WITHDRAWALS = "withdrawals"
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def source_edges(made: Iterable[Stage]) -> dict[str, tuple[Edge, ...]]:
    """Return, by source of the SQL models, the stages and partitions that write it.

    No stage writes `withdrawals`: a person does, so it is among the settings of a model that reads it.
    """
    found: dict[str, tuple[Edge, ...]] = {WITHDRAWALS: ()}
    for stage in made:
        for table in stage.tables:
            name = table.source or table.name
            found[name] = (*found.get(name, ()), edge(stage.name, all_made(stage)))
    return found | dict.fromkeys(SUPPLIED, found[TRIALS.name])


def mart_stages(made: Sequence[Stage], folder: Path = SQL_FOLDER) -> list[Stage]:
    """Return a stage for each model of the SQL project in a folder; adding a model is adding a file.

    `made`: the other stages. Raises `ProjectFileError`, and the errors of `tamis.sql.load_project`.
    """
    project = load_project(folder)
    for source in project.sources.values():
        _check_text(source)
    for model in project.ordered():
        _check_name(model, {stage.name for stage in made})
    written = source_edges(made)
    return [_stage(project, model, written) for model in project.ordered()]


def _check_text(source: Source) -> None:
    """Refuse a source that lists a column of text: a withdrawal could not find the text in a model's rows."""
    table = table_of_source(source.name)
    shown = {*table.text} if table else set()
    if listed := sorted({column.name for column in source.columns} & shown):
        problem = (
            f"{source.name}.{listed[0]} contains text of documents, which no SQL model may read, "
            "because a withdrawal could not find the text in the rows of the model; list only columns "
            "without text, such as doc_id or n_chars"
        )
        raise ProjectFileError(source.file, source.line, problem)


def _check_name(model: Model, taken: Collection[str]) -> None:
    """Refuse a model whose name cannot name a table, or names a table or an asset of the platform."""
    if not _NAME.fullmatch(model.name):
        problem = (
            "is not a valid model name; use only unaccented letters, digits and _, and do not begin with a "
            "digit"
        )
    elif declared(model.name) or model.name in taken:
        problem = (
            "is already the name of a table or asset of Tamis; choose another name for the model, such as "
            f"mart_{model.name}"
        )
    else:
        return
    raise ProjectFileError(model.path, 1, f"{model.name!r} {problem}")


def _stage(project: Project, model: Model, written: Mapping[str, tuple[Edge, ...]]) -> Stage:
    read = _read_by(project, model.name)
    edges = {found.asset: found for name in read for found in _edges(project, name, written)}
    stage = Stage(
        name=model.name,
        group=model.layer,
        code_version=model.code_version,
        by_content=model.materialized != "view",
        growth=Growth.OWN_ROWS if model.layer == "marts" else None,
        description=model.description,
        edges=tuple(edges.values()),
    )
    if WITHDRAWALS not in read:
        return stage
    return replace(stage, settings=withdrawals_state)


def _read_by(project: Project, name: str) -> list[str]:
    """Return the sources and models that a model and its tests read; views are inlined but stay inputs."""
    return sorted({*tables_read(project, name), *project.model(name).models})


def _edges(project: Project, name: str, written: Mapping[str, tuple[Edge, ...]]) -> Iterator[Edge]:
    if name in project.models:
        yield edge(name)
    elif name in written:
        yield from written[name]
    else:
        source, valid = project.sources[name], ", ".join(sorted(written))
        problem = f"no asset writes the source table {name!r}; valid source tables: {valid}"
        raise ProjectFileError(source.file, source.line, problem)


def withdrawals_state(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """Return the digest of the table `withdrawals`; empty while nothing was withdrawn."""
    store = snapshot.project.home.store
    return {WITHDRAWALS: stored_rows(store, WITHDRAWALS, "")[0]} if store.count(WITHDRAWALS) else {}
