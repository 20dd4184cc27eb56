"""Files that were moved: lost under one name, and read, or to be read, with the same documents under another.

The same bytes are not enough: another corpus may read another column of the very same file.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import polars as pl

from tamis.corpus.shards import Shard
from tamis.corpus.small_files import rows_of_files
from tamis.corpus.stage import DOCUMENTS_STAGE, OCCURRENCES, RAW_STAGE
from tamis.graph.plan import config_of, input_key
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.records.current_values import CurrentValue, CurrentValues
from tamis.records.manifest import Manifest, ManifestError, ManifestFolder, canonical_json
from tamis.store.digests import canonical_digest
from tamis.store.home import Home

FILES = "shard_files"
Arriving = Mapping[str, tuple[str, str]]
"""Of listed files that may be counted as read: the version of the bytes, and the digest of how it is read."""


def moved(
    home: Home,
    current: CurrentValues,
    lost: Sequence[str],
    listed: Collection[str],
    small: pl.DataFrame,
) -> set[str]:
    """Return the lost files whose bytes were read from another file that has all of their documents.

    The same bytes under a name that is read in another way, or not at all, are a loss. `small`: the files
    of groups as they were read last.
    """
    folder = ManifestFolder.of(home)
    versions: dict[str, str] = dict(small.select("shard", "version").iter_rows())

    def read_of(key: str) -> str | None:
        made = current.get((DOCUMENTS_STAGE.name, key))
        return versions.get(key) or (_bytes_read(folder, made) if made and made.finished else None)

    bytes_of = _bytes_of_lost(folder, current, lost, versions)
    same_bytes: dict[str, list[str]] = {}
    alone = {key: value.data_version for (asset, key), value in current.items() if asset == RAW_STAGE.name}
    for key, version in {**alone, **versions}.items():
        if key in listed:
            same_bytes.setdefault(version, []).append(key)
    read_as = {
        version: [new for new in same_bytes.get(version, ()) if read_of(new) == version]
        for version in {found for found in bytes_of.values() if found}
    }
    elsewhere = {key: read_as.get(found or "", []) for key, found in bytes_of.items()}
    candidates = {
        *(key for key in elsewhere if elsewhere[key]),
        *(new for one in read_as.values() for new in one),
    }
    rows = rows_of_files(home.store, OCCURRENCES.name, ["shard", "doc_id"], sorted(candidates))
    documents = {key: frozenset(found) for key, found in rows.group_by("shard").agg("doc_id").iter_rows()}
    nothing = frozenset[str]()
    return {
        key
        for key, places in elsewhere.items()
        if any(documents.get(key, nothing) <= documents.get(new, nothing) for new in places)
    }


def arriving(snapshot: ProjectSnapshot) -> Arriving:
    """Return the listed files that may be counted as read: their bytes, and how they will be read."""
    versions = {**snapshot.fingerprints, **snapshot.versions}
    reading_of = _readings(snapshot)
    return {key: (version, reading_of(key)) for key, version in versions.items() if key in snapshot.files}


def read_as_now(
    snapshot: ProjectSnapshot, current: CurrentValues, small: pl.DataFrame, files: Iterable[str]
) -> set[str]:
    """Return those of these files whose stored documents are what reading the files now would yield.

    `small`: the files of groups as they were read last.
    """
    reading_of, stage = _readings(snapshot), stages()[DOCUMENTS_STAGE.name]
    noted = {key: made for key, *made in small.select("shard", "version", "reading").iter_rows()}

    def is_current(key: str) -> bool:
        if key in noted:
            return key in snapshot.group_of and noted[key] == [snapshot.versions.get(key), reading_of(key)]
        raw, made = current.get((RAW_STAGE.name, key)), current.get((stage.name, key))
        if raw is None or made is None or not made.usable or key not in snapshot.shards:
            return False
        return raw.data_version == snapshot.fingerprints.get(key) and made.input_key == input_key(
            stage, key, snapshot, current
        )

    return {key for key in files if is_current(key)}


def _readings(snapshot: ProjectSnapshot) -> Callable[[str], str]:
    """Return a function that says, of a listed file, the digest of how it is read."""
    readings: dict[str, str] = {}

    def reading_of(file: str) -> str:
        shard = snapshot.group_of.get(file, file)
        corpus = snapshot.shards[shard].corpus
        if corpus not in readings:
            stage = stages()[DOCUMENTS_STAGE.name]
            readings[corpus] = _reading(stage.code_version, config_of(stage, shard, snapshot))
        return readings[corpus]

    return reading_of


def to_be_read_elsewhere(
    home: Home,
    current: CurrentValues,
    lost: Collection[str],
    listed: Mapping[str, Shard],
    small: pl.DataFrame,
    arriving: Arriving,
) -> set[str]:
    """Return the lost files whose bytes are in a new file that will be read in the same way.

    That is with the same settings, and under a name with the same suffixes.
    """
    folder, read_last = ManifestFolder.of(home), dict(small.select("shard", "version").iter_rows())
    new = {
        (*found, _ending(listed[key].name))
        for key, found in arriving.items()
        if key in listed and key not in read_last and (DOCUMENTS_STAGE.name, key) not in current
    }
    if not new:
        return set()
    names = dict(home.store.read(FILES, ["shard", "name"]).iter_rows())
    names |= dict(small.select("shard", "name").iter_rows())
    readings = dict(small.select("shard", "reading").iter_rows())
    bytes_of = _bytes_of_lost(folder, current, lost, read_last)

    def reading_of(key: str) -> str | None:
        if noted := readings.get(key):
            return noted
        manifest = _manifest(folder, current.get((DOCUMENTS_STAGE.name, key)))
        return _reading(manifest.code_version, manifest.config) if manifest else None

    arrived = {version for version, _reading, _name in new}
    return {
        key
        for key, found in bytes_of.items()
        if found in arrived and (found, reading_of(key), _ending(names.get(key, key))) in new
    }


def _ending(name: str) -> str:
    """Return the suffixes of a file's name, by which its format is known."""
    return "".join(PurePosixPath(name).suffixes[-2:]).lower()


def _bytes_of_lost(
    folder: ManifestFolder, current: CurrentValues, lost: Collection[str], versions: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the version of the bytes that each lost file was read from; `versions`: of files of groups."""
    return {
        key: versions.get(key) or _bytes_read(folder, current.get((DOCUMENTS_STAGE.name, key)))
        for key in lost
    }


def _bytes_read(folder: ManifestFolder, value: CurrentValue | None) -> str | None:
    """Return the version of the raw shard that documents were read from, None where its manifest is lost."""
    manifest = _manifest(folder, value)
    inputs = manifest.inputs if manifest else ()
    return next((entry.data_version for entry in inputs if entry.asset == RAW_STAGE.name), None)


def _reading(code_version: str, settings: Mapping[str, object]) -> str:
    """Return the digest of how a file is read, as the notes on files of groups have it."""
    of_files = {name: value for name, value in settings.items() if name != "withdrawn"}
    return canonical_digest(canonical_json({"code": code_version, "settings": of_files}))


def _manifest(folder: ManifestFolder, value: CurrentValue | None) -> Manifest | None:
    try:
        return folder.read(value.manifest) if value else None
    except ManifestError:
        return None
