"""Versions of a selection: which there were, and the decisions of each, read back and verified.

A version is another choice of documents; a run that chooses the same ones in the same order brings the last
version up to date. The decisions of a version are kept beside the manifests as one Parquet file without text,
named by the digest of its rows that the manifest states, so that an altered file is refused. About 50 bytes
a document.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from tamis.base.errors import NotMadeError, PermanentError, UnknownNameError
from tamis.base.files import write_atomically
from tamis.corpus.stage import DOCUMENTS
from tamis.project import Project
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.records.manifest import Manifest, ManifestFolder
from tamis.records.pinned_versions import PinnedVersion, pin, read_pinned_versions, unpin
from tamis.records.published import (
    DECISIONS,
    ROWS_A_GROUP,
    Published,
    digest_of,
    lacks_withdrawn_alone,
    published,
    verified_rows,
)
from tamis.selection.pinned import repeated
from tamis.settings.sections import SelectionSection
from tamis.store.home import Home, writing
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted

TABLE = "selection_versions"


class UnknownVersionError(PermanentError):
    """A version that the selection never had; names those it had."""

    def __init__(self, selection: str, version: int, known: Sequence[int]) -> None:
        self.selection, self.version, self.known = selection, version, list(known)
        shown = f"{self.known[0]} to {self.known[-1]}" if len(self.known) > 1 else f"{self.known[0]} alone"
        super().__init__(
            f"selection {selection!r} has no version {version}; there is {shown} "
            f"(`tamis diff {selection} --list`)"
        )


class VersionLostError(PermanentError):
    """The decisions of a version cannot be read back."""

    def __init__(self, selection: str, version: int, problem: str) -> None:
        self.selection, self.version, self.problem = selection, version, problem
        super().__init__(
            f"the decisions of {selection!r} version {version} {problem}; "
            f"`tamis diff {selection} --list` says which versions are kept"
        )


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a selection, as the store notes it."""

    selection: str
    version: int
    data_version: str
    decisions: str
    subset: str
    rows: str
    documents: int
    pool: int
    pinned_to: int | None
    made_at: datetime


def read_versions(store: Store, selection: str) -> list[Version]:
    """Versions of a selection, oldest first."""
    frame = store.read(TABLE, where=f"selection = {quoted(selection)}").sort("version")
    return [Version(**row) for row in frame.iter_rows(named=True)]


def all_versions(store: Store) -> list[Version]:
    """Versions of all selections, also of those that the project no longer has."""
    return [Version(**row) for row in store.read(TABLE).sort("selection", "version").iter_rows(named=True)]


def version_of(store: Store, found: Published, data_version: str) -> int:
    """Return the number of the version that a selection publishes, also while it is not noted yet."""
    versions = read_versions(store, found.selection)
    noted = [version.version for version in versions if version.decisions == found.decisions]
    if noted or not versions:
        return noted[-1] if noted else 1
    return versions[-1].version + (versions[-1].data_version != data_version)


def find_version(
    store: Store, selection: str, number: int | None = None, known: Iterable[str] = ()
) -> Version:
    """A version by its number, the latest without one.

    Raises `UnknownVersionError`, `NotMadeError` or, for no selection in `known`, `UnknownNameError`.
    """
    versions = read_versions(store, selection)
    if not versions:
        if selection in known:
            raise NotMadeError(selection)
        made = store.read(TABLE, ["selection"])["selection"].unique()
        raise UnknownNameError("selection", selection, {*known, *made})
    if number is None:
        return versions[-1]
    for found in versions:
        if found.version == number:
            return found
    raise UnknownVersionError(selection, number, [found.version for found in versions])


def note_version(
    home: Home, current: CurrentValues, selection: str, pinned_to: int | None = None
) -> Version | None:
    """Keep the decisions that are published now, and note them as a version; None while there are none.

    To be called before a selection is made again, too: what a killed run left unnoted is not lost, and the
    published rows are in their file before the table holds others.
    """
    folder = ManifestFolder.of(home)
    found = published(current, folder, selection)
    if found is None:
        return None
    versions = read_versions(home.store, selection)
    last = versions[-1] if versions else None
    if last is not None and last.decisions == found.decisions:
        _keep(home, last)
        return last
    chosen = folder.read(found.subset)
    same = last is not None and last.data_version == chosen.data_version
    if same and last is not None and pinned_to is None:
        pinned_to = last.pinned_to
    version = Version(
        selection=selection,
        version=1 if last is None else last.version + (not same),
        data_version=chosen.data_version,
        decisions=found.decisions,
        subset=found.subset,
        rows=found.rows,
        documents=chosen.row_count,
        pool=folder.read(found.decisions).row_count,
        pinned_to=pinned_to,
        made_at=datetime.now(UTC).replace(tzinfo=None),
    )
    _keep(home, version)
    home.store.merge(TABLE, pa.Table.from_pylist([asdict(version)], schema=schema_of(TABLE)))
    return version


def _keep(home: Home, version: Version) -> None:
    """Keep the rows of `decisions`, unless they are no longer those of this version."""
    path = ManifestFolder.of(home).kept_path(version.rows)
    if path.exists():
        return
    rows = verified_rows(home.store, ManifestFolder.of(home), version.selection, version.rows)
    if rows is not None:
        stream = io.BytesIO()
        rows = rows.sort_by("doc_id").drop_columns(["selection"])
        pq.write_table(rows, stream, compression="zstd", row_group_size=ROWS_A_GROUP)
        write_atomically(path, stream.getvalue())
        home.publish([path])


def decisions_of(home: Home, version: Version | PinnedVersion) -> pl.DataFrame:
    """The decisions of a version, a row a document; raises `VersionLostError`."""
    path = ManifestFolder.of(home).kept_path(version.rows)
    try:
        kept = pq.read_table(path)
    except FileNotFoundError:
        rows = verified_rows(home.store, ManifestFolder.of(home), version.selection, version.rows)
        if rows is None:
            raise VersionLostError(version.selection, version.version, "are no longer kept") from None
        return pl.DataFrame(pl.from_arrow(rows))
    except (pa.ArrowException, OSError) as error:
        raise VersionLostError(version.selection, version.version, f"cannot be read: {error}") from error
    named = pa.array([version.selection] * kept.num_rows, pa.string())
    rows = kept.add_column(0, schema_of(DECISIONS).field("selection"), named)
    folder = ManifestFolder.of(home)
    same = digest_of(rows) == version.rows
    if not same and not lacks_withdrawn_alone(home.store, folder, version.selection, version.rows, rows):
        raise VersionLostError(version.selection, version.version, f"were altered: see {path.name}")
    return pl.DataFrame(pl.from_arrow(rows))


def is_kept(home: Home, version: Version) -> bool:
    """Whether the decisions of a version lie beside the manifests."""
    return ManifestFolder.of(home).kept_path(version.rows).exists()


def prune_versions(home: Home, most: int, also: Iterable[str]) -> int:
    """Remove all kept decisions but those of each selection's last `most` versions and the digests `also`."""
    folder = ManifestFolder.of(home)
    frame = home.store.read(TABLE, ["selection", "version", "rows"]).sort("selection", "version")
    wanted = {*frame.group_by("selection").tail(most)["rows"], *also}
    surplus = [path for path in folder.kept() if path.stem not in wanted]
    for path in surplus:
        path.unlink(missing_ok=True)
    return len(surplus)


def section_then(home: Home, manifest: Manifest, now: SelectionSection) -> SelectionSection:
    """The settings by which a version was chosen; those of now where they do not fit any more."""
    config = settings_then(ManifestFolder.of(home), manifest)
    try:
        known = {name: value for name, value in config.items() if name in SelectionSection.model_fields}
        return SelectionSection.model_validate(known)
    except ValidationError:
        return now


def settings_then(folder: ManifestFolder, manifest: Manifest) -> dict[str, Any]:
    """The settings that decided a choice: of a version that repeats another one, those of the first."""
    config = manifest.config
    while "pinned" in config:
        config = folder.read(config["pinned"]).config
    return config


PATIENCE_SECONDS = 30.0


def restore(project: Project, selection: str, number: int) -> tuple[PinnedVersion, list[str]]:
    """Pin a selection to a version; the next materialization of it repeats that version.

    Returns the pin and the documents that were chosen then but are gone. Raises `UnknownNameError` for what
    tamis.toml does not name, and as `difference` does.
    """
    home, names = project.home, _configured(project, selection)
    with writing(home, "tamis restore", PATIENCE_SECONDS):
        note_version(home, read_current_values(home.store), selection)
        version = find_version(home.store, selection, number, names)
        then = decisions_of(home, version)
        gone = repeated(then, home.store.read(DOCUMENTS.name, ["doc_id"])).gone
        made = pin(home.store, selection, version.version, version.decisions, version.subset, version.rows)
    return made, gone


def release(project: Project, selection: str) -> PinnedVersion | None:
    """Let a selection follow the corpora again; the pin it had."""
    _configured(project, selection)
    with writing(project.home, "tamis restore", PATIENCE_SECONDS):
        before = read_pinned_versions(project.home.store).get(selection)
        unpin(project.home.store, selection)
    return before


def _configured(project: Project, selection: str) -> list[str]:
    names = [section.name for section in project.settings.selection]
    if selection not in names:
        raise UnknownNameError("selection", selection, names)
    return names
