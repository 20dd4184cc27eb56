"""Status: what the store holds, what is due, what is in quarantine and what is wrong. Read only."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from tamis.base.errors import UnknownNameError
from tamis.base.numbers import counted, cut, named, tokens_in_words
from tamis.base.precision import Speeds
from tamis.corpus.listing import links_out
from tamis.corpus.refusing import near_repeat_lines, refusal
from tamis.corpus.stage import DOCUMENTS
from tamis.corpus.targets import few_examples, label_warnings, target_links_out
from tamis.embedding.unknown import unknown_lines
from tamis.graph.automation import Approval, read_approvals, waiting, waiting_lines
from tamis.graph.failures import FailedStep, failed_steps, failed_trials
from tamis.graph.plan import Due, full_plan, label, upstream
from tamis.graph.repair import find_damage, lost_index, lost_runs
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import AUDIT_ASSET, made_together, names_where, stages
from tamis.graph.submissions import InTraining, in_training
from tamis.project import Project
from tamis.readers.rows import WHOLE_SHARD
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.records.listed_rows import noted_files_lost, noted_near_repeats
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.records.published import DecisionsLostError, chosen_of, published
from tamis.records.receipts import listed_in
from tamis.records.registered import TABLE as REGISTERED
from tamis.records.registered import Registered, lost_entries, read_registered
from tamis.retention.held_back import HeldBack, held_back, kept_runs, kept_trials
from tamis.retention.losses import as_once_read
from tamis.retention.reconciled import training_stages
from tamis.scaling.searched import Search, sentences
from tamis.scaling.stage import REPORT_STAGE, law_active
from tamis.scan.precheck import registered_lines, uncovered_lines, unmet_targets, untrusted_lines
from tamis.scan.quarantine import cause_lines, odd_value_lines, reading_notes
from tamis.scan.sources import scan
from tamis.scan.stored_texts import stored_text_lines
from tamis.scan.unread_rows import Share, read_quarantine, rereading, unread_json, unread_line, unread_shares
from tamis.scores.stage import SCORES_STAGE
from tamis.scores.storing import score_lines
from tamis.selection.filtering import (
    corpora_lost,
    files_lost,
    filtered,
    form_lines,
    unknown_language_lines,
)
from tamis.selection.keep_out import benchmark_lines, benchmark_warnings
from tamis.selection.pool import token_sizes, tokens_of
from tamis.selection.stage import SELECTION_STAGE
from tamis.settings.budget import parse_budget
from tamis.settings.sections import FiltersSection
from tamis.sql.properties import LAYERS
from tamis.store.exports import (
    CONFIGURATIONS,
    FOLDER,
    FOR_TRAINER,
    PROV,
    WITH_SCORES,
    description_path,
    is_folder,
    rows_in_folder,
)
from tamis.store.precision_choice import AUTO, read_choice
from tamis.store.retained import Retained, count_retained
from tamis.store.served import Activity, activity, what_next
from tamis.store.tables import DamagedTableError, Store
from tamis.store.withdrawn import read_places, unfinished_line
from tamis.training.failures import Failure
from tamis.tuning.stage import RECIPE_STAGE, TUNE_ANSWERS
from tamis.withdrawal.tainting import Tainted, tainted_values

LISTS_ALL = "`tamis status --json`"
NOT_MADE = "not made yet"
REFUSED = "refused by its check"
SETTLED, CERTIFIED = "settled", "certified"
HOW_TO_LOOK = {AUDIT_ASSET: "`tamis audit` says what differs and what to do"}
ON_THE_PAGE = "`tamis ui` shows why, on the asset's page under Checks"


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a project at one moment."""

    project: str
    home: str
    shards: int
    documents: int
    due: list[Due]
    quarantine: list[dict[str, Any]]
    failed_checks: list[str]
    damaged: dict[str, str]
    selections: list[dict[str, Any]]
    waiting_for_approval: list[Approval]
    retained: Retained = field(default_factory=Retained)
    retention_days: int = 0
    withdrawn: int = 0
    registered: list[Registered] = field(default_factory=list)
    still_in_files: list[dict[str, Any]] = field(default_factory=list)
    tainted: list[Tainted] = field(default_factory=list)
    near_repeats: Mapping[str, str] = field(default_factory=dict)
    searches: Mapping[str, Search] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    failed_trials: list[Failure] = field(default_factory=list)
    failed_steps: list[FailedStep] = field(default_factory=list)
    scaling: Mapping[str, str] = field(default_factory=dict)
    recipes: Mapping[str, str] = field(default_factory=dict)
    held_back: list[HeldBack] = field(default_factory=list)
    kept_trials: list[str] = field(default_factory=list)
    precision: Mapping[str, Any] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)
    reading: list[str] = field(default_factory=list)
    lost: str = ""
    what_next: str = ""
    activity: Activity | None = None
    in_training: list[InTraining] = field(default_factory=list)

    def problems(self) -> list[str]:
        """What keeps `tamis materialize` from exiting with 0, a line each."""
        stuck = [(label(due.asset, due.partition), due.waits_for) for due in self.stuck()]
        kinds = [
            [self.lost] if self.lost else [],
            self.unmet,
            [one.line for one in self.held_back if not one.unread],
            [one.line for one in self.shares if one.is_over],
            [f"damaged: {name}: {reason}" for name, reason in self.damaged.items()],
            [f"check failed: {name}; {HOW_TO_LOOK.get(name, ON_THE_PAGE)}" for name in self.failed_checks],
            [one.line for one in self.failed_steps],
            [one.line for one in self.failed_trials],
            [f"not made: {name} waits for {reason}" for name, reason in stuck],
        ]
        return [line for lines in kinds for line in cut(lines, LISTS_ALL)]

    def unread_lines(self) -> list[str]:
        """Return a line with the number of unreadable rows, none where all were read."""
        return [line] if (line := unread_line(self.shares)) else []

    def quarantine_lines(self) -> list[str]:
        """What is in quarantine: how much, and a line for each cause."""
        if not self.quarantine:
            return []
        whole = sum(row["row"] == WHOLE_SHARD for row in self.quarantine)
        counts = {"file": whole, "row": len(self.quarantine) - whole}
        some = " and ".join(counted(count, name) for name, count in counts.items() if count)
        return [f"quarantine: {some} left out:", *(f"  {line}" for line in cut(self.causes, LISTS_ALL))]

    def without(self, shown: frozenset[str]) -> "Status":
        """Return the status without the failures of assets that a person has just been shown."""
        return replace(self, failed_steps=[one for one in self.failed_steps if one.asset not in shown])

    def waiting(self, asked: frozenset[str] | None) -> list[str]:
        """What was asked for by name but waits for what was not, a line each."""
        stuck = self.stuck()
        lines = [
            f"not made: {label(due.asset, due.partition)} waits for {due.waits_for}; "
            "run `tamis materialize` without --only"
            for due in self.due
            if asked and due.asset in asked and due.waits_for and due not in stuck
        ]
        return cut(lines, LISTS_ALL)

    def blocked(self) -> list[str]:
        """Return the selections that were left out, a line for each input that could not be made."""
        due = [(name, one) for one in self.due for name in {one.asset, *made_together(one.asset)}]
        before = {label(name, one.partition): one.waits_for for name, one in due}
        found: dict[str, list[str]] = {}
        for selection in (one for one in self.due if one.asset == SELECTION_STAGE.name):
            first = selection.waits_for
            while first in before and before[first] is not None:
                first = before[first]
            if first in before:
                found.setdefault(str(first), []).append(selection.partition)
        return [
            f"not made: {counted(len(names), 'selection')} ({', '.join(cut(names))}), because {first} failed"
            for first, names in found.items()
        ]

    def stuck(self) -> list[Due]:
        """Values that wait for something that nothing is going to make."""
        coming = {label(due.asset, due.partition) for due in self.due}
        coming |= {
            label(other.name, due.partition)
            for due in self.due
            for other in stages().values()
            if other.made_with == due.asset
        }
        return [due for due in self.due if due.waits_for and due.waits_for not in coming]

    def to_json(self) -> dict[str, Any]:
        """The status as JSON values."""
        return {
            "project": self.project,
            "home": self.home,
            "shards": self.shards,
            "documents": self.documents,
            "precision": dict(self.precision),
            "due": [due.__dict__ for due in self.due],
            "quarantine": self.quarantine,
            "unread_rows": unread_json(self.shares),
            "reading": self.reading,
            "unmet": self.unmet,
            "failed_checks": self.failed_checks,
            "damaged": self.damaged,
            "selections": self.selections,
            "held_back": [one.to_json() for one in self.held_back],
            "waiting_for_approval": [one.to_json() for one in self.waiting_for_approval],
            "retained": self.retained.to_json(),
            "withdrawn": self.withdrawn,
            "registered_checkpoints": [one.to_json() for one in self.registered],
            "still_in_files": self.still_in_files,
            "tainted": [one.to_json() for one in self.tainted],
            "near_repeats_of_withdrawn": dict(self.near_repeats),
            "warnings": self.warnings,
            "failed_trials": {one.trial: one.reason for one in self.failed_trials},
            "failed": {label(one.asset, one.partition): one.reason for one in self.failed_steps},
            "recipes": dict(self.recipes),
            "in_training": [asdict(entry) for entry in self.in_training],
            "at_work": self.activity and self.activity.to_json(),
            "trial_budget": {target: search.to_json() for target, search in self.searches.items()} or None,
        }

    def selection_lines(self) -> list[str]:
        """Each selection, how many documents it has, and its state."""
        return [f"selection {one['selection']}: {_size(one)}, {one['state']}" for one in self.selections]

    def scaling_lines(self, pages: Path) -> list[str]:
        """The page in `pages` of each target of [scaling], if it was made, and its state."""
        return [
            f"scaling on {target}: {state}; {page}"
            for target, state in self.scaling.items()
            if (page := pages / f"scaling_law_{target}.html").exists()
        ]

    def recipe_lines(self) -> list[str]:
        """The answer of [tune] for its target, if there is one."""
        return [f"recipe for {target}: {answer}" for target, answer in self.recipes.items()]

    def lines(self) -> list[str]:
        """The status for a person."""
        size = f"{counted(self.shards, 'shard')}, {counted(self.documents, 'document')}"
        lines = [*self.unread_lines(), f"{self.project}: {size} in {self.home}", *self.selection_lines()]
        lines += self.recipe_lines()
        lines += [*self.problems(), *self.quarantine_lines(), *self.reading, *self.warning_lines()]
        lines += waiting_lines(self.waiting_for_approval)
        if self.registered:
            names = named([entry.checkpoint for entry in self.registered])
            lines.append(f"{counted(len(self.registered), 'registered checkpoint')}: {names}")
        lines += self._withdrawn_lines()
        lines += [line] if (line := self.retained.line(self.retention_days)) else []
        lines += [entry.line for entry in self.in_training]
        lines += [*self.kept_trials, *sentences(self.searches), _precision_line(self.precision)]
        models = sum(stages()[due.asset].group in LAYERS for due in self.due)
        others = Counter(due.asset for due in self.due if stages()[due.asset].group not in LAYERS)
        lines += cut([f"due: {name}: {count}" for name, count in others.items()], LISTS_ALL)
        lines += [f"due: {counted(models, 'SQL model')}"] if models else []
        if self.due:
            after = "; `tamis materialize` begins once each target can be made"
            return [*lines, f"`tamis plan` shows why these are due{after if self.unmet else self.what_next}"]
        return lines if self.problems() else [*lines, "everything is current"]

    def warning_lines(self) -> list[str]:
        """What deserves a look and fails nothing."""
        return [f"warning: {one}" for one in self.warnings]

    def _withdrawn_lines(self) -> list[str]:
        """What was withdrawn, which files hold it still, and what saw it; nothing where nothing was."""
        if not self.withdrawn:
            return []
        lines = [f"withdrawn: {counted(self.withdrawn, 'document')} (`tamis withdraw --list`)"]
        in_files = [
            f"withdrawn, but still in your files: {counted(rows, 'row')} of {shard}; no run reads them, but "
            "only you can delete them there"
            for shard, rows in Counter(place["shard"] for place in self.still_in_files).most_common()
        ]
        tainted = list(dict.fromkeys(f"tainted: {one.line}" for one in self.tainted))
        for kind in (in_files, near_repeat_lines(self.near_repeats), tainted):
            lines += cut(kind, LISTS_ALL)
        return lines


def read_status(project: Project) -> Status:
    """Look at the project, once files just written have come to rest; raises `ListingError`."""
    store, snapshot = project.home.store, scan(project, project.settings.automation.settle_seconds)
    current = read_current_values(store)
    snapshot = as_once_read(snapshot, current)
    due = full_plan(snapshot, current, refit=False)
    losses = held_back(snapshot, current)
    outdated = {(one.asset, one.partition) for one in due}
    selections, bad = _selections(store, snapshot, current, outdated), read_quarantine(store)
    failed, again = failed_steps(store, snapshot, current, due), rereading(snapshot, current, due)
    said = {(one.asset, one.partition) for one in failed}
    with_texts = names_where(lambda stage: any("text" in table.text for table in stage.tables))
    return Status(
        project=project.settings.project.name,
        home=project.home.place,
        shards=len(snapshot.keys("shards")),
        documents=store.count(DOCUMENTS.name),
        due=due,
        quarantine=bad,
        causes=cause_lines(bad, snapshot, again),
        shares=unread_shares(snapshot, current, bad, failed, again=again),
        unmet=[
            *unmet_targets(snapshot, current, due, failed),
            *registered_lines(snapshot, [one for one in due if (one.asset, one.partition) not in said]),
        ],
        reading=[*reading_notes(snapshot), *uncovered_lines(project), *benchmark_lines(store)],
        damaged={label(*entry): reason for entry, reason in find_damage(project.home, current).items()},
        failed_checks=sorted(label(*entry) for entry, value in current.items() if not value.passed),
        selections=selections,
        waiting_for_approval=waiting(snapshot, current, read_approvals(store)),
        retained=count_retained(store),
        retention_days=project.settings.retention.days,
        withdrawn=store.count("withdrawals"),
        registered=read_registered(store),
        still_in_files=read_places(store).to_dicts(),
        tainted=tainted_values(project.home, current, listed_in(project.home)),
        near_repeats=noted_near_repeats(
            ManifestFolder.of(project.home),
            [value.manifest for (asset, _), value in current.items() if asset in with_texts],
            refusal(store),
        ),
        searches=snapshot.searches,
        warnings=[
            *untrusted_lines(snapshot, due),
            *filter(None, [unfinished_line(store)]),
            *few_examples(store),
            *benchmark_warnings(store),
            *label_warnings(store),
            *_documents_lost(project, current),
            *unknown_language_lines(store, project.settings),
            *(
                score_lines(store, project.settings.column_scores)
                if (SCORES_STAGE.name, "") not in outdated
                else ()
            ),
            *unknown_lines(project),
            *odd_value_lines(store),
            *stored_text_lines(store, project.settings.corpus),
            *_small_pools(project, selections),
            *_stale_exports(project, current),
            *_links_left_out(project),
            *lost_runs(project),
            *_registrations_lost(project, current),
            *(one.line for one in losses if one.unread),
        ],
        failed_trials=failed_trials(snapshot, current, due),
        failed_steps=failed,
        scaling=_scaling(snapshot, current, outdated),
        recipes=_recipes(project, current, outdated),
        held_back=losses,
        lost=lost_index(project.home),
        kept_trials=[*kept_trials(snapshot), *kept_runs(snapshot)],
        precision=_precision(project),
        what_next=what_next(project.home),
        activity=activity(project.home),
        in_training=in_training(project.home),
    )


def _rules_lost(store: Store, filters: FiltersSection) -> list[str]:
    """Return the lines on files and corpora that the rules of the filters drop, without any selection."""
    excluded = filtered(store, filters)
    if excluded.is_empty():
        return form_lines(store, filters)
    first = excluded.unique("doc_id", keep="first", maintain_order=True)
    decided = store.read(DOCUMENTS.name, ["doc_id"]).join(first, on="doc_id", how="left")
    return [*files_lost(store, decided), *corpora_lost(store, decided), *form_lines(store, filters)]


def _documents_lost(project: Project, current: CurrentValues) -> list[str]:
    """Return lines on files and corpora that lose much: as selections noted, else by the filters alone."""
    if any(asset == SELECTION_STAGE.name for asset, _name in current):
        return noted_files_lost(project.home, current)
    return cut(_rules_lost(project.home.store, project.settings.filters))


def _precision(project: Project) -> dict[str, Any]:
    """What models are computed in, and who decided so: `tamis.toml` or a measurement, with what it found."""
    stated, chosen = project.settings.project.precision, read_choice(project.home.store)
    if stated != AUTO:
        return {"name": stated, "by": "tamis.toml"}
    if chosen is None:
        return {"name": AUTO, "by": None}
    times = {name: chosen[name] for name in ("device", "float32_ms", "bfloat16_ms")}
    return {"name": chosen["precision"], "by": "measurement", **times, "made_at": str(chosen["made_at"])}


def _precision_line(found: Mapping[str, Any]) -> str:
    if found["by"] is None:
        return "models run in float32 or bfloat16; the first run measures which is faster on this machine"
    if found["by"] != "measurement":
        return f"models run in {found['name']}, set by {found['by']}"
    times = Speeds(**{name: found[name] for name in ("device", "float32_ms", "bfloat16_ms")})
    return f"models run in {found['name']}, chosen {found['made_at'][:10]}: {times.sentence}"


def _small_pools(project: Project, selections: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the selections that chose all that is eligible, which is less than their budget in documents."""
    documents = {
        one["selection"]: one["documents"] for one in selections if one["state"] in (SETTLED, CERTIFIED)
    }
    for section in project.settings.selection:
        budget, count = parse_budget(section.budget), documents.get(section.name)
        if count is not None and budget.unit == "documents" and count < budget.amount:
            chosen = (
                f"selected {counted(count, 'document')}; no more are eligible within the configured shares"
                if section.per or section.mixture
                else f"all eligible documents were selected ({count:,})"
                if count
                else "no document is eligible"
            )
            most = counted(int(budget.amount), "document")
            yield f"selection {section.name}: {chosen}; the budget is {most}"


def _stale_exports(project: Project, current: CurrentValues) -> Iterator[str]:
    """Yield the exports whose lineage does not name the choice that their selection publishes now."""
    folder, exports = ManifestFolder.of(project.home), project.home.exports
    found = {path: path.name.removesuffix(PROV) for path in exports.glob(f"*{PROV}")}
    for form in (FOLDER, *(f"{FOR_TRAINER}{trainer}" for trainer in CONFIGURATIONS)):
        for path in exports.glob(f"*.{form}"):
            found[description_path(rows_in_folder(path, form), PROV)] = path.stem
    for path, name in sorted(found.items()):
        selection = name.removesuffix(WITH_SCORES)
        scores = " --with-scores" if name != selection else ""
        try:
            choice = published(current, folder, selection)
            lineage = path.read_text(encoding="utf-8")
            is_current = choice is None or folder.read(choice.subset).data_version in lineage
        except (ManifestError, OSError):
            continue  # what is damaged is said elsewhere
        if path.parent != exports:
            forms = [path.relative_to(exports).parts[0].removeprefix(f"{name}.")]
        else:
            forms = [form for form in ("parquet", "jsonl") if (exports / f"{name}.{form}").is_file()]
        for form in forms:
            option = f"--for {form.removeprefix(FOR_TRAINER)}" if FOR_TRAINER in form else f"--format {form}"
            cure = f"run `tamis export {selection} {option}{scores}` to renew it"
            if not is_current:
                yield f"the export of {selection} is out of date: {name}.{form}; {cure}"
            elif choice and not is_folder(form) and f'"{name}.{form}"' not in lineage:
                yield f"{path.name} does not list {name}.{form}, so it may be out of date; {cure}"


def _registrations_lost(project: Project, current: CurrentValues) -> list[str]:
    """Return a line for each registered checkpoint whose entry was lost with its table."""
    trained = {name for asset, name in current if asset in training_stages()}
    return [
        f"registered checkpoint {name}: its entry is lost with the table {REGISTERED}, so nobody knows where "
        f"its files are; `tamis register FOLDER --trained-on SELECTION@VERSION --name {name}` writes it again"
        for name in lost_entries(project.home, trained)
    ]


def _links_left_out(project: Project) -> list[str]:
    """Links that lead out of a folder of the project and are not read, a line each folder."""
    settings, root = project.settings, project.root
    found = {f"corpus {one.name}": links_out(one, root) for one in settings.corpus}
    found |= {f"target {one.name}": target_links_out(one, root) for one in settings.target}
    return [
        f"{name}: links that lead out of its folder are not followed: {named(links, 3)}; "
        "to follow them, set follow_links = true in tamis.toml"
        for name, links in found.items()
        if links
    ]


def _selections(
    store: Store, snapshot: ProjectSnapshot, current: CurrentValues, outdated: set[tuple[str, str]]
) -> list[dict[str, Any]]:
    """A selection is settled when nothing that it depends on is out of date or kept within a certificate."""
    found, sizes = [], None
    with contextlib.suppress(DamagedTableError):
        sizes = token_sizes(store)
    for name in snapshot.keys("selections"):
        entry, pin = (SELECTION_STAGE.name, name), snapshot.pinned.get(name)
        chosen = _published_choice(snapshot, current, name)
        if entry not in current:
            state = NOT_MADE
        elif not current[entry].passed:
            state = REFUSED + ("" if chosen is None else "; an earlier choice is used")
        elif entry in outdated:
            state = f"out of date; {pin.sentence}" if pin else "out of date"
        elif pin:
            state = pin.sentence
        else:
            inputs = upstream(snapshot, entry)
            state = SETTLED if all(current[i].settled for i in inputs if i in current) else CERTIFIED
        tokens = None if chosen is None or sizes is None else tokens_of(sizes, chosen)
        found.append(
            {
                "selection": name,
                "documents": 0 if chosen is None else len(chosen),
                "tokens": tokens and tokens.tokens,
                "documents_estimated": tokens and tokens.estimated,
                "documents_gone": 0 if chosen is None or tokens is None else len(chosen) - tokens.documents,
                "state": state,
                "pinned_to": pin and pin.version,
            }
        )
    return found


def _size(selection: Mapping[str, Any]) -> str:
    """How many documents and tokens a selection has."""
    documents, tokens = selection["documents"], selection["tokens"]
    gone = selection["documents_gone"]
    parts = [tokens_in_words(tokens, documents - gone, selection["documents_estimated"])] if tokens else []
    parts += [f"{gone:,} of them no longer in the corpora"] if gone else []
    return counted(documents, "document") + (f" ({'; '.join(parts)})" if parts else "")


def _published_choice(
    snapshot: ProjectSnapshot, current: CurrentValues, selection: str
) -> pl.DataFrame | None:
    """Return the documents that a selection publishes, None where that is nothing or damaged."""
    folder, store = ManifestFolder.of(snapshot.project.home), snapshot.project.home.store
    try:
        found = published(current, folder, selection)
        return chosen_of(store, folder, found) if found else None
    except (ManifestError, DecisionsLostError, DamagedTableError):
        return None  # what is damaged is said elsewhere


def _scaling(
    snapshot: ProjectSnapshot, current: CurrentValues, outdated: set[tuple[str, str]]
) -> dict[str, str]:
    """The state of the scaling page of each target; none where no page was made."""
    page = (REPORT_STAGE.name, "")
    made = snapshot.project.settings.scaling.targets if law_active(snapshot) and page in current else ()
    return dict.fromkeys(made, "out of date" if page in outdated else "current")


def _recipes(project: Project, current: CurrentValues, outdated: set[tuple[str, str]]) -> dict[str, str]:
    """The answer of [tune] by target; "out of date" before one that no longer holds."""
    recipe, tune, store = (RECIPE_STAGE.name, ""), project.settings.tune, project.home.store
    if recipe not in current or tune is None:
        return {}
    state = "out of date: " if recipe in outdated else ""
    answers = store.read(TUNE_ANSWERS.name, ["target", "sentence"]).filter(target=tune.target)
    return {target: f"{state}{sentence}" for target, sentence in answers.sort("target").iter_rows()}


def unknown_assets(names: Sequence[str] | None) -> frozenset[str] | None:
    """The names as a set; raises `UnknownNameError` for one that is no asset."""
    for name in names or ():
        if name not in stages():
            raise UnknownNameError("asset", name, stages())
    return frozenset(names) if names else None
