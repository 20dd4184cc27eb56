"""Withdrawing: the desired state first, then the purge, then the receipt; each may be cut short anywhere.

A row without a receipt is a withdrawal that is not complete: the next `tamis withdraw` or `tamis materialize`
completes it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from tamis.corpus.refusing import Refusal, stored_near_repeats
from tamis.readers.text import loose_id, normalised_id
from tamis.records.current_values import read_current_values
from tamis.records.listed_rows import listing
from tamis.records.manifest import ManifestFolder
from tamis.records.published import chosen_now
from tamis.records.receipts import restore_lost, write_receipt
from tamis.store.erasing import require_tried_version
from tamis.store.home import Home, writing
from tamis.store.retained import aside_lines, retained_ids
from tamis.store.tables import Store
from tamis.store.withdrawn import (
    EXCERPT,
    Withdrawal,
    unfinished,
    withdrawn_ids,
    write_withdrawals,
)
from tamis.withdrawal.asking import Asked, WithdrawalReason, near_repeats
from tamis.withdrawal.places import files_holding
from tamis.withdrawal.purging import (
    Purged,
    copies_in_columns,
    count_rows,
    has_old_versions,
    known_of,
    places_of,
    purge,
    rows_in_versions,
    unwritten,
    withhold_excerpts,
)
from tamis.withdrawal.quotations import MOST_TEXTS, Quotation, excerpts_with_ids, quotations
from tamis.withdrawal.tainting import Tainted, find_tainted

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a withdrawal would touch."""

    doc_ids: list[str]
    already: list[str]
    unknown: list[str]
    departed: list[str]
    loose_repeats: dict[str, str]
    rows: dict[str, int]
    excerpts: int
    places: pl.DataFrame
    selections: dict[str, int]
    tainted: list[Tainted]
    near_repeats: pl.DataFrame


@dataclass(kw_only=True)
class Withdrawn:
    """What a withdrawal did; `receipts` are manifests.

    `unknown`: ids that nothing in the store had; `departed`: those that earlier versions of tables alone had;
    `loose_repeats`: stored documents that differ in case or white space alone from a text that is not stored;
    `near_repeats`: documents that stay (doc_id, repeats); `quotations`: rows that stay and hold one of the
    texts as a part; `unsearched`: number of texts, where they were too many to look for that; `aside`: files
    without text that are not reached;
    `restored`: what was done first, for a person, since the table of withdrawals was lost.
    """

    new: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    departed: list[str] = field(default_factory=list)
    loose_repeats: dict[str, str] = field(default_factory=dict)
    near_repeats: pl.DataFrame = field(default_factory=pl.DataFrame)
    excerpts: int = 0
    receipts: list[str] = field(default_factory=list)
    purged: Purged = field(default_factory=Purged)
    tainted: list[Tainted] = field(default_factory=list)
    quotations: list[Quotation] = field(default_factory=list)
    unsearched: int = 0
    aside: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    still_kept: str = ""
    """Why it cannot be said that nothing of it is left, "" where it can."""

    @property
    def changed(self) -> bool:
        """Whether anything was withdrawn or removed."""
        return bool(self.new or self.receipts or self.purged.anything)

    @property
    def found_nothing(self) -> bool:
        """Whether nothing of what was named is stored, or was withdrawn before."""
        return not (self.changed or self.already)


def preview(home: Home, asked: Asked) -> Preview:
    """Look at what a withdrawal would touch; writes nothing."""
    store, doc_ids = home.store, asked.doc_ids
    folder, gone = ManifestFolder.of(home), set(withdrawn_ids(home.store))
    chosen = chosen_now(store, folder).filter(pl.col("doc_id").is_in(doc_ids))
    places = places_of(store, doc_ids)
    unknown = _unknown(store, asked, gone, places)
    return Preview(
        doc_ids=doc_ids,
        already=[one for one in doc_ids if one in gone],
        unknown=unknown,
        loose_repeats=_loose_repeats(store, asked, unknown),
        departed=sorted(asked.departed - gone),
        rows=count_rows(store, doc_ids),
        excerpts=len(known_of(store, doc_ids, asked.texts, asked.shards).excerpts),
        places=pl.concat(
            [
                frame.select(pl.lit(asset).alias("asset"), "partition", "shard", pl.col("row").cast(pl.Int64))
                for asset, frame in places.items()
            ]
        ).sort("shard", "row"),
        selections=dict(chosen.group_by("selection").len().sort("selection").iter_rows()),
        tainted=find_tainted(home, read_current_values(store), listing(folder, doc_ids)),
        near_repeats=near_repeats(store, doc_ids),
    )


def _unknown(store: Store, asked: Asked, gone: set[str], places: Mapping[str, pl.DataFrame]) -> list[str]:
    known = gone.union(*(frame["doc_id"] for frame in places.values()), retained_ids(store), asked.departed)
    return [one for one in asked.doc_ids if one not in known]


def _loose_repeats(store: Store, asked: Asked, unknown: Collection[str]) -> dict[str, str]:
    """Return the stored documents that are given texts but for case and white space, with the given ones."""
    given = {loose_id(text): doc_id for text in asked.texts if (doc_id := normalised_id(text)) in unknown}
    return stored_near_repeats(store, Refusal(doc_ids=pl.Series(asked.doc_ids), loose_ids=given))


def withdraw(home: Home, asked: Asked, reason: WithdrawalReason) -> Withdrawn:
    """Withdraw what is asked for, at once and from everywhere in the home.

    What was withdrawn before and is there again, say from a backup, is purged again. Raises
    `UntriedVersionError` before it begins.
    """
    require_tried_version()
    store, done = home.store, Withdrawn()
    with writing(home, "tamis withdraw", PATIENCE_SECONDS):
        done.restored = restore_lost(home)
        gone, now = set(withdrawn_ids(store)), datetime.now(UTC).replace(tzinfo=None)
        done.new = [one for one in asked.doc_ids if one not in gone]
        done.already = [one for one in asked.doc_ids if one in gone]
        done.unknown = _unknown(store, asked, gone, places_of(store, done.new))
        done.departed = sorted(asked.departed - gone)
        done.loose_repeats = _loose_repeats(store, asked, done.unknown)
        done.near_repeats = near_repeats(store, asked.doc_ids)
        known = known_of(store, asked.doc_ids, asked.texts, asked.shards)
        excerpts, loose = known.excerpts, known.loose
        rows = [
            replace(_row(one, now, reason, asked.scopes[one]), loose_id=loose.get(one)) for one in done.new
        ]
        rows += [_row(one, now, reason, EXCERPT) for one in sorted(set(excerpts["doc_id"]) - gone)]
        write_withdrawals(store, rows)
        done.excerpts = len(excerpts)
        if len(excerpts):
            withhold_excerpts(store, read_current_values(store), excerpts)
        if (done.already and _back(home, done.already, gone)) or (
            asked.of_places and not rows and has_old_versions(store)
        ):
            listed = listing(ManifestFolder.of(home), done.already)
            done.purged = purge(home, read_current_values(store), done.already, listed)
        for completed in finish(home, begun=now):
            done.receipts += completed.receipts
            done.tainted += completed.tainted
            done.purged += completed.purged
        done.quotations = [*quotations(store, known.texts)]
        done.unsearched = len(asked.doc_ids) if len(asked.doc_ids) > MOST_TEXTS else 0
        done.aside = aside_lines(store)
        done.still_kept = home.files.still_kept() if done.purged.anything else ""
    return done


def _back(home: Home, doc_ids: Sequence[str], gone: Collection[str]) -> bool:
    """Whether a table or a file holds something of these again, or a version of anything `gone` still."""
    held = (rows for _table, _version, rows in rows_in_versions(home.store, gone))
    return (
        any(held)
        or any(copies_in_columns(home.store, doc_ids))
        or any(files_holding(home, doc_ids))
        or any(unwritten(home.store))
    )


def _row(doc_id: str, now: datetime, reason: WithdrawalReason, scope: str) -> Withdrawal:
    return Withdrawal(doc_id=doc_id, withdrawn_at=now, reason=str(reason), scope=scope)


def finish(home: Home, begun: datetime | None = None) -> list[Withdrawn]:
    """Complete the withdrawals that have no receipt yet; the caller holds the writer's lock.

    Those that began at another moment than `begun` were cut short: what they had removed by then is in no
    count any more, and their receipts say so.
    """
    groups = unfinished(home.store).group_by("withdrawn_at", "reason", maintain_order=True)
    return [_complete(home, rows, key[0] != begun) for key, rows in groups]


def _complete(home: Home, rows: pl.DataFrame, cut_short: bool) -> Withdrawn:
    """Purge the documents of one withdrawal and write its receipt."""
    store, folder, current = home.store, ManifestFolder.of(home), read_current_values(home.store)
    excerpt = pl.col("scope") == EXCERPT
    doc_ids, shown = rows.filter(~excerpt)["doc_id"].to_list(), rows.filter(excerpt)["doc_id"].to_list()
    # Left by a withdrawal that was cut short. Also by ids of documents: restored rows have lost their scope.
    left = excerpts_with_ids(store, [*doc_ids, *shown])
    if len(left):
        withhold_excerpts(store, current, left)
    listed = listing(folder, doc_ids)
    tainted = find_tainted(home, current, listed)
    stood = sum(map(len, places_of(store, doc_ids).values()))
    purged = purge(home, current, doc_ids, listed)
    receipt = write_receipt(home, [*doc_ids, *shown], _said(rows, stood, listed, tainted, purged, cut_short))
    write_withdrawals(store, [Withdrawal(**row | {"receipt": receipt}) for row in rows.iter_rows(named=True)])
    return Withdrawn(new=doc_ids, excerpts=len(shown), receipts=[receipt], purged=purged, tainted=tainted)


def _said(
    rows: pl.DataFrame,
    stood: int,
    listed: dict[str, int],
    tainted: Sequence[Tainted],
    purged: Purged,
    cut_short: bool,
) -> dict[str, Any]:
    """What a receipt says, as JSON values without any text."""
    return {
        "command": "tamis withdraw",
        "withdrawn_at": rows["withdrawn_at"][0].isoformat(timespec="microseconds"),
        "reason": rows["reason"][0],
        "scopes": dict(rows.group_by("scope").len().sort("scope").iter_rows()),
        "places": stood,
        "rows_removed": purged.rows,
        "one_version_left": purged.bare,
        "files": [asdict(one) for one in purged.files],
        "checkpoints": [one.to_json() for one in tainted],
        "listed_in": listed,
        **({"counts": "of the run that completed it, after one that was cut short"} if cut_short else {}),
    }
