"""The graph as data: all declared stages, one for each SQL model, and the audit, in order of execution."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from tamis.base.declared import declaring_modules
from tamis.base.installation import PLATFORM
from tamis.records.registered import TABLE as REGISTERED
from tamis.sql import Model, Project, ProjectFileError, Source, load_project
from tamis.sql.plan import SUPPLIED, tables_read
from tamis.stage import Automation, Edge, Growth, Snapshot, Stage, all_made, edge
from tamis.store.columns import BadDeclarationError
from tamis.store.rows_files import stored_rows
from tamis.store.schemas import declared, tables_of_source
from tamis.training.stage import TRAINED_ON, TRIALS

SQL_FOLDER = (PLATFORM / "dbt_like_sql").resolve()
WITHDRAWALS = "withdrawals"
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
AUDIT_ASSET = "lineage_audit"


def source_edges(made: Iterable[Stage]) -> dict[str, tuple[Edge, ...]]:
    """Return, by source of the SQL models, the stages and partitions that write it.

    No stage writes `withdrawals`: a person does, so it is among the settings of a model that reads it. So are
    the registered checkpoints where it reads `trained_on`, which has their rows, too.
    """
    found: dict[str, tuple[Edge, ...]] = {WITHDRAWALS: ()}
    for stage in made:
        for table in stage.tables:
            name = table.source or table.name
            found[name] = (*found.get(name, ()), edge(stage.name, all_made(stage)))
    return found | dict.fromkeys(SUPPLIED, found[TRIALS.name])


def mart_stages(made: Sequence[Stage], folder: Path = SQL_FOLDER) -> list[Stage]:
    """Return a stage for each model of the SQL project in a folder, apart from those of its `views/`.

    Adding a model is adding a file.

    `made`: the other stages. Raises `ProjectFileError`, and the errors of `tamis.sql.load_project`.
    """
    project = load_project(folder)
    for source in project.sources.values():
        _check_text(source)
    for model in project.ordered():
        _check_name(model, {stage.name for stage in made})
    written = source_edges(made)
    found = [(model.is_asset, _stage(project, model, written)) for model in project.ordered()]
    return [stage for is_asset, stage in found if is_asset]


def _check_text(source: Source) -> None:
    """Refuse a source that lists a column of text: a withdrawal could not find the text in a model's rows."""
    shown = {name for table in tables_of_source(source.name) for name in table.text}
    if listed := sorted({column.name for column in source.columns} & shown):
        raise ProjectFileError(
            source.file,
            source.line,
            f"{source.name}.{listed[0]} contains text of documents, which no SQL model may read, "
            "because a withdrawal could not find the text in the rows of the model; list only columns "
            "without text, such as doc_id or n_chars",
        )


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
    # Views are inlined but stay inputs.
    read = sorted({*tables_read(project, model.name), *project.asset_models(model)})
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
    states = [state for table, state in _STATES.items() if table in read]
    if not states:
        return stage
    return replace(
        stage,
        settings=lambda snapshot, partition: {
            name: value for state in states for name, value in state(snapshot, partition).items()
        },
    )


def _edges(project: Project, name: str, written: Mapping[str, tuple[Edge, ...]]) -> Iterator[Edge]:
    if name in project.models:
        yield edge(name)
    elif name in written:
        yield from written[name]
    else:
        source, valid = project.sources[name], ", ".join(sorted(written))
        raise ProjectFileError(
            source.file,
            source.line,
            f"no asset writes the source table {name!r}; valid source tables: {valid}",
        )


def withdrawals_state(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """Return the digest of the table `withdrawals`; empty while nothing was withdrawn."""
    store = snapshot.project.home.store
    return {WITHDRAWALS: stored_rows(store, WITHDRAWALS, "")[0]} if store.count(WITHDRAWALS) else {}


def registered_state(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """Return the digest of the table of registered checkpoints; empty while none is registered."""
    store = snapshot.project.home.store
    return {REGISTERED: stored_rows(store, REGISTERED, "")[0]} if store.count(REGISTERED) else {}


_STATES = {WITHDRAWALS: withdrawals_state, TRAINED_ON.name: registered_state}
"""Settings of SQL models that read a table into which commands write, by that table."""


@cache
def stages() -> dict[str, Stage]:
    """Return every stage by name, inputs before the stages that read them, cheap stages first."""
    made = in_order(stage for module in declaring_modules() for stage in module.STAGES)
    audit = Stage(
        name=AUDIT_ASSET,
        group="audit",
        code_version="2",
        by_content=True,
        edges=tuple(edge(stage.name, all_made(stage)) for stage in made if stage.result),
        settings=registered_state,
    )
    return {stage.name: stage for stage in (*made, *mart_stages([*made, audit]), audit)}


def made_together(name: str) -> tuple[str, ...]:
    """Return a stage and those that its step makes, too."""
    return name, *names_where(lambda stage: stage.made_with == name)


@cache
def ancestors(name: str) -> frozenset[str]:
    """Return a stage and all that it may read, directly or not, in some project."""
    return frozenset({name}).union(*(ancestors(edge.asset) for edge in stages()[name].edges))


def names_where(condition: Callable[[Stage], object]) -> tuple[str, ...]:
    """Return the names of the stages for which a condition holds, in order of execution."""
    return tuple(stage.name for stage in stages().values() if condition(stage))


def in_order(declared: Iterable[Stage]) -> list[Stage]:
    """Return stages sorted by their inputs. Raises `BadDeclarationError`.

    Among stages whose inputs are placed, those without inputs come first, then the others in the order of
    `Automation`, and last in the order of their declaration.
    """
    known: dict[str, Stage] = {}
    for stage in declared:
        if stage.name in known:
            raise BadDeclarationError(stage.name, "two stages have this name")
        known[stage.name] = stage
    for stage in known.values():
        _check(stage, known)
    ready_first, place = list(Automation), list(known)

    def rank(name: str) -> tuple[int, int]:
        stage = known[name]
        return 1 + ready_first.index(stage.automation) if stage.edges else 0, place.index(name)

    sorter = TopologicalSorter({name: {one.asset for one in stage.edges} for name, stage in known.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        names = sorted(set(error.args[1]))
        raise BadDeclarationError(
            names[0], f"the inputs of these stages form a cycle: {', '.join(names)}"
        ) from error
    waiting, ordered = list(sorter.get_ready()), []
    while waiting:
        waiting.sort(key=rank)
        ordered.append(known[waiting.pop(0)])
        sorter.done(ordered[-1].name)
        waiting += sorter.get_ready()
    return ordered


def _check(stage: Stage, known: Mapping[str, Stage]) -> None:
    """Refuse a stage with an unknown input, or whose rows could not be removed with a partition."""
    if unknown := sorted({one.asset for one in stage.edges} - known.keys()):
        raise BadDeclarationError(
            stage.name,
            f"the stage reads {unknown[0]!r}, which is not a stage; valid: {', '.join(sorted(known))}",
        )
    # What reads files lists the rows of each file itself (`tamis.corpus.intake`).
    for table in stage.tables if stage.partitions and not stage.from_files else ():
        if not (table.partition or table.per_document or table.evidence):
            raise BadDeclarationError(
                stage.name, f"the rows of table {table.name} identify neither a partition nor a document"
            )
