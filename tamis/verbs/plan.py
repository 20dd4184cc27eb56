"""What `tamis materialize` would do, and what that would take."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from tamis.base.numbers import brief, counted, named, tokens_in_words
from tamis.corpus.listing import place_of_files
from tamis.corpus.small_files import files_of
from tamis.corpus.sources import corpora_of
from tamis.corpus.stage import RAW_STAGE
from tamis.graph.estimates import Estimate, estimates
from tamis.graph.plan import INTERRUPTED, REASONS, Due, full_plan, label
from tamis.graph.repair import Damage, find_damage, lost_index
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import made_together, stages
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.retention.held_back import held_back
from tamis.retention.losses import as_once_read, left_out
from tamis.retention.reconciled import find_gone
from tamis.scan.precheck import Precheck, precheck
from tamis.scan.sources import scan
from tamis.selection.stage import SELECTION_STAGE
from tamis.settings.budget import parse_budget
from tamis.settings.tokenizer import counting_tokenizer
from tamis.sql.properties import LAYERS

NAMED = 5
REMOVAL, HELD_BACK, SQL_MODELS = "removal", "held_back", "SQL models"
LEFT_OUT = "tamis.toml leaves it out (exclude or include), the file is still there"
OF_FILES = {RAW_STAGE.name, REMOVAL, HELD_BACK}
"""What is made, or planned, where the corpora hold files, or held some."""


def read_plan(project: Project, on_request: bool = False) -> list[dict[str, Any]]:
    """Return what `tamis materialize` would do, in order.

    Each entry has rows, seconds and cost, null where unknown. Removals come first, then
    what is held back (asset "held_back"), under the name that lets it go. What a run has to look for in new
    files first is a warning of `checked_plan`.
    """
    return checked_plan(project, on_request)[0]


def checked_plan(project: Project, on_request: bool = False) -> tuple[list[dict[str, Any]], Precheck]:
    """Return the entries of `read_plan`, and what can be said now of the files that they would read."""
    snapshot = scan(project, project.settings.automation.settle_seconds, on_request)
    current = read_current_values(project.home.store)
    snapshot = as_once_read(snapshot, current)
    damage = find_damage(project.home, current)
    current = {entry: value for entry, value in current.items() if entry not in damage}
    plan = with_damage(full_plan(snapshot, current), damage)
    gone = find_gone(project.home.store, snapshot, current)
    why = _reasons(snapshot, gone)
    removed = [Due(asset=REMOVAL, partition=label(*entry), reason=why[entry]) for entry in gone]
    losses = held_back(snapshot, current)
    removed += [
        Due(asset=HELD_BACK, partition=one.allow, reason=one.line) for one in losses if not one.unread
    ]
    found = [*(Estimate() for _ in removed), *estimates(project, snapshot, current, plan)]
    entries = [due.__dict__ | asdict(one) for due, one in zip([*removed, *plan], found, strict=True)]
    if without_documents(project, entries):
        return entries, Precheck()
    checked = precheck(snapshot, current, plan)
    lost = lost_index(project.home)
    unread = [one.line for one in losses if one.unread]
    return entries, replace(checked, warnings=[*([lost] if lost else []), *checked.warnings, *unread])


def with_damage(plan: Sequence[Due], damage: Damage) -> list[Due]:
    """Return a plan with the reason why values cannot be read any more, one for all such of an asset."""
    own = {
        (due.asset, due.partition): [
            damage[name, due.partition]
            for name in made_together(due.asset)
            if (name, due.partition) in damage
        ]
        for due in plan
    }
    of_asset: dict[str, dict[str, None]] = {}
    for (asset, _partition), problems in own.items():
        of_asset.setdefault(asset, {}).update(dict.fromkeys(problems))
    reasons = {
        asset: next(iter(problems), "")
        + (f", and {len(problems) - 1:,} more like it" if len(problems) > 1 else "")
        for asset, problems in of_asset.items()
    }
    return [replace(due, reason=reasons[due.asset]) if own[due.asset, due.partition] else due for due in plan]


def _reasons(snapshot: ProjectSnapshot, gone: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return why values are removed, for the plan."""
    store = snapshot.project.home.store
    configured = {corpus.name for corpus in snapshot.project.settings.corpus}
    shards = sorted({key for asset, key in gone if _of_shards(snapshot, asset)})
    corpora, files = corpora_of(store, shards), files_of(store, shards)
    there = left_out(snapshot.project, files["shard"].to_list())
    kept = {shard for shard, file in files.iter_rows() if file in there}

    def why(asset: str, partition: str) -> str:
        if not _of_shards(snapshot, asset):
            stage = stages().get(asset)
            unused = stage is None or stage.partitions is None or not stage.active(snapshot)
            return "is no longer used" if unused else "no longer in tamis.toml"
        if corpora[partition] not in configured:
            return "its corpus is no longer in tamis.toml"
        return LEFT_OUT if partition in kept else "its file is gone"

    return {entry: why(*entry) for entry in gone}


def _of_shards(snapshot: ProjectSnapshot, asset: str) -> bool:
    """Return whether a stage that is in use makes its values of shards."""
    stage = stages().get(asset)
    return stage is not None and stage.partitions == "shards" and stage.active(snapshot)


def plan_lines(plan: list[dict[str, Any]]) -> list[str]:
    """A plan for a person: a line per asset, then what all of it takes."""
    if not plan:
        return ["nothing to do: everything is current"]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for due in plan:
        stage = stages().get(due["asset"])
        name = SQL_MODELS if stage is not None and stage.group in LAYERS else due["asset"]
        groups.setdefault((name, due["reason"]), []).append(due)
    lines = []
    for (asset, short), entries in groups.items():
        reason = REASONS[INTERRUPTED] if short == INTERRUPTED else short
        if asset == HELD_BACK:
            lines.append(reason)
        elif asset == REMOVAL:
            lines.append(f"{REMOVAL}: {reason}: {named([one['partition'] for one in entries])}")
        elif asset == SQL_MODELS:
            lines.append(f"{counted(len(entries), 'SQL model')}: {reason}{_measures(entries, rows=False)}")
        else:
            of = stages()[asset].partitions  # the name of the set is a plural
            count = f", {counted(len(entries), of.removesuffix('s'), of)}" if of else ""
            lines.append(f"{asset}: {reason}{count}{_measures(entries)}")
    made = [due for due in plan if due["asset"] not in (REMOVAL, HELD_BACK)]
    return [*lines, _in_all(made)] if made else lines


def budget_lines(project: Project, plan: list[dict[str, Any]]) -> list[str]:
    """Return the budgets in tokens of the selections of a plan, and what counts them."""
    due = {entry["partition"] for entry in plan if entry["asset"] == SELECTION_STAGE.name}
    tokenizer = counting_tokenizer(project.settings)
    by = f", counted by {tokenizer.name}" if tokenizer else ""
    found: dict[str, list[str]] = {}
    for section in project.settings.selection:
        budget = parse_budget(section.budget)
        if section.name in due and budget.unit == "tokens":
            words = tokens_in_words(math.floor(budget.amount), 1, int(tokenizer is None))
            found.setdefault(f"{words}{by}", []).append(section.name)
    return [f"budget of {named(names)}: {words}" for words, names in found.items()]


def without_documents(project: Project, plan: list[dict[str, Any]]) -> list[str]:
    """Return what a project needs before anything can be made; none where its corpora hold or held files."""
    made = {asset for asset, _partition in read_current_values(project.home.store)}
    if not OF_FILES.isdisjoint(made.union(due["asset"] for due in plan)):
        return []
    corpora = [f"corpus {one.name}: {place_of_files(one, project.root)}" for one in project.settings.corpus]
    targets = [
        f"target {one.name}: {one.path or one.kind}, {one.train} examples to select by and {one.held_out} "
        "held-out examples to evaluate on"
        for one in project.settings.target
    ]
    return [
        "nothing to materialize yet: no corpus contains a file that it can read now. Put files where "
        "tamis.toml expects them:",
        *corpora,
        *targets,
    ]


def _measures(entries: list[dict[str, Any]], rows: bool = True) -> str:
    """Rows, time and cost of some values, as far as each of them is known."""
    parts = []
    if rows and (count := _sum(entries, "rows")) is not None:
        parts.append(f"about {counted(round(count), 'row')}")
    if (seconds := _sum(entries, "seconds")) is not None:
        parts.append(brief(seconds))
    if (cost := _sum((one for one in entries if one["cost"] is not None), "cost")) is not None:
        parts.append(f"cost at most {cost:g}")
    return f", {', '.join(parts)}" if parts else ""


def _in_all(plan: list[dict[str, Any]]) -> str:
    known = [due for due in plan if due["seconds"] is not None]
    unknown = list(dict.fromkeys(due["asset"] for due in plan if due["seconds"] is None))
    seconds = _sum(known, "seconds") or 0.0
    text = f"{'about ' if seconds >= 1 else ''}{brief(seconds)} in all" if known else "duration unknown"
    if (cost := _sum((due for due in plan if due["cost"] is not None), "cost")) is not None:
        text += f", cost at most {cost:g}"
    if not unknown or not known:
        return f"{text}: nothing has been timed yet" if unknown else text
    return f"{text}; without {named(unknown, NAMED)}, for which no time is known yet"


def _sum(entries: Iterable[dict[str, Any]], name: str) -> float | None:
    """The sum, None when there is nothing to add or any of it is unknown."""
    values = [one[name] for one in entries]
    return sum(values) if values and None not in values else None
