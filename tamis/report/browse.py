"""The page to look through a selection: what was chosen and dropped, next to the cut and by reason.

A bounded sample of each, with the counts of the whole; a large pool makes no larger page.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tamis.coverage.sampling import keyed_hash
from tamis.filters import FAMILIES
from tamis.history.explain import decision_line
from tamis.report.rendering import render, script, script_policy
from tamis.report.seen import Seen, clean, heads
from tamis.report.selection_data import EXCERPT_CHARACTERS
from tamis.selection.decide import used_score_columns
from tamis.selection.filtering import evidence_of
from tamis.settings.sections import FiltersSection
from tamis.store.tables import Store

NEXT_TO_CUT, OF_A_REASON, MISTAKES = 25, 15, 10
NEAR_CUT_SHARE, NEAR_CUT_LEAST = 0.1, 50
"""Of the chosen documents, as many on each side of the cut count as just in or just out."""

OF_POOL = {rule.name for rules in FAMILIES.values() for rule in rules if rule.of_pool}
"""Rules whose measure takes a look at the whole pool: `tamis explain` has it."""


@dataclass(frozen=True, kw_only=True)
class BrowsePage:
    """What the template shows. parts: name of a sample, documents it is of; rows: each with its `part`.

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
    texts = heads(store, rows["doc_id"].unique().to_list())
    rows = rows.join(texts, on="doc_id", how="left", maintain_order="left").with_columns(
        clean(pl.col("text"), EXCERPT_CHARACTERS).alias("text"),
        source=clean(pl.col("source").cast(pl.String), 60),
    )
    shown = rows.to_dicts()
    for row in shown:
        measured = row["detail"] not in OF_POOL
        row["evidence"] = (
            evidence_of(store, row["doc_id"], row["reason"], row["detail"], filters) if measured else None
        )
        row["why"] = decision_line(row | {"selection": seen.subject.name})
        row["score"] = row[scores[0]] if scores else None
        row["reason"] = row["reason"].replace("_", " ")
    named = any(name.startswith("likely mistakes") for name, _count, _rows in parts)
    page = BrowsePage(
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
    )
    return render("browse.html", page)


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
    counts = dict(seen.decisions.group_by("reason").len().sort("len", descending=True).iter_rows())
    drawn = seen.sample[
        np.argsort(keyed_hash(seen.sample["doc_id"], seen.subject.seed, "browse"), kind="stable")
    ]
    few = drawn.group_by("reason", maintain_order=True).head(OF_A_REASON).select("doc_id")
    rows = few.join(seen.decisions, on="doc_id", how="inner", maintain_order="left")
    rows = rows.select(seen.decisions.columns)
    for reason, count in counts.items():
        found.append((f"drawn: {reason.replace('_', ' ')}", count, rows.filter(pl.col("reason") == reason)))
    return [part for part in found if len(part[2])]
