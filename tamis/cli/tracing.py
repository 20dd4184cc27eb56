"""The verbs that trace what was made: `explain`, `gaps` of a target, `register` of a checkpoint, `audit`."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tamis.audit.anchor import judge_anchor, write_anchor
from tamis.audit.verdicts import audit_lines
from tamis.base.errors import NotMadeError, UnknownNameError
from tamis.base.files import write_atomically
from tamis.base.numbers import MOST_LISTED, counted
from tamis.base.progress import Progress, complain, say
from tamis.cli.parts import answer, json_option, names_in_project, runtime_module, why_out_of_date
from tamis.corpus.listing import ListingError
from tamis.corpus.stage import DOCUMENTS, TARGET_EXAMPLES
from tamis.embedding.unknown import unknown_lines
from tamis.graph.snapshot import ProjectSnapshot
from tamis.history.explain import (
    SHOWN,
    Paths,
    explain_document,
    explanation_lines,
    paths_in_groups,
    training_documents,
    training_lines,
)
from tamis.history.finding import (
    UnknownDocumentError,
    document_of_place,
    document_of_text,
    resolve_document,
)
from tamis.interchange import lineage_behind, openlineage_lines, prov_json
from tamis.project import Project, read_project
from tamis.records.current_values import read_current_values
from tamis.records.registered import read_registered
from tamis.report.audit import page_of
from tamis.report.seen import beginnings
from tamis.report.serving import served_page_name
from tamis.scan.sources import scan, values_due, why_due
from tamis.selection.stage import GAPS_STAGE, SELECTION_STAGE
from tamis.store.tables import Store
from tamis.store.unwritable import storing, storing_file
from tamis.training.planned import model_names, planned_trials
from tamis.transport.storing import read_gaps
from tamis.verbs.elsewhere.register import forget_checkpoint, register_folder


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a call says of the document or checkpoint that it asks about."""

    doc_id: str | None
    text: str | None
    file: str | None
    row: int | None
    checkpoint: str | None

    def __post_init__(self) -> None:
        if self.row is not None and self.file is None:
            raise click.UsageError("--row N needs --file FILE")
        if [self.doc_id, self.text, self.file, self.checkpoint].count(None) != 3:
            raise click.UsageError(
                "give exactly one of: a document id, --text FILE, --file FILE (with --row N unless the file "
                "is one document), --checkpoint NAME"
            )

    def found_in(self, project: Project) -> tuple[str, ProjectSnapshot | None]:
        """Return the content id of the document, and the snapshot of the files where they were scanned."""
        store = project.home.store
        if self.doc_id is not None:
            try:
                return resolve_document(store, self.doc_id), None
            except UnknownDocumentError:
                if not os.path.isfile(self.doc_id):  # a pasted text is too long a name for Path
                    raise
                raise click.UsageError(f"{self.doc_id} is a file: pass it as --file {self.doc_id}") from None
        if self.text is not None:
            raw = sys.stdin.buffer.read() if self.text == "-" else Path(self.text).read_bytes()
            return document_of_text(store, raw.decode("utf-8-sig", "replace")), None
        snapshot = scan(project, project.settings.automation.settle_seconds)
        return document_of_place(store, snapshot.files, str(self.file), self.row or 0), snapshot


@click.command()
@click.argument("doc_id", required=False)
@click.option(
    "--text", metavar="FILE", help="Explain the document with the text in this file; - reads stdin."
)
@click.option("--file", metavar="FILE", help="Explain the document in row --row of this file or shard.")
@click.option(
    "--row", type=click.IntRange(0), metavar="N", help="Row within --file, counted from 0.  [default: 0]"
)
@click.option(
    "--checkpoint", metavar="NAME", help="Show instead which documents this checkpoint was trained on."
)
@json_option
def explain(as_json: bool, **given: Any) -> int:
    """Explain the document with a content id, or an unambiguous beginning of one."""
    asked = Document(**given)
    project = read_project()
    if asked.checkpoint is not None:
        configured = {*model_names(project), *(trial.name for trial in planned_trials(project))}
        trained = training_documents(project.home, asked.checkpoint, configured)
        documents = [document for stage in trained["stages"] for document in stage["documents"][:SHOWN]]
        answer(as_json, trained, training_lines(trained, {} if as_json else _paths(project, documents)))
        return 0
    doc_id, snapshot = asked.found_in(project)
    found = explain_document(project.home, doc_id)
    known = ({}, {}) if as_json else (_beginnings(project.home.store, found), _paths(project, [found]))
    answer(as_json, found, explanation_lines(found, *known))
    _say_what_is_out_of_date(project, snapshot)
    return 0


def _paths(project: Project, documents: Sequence[dict[str, Any]]) -> Paths:
    """Return the paths of the small files that contain documents."""
    places = [place for document in documents for place in document["occurrences"]]
    return paths_in_groups(project.home.store, project.settings.corpus, places)


def _say_what_is_out_of_date(project: Project, snapshot: ProjectSnapshot | None) -> None:
    """Say which selection is out of date; `snapshot`: of the files, where they were scanned already."""
    try:
        outdated = values_due(project, SELECTION_STAGE.name, snapshot)
    except ListingError as error:
        say(f"whether this explanation is current cannot be checked: {error}")
        return
    if outdated:
        name, entry = next(iter(outdated.items()))
        more = f" (and {len(outdated) - 1:,} more)" if len(outdated) > 1 else ""
        say(
            f"selection {name}{more} is out of date: {why_due(entry)}; run `tamis materialize`, then ask "
            "again"
        )


def _beginnings(store: Store, found: dict[str, Any]) -> dict[str, str]:
    """Return how the texts of the ids in an explanation begin."""
    passages = found.get("passages", [])
    decisions = [*found["decisions"], *(row for passage in passages for row in passage["decisions"])]
    repeated = {row["duplicate_of"] for row in decisions if row["duplicate_of"]}
    served = {row["example_id"] for row in found["serves"]}
    return beginnings(store, TARGET_EXAMPLES.name, served) | beginnings(
        store, DOCUMENTS.name, {found["doc_id"], *repeated, *(passage["doc_id"] for passage in passages)}
    )


@click.command()
@click.argument("target", shell_complete=names_in_project)
@json_option
def gaps(target: str, as_json: bool) -> int:
    """List the examples of a target that hardly any eligible documents are similar to."""
    project = read_project()
    targets = [one.name for one in project.settings.target]
    if target not in targets:
        raise UnknownNameError("target", target, targets)
    store = project.home.store
    found = read_gaps(store, target)
    if (GAPS_STAGE.name, "") not in read_current_values(store) or not len(found.gaps.supply_m):
        raise NotMadeError(GAPS_STAGE.name)
    first = found.lacking["example_id"].head(MOST_LISTED)
    begins = {} if as_json else beginnings(store, TARGET_EXAMPLES.name, first)
    answer(as_json, found.to_json(store), found.lines(store, begins))
    for line in unknown_lines(project, target=target):
        complain(f"warning: {line}")
    selections = [one.name for one in project.settings.selection if one.target == target]
    pages = [project.home.reports / served_page_name(name) for name in selections]
    if len(found.lacking) and (there := next((page for page in pages if page.exists()), None)):
        say(f"{there} shows the texts of all these examples")
    if reason := why_out_of_date(project, GAPS_STAGE.name, "", "this list"):
        say(f"this list is out of date ({reason}): run `tamis materialize`, then ask again")
    return 0


@click.command()
@click.argument("folder", required=False, metavar="[FOLDER]")
@click.option(
    "--trained-on",
    metavar="SELECTION[@VERSION]",
    help="Selection whose export it was trained on.  [default version: that of the newest export]",
)
@click.option("--name", metavar="NAME", help="Name of the checkpoint.  [default: that of its folder]")
@click.option("--recipe", metavar="TEXT", help="How it was trained, in your words; kept and shown.")
@click.option(
    "--forget",
    metavar="NAME",
    help="Remove the entry of this registered checkpoint instead; its files are not touched.",
)
@json_option
def register(
    folder: str | None,
    trained_on: str | None,
    name: str | None,
    as_json: bool,
    *,
    recipe: str | None,
    forget: str | None,
) -> int:
    """Register the files in FOLDER, which stay where they are, as a checkpoint."""
    if forget is not None:
        if [folder, trained_on, name, recipe].count(None) != 4:
            raise click.UsageError("--forget NAME takes neither a folder nor other options")
        project = read_project()
        with storing(project.home.root):
            entry, untracked = forget_checkpoint(project, forget)
        lines = [f"{entry.checkpoint} is no longer registered; its files in {entry.folder} were not touched"]
        lines += [f"its run in MLflow does not say so: {untracked}"] if untracked else []
        answer(as_json, entry.to_json() | {"was": "forgotten", "untracked": untracked}, lines)
        return 0
    if folder is None or trained_on is None:
        raise click.UsageError(
            "give the folder of the checkpoint, and --trained-on SELECTION or SELECTION@VERSION"
        )
    project = read_project()
    with storing(project.home.root), Progress("hashing the checkpoint", unit="bytes") as progress:
        done = register_folder(project, Path(folder), trained_on, name, recipe, progress.advance)
    answer(as_json, done.to_json(), done.lines)
    return 0


def _written(option: str, text: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return the option of a file that the audit writes; a folder is refused before anything is hashed."""
    return click.option(option, type=click.Path(dir_okay=False), metavar="FILE", help=text)


@click.command()
@click.argument("name", required=False, metavar="[CHECKPOINT|SELECTION]")
@click.option("--quick", is_flag=True, help="Save time: do not hash the stored content again.")
@click.option(
    "--tree", is_flag=True, help="Print the graph as a tree, which is otherwise printed only if it is red."
)
@_written("--html", "Also write the audit as one HTML page, with a picture of the graph.")
@_written("--anchor", "Write the ids of all manifests to this file; keep it elsewhere, for --against.")
@click.option(
    "--against",
    metavar="FILE",
    help="Also check that the manifests listed in this file, written by --anchor, are unaltered.",
)
@_written("--openlineage", "Write the lineage to this file as OpenLineage events.")
@_written("--prov", "Write the lineage to this file as W3C PROV-JSON.")
@json_option
def audit(
    name: str | None,
    quick: bool,
    tree: bool,
    as_json: bool,
    *,
    html: str | None,
    anchor: str | None,
    against: str | None,
    openlineage: str | None,
    prov: str | None,
) -> int:
    """Audit; 1 where it is red."""
    project = read_project()
    found = runtime_module("commands").audit_project(project, name, quick, say)
    if against:
        found, there, named = judge_anchor(found, project.home.manifests, Path(against))
        say(f"anchor {against}: {there:,} of the {named:,} manifests that it lists are unaltered")
    if html:
        with storing_file(Path(html)):
            write_atomically(Path(html), page_of(found).encode())
        say(f"{html}: the audit as a page")
    if anchor:
        current = read_current_values(project.home.store)
        with storing_file(Path(anchor)):
            root = write_anchor(Path(anchor), current, read_registered(project.home.store))
        say(f"anchor {anchor}: root {root}")
    if found.status == "red" and (openlineage or prov):
        say("the lineage was not written, because the audit is red; fix what it reports, then run it again")
    elif openlineage or prov:
        lineage = lineage_behind(project, name)
        for file, write in ((openlineage, openlineage_lines), (prov, prov_json)):
            if file:
                with storing_file(Path(file)):
                    write_atomically(Path(file), write(lineage).encode())
                say(f"{file}: {counted(len(lineage.manifests), 'manifest')}")
    # Last: whoever reads only the first lines closes the pipe, and the files are written all the same.
    answer(as_json, found.to_json(), audit_lines(found, tree))
    return int(found.status == "red")
