"""Changing one thing of a home behind the platform's back, drawn by seed uniformly over kinds and tables."""

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from projects import SmallProject, key_of, manifests_of

from tamis.store.digests import has_seals
from tamis.store.schemas import UNHASHED_COLUMNS

KINDS = ("row", "manifest", "tag", "checkpoint", "raw shard", "log")
LOG = {
    "event_logs": ("asset_key", "partition", "run_id", "timestamp", "event"),
    "asset_event_tags": ("asset_key", "key", "value", "event_timestamp"),
    "asset_keys": ("asset_key", "last_materialization", "last_materialization_timestamp"),
}
"""Columns that the UI and the sensors query."""


@dataclass(frozen=True)
class Tampering:
    """What was changed, and the nodes any of which names it."""

    what: str
    expected: frozenset[str]


def tamper(root: Path, draw: random.Random, kind: str) -> Tampering:
    """Change one thing of that kind in the project."""
    by_kind: dict[str, Callable[[Path, random.Random], Tampering]] = {
        "row": change_row,
        "manifest": change_manifest,
        "tag": change_tag,
        "checkpoint": change_checkpoint,
        "raw shard": change_raw_shard,
        "log": change_log,
    }
    return by_kind[kind](root, draw)


def change_row(root: Path, draw: random.Random) -> Tampering:
    """Another value in one cell of one row of a table: the table drawn first, then row and column."""
    home = SmallProject(root).home
    tables = [table for table in home.store.names() if home.store.count(table)]
    table = draw.choice(tables)
    opened = home.store.open(table)
    rows = opened.to_arrow()
    place = draw.randrange(rows.num_rows)
    sealed = has_seals(table)
    hidden = () if sealed else UNHASHED_COLUMNS
    column = draw.choice([name for name in rows.schema.names if name not in hidden])
    row = rows.slice(place, 1)
    forged = another(row[column][0].as_py(), rows.schema.field(column).type, draw)
    changed = row.set_column(
        row.schema.get_field_index(column),
        row.schema.field(column),
        pa.array([forged], row.schema.field(column).type),
    )
    condition = " AND ".join(where(row, name) for name in key_of(table) or comparable(row))
    opened.delete(condition)
    opened.add(changed)
    what = f"{table}.{column} of row {place}: {row[column][0].as_py()!r:.60} became {forged!r:.60}"
    return Tampering(what, frozenset({f"table[{table}]"} if sealed else {}) | writers(root, table))


def writers(root: Path, table: str) -> frozenset[str]:
    """Names of the values whose manifests speak of a table."""
    folder = SmallProject(root).manifests
    return frozenset(
        f"{asset}[{partition}]" if partition else asset
        for (asset, partition), value in read_heads_anyway(root).items()
        if table in folder.read(value).rows
    )


def read_heads_anyway(root: Path) -> dict[tuple[str, str], str]:
    """Manifest by (asset, partition), of a copy of the index made before anything was changed."""
    return {tuple(entry): manifest for entry, manifest in json.loads((root / "heads.json").read_text())}


def note_heads(root: Path) -> None:
    """Keep the index for `read_heads_anyway`."""
    current = SmallProject(root).current
    (root / "heads.json").write_text(
        json.dumps([[entry, value.manifest] for entry, value in current.items()])
    )


def another(value: Any, kind: pa.DataType, draw: random.Random) -> Any:
    """A value of the type that is not this one, as small a change as the type has."""
    if pa.types.is_boolean(kind):
        return not value
    if pa.types.is_integer(kind):
        return (value or 0) + 1
    if pa.types.is_floating(kind):
        return 0.25 if value is None or value != value else value * 1.001 + 0.001
    if pa.types.is_timestamp(kind):
        from datetime import timedelta

        return value + timedelta(seconds=1)
    if pa.types.is_fixed_size_list(kind):
        place = draw.randrange(len(value))
        changed = another(value[place], kind.value_type, draw)
        return [*value[:place], changed, *value[place + 1 :]]
    if pa.types.is_list(kind):
        return [another(None, kind.value_type, draw)] if not value else value[:-1]
    assert pa.types.is_string(kind), kind
    return "x" if not value else value[:-1] + ("0" if value[-1] != "0" else "1")


def comparable(row: pa.Table) -> list[str]:
    plain = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean)
    return [field.name for field in row.schema if any(of(field.type) for of in plain)]


def where(row: pa.Table, column: str) -> str:
    value = row[column][0].as_py()
    if value is None:
        return f"{column} IS NULL"
    quote = value.replace("'", "''") if isinstance(value, str) else None
    return f"{column} = '{quote}'" if quote is not None else f"{column} = {value}".replace("True", "true")


def change_manifest(root: Path, draw: random.Random) -> Tampering:
    """Another value for one field of one manifest, facts about the run included."""
    folder = SmallProject(root).manifests
    manifest = draw.choice(folder.ids())
    path = folder.path(manifest)
    values = json.loads(path.read_text())
    field = draw.choice(sorted(values))
    inner = values[field]
    name = f"{values['asset']}[{values['partition']}]" if values["partition"] else values["asset"]
    if isinstance(inner, dict) and inner:
        key = draw.choice(sorted(inner))
        inner[key] = f"{inner[key]}!"
    elif isinstance(inner, list) and inner:
        draw.choice(inner)["data_version"] += "0"
    else:
        values[field] = not inner if isinstance(inner, bool) else [] if inner == {} else f"{inner}!"
    path.write_text(json.dumps(values))
    return Tampering(
        f"field {field} of the manifest of {name}", frozenset({name, f"manifest[{manifest[:16]}]"})
    )


def change_tag(root: Path, draw: random.Random) -> Tampering:
    """Another value for one tag of one event of the log that the interface reads."""
    with sqlite3.connect(next((root / ".tamis" / "dagster").rglob("index.db"))) as connection:
        query = "select id, event from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION'"
        events = connection.execute(query).fetchall()
        number, text = draw.choice(sorted(events))
        event = json.loads(text)
        made = event["dagster_event"]["event_specific_data"]["materialization"]
        tag = draw.choice(sorted(made["tags"]))
        made["tags"][tag] = made["tags"][tag][:-1] + ("0" if made["tags"][tag][-1:] != "0" else "1")
        connection.execute("update event_logs set event = ? where id = ?", (json.dumps(event), number))
    connection.close()
    asset, partition = made["asset_key"]["path"][-1], made["partition"]
    name = f"{asset}[{partition}]" if partition else asset
    return Tampering(f"tag {tag} of an event of {name}", frozenset({name}))


def change_log(root: Path, draw: random.Random) -> Tampering:
    """Another digit or letter in a column of a table of the event log that the UI and the sensors query."""
    table = draw.choice(sorted(LOG))
    column = draw.choice(LOG[table])
    made = "dagster_event_type = 'ASSET_MATERIALIZATION'" if table == "event_logs" else "1"
    with sqlite3.connect(next((root / ".tamis" / "dagster").rglob("index.db"))) as connection:
        query = f"select id, asset_key, {column} from {table} where {made} and {column} > ''"
        number, key, value = draw.choice(sorted(connection.execute(query).fetchall()))
        places = [place for place, character in enumerate(value) if character.isalnum()]
        place = draw.choice(places)
        forged = value[:place] + ("1" if value[place] != "1" else "2") + value[place + 1 :]
        connection.execute(f"update {table} set {column} = ? where id = ?", (forged, number))
    connection.close()
    asset = json.loads(key)[-1]
    names = {f"{asset}[{key}]" if key else asset for own, key in read_heads_anyway(root) if own == asset}
    if column == "asset_key":  # the events of the audit itself are no node: one is named as it was forged
        names.add(json.loads(forged)[-1])
    return Tampering(f"character {place} of {table}.{column} of an event of {asset}", frozenset(names))


def change_checkpoint(root: Path, draw: random.Random) -> Tampering:
    """Another byte in a file of weights, or of what was fitted."""
    home = SmallProject(root).home
    folder = manifests_of(home)
    stated = {
        name: f"{asset}[{partition}]" if partition else asset
        for (asset, partition), manifest in read_heads_anyway(root).items()
        for name in folder.read(manifest).files
        if name.startswith(("checkpoints/", "fitted/"))
    }
    name = draw.choice(sorted(stated))
    change_byte(home.root / name, draw)
    return Tampering(f"a byte of {name}", frozenset({stated[name]}))


def change_raw_shard(root: Path, draw: random.Random) -> Tampering:
    """Another byte in a raw file, which then looks as old as before."""
    shard = draw.choice(sorted(SmallProject(root).snapshot.shards.items()))[1]
    before = shard.path.stat()
    change_byte(shard.path, draw)
    os.utime(shard.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return Tampering(f"a byte of {shard.path.name}", frozenset({f"raw_shards[{shard.key}]"}))


def change_byte(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(7)
    path.write_bytes(content)


def copy_of(root: Path, place: Path) -> Path:
    """A copy of the project to change; files keep their times."""
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(root, place, symlinks=True))
