"""Snapshot of the sources: settings and files of corpora and targets at one moment, as a plan needs them."""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from tamis.base.numbers import counted
from tamis.corpus import Shard
from tamis.corpus.shards import is_group_key, number_of_documents, python_files
from tamis.corpus.sources import corpora_of
from tamis.corpus.stage import DOCUMENTS_STAGE, EXAMPLES_STAGE
from tamis.corpus.targets import place_of_target, target_of_place
from tamis.embedding import encoder_identity
from tamis.embedding.storing import project_encoder
from tamis.graph.stages import stages
from tamis.mixture.stage import LARGER_STAGE, RUNS_STAGE, SWARM_SETS
from tamis.mixture.swarm import Swarm
from tamis.project import Project
from tamis.readers.rows import Reason
from tamis.records.published import PinnedVersion
from tamis.scaling.searched import Search
from tamis.settings.tokenizer import counting_tokenizer
from tamis.store.precision_choice import AUTO
from tamis.tokens.identity import tokenizer_identity
from tamis.training.planned import Trial, model_names, planned_trials

FEWEST_FILES, FILES_SHARE = 5, 5
"""Held back are at least `FEWEST_FILES` lost files that are more than one in `FILES_SHARE`."""
FEWEST_DOCUMENTS, DOCUMENTS_SHARE = 20, 5
"""Held back are at least `FEWEST_DOCUMENTS` lost documents that are more than one in `DOCUMENTS_SHARE`."""
OF_A_FILE = 2
"""Of a single file, which may be a small part of its corpus: more than one document in `OF_A_FILE`."""


def lost_too_many(lost: int, had: int) -> bool:
    """Return whether the loss of `lost` of `had` files of a corpus is held back."""
    return lost == had or (lost >= FEWEST_FILES and FILES_SHARE * lost > had)


def lost_too_many_documents(lost: int, had: int) -> bool:
    """Return whether a corpus that loses `lost` of `had` documents is held back, or a target of examples."""
    return lost == had > 0 or (lost >= FEWEST_DOCUMENTS and DOCUMENTS_SHARE * lost > had)


def mostly_found(lost: int, had: int) -> bool:
    """Return whether all but a fifth of the documents of lost files were found elsewhere: no loss."""
    return DOCUMENTS_SHARE * lost <= had


def shrank_too_much(before: int, now: int) -> bool:
    """Return whether a file that had `before` documents and now yields `now` is held back."""
    return before > 0 and (not now or (before - now >= FEWEST_DOCUMENTS and OF_A_FILE * now < before))


def too_few_left(shard: str, before: int, now: int) -> bool:
    """Return whether what a shard lost is held back: documents of a file, emptied files of a group."""
    if is_group_key(shard):
        return before > 0 and lost_too_many(before - now, before)
    return shrank_too_much(before, now)


@dataclass(frozen=True, kw_only=True)
class Shrunken:
    """A file, group or target that lost too many documents in the state of `input_key`.

    `shard`: of a target the place that it takes in tables, `target/NAME`. `before` and `now` count documents,
    of a group the files that have any, of a target examples; `bad_rows` counts rows by the reason of their
    quarantine; `allowed`: a person allowed the loss.
    """

    shard: str
    input_key: str
    before: int
    now: int
    bad_rows: Mapping[str, int]
    allowed: bool

    @property
    def found(self) -> str:
        """A clause for a person: `the number of documents in file KEY fell from 40 to 3`."""
        if target := target_of_place(self.shard):
            return f"target {target!r} lost {self.before - self.now:,} of {counted(self.before, 'example')}"
        bad = ", ".join(f"{count:,} {reason}" for reason, count in self.bad_rows.items())
        rows = f" ({bad} would be put in quarantine)" if bad else ""
        if Reason.MISSING_TEXT_COLUMN in self.bad_rows:
            rows += ": text_column of the corpus may name a column that the file does not have"
        if not too_few_left(self.shard, self.before, self.now):
            rows += ", with which its corpus would lose over a fifth of its documents"
        return f"{number_of_documents(self.shard)} fell from {self.before:,} to {self.now:,}{rows}"


@dataclass(frozen=True)
class ProjectSnapshot:
    """Everything but current values that input keys depend on, as it was at one moment.

    `fingerprints`, `target_fingerprints`: digest of the bytes of each shard and target.
    `held`: shards that cannot be read yet, such as files still being written, with the reason.
    `asked`: trials on request that were made once or are asked for now; they are kept current as others are.
    `pinned`: selections that are kept at an earlier version.
    `stamps`: digest of size and times of each file or package when it was hashed (`stamp_of`).
    `withdrawn`: digest of the withdrawn documents of each (asset, partition) that holds any.
    `searches`: trials of the scaling law that a budget asks for, by target; empty without a budget: all are.
    `swarm`: the runs of [mixture], None without that section or before they are planned.
    `absent`: shards whose files are gone and whose removal is held back, with the corpus of each.
    `kept`: by partition set, names that left tamis.toml and whose values stay until a person allows their
    removal. `shrunken`: by shard, files that lost too many of their documents, and targets of their examples.
    `allowed`: names whose removal a person allows in this run.
    `versions`: of each file of a group, the digest of its bytes, by the key of the file.
    `absent_files`: files of groups that are gone and whose removal is held back, with the corpus of each;
    `left`: those that are gone and wait for their removal. Both stay members of their groups until then.
    `benchmark_fingerprints`, `control_fingerprints`: digest of the bytes of each of these sets.
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
    swarm: Swarm | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, frozenset[str]] = field(default_factory=dict)
    shrunken: Mapping[str, Shrunken] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    absent_files: Mapping[str, str] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    benchmark_fingerprints: Mapping[str, str] = field(default_factory=dict)
    control_fingerprints: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def group_of(self) -> dict[str, str]:
        """The group of each file that is in one, by the key of the file."""
        return {file.key: key for key, shard in self.shards.items() for file in shard.members}

    @cached_property
    def files(self) -> dict[str, Shard]:
        """Files and packages that are there, by the key under which tables name them."""
        return {
            file.key: file
            for shard in self.shards.values()
            for file in shard.files
            if file.key not in self.absent_files and file.key not in self.left
        }

    @property
    def lost(self) -> dict[str, str]:
        """Files and packages whose removal is held back, with the corpus of each."""
        alone = {key: corpus for key, corpus in self.absent.items() if not is_group_key(key)}
        return {**alone, **self.absent_files}

    def keeps(self, asset: str, partition_set: str | None, partition: str) -> bool:
        """Return whether a value stays as it is: its source is gone, and nobody has allowed its removal."""
        if partition_set == "shards":
            stage = stages().get(asset)
            return partition in self.absent and stage is not None and stage.from_files
        return partition in self.kept.get(partition_set or "", ())

    def is_shrunken(self, asset: str, partition: str, key: str) -> bool:
        """Return whether a file or target lost too much in the state of `key`, and nobody allowed it."""
        if not self.shrunken or asset not in (DOCUMENTS_STAGE.name, EXAMPLES_STAGE.name):
            return False
        found = self.shrunken.get(partition if asset == DOCUMENTS_STAGE.name else place_of_target(partition))
        return found is not None and not found.allowed and found.input_key == key

    def with_known_shards(self, known: Collection[str]) -> "ProjectSnapshot":
        """Return the snapshot with only those shards that are among the known ones."""
        if set(self.shards) <= set(known):
            return self
        kept = {key: shard for key, shard in self.shards.items() if key in known}
        return replace(self, shards=kept, fingerprints={key: self.fingerprints[key] for key in kept})

    def with_unremoved(self, gone: Iterable[tuple[str, str]]) -> "ProjectSnapshot":
        """Return the snapshot in which these (asset, partition), whose files or names are gone, stay.

        Their rows are still in the tables that a step reads, so they are among its inputs; once they have
        been removed, what was made with them is out of date.
        """
        absent, kept, shards = dict(self.absent), dict(self.kept), set[str]()
        for asset, partition in gone:
            stage = stages().get(asset)
            name = stage.partitions if stage is not None and stage.active(self) else None
            if name is None or partition in self.keys(name) or partition in self.left:
                continue
            if name == "shards":
                shards.add(partition)
            else:
                kept[name] = kept.get(name, frozenset()) | {partition}
        absent |= corpora_of(self.project.home.store, shards)
        return self if (absent, kept) == (self.absent, self.kept) else replace(self, absent=absent, kept=kept)

    def with_withdrawn(self, asset: str, found: Mapping[str, str | None]) -> "ProjectSnapshot":
        """Return the snapshot with the digest of refused texts of each of these partitions, None for none."""
        others = {key: one for key, one in self.withdrawn.items() if key[0] != asset or key[1] not in found}
        held = {(asset, partition): one for partition, one in found.items() if one}
        return self if others | held == self.withdrawn else replace(self, withdrawn=others | held)

    def is_unchanged(self, file: Shard) -> bool:
        """Return whether a file or package is untouched since it was hashed, by size and times."""
        try:
            return self.stamps.get(file.key) == stamp_of(file)
        except OSError:
            return False

    def same_files(self, other: "ProjectSnapshot") -> bool:
        """Return whether the files of corpora, targets, benchmarks and controls are the same in both."""
        names = (
            "fingerprints",
            "target_fingerprints",
            "benchmark_fingerprints",
            "control_fingerprints",
        )
        return all(getattr(self, name) == getattr(other, name) for name in names)

    @cached_property
    def _shard_keys(self) -> tuple[str, ...]:
        return tuple(sorted({*self.shards, *self.absent}))

    @cached_property
    def precision(self) -> str:
        """Precision in which models are computed; `auto` until a first run chooses one."""
        return self.project.precision or AUTO

    @property
    def encoder_identity(self) -> str:
        """Identity of the configured encoder; of a model it is looked up once for all shards.

        That of vectors in a column of the rows is in a table, which the run that reads it may write.
        """
        return (
            self._model_identity
            if self.project.settings.encoder.column is None
            else project_encoder(self.project)
        )

    @cached_property
    def _model_identity(self) -> str:
        return encoder_identity(self.project.model(self.project.settings.encoder.name), self.precision)

    @cached_property
    def tokenizer_identity(self) -> str:
        """Identity of the tokenizer that counts tokens, looked up once for all shards that depend on it."""
        found = counting_tokenizer(self.project.settings)
        assert found is not None
        assert found.path is not None, "the graph trains this tokenizer: it is an input, not a setting"
        return tokenizer_identity(self.project.model(found.path))

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """Planned trials by name."""
        return {trial.name: trial for trial in planned_trials(self.project)}

    def waits_for_request(self, partition_set: str | None, key: str) -> bool:
        """Return whether a partition is made only on request of a person or a search, and none has asked.

        Runs of [mixture] wait that belong to an earlier plan. That holds, too, for a kept trial that
        tamis.toml no longer plans.
        """
        if partition_set in SWARM_SETS:
            return self.swarm is None or not self.swarm.wants(key)
        if partition_set != "trials" or key in self.asked:
            return False
        trial = self.trials.get(key)
        if trial is None:
            return True
        if self.searches and trial.kind == "law":
            return key not in self.searches[trial.data].wanted
        return trial.on_request

    def keys(self, partition_set: str | None) -> tuple[str, ...]:
        """Return the partition keys of a set, those of shards sorted; ("",) for assets without partitions."""
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
            case RUNS_STAGE.partitions:
                return tuple(self.swarm.proxies) if self.swarm else ()
            case LARGER_STAGE.partitions:
                return tuple(self.swarm.larger) if self.swarm else ()
            case _:
                return tuple(self.trials)


def stamp_of(shard: Shard) -> str:
    """Return a digest of size, inode and nanoseconds of the last change of a file, or of a package's files.

    Of a remote shard it is the tag of the object store and the size.
    """
    if shard.remote is not None:
        return f"{shard.remote.tag}:{shard.remote.size}"
    files = python_files(shard.path) if shard.kind == "package" else {shard.path.name: shard.path}
    parts = []
    for name, file in files.items():
        status = os.stat(file)
        parts.append(f"{name}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
