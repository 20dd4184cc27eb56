"""Rows that could not be read, of all that the files hold: for each corpus and target, and against the limit.

An unreadable file counts as its rows. They are known from its last reading, which may be stored still, from
its reader, from its footer or from its lines; where nothing tells, it counts as one. A file that is held back
counts with the rows it had: the pool has them.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tamis.base.numbers import named, percent
from tamis.corpus.quarantine import STILL_BEING_WRITTEN
from tamis.corpus.shards import Shard
from tamis.corpus.stage import (
    DOCUMENTS_STAGE,
    EXAMPLES_STAGE,
    QUARANTINE,
    RAW_STAGE,
    TARGET_EXAMPLES,
)
from tamis.corpus.targets import ROWS_READ, target_of_place
from tamis.graph.failures import FailedStep
from tamis.graph.plan import INTERRUPTED, Due
from tamis.graph.snapshot import ProjectSnapshot
from tamis.passages.places import rows_by_shard
from tamis.readers.rows import WHOLE_SHARD
from tamis.readers.streams import COLUMNAR, rows_told, rows_told_apart
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

CORPUS, TARGET = "corpus", "target"
OF_FILES = (RAW_STAGE.name, DOCUMENTS_STAGE.name)
READ_AGAIN = "will be read again by the next run, since files or settings have changed"


ALL, SOME = "they", "some of them"


@dataclass(frozen=True, kw_only=True)
class Share:
    """Rows of a corpus or target that could not be read (`bad`), of all that it has.

    `foreseen`: some of its files were looked at alone; `about`: then also whether that is an estimate.
    `again`: which of these rows the next run reads again, "they" or "some of them", "" for none.
    """

    kind: str = CORPUS
    name: str
    bad: int
    rows: int
    maximum: float
    foreseen: bool = False
    about: bool = False
    again: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it is more than tamis.toml allows."""
        return self.bad > self.maximum * self.rows

    @property
    def line(self) -> str:
        """A line for a person: the share, the limit, and what may be done."""
        of = "rows would be" if self.foreseen else "rows are"
        listed = "the files named below" if self.foreseen else "what `tamis status` lists under quarantine"
        next_steps = [f"{self.again} {READ_AGAIN}"] if self.again else []
        if self.again != ALL:
            next_steps.append(f"fix or exclude {listed}, or raise maximum_quarantine")
        return (
            f"{self.kind} {self.name}: {percent(self.bad / self.rows)} of its {of} in quarantine "
            f"({self.bad:,} of {self.rows:,}), above maximum_quarantine = {self.maximum:g} in [automation]; "
            f"{'; '.join(next_steps)}"
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
        rows = "rows of targets" if kind == TARGET else "rows"
        total = f"{sum(one.bad for one in bad):,} of {sum(one.rows for one in own):,}"
        lines.append(f"{about}{total} {rows} {could} read: {each}")
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
    """What a look at files tells that are to be read: `bad` rows of `rows`; of a corpus, in these `files`."""

    bad: int
    rows: int
    about: bool = False
    files: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class NextReading:
    """What the next run reads: files of corpora, by key, and targets, by name.

    `foreseen`: by (`CORPUS` or `TARGET`, name), what a look at them tells.
    """

    files: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    foreseen: Mapping[tuple[str, str], Foreseen] = field(default_factory=dict)

    def includes(self, place: str) -> bool:
        """Return whether a place of the quarantine is read."""
        return place in self.files or target_of_place(place) in self.targets


def next_reading(snapshot: ProjectSnapshot, plan: Iterable[Due]) -> NextReading:
    """Return what the entries of a plan read."""
    keys: dict[str, list[str]] = {DOCUMENTS_STAGE.name: [], EXAMPLES_STAGE.name: []}
    for due in plan:
        keys.get(due.asset, []).append(due.partition)
    files = frozenset(file.key for file in _files_of(snapshot, keys[DOCUMENTS_STAGE.name]))
    return NextReading(files=files, targets=frozenset(keys[EXAMPLES_STAGE.name]))


def rereading(snapshot: ProjectSnapshot, current: CurrentValues, plan: Iterable[Due]) -> NextReading:
    """Return what was read before and is read again, since files or settings have changed."""
    made = (due for due in plan if (due.asset, due.partition) in current and due.reason != INTERRUPTED)
    return next_reading(snapshot, made)


def unread_shares(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    entries: Sequence[Mapping[str, Any]],
    failed: Collection[FailedStep] = (),
    reading: NextReading | None = None,
    again: NextReading | None = None,
) -> list[Share]:
    """Return the share of each corpus, and of each target that has rows in quarantine.

    entries: of the quarantine. `failed`: steps; files of which nothing could be made are not read, either.
    `reading`: what is about to be read. What is foreseen of it takes the place of its last reading; where
    nothing is, the rows of the last reading count as readable. `again`: what is read again, too, but counts
    as it was read last; the shares say so.
    """
    reading = reading or NextReading()
    known = frozenset(key for one in reading.foreseen.values() for key in one.files)
    counts = _Counts(snapshot, known, reading.files)
    of_targets = Counter[str]()
    for entry in entries:
        if (target := target_of_place(entry["shard"])) is not None:
            of_targets[target] += entry["rows_lost"] or 1
        elif entry["shard"] in snapshot.files:
            counts.add(entry)
    counts.fail(_files_of(snapshot, [one.partition for one in failed if one.asset in OF_FILES]))
    maximum = snapshot.project.settings.automation.maximum_quarantine
    shares = []
    for corpus in snapshot.project.settings.corpus:
        bad, good = counts.bad[corpus.name], counts.good(corpus.name)
        new = reading.foreseen.get((CORPUS, corpus.name), Foreseen(bad=0, rows=0))
        shares.append(
            Share(
                name=corpus.name,
                bad=bad + new.bad,
                rows=bad + good + new.rows,
                maximum=maximum,
                foreseen=bool(new.bad),
                about=new.about,
            )
        )
    shares += _of_targets(snapshot, current, of_targets, reading)
    words = _read_again(snapshot, entries, again or NextReading())
    return [replace(share, again=words.get((share.kind, share.name), "")) for share in shares]


def _read_again(
    snapshot: ProjectSnapshot, entries: Iterable[Mapping[str, Any]], again: NextReading
) -> dict[tuple[str, str], str]:
    """Return `Share.again` by kind and name of what has entries in quarantine that are read again."""
    found: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for place in (entry["shard"] for entry in entries):
        if (target := target_of_place(place)) is not None:
            found[TARGET, target].append(again.includes(place))
        elif place in snapshot.files:
            found[CORPUS, snapshot.files[place].corpus].append(again.includes(place))
    return {key: (ALL if all(own) else SOME) for key, own in found.items() if any(own)}


@dataclass
class _Counts:
    """Rows by corpus: those in quarantine (`bad`), and those of files that were read.

    `without`: files that are not counted; `again`: those of which rows in quarantine are `reread`, not bad.
    """

    snapshot: ProjectSnapshot
    without: frozenset[str]
    again: frozenset[str]
    bad: Counter[str] = field(default_factory=Counter)
    reread: Counter[str] = field(default_factory=Counter)
    whole: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        frame = rows_by_shard(self.snapshot.project.home.store)
        counted = self.snapshot.files.keys() - self.without
        self.stored: dict[str, int] = {key: count for key, count in frame.iter_rows() if key in counted}

    def good(self, corpus: str) -> int:
        files = self.snapshot.files
        stored = sum(count for key, count in self.stored.items() if files[key].corpus == corpus)
        return stored + self.reread[corpus]

    def add(self, entry: Mapping[str, Any]) -> None:
        file = self.snapshot.files[entry["shard"]]
        if file.key in self.without:
            return
        rows, whole = entry["rows_lost"], entry["row"] == WHOLE_SHARD
        if whole:
            self.whole.add(file.key)
        if entry["reason"] == STILL_BEING_WRITTEN:
            if file.key in self.again:
                return
            rows = self.stored.pop(file.key, 0)
        elif rows is None and whole and file.kind == "file" and file.key not in self.stored:
            rows = rows_told(file.path)
        counter = self.reread if file.key in self.again else self.bad
        counter[file.corpus] += max(1, rows or 0)

    def fail(self, files: Iterable[Shard]) -> None:
        for file in files:
            if file.key in self.without or file.key in self.whole:
                continue
            rows = self.stored.pop(file.key, 0)
            if not rows and file.kind == "file":
                told = rows_told_apart if file.name.lower().endswith(COLUMNAR) else rows_told
                rows = told(file.path) or 0
            self.bad[file.corpus] += max(1, rows)


def _files_of(snapshot: ProjectSnapshot, keys: Iterable[str]) -> list[Shard]:
    """Return the files of shards."""
    shards = (snapshot.shards[key] for key in dict.fromkeys(keys) if key in snapshot.shards)
    return [file for shard in shards for file in shard.files if file.key in snapshot.files]


def _of_targets(
    snapshot: ProjectSnapshot, current: CurrentValues, bad: Mapping[str, int], reading: NextReading
) -> Iterable[Share]:
    """Yield the share of each target that was made and has rows in quarantine, or is read and would have."""
    store, folder = snapshot.project.home.store, ManifestFolder.of(snapshot.project.home)
    maximum = snapshot.project.settings.automation.maximum_quarantine
    for target in snapshot.project.settings.target:
        if target.name in reading.targets:
            new = reading.foreseen.get((TARGET, target.name))
            if new is not None and new.bad:
                yield Share(
                    kind=TARGET, name=target.name, bad=new.bad, rows=new.rows, maximum=maximum, foreseen=True
                )
            continue
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
