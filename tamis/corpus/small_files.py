"""Small files as they were read last: the group of each, and what of a group need not be read again.

Tables name each file by its own key, so a file that changes its group, or leaves it, keeps its rows. A group
that is made again reads the files that changed. The rows of the others are taken over where they are, byte
for byte, those that the manifest of their last group states: what was altered since is read again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.corpus.shards import Shard, is_group_key
from tamis.settings.config import CorpusSection
from tamis.store.digests import RECORD_BYTES, row_records
from tamis.store.schemas import declaration
from tamis.store.tables import Store, one_of, quoted
from tamis.store.withdrawn import read_places

TABLE = "grouped_files"
AT_ONCE = 500
OF_PLACES = ("occurrences", "kept_rows", "quarantine")
"""Tables with rows of a file, by its key."""
Stated = Callable[[str], Mapping[str, bytes]]
"""The rows files, by table, that the manifest of a group states; none where there is no such manifest."""


def read_small_files(store: Store, groups: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the files of these groups, or of all, as they were read last; columns as in the table."""
    if groups is not None and not groups:
        return pl.DataFrame(pl.from_arrow(store.schema(TABLE).empty_table()))
    return store.read(TABLE, where=None if groups is None else one_of("part_of", groups)).sort("shard")


def files_of(store: Store, shards: Sequence[str]) -> pl.DataFrame:
    """Return the files of shards: columns partition (the shard) and shard (key of the file), sorted."""
    groups = [key for key in shards if is_group_key(key)]
    alone = pl.Series([key for key in shards if not is_group_key(key)], dtype=pl.String)
    found = pl.DataFrame({"partition": alone, "shard": alone})
    if groups:
        members = store.read(TABLE, ["part_of", "shard"]).rename({"part_of": "partition"})
        found = pl.concat([found, members.filter(pl.col("partition").is_in(groups))])
    return found.sort("partition", "shard")


def rows_of_files(store: Store, table: str, columns: Sequence[str], files: Sequence[str]) -> pl.DataFrame:
    """Return the rows of files in a table; of many files by one reading of it."""
    if len(files) <= AT_ONCE:
        return store.read(table, columns, one_of("shard", list(files)))
    wanted = pl.Series(list(files), dtype=pl.String)
    return store.read(table, columns).filter(pl.col("shard").is_in(wanted.implode()))


def group_of_files(store: Store) -> pl.DataFrame:
    """Return the group of each file that is in one: columns shard and partition."""
    return store.read(TABLE, ["shard", "part_of"]).rename({"part_of": "partition"})


def paths_of_files(store: Store, corpora: Sequence[CorpusSection], scope: str) -> pl.DataFrame:
    """Return files of groups with their paths as a person writes them: columns shard, part_of, name, path.

    `scope`: a filter on the files. A path begins at the project's folder; that of a file whose corpus left
    tamis.toml begins at the folder of the corpus.
    """
    folders = {section.name: section.path for section in corpora}
    files = store.read(TABLE, ["shard", "part_of", "corpus", "name"], scope).sort("shard")
    paths = [_below(folders.get(corpus), name) for corpus, name in files.select("corpus", "name").iter_rows()]
    return files.select("shard", "part_of", "name", pl.Series("path", paths, pl.String))


def _below(folder: str | None, name: str) -> str:
    """Return the path of a file below the folder or address of a corpus."""
    return name if folder in (None, ".", "./") else f"{str(folder).rstrip('/')}/{name}"


def forget_small_files(store: Store, files: Sequence[str]) -> None:
    """Forget files that no group has any more."""
    if not files or not store.exists(TABLE):
        return
    for start in range(0, len(files), AT_ONCE):
        store.delete(TABLE, one_of("shard", list(files[start : start + AT_ONCE])))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Stored rows of files that are not read again: their records by table, documents, and what they hold."""

    files: tuple[str, ...] = ()
    records: Mapping[str, np.ndarray] = field(default_factory=dict)
    doc_ids: tuple[str, ...] = ()
    occurrences: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class GroupIntake:
    """Plan for a group: the files to read, what is kept of the others, and the notes to write of them.

    `former`: files that are not in the group any more, since they are shards of their own.
    """

    group: Shard
    read: tuple[Shard, ...]
    kept: Kept
    versions: Mapping[str, str]
    reading: str
    adopted: pl.DataFrame
    former: tuple[str, ...]

    def notes(self, rows: Mapping[str, int]) -> pl.DataFrame:
        """Return the notes on the files, once their rows are stored; `rows` of each file that was read."""
        new = [
            {
                "shard": file.key,
                "part_of": self.group.key,
                "corpus": file.corpus,
                "name": file.name,
                "version": self.versions[file.key],
                "reading": self.reading,
                "rows": rows.get(file.key, 0),
            }
            for file in self.read
        ]
        return pl.concat([pl.DataFrame(new, schema=self.adopted.schema), self.adopted])


def group_intake(
    store: Store,
    group: Shard,
    versions: Mapping[str, str],
    there: Callable[[str], bool],
    reading: str,
    stated: Stated,
) -> GroupIntake:
    """Return what of a group is to be read, and what is kept.

    `versions`: of the bytes of each file; `there`: whether a file can be read now, else its rows stay as they
    are; `reading`: digest of the code version and settings.
    """
    keys = pl.Series([file.key for file in group.members], dtype=pl.String)
    own = pl.concat(
        store.read(TABLE, where=one_of("shard", keys[start : start + AT_ONCE].to_list()))
        for start in range(0, len(keys), AT_ONCE)
    )
    now = pl.DataFrame({"shard": keys, "now": [versions[file.key] for file in group.members]})
    same = own.join(now, on="shard").filter(pl.col("version") == pl.col("now"), reading=reading)
    gone = [key for key in own["shard"] if not there(key)]
    rows = {table: _stored(store, table, [*same["shard"], *gone]) for table in OF_PLACES}
    refused = _refused(store, keys)
    altered = _altered(rows, same, refused, stated)
    kept = pl.Series(sorted({*same["shard"]} - altered | {*gone}), dtype=pl.String)
    before = store.read(TABLE, ["shard"], f"part_of = {quoted(group.key)}")["shard"]
    return GroupIntake(
        group=group,
        read=tuple(file for file in group.members if file.key not in set(kept)),
        kept=_kept(rows, kept, refused),
        versions=versions,
        reading=reading,
        adopted=own.filter((pl.col("part_of") != group.key) & pl.col("shard").is_in(kept.implode()))
        .with_columns(part_of=pl.lit(group.key))
        .select(own.columns),
        former=tuple(before.filter(~before.is_in(keys.implode()))),
    )


def _stored(store: Store, table: str, files: Sequence[str]) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the stored rows of files in a table, without texts, and their records in the same order."""
    key = declaration(table).key
    columns = [
        name for name in ("shard", "row", "doc_id", "reason") if name in declaration(table).column_names
    ]
    frames, records = [pl.DataFrame(schema={"shard": pl.String})], [np.empty(0, dtype=f"V{RECORD_BYTES}")]
    for start in range(0, len(files), AT_ONCE):
        for batch in store.batches(table, where=one_of("shard", list(files[start : start + AT_ONCE]))):
            block = pa.Table.from_batches([batch])
            frames.append(pl.DataFrame(pl.from_arrow(block.select(columns))))
            records.append(row_records(block, key))
    return pl.concat(frames, how="diagonal"), np.concatenate(records)


def _refused(store: Store, keys: pl.Series) -> pl.DataFrame:
    """Return the places (shard, row, doc_id) in these files of what is withdrawn."""
    places = read_places(store).filter(pl.col("asset") == "documents").select("shard", "row", "doc_id")
    return places.filter(pl.col("shard").is_in(keys.implode())).unique()


def _altered(
    rows: Mapping[str, tuple[pl.DataFrame, np.ndarray]],
    same: pl.DataFrame,
    refused: pl.DataFrame,
    stated: Stated,
) -> set[str]:
    """Return the files whose stored rows are not those that the manifests of their groups state.

    Rows may be missing where a withdrawal has deleted them.
    """
    lists = [stated(part) for part in same["part_of"].unique().sort()]
    altered: set[str] = set()
    for table, (frame, records) in rows.items():
        known = {
            found[table][start : start + RECORD_BYTES]
            for found in lists
            if table in found
            for start in range(0, len(found[table]), RECORD_BYTES)
        }
        wrong = [record not in known for record in records.tolist()]
        altered |= {*frame["shard"].filter(pl.Series(wrong, dtype=pl.Boolean))}
    counted = [frame.select("shard") for table, (frame, _records) in rows.items() if table != "kept_rows"]
    held = pl.concat([*counted, refused.unique(["shard", "row"]).select("shard")]).group_by("shard").len()
    few = same.join(held, on="shard", how="left").filter(pl.col("len").fill_null(0) < pl.col("rows"))
    return altered | {*few["shard"]}


def _kept(
    rows: Mapping[str, tuple[pl.DataFrame, np.ndarray]], files: pl.Series, refused: pl.DataFrame
) -> Kept:
    masks = {table: frame["shard"].is_in(files.implode()) for table, (frame, _records) in rows.items()}
    places, bad = (rows[table][0].filter(masks[table]) for table in ("occurrences", "quarantine"))
    return Kept(
        files=tuple(files),
        records={table: records[masks[table].to_numpy()] for table, (_frame, records) in rows.items()},
        doc_ids=tuple(places["doc_id"].unique().sort()) if len(places) else (),
        occurrences=len(places),
        quarantined=dict(bad.group_by("reason").len().sort("reason").iter_rows()) if len(bad) else {},
        refused=frozenset(refused.filter(pl.col("shard").is_in(files.implode()))["doc_id"]),
    )
