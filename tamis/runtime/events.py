"""What Dagster's event log says of a home, read by every way that the UI and the sensors read it.

One event is stored several times: in the log that they page through, with columns of its own for asset,
partition and time; its data version in a table of tags; the last one of each asset in the list of assets;
and on SQLite once more in the log of its run. Bulk queries, some 3 s for 10,000 events, on SQLite and
PostgreSQL alike.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db

from tamis.audit.events import TAG_DIGITS, LoggedEvent, displayed_digest, event_tags
from tamis.base.numbers import counted
from tamis.graph.stages import stages
from tamis.records.current_values import CurrentValue, CurrentValues, read_current_values
from tamis.records.losses import ALLOWED, go_on_without, lost_tables, note_records
from tamis.records.manifest import ManifestFolder
from tamis.records.receipts import ASSET, receipt_ids, receipt_problems
from tamis.retention.losses import ALL, RECORDS, TABLE, with_kind
from tamis.runtime.dagster_internals import (
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    deserialize_value,
)
from tamis.runtime.runs import HOME_TAG, Owner, tags_of
from tamis.store.home import Home, home_id

MADE = dg.DagsterEventType.ASSET_MATERIALIZATION.value
PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value
OBSERVED = dg.DagsterEventType.ASSET_OBSERVATION.value
NOTED = (MADE, PLANNED, OBSERVED)
"""What moves the time and the run that the list of assets shows."""
DATA_VERSION = "dagster/data_version"
_STATED = re.compile(r'"tamis/(home|manifest)": "([^"]+)"')
"""Tags in the text of an event: reading the text as JSON takes ten times as long."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One row of the log: its columns, and its body, which is empty where it cannot be read."""

    number: int
    kind: str
    asset_key: str
    partition: str | None
    run_id: str
    step: str | None
    time: str
    text: str
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def materialization(self) -> Mapping[str, Any]:
        return self.body["dagster_event"]["event_specific_data"]["materialization"]

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.materialization["tags"] or {}) if self.body else {}

    @property
    def asset(self) -> str:
        return _name_of(self.asset_key)


class _Log:
    """The tables of the log, each read once; what is written while they are read is left out."""

    def __init__(self, instance: dg.DagsterInstance, home: Home, copies: bool) -> None:
        storage = instance.event_log_storage
        assert isinstance(storage, SqlEventLogStorage), type(storage)
        self.storage, self.copies, self.instance = storage, copies, instance
        self.home, self.owner = home_id(home), Owner.of(instance, home)
        rows, tags, assets = SqlEventLogStorageTable.c, AssetEventTagsTable.c, AssetKeyTable.c
        with storage.index_connection() as connection:
            self._sqlite = connection.dialect.name == "sqlite"
            # In this order: of the list of assets and the tags, what was written by now must be there.
            self.end = connection.execute(db.select(db.func.max(rows.id))).scalar() or 0
            listed = [
                assets.asset_key, assets.last_materialization, assets.last_run_id, assets.asset_details,
                _as_stored(assets.wipe_timestamp), _as_stored(assets.last_materialization_timestamp),
            ]  # fmt: skip
            self.assets = {str(row[0]): row[1:] for row in connection.execute(db.select(*listed))}
            self.indexed: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
            tagged = [tags.event_id, tags.asset_key, tags.key, tags.value, _as_stored(tags.event_timestamp)]
            for number, *values, when in connection.execute(
                db.select(*tagged).where(tags.event_id <= self.end)
            ):
                self.indexed[number].append((*values, _time(when)))
            columns = [
                rows.id, rows.dagster_event_type, rows.asset_key, rows.partition, rows.run_id, rows.step_key,
                _as_stored(rows.timestamp), db.case((rows.dagster_event_type == MADE, rows.event), else_=""),
            ]  # fmt: skip
            query = db.select(*columns).where(rows.dagster_event_type.in_(NOTED)).order_by(rows.id.desc())
            self.rows = [_row(row) for row in connection.execute(query)]
        self._of_runs: dict[str, set[str] | None] = {}
        self._runs: dict[str, dg.DagsterRun | None] = {}

    def events(self) -> dict[int, LoggedEvent]:
        """Return the materializations that the UI shows, by their number in the log, the latest first."""
        noted: dict[str, list[_Row]] = defaultdict(list)
        for row in self.rows:
            noted[row.asset_key].append(row)
        made = {row.number: row for row in self.rows if row.kind == MADE and row.number <= self.end}
        problems = {
            key: self._of_asset(key, [row for row in of_asset if row.number <= self.end], of_asset)
            for key, of_asset in noted.items()
        }
        found: dict[int, LoggedEvent] = {}
        for number, row in made.items():
            wiped = _wiped(self.assets[row.asset_key][2]) if row.asset_key in self.assets else None
            if not self._is_own(row) or (wiped is not None and row.time <= wiped):
                continue  # of what was wiped, Dagster shows nothing either
            differences = [*self._of_event(row)]
            if problem := problems.pop(row.asset_key, []):
                differences += problem  # said at its latest event
            found[number] = _event(row, tuple(differences))
        return found

    def _is_own(self, row: _Row) -> bool:
        """Return whether an event is of this home, and not of another one or of an asset of other code.

        Events of Tamis 0.2 do not name their home.
        """
        if row.asset not in stages():
            return False
        if (home := row.tags.get(HOME_TAG)) is not None:
            return home == self.home
        run = self._run(row.run_id)
        return run is None or "tamis/manifest" in row.tags or self.owner.owns(run)

    def _run(self, run_id: str) -> dg.DagsterRun | None:
        if run_id and run_id not in self._runs:
            self._runs[run_id] = self.instance.get_run_by_id(run_id)
        return self._runs.get(run_id)

    def _of_event(self, row: _Row) -> Iterable[str]:
        """Say how the columns, tags and copies of one event differ from its body."""
        if not row.body:
            yield "its materialization in the event log cannot be read"
            return
        entry, own = row.body, row.materialization
        stated = {
            "asset": (row.asset_key, json.dumps(own["asset_key"]["path"])),
            "partition": (row.partition, own["partition"]),
            "run": (row.run_id, entry["run_id"]),
            "step": (row.step, entry["dagster_event"]["step_key"]),
            "time": (row.time, _of_clock(entry["timestamp"])),
        }
        for name, (column, inside) in stated.items():
            if column != inside:
                yield f"the event log's {name} column says {column}, but the event itself says {inside}"
        tags, run = row.tags, self._run(row.run_id)
        if HOME_TAG not in tags and run is not None and HOME_TAG in run.tags:
            yield f"the materialization in the event log has lost the tag {HOME_TAG}"
        expected = [
            (row.asset_key, key, tags[key], row.time)
            for key in self.storage.get_asset_tags_to_index(set(tags))
        ]
        if sorted(self.indexed.get(row.number, []), key=str) != sorted(expected, key=str):
            said = sorted({f"{key} = {str(value)[:16]}" for _a, key, value, _t in self.indexed[row.number]})
            yield f"the event log's tag index differs ({', '.join(said) or 'nothing'})"
        if self.copies and not self._in_own_run(row):
            yield "the event log's own copies of its materialization differ"
        if self.copies and not _is_readable(row.text):
            yield "Dagster cannot read its materialization"

    def _of_asset(self, asset_key: str, before: Sequence[_Row], all_rows: Sequence[_Row]) -> list[str]:
        """Say how the list of assets differs from the events; `before`: those written before it was read."""
        made = [row for row in before if row.kind == MADE]
        if not made:
            return []
        if asset_key not in self.assets:
            return ["it is missing from the event log's list of assets"]
        last, run_id, _details, wiped, when = self.assets[asset_key]
        found, latest = [], made[0]
        try:
            record = json.loads(last)
            number, entry = record["storage_id"], record["event_log_entry"]
        except (ValueError, TypeError, KeyError):
            number, entry = None, {}
        latest_or_since = [row for row in all_rows if row.kind == MADE and row.number >= latest.number]
        if (number, entry) not in [(row.number, row.body) for row in latest_or_since]:
            found.append("the event log's list of assets shows a different last materialization")
        since = [row for row in all_rows if row.number > self.end]
        started = next(row for row in before if row.kind != OBSERVED)
        shown = _time(when)
        timely = any(self._same(shown, row.time) for row in (before[0], *since))
        # A run that somebody deletes takes its events along and leaves its own name and time here.
        known = timely or any(row.run_id == (run_id or "") for row in self.rows)
        if known and (run_id or "") not in {row.run_id for row in (started, *since)}:
            found.append(f"the event log's list of assets names {run_id} as the last run")
        if known and not timely:
            found.append(f"the event log's list of assets says that it was last materialized at {shown}")
        if wiped is not None and _time(wiped) >= shown:
            found.append("the event log's list of assets marks it as wiped")
        return found

    def _same(self, one: str, other: str) -> bool:
        """Compare two times; PostgreSQL stores those of the list of assets in the session's time zone."""
        if self._sqlite or one == other:
            return one == other
        try:
            apart = datetime.fromisoformat(one) - datetime.fromisoformat(other)
        except ValueError:
            return False
        return apart.total_seconds() % 900 == 0

    def _in_own_run(self, row: _Row) -> bool:
        """Whether the log of its run has the event, a file of its own on SQLite; without a file, yes."""
        if not self.storage.is_run_sharded or not row.run_id:
            return True
        if row.run_id not in self._of_runs:
            self._of_runs[row.run_id] = self._texts_of(row.run_id)
        texts = self._of_runs[row.run_id]
        return not texts or row.text in texts

    def _texts_of(self, run_id: str) -> set[str] | None:
        path = getattr(self.storage, "path_for_shard", None)
        if path is not None and not Path(path(run_id)).is_file():
            return None  # opening it would make it
        rows = SqlEventLogStorageTable.c
        with self.storage.run_connection(run_id) as connection:
            query = db.select(rows.event).where(rows.dagster_event_type == MADE)
            return {str(row[0]) for row in connection.execute(query)}


def logged_events(instance: dg.DagsterInstance, home: Home, copies: bool = True) -> list[LoggedEvent]:
    """Return all materializations of a home, the latest first, each with what the log's tables say otherwise.

    `copies`: compare them with the log of each run, too, and read each one as Dagster does.
    """
    found = _Log(instance, home, copies).events()
    if not any(event.differences for event in found.values()):
        return list(found.values())
    # PostgreSQL writes an event and its index in two transactions: what only one of two readings sees is a
    # run at work.
    again = _Log(instance, home, copies).events()
    before = {number: set(event.differences) for number, event in found.items()}
    return [
        replace(event, differences=tuple(one for one in event.differences if one in before.get(number, ())))
        for number, event in again.items()
    ]


def digest_of_metadata(metadata: Mapping[str, Any]) -> str:
    """Return the digest of metadata as the event log will hold it."""
    event = dg.AssetMaterialization("any", metadata=metadata)
    return displayed_digest(_displayed(json.loads(dg.serialize_value(event))))


def log_again(instance: dg.DagsterInstance, home: Home, current: CurrentValues) -> int:
    """Log the materializations of current values that the event log lacks; return how many.

    People wipe assets and delete runs in Dagster's UI, and move its state away. A log that names the current
    value of an asset among its events, but another one as the latest, is left for the audit to report.
    """
    missing = _missing(instance, home, current)
    folder = ManifestFolder.of(home)
    readable = folder.readable(value.manifest for value in missing)
    for value in missing:
        if value.manifest not in readable:
            continue
        metadata: dict[str, Any] = {
            "manifest": value.manifest,
            "input_key": value.input_key,
            "logged_again": True,
        }
        tags = {DATA_VERSION: value.data_version, "dagster/data_version_is_user_provided": "true"}
        tags |= event_tags(readable[value.manifest], digest_of_metadata(metadata)) | tags_of(home)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                value.asset, partition=value.partition or None, metadata=metadata, tags=tags
            )
        )
    return len(readable)


def let_go(home: Home, instance: dg.DagsterInstance, allowed: Collection[str]) -> list[str]:
    """Go on without what is lost and named by a person; return a line for each loss that was let go.

    The caller holds the writer's lock.
    """
    lines = []
    tables = [one for one in lost_tables(home) if ALL in allowed or with_kind(TABLE, one) in allowed]
    if tables:
        go_on_without(home, tables)
        lines += [f"going on without what table {table} said" for table in tables]
    found = {} if {ALL, RECORDS}.isdisjoint(allowed) else _lost_records(home, instance)
    if count := note_records(home, found, ALLOWED):
        records = counted(count, "record")
        lines.append(f"{records} of earlier results noted as lost; audits no longer look for them")
    return lines


def _wiped(details: str | None) -> str | None:
    """Return when the events of an asset were wiped, which hides the earlier ones."""
    try:
        wiped = json.loads(details).get("last_wipe_timestamp") if details else None
        return _of_clock(wiped) if wiped else None
    except (ValueError, AttributeError, TypeError, OverflowError):
        return None


def _as_stored(column: Any) -> Any:
    """Return a time as the database gives it: of one that was altered, SQLAlchemy would raise."""
    return db.type_coerce(column, db.Text)


def _time(value: Any) -> str:
    return value.isoformat(" ", "microseconds") if isinstance(value, datetime) else str(value)


def _of_clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _name_of(asset_key: str) -> str:
    """Return the name in a key of the log; all of a key with a prefix, which is no asset of Tamis."""
    try:
        (name,) = json.loads(asset_key)
        return str(name)
    except (ValueError, TypeError):
        return asset_key


def _row(columns: Sequence[Any]) -> _Row:
    number, kind, asset, partition, run, step, when, text = columns
    row = _Row(
        number=number, kind=kind, asset_key=str(asset), partition=partition, run_id=run or "", step=step,
        time=_time(when), text=text,
    )  # fmt: skip
    if kind != MADE:
        return row
    try:
        return replace(row, body=_checked(json.loads(text)))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return row


def _checked(body: Any) -> Mapping[str, Any]:
    """Return a body that has everything that is read of it; raises what reading another form raises."""
    own = body["dagster_event"]["event_specific_data"]["materialization"]
    _displayed(own)
    dict(own["tags"] or {}).items()
    (*_, _last), _partition = own["asset_key"]["path"], own["partition"]
    _of_clock(body["timestamp"]), body["run_id"], body["dagster_event"]["step_key"]
    return dict(body)


def _displayed(materialization: Mapping[str, Any]) -> dict[str, Any]:
    """Return the displayed metadata by name, each as Dagster stores it."""
    return {str(entry["label"]): dict(entry["entry_data"]) for entry in materialization["metadata_entries"]}


def _event(row: _Row, differences: tuple[str, ...]) -> LoggedEvent:
    displayed = _displayed(row.materialization) if row.body else {}
    plain = {name: value.get("text", value.get("value")) for name, value in displayed.items()}
    return LoggedEvent(
        asset=row.asset,
        partition=row.partition or "",
        manifest=str(plain.get("manifest", "")),
        tags=row.tags,
        metadata=plain,
        displayed=displayed_digest(displayed),
        run_id=row.run_id,
        again=bool(plain.get("logged_again")),
        differences=differences,
    )


def _is_readable(text: str) -> bool:
    try:
        deserialize_value(text, dg.EventLogEntry)
    except Exception:  # whatever it says of a body that it did not write
        return False
    return True


def _missing(instance: dg.DagsterInstance, home: Home, current: CurrentValues) -> list[CurrentValue]:
    """Return the current values that no event of the home names."""
    finished = {entry: value for entry, value in current.items() if value.finished}
    rows = SqlEventLogStorageTable.c
    latest = db.select(db.func.max(rows.id)).where(rows.dagster_event_type == MADE)
    latest = latest.group_by(rows.asset_key, rows.partition)
    named = set(_named(instance, home, rows.id.in_(latest)))
    others = {entry: value for entry, value in finished.items() if _stated(value) not in named}
    if others:
        keys = sorted({dg.AssetKey(asset).to_string() for asset, _partition in others})
        named |= set(_named(instance, home, rows.asset_key.in_(keys)))
    return [value for value in others.values() if _stated(value) not in named]


def _stated(value: CurrentValue) -> tuple[str, str, str]:
    return value.asset, value.partition, value.manifest[:TAG_DIGITS]


def _named(instance: dg.DagsterInstance, home: Home, which: Any) -> Iterator[tuple[str, str, str]]:
    """Yield asset, partition and manifest of materializations of a home that Dagster shows."""
    storage, own = instance.event_log_storage, home_id(home)
    assert isinstance(storage, SqlEventLogStorage), type(storage)
    rows, assets = SqlEventLogStorageTable.c, AssetKeyTable.c
    with storage.index_connection() as connection:
        details = connection.execute(db.select(assets.asset_key, assets.asset_details))
        wiped = {key: _wiped(stated) or "" for key, stated in details}
        columns = [rows.asset_key, rows.partition, _as_stored(rows.timestamp), rows.event]
        query = db.select(*columns).where(rows.dagster_event_type == MADE, which)
        for key, partition, when, text in connection.execute(query):
            tags = dict(_STATED.findall(text))
            if tags.get("home", own) == own and _time(when) > wiped.get(key, ""):
                yield _name_of(key), partition or "", tags.get("manifest", "")


def _lost_records(home: Home, instance: dg.DagsterInstance) -> dict[str, tuple[str, str]]:
    """Return (asset, partition) of the records that cannot be read any more, by id, but for current ones.

    Those are named by the event log, by other records and by withdrawals.
    """
    folder, named = ManifestFolder.of(home), dict[str, tuple[str, str]]()
    ids = folder.ids()
    readable = folder.readable(ids)
    for event in logged_events(instance, home, copies=False):
        named.setdefault(event.manifest, (event.asset, event.partition))
    for manifest in readable.values():
        for one in manifest.inputs:
            named.setdefault(one.manifest, (one.asset, one.partition))
    named |= dict.fromkeys(receipt_ids(home.store), (ASSET, ""))
    named |= {one: named.get(one, ("manifest", "")) for one in ids}
    current = {value.manifest for value in read_current_values(home.store).values()}
    lost = {one: entry for one, entry in named.items() if one and one not in readable and one not in current}
    altered = [one for one in receipt_ids(home.store) if one in readable and receipt_problems(home, one)]
    return lost | dict.fromkeys(altered, (ASSET, ""))
