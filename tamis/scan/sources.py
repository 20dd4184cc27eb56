"""Scan of the sources: the files of corpora and targets as they are now, and the trials a budget asks for.

Files are hashed once; the digest is cached by size and modification time, so that scanning 1,000 unchanged
shards costs stat calls only.
"""

import contextlib
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tamis.base.files import whole_file, write_atomically
from tamis.corpus import (
    Shard,
    ShardChangedError,
    ShardGoneError,
    fingerprint_shard,
    fingerprint_target,
    is_settled,
    list_shards,
)
from tamis.corpus.listing import require_outside
from tamis.corpus.shards import group_version, grouped
from tamis.corpus.small_files import read_small_files
from tamis.corpus.targets import place_of_target, require_target_outside
from tamis.evaluation.controls import fingerprint_control, require_control_outside
from tamis.graph.plan import Due, full_plan, reason_of, upstream
from tamis.graph.search import searches_of
from tamis.graph.snapshot import ProjectSnapshot, Shrunken, stamp_of
from tamis.mixture.planned import read_swarm
from tamis.project import Project
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.records.published import read_pinned_versions
from tamis.records.receipts import require_withdrawals
from tamis.retention.held_back import kept_names, losses_by_name
from tamis.retention.losses import absent_shards, read_shrunken, with_kinds
from tamis.selection.benchmarks import fingerprint_benchmark, require_benchmark_outside
from tamis.store.digests import canonical_digest
from tamis.store.home import Home
from tamis.store.withdrawn import Entry, withdrawn_versions
from tamis.training.planned import planned_trials
from tamis.training.stage import TRIALS

LISTING = "listing.json"


def scan(
    project: Project,
    patience_seconds: float = 0.0,
    on_request: bool = False,
    allowed: Collection[str] = (),
) -> ProjectSnapshot:
    """Return the snapshot of `scan_files` with the trials that a search asks for next."""
    snapshot = scan_files(project, patience_seconds, on_request, allowed=allowed)
    if not project.settings.trial_budget.share:
        return snapshot
    return searched(snapshot, read_current_values(project.home.store))


def scan_files(
    project: Project,
    patience_seconds: float = 0.0,
    on_request: bool = False,
    by_hand: bool = False,
    allowed: Collection[str] = (),
    listing: Mapping[str, Shard] | None = None,
) -> ProjectSnapshot:
    """List and fingerprint all files and targets, and return the snapshot without searches.

    A file that is being written keeps the fingerprint it had, or is left for a later scan when it is new;
    `patience_seconds` is how long to wait for it. `on_request` asks for the trials that are made on request,
    `by_hand` for all, whatever a search asks for; `allowed` are names whose removal a person allows;
    `listing` is one that was made before, else a new one is made and kept for the runs that follow. Raises
    `ListingError` when a corpus cannot be listed: it must not pass for empty.
    """
    memory, store = _Memory(project.home.cache / "fingerprints.json"), project.home.store
    files = dict(_list_sources(project) if listing is None else listing)
    small = {row["shard"]: row for row in read_small_files(store).iter_rows(named=True)}
    moving = _moving(project, files)
    if moving and patience_seconds:
        time.sleep(patience_seconds)
        moving = _moving(project, files)
    fingerprints, held = _fingerprints(files, small, moving, memory)
    targets = {target.name: fingerprint_target(target, project.root) for target in project.settings.target}
    benchmarks = {
        one.name: fingerprint_benchmark(one, project.root, partial(memory.fingerprint, at_rest=True))
        for one in project.settings.keep_out
    }
    controls = {one.name: fingerprint_control(one, project.root) for one in project.settings.control}
    memory.save()
    asked = _trials_asked(project, on_request, by_hand)
    current = read_current_values(store)
    readable = [file for key, file in files.items() if key in fingerprints]
    gone = {key: row for key, row in small.items() if key not in files}
    configured = {corpus.name for corpus in project.settings.corpus}
    # A file of a group that is gone stays a member until its removal, as it was read last.
    members = [
        Shard(
            corpus=row["corpus"],
            name=row["name"],
            key=key,
            kind="file",
            path=Path(row["name"]),
            small=True,
        )
        for key, row in gone.items()
        if row["corpus"] in configured
    ]
    shards = grouped([*readable, *members])
    versions = {key: row["version"] for key, row in gone.items()} | fingerprints
    snapshot = ProjectSnapshot(
        project,
        shards,
        {
            key: group_version(shard, versions) if shard.kind == "group" else versions[key]
            for key, shard in shards.items()
        },
        targets,
        held,
        asked,
        read_pinned_versions(store),
        {key: seen[0] for key, seen in memory.seen.items()},
        kept=kept_names(project, current, allowed),
        shrunken=_read_shrunken(project, shards),
        swarm=read_swarm(project),
        allowed=frozenset(allowed),
        versions={file.key: versions[file.key] for shard in shards.values() for file in shard.members},
        benchmark_fingerprints=benchmarks,
        control_fingerprints=controls,
    )
    snapshot = replace(snapshot, withdrawn=_withdrawn(project.home, snapshot.group_of))
    lost = absent_shards(snapshot, current, files)
    return replace(
        snapshot,
        absent={key: corpus for key, corpus in lost.items() if key not in gone}
        | {gone[key]["part_of"]: one for key, one in lost.items() if key in gone and one not in configured},
        absent_files={key: corpus for key, corpus in lost.items() if key in gone},
        left=frozenset(gone.keys() - lost.keys()),
    )


def _read_shrunken(project: Project, shards: Collection[str]) -> dict[str, Shrunken]:
    """Return the losses of documents that are noted, of these shards and of the targets."""
    targets = [place_of_target(target.name) for target in project.settings.target]
    return read_shrunken(project.home.store, [*shards, *targets])


def _withdrawn(home: Home, group_of: Mapping[str, str]) -> dict[Entry, str]:
    """Return what is withdrawn of each value; raises `WithdrawalsLostError`, or texts would come back."""
    require_withdrawals(home)
    return withdrawn_versions(home.store, group_of)


def _fingerprints(
    files: Mapping[str, Shard],
    small: Mapping[str, Mapping[str, Any]],
    moving: Collection[str],
    memory: "_Memory",
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the version of each file, and why others have none yet.

    small: the files that groups were made of; one of those that is `moving` stays what it was then.
    """
    fingerprints: dict[str, str] = {}
    held: dict[str, str] = {}
    for key, file in sorted(files.items()):
        stays = small[key]["version"] if key in small and file.small else None
        try:
            version = stays if key in moving else None
            fingerprints[key] = version or memory.fingerprint(file, at_rest=key not in moving)
        except (ShardChangedError, ShardGoneError) as error:
            if stays:
                fingerprints[key] = stays
            else:
                held[key] = str(error)
    return fingerprints, held


def kept_listing(project: Project, within: float | None = None) -> dict[str, Shard] | None:
    """Return the listing that was made last, at most `within` seconds ago.

    None without one, or where the corpora are others by now.
    """
    path = project.home.cache / LISTING
    try:
        own = _LISTED.get(path)
        if own is not None and (own.written, own.corpora) == (_stamp(path), _corpora(project)):
            recent = within is None or time.monotonic() - own.made <= within
            return dict(own.shards) if recent else None
        if within is not None and not 0 <= time.time() - path.stat().st_mtime <= within:
            return None
        kept = _KeptListing.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return {shard.key: shard for shard in kept.shards} if kept.corpora == _corpora(project) else None


def _list_sources(project: Project) -> dict[str, Shard]:
    """Return the files of all corpora by key, and keep them in the cache, where they are others than before.

    A listing that cannot be written (a full disk, names that are no Unicode) is not kept: runs list again.
    """
    for corpus in project.settings.corpus:
        require_outside(corpus, project.root, project.home.root)
    for target in project.settings.target:
        require_target_outside(target, project.root, project.home.root)
    for benchmark in project.settings.keep_out:
        require_benchmark_outside(benchmark, project.root, project.home.root)
    for control in project.settings.control:
        require_control_outside(control, project.root, project.home.root)
    listed = (list_shards(one, project.root, project.home.cache) for one in project.settings.corpus)
    found = {shard.key: shard for shards in listed for shard in shards}
    path, corpora = project.home.cache / LISTING, _corpora(project)
    own = _LISTED.pop(path, None)
    try:
        if own and path.exists() and (own.written, own.corpora, own.shards) == (_stamp(path), corpora, found):
            written = own.written
        else:
            kept = _KeptListing(corpora=corpora, shards=list(found.values()))
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as draft:
                draft.write_bytes(kept.model_dump_json().encode())
                written = _stamp(draft)  # of this very file: another process may replace it at once
        _LISTED[path] = _Listed(made=time.monotonic(), written=written, corpora=corpora, shards=found)
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            path.unlink()
    return dict(found)


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """A listing that this process has made, and the file in which it is kept as it was then."""

    made: float
    written: tuple[int, int]
    corpora: str
    shards: dict[str, Shard]


_LISTED: dict[Path, _Listed] = {}
"""By the file that keeps it: sensors list and read every few seconds what hardly ever changes."""


def _stamp(path: Path) -> tuple[int, int]:
    """Return what differs once another file has this name."""
    seen = path.stat()
    return seen.st_mtime_ns, seen.st_ino


class _KeptListing(BaseModel):
    corpora: str
    shards: list[Shard]


def _corpora(project: Project) -> str:
    """Return the digest of what a listing depends on."""
    sections = [corpus.model_dump(mode="json") for corpus in project.settings.corpus]
    return canonical_digest(json.dumps([str(project.root), sections], sort_keys=True))


def scan_again(snapshot: ProjectSnapshot, current: CurrentValues) -> ProjectSnapshot:
    """Return the snapshot, updated by what a run has stored since; files are not listed again.

    Updated are the texts refused at intake, the files that are held back because they lost most of their
    documents, the runs of [mixture], and the trials that a search asks for next.
    """
    again = replace(
        snapshot,
        shrunken=_read_shrunken(snapshot.project, snapshot.shards),
        withdrawn=_withdrawn(snapshot.project.home, snapshot.group_of),
        swarm=read_swarm(snapshot.project),
    )
    return searched(again, current)


def searched(snapshot: ProjectSnapshot, current: CurrentValues) -> ProjectSnapshot:
    """Return the snapshot with the trials that a search asks for next; the same where no budget is set."""
    found = searches_of(snapshot, current)
    return snapshot if found == snapshot.searches else replace(snapshot, searches=found)


def _trials_asked(project: Project, on_request: bool, by_hand: bool) -> frozenset[str]:
    """Return the names of all trials (`by_hand`), of those on request, or of those made of the latter."""
    if not (on_request or by_hand or project.settings.comparison.on_request.models):
        return frozenset()
    asked = frozenset(trial.name for trial in planned_trials(project) if trial.on_request or by_hand)
    return (
        asked
        if on_request or by_hand
        else asked.intersection(project.home.store.read(TRIALS.name, ["trial"])["trial"])
    )


def _moving(project: Project, shards: dict[str, Shard]) -> set[str]:
    """Return the keys of files that were modified within `settle_seconds`."""
    seconds, now = project.settings.automation.settle_seconds, time.time()
    return {
        key
        for key, shard in shards.items()
        if shard.kind == "file" and not is_settled(shard.path, seconds, now)
    }


class _Memory:
    """A cache of fingerprints: stamp and digest by shard, `known` as loaded and `seen` in this scan."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, list[str]] = {}
        try:
            self.known: dict[str, list[str]] = json.loads(path.read_text())
        except (OSError, ValueError):
            self.known = {}

    def fingerprint(self, shard: Shard, at_rest: bool) -> str:
        remembered = self.known.get(shard.key)
        if not at_rest:
            if remembered is None:
                raise ShardChangedError(shard.path)
            self.seen[shard.key] = remembered
            return remembered[1]
        stamp = stamp_of(shard)
        digest = remembered[1] if remembered and remembered[0] == stamp else fingerprint_shard(shard)
        self.seen[shard.key] = [stamp, digest]
        return digest

    def save(self) -> None:
        if self.seen != self.known:
            with contextlib.suppress(OSError):  # only a cache: a full or read-only disk may still be scanned
                write_atomically(self.path, json.dumps(self.seen, sort_keys=True).encode())


def values_due(project: Project, asset: str, snapshot: ProjectSnapshot | None = None) -> dict[str, Due]:
    """Return the entries of the plan that would make values of an asset again, by partition.

    What was kept within a certificate is current, as in the status. `snapshot`: of the files as they are now,
    which are scanned without one.
    """
    snapshot = snapshot or scan(project, project.settings.automation.settle_seconds)
    found = full_plan(snapshot, read_current_values(project.home.store), refit=False)
    return {one.partition: one for one in found if one.asset == asset}


def why_due(entry: Due) -> str:
    """Return why a value would be made again, in words."""
    return f"it waits for {entry.waits_for}" if entry.waits_for else reason_of(entry)


def value_due(project: Project, asset: str, partition: str) -> Due | None:
    """Return the entry of the plan that would make a value again; None when it is current."""
    return values_due(project, asset).get(partition)


def inputs_due(project: Project, asset: str) -> list[str]:
    """Return the assets that one without partitions follows from and that are not current, in their order."""
    snapshot = scan(project, project.settings.automation.settle_seconds)
    plan = full_plan(snapshot, read_current_values(project.home.store), refit=False)
    before = upstream(snapshot, (asset, ""))
    return list(dict.fromkeys(one.asset for one in plan if (one.asset, one.partition) in before))


def due(project: Project, asset: str, partition: str) -> str | None:
    """Why a value would be made again now; None when it is current."""
    found = value_due(project, asset, partition)
    return why_due(found) if found else None


def permitted(project: Project, names: Collection[str]) -> frozenset[str]:
    """Return the names with their kinds, to be asked for before anything is removed.

    Raises `AmbiguousRemovalError` where a name fits losses of several kinds.
    """
    if not names:
        return frozenset()
    current = read_current_values(project.home.store)
    return with_kinds(names, losses_by_name(scan_again(scan(project), current), current))
