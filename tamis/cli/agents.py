"""The verb that answers agents: `mcp`, a read-only server of the Model Context Protocol on stdin and stdout.

Answers are the JSON of the verbs of the same names. Nothing is materialized, and no code of a project runs.
Text of documents is left out unless `--with-text` says otherwise. Dagster loads with the first audit alone.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from importlib.metadata import version
from typing import Any

import click

from tamis.base.errors import MissingPackageError, NotMadeError, TamisError, UnknownNameError
from tamis.base.installation import install_command
from tamis.base.progress import say
from tamis.cli.parts import runtime_module
from tamis.comparison.analysis import stored_report
from tamis.comparison.stage import SAMPLER_COMPARISON, SAMPLER_TRIALS
from tamis.corpus.intake import texts_of
from tamis.history.differences import difference, history
from tamis.history.explain import explain_document, training_documents
from tamis.history.finding import resolve_document
from tamis.project import open_project, read_project
from tamis.scores.storing import without_example
from tamis.selection.stage import GAPS_STAGE
from tamis.training.planned import model_names, planned_trials
from tamis.transport.storing import read_gaps
from tamis.verbs.plan import checked_plan
from tamis.verbs.status import read_status

TEXT_KEYS = frozenset({"excerpt", "shared_words"})
"""Keys of answers that show input: left out without `--with-text`. So are details of the quarantine."""
INSTRUCTIONS = (
    "Tamis chooses documents to train language models on. These tools read one project and change nothing. "
    "Begin with status; explain says why a document was chosen or not; audit proves how results came about."
)
Tool = Callable[..., Any]


def status() -> Any:
    """State of the project: what is current, due, in quarantine, held back or failing, and its selections."""
    return read_status(read_project()).to_json()


def plan(on_request: bool = False) -> Any:
    """Work that materializing would do now, with estimated rows, seconds and cost of each entry.

    on_request: include the trials that run only on request.
    """
    entries, checked = checked_plan(read_project(), on_request)
    return {"entries": entries, "warnings": checked.lines}


def explain(document: str) -> Any:
    """Reasons why each selection chose a document or not, its scores, places, and checkpoints trained on it.

    document: its content id, or an unambiguous beginning of one.
    """
    home = read_project().home
    return explain_document(home, resolve_document(home.store, document))


def explain_checkpoint(name: str) -> Any:
    """Documents that a checkpoint was trained on, by the stage of its training."""
    project = read_project()
    configured = {*model_names(project), *(trial.name for trial in planned_trials(project))}
    return training_documents(project.home, name, configured)


def versions(selection: str) -> Any:
    """All versions of a selection, oldest first."""
    return history(read_project(), selection)


def diff(selection: str, start: int | None = None, end: int | None = None) -> Any:
    """Documents that came into or left a selection between two versions, with causes.

    start, end: numbers of versions; by default the latest against the one before it.
    """
    return difference(read_project(), selection, start, end).to_json()


def audit(name: str | None = None, quick: bool = True) -> Any:
    """Verification of a checkpoint or selection, of all of them by default, down to the input files.

    quick: do not hash the stored content again, which takes long for a large project.
    """
    return runtime_module("commands").audit_project(read_project(), name, quick, say).to_json()


def comparison() -> Any:
    """Overlap of what the samplers choose and, where they were trained on, the losses of each."""
    project = read_project()
    store = project.home.store
    agreement = store.read(SAMPLER_COMPARISON.name).sort("sampler_a", "sampler_b")
    if agreement.is_empty():
        raise NotMadeError(SAMPLER_COMPARISON.name)
    trained = None
    if store.count(SAMPLER_TRIALS.name):
        trained = asdict(stored_report(store, project.settings, project.seed))
    return {"agreement": agreement.to_dicts(), "trained": trained}


def gaps(target: str) -> Any:
    """Examples of a target that hardly any eligible documents are similar to."""
    project = read_project()
    targets = [section.name for section in project.settings.target]
    if target not in targets:
        raise UnknownNameError("target", target, targets)
    found = read_gaps(project.home.store, target)
    if not len(found.gaps.supply_m):
        raise NotMadeError(GAPS_STAGE.name)
    return found.to_json(project.home.store)


def scaling(target: str) -> Any:
    """Model that was chosen for a target, predicted losses of all models, and the cost of choosing."""
    project = read_project()
    file = project.home.reports / f"choice_{target}.json"
    if not file.is_file():
        known = sorted(one.stem.removeprefix("choice_") for one in file.parent.glob("choice_*.json"))
        raise UnknownNameError("target with a scaling report", target, known)
    return json.loads(file.read_text(encoding="utf-8"))


def text(document: str) -> Any:
    """Text of a document by its content id, or an unambiguous beginning of one."""
    store = read_project().home.store
    doc_id = resolve_document(store, document)
    return {"doc_id": doc_id, "text": texts_of(store, [doc_id]).get(doc_id)}


READING: tuple[Tool, ...] = (
    *(status, plan, explain, explain_checkpoint, versions, diff),
    *(audit, comparison, gaps, scaling),
)


def server_of(with_text: bool) -> Any:
    """Return the server of this folder's project; raises `MissingPackageError` without the package mcp."""
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
        from mcp.types import ToolAnnotations
    except ImportError as error:
        raise MissingPackageError("mcp", "`tamis mcp`", install_command("mcp")) from error
    alone = threading.Lock()

    def answering(tool: Tool) -> Tool:
        @wraps(tool)
        def answer(*given: Any, **named: Any) -> str:
            try:
                with alone:
                    found = tool(*given, **named)
            except (TamisError, OSError) as error:
                raise ToolError(str(error)) from error
            return json.dumps(found if with_text else without_text(found), ensure_ascii=False, default=str)

        answer.__annotations__["return"] = str
        return answer

    server = MCPServer("tamis", version=version("tamis"), instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in (*READING, *([text] if with_text else [])):
        facts = ToolAnnotations(readOnlyHint=True, destructiveHint=False, openWorldHint=False)
        server.tool(annotations=facts, structured_output=False)(answering(tool))
    return server


def without_text(value: Any) -> Any:
    """Return an answer without what shows input: texts, and what the quarantine quotes of rows."""
    if isinstance(value, dict):
        left_out = TEXT_KEYS | ({"detail"} if "excerpt" in value else set())
        return {name: without_text(inner) for name, inner in value.items() if name not in left_out}
    if isinstance(value, str):
        return without_example(value)
    return [without_text(inner) for inner in value] if isinstance(value, list | tuple) else value


@click.command()
@click.option("--with-text", is_flag=True, help="Let agents read the texts of documents, too.")
def mcp(with_text: bool) -> int:
    """Serve until the client leaves."""
    open_project()
    server_of(with_text).run()
    return 0
