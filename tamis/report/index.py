"""The page that leads to all others: what was chosen, which model, and which pages are out of date."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tamis.base.files import write_atomically
from tamis.comparison.stage import COMPARISON_STAGE
from tamis.embedding.unknown import unknown_lines
from tamis.evaluation.stage import CHOICES_STAGE
from tamis.graph.plan import Due, reason_of
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import AUDIT_ASSET, stages
from tamis.mixture.stage import MIXTURE_STAGE
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import canonical_json
from tamis.report.address import INDEX
from tamis.report.choices import PAGE as CHOICES_PAGE
from tamis.report.mixture import GAIN_PAGE
from tamis.report.mixture import PAGE as MIXTURE_PAGE
from tamis.report.rendering import render, written_state
from tamis.report.runs import PAGE as RUNS_PAGE
from tamis.report.runs import write_runs
from tamis.report.runs.recipe import PAGE as RECIPE_PAGE
from tamis.report.seen import page_links
from tamis.report.serving import served_page_name
from tamis.report.summary import model_lines, pool_line, selection_lines
from tamis.retention.held_back import held_back
from tamis.scaling.stage import CHOICE_STAGE, REPORT_STAGE
from tamis.scan.precheck import uncovered_lines
from tamis.scan.quarantine import encoding_lines, reading_notes
from tamis.scan.unread_rows import read_quarantine, unread_line, unread_shares
from tamis.selection.stage import PAGES_STAGE, SELECTION_STAGE, SERVED_STAGE
from tamis.settings.config import Settings
from tamis.tuning.stage import GAIN_STAGE, RECIPE_STAGE


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page in the same folder.

    `file` is "" where it is not made yet; `stale` says why what it shows is out of date, "" where it is not.
    """

    file: str
    title: str
    stale: str


@dataclass(frozen=True, kw_only=True)
class IndexPage:
    """`selections`: the page of each, with its lines; `warnings`: what makes them doubtful.

    `pages`: the others, by what they are about. `unread`: how many rows could not be read, "" where all
    could. `held`: losses that are held back. `reading`: how files were read.
    """

    project: str
    unread: str
    held: list[str]
    reading: list[str]
    pool: str
    state: str
    selections: list[tuple[Page, list[str]]]
    warnings: list[str]
    models: list[str]
    pages: list[tuple[str, list[Page]]]


def write_index(snapshot: ProjectSnapshot, current: CurrentValues, due: Sequence[Due]) -> bool:
    """Write the page, unless the one that is there says the same; return whether it was written.

    `due`: what is out of date. A tick asks for this, so what is compared is small: the manifests of what the
    page shows, the reasons, and the names of the pages. The page of all runs comes first: no stage makes it.
    """
    home, settings = snapshot.project.home, snapshot.project.settings
    write_runs(snapshot, current, due)
    names = sorted(page.name for page in home.reports.glob("*.html") if page.name != INDEX)
    reasons = {(one.asset, one.partition): reason_of(one) for one in due}
    entries = read_quarantine(home.store)
    unread = unread_line(unread_shares(snapshot, current, entries)) if entries else ""
    reading = [*reading_notes(snapshot), *uncovered_lines(snapshot.project)]
    held = [one.line for one in held_back(snapshot, current)]
    state = _state(snapshot, current, [*names, unread, *held, *reading], reasons)
    file = home.reports / INDEX
    if not names or written_state(file) == state:
        return False

    def page(name: str, title: str, asset: str, partition: str = "") -> Page:
        return Page(
            file=name if name in names else "", title=title, stale=reasons.get((asset, partition), "")
        )

    index = IndexPage(
        project=settings.project.name,
        unread=unread,
        held=held,
        reading=[*reading, *encoding_lines(home.store)],  # not compared: a tick must stay cheap
        pool=pool_line(home.store),
        state=state,
        selections=[
            (
                page(f"selection_{section.name}.html", section.name, SELECTION_STAGE.name, section.name),
                [
                    line.strip()
                    for line in selection_lines(snapshot.project, section)
                    if "  page: " not in line
                ],
            )
            for section in settings.selection
        ],
        warnings=unknown_lines(snapshot.project),
        models=model_lines(snapshot.project),
        pages=[
            (title, there)
            for title, found in _groups(settings, page).items()
            if (there := [p for p in found if p.file])
        ],
    )
    write_atomically(file, render(INDEX, index).encode())
    return True


def _groups(settings: Settings, page: Callable[..., Page]) -> dict[str, list[Page]]:
    """Return the pages by what they are about, whether they are made or not.

    `page`: makes one of its file, its title, and the asset and partition that write it.
    """
    return {
        "Documents of a selection": [
            page(file, f"{section.name}: {what}", PAGES_STAGE.name, section.name)
            for section in settings.selection
            for file, what in page_links(section.name)[1:]
        ],
        "Examples of the target": [
            page(
                served_page_name(section.name), f"what {section.name} serves", SERVED_STAGE.name, section.name
            )
            for section in settings.selection
        ],
        "Models": [
            page(
                f"scaling_law_{target.name}.html",
                f"which model for {target.name}, and what more data would gain",
                REPORT_STAGE.name,
            )
            for target in settings.target
        ],
        "Runs": [page(RUNS_PAGE, "every run: planned, in training, made or failed, and what it cost", "")],
        "Mixture": [
            page(MIXTURE_PAGE, "how much of each source", MIXTURE_STAGE.name),
            page(GAIN_PAGE, "how much of each source, tested in new runs", GAIN_STAGE.name),
        ],
        "Samplers": [page("sampler_comparison.html", "what each sampler chooses", COMPARISON_STAGE.name)],
        "Trained choices": [
            page(CHOICES_PAGE, "what each choice gained on its target and cost elsewhere", CHOICES_STAGE.name)
        ],
        "Recipe": [
            page(RECIPE_PAGE, "which recipe to train by, and what it gains over random", RECIPE_STAGE.name)
        ],
        "Lineage": [page("lineage_audit.html", "how every result was made", AUDIT_ASSET)],
        "Tables": [
            page(f"sql_{name}.html", ": ".join(filter(None, (name, stage.description))), name)
            for group in ("marts", "staging")
            for name, stage in stages().items()
            if stage.group == group
        ],
    }


def _state(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    names: Sequence[str],
    reasons: Mapping[tuple[str, str], str],
) -> str:
    """Return the digest of what the page shows: names of pages, manifests of values, what is out of date.

    `names`: with them, what is said of rows that could not be read, and of how the others were.
    """
    shown = [*((SELECTION_STAGE.name, name) for name in snapshot.keys("selections")), (CHOICE_STAGE.name, "")]
    # tokens change with the tokenizer
    versions = [value and value.manifest for value in map(current.get, shown)]
    stated = [names, versions, sorted([*entry, reason] for entry, reason in reasons.items())]
    return hashlib.sha256(canonical_json(stated).encode()).hexdigest()[:16]
