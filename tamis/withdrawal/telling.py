"""What `tamis withdraw` says, for a person and as JSON: never any text of a document."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tamis.base.errors import TamisError
from tamis.base.numbers import counted, cut, named
from tamis.base.progress import say
from tamis.corpus.refusing import near_repeat_lines
from tamis.corpus.shards import Shard
from tamis.graph.plan import label
from tamis.project import Project
from tamis.records.receipts import read_receipts, require_withdrawals
from tamis.scan.sources import scan
from tamis.store.home import Home
from tamis.store.withdrawn import read_places, read_withdrawals
from tamis.withdrawal.places import EXPORTS
from tamis.withdrawal.quotations import MOST_TEXTS
from tamis.withdrawal.tainting import Tainted, checkpoints
from tamis.withdrawal.withdrawing import Preview, Withdrawn

LISTS_ALL, FILES_SHOWN = "--json", 3
NOTHING_FOUND = (
    "nothing was found: no stored document is in what was named, so nothing was withdrawn; documents that "
    "are read from there later are taken in, unless sources_denied names their source (docs/control.md)"
)
NOTHING_TO_DO = "nothing to do: all of this is already withdrawn (see `tamis withdraw --list`)"


def files_there(project: Project) -> dict[str, Shard]:
    """Return the files that are there now by key; none while a corpus cannot be listed.

    A withdrawal is of what is stored, so it does not wait for a disk or server that is away.
    """
    try:
        return scan(project).files
    except (TamisError, OSError) as error:
        say(f"the files of the corpora cannot be listed now: {error}")
        return {}


def addresses_of_files(project: Project) -> dict[str, str]:
    """Return the path or address of each file that is there now by key; none while they cannot be listed."""
    return {
        key: found.remote.url if found.remote else str(found.path)
        for key, found in files_there(project).items()
    }


def places_with_files(project: Project) -> list[dict[str, Any]]:
    """Where raw files hold what is withdrawn, with the path or address of each file.

    Where a corpus cannot be listed, its key stands for each file.
    """
    places = read_places(project.home.store)
    files = addresses_of_files(project) if len(places) else {}
    return [row | {"file": files.get(row["shard"], row["shard"])} for row in places.to_dicts()]


def preview_json(found: Preview) -> dict[str, Any]:
    """A preview as JSON values."""
    return {
        "doc_ids": found.doc_ids,
        "already_withdrawn": found.already,
        "not_in_the_store": found.unknown,
        "in_earlier_versions": found.departed,
        "other_case_or_spaces": found.loose_repeats,
        "rows": found.rows,
        "excerpts": found.excerpts,
        "places": found.places.to_dicts(),
        "selections": found.selections,
        "tainted": [one.to_json() for one in found.tainted],
        "near_repeats": found.near_repeats.to_dicts(),
    }


def preview_lines(found: Preview, files: Mapping[str, str] | None = None) -> list[str]:
    """A preview for a person; `files`: paths by key. A file that is not there is named by its key."""
    if not (found.doc_ids or found.excerpts):
        return [NOTHING_FOUND]
    lines = [f"would withdraw {_documents(found.doc_ids)}; this is a dry run, so nothing was changed"]
    lines += [f"  already withdrawn: {len(found.already):,}"] if found.already else []
    if found.unknown:
        lines.append(f"  not in the store: {_documents(found.unknown)}, to be refused if read later")
    lines += [f"  {line}" for line in near_repeat_lines(found.loose_repeats)]
    if found.departed:
        lines.append(f"  left all files, but in earlier versions of tables: {_documents(found.departed)}")
    held = Counter(found.places["shard"].to_list())
    paths = files or {}
    lines += cut(
        [f"  {paths.get(key, key)}: {counted(rows, 'row')}" for key, rows in held.most_common()], LISTS_ALL
    )
    rows = [f"{table} {count:,}" for table, count in found.rows.items()]
    lines += [f"  rows to be removed from each table: {', '.join(rows)}"] if rows else []
    lines += [f"  quarantine: {counted(found.excerpts, 'excerpt')} to be erased"] if found.excerpts else []
    chosen = [f"{name} {count:,}" for name, count in found.selections.items()]
    lines += [f"  how many of the documents each selection has chosen: {', '.join(chosen)}"] if chosen else []
    lines += [f"  {line}" for line in _tainted_lines(found.tainted)]
    return lines + [f"  {line}" for line in _near_lines(found.near_repeats, "would be kept")]


def _tainted_lines(tainted: Sequence[Tainted]) -> list[str]:
    """What saw the documents, a line for each way in which it did."""
    ways: dict[str, list[str]] = {}
    for one in tainted:
        name, _, way = one.line.partition(": ")
        ways.setdefault(way, []).append(name)
    return [f"tainted, {way}: {named(list(dict.fromkeys(names)))}" for way, names in ways.items()]


def _near_lines(near: pl.DataFrame, rest: str) -> list[str]:
    lines = [
        f"{row['doc_id']} is a near-duplicate of {row['repeats']} and {rest}"
        for row in near.iter_rows(named=True)
    ]
    return cut(lines, LISTS_ALL)


def withdrawn_json(done: Withdrawn, places: list[dict[str, Any]]) -> dict[str, Any]:
    """What was done, as JSON values."""
    return {
        "withdrawn": done.new,
        "already_withdrawn": done.already,
        "not_in_the_store": done.unknown,
        "in_earlier_versions": done.departed,
        "other_case_or_spaces": done.loose_repeats,
        "near_repeats": done.near_repeats.to_dicts(),
        "quotations": [one.to_json() for one in done.quotations],
        "excerpts": done.excerpts,
        "receipts": done.receipts,
        "rows_removed": done.purged.rows,
        "files": [{"path": one.path, "done": one.done} for one in done.purged.files],
        "tainted": [one.to_json() for one in done.tainted],
        "still_in_files": places,
        "moved_aside": done.aside,
        "restored": done.restored,
        "still_kept": done.still_kept,
    }


def withdrawn_lines(done: Withdrawn, places: list[dict[str, Any]], goes_on: bool) -> list[str]:
    """What was done, for a person, and what is left for them to do."""
    lines = [*done.restored]
    if done.found_nothing:
        return [*lines, NOTHING_FOUND]
    if not done.changed:
        return [*lines, NOTHING_TO_DO]
    removed = counted(sum(done.purged.rows.values()), "row")
    if done.new:
        lines.append(f"withdrew {_documents(done.new)}: {removed} removed from the tables")
    else:
        tables = counted(len(done.purged.bare), "table")
        what = "what was withdrawn before" if done.already else "what may be left of it"
        lines.append(f"removed {what}: {removed}, and old versions of {tables}")
    if done.unknown:
        lines.append(
            f"not in the store, so these documents will be refused if they ever arrive: {named(done.unknown)}"
        )
    lines += near_repeat_lines(done.loose_repeats)
    if done.departed:
        lines.append(
            f"{_documents(done.departed)} had left all files before: removed from old versions of the tables"
        )
    lines += [f"receipt {receipt}" for receipt in done.receipts]
    files: dict[str, list[str]] = {}
    for one in done.purged.files:
        files.setdefault(one.done, []).append(str(one.path))
    lines += [f"{what}: {named(paths, FILES_SHOWN)}" for what, paths in files.items()]
    if any(path.startswith(f"{EXPORTS}/") for path in files.get("removed", ())):
        lines.append(
            "the files that describe an export stated an old count and hash; `tamis export` writes them again"
        )
    lines += _tainted_lines(done.tainted)
    trained = checkpoints()
    if any(one.asset in trained for one in done.tainted):
        lines.append(
            "trained weights cannot unlearn documents: retrain the tainted checkpoints, or stop using them"
        )
    elif done.tainted:
        lines.append("the next materialization refits the tainted assets without the withdrawn documents")
    lines += _near_lines(done.near_repeats, "is kept unless you withdraw it too")
    lines += cut([f"is kept: {one.line}" for one in done.quotations], LISTS_ALL)
    if done.unsearched:
        lines.append(
            f"whether other rows quote one of these {done.unsearched:,} texts was not looked for, since they "
            f"are over {MOST_TEXTS:,}; `tamis withdraw --verify --text FILE` looks for one text"
        )
    in_files = [
        f"withdrawn text is still in your files: {counted(rows, 'row')} of {file}; no run reads it, but only "
        "you can delete it there"
        for file, rows in Counter(place["file"] for place in places).most_common()
    ]
    lines += cut(in_files, LISTS_ALL)
    lines += done.aside
    if done.still_kept:
        lines.append(f"NOT erased: {done.still_kept}")
    if not goes_on:
        lines.append(
            "run `tamis materialize` to recompute the selections; if the sensors run, they do so on their own"
        )
    return lines


def _documents(doc_ids: list[str]) -> str:
    return f"document {doc_ids[0]}" if len(doc_ids) == 1 else f"{len(doc_ids):,} documents"


def history(home: Home) -> list[dict[str, Any]]:
    """Each withdrawal, oldest first: when, why, how it was named, how much, and its receipt.

    Raises `WithdrawalsLostError`.
    """
    require_withdrawals(home)
    receipts = read_receipts(home)
    grouped = read_withdrawals(home.store).group_by("withdrawn_at", "reason", "receipt", maintain_order=True)
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
            f"receipt {row['receipt']}" if row["receipt"] else "interrupted: `tamis materialize` completes it"
        )
        lines += [
            f"{row['withdrawn_at']:%Y-%m-%d %H:%M:%S} UTC  {_documents(row['doc_ids'])}, {row['reason']} "
            f"({', '.join(row['scopes'])})",
            f"  {proof}",
        ]
        saw = [f"{label(one['asset'], one['partition'])}: {one['taint']}" for one in row["tainted"] or []]
        # A superseded value has the same words as the current one.
        lines += cut([f"  tainted then: {one}" for one in dict.fromkeys(saw)], LISTS_ALL)
        if len(row["doc_ids"]) > 1:
            lines += cut([f"  {doc_id}" for doc_id in row["doc_ids"]], LISTS_ALL)
    return lines
