"""Pages to look through a selection: its map, and what was chosen and dropped next to the cut."""

import base64
import io
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tamis.base.numbers import percent
from tamis.coverage.sampling import keyed_hash
from tamis.embedding.layout import Floats
from tamis.filters.boilerplate import REPEATED
from tamis.history.explain import decision_line
from tamis.history.finding import short_id
from tamis.report.rendering import AMBER, BLUE, GREY, as_json, render, script, script_policy
from tamis.report.seen import EXAMPLE, GAP, Seen, clean, heads
from tamis.report.selection import reasons_of
from tamis.report.selection_data import EXCERPT_CHARACTERS
from tamis.selection.decide import used_score_columns
from tamis.selection.where import evidence_for
from tamis.settings.sections import FiltersSection
from tamis.store.tables import Store
from tamis.topics.storing import NO_VECTOR

LARGEST_PAGE = 1_450_000
HEADS = (80, 60, 40, 20, 0)
"""Characters of each text; fewer where the page would be larger than it may."""
FIFTHS = ("best fifth", "second", "third", "fourth", "last fifth")
NOT_RANKED, OTHERS = "not ranked", "others"
THUMBNAIL = 220
EXAMPLE_CODE, MOST_LABELS = 255, 200
CHOSEN, DROPPED = "chosen", "dropped"
NEXT_TO_CUT, OF_A_REASON, MISTAKES = 25, 15, 10
NEAR_CUT_SHARE, NEAR_CUT_LEAST = 0.1, 50
"""Of the chosen documents, as many on each side of the cut count as just in or just out."""
OF_POOL = {REPEATED.name}
"""Rules whose measure takes a look at the whole pool: `tamis explain` has it."""


@dataclass(frozen=True, kw_only=True)
class MapPage:
    """Fields of the template; `links`: file and what it shows, of the other pages of the selection.

    `words_from`: the documents that words of topics are from.
    """

    name: str
    target: str | None
    pool: int
    chosen: int
    shown: int
    examples: int
    gaps: int
    axes: str
    reasons: list[tuple[str, int, int, str]]
    left_out: list[str]
    links: list[tuple[str, str]]
    meta: str
    packed: str
    ids: str
    script: str
    policy: str
    words_from: list[str]


@dataclass(frozen=True, kw_only=True)
class _Mode:
    """A way to colour: labels, documents of the whole pool with each, and the label of each point [n]."""

    title: str
    labels: list[str]
    counts: list[int]
    code_n: np.ndarray


def map_page(seen: Seen, place_n2: Floats, axes: str, links: list[tuple[str, str]]) -> str:
    """Return the page for places [n, 2] of the points; `axes`: what the two are, in words."""
    decisions, points = seen.decisions, seen.points
    example_n = points["kind"].is_in([EXAMPLE, GAP]).to_numpy()
    modes, place_2n = _modes(seen, example_n), fitted(place_n2)
    shown_r = np.bincount(modes[1].code_n[~example_n], minlength=len(modes[1].labels))
    meanings = {name.replace("_", " "): meaning for name, _count, meaning in reasons_of(decisions)}
    reasons = [
        (label, count, int(shown), meanings.get(label, ""))
        for label, count, shown in zip(modes[1].labels, modes[1].counts, shown_r, strict=True)
    ]
    gaps = (points["kind"] == GAP).arg_true().to_list()
    meta = {
        "examples": int(example_n.sum()),
        "gaps": gaps,
        "modes": [{"title": one.title, "labels": one.labels, "counts": one.counts} for one in modes],
        "weights": [count / max(shown, 1) for _label, count, shown, _meaning in reasons],
        "regions": _regions(seen, place_2n, example_n),
    }
    content = ""
    for characters in HEADS:
        shortened = f"Texts are shortened to {characters} characters to limit the size of the page."
        content = render(
            "map.html",
            MapPage(
                name=seen.subject.name,
                target=seen.subject.target,
                pool=len(decisions),
                chosen=int((decisions["verdict"] == "selected").sum()),
                shown=int((~example_n).sum()),
                examples=int(example_n.sum()),
                gaps=len(gaps),
                axes=axes,
                reasons=reasons,
                left_out=[*seen.left_out, *([] if characters == HEADS[0] else [shortened])],
                links=links,
                meta=as_json(meta),
                packed=_packed(place_2n, modes, points, characters),
                ids="".join(map(short_id, points["doc_id"])),
                script=script("map.js"),
                policy=script_policy("map.js"),
                words_from=seen.topics_from,
            ),
        )
        if len(content.encode()) <= LARGEST_PAGE:
            break
    return content


def axes_in_words(seen: Seen) -> str:
    """Return what a map by principal components shows."""
    share = percent(float(seen.components.share_k[:2].sum()), 0)
    return (
        f"The axes are the two directions in which the vectors vary most ({share} of the variance). Points "
        "that are near each other here may be far apart in other directions."
    )


def _modes(seen: Seen, example_n: np.ndarray) -> list[_Mode]:
    """Return the ways to colour; those of verdict and reason come first."""
    eligible = max(seen.decisions["rank"].count(), 1)
    fifth = ((pl.col("rank") - 1) * len(FIFTHS) // eligible).clip(0, len(FIFTHS) - 1)
    key = pl.col("key")
    shown = {
        "verdict": pl.when(key == "selected").then(pl.lit(CHOSEN)).otherwise(pl.lit(DROPPED)),
        "reason": key.str.replace_all("_", " "),
        "rank": key.replace_strict(dict(enumerate(FIFTHS)), default=NOT_RANKED, return_dtype=pl.String),
        "source": clean(key.cast(pl.String), 60),
        "topic": key.replace_strict(dict(enumerate(seen.topics)), default=NO_VECTOR, return_dtype=pl.String),
        "language": key.cast(pl.String),
    }
    orders: dict[str, list[str]] = {
        "verdict": [CHOSEN, DROPPED],
        "reason": [name.replace("_", " ") for name, _count, _meaning in reasons_of(seen.decisions)],
        "rank": [*FIFTHS, NOT_RANKED],
    }
    of_points = seen.points.select("doc_id").join(
        seen.decisions, on="doc_id", how="left", maintain_order="left"
    )
    modes = []
    for title, label in shown.items():
        of_key = fifth if title == "rank" else pl.col(title)  # of a million documents, few differ
        counts = (
            seen.decisions.group_by(of_key.alias("key"))
            .len("count")
            .group_by(label.alias("label"))
            .agg(pl.col("count").sum())
            .sort("count", "label", descending=[True, False])
        )
        found = dict(counts.iter_rows())
        order = [name for name in orders.get(title, found) if name in found]
        kept, rest = order[:MOST_LABELS], order[MOST_LABELS:]
        codes = {name: code for code, name in enumerate(kept)} | dict.fromkeys(rest, MOST_LABELS)
        labels = of_points.select(of_key.alias("key")).select(label).to_series()
        code_n = labels.replace_strict(codes, default=EXAMPLE_CODE, return_dtype=pl.UInt8).to_numpy()
        modes.append(
            _Mode(
                title=title,
                labels=[*kept, *([OTHERS] if rest else [])],
                counts=[
                    *map(found.__getitem__, kept),
                    *([sum(map(found.__getitem__, rest))] if rest else []),
                ],
                code_n=np.where(example_n, EXAMPLE_CODE, code_n).astype(np.uint8),
            )
        )
    return modes


def fitted(place_n2: Floats) -> np.ndarray:
    """Return places as numbers from 0 to 65,535, [2, n] uint16: both axes by one scale, in the middle."""
    if not len(place_n2):
        return np.zeros((2, 0), "<u2")
    low_2, high_2 = place_n2.min(axis=0), place_n2.max(axis=0)
    width = max(float((high_2 - low_2).max()), 1e-12)
    return (
        np.round(((place_n2 - (low_2 + high_2) / 2) / width + 0.5) * 65_535).clip(0, 65_535).T.astype("<u2")
    )


def _regions(seen: Seen, place_2n: np.ndarray, example_n: np.ndarray) -> list[list[Any]]:
    """Return the name of each topic, where the middle of its documents is, and how many these are."""
    topic_n = np.where(example_n, -1, seen.points["topic"].to_numpy())
    found: list[list[Any]] = []
    for topic, name in enumerate(seen.topics):
        mine_2n = place_2n[:, topic_n == topic]
        if mine_2n.shape[1]:
            found.append([name, *np.median(mine_2n, axis=1).round().tolist(), mine_2n.shape[1]])
    return found


def _packed(place_2n: np.ndarray, modes: list[_Mode], points: pl.DataFrame, characters: int) -> str:
    heads = "\n".join(points.select(clean(pl.col("text"), characters)).to_series())
    arrays = [place_2n.tobytes(), *(mode.code_n.tobytes() for mode in modes)]
    return base64.b64encode(zlib.compress(b"".join([*arrays, heads.encode()]), 9)).decode()


def thumbnail_png(seen: Seen, place_n2: Floats) -> bytes:
    """Return the map as a small picture: dropped grey, chosen blue, examples of the target amber."""
    from PIL import Image

    pixel_2n = fitted(place_n2).astype(np.int64) * (THUMBNAIL - 4) // 65_536 + 2
    picture = np.full((THUMBNAIL, THUMBNAIL, 3), 255, np.uint8)
    kinds = seen.points["kind"]
    for kind, colour in (("rejected", GREY), ("selected", BLUE), (EXAMPLE, AMBER), (GAP, AMBER)):
        x_m, y_m = pixel_2n[:, (kinds == kind).to_numpy()]
        for across, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
            picture[THUMBNAIL - 1 - y_m - down, x_m + across] = list(bytes.fromhex(colour[1:]))
    stream = io.BytesIO()
    Image.fromarray(picture).quantize(8).save(stream, format="PNG")
    return stream.getvalue()


@dataclass(frozen=True, kw_only=True)
class BrowsePage:
    """Fields of the template. parts: name of a sample, documents it is of; rows: each with its `part`.

    `score`: the column to filter by, "" without one. `without_quality`: why no mistakes are named.
    """

    name: str
    parts: list[tuple[str, int]]
    rows: list[dict[str, Any]]
    score: str
    sources: list[str]
    reasons: list[str]
    without_quality: str
    links: list[tuple[str, str]]
    script: str
    policy: str


def browse_page(store: Store, seen: Seen, filters: FiltersSection, links: list[tuple[str, str]]) -> str:
    """Return the page; `filters`: those of the decisions, for the evidence of what they keep out."""
    scores, parts = used_score_columns(seen.decisions), _parts(seen)
    drawn = [rows.with_columns(part=pl.lit(name)) for name, _count, rows in parts]
    rows = pl.concat([seen.decisions.clear().with_columns(part=pl.lit("")), *drawn])
    rows = rows.join(
        heads(store, rows["doc_id"].unique().to_list()), on="doc_id", how="left", maintain_order="left"
    ).with_columns(
        clean(pl.col("text"), EXCERPT_CHARACTERS).alias("text"),
        source=clean(pl.col("source").cast(pl.String), 60),
    )
    shown = rows.to_dicts()
    for row in shown:
        row["evidence"] = (
            evidence_for(store, row["doc_id"], row["reason"], row["detail"], filters)
            if row["detail"] not in OF_POOL
            else None
        )
        row["why"] = decision_line(row | {"selection": seen.subject.name})
        row["score"] = row[scores[0]] if scores else None
        row["reason"] = row["reason"].replace("_", " ")
    named = any(name.startswith("likely mistakes") for name, _count, _rows in parts)
    return render(
        "browse.html",
        BrowsePage(
            name=seen.subject.name,
            parts=[(name, count) for name, count, _rows in parts],
            rows=shown,
            score=scores[0].replace("_", " ") if scores else "",
            sources=sorted({row["source"] for row in shown}),
            reasons=sorted({row["reason"] for row in shown}),
            without_quality=""
            if named
            else "Likely mistakes are listed only for samplers that use the quality score.",
            links=links,
            script=script("browse.js"),
            policy=script_policy("browse.js"),
        ),
    )


def _parts(seen: Seen) -> list[tuple[str, int, pl.DataFrame]]:
    """Return the samples: a name, how many documents it is of, and rows of decisions."""
    ranked = seen.decisions.filter(pl.col("rank").is_not_null()).sort("rank")
    chosen = ranked.filter(pl.col("verdict") == "selected")
    dropped = ranked.filter(pl.col("verdict") != "selected")
    found = [
        ("the last ones in", len(chosen), chosen.tail(NEXT_TO_CUT)),
        ("those that just missed", len(dropped), dropped.head(NEXT_TO_CUT)),
    ]
    if "quality" in seen.decisions.columns and ranked["quality"].count():
        near = max(NEAR_CUT_LEAST, int(NEAR_CUT_SHARE * len(chosen)))
        inside, outside = chosen.tail(near).sort("quality", "doc_id"), dropped.head(near)
        best = outside.sort("quality", "doc_id", descending=[True, False], nulls_last=True)
        found += [
            ("likely mistakes: good, just outside", len(outside), best.head(MISTAKES)),
            ("likely mistakes: poor, just inside", len(inside), inside.drop_nulls("quality").head(MISTAKES)),
        ]
    counts = seen.decisions.group_by("reason").len().sort("len", "reason", descending=[True, False])
    drawn = seen.sample[
        np.argsort(keyed_hash(seen.sample["doc_id"], seen.subject.seed, "browse"), kind="stable")
    ]
    few = drawn.group_by("reason", maintain_order=True).head(OF_A_REASON).select("doc_id")
    rows = few.join(seen.decisions, on="doc_id", how="inner", maintain_order="left").select(
        seen.decisions.columns
    )
    found += [
        (f"drawn: {reason.replace('_', ' ')}", count, rows.filter(pl.col("reason") == reason))
        for reason, count in counts.iter_rows()
    ]
    return [part for part in found if len(part[2])]
