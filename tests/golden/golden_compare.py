"""Compare the content of a home with a golden, field by field, and say in plain words what differs.

On a machine of the kind that the golden was written on, everything is equal and numbers agree to 1e-6.
Elsewhere last bits differ, and what follows from them is bounded by `KINDS` and by the bands that the
golden lists: the ranks that a document may have, and the documents whose verdict may change, because the
scores of others are as near as processors differ. Whatever is in no band is equal there, too.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import content as reading
import numpy as np
import polars as pl

LIKE = 1e-6
"""Relative difference of numbers on a machine of the same kind."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a number may differ by elsewhere: a share of itself or of its column's size, or so much."""

    relative: float = 0.0
    absolute: float = 0.0


KINDS = {
    "score": Kind(relative=1e-3),
    # Counts of documents in the same buckets: a vector whose last bit differs falls into another bucket in
    # a few of the sketch's rows (.9 % at most between AVX-512 and AVX2, of 5,000 documents).
    "sketch": Kind(relative=2e-2),
    "loss": Kind(relative=1e-2),
    "vector": Kind(relative=1e-3),
    # Of the held-out examples, one or two may get another label.
    "share": Kind(absolute=0.1),
    # Sums and means over the documents up to a rank, where bands let those at its edge be others.
    "step": Kind(relative=5e-2),
    # Means over the few documents between two ranks, where bands let these be others: any number.
    "edge": Kind(relative=math.inf),
}
# Logarithms of densities may differ by so much (.014 at most between AVX-512 and AVX2).
DRAWN = 3e-2
# In points. For a document that is an example itself, the nearest cost is 0 but for rounding.
PERCENTILES = {"nearest_cost": 7.0, "density": 3.0}
PERCENTILE = 0.5
SHOWN = 5
BANDS = {
    "selection": pl.String,
    "doc_id": pl.String,
    "rank_low": pl.Int64,
    "rank_high": pl.Int64,
    "may_swap": pl.Boolean,
    "reach": pl.Float64,
}


@dataclass(frozen=True, kw_only=True)
class Golden:
    """The content of a home, the machine and packages it was made with, and its bands."""

    content: reading.Content
    machine: dict[str, object]
    packages: dict[str, str]
    bands: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=BANDS))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One value that is not as the golden says."""

    table: str
    field: str
    row: str
    expected: object
    got: object

    @property
    def value(self) -> str:
        """The name that changes.toml knows it by."""
        return f"{self.table}.{self.field}"


ROW = "(row)"


def differences(wanted: Golden, found: Golden, alike: bool | None = None) -> list[Difference]:
    """Everything that differs; `alike`: whether the machines are of one kind, by default as they say."""
    same_kind = wanted.machine == found.machine if alike is None else alike
    differing: list[Difference] = []
    for table in sorted({*wanted.content, *found.content}):
        if not same_kind and table in reading.TABLES and reading.TABLES[table].alike:
            continue
        if table not in found.content or table not in wanted.content:
            there = table in wanted.content
            said = ("a table", "nothing") if there else ("nothing", "a table")
            differing.append(Difference(table=table, field=ROW, row="all", expected=said[0], got=said[1]))
        elif (was := wanted.content[table]) is not (now := found.content[table]):
            differing += _Comparison(table, was, now, None if same_kind else wanted).differences()
    return differing


class _Comparison:
    """Two frames of one table; `elsewhere` is the golden with its bands, None on a machine of its kind."""

    def __init__(
        self, table: str, wanted: pl.DataFrame, found: pl.DataFrame, elsewhere: Golden | None
    ) -> None:
        self.table, self.elsewhere = table, elsewhere
        self.kinds = reading.kinds_of(table)
        self.keys = [name for name, kind in self.kinds.items() if kind == "key"]
        numbered = [_numbered(_complete(frame, self.kinds), self.keys) for frame in (wanted, found)]
        joined = numbered[0].join(
            numbered[1], on=[*self.keys, "#"], how="full", suffix="|got", nulls_equal=True, coalesce=True
        )
        self.bands: dict[tuple[str, str], tuple[int, int, float]] = {}
        if elsewhere is not None and "selection" in wanted.columns:
            joined = _banded(joined, elsewhere.bands)
        elif elsewhere is not None and table == reading.ANSWERS:
            for name, doc_id, *rest in elsewhere.bands.select(
                "selection", "doc_id", "rank_low", "rank_high", "reach"
            ).iter_rows():
                self.bands[name, doc_id] = tuple(rest)
        self.joined = joined
        self.lost, self.new = (joined[name].is_null().to_numpy() for name in ("there|got", "there"))

    def differences(self) -> Iterator[Difference]:
        """Rows that are missing or new, then fields of the others."""
        excused = (
            self._may_swap() if self.table in ("selected", "exported") else np.zeros(len(self.joined), bool)
        )
        for position in np.flatnonzero((self.lost | self.new) & ~excused):
            said = ("a row", "no row") if self.lost[position] else ("no row", "a row")
            row = self._row(int(position))
            yield Difference(table=self.table, field=ROW, row=row, expected=said[0], got=said[1])
        both = ~(self.lost | self.new)
        for name, kind in self.kinds.items():
            if kind == "key":
                continue
            wrong = both & ~self._agreeing(name, kind)
            for position in np.flatnonzero(wrong):
                expected, got = (self.joined[int(position), column] for column in (name, f"{name}|got"))
                row = self._row(int(position))
                said = _shown(expected, got)
                yield Difference(table=self.table, field=name, row=row, expected=said[0], got=said[1])

    def _row(self, position: int) -> str:
        found = self.joined.row(position, named=True)
        return ", ".join(f"{key} {found[key]}" for key in self.keys)

    def _agreeing(self, name: str, kind: str) -> np.ndarray:
        """Which rows of the join agree in a field."""
        expected, got = self.joined[name], self.joined[f"{name}|got"]
        equal = expected.eq_missing(got).to_numpy()
        if self.table == reading.ANSWERS and name == "text" and self.elsewhere is not None:
            return equal | self._ranks_of_diffs_agree(expected, got)
        if kind == "exact" or (self.elsewhere is None and kind in ("rank", "verdict")):
            return equal
        if kind == "rank":
            low, high = (self.joined[side].to_numpy() for side in ("rank_low", "rank_high"))
            place = got.cast(pl.Float64).to_numpy()
            with np.errstate(invalid="ignore"):
                return equal | ((place >= low) & (place <= high))
        if kind == "verdict":
            column = list(self.kinds).index(name) - list(self.kinds).index("verdict")
            sides = (reading.SELECTED[column], reading.REJECTED[column])
            on_sides = [column.is_in(sides).fill_null(False).to_numpy() for column in (expected, got)]
            return equal | (self._may_swap() & on_sides[0] & on_sides[1])
        if kind == "vector":
            return self._vectors_agree(expected, got)
        return equal | self._numbers_agree(name, kind, expected, got)

    def _may_swap(self) -> np.ndarray:
        if "may_swap" not in self.joined.columns:
            return np.zeros(len(self.joined), bool)
        return self.joined["may_swap"].fill_null(False).to_numpy()

    def _numbers_agree(self, name: str, kind: str, expected: pl.Series, got: pl.Series) -> np.ndarray:
        wanted, found = (column.cast(pl.Float64).to_numpy() for column in (expected, got))
        return (expected.is_null() == got.is_null()).to_numpy() & self._near(name, kind, wanted, found)

    def _near(self, name: str, kind: str, wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Which numbers are as near as they have to be; a missing one is NaN here."""
        if self.elsewhere is None:
            return _within(wanted, found, LIKE * np.abs(wanted))
        if kind == "answer":
            return _within(
                wanted, found, np.array([self._limit_of_answer(row) for row in self.joined.to_dicts()])
            )
        if kind == "fitted":
            sizes = self.joined.select((pl.col(name) ** 2).mean().sqrt().over(self.keys[:2]))[name].to_numpy()
            known = reading.POTENTIAL_ARRAYS.split()
            kinds = [KINDS["score" if one in known else "loss"] for one in self.joined["name"]]
            return _within(wanted, found, np.array([one.relative for one in kinds]) * sizes)
        if kind == "margin":
            reach = self.joined["reach"].fill_null(0.0).to_numpy()
            return _within(wanted, found, np.maximum(reach, KINDS["score"].relative * np.abs(wanted)))
        limits = _limits(wanted, KINDS[kind])
        if kind in ("step", "edge") and reading.LAST_RANK in self.joined.columns:
            limits = np.where(self._open(kind), limits, _limits(wanted, KINDS["score"]))
        return _within(wanted, found, limits)

    def _open(self, kind: str) -> np.ndarray:
        """Which rows of steps end, or begin as well for "edge", at a rank that documents may cross."""
        assert self.elsewhere is not None
        last = pl.col(reading.LAST_RANK)
        edges = self.joined.select(
            "selection", last, before=last.shift(1, fill_value=0).over("selection", order_by=last)
        )
        bands = self.elsewhere.bands
        length = 2 + max(int(top or 0) for top in (bands["rank_high"].max(), edges[reading.LAST_RANK].max()))
        crossed = {
            str(name): np.cumsum(
                np.bincount(group["rank_low"], minlength=length)
                - np.bincount(group["rank_high"], minlength=length)
            )
            for (name,), group in bands.group_by("selection")
        }
        found = np.zeros(len(edges), bool)
        for row, (name, *ranks) in enumerate(edges.iter_rows()):
            if name in crossed:
                known = [rank for rank in ranks[: 2 if kind == "edge" else 1] if rank is not None]
                found[row] = any(crossed[name][rank] > 0 for rank in known)
        return found

    def _limit_of_answer(self, row: dict[str, object]) -> float:
        """What a number in a JSON answer may differ by elsewhere: of a rank, percentile, margin or score."""
        path, number = str(row["path"]), abs(float(str(row["number"] or 0.0)))
        last = path.rpartition(".")[2]
        asked = (
            path.partition("[")[2].partition("]")[0],
            str(row["question"]).rpartition(" ")[2][: reading.DIGITS],
        )
        low, high, reach = self.bands.get(asked, (0, 0, 0.0))
        if last in reading.RANK_FIELDS:
            return max(number - low, high - number) if high else 0.0
        if last in reading.PERCENTILE_FIELDS:
            return next((points for name, points in PERCENTILES.items() if name in path), PERCENTILE)
        kind = KINDS["sketch" if "[density]" in path else "score"]
        return max(reach, kind.relative * max(number, 1.0))

    def _ranks_of_diffs_agree(self, expected: pl.Series, got: pl.Series) -> np.ndarray:
        """Which answers are a rank after a change, in the band of the document that the same entry names."""
        answers = self.joined.select(
            "question",
            "path",
            entry=pl.col("path").str.replace(r"\.[^.]*$", ""),
            field=pl.col("path").str.extract(r"([^.]*)$"),
            was=expected,
            now=got,
        ).with_row_index("position")
        named = answers.filter(field="doc_id").select("question", "entry", doc_id="was")
        ranks = answers.filter(field=reading.RANK_AFTER).join(named, on=["question", "entry"])
        agreeing = np.zeros(len(answers), bool)
        for row in ranks.iter_rows(named=True):
            asked = row["question"].removeprefix("diff "), row["doc_id"][: reading.DIGITS]
            low, high, _reach = self.bands.get(asked, (0, 0, 0.0))
            agreeing[row["position"]] = row["now"].isdecimal() and low <= int(row["now"]) <= high
        return agreeing

    def _vectors_agree(self, expected: pl.Series, got: pl.Series) -> np.ndarray:
        agreeing = np.ones(len(expected), bool)
        for row, (one, other) in enumerate(zip(expected.to_list(), got.to_list(), strict=True)):
            if one is None or other is None or len(one) != len(other):
                agreeing[row] = one is None and other is None
            else:
                vector, other_vector = np.array(one, np.float64), np.array(other, np.float64)
                alike = self.elsewhere is None
                limits = LIKE * np.abs(vector) if alike else _limits(vector, KINDS["vector"])
                agreeing[row] = bool(_within(vector, other_vector, limits).all())
        return agreeing


def _banded(joined: pl.DataFrame, bands: pl.DataFrame) -> pl.DataFrame:
    """Rows of selections with the bands of their documents, and how far the margins of a selection reach."""
    reaches = bands.group_by("selection").agg(pl.col("reach").first())
    joined = joined.join(reaches, on="selection", how="left", maintain_order="left")
    if "doc_id" not in joined.columns:
        return joined
    on = ["selection", "doc_id"]
    return joined.join(bands.drop("reach"), on=on, how="left", maintain_order="left")


def _limits(wanted: np.ndarray, kind: Kind) -> np.ndarray:
    """What each number of a column may differ by elsewhere."""
    finite = wanted[np.isfinite(wanted)]
    size = np.maximum(np.abs(wanted), np.sqrt(np.mean(finite**2)) if len(finite) else 0.0)
    return np.maximum(kind.relative * size, kind.absolute)


def _within(wanted: np.ndarray, found: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Which numbers agree; two that are missing, or infinite in the same way, do."""
    with np.errstate(invalid="ignore"):
        near = np.abs(wanted - found) <= limits
    return near | (np.isnan(wanted) & np.isnan(found)) | (wanted == found)


def _complete(frame: pl.DataFrame, kinds: dict[str, str]) -> pl.DataFrame:
    """The frame with every field; a golden that was written before a field was read has nothing in it."""
    return frame.with_columns(pl.lit(None).alias(name) for name in kinds if name not in frame.columns)


def _numbered(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Rows of the same key get numbers, so that a row that is there twice is found."""
    return frame.with_columns(pl.int_range(pl.len()).over(keys).alias("#"), pl.lit(True).alias("there"))


def _shown(expected: object, got: object) -> tuple[object, object]:
    """Two values as a report names them; of two vectors, the element that differs most."""
    if not isinstance(expected, pl.Series) or not isinstance(got, pl.Series):
        return expected, got
    if len(expected) != len(got):
        return f"{len(expected)} elements", f"{len(got)} elements"
    place = int((expected - got).abs().fill_nan(math.inf).arg_max() or 0)
    return f"{expected[place]!r} at element {place}", f"{got[place]!r}"


def bands_of(content: reading.Content) -> pl.DataFrame:
    """The ranks that each document may have elsewhere, and whether its verdict may change, by selection.

    Scores may differ by 1e-3 of their size, so two documents may swap when their margins are within twice
    that. What is drawn by ids alone has no bands.
    """
    if reading.DECISIONS not in content:
        return pl.DataFrame(schema=BANDS)
    frames = []
    scores = reading.DECISION_SCORES.split()
    for _name, group in content[reading.DECISIONS].group_by("selection", maintain_order=True):
        ranked = group.filter(pl.col("rank").is_not_null()).sort("rank")
        used = [name for name in (*scores, reading.SKETCHED) if ranked[name].null_count() < len(ranked)]
        if not used:
            continue
        margins = ranked["margin"].cast(pl.Float32).cast(pl.Float64).to_numpy()  # as they are stored
        reach = KINDS["score"].relative * float(np.sqrt(np.mean(margins**2)))
        if reading.SKETCHED in used:
            reach = DRAWN  # the margins of a draw are logarithms of its weights
        ascending = np.sort(margins)
        before = len(margins) - np.searchsorted(ascending, margins + 2 * reach, side="right")
        within = len(margins) - np.searchsorted(ascending, margins - 2 * reach, side="left")
        # Of a pinned version, ranks count documents that have left since.
        ranks = ranked["rank"].cast(pl.Int64).to_numpy()
        bands = ranked.select("selection", "doc_id").with_columns(
            pl.Series("rank_low", ranks[before], dtype=pl.Int64),
            pl.Series("rank_high", ranks[within - 1], dtype=pl.Int64),
            pl.Series("may_swap", np.abs(margins) <= reach),
            pl.lit(reach).alias("reach"),
        )
        frames.append(bands)
    return pl.concat(frames) if frames else pl.DataFrame(schema=BANDS)


def report(name: str, wanted: Golden, found: Golden, differing: list[Difference]) -> str:
    """What differs, in plain words: the cause where packages differ, then each field with its first rows."""
    if not differing:
        return f"{name}: everything is as in the golden"
    kind = "of the kind that it was written on" if wanted.machine == found.machine else "of another kind"
    lines = [f"{name}: {len(differing):,} values differ from the golden, on a machine {kind}"]
    for package in sorted({*wanted.packages, *found.packages}):
        before, now = (one.packages.get(package, "not installed") for one in (wanted, found))
        if before != now:
            lines.append(
                f"  the likely cause: {package} is {now} here, and was {before} when the golden was written; "
                f"install {before}, or write the golden again for an upgrade (tests/golden/README.md)"
            )
    if any(one.table == reading.ENCODER for one in differing):
        lines.append(
            "  the encoder's own vectors differ, and others with them: if pytest's cache came from another "
            "machine, run `pytest --cache-clear`"
        )
    grouped: dict[str, list[Difference]] = {}
    for one in differing:
        grouped.setdefault(one.value, []).append(one)
    for value, rows in grouped.items():
        lines.append(f"  {value}: {len(rows):,} differ")
        lines += [f"    {one.row}: expected {one.expected!r}, got {one.got!r}" for one in rows[:SHOWN]]
    lines.append("  what to do: tests/golden/README.md")
    return "\n".join(lines)
