"""What `tamis withdraw` says, for a person and as JSON: never any text of a document."""

from collections import Counter
from typing import Any

import polars as pl

from tamis.graph.plan import label
from tamis.graph.scan import scan
from tamis.project import Project
from tamis.records.receipts import read_receipts
from tamis.store.home import Home
from tamis.store.withdrawn import read_places, read_withdrawals
from tamis.withdrawal.tainting import checkpoints
from tamis.withdrawal.withdrawing import Preview, Withdrawn

SHOWN = 20


def places_with_files(project: Project) -> list[dict[str, Any]]:
    """Where raw files hold what is withdrawn, with the path or address of each file."""
    places = read_places(project.home.store)
    shards = scan(project).shards if len(places) else {}
    files = {key: found.remote.url if found.remote else str(found.path) for key, found in shards.items()}
    return [row | {"file": files.get(row["shard"], row["shard"])} for row in places.to_dicts()]


def preview_json(found: Preview) -> dict[str, Any]:
    """A preview as JSON values."""
    return {
        "doc_ids": found.doc_ids,
        "already_withdrawn": found.already,
        "not_in_the_store": found.unknown,
        "rows": found.rows,
        "excerpts": found.excerpts,
        "places": found.places.to_dicts(),
        "selections": found.selections,
        "tainted": [one.to_json() for one in found.tainted],
        "near_repeats": found.near_repeats.to_dicts(),
    }


def preview_lines(found: Preview) -> list[str]:
    """A preview for a person."""
    lines = [f"would withdraw {_documents(found.doc_ids)}; nothing was done"]
    lines += [f"  {len(found.already)} were withdrawn before"] if found.already else []
    if found.unknown:
        lines.append(f"  {len(found.unknown)} are not in the store: they would be refused when they arrive")
    held = Counter(found.places["shard"].to_list())
    lines += [f"  {shard}: {rows} rows" for shard, rows in held.most_common(SHOWN)]
    lines += [f"  table {table}: {rows:,} rows" for table, rows in found.rows.items()]
    lines += [f"  quarantine: {found.excerpts} rows would show nothing any more"] if found.excerpts else []
    lines += [f"  selection {name}: {count} chosen documents" for name, count in found.selections.items()]
    lines += [f"  tainted: {one.line}" for one in found.tainted[:SHOWN]]
    for row in found.near_repeats.head(SHOWN).iter_rows(named=True):
        lines.append(f"  {row['doc_id']} nearly repeats {row['repeats']} and would stay")
    return lines


def withdrawn_json(done: Withdrawn, places: list[dict[str, Any]]) -> dict[str, Any]:
    """What was done, as JSON values."""
    return {
        "withdrawn": done.new,
        "already_withdrawn": done.already,
        "not_in_the_store": done.unknown,
        "near_repeats": done.near_repeats.to_dicts(),
        "excerpts": done.excerpts,
        "receipts": done.receipts,
        "rows_removed": done.purged.rows,
        "files": [{"path": one.path, "done": one.done} for one in done.purged.files],
        "tainted": [one.to_json() for one in done.tainted],
        "still_in_files": places,
        "still_kept": done.still_kept,
    }


def withdrawn_lines(done: Withdrawn, places: list[dict[str, Any]], goes_on: bool) -> list[str]:
    """What was done, for a person, and what is left for them to do."""
    if not (done.new or done.receipts or done.purged.anything):
        return ["nothing to do: all of it was withdrawn before (`tamis withdraw --list`)"]
    lines = [f"withdrew {_documents(done.new)}: {sum(done.purged.rows.values()):,} rows left the tables"]
    if done.unknown:
        named = ", ".join(done.unknown[:SHOWN])
        lines.append(f"{len(done.unknown)} not in the store, to be refused if ever they arrive: {named}")
    lines += [f"receipt {receipt}" for receipt in done.receipts]
    lines += [f"{one.done}: {one.path}" for one in done.purged.files[:SHOWN]]
    if len(done.purged.files) > SHOWN:
        lines.append(f"and {len(done.purged.files) - SHOWN} more files; --json lists all")
    lines += [f"tainted: {one.line}" for one in done.tainted[:SHOWN]]
    trained = checkpoints()
    if any(one.asset in trained for one in done.tainted):
        lines.append("what weights have learnt is not unlearnt: train these again, or take them out of use")
    elif done.tainted:
        lines.append("what was fitted on it is fitted again by the next materialization")
    for row in done.near_repeats.head(SHOWN).iter_rows(named=True):
        lines.append(f"{row['doc_id']} nearly repeats {row['repeats']} and stays unless you withdraw it, too")
    held = Counter(place["file"] for place in places)
    lines += [f"your file holds it still: {file} ({rows} rows)" for file, rows in held.most_common(SHOWN)]
    if done.still_kept:
        lines.append(f"NOT erased: {done.still_kept}")
    if not goes_on:
        lines.append("run `tamis materialize` to make the selections again; the sensors do it by themselves")
    return lines


def _documents(doc_ids: list[str]) -> str:
    return f"document {doc_ids[0]}" if len(doc_ids) == 1 else f"{len(doc_ids):,} documents"


def history(home: Home) -> list[dict[str, Any]]:
    """Each withdrawal, oldest first: when, why, how it was named, how much, and its receipt."""
    rows = read_withdrawals(home.store)
    receipts = read_receipts(home)
    grouped = rows.group_by("withdrawn_at", "reason", "receipt", maintain_order=True)
    return [
        {
            "withdrawn_at": when,
            "reason": reason,
            "receipt": receipt,
            "doc_ids": some.filter(pl.col("scope") != "excerpt")["doc_id"].to_list(),
            "scopes": sorted(set(some["scope"])),
            "rows_removed": receipts[receipt].config["rows_removed"] if receipt in receipts else None,
            "tainted": receipts[receipt].config["checkpoints"] if receipt in receipts else None,
        }
        for (when, reason, receipt), some in grouped
    ]


def history_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The history for a person."""
    if not rows:
        return ["nothing was withdrawn"]
    lines = []
    for row in rows:
        proof = (
            f"receipt {row['receipt']}" if row["receipt"] else "cut short: `tamis materialize` completes it"
        )
        when = f"{row['withdrawn_at']:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(f"{when}  {_documents(row['doc_ids'])}, {row['reason']} ({', '.join(row['scopes'])})")
        lines.append(f"  {proof}")
        for one in (row["tainted"] or [])[:SHOWN]:
            lines.append(f"  tainted then: {label(one['asset'], one['partition'])}: {one['taint']}")
        lines += [f"  {doc_id}" for doc_id in row["doc_ids"][:SHOWN]]
    return lines
