"""Repair: values whose manifest, table or file is missing or unreadable are forgotten, and so made again.

Only existence is checked, 30 tables and 10,000 manifests in about a second; altered content is found by the
audit (tamis/audit/whole.py).
"""

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import compress
from pathlib import Path

from tamis.base.numbers import counted
from tamis.corpus.shards import is_group_key
from tamis.corpus.small_files import TABLE as GROUPED_FILES
from tamis.corpus.stage import DOCUMENTS_STAGE
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.records.current_values import TABLE, CurrentValue, CurrentValues, forget_current_values
from tamis.records.manifest import ManifestError, ManifestFolder, NamedLists
from tamis.store.digests import NO_ROWS
from tamis.store.erasing import temporary_files
from tamis.store.home import Home
from tamis.store.places import Place, remove_named
from tamis.store.retained import salvage, sweep_unmade
from tamis.store.schemas import declared
from tamis.store.tables import DamagedTableError, Store
from tamis.training.stage import TRIALS

AT_ONCE = 8
OF_NOTHING = hashlib.sha256().hexdigest()
LOOKED_AT = 20
_READ: dict[tuple[Place, str], int] = {}
"""The stamp of each table's files when this process last read it."""
DRAFTS, UNLOCKED_SECONDS = ".*.tmp", 3_600.0
"""Names of drafts (tamis/base/files.py), and the age up to which a file may be one of work that goes on."""
Damage = dict[tuple[str, str], str]


def lost_index(home: Home) -> str:
    """Return what is lost where the index of current values is gone from a home with results, else ""."""
    results = (home.manifests.glob("??/*.json"), home.reports.glob("*.html"), home.checkpoints.glob("*/*"))
    if home.store.exists(TABLE) or not any(any(paths) for paths in results):
        return ""
    return (
        f"the index of current values (lance/{TABLE}.lance) is gone from {home.place}, which holds results: "
        "restore the folder lance from a backup, or run `tamis materialize`, which makes everything again, "
        "trainings included"
    )


def lost_runs(project: Project) -> list[str]:
    """Return a warning where MLflow's database in the home is gone, and with it runs of finished trials."""
    database = project.home.mlflow / "mlflow.db"
    if not project.tracking_uri.startswith("sqlite:") or database.exists():
        return []
    trials = project.home.store.count(TRIALS.name, "mlflow_run IS NOT NULL")
    if not trials:
        return []
    return [
        f"{project.home.relative(database)} is gone from the home, and with it the MLflow runs of "
        f"{counted(trials, 'finished trial')}; restore the file from a backup to see them there. Results "
        "and checkpoints are kept without it"
    ]


def find_damage(
    home: Home, current: CurrentValues, held: Collection[str] = (), *, thorough: bool = False
) -> Damage:
    """Return the reason for each value, by (asset, partition), that can no longer be read.

    `held`: tables whose loss is held back, so that what they held is not made again. `thorough`: read every
    manifest, as after an audit that found something.
    """
    folder, broken = ManifestFolder.of(home), set(unreadable_tables(home.store))
    known, tables = set(folder.ids()), set(home.store.names())
    lists = {path.stem for path in folder.lists() if path.stat().st_size}
    named_lists = NamedLists(home, folder, trusted=not thorough)
    found: Damage = {}
    whole: set[str] = set()
    for entry, value in current.items():
        if value.manifest not in known and not folder.has(value.manifest):
            found[entry] = "the manifest is missing"
            continue
        stage = stages().get(value.asset)
        # Shards are many, and those of one asset share their tables: while all of these exist, one manifest
        # is read for all shards, and of the others only the rows files are checked. Once a table is lost,
        # the manifest of each shard has to be read: it says whether the shard had rows there.
        if stage is not None and stage.partitions == "shards" and value.asset in whole:
            if lost := _missing_rows_file(home, folder, named_lists, value.manifest, lists):
                found[entry] = lost
            continue
        reason, named, filled = _named(home, folder, value)
        damaged, missing = sorted(named & broken), sorted(filled - tables - {*held})
        if reason or damaged or missing:
            found[entry] = reason or (
                f"table {damaged[0]} is damaged" if damaged else f"table {missing[0]} is missing"
            )
        elif not named - tables:
            whole.add(value.asset)
    named_lists.save()
    return found | _without_notes(home, current, found)


def _without_notes(home: Home, current: CurrentValues, found: Damage) -> Damage:
    """Return the groups of small files where the notes on their files are gone."""
    if home.store.exists(GROUPED_FILES):
        return {}
    return {
        (asset, key): f"table {GROUPED_FILES} is missing"
        for asset, key in current
        if asset == DOCUMENTS_STAGE.name and is_group_key(key) and (asset, key) not in found
    }


def _named(home: Home, folder: ManifestFolder, value: CurrentValue) -> tuple[str, set[str], set[str]]:
    """Return the problem of a value's files ("" for none), its tables, and those of them with rows of it."""
    try:
        manifest = folder.read(value.manifest)
    except ManifestError as error:
        return str(error), set(), set()
    # An unfinished value is made again anyway, and a withdrawal may have deleted its files already.
    files = manifest.files if value.finished else {}
    missing = [name for name, digest in files.items() if _is_lost(home, name, digest)]
    missing += [
        home.relative(path)
        for digest in manifest.rows.values()
        if digest != NO_ROWS and not _has_content(path := folder.rows_path(digest))
    ]
    tables = {table for table, digest in manifest.rows.items() if digest != NO_ROWS}
    return (f"file {missing[0]} is missing" if missing else ""), set(manifest.rows), tables


def _is_lost(home: Home, name: str, digest: str) -> bool:
    """Return whether a file of the home is gone, or empty though it was not: a disk lost its content."""
    return not home.files.holds(name) or (
        not home.url and digest != OF_NOTHING and not _has_content(home.root / name)
    )


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _missing_rows_file(
    home: Home, folder: ManifestFolder, named: NamedLists, manifest: str, present: Collection[str]
) -> str:
    """Return the problem of the rows files that a manifest names; "" for none."""
    try:
        absent = [digest for digest in named.of(manifest) if digest not in present and digest != NO_ROWS]
    except ManifestError as error:
        return str(error)
    lost = next((path for path in map(folder.rows_path, absent) if not _has_content(path)), None)
    return f"file {home.relative(lost)} is missing" if lost else ""


def lost_tables(home: Home, current: CurrentValues) -> list[str]:
    """Return the tables that are gone though values state rows in them.

    Of each asset at most `LOOKED_AT` manifests are read, the first by partition.
    """
    folder, there = ManifestFolder.of(home), set(home.store.names())
    looked, lost = Counter[str](), set[str]()
    for (asset, _partition), value in sorted(current.items()):
        looked[asset] += 1
        if looked[asset] <= LOOKED_AT:
            with contextlib.suppress(ManifestError):
                rows = folder.read(value.manifest).rows
                lost |= {table for table, digest in rows.items() if digest != NO_ROWS} - there
    return sorted(lost)


def unreadable_tables(store: Store, among: Collection[str] | None = None) -> list[str]:
    """Return the tables, among these names or all, that exist but cannot be read.

    In a folder, a table that this process has read before is read again once one of its files changed.
    """
    tables = [table for table in store.names() if among is None or table in among]
    stamps = {table: hash(store.stamp(table)) for table in tables}
    unread = [table for table in tables if _READ.get((store.folder, table)) != stamps[table]]
    fresh = Store(store.folder)  # `store` takes a damaged file for whole while it remembers it
    with ThreadPoolExecutor(AT_ONCE) as pool:
        damaged = set(compress(unread, pool.map(partial(_is_damaged, fresh), unread)))
    if damaged:
        store.read_afresh()
    elif isinstance(store.folder, Path):
        _READ.update({(store.folder, table): stamps[table] for table in unread})
    return [table for table in tables if table in damaged]


def _is_damaged(store: Store, table: str) -> bool:
    try:
        store.read(table, store.schema(table).names[:1])
    except DamagedTableError:
        return True
    return False


def sweep_unwritten(home: Home) -> list[str]:
    """Remove the drafts that a killed process left: files that have not been given their final name.

    Those of tables, too, which Lance leaves for good. The caller holds the writer's lock. Exports and caches
    are written without it: there, drafts that were written to within the last hour stay. So does data of
    tables without a version. Return a line for a person for each table whose files were moved aside.
    """
    for folder in (home.manifests, home.reports, home.fitted):
        for path in folder.rglob(DRAFTS):
            path.unlink(missing_ok=True)
    remove_named(home.store.folder, temporary_files(home.store, "*"))
    moved = sweep_unmade(home.store, UNLOCKED_SECONDS)
    for path in (path for folder in (home.exports, home.cache) for path in folder.rglob(DRAFTS)):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > UNLOCKED_SECONDS:
                path.unlink()
    return moved


def drop_unreadable(store: Store, broken: Iterable[str]) -> list[str]:
    """Drop tables that cannot be read, so that they are made again; return a line for a person for each.

    Of answers that were paid for nothing is dropped, and what people decided stays as it is.
    """
    lines = []
    for table in broken:
        if (known := declared(table)) and known.decided:
            continue  # a person's decisions cannot be made again; reading the table raises with advice
        if known and known.paid:
            lines.append(salvage(store, table))
        else:
            store.drop(table)
            lines.append(f"table {table} cannot be read and will be rebuilt")
    return lines


def forget_damaged(home: Home, damage: Damage) -> list[str]:
    """Forget damaged values and drop unreadable tables, so that a plan makes them again.

    Return a line for a person for each table, and for each asset and reason.
    """
    lines = drop_unreadable(home.store, unreadable_tables(home.store))
    forget_current_values(home.store, damage)
    reasons = Counter((asset, reason) for (asset, _partition), reason in damage.items())
    return lines + [
        f"{asset}: {reason}; values to be rebuilt: {count:,}" for (asset, reason), count in reasons.items()
    ]
