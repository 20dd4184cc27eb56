"""Rows that could not be read, of all that the files hold: for each corpus and target, and against the limit.

An unreadable file counts as its rows. They are known from its last reading, which may be stored still, from
its reader, from its footer or from its lines; where nothing tells, it counts as one. A file that is held back
counts with the rows it had: the pool has them.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tamis.base.numbers import named, percent
from tamis.corpus.lost_rows import STILL_BEING_WRITTEN
from tamis.corpus.records import WHOLE_SHARD
from tamis.corpus.row_counts import COLUMNAR, rows_told, rows_told_apart
from tamis.corpus.shards import Shard
from tamis.corpus.stage import (
    DOCUMENTS_STAGE,
    EXAMPLES_STAGE,
    OCCURRENCES,
    QUARANTINE,
    RAW_STAGE,
    TARGET_EXAMPLES,
)
from tamis.corpus.targets import ROWS_READ, target_of_place
from tamis.graph.failed_steps import FailedStep
from tamis.graph.snapshot import ProjectSnapshot
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

CORPUS, TARGET = "corpus", "target"
OF_FILES = (RAW_STAGE.name, DOCUMENTS_STAGE.name)


@dataclass(frozen=True, kw_only=True)
class Share:
    """Rows of a corpus or target that could not be read (`bad`), of all that it has.

    `foreseen`: some of its files were looked at alone; `about`: then also whether that is an estimate.
    """

    kind: str = CORPUS
    name: str
    bad: int
    rows: int
    maximum: float
    foreseen: bool = False
    about: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it is more than tamis.toml allows."""
        return self.bad > self.maximum * self.rows

    @property
    def line(self) -> str:
        """A line for a person: the share, the limit, and what may be done."""
        of = "rows would be" if self.foreseen else "rows are"
        listed = "the files named below" if self.foreseen else "what `tamis status` lists under quarantine"
        return (
            f"{self.kind} {self.name}: {percent(self.bad / self.rows)} of its {of} in quarantine "
            f"({self.bad:,} of {self.rows:,}), above maximum_quarantine = {self.maximum:g} in [automation]; "
            f"fix or exclude {listed}, or raise maximum_quarantine"
        )


def unread_line(shares: Sequence[Share]) -> str:
    """Return how many rows could not be read, of the project and by corpus and target; "" where all could."""
    lines = []
    for kind in (CORPUS, TARGET):
        own = [share for share in shares if share.kind == kind]
        bad = [share for share in own if share.bad]
        if not bad:
            continue
        about = "about " if any(share.about for share in bad) else ""
        could = "would not be" if any(share.foreseen for share in bad) else "could not be"
        each = named([f"{kind} {one.name} {one.bad:,} of {one.rows:,}" for one in bad])
        total = f"{about}{sum(one.bad for one in bad):,} of {sum(one.rows for one in own):,} rows"
        of = " of targets" if kind == TARGET else ""
        lines.append(f"{total}{of} {could} read: {each}")
    return "; ".join(lines)


def unread_json(shares: Sequence[Share]) -> dict[str, Any]:
    """Return what `unread_line` says as JSON values."""
    corpora = [share for share in shares if share.kind == CORPUS]
    return {
        "rows": sum(share.bad for share in corpora),
        "of": sum(share.rows for share in corpora),
        "corpora": {share.name: {"rows": share.bad, "of": share.rows} for share in corpora},
        "targets": {
            share.name: {"rows": share.bad, "of": share.rows} for share in shares if share.kind == TARGET
        },
    }


def read_quarantine(store: Store) -> list[dict[str, Any]]:
    """Return the entries of the quarantine, sorted, with all columns: a home may lack the latest."""
    found = store.read(QUARANTINE.name, schema_of(QUARANTINE.name).names)
    return found.sort("shard", "row", "reason").to_dicts()


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What a look at files of a corpus tells that are to be read: `bad` rows of `rows`, in these files."""

    bad: int
    rows: int
    about: bool
    files: frozenset[str]


def unread_shares(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    entries: Iterable[Mapping[str, Any]],
    failed: Collection[FailedStep] = (),
    foreseen: Mapping[str, Foreseen] | None = None,
) -> list[Share]:
    """Return the share of each corpus, and of each target that has rows in quarantine.

    entries: of the quarantine. `failed`: steps; files of which nothing could be made are not read, either.
    `foreseen`: by corpus, what takes the place of the last reading of files that are to be read.
    """
    foreseen = foreseen or {}
    counts = _Counts(snapshot, frozenset(key for one in foreseen.values() for key in one.files))
    of_targets = Counter[str]()
    for entry in entries:
        if (target := target_of_place(entry["shard"])) is not None:
            of_targets[target] += entry["rows_lost"] or 1
        elif entry["shard"] in snapshot.files:
            counts.add(entry)
    counts.fail(_files_of(snapshot, failed))
    maximum = snapshot.project.settings.automation.maximum_quarantine
    shares = []
    for corpus in snapshot.project.settings.corpus:
        bad, good = counts.bad[corpus.name], counts.good(corpus.name)
        new = foreseen.get(corpus.name, Foreseen(bad=0, rows=0, about=False, files=frozenset()))
        rows = bad + good + new.rows
        shares.append(
            Share(
                name=corpus.name,
                bad=bad + new.bad,
                rows=rows,
                maximum=maximum,
                foreseen=bool(new.bad),
                about=new.about,
            )
        )
    return [*shares, *_of_targets(snapshot, current, of_targets, maximum)]


@dataclass
class _Counts:
    """Rows by corpus: those in quarantine (`bad`), and those of files that were read."""

    snapshot: ProjectSnapshot
    without: frozenset[str]
    bad: Counter[str] = field(default_factory=Counter)
    whole: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        store = self.snapshot.project.home.store
        frame = store.read(OCCURRENCES.name, ["shard"]).group_by("shard").len()
        self.stored: dict[str, int] = {
            key: count
            for key, count in frame.iter_rows()
            if key in self.snapshot.files and key not in self.without
        }

    def good(self, corpus: str) -> int:
        files = self.snapshot.files
        return sum(count for key, count in self.stored.items() if files[key].corpus == corpus)

    def add(self, entry: Mapping[str, Any]) -> None:
        file = self.snapshot.files[entry["shard"]]
        if file.key in self.without:
            return
        rows = entry["rows_lost"]
        if entry["row"] == WHOLE_SHARD:
            self.whole.add(file.key)
        if entry["reason"] == STILL_BEING_WRITTEN:
            rows = self.stored.pop(file.key, 0)
        elif (
            rows is None
            and entry["row"] == WHOLE_SHARD
            and file.kind == "file"
            and file.key not in self.stored
        ):
            rows = rows_told(file.path)
        self.bad[file.corpus] += max(1, rows or 0)

    def fail(self, files: Iterable[Shard]) -> None:
        for file in files:
            if file.key in self.without or file.key in self.whole:
                continue
            rows = self.stored.pop(file.key, 0)
            if not rows and file.kind == "file":
                told = rows_told_apart if file.name.lower().endswith(COLUMNAR) else rows_told
                rows = told(file.path) or 0
            self.bad[file.corpus] += max(1, rows)


def _files_of(snapshot: ProjectSnapshot, failed: Collection[FailedStep]) -> list[Shard]:
    """Return the files of which no documents could be made."""
    keys = dict.fromkeys(one.partition for one in failed if one.asset in OF_FILES)
    shards = (snapshot.shards[key] for key in keys if key in snapshot.shards)
    return [file for shard in shards for file in shard.files if file.key in snapshot.files]


def _of_targets(
    snapshot: ProjectSnapshot, current: CurrentValues, bad: Mapping[str, int], maximum: float
) -> Iterable[Share]:
    """Yield the share of each target that has rows in quarantine, once its examples were made."""
    store, folder = snapshot.project.home.store, ManifestFolder.of(snapshot.project.home)
    for target in snapshot.project.settings.target:
        value = current.get((EXAMPLES_STAGE.name, target.name))
        if not bad[target.name] or value is None:
            continue
        distinct = store.count(TARGET_EXAMPLES.name, f"target = '{target.name}'")
        try:
            rows = folder.read(value.manifest).beside.get(ROWS_READ, 0)
        except ManifestError:
            rows = 0  # what is damaged is said elsewhere
        count = max(int(rows), distinct + bad[target.name])
        yield Share(kind=TARGET, name=target.name, bad=bad[target.name], rows=count, maximum=maximum)
