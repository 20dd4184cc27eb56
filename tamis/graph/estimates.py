"""What the work of a plan will take: rows, seconds and money, from what earlier runs of this home took.

Time goes with the rows of a shard, or with the size of the pool where a stage reads all of it; rows of a file
that is new or changed go with its bytes, at the rate of its corpus. Where nothing was measured before, the
answer is that it is not known. Twenty manifests a stage are read at most, so a plan stays quick.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import polars as pl

from tamis.corpus.stage import OCCURRENCES
from tamis.graph.plan import Due
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import Manifest, ManifestError, ManifestFolder
from tamis.stage import Growth, Price, Stage

SAMPLED = 20


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one value will take; None where nothing was measured that would tell. What a judge is
    asked is an upper bound: as if it had seen none of the sample."""

    rows: int | None = None
    seconds: float | None = None
    cost: float | None = None


def estimates(
    project: Project, snapshot: ProjectSnapshot, current: CurrentValues, plan: Sequence[Due]
) -> list[Estimate]:
    """An estimate for each entry of a plan, in its order."""
    if not plan:
        return []
    past = _Past(project, snapshot, current, plan)
    return [past.estimate(due) for due in plan]


class _Past:
    """What was measured before, read once."""

    def __init__(
        self, project: Project, snapshot: ProjectSnapshot, current: CurrentValues, plan: Sequence[Due]
    ) -> None:
        self.project, self.snapshot, self.current = project, snapshot, current
        self._folder = ManifestFolder.of(project.home)
        self._rates: dict[str, float | None] = {}
        self._rereads = {due.partition for due in plan if stages()[due.asset].from_files}

    def estimate(self, due: Due) -> Estimate:
        stage = stages()[due.asset]
        if stage.partitions == "shards":
            rows, rate = self.rows_of(due.partition), self._rate(due.asset)
            seconds = rate * rows if rate is not None and rows is not None else None
            return Estimate(rows=rows, seconds=_rounded(seconds))
        value = self.current.get((due.asset, due.partition))
        before = self._manifest(value.manifest) if value else None
        pool = _reads_the_pool(stage, self.snapshot, due.partition)
        growth = self._growth if pool or stage.growth == Growth.OWN_ROWS else 1.0
        if before is None or growth is None or "partition_seconds" not in before.beside:
            return Estimate()
        seconds = float(before.beside["partition_seconds"]) * growth
        if before.beside.get("asked"):  # the rest had been answered before
            seconds *= before.row_count / before.beside["asked"]
        return Estimate(
            rows=self._pool if pool else round(before.row_count * growth),
            seconds=_rounded(seconds),
            cost=self._cost(before, stage.price(self.snapshot)),
        )

    def rows_of(self, key: str) -> int | None:
        """Rows of a shard: as stored, or by its bytes where it is to be read (again)."""
        known = self._stored.get(key)
        if key not in self._rereads:
            return known or 0  # it was read, and may hold nothing but what is in quarantine
        size, rate = self._size(key), self._rows_per_byte.get(self.snapshot.shards[key].corpus)
        return known if size is None or rate is None else max(1, round(size * rate))

    @cached_property
    def _stored(self) -> dict[str, int]:
        frame = self.project.home.store.read(OCCURRENCES.name, ["shard"]).group_by("shard").len()
        return {str(shard): int(rows) for shard, rows in frame.sort("shard").iter_rows()}

    @cached_property
    def _rows_per_byte(self) -> dict[str, float]:
        """Of each corpus, by its files that lie as they were read."""
        rows = [
            (self.snapshot.shards[key].corpus, self._stored[key], size)
            for key in self.snapshot.keys("shards")
            if key in self._stored and key not in self._rereads and (size := self._size(key))
        ]
        frame = pl.DataFrame(rows, schema=["corpus", "rows", "bytes"], orient="row")
        rates = frame.group_by("corpus").agg(pl.col("rows").sum() / pl.col("bytes").sum())
        return dict(rates.iter_rows())

    @cached_property
    def _pool(self) -> int | None:
        """Rows of all shards as they will be, None where those of a new one are not known."""
        known = [self.rows_of(key) for key in self.snapshot.keys("shards")]
        return None if None in known else sum(rows or 0 for rows in known)

    @cached_property
    def _growth(self) -> float | None:
        """The pool to come as a multiple of the pool now."""
        now = sum(self._stored.values())
        return self._pool / now if now and self._pool is not None else None

    def _rate(self, asset: str) -> float | None:
        """Seconds a row: the median over a sample of shards, since one of a run also loads the model."""
        if asset not in self._rates:
            current = [value for (name, _key), value in self.current.items() if name == asset]
            sample = current[:: max(1, len(current) // SAMPLED)][:SAMPLED]
            found = [self._manifest(value.manifest) for value in sample]
            rates = [
                float(one.beside["partition_seconds"]) / one.row_count
                for one in found
                if one and one.row_count and "partition_seconds" in one.beside
            ]
            no_time = stages()[asset].growth == Growth.NO_TIME
            self._rates[asset] = 0.0 if no_time else median(rates) if rates else None
        return self._rates[asset]

    def _cost(self, before: Manifest, price: Price | None) -> float | None:
        """At the price of a token, if every question is asked."""
        asked, tokens = before.beside.get("asked"), before.beside.get("tokens_asked")
        if price is None or not asked or not tokens:
            return None
        return round(price.questions * tokens / asked * price.per_million_tokens / 1e6, 6)

    def _size(self, key: str) -> int | None:
        shard = self.snapshot.shards.get(key)
        if shard is None:
            return None  # it is held back: its file is gone
        if shard.remote is not None:
            return shard.remote.size
        try:
            return shard.path.stat().st_size if shard.kind == "file" else None
        except OSError:
            return None

    def _manifest(self, manifest: str) -> Manifest | None:
        try:
            return self._folder.read(manifest)
        except ManifestError:
            return None


def _reads_the_pool(stage: Stage, snapshot: ProjectSnapshot, partition: str) -> bool:
    """Whether the work is on every document: all that reads something of every shard, or its tables."""
    if stage.growth is not None:
        return stage.growth == Growth.POOL
    return any(
        stages()[edge.asset].partitions == "shards" and edge.partitions(snapshot, partition)
        for edge in stage.edges
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
