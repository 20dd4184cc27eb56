"""Versions of a selection: noted, read back and verified, pruned, and restored.

A run that chooses other documents, or another order, makes a new version; one that repeats the choice updates
the last version. The decisions of a version are kept next to the manifests as one Parquet file without text,
about 50 bytes a document. Its name is the digest of its rows in the manifest, so that an altered file is
refused.
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
from tamis.records.listed_rows import lost_decisions
from tamis.records.manifest import Manifest, ManifestFolder
from tamis.records.published import (
    DECISIONS,
    ROWS_A_GROUP,
    PinnedVersion,
    Published,
    have_digest,
    pin,
    published,
    read_pinned_versions,
    rows_of_table,
    unpin,
    verified_rows,
)
from tamis.selection.changes import repeated
from tamis.selection.decide import Reason
from tamis.selection.pool import leaking
from tamis.selection.stage import DECISIONS_STAGE
from tamis.settings.samplers import register_as_made
from tamis.settings.sections import SelectionSection
from tamis.store.home import Home, writing
from tamis.store.places import costs_a_request
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted

TABLE = "selection_versions"
LEAK_IN_WORDS = {
    Reason.HELD_OUT_EXAMPLE: "is now a held-out example of a target",
    Reason.CONTAMINATED: "shares long runs of words with present held-out examples",
    Reason.KEEP_OUT: "repeats rows of a benchmark that is now kept out",
}
PATIENCE_SECONDS = 30.0


class UnknownVersionError(PermanentError):
    """A version that the selection never had; `known`: those that it had."""

    def __init__(self, selection: str, version: int, known: Sequence[int]) -> None:
        self.selection, self.version, self.known = selection, version, list(known)
        several = f"versions {self.known[0]} to {self.known[-1]}"
        shown = several if len(self.known) > 1 else f"version {self.known[0]}"
        super().__init__(
            f"selection {selection!r} has no version {version}, only {shown}; "
            f"`tamis diff {selection} --list` lists them"
        )


class VersionLostError(PermanentError):
    """The decisions of a version cannot be read back."""

    def __init__(self, selection: str, version: int, problem: str) -> None:
        self.selection, self.version, self.problem = selection, version, problem
        super().__init__(
            f"the decisions of {selection!r} version {version} {problem}; "
            f"`tamis diff {selection} --list` lists the versions that are kept; if the selection is pinned "
            f"to this one, `tamis restore {selection} --latest` unpins it"
        )


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a selection.

    `decisions` and `subset` are the ids of its manifests, `rows` is the digest of the rows of its decisions;
    `documents` counts the chosen documents and `pool` all that were decided. `pinned_to`: the version that it
    repeats because the selection was pinned.
    """

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


def read_versions(store: Store, selection: str | None = None) -> list[Version]:
    """Return the versions of a selection, oldest first; None: of all, also of those that are gone now."""
    where = None if selection is None else f"selection = {quoted(selection)}"
    frame = store.read(TABLE, where=where).sort("selection", "version")
    return [Version(**row) for row in frame.iter_rows(named=True)]


def version_of(store: Store, found: Published, data_version: str) -> int:
    """Return the number of the published version of a selection, also while it is not noted yet."""
    versions = read_versions(store, found.selection)
    noted = [version.version for version in versions if version.decisions == found.decisions]
    if noted or not versions:
        return noted[-1] if noted else 1
    return versions[-1].version + (versions[-1].data_version != data_version)


def find_version(
    store: Store, selection: str, number: int | None = None, known: Iterable[str] = ()
) -> Version:
    """Return a version by its number, or the latest one. `known`: the selections of tamis.toml.

    Raises `UnknownVersionError`, `NotMadeError` or, for a name that is not known, `UnknownNameError`.
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
    home: Home,
    current: CurrentValues,
    selection: str,
    pinned_to: int | None = None,
    just_hashed: bool = False,
) -> Version | None:
    """Keep the published decisions in their file, and note them as a version; None while there are none.

    To be called before a selection is made again, too: so a version that a killed run did not note is not
    lost, and the published rows are in their file before the table holds others. `just_hashed`: the current
    value was made of the table's rows a moment ago, and nobody else can have written since.
    """
    folder = ManifestFolder.of(home)
    found = published(current, folder, selection)
    if found is None:
        return None
    just_hashed &= current[(DECISIONS, selection)].manifest == found.decisions  # not so of refused ones
    versions = read_versions(home.store, selection)
    last = versions[-1] if versions else None
    if last is not None and last.decisions == found.decisions:
        _keep(home, last, just_hashed)
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
        made_at=last.made_at if same and last else datetime.now(UTC).replace(tzinfo=None),
    )
    _keep(home, version, just_hashed)
    home.store.merge_values(TABLE, [asdict(version)])
    return version


def _keep(home: Home, version: Version, just_hashed: bool) -> None:
    """Copy the rows of a version from the table `decisions` to its file, if they are still there."""
    folder = ManifestFolder.of(home)
    path = folder.kept_path(version.rows)
    if path.exists():
        return
    rows: pa.Table | None = (
        rows_of_table(home.store, version.selection)
        if just_hashed
        else verified_rows(home.store, folder, version.selection, version.rows)
    )
    if rows is not None:
        stream = io.BytesIO()
        rows = rows.sort_by("doc_id").drop_columns(["selection"])
        pq.write_table(rows, stream, compression="zstd", row_group_size=ROWS_A_GROUP)
        write_atomically(path, stream.getvalue())
        home.publish([path])


def decisions_of(home: Home, version: Version | PinnedVersion) -> pl.DataFrame:
    """Return the verified decisions of a version, one row a document. Raises `VersionLostError`."""
    folder = ManifestFolder.of(home)
    path = folder.kept_path(version.rows)
    try:
        kept = pq.read_table(path)
    except FileNotFoundError:
        rows = verified_rows(home.store, folder, version.selection, version.rows)
        if rows is None:
            raise VersionLostError(version.selection, version.version, "are no longer kept") from None
        return pl.DataFrame(pl.from_arrow(rows))
    except (pa.ArrowException, OSError) as error:
        raise VersionLostError(version.selection, version.version, f"cannot be read: {error}") from error
    selection = schema_of(DECISIONS).field("selection")
    rows = kept.add_column(0, selection, pa.repeat(version.selection, kept.num_rows))
    if not have_digest(home.store, folder, version.selection, version.rows, rows):
        raise VersionLostError(version.selection, version.version, f"were altered: see {path.name}")
    return pl.DataFrame(pl.from_arrow(rows))


def is_kept(home: Home, version: Version) -> bool:
    """Return whether the file with the decisions of a version exists."""
    return ManifestFolder.of(home).kept_path(version.rows).exists()


def prune_versions(home: Home, most: int, also: Iterable[str]) -> int:
    """Remove the kept decisions of old versions with their lists of rows, and return how many.

    The last `most` versions of each selection stay, and the files with the digests in `also`.
    """
    folder = ManifestFolder.of(home)
    frame = home.store.read(TABLE, ["selection", "version", "rows"]).sort("selection", "version")
    wanted = {*frame.group_by("selection").tail(most)["rows"], *also}
    surplus = [path for path in folder.kept() if path.stem not in wanted]
    current = read_current_values(home.store).values() if surplus else ()
    decided = folder.readable(value.manifest for value in current if value.asset == DECISIONS_STAGE.name)
    verified = {digest for manifest in decided.values() for digest in manifest.rows.values()}
    for path in surplus:
        if path.stem not in verified and not costs_a_request(home.store.folder):
            folder.remove_list(path.stem)
        path.unlink(missing_ok=True)
    return len(surplus)


def section_then(home: Home, manifest: Manifest, now: SelectionSection) -> SelectionSection:
    """Return the settings by which a version was chosen, or `now` where these are no longer valid."""
    config = settings_then(ManifestFolder.of(home), manifest)
    register_as_made(config)
    try:
        known = {name: value for name, value in config.items() if name in SelectionSection.model_fields}
        return SelectionSection.model_validate(known)
    except ValidationError:
        return now


def settings_then(folder: ManifestFolder, manifest: Manifest) -> dict[str, Any]:
    """Return the settings behind a choice; of a version that repeats another one, those of the first."""
    config = manifest.config
    while "pinned" in config:
        config = folder.read(config["pinned"]).config
    return config


def restore(project: Project, selection: str, number: int) -> tuple[PinnedVersion, dict[str, str]]:
    """Pin a selection to a version, which its next materialization repeats.

    Return the pin and, by the ids of the chosen documents that the pinned selection will lack, why. Raises
    `UnknownNameError`, `NotMadeError`, `UnknownVersionError`, `VersionLostError`, and `HomeLockedError` while
    another process writes for more than `PATIENCE_SECONDS`.
    """
    home, names = project.home, _configured(project, selection)
    with writing(home, "tamis restore", PATIENCE_SECONDS):
        note_version(home, read_current_values(home.store), selection)
        version = find_version(home.store, selection, number, names)
        then = decisions_of(home, version)
        chosen = then.filter(pl.col("verdict") == "selected").select("doc_id")
        gone = repeated(then, home.store.read(DOCUMENTS.name, ["doc_id"])).gone
        lost = lost_decisions(home, selection, version.rows, version.subset)
        withdrawn = lost.filter(pl.col("verdict") == "selected")["doc_id"]
        leaks = leaking(home.store).join(chosen, on="doc_id", how="semi").sort("doc_id")
        lacking = {
            doc_id: LEAK_IN_WORDS[reason] for doc_id, reason in leaks.select("doc_id", "reason").iter_rows()
        }
        lacking |= dict.fromkeys(gone, "is no longer in any corpus")
        lacking |= dict.fromkeys(withdrawn, "was withdrawn")
        made = pin(home.store, selection, version.version, version.decisions, version.subset, version.rows)
    return made, lacking


def release(project: Project, selection: str) -> PinnedVersion | None:
    """Release a pinned selection, so that it follows the corpora again, and return the pin it had, or None.

    Raises `UnknownNameError`, `HomeLockedError`.
    """
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
