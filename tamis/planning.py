"""What `tamis materialize` would do, and what that would take."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from tamis.corpus.stage import RAW_STAGE
from tamis.graph.estimates import Estimate, estimates
from tamis.graph.held_back import held_back
from tamis.graph.plan import Due, full_plan, label
from tamis.graph.reconciliation import find_gone
from tamis.graph.repair import find_damage
from tamis.graph.scan import scan
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.records.current_values import read_current_values

NAMED = 5
REMOVAL, HELD_BACK = "removal", "held_back"
OF_FILES = {RAW_STAGE.name, REMOVAL, HELD_BACK}
"""What is made, or planned, where the corpora hold files, or held some."""


def read_plan(project: Project, on_request: bool = False) -> list[dict[str, Any]]:
    """Return what `tamis materialize` would do, in order.

    Each entry has rows, seconds and cost, null where unknown. Removals come first, then
    what is held back (asset "held_back"), under the name that lets it go.
    """
    snapshot = scan(project, project.settings.automation.settle_seconds, on_request)
    current = read_current_values(project.home.store)
    damage = find_damage(project.home, current)
    current = {entry: value for entry, value in current.items() if entry not in damage}
    plan = full_plan(snapshot, current)
    gone = find_gone(project.home.store, snapshot, current)
    removed = [Due(asset=REMOVAL, partition=label(*entry), reason=_why(*entry)) for entry in gone]
    removed += [
        Due(asset=HELD_BACK, partition=one.name, reason=one.line) for one in held_back(snapshot, current)
    ]
    found = [*(Estimate() for _ in removed), *estimates(project, snapshot, current, plan)]
    return [due.__dict__ | asdict(one) for due, one in zip([*removed, *plan], found, strict=True)]


def _why(asset: str, partition: str) -> str:
    """Return why a value is removed, for the plan."""
    stage = stages().get(asset)
    if stage is None or stage.partitions is None:
        return "is no longer used"
    return "its file is gone" if stage.partitions == "shards" else "left tamis.toml"


def plan_lines(plan: list[dict[str, Any]]) -> list[str]:
    """A plan for a person: a line per asset, then what all of it takes."""
    if not plan:
        return ["nothing to do: everything is current"]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for due in plan:
        groups.setdefault((due["asset"], due["reason"]), []).append(due)
    lines = []
    for (asset, reason), entries in groups.items():
        if asset == HELD_BACK:
            lines.append(reason)
            continue
        if asset == REMOVAL:
            some = ", ".join(one["partition"] for one in entries[:NAMED])
            more = f" and {len(entries) - NAMED} more" if len(entries) > NAMED else ""
            lines.append(f"{REMOVAL}: {reason}: {some}{more}")
            continue
        counted = _counted(stages()[asset].partitions, len(entries))
        lines.append(f"{asset}: {reason}{counted}{_measures(entries)}")
    made = [due for due in plan if due["asset"] not in (REMOVAL, HELD_BACK)]
    return [*lines, _in_all(made)] if made else lines


def without_documents(project: Project, plan: list[dict[str, Any]]) -> list[str]:
    """Return what a project needs before anything can be made; none where its corpora hold or held files."""
    known = {asset for asset, _partition in read_current_values(project.home.store)} | {
        due["asset"] for due in plan
    }
    if known & OF_FILES:
        return []
    corpora = [f"corpus {one.name}: {one.path or one.kind}" for one in project.settings.corpus]
    targets = [
        f"target {one.name}: {one.path or one.kind}, {one.train} examples to select by and {one.held_out} to "
        "measure with"
        for one in project.settings.target
    ]
    return [
        "nothing can be made yet: no corpus holds a file. Put some where tamis.toml says:",
        *corpora,
        *targets,
    ]


def _counted(set_name: str | None, count: int) -> str:
    """How many of a set of partitions, whose name is a plural."""
    if set_name is None:
        return ""
    return f", {count:,} {set_name.removesuffix('s') if count == 1 else set_name}"


def _measures(entries: list[dict[str, Any]]) -> str:
    """Rows, time and cost of some values, as far as each of them is known."""
    parts = []
    if (rows := _sum(entries, "rows")) is not None:
        parts.append(f"about {rows:,.0f} rows")
    if (seconds := _sum(entries, "seconds")) is not None:
        parts.append(_time(seconds))
    if (cost := _sum((one for one in entries if one["cost"] is not None), "cost")) is not None:
        parts.append(f"cost at most {cost:g}")
    return f", {', '.join(parts)}" if parts else ""


def _in_all(plan: list[dict[str, Any]]) -> str:
    known = [due for due in plan if due["seconds"] is not None]
    unknown = list(dict.fromkeys(due["asset"] for due in plan if due["seconds"] is None))
    text = f"in all about {_time(_sum(known, 'seconds') or 0.0)}" if known else "how long it takes is unknown"
    if (cost := _sum((due for due in plan if due["cost"] is not None), "cost")) is not None:
        text += f", cost at most {cost:g}"
    if not unknown:
        return text
    if not known:
        return f"{text}: nothing was measured yet"
    shown = ", ".join(unknown[:NAMED]) + (f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else "")
    return f"{text}; without {shown}, for which nothing was measured yet"


def _sum(entries: Iterable[dict[str, Any]], name: str) -> float | None:
    """The sum, None when there is nothing to add or any of it is unknown."""
    values = [one[name] for one in entries]
    return sum(values) if values and None not in values else None


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
