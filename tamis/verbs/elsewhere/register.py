"""Registration: a checkpoint that was trained elsewhere on an export enters the lineage, and leaves it.

Its files are hashed where they are and never copied. What it saw are the chosen documents of the exported
version, also those that were withdrawn since.
"""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from tamis.base.errors import PermanentError, TamisError, UnknownNameError
from tamis.base.numbers import counted, named
from tamis.base.progress import Advance, ignore
from tamis.history.versions import Version, decisions_of, find_version, note_version
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.records.exported import ASSET as EXPORTS
from tamis.records.exported import ExportRecord, read_exports
from tamis.records.listed_rows import lost_decisions
from tamis.records.losses import found_again, read_losses
from tamis.records.manifest import InputReference, Manifest, ManifestFolder
from tamis.records.receipts import require_withdrawals
from tamis.records.registered import (
    ASSET,
    CODE_VERSION,
    FILES,
    TABLE,
    FileFacts,
    Registered,
    content_of,
    files_of,
    hash_files,
    lost_entries,
    read_registered,
    stated_files,
    withdrawn_of,
)
from tamis.retention.reconciled import training_stages
from tamis.settings.values import NAME_FORM
from tamis.store.digests import RECORD_BYTES, canonical_digest
from tamis.store.home import Home, writing
from tamis.store.rows_files import stored_rows
from tamis.training.planned import model_names, planned_trials
from tamis.training.stage import TRAINED_ON
from tamis.training.storing import record_training_documents
from tamis.training.tracking import log_registered, mark_forgotten, require_experiment, require_tracker
from tamis.trust import require_trusted

PATIENCE_SECONDS = 30.0
WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".ckpt", ".distcp")
_NO_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|rng_state|random_states?)[\w.-]*\Z")
"""Files with such endings that trainers write next to the weights."""
COMMAND = "tamis register --forget"


class CheckpointFolderError(PermanentError):
    """A folder that cannot be registered as a checkpoint; says why, and what would be right."""

    def __init__(self, folder: Path, problem: str) -> None:
        self.folder, self.problem = folder, problem
        super().__init__(f"{folder} {problem}")


class NotExportedError(PermanentError):
    """The version was never exported, so no checkpoint can have been trained on it."""

    def __init__(self, selection: str, version: int, exported: Collection[int]) -> None:
        self.selection, self.version, self.exported = selection, version, sorted(exported)
        numbers = ", ".join(map(str, self.exported))
        known = f"; exported: {'version' if len(self.exported) == 1 else 'versions'} {numbers}"
        super().__init__(
            f"no export of {selection!r} version {version} is recorded, so nothing shows that a checkpoint "
            f"was trained on it{known if self.exported else ''}; `tamis export {selection}` writes the "
            "published version and records it (`tamis restore` publishes an earlier version again)"
        )


class CheckpointNameError(PermanentError):
    """A name under which a checkpoint cannot be registered; says what would be right."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"the checkpoint cannot be registered as {name!r}: {problem}")


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Outcome of a registration.

    `was`: what it found: "new", "known" or "moved". `withdrawn`: how many of its documents were withdrawn.
    `untracked`: why MLflow does not know it, "" where it does.
    """

    entry: Registered
    was: str
    withdrawn: int
    untracked: str

    def to_json(self) -> dict[str, object]:
        """As JSON values."""
        return self.entry.to_json() | {
            "was": self.was,
            "withdrawn": self.withdrawn,
            "untracked": self.untracked,
        }

    @property
    def lines(self) -> list[str]:
        """For a person."""
        entry = self.entry
        done = {
            "new": f"registered {entry.checkpoint}",
            "known": f"{entry.checkpoint} is already registered with the same content",
            "moved": f"{entry.checkpoint} is registered with its files in {entry.folder} now",
        }[self.was]
        large = entry.n_bytes >= 1_000_000
        size = f"{entry.n_bytes / 1e6:,.1f} MB" if large else counted(entry.n_bytes, "byte")
        files = f"{counted(entry.files, 'file')}, {size}"
        seen = f"trained on {counted(entry.documents, 'document')} of {entry.selection}@{entry.version}"
        lines = [f"{done}: {files}, {seen}", f"manifest {entry.manifest}"]
        if self.withdrawn:
            lines.append(
                f"tainted: {counted(self.withdrawn, 'document')} that it was trained on "
                f"{'was' if self.withdrawn == 1 else 'were'} withdrawn since the export; trained weights "
                "cannot unlearn documents"
            )
        if self.untracked:
            lines.append(f"MLflow does not know it: {self.untracked}; the same command logs it later")
        return lines


def register_folder(
    project: Project,
    folder: Path,
    trained_on: str,
    name: str | None = None,
    recipe: str | None = None,
    advance: Advance = ignore,
) -> Registration:
    """Register a checkpoint that was trained elsewhere on an export, or move the entry of a known one.

    `trained_on`: SELECTION or SELECTION@VERSION; without a version that of the newest export. `name`: by
    default the folder's. `recipe`: how it was trained, in a person's words. `advance` counts hashed bytes.

    Raises `CheckpointFolderError`, `CheckpointNameError`, `NotExportedError`, `UnknownNameError`,
    `NotMadeError`, `UnknownVersionError`, `VersionLostError`, `WithdrawalsLostError` or, while another
    process writes for more than `PATIENCE_SECONDS`, `HomeLockedError`.
    """
    home, folder = project.home, _without_steps_up(folder)
    require_withdrawals(home)
    checkpoint = name or folder.name
    names = _require_checkpoint(home, folder)
    _require_name(project, checkpoint)
    selection, number = _parsed(trained_on)
    with writing(home, "tamis register", PATIENCE_SECONDS):
        note_version(home, read_current_values(home.store), selection)
        version, export = find_export(project, selection, number)  # refused before 100 GB are hashed
    files = _hashed(folder, names, advance)
    with writing(home, "tamis register", PATIENCE_SECONDS):
        entry, was = _entered(home, checkpoint, folder, files, version, export, recipe)
        entry, untracked = _tracked(project, entry, export)
        if TABLE in read_losses(home).lost and not lost_entries(home, _trained(project)):
            found_again(home, TABLE)
    withdrawn = withdrawn_of(home, [entry]).get(entry.manifest, 0)
    return Registration(entry=entry, was=was, withdrawn=withdrawn, untracked=untracked)


def forget_checkpoint(project: Project, name: str) -> tuple[Registered, str]:
    """Remove the entry of a registered checkpoint and its rows of `trained_on`.

    Its files are not touched. Its manifest stays, as those of all former values do, and no longer counts.
    Return the entry, and why its run in MLflow does not say it, "" where it does. Raises `UnknownNameError`,
    `HomeLockedError`.
    """
    store = project.home.store
    with writing(project.home, "tamis register", PATIENCE_SECONDS):
        known = {entry.checkpoint: entry for entry in read_registered(store)}
        if name not in known:
            raise UnknownNameError("registered checkpoint", name, known)
        entry = known[name]
        # The entry goes last, so that a removal that is cut short can be repeated.
        store.delete(TRAINED_ON.name, entry.scope)
        store.delete(TABLE, entry.scope)
    if entry.run is None:
        return entry, ""
    try:
        _require_tracking(project)
        mark_forgotten(project.tracking_uri, entry.run, COMMAND)
    except Exception as error:  # of whatever library the tracker needs: the entry is removed all the same
        return entry, _first_line(error)
    return entry, ""


def _parsed(trained_on: str) -> tuple[str, int | None]:
    """Return the selection and the version of SELECTION[@VERSION]; names have no `@`."""
    selection, at, number = trained_on.rpartition("@")
    return (selection, int(number)) if at and re.fullmatch("[0-9]{1,9}", number) else (trained_on, None)


def find_export(project: Project, selection: str, number: int | None) -> tuple[Version, ExportRecord]:
    """Return a version of a selection and its newest export; without a number that of the newest export.

    Raises `UnknownNameError`, `NotMadeError`, `UnknownVersionError`, `NotExportedError`.
    """
    configured = [section.name for section in project.settings.selection]
    latest = find_version(project.home.store, selection, None, configured)
    exports = read_exports(project.home, selection)
    wanted = number if number is not None else exports[-1].version if exports else latest.version
    version = find_version(project.home.store, selection, wanted, configured)
    # The number alone may have been given twice, where the table of versions was lost in between.
    same = [
        export
        for export in exports
        if export.version == version.version and export.choice == version.data_version
    ]
    if not same:
        raise NotExportedError(selection, wanted, {export.version for export in exports} - {wanted})
    return version, same[-1]


def _require_checkpoint(home: Home, folder: Path) -> list[str]:
    """Return the files of a folder with weights. Raises `CheckpointFolderError`."""
    if not folder.exists():
        raise CheckpointFolderError(folder, "does not exist; name the folder with the files of a checkpoint")
    if not folder.is_dir():
        raise CheckpointFolderError(folder, f"is a file; name the folder that contains it: {folder.parent}")
    root, place = home.root.resolve(), folder.resolve()
    if place.is_relative_to(root) or root.is_relative_to(place):
        where = "is inside" if place.is_relative_to(root) else "contains"
        raise CheckpointFolderError(
            folder,
            f"{where} the folder of results {home.root}, whose checkpoints are known without registration; "
            "name a folder elsewhere",
        )
    try:
        names = files_of(folder)
    except OSError as error:
        raise CheckpointFolderError(folder, f"cannot be read ({error.strerror})") from error
    if any(not name.isprintable() for name in names):
        problem = "contains a file whose name has signs that are not printable or not UTF-8; rename that file"
        raise CheckpointFolderError(folder, problem)
    if not names:
        raise CheckpointFolderError(
            folder, "contains no files; name the folder with the files of a checkpoint"
        )
    weights = [
        name for name in names if name.endswith(WEIGHTS) and not _NO_WEIGHTS.match(name.rpartition("/")[2])
    ]
    if not weights:
        raise CheckpointFolderError(
            folder,
            f"contains no weights, only {named(names, most=3)}; expected is a file that ends in "
            f"{', '.join(WEIGHTS)}",
        )
    if absent := _absent_parts(folder, names):
        raise CheckpointFolderError(
            folder,
            f"is incomplete: its index names {counted(len(absent), 'file')} that it does not contain "
            f"({named(absent, most=3)}); copy the whole checkpoint",
        )
    return names


def _absent_parts(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the files of weights that an index names and that are not there."""
    absent = set[str]()
    for index in (name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json"))):
        with suppress(OSError, ValueError, AttributeError, KeyError):  # of another form: its digest says all
            parts = json.loads((folder / index).read_bytes())["weight_map"].values()
            beside = index.rpartition("/")[0]
            absent |= {f"{beside}/{part}" if beside else part for part in parts}.difference(names)
    return sorted(absent)


def _require_name(project: Project, name: str) -> None:
    """Raise `CheckpointNameError` for a name that is no name, or that something of the graph has."""
    if not re.fullmatch(NAME_FORM, name):
        raise CheckpointNameError(
            name,
            "a name has at most 60 characters from a-z, 0-9, '.', '_' and '-', beginning with a letter or "
            "digit; give one with --name",
        )
    graph = {*model_names(project), *(trial.name for trial in planned_trials(project)), *_trained(project)}
    selections = {section.name for section in project.settings.selection}
    if name in graph | selections:
        what = "a selection" if name in selections else "a checkpoint of the graph"
        raise CheckpointNameError(name, f"{what} has this name; give another one with --name")


def _trained(project: Project) -> set[str]:
    """Return the checkpoints that the graph has made."""
    trained = training_stages()
    return {name for asset, name in read_current_values(project.home.store) if asset in trained}


def _without_steps_up(folder: Path) -> Path:
    """Return an absolute path without `..`; links stay, unless what is above them is meant."""
    path = Path(os.path.normpath(folder.absolute()))
    is_same = path.exists() and folder.exists() and path.samefile(folder)
    return path if is_same or not folder.exists() else folder.resolve()


def _hashed(folder: Path, names: Sequence[str], advance: Advance) -> dict[str, FileFacts]:
    """Return digest and size of each file. Raises `CheckpointFolderError`, also where a file changes."""

    def states() -> list[tuple[int, int]]:
        return [
            (status.st_size, status.st_mtime_ns) for status in map(Path.stat, map(folder.joinpath, names))
        ]

    try:
        before = states()
        files = hash_files(folder, names, advance)
        changed = before != states() or files_of(folder) != names
    except OSError as error:
        path = error.filename or folder
        raise CheckpointFolderError(
            folder, f"cannot be read as a whole: {path}: {error.strerror}; every file is hashed"
        ) from error
    if changed:
        raise CheckpointFolderError(
            folder, "changed while its files were hashed; register it once the training has written all of it"
        )
    return files


def _entered(
    home: Home,
    checkpoint: str,
    folder: Path,
    files: Mapping[str, FileFacts],
    version: Version,
    export: ExportRecord,
    recipe: str | None,
) -> tuple[Registered, str]:
    """Write the entry of a checkpoint; return it, and whether it was new, known or moved."""
    store, manifests, content = home.store, ManifestFolder.of(home), content_of(files)
    registered = read_registered(store)
    before = next((entry for entry in registered if entry.checkpoint == checkpoint), None)
    for entry in registered:
        if entry.content != content and (entry is before or entry.folder == str(folder)):
            stated = stated_files(manifests.read(entry.manifest))
            differing = sorted(name for name in {*files, *stated} if files.get(name) != stated.get(name))
            raise CheckpointFolderError(
                folder,
                f"differs from what is registered as {entry.checkpoint!r} ({entry.folder}) in "
                f"{counted(len(differing), 'file')} ({named(differing, most=3)}); register another "
                "checkpoint in a folder and with a --name of its own, or remove the entry first: "
                f"`tamis register --forget {entry.checkpoint}`",
            )
    if before and (before.selection, before.version) != (version.selection, version.version):
        raise CheckpointNameError(
            checkpoint,
            f"it is registered as trained on {before.selection}@{before.version}, not on "
            f"{version.selection}@{version.version}; remove the entry first: `tamis register --forget "
            f"{checkpoint}`",
        )
    recipe = recipe if recipe is not None or before is None else before.recipe
    made = manifests.read(before.manifest) if before else None
    manifest = _manifest(home, checkpoint, files, version, export, recipe, made)
    entry = Registered(
        checkpoint=checkpoint,
        folder=str(folder),
        selection=version.selection,
        version=version.version,
        recipe=recipe,
        manifest=manifest.id,
        content=content,
        files=len(files),
        n_bytes=sum(facts.n_bytes for facts in files.values()),
        documents=manifest.row_count,
        run=before.run if before and before.manifest == manifest.id else None,
        made_at=before.made_at if before else datetime.now(UTC).replace(tzinfo=None),
    )
    if entry != before:  # last, so that no entry lacks its rows or its manifest
        store.merge_values(TABLE, [asdict(entry)])
    return entry, "new" if before is None else "known" if before.folder == entry.folder else "moved"


def _manifest(
    home: Home,
    checkpoint: str,
    files: Mapping[str, FileFacts],
    version: Version,
    export: ExportRecord,
    recipe: str | None,
    before: Manifest | None,
) -> Manifest:
    """Write the rows of `trained_on` and the manifest of a checkpoint; return the manifest.

    `before`: the manifest of its earlier registration, whose export it goes on to name. Its rows stay where
    they are unaltered: since then a withdrawal may have erased decisions.
    """
    store, folder = home.store, ManifestFolder.of(home)
    scope = f"checkpoint = '{checkpoint}'"
    source = InputReference(
        asset=EXPORTS, partition=export.selection, data_version=export.sha256, manifest=export.manifest
    )
    if before is not None:
        (source,) = before.inputs
    digest, content = stored_rows(store, TRAINED_ON.name, scope)
    if before is None or digest != before.rows[TRAINED_ON.name]:
        seen = _documents(home, version)
        repeated = dict(seen.drop_nulls("training_count").iter_rows())
        record_training_documents(store, checkpoint, {version.selection: seen["doc_id"].to_list()}, repeated)
        digest, content = stored_rows(store, TRAINED_ON.name, scope)
    folder.write_rows(digest, content)
    whole = content_of(files)
    manifest = Manifest(
        asset=ASSET,
        partition=checkpoint,
        code_version=CODE_VERSION,
        config={
            "selection": version.selection,
            "version": version.version,
            "recipe": recipe,
            FILES: {name: asdict(facts) for name, facts in files.items()},
        },
        seed=0,
        input_key=canonical_digest(f"{source.manifest},{whole}"),
        data_version=whole,
        digest=whole,
        row_count=len(content) // RECORD_BYTES,
        rows={TRAINED_ON.name: digest},
        scopes={TRAINED_ON.name: scope},
        inputs=(source,),
        beside={"made_at": datetime.now(UTC).isoformat(timespec="seconds")},
    )
    folder.write(manifest)
    home.publish(folder.take_unpublished())
    return manifest


def _documents(home: Home, version: Version) -> pl.DataFrame:
    """Return the documents of a version (doc_id, training_count), also those that were withdrawn since.

    How often a withdrawn document was in the training set is no longer known. Raises `VersionLostError`.
    """
    chosen = decisions_of(home, version).filter(verdict="selected").select("doc_id", "training_count")
    lost = lost_decisions(home, version.selection, version.rows, version.subset).filter(verdict="selected")
    withdrawn = lost.select("doc_id").join(chosen, on="doc_id", how="anti")
    return pl.concat([chosen, withdrawn], how="diagonal").sort("doc_id")


def _tracked(project: Project, entry: Registered, export: ExportRecord) -> tuple[Registered, str]:
    """Log a registered checkpoint in MLflow; return its entry with the run, and why it was not logged.

    The caller holds the writer's lock.
    """
    try:
        _require_tracking(project)
        run = log_registered(
            project.tracking_uri,
            project.settings.tracking.experiment,
            entry.checkpoint,
            manifest=entry.manifest,
            content=entry.content,
            parameters={
                "export": f"{entry.selection}@{entry.version}",
                "recipe": entry.recipe or "not stated",
                "folder": entry.folder,
            },
            metrics={"documents": entry.documents, "files": entry.files, "bytes": entry.n_bytes},
            dataset=(f"{entry.selection}@{entry.version}", export.choice, entry.documents),
            artifacts=project.artifact_root,
        )
    except Exception as error:  # of whatever library the tracker needs: the registration stays
        return entry, _first_line(error)
    if run != entry.run:
        entry = replace(entry, run=run)
        project.home.store.merge_values(TABLE, [asdict(entry)])
    return entry, ""


def _require_tracking(project: Project) -> None:
    """Raise unless the tracker may be used and answers; MLflow itself would try it for minutes."""
    require_trusted(project)
    require_tracker(project.tracking_uri)
    require_experiment(project.tracking_uri, project.settings.tracking.experiment)


def _first_line(error: Exception) -> str:
    text = str(error) if isinstance(error, TamisError) else f"{type(error).__name__}: {error}"
    return text.strip().partition("\n")[0]
