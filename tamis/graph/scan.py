"""Scan of the sources: the files of corpora and targets as they are now, and the trials a budget asks for.

Files are hashed once; the digest is cached by size and modification time, so that scanning 1,000 unchanged
shards costs stat calls only.
"""

import contextlib
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from tamis.base.files import write_atomically
from tamis.corpus import (
    Shard,
    ShardChangedError,
    ShardGoneError,
    fingerprint_shard,
    fingerprint_target,
    is_settled,
    list_shards,
)
from tamis.graph.held_back import absent_shards, kept_names, read_shrunken
from tamis.graph.search import searches_of
from tamis.graph.snapshot import ProjectSnapshot, stamp_of
from tamis.mixture.planned import read_swarm
from tamis.project import Project
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.records.pinned_versions import read_pinned_versions
from tamis.store.digests import canonical_digest
from tamis.store.withdrawn import withdrawn_versions
from tamis.training.planned import planned_trials
from tamis.training.stage import TRIALS

LISTING = "listing.json"


def scan(
    project: Project,
    patience_seconds: float = 0.0,
    on_request: bool = False,
    by_hand: bool = False,
    allowed: Collection[str] = (),
) -> ProjectSnapshot:
    """Return the snapshot of `scan_files` with the trials that a search asks for next."""
    snapshot = scan_files(project, patience_seconds, on_request, by_hand, allowed)
    return (
        searched(snapshot, read_current_values(project.home.store))
        if project.settings.trial_budget.share
        else snapshot
    )


def scan_files(
    project: Project,
    patience_seconds: float = 0.0,
    on_request: bool = False,
    by_hand: bool = False,
    allowed: Collection[str] = (),
    listing: Mapping[str, Shard] | None = None,
) -> ProjectSnapshot:
    """List and fingerprint all shards and targets, and return the snapshot without searches.

    A file that is being written keeps the fingerprint it had, or is left for a later scan when it is new;
    `patience_seconds` is how long to wait for it. `on_request` asks for the trials that are made on request,
    `by_hand` for all, whatever a search asks for; `allowed` are names whose removal a person allows;
    `listing` is one that was made before, else a new one is made and kept for the runs that follow. Raises
    `ListingError` when a corpus cannot be listed: it must not pass for empty.
    """
    memory = _Memory(project.home.cache / "fingerprints.json")
    shards = dict(_list_sources(project) if listing is None else listing)
    moving = _moving(project, shards)
    if moving and patience_seconds:
        time.sleep(patience_seconds)
        moving = _moving(project, shards)
    fingerprints, held = {}, {}
    for key, shard in sorted(shards.items()):
        try:
            fingerprints[key] = memory.fingerprint(shard, at_rest=key not in moving)
        except (ShardChangedError, ShardGoneError) as error:
            held[key] = str(error)
    targets = {target.name: fingerprint_target(target, project.root) for target in project.settings.target}
    memory.save()
    readable = {key: shard for key, shard in shards.items() if key in fingerprints}
    asked = _trials_asked(project, by_hand) if on_request or by_hand else _trials_made(project)
    stamps = {key: memory.seen[key][0] for key in readable}
    store, current = project.home.store, read_current_values(project.home.store)
    return ProjectSnapshot(
        project,
        readable,
        fingerprints,
        targets,
        held,
        asked,
        read_pinned_versions(store),
        stamps,
        withdrawn_versions(store),
        absent=absent_shards(store, current, shards, project, allowed),
        kept=kept_names(project, current, allowed),
        shrunken=read_shrunken(store, readable),
        swarm=read_swarm(project),
        allowed=frozenset(allowed),
    )


def kept_listing(project: Project, within: float | None = None) -> dict[str, Shard] | None:
    """Return the listing that was made last, at most `within` seconds ago.

    None without one, or where the corpora are others by now.
    """
    path = project.home.cache / LISTING
    try:
        if within is not None and not 0 <= time.time() - path.stat().st_mtime <= within:
            return None
        kept = _KeptListing.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return {shard.key: shard for shard in kept.shards} if kept.corpora == _corpora(project) else None


def _list_sources(project: Project) -> dict[str, Shard]:
    """Return the shards of all corpora by key, and keep them in the cache.

    A listing that cannot be written (a full disk, names that are no Unicode) is not kept: runs list again.
    """
    listed = (list_shards(one, project.root, project.home.cache) for one in project.settings.corpus)
    found = {shard.key: shard for shards in listed for shard in shards}
    path = project.home.cache / LISTING
    kept = _KeptListing(corpora=_corpora(project), shards=list(found.values()))
    try:
        write_atomically(path, kept.model_dump_json().encode())
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            path.unlink()
    return found


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
    store = snapshot.project.home.store
    shrunken, withdrawn = read_shrunken(store, snapshot.shards), withdrawn_versions(store)
    swarm = read_swarm(snapshot.project)
    return searched(replace(snapshot, shrunken=shrunken, withdrawn=withdrawn, swarm=swarm), current)


def searched(snapshot: ProjectSnapshot, current: CurrentValues) -> ProjectSnapshot:
    """Return the snapshot with the trials that a search asks for next; the same where no budget is set."""
    found = searches_of(snapshot, current)
    return snapshot if found == snapshot.searches else replace(snapshot, searches=found)


def _trials_asked(project: Project, any_of_them: bool) -> frozenset[str]:
    return frozenset(trial.name for trial in planned_trials(project) if trial.on_request or any_of_them)


def _trials_made(project: Project) -> frozenset[str]:
    if not project.settings.comparison.on_request.models:
        return frozenset()
    made = frozenset(project.home.store.read(TRIALS.name, ["trial"])["trial"])
    return made & _trials_asked(project, any_of_them=False)


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
