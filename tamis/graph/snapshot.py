"""The snapshot a plan is made for: settings, and what lies in the corpora and targets right now (`scan`)."""

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from tamis.corpus import Shard
from tamis.corpus.fingerprint import python_files
from tamis.corpus.stage import DOCUMENTS_STAGE
from tamis.embedding import encoder_identity
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.records.pinned_versions import PinnedVersion
from tamis.scaling.searched import Search
from tamis.store.precision_choice import AUTO
from tamis.store.withdrawn import withdrawn_versions
from tamis.training.planned import Trial, model_names, planned_trials


@dataclass(frozen=True, kw_only=True)
class Shrunken:
    """A file that lost most of its documents, in the state of `input_key`."""

    shard: str
    input_key: str
    before: int
    now: int
    bad_rows: Mapping[str, int]
    allowed: bool

    @property
    def found(self) -> str:
        """What was found, in a clause."""
        bad = ", ".join(f"{count:,} {reason}" for reason, count in self.bad_rows.items())
        rows = f" ({bad} in quarantine if it is taken in)" if bad else ""
        return f"file {self.shard} yields {self.now:,} of {self.before:,} documents that it had{rows}"


@dataclass(frozen=True)
class ProjectSnapshot:
    """Everything outside the store that input keys depend on.

    `asked`: trials on request that were made once or are asked for now; they are kept current as others are.
    `pinned versions`: selections that are kept at an earlier version.
    `stamps`: size and times of each shard's files when they were hashed.
    `withdrawn`: of each (asset, partition) that holds what somebody has withdrawn, a digest of what that is.
    `searches`: which trials of the scaling law are asked for, by target, where a budget decides that; else
    all are.
    `absent`: shards whose files are gone and whose removal is held back, with the corpus of each.
    `kept`: by partition set, names that tamis.toml no longer has and whose values stay until a person lets
    them go. `shrunken`: by shard, what is known of a file that lost most of its documents.
    `allowed`: names whose removal a person allows in this run.
    """

    project: Project
    shards: dict[str, Shard]
    fingerprints: dict[str, str]
    target_fingerprints: dict[str, str]
    held: dict[str, str] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    pinned: dict[str, PinnedVersion] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)
    withdrawn: dict[tuple[str, str], str] = field(default_factory=dict)
    searches: Mapping[str, Search] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, frozenset[str]] = field(default_factory=dict)
    shrunken: Mapping[str, Shrunken] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()

    def keeps(self, asset: str, partition_set: str | None, partition: str) -> bool:
        """Return whether a value stays as it was made: its source is gone, and nobody let it go."""
        if partition_set == "shards":
            stage = stages().get(asset)
            return partition in self.absent and stage is not None and stage.from_files
        return partition in self.kept.get(partition_set or "", ())

    def is_shrunken(self, asset: str, partition: str, key: str) -> bool:
        """Return whether a file lost most of its documents in this state, and nobody let them go."""
        found = self.shrunken.get(partition) if asset == DOCUMENTS_STAGE.name else None
        return found is not None and not found.allowed and found.input_key == key

    def without_news(self, known: Collection[str]) -> "ProjectSnapshot":
        """The snapshot without the shards that are not among the known ones."""
        if set(self.shards) <= set(known):
            return self
        kept = {key: shard for key, shard in self.shards.items() if key in known}
        return replace(self, shards=kept, fingerprints={key: self.fingerprints[key] for key in kept})

    def with_withdrawn(self, asset: str, found: Mapping[str, str | None]) -> "ProjectSnapshot":
        """The snapshot, with what was refused in these partitions of an asset while they were read."""
        entries = {(asset, partition) for partition in found}
        others = {entry: one for entry, one in self.withdrawn.items() if entry not in entries}
        held = {(asset, partition): one for partition, one in found.items() if one}
        return self if others | held == self.withdrawn else replace(self, withdrawn=others | held)

    def as_refused_now(self) -> "ProjectSnapshot":
        """The snapshot, with what intake has refused since it was looked at: keys depend on it."""
        found = withdrawn_versions(self.project.home.store)
        return self if found == self.withdrawn else replace(self, withdrawn=found)

    def lies_as_hashed(self, key: str) -> bool:
        """Whether the files of a shard have not been touched since they were hashed: what is read is that."""
        try:
            return self.stamps.get(key) == stamp_of(self.shards[key])
        except OSError:
            return False

    def same_files(self, other: "ProjectSnapshot") -> bool:
        """Whether corpora and targets hold the same in both."""
        return (self.fingerprints, self.target_fingerprints) == (
            other.fingerprints,
            other.target_fingerprints,
        )

    @cached_property
    def _shard_keys(self) -> tuple[str, ...]:
        return tuple(sorted({*self.shards, *self.absent}))

    @cached_property
    def precision(self) -> str:
        """What models are computed in; `auto` while nobody has chosen, and then nothing is made yet."""
        return self.project.precision or AUTO

    @cached_property
    def encoder_identity(self) -> str:
        """What the configured encoder is; looked up once, however many shards depend on it."""
        return encoder_identity(self.project.model(self.project.settings.encoder.name), self.precision)

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """Planned trials by name."""
        return {trial.name: trial for trial in planned_trials(self.project)}

    def waits_for_request(self, partition_set: str | None, key: str) -> bool:
        """Whether a partition is made only when somebody asks for it, or a search does, and none has.

        So it is of a trial that tamis.toml no longer plans and whose checkpoint is kept.
        """
        if partition_set != "trials" or key in self.asked:
            return False
        trial = self.trials.get(key)
        if trial is None:
            return True
        if self.searches and trial.kind == "law":
            return key not in self.searches[trial.data].wanted
        return trial.on_request

    def keys(self, partition_set: str | None) -> tuple[str, ...]:
        """Partition keys of a set, sorted; ("",) for assets without partitions."""
        settings = self.project.settings
        match partition_set:
            case None:
                return ("",)
            case "shards":
                return self._shard_keys
            case "targets":
                return tuple(target.name for target in settings.target)
            case "selections":
                return tuple(selection.name for selection in settings.selection)
            case "models":
                return model_names(self.project)
            case _:
                return tuple(self.trials)


def stamp_of(shard: Shard) -> str:
    """Changes whenever a file of the shard does: size, inode and nanoseconds of the last change, or tag."""
    if shard.remote is not None:
        return f"{shard.remote.tag}:{shard.remote.size}"
    files = python_files(shard.path) if shard.kind == "package" else {shard.path.name: shard.path}
    parts = []
    for name, file in files.items():
        status = os.stat(file)
        parts.append(f"{name}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
