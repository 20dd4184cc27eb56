"""Estimates of a plan: rows, seconds and money for each entry, as measured in earlier runs of this home.

Time is proportional to the rows of a shard, or to the size of the pool where a stage reads all of it; the
rows of a new or changed file are proportional to its bytes, at the rate of its corpus. Where nothing was
measured before, or of under a hundredth of the rows, an estimate is None, unless plug-ins state their cost.
The manifests of the twenty largest shards a stage are read, so that a plan stays quick: what a shard with a
single page takes is mostly not the time of its row.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import polars as pl

from tamis.corpus import Shard
from tamis.corpus.small_files import group_of_files
from tamis.corpus.stage import OCCURRENCES
from tamis.graph.plan import Due, plugins_of
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import Manifest, ManifestError, ManifestFolder
from tamis.stage import Growth, Price, Stage

SAMPLED = 20
REACH = 100
"""Times the rows of a measurement, the most rows that are estimated from it."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Rows, seconds and cost of making one value; None where no earlier run measured them.

    The cost is an upper bound: as if the judge had answered none of the questions before. Its currency is
    that of the judge's price.
    """

    rows: int | None = None
    seconds: float | None = None
    cost: float | None = None


def estimates(
    project: Project, snapshot: ProjectSnapshot, current: CurrentValues, plan: Sequence[Due]
) -> list[Estimate]:
    """Return an estimate for each entry of a plan, in its order."""
    past = _Past(project, snapshot, current, plan)
    return [past.estimate(due) for due in plan]


class _Past:
    """Measurements of earlier runs, each read once."""

    def __init__(
        self, project: Project, snapshot: ProjectSnapshot, current: CurrentValues, plan: Sequence[Due]
    ) -> None:
        self.project, self.snapshot, self.current = project, snapshot, current
        self._folder = ManifestFolder.of(project.home)
        self._rates: dict[str, tuple[float, float] | None] = {}
        self._rereads = {due.partition for due in plan if stages()[due.asset].from_files}

    def estimate(self, due: Due) -> Estimate:
        stage = stages()[due.asset]
        if stage.partitions == "shards":
            rows, rate = self.rows_of(due.partition), self._rate(due.asset)
            if rate is None or rows is None or rows > REACH * rate[1]:
                return Estimate(rows=rows)
            return Estimate(rows=rows, seconds=_rounded(rate[0] * rows))
        value = self.current.get((due.asset, due.partition))
        before = self._manifest(value.manifest) if value else None
        pool = _reads_the_pool(stage, self.snapshot, due.partition)
        growth = self._growth if pool or stage.growth == Growth.OWN_ROWS else 1.0
        if before is None or growth is None or "partition_seconds" not in before.beside:
            return Estimate(seconds=self._stated(due))
        seconds = float(before.beside["partition_seconds"]) * growth
        if before.beside.get("asked"):  # the judge had answered the other questions before
            seconds *= before.row_count / before.beside["asked"]
        return Estimate(
            rows=self._pool if pool else round(before.row_count * growth),
            seconds=_rounded(seconds),
            cost=self._cost(before, stage.price(self.snapshot)),
        )

    def _stated(self, due: Due) -> float | None:
        """Return the seconds that the plug-ins of a value state for the pool; None where one states none."""
        costs = [one.declaration.cost for one in plugins_of(self.snapshot, [due])]
        known = [cost for cost in costs if cost is not None]
        if not costs or len(known) < len(costs) or self._pool is None:
            return None
        return _rounded(sum(known) * self._pool / 1_000)

    def rows_of(self, key: str) -> int | None:
        """Return the rows of a shard: as stored, or estimated from its bytes where it will be read."""
        known = self._stored.get(key)
        if key not in self._rereads:
            return known or 0  # it was read, and all of its rows may be in quarantine
        size, rate = self._size(key), self._rows_per_byte.get(self.snapshot.shards[key].corpus)
        return known if size is None or rate is None else max(1, round(size * rate))

    @cached_property
    def _stored(self) -> dict[str, int]:
        store = self.project.home.store
        places = store.read(OCCURRENCES.name, ["shard"]).join(group_of_files(store), on="shard", how="left")
        frame = places.group_by(pl.coalesce("partition", "shard").alias("key")).len()
        return {str(key): int(rows) for key, rows in frame.sort("key").iter_rows()}

    @cached_property
    def _rows_per_byte(self) -> dict[str, float]:
        """Rows a byte of each corpus, from its files that have not changed since they were read."""
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
        """Rows of all shards after the plan, None where those of a new shard are not known."""
        known = [self.rows_of(key) for key in self.snapshot.keys("shards")]
        return None if None in known else sum(rows or 0 for rows in known)

    @cached_property
    def _growth(self) -> float | None:
        """Size of the pool after the plan divided by its size now."""
        now = sum(self._stored.values())
        return self._pool / now if now and self._pool is not None else None

    def _rate(self, asset: str) -> tuple[float, float] | None:
        """Return the seconds a row, and the number of rows measured.

        The rate is a median over rows, since the first shard of a run also loads the model.
        """
        if asset not in self._rates:
            known = ((key, value) for (name, key), value in self.current.items() if name == asset)
            largest = sorted(known, key=lambda entry: (-self._stored.get(entry[0], 0), entry[0]))[:SAMPLED]
            measured = [
                (float(one.beside["partition_seconds"]) / one.row_count, one.row_count)
                for one in (self._manifest(value.manifest) for _key, value in largest)
                if one and one.row_count and "partition_seconds" in one.beside
            ]
            no_time = stages()[asset].growth == Growth.NO_TIME
            self._rates[asset] = (0.0, math.inf) if no_time else _median(measured)
        return self._rates[asset]

    def _cost(self, before: Manifest, price: Price | None) -> float | None:
        """Return the cost of asking every question, at the mean number of tokens asked before."""
        asked, tokens = before.beside.get("asked"), before.beside.get("tokens_asked")
        if price is None or not asked or not tokens:
            return None
        return round(price.questions * tokens / asked * price.per_million_tokens / 1e6, 6)

    def _size(self, key: str) -> int | None:
        shard = self.snapshot.shards.get(key)
        if shard is None:
            return None  # its file is gone and its removal is held back
        if shard.kind == "group":
            return sum(_bytes_of(file) or 0 for file in shard.members)
        return _bytes_of(shard)

    def _manifest(self, manifest: str) -> Manifest | None:
        try:
            return self._folder.read(manifest)
        except ManifestError:
            return None


def _median(measured: Sequence[tuple[float, int]]) -> tuple[float, int] | None:
    """Return the median of rates over the rows that they were measured on, and the number of these rows."""
    ordered = sorted(measured)
    sums = list(accumulate(rows for _rate, rows in ordered))
    if not sums:
        return None
    return ordered[bisect_left(sums, sums[-1] / 2)][0], sums[-1]


def _bytes_of(file: Shard) -> int | None:
    if file.remote is not None:
        return file.remote.size
    try:
        return file.path.stat().st_size if file.kind == "file" else None
    except OSError:
        return None


def _reads_the_pool(stage: Stage, snapshot: ProjectSnapshot, partition: str) -> bool:
    """Return whether a stage works on every document: it declares so, or reads a stage made of shards."""
    if stage.growth is not None:
        return stage.growth == Growth.POOL
    return any(
        stages()[edge.asset].partitions == "shards" and edge.partitions(snapshot, partition)
        for edge in stage.edges
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
