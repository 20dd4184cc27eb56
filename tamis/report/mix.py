"""Effect of a choice on the mix: by source, topic, language, length and licence, next to a random choice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tamis.base.errors import PermanentError
from tamis.base.numbers import counted, percent, significant
from tamis.corpus.stage import DOCUMENTS
from tamis.filters import FAMILIES
from tamis.history.versions import decisions_of, read_versions
from tamis.report.broken import CHOSEN, DRAWN, BrokenTexts, broken_texts, drawn_of
from tamis.report.rendering import render
from tamis.report.seen import LENGTHS, LONGEST, Seen, clean
from tamis.settings.sections import FiltersSection
from tamis.store.home import Home
from tamis.store.tables import Store
from tamis.topics.storing import NO_VECTOR

NOISY_SHARE, NOISY_LEAST = 0.02, 3
_RULES = ("noise", "boilerplate")
SHOWN_GROUPS, SHOWN_SHIFTS, LEAST_SHIFT = 8, 5, 0.02
OTHERS = "all others"
ROW, LEFT, WIDTH = 22, 260, 560
"""Of the picture, in pixels: height of a row, width of the names, and width of the shares."""
SIDES = {
    "pool": "the pool",
    "target": "the target",
    "chosen": "this choice",
    "before": "the previous version",
}


@dataclass(frozen=True, kw_only=True)
class RandomBaseline:
    """Compared figures, as they are shown: a name, the value of the choice, that of the random one.

    `broken`: kinds of broken texts in pool, random choice and choice, None where nothing was chosen;
    `looked_at`: how many texts of choice and random choice were measured for noise and boilerplate; `noisy`:
    those of them that the rules would drop; nothing is measured where the rules are on.
    """

    rows: list[tuple[str, str, str]]
    broken: BrokenTexts | None = None
    looked_at: tuple[int, int] = (0, 0)
    noisy: tuple[int, int] = (0, 0)

    @property
    def noise(self) -> str | None:
        """A sentence where the choice looks noisy and nothing keeps that out, else None."""
        (chosen, drawn), (of_chosen, of_drawn) = self.noisy, self.looked_at
        if chosen < max(NOISY_LEAST, NOISY_SHARE * of_chosen):
            return None
        return (
            f"the rules for noise and boilerplate would drop {100 * chosen / of_chosen:.3g} % of the choice "
            f"({chosen} of {of_chosen} texts checked) and {100 * drawn / of_drawn:.3g} % of a second "
            "choice, drawn at random, but these rules are off; to turn them on, add "
            '"noise" and "boilerplate" to heuristics in [filters]'
        )


def random_baseline(
    store: Store, decisions: pl.DataFrame, sources: pl.DataFrame, score: str | None, filters: FiltersSection
) -> RandomBaseline:
    """Compare the chosen with as many random documents.

    sources: doc_id and source. score: the column to compare, or None.
    """
    chosen = decisions.filter(pl.col("verdict") == "selected").sort("rank")
    drawn = drawn_of(decisions.filter(pl.col("rank").is_not_null()), len(chosen))
    known = store.read(DOCUMENTS.name, ["doc_id", "n_chars"]).join(sources, on="doc_id", how="left")
    random = decisions.filter(pl.col("doc_id").is_in(drawn.implode())).join(known, on="doc_id", how="left")
    ours = chosen.join(known, on="doc_id", how="left")

    def compared(name: str, of: Callable[[pl.DataFrame], Any]) -> tuple[str, str, str]:
        return name, significant(of(ours)), significant(of(random))

    rows = [
        compared("documents", len),
        compared("characters, median", lambda side: side["n_chars"].median()),
        compared("sources", lambda side: side["source"].n_unique()),
    ]
    if score:
        rows.append(compared(f"{score.replace('_', ' ')}, mean", lambda side: side[score].mean()))
    if chosen.is_empty():
        return RandomBaseline(rows=rows)
    broken = broken_texts(store, decisions, drawn, filters)
    off = [rule.name for one in _RULES if one not in filters.heuristics for rule in FAMILIES[one]]
    if not off or not broken.count(CHOSEN) or not broken.count(DRAWN):
        return RandomBaseline(rows=rows, broken=broken)
    looked_at = (broken.count(CHOSEN), broken.count(DRAWN))
    noisy = (broken.count(CHOSEN, off), broken.count(DRAWN, off))
    ours_noisy, random_noisy = (percent(bad / seen) for bad, seen in zip(noisy, looked_at, strict=True))
    rows.append(("share of checked texts that these rules would drop", ours_noisy, random_noisy))
    return RandomBaseline(rows=rows, broken=broken, looked_at=looked_at, noisy=noisy)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A group in one dimension, with its share of the bytes of text on each side, None if that is not known.

    `top` and `left`: where the picture has the row, and each side's mark.
    """

    dimension: str
    group: str
    share: dict[str, float | None]
    top: float
    left: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class MixPage:
    """Fields of the template; `titles`: dimension, where it begins in the picture, and its largest share.

    `words_from`: the documents that words of topics are from.
    """

    name: str
    sides: dict[str, str]
    titles: list[tuple[str, float, float]]
    lines: list[Line]
    height: float
    shifts: list[str]
    notes: list[str]
    links: list[tuple[str, str]]
    words_from: list[str]


@dataclass(frozen=True, kw_only=True)
class Before:
    """The choice of an earlier version."""

    version: int
    doc_ids: pl.Series


def choice_before(home: Home, selection: str) -> Before | None:
    """Return the choice of the last version before the present one, None where none is kept."""
    versions = read_versions(home.store, selection)
    for version in reversed(versions[:-1]):
        if version.version < versions[-1].version:
            try:
                rows = decisions_of(home, version)
            except PermanentError:
                return None
            return Before(
                version=version.version, doc_ids=rows.filter(pl.col("verdict") == "selected")["doc_id"]
            )
    return None


def mix_page(seen: Seen, before: Before | None, links: list[tuple[str, str]]) -> str:
    """Return the page."""
    lines: list[Line] = []
    titles: list[tuple[str, float, float]] = []
    top, frame = 0.0, _with_sides(seen, before)
    for dimension in ("source", "topic", "language", "length", "licence"):
        shares = _shares(seen, frame, dimension, before is not None)
        sides = [name for name in SIDES if name in shares.columns]
        largest = max(float(np.nanmax(shares.select(sides).fill_null(0).to_numpy(), initial=0)), 0.01)
        titles.append((dimension, top + ROW, largest))
        top += 1.6 * ROW
        for row in shares.iter_rows(named=True):
            share = {name: row[name] for name in sides}
            left = {
                name: LEFT + WIDTH * value / largest for name, value in share.items() if value is not None
            }
            lines.append(Line(dimension=dimension, group=row["group"], share=share, top=top, left=left))
            top += ROW
        top += ROW / 2
    known = {side for line in lines for side in line.left}
    return render(
        "mix.html",
        MixPage(
            name=seen.subject.name,
            sides={name: words for name, words in SIDES.items() if name in known},
            titles=titles,
            lines=lines,
            height=top + ROW,
            shifts=_shifts(lines),
            notes=_notes(seen, before),
            links=links,
            words_from=seen.topics_from,
        ),
    )


def _with_sides(seen: Seen, before: Before | None) -> pl.DataFrame:
    """Return the groups of each document, and its bytes on each side."""
    size, then = (
        pl.col("n_bytes").fill_null(0).cast(pl.Int64),
        before.doc_ids if before else pl.Series([], dtype=pl.String),
    )
    return seen.decisions.select(
        "source",
        "topic",
        "language",
        "length",
        "licence",
        pool=size,
        chosen=size * (pl.col("verdict") == "selected"),
        before=size * pl.col("doc_id").is_in(then.implode()),
    )


def _shares(seen: Seen, frame: pl.DataFrame, dimension: str, with_before: bool) -> pl.DataFrame:
    """Return `group` and its share on each side: the largest groups, or lengths in their order."""
    sides = ["pool", "chosen", *(["before"] if with_before else [])]
    topics, group = dict(enumerate(seen.topics)), pl.col("group")
    label = clean(group.cast(pl.String), 60)
    if dimension == "topic":
        label = group.replace_strict(topics, default=NO_VECTOR, return_dtype=pl.String)
    by_value = frame.group_by(group=dimension).agg(pl.col(sides).sum())
    sums = by_value.group_by(label).agg(pl.col(sides).sum())
    if dimension in ("topic", "length") and len(seen.examples):
        of_target = (
            seen.examples.group_by(group=dimension).agg(target=pl.col("n_bytes").sum()).with_columns(label)
        )
        sums, sides = (
            sums.join(of_target, on="group", how="full", coalesce=True).fill_null(0),
            [*sides, "target"],
        )
    shares = sums.with_columns(pl.col(side) / pl.max_horizontal(pl.col(side).sum(), 1) for side in sides)
    if dimension == "length":
        order = {name: place for place, name in enumerate([*LENGTHS.values(), LONGEST])}
        return shares.sort(pl.col("group").replace_strict(order, default=len(order)))
    shares = shares.sort(pl.max_horizontal(sides), "group", descending=[True, False])
    rest = shares.slice(SHOWN_GROUPS - 1)
    if len(rest) < 2:
        return shares
    summed = rest.select(pl.lit(f"{OTHERS} ({len(rest)})").alias("group"), pl.col(sides).sum())
    return pl.concat([shares.head(SHOWN_GROUPS - 1).select("group", *sides), summed])


def _shifts(lines: list[Line]) -> list[str]:
    """Return the largest differences between pool and choice, as sentences."""
    moved = [
        (line.share["chosen"] - line.share["pool"], line)
        for line in lines
        if line.share["chosen"] is not None and line.share["pool"] is not None
    ]
    moved.sort(key=lambda pair: (-abs(pair[0]), pair[1].dimension, pair[1].group))
    return [
        f"{line.dimension} {line.group}: {percent(line.share['pool'])} of the pool, "
        f"{percent(line.share['chosen'])} of the choice"
        for shift, line in moved[:SHOWN_SHIFTS]
        if abs(shift) >= LEAST_SHIFT
    ]


def _notes(seen: Seen, before: Before | None) -> list[str]:
    notes = [
        "A group's share is its part of the bytes of text, so long documents weigh more. A document that "
        "occurs in several sources counts for the source whose name is first in alphabetical order."
    ]
    if before is None:
        notes.append("There is no earlier version of this selection to compare with.")
    else:
        gone = len(before.doc_ids) - int(seen.decisions["doc_id"].is_in(before.doc_ids.implode()).sum())
        lost = f", without {counted(gone, 'document')} that left the pool since" if gone else ""
        notes.append(f"The previous version is version {before.version}{lost}.")
    if seen.subject.target and len(seen.examples):
        notes.append(
            "For the target, only topics and lengths are known: target examples state no licence or language."
        )
    return notes
