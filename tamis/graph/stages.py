"""The graph as data: all declared stages, the SQL models and the audit, in order of execution.

Plans, sensors, assets, audits and reports all read this one table, so they cannot disagree.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter

from tamis.base.declared import declaring_modules
from tamis.graph.marts import mart_stages
from tamis.stage import Automation, Stage, all_made, edge
from tamis.store.columns import BadDeclarationError

AUDIT_ASSET = "lineage_audit"


@cache
def stages() -> dict[str, Stage]:
    """Return every stage by name, inputs before the stages that read them, cheap stages first."""
    made = in_order(stage for module in declaring_modules() for stage in module.STAGES)
    audit = _audit(made)
    marts = mart_stages([*made, audit])
    return {stage.name: stage for stage in (*made, *marts, audit)}


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
        problem = f"the inputs of these stages form a cycle: {', '.join(names)}"
        raise BadDeclarationError(names[0], problem) from error
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
        valid = ", ".join(sorted(known))
        raise BadDeclarationError(
            stage.name, f"the stage reads {unknown[0]!r}, which is not a stage; valid: {valid}"
        )
    # What reads files lists the rows of each file itself (`tamis.corpus.intake`).
    for table in stage.tables if stage.partitions and not stage.from_files else ():
        if not (table.partition or table.per_document or table.evidence):
            problem = f"the rows of table {table.name} identify neither a partition nor a document"
            raise BadDeclarationError(stage.name, problem)


def _audit(made: Iterable[Stage]) -> Stage:
    """Return the stage of the audit, which reads every result."""
    return Stage(
        name=AUDIT_ASSET,
        group="audit",
        code_version="2",
        by_content=True,
        edges=tuple(edge(stage.name, all_made(stage)) for stage in made if stage.result),
    )
