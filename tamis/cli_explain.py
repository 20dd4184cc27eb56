"""The verb `explain`: why a document was kept or dropped, and what a checkpoint was trained on."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.base.errors import PermanentError
from tamis.cli_parts import add_verb, print_json, with_json

if TYPE_CHECKING:
    from tamis.project import Project


def add_explain(verbs: Any) -> None:
    """`tamis explain DOC_ID | --text FILE | --file FILE --row N | --checkpoint NAME`."""
    parser = with_json(add_verb(verbs, "explain", _explain, "why a document was kept or dropped"))
    parser.add_argument("doc_id", nargs="?", metavar="DOC_ID", help="content id, or an unambiguous beginning")
    parser.add_argument("--text", metavar="FILE", help="the document that is this file's text; - reads stdin")
    parser.add_argument("--file", metavar="FILE", help="the document in a row of this file (or shard)")
    parser.add_argument("--row", type=int, default=None, metavar="N", help="row within --file, from 0")
    parser.add_argument("--checkpoint", metavar="NAME", help="the other way: what it was trained on")


def _explain(parsed: argparse.Namespace) -> int:
    ways = [parsed.doc_id, parsed.text, parsed.file, parsed.checkpoint]
    if sum(way is not None for way in ways) != 1 or (parsed.row is not None and parsed.file is None):
        raise PermanentError(
            "explain takes one of: a document id, --text FILE, --file FILE with --row N, --checkpoint NAME"
        )
    if parsed.row is not None and parsed.row < 0:
        raise PermanentError(f"--row {parsed.row} is no row: rows are counted from 0")
    from tamis.project import read_project

    project = read_project()
    if parsed.checkpoint is not None:
        return _checkpoint(project, parsed)
    from tamis.history.explain import explain_document, explanation_lines
    from tamis.records.manifest import ManifestFolder

    home = project.home
    found = explain_document(home.store, _document(project, parsed), ManifestFolder.of(home))
    if parsed.json:
        print_json(found)
    else:
        print("\n".join(explanation_lines(found)))
    return 0


def _document(project: "Project", parsed: argparse.Namespace) -> str:
    from tamis.history.finding import document_of_place, document_of_text, resolve_document

    store = project.home.store
    if parsed.doc_id is not None:
        return resolve_document(store, parsed.doc_id)
    if parsed.text is not None:
        raw = sys.stdin.buffer.read() if parsed.text == "-" else Path(parsed.text).read_bytes()
        return document_of_text(store, raw.decode("utf-8-sig", "replace"))
    from tamis.graph.scan import scan

    return document_of_place(store, scan(project).shards, parsed.file, parsed.row or 0)


def _checkpoint(project: "Project", parsed: argparse.Namespace) -> int:
    from tamis.history.explain import training_documents, training_lines
    from tamis.training.planned import model_names, planned_trials

    configured = {*model_names(project), *(trial.name for trial in planned_trials(project))}
    found = training_documents(project.home, parsed.checkpoint, configured)
    if parsed.json:
        print_json(found)
    else:
        print("\n".join(training_lines(found)))
    return 0
