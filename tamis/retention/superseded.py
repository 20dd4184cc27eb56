"""Retention of superseded checkpoints, fits and lists: those of which a later one of the partition exists.

Without [checkpoints] all checkpoints stay. With keep_superseded = n the n latest of each trial stay. Of the
others the weights are removed: the folder then holds a note with the rule, the manifest stays and with it the
proof of how the checkpoint came about, and MLflow's model version says that it was removed. A checkpoint that
is current, is being made, or has an alias in MLflow is never touched, also where the experiment had another
name when it was registered. A checkpoint is removed only where this home's MLflow has registered it: aliases
in another MLflow are not visible here. Of a trial without a current value nothing is removed unless a person
has let the trial go: else that value was lost, and nobody knows which checkpoint it named.

What is fitted on the pool and kept as files (the density sketch: 24 MB or more for each arrival) is read for
the current value alone, so of these files only the current ones stay, those before them, and the last that
passed their checks.
"""

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tamis.base.files import replace_folder
from tamis.base.numbers import counted
from tamis.project import Project
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import REPLACES, Manifest, ManifestFolder
from tamis.retention.removals import removed_values
from tamis.store.home import Home
from tamis.store.schemas import declared
from tamis.training.errors import TrackerUnavailableError
from tamis.training.planned import planned_trials
from tamis.training.stage import TRIALS_STAGE
from tamis.training.tracking import aliased_checkpoints, mark_removed, registered_manifests, require_tracker

ASSET, KEY_CHARACTERS = TRIALS_STAGE.name, 16
NOTE = "removed.json"


@dataclass(frozen=True, kw_only=True)
class Superseded:
    """A checkpoint whose trial has a later one or is gone: its folder, and the id of its manifest."""

    trial: str
    folder: Path
    manifest: str
    made_at: str


def remove_superseded(project: Project, current: CurrentValues) -> list[str]:
    """Remove the checkpoints that the project does not keep; return a line for each trial that had any."""
    keep, home = project.settings.checkpoints.keep_superseded, project.home
    if keep is None:
        return []
    trials = [
        trial
        for trial in sorted({name.split("/")[2] for name in home.files.names(home.checkpoints / ASSET)})
        if len(list(_superseded(home, current, ASSET, trial))) > keep
    ]
    let_go = _let_go(project, current, trials)
    trials = [trial for trial in trials if (ASSET, trial) in current or trial in let_go]
    stated = _manifests(home, set(trials))
    surplus = [
        checkpoint
        for trial in trials
        for checkpoint in _surplus(home, current, stated, trial, keep)
        if trial not in let_go or checkpoint.made_at < let_go[trial]
    ]
    if not surplus:
        return []
    uri = project.tracking_uri
    try:
        require_tracker(uri)
    except TrackerUnavailableError as error:
        return [f"superseded checkpoints were not removed in this run: {error}"]
    rule = f"[checkpoints] keep_superseded = {keep}"
    counts = Counter[str]()
    for checkpoint in surplus:
        if home.relative(checkpoint.folder) in aliased_checkpoints(uri, checkpoint.trial):
            continue
        if checkpoint.manifest not in registered_manifests(uri, checkpoint.trial):
            continue  # this MLflow does not know it, so its aliases are somewhere else
        # MLflow first: after a crash in between, the folder is found again and the removal repeated.
        mark_removed(uri, checkpoint.trial, checkpoint.manifest, rule)
        home.files.drop(checkpoint.folder)
        note = {
            "rule": rule,
            "manifest": checkpoint.manifest,
            "removed_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        with replace_folder(checkpoint.folder) as draft:
            (draft / NOTE).write_text(json.dumps(note, indent=1))
        counts[checkpoint.trial] += 1
    return [
        f"trial {trial}: {counted(count, 'superseded checkpoint')} removed by {rule}"
        for trial, count in counts.items()
    ]


def remove_earlier_fits(
    home: Home, asset: str, partitions: Iterable[str], before: CurrentValues, current: CurrentValues
) -> None:
    """Remove the files that an asset fitted for earlier pools; the manifests stay.

    What stays: the files of the values `before` a step and of the `current` ones, and what last passed.
    """
    for partition in partitions:
        values = [one[asset, partition] for one in (before, current) if (asset, partition) in one]
        passed = {value.last_passed for value in values if value.last_passed}
        manifests = ManifestFolder.of(home).readable(passed)
        root = home.fitted / asset / (partition or "all")
        if not values or len(manifests) < len(passed) or not root.is_dir():  # or what passed is unknown
            continue
        keys = [value.input_key for value in values] + [one.input_key for one in manifests.values()]
        stays = {key[:KEY_CHARACTERS] for key in keys}
        for folder in root.iterdir():
            if folder.is_dir() and folder.name not in stays and not folder.name.startswith("."):
                shutil.rmtree(folder)


def remove_superseded_lists(
    home: Home, asset: str, partitions: Iterable[str], before: CurrentValues, current: CurrentValues
) -> None:
    """Remove the lists of rows of the values that those `before` a step had replaced; their manifests stay.

    A list serves to verify rows, and these are gone. It is as long as the pool: of each table, an arrival
    adds 48 MB at 1,000,000 documents. Lists of what was chosen or trained on are not concerned. What a crash,
    or the return of an earlier state, leaves of lists is not found again.
    """
    folder = ManifestFolder.of(home)
    values = [value for one in (before, current) for value in one.values() if value.asset == asset]
    named = {name for value in values for name in (value.manifest, value.last_passed) if name}
    manifests = folder.readable(named)
    if len(manifests) < len(named):  # what they need is unknown
        return
    needed = {digest for manifest in manifests.values() for digest in manifest.rows.values()}
    older = set()
    for partition in partitions:
        was, now = before.get((asset, partition)), current.get((asset, partition))
        if was and now and was.manifest in manifests and was.manifest != now.manifest:
            older.add(manifests[was.manifest].beside.get(REPLACES, ""))
    for manifest in folder.readable(older - named - {""}).values():
        for table, digest in manifest.rows.items():
            if (known := declared(table)) and known.rewritten and digest not in needed:
                folder.remove_list(digest)


def removed_by(home: Home, manifest: Manifest) -> str | None:
    """Return the rule by which the checkpoint of a trial's manifest was removed, None where it was not."""
    if manifest.asset != ASSET:
        return None
    path = _folder(home, ASSET, manifest.partition, manifest.input_key) / NOTE
    home.files.fetch(path)
    try:
        return str(json.loads(path.read_text())["rule"])
    except (OSError, ValueError, KeyError):
        return None


def superseded_checkpoints(
    home: Home, current: CurrentValues, assets: Collection[str]
) -> list[tuple[Path, Manifest]]:
    """Return the superseded checkpoints of these stages whose weights are still there, with their manifests.

    Reads every manifest where there are any.
    """
    names = {asset: home.files.names(home.checkpoints / asset) for asset in assets}
    there = {
        folder
        for asset, found in names.items()
        for partition in {name.split("/")[2] for name in found}
        for folder in _superseded(home, current, asset, partition)
    }
    folder = ManifestFolder.of(home)
    known = folder.readable(folder.ids() if there else ()).values()
    pairs = ((_folder(home, one.asset, one.partition, one.input_key), one) for one in known)
    return sorted(
        (pair for pair in pairs if pair[1].asset in names and pair[0] in there), key=lambda pair: pair[0]
    )


def _folder(home: Home, asset: str, partition: str, input_key: str) -> Path:
    return home.checkpoints / asset / partition / input_key[:KEY_CHARACTERS]


def _let_go(project: Project, current: CurrentValues, trials: Sequence[str]) -> dict[str, str]:
    """Return the trials without a current value that a person let go, with when: others have lost it."""
    without = {trial for trial in trials if (ASSET, trial) not in current}
    if without:
        without -= {one.name for one in planned_trials(project)}
    removed = removed_values(project.home.store) if without else {}
    return {
        trial: removed[entry].isoformat() for trial in without if (entry := f"{ASSET}[{trial}]") in removed
    }


def _superseded(home: Home, current: CurrentValues, asset: str, partition: str) -> Iterator[Path]:
    """Yield the folders of complete checkpoints of a trial or model, without the current one."""
    value = current.get((asset, partition))
    latest = value.input_key[:KEY_CHARACTERS] if value else None
    names = home.files.names(home.checkpoints / asset / partition)
    for folder in sorted({home.root.joinpath(*name.split("/")[:4]) for name in names}):
        hidden = folder.name.startswith(".")  # a draft, or a folder that a draft replaces
        if not hidden and folder.name != latest and home.relative(folder / NOTE) not in names:
            yield folder


def _surplus(
    home: Home, current: CurrentValues, stated: Mapping[Path, Manifest], trial: str, keep: int
) -> list[Superseded]:
    """Return the superseded checkpoints of a trial, without the `keep` latest.

    A folder without a manifest is no checkpoint: it was never recorded.
    """
    known = [
        Superseded(
            trial=trial, folder=folder, manifest=found.id, made_at=str(found.beside.get("made_at", ""))
        )
        for folder in _superseded(home, current, ASSET, trial)
        if (found := stated.get(folder))
    ]
    return sorted(known, key=lambda one: (one.made_at, one.folder.name), reverse=True)[keep:]


def _manifests(home: Home, trials: Collection[str]) -> dict[Path, Manifest]:
    """Return the manifests of these trials by the folder of their checkpoint; reads every manifest."""
    folder = ManifestFolder.of(home)
    return {
        _folder(home, ASSET, manifest.partition, manifest.input_key): manifest
        for manifest in folder.readable(folder.ids() if trials else ()).values()
        if manifest.asset == ASSET and manifest.partition in trials
    }
