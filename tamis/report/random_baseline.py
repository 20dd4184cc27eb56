"""A choice compared with a random one of the same size, and what the default rules would drop of both.

The random one is of the eligible documents with the smallest ends of their ids: a uniform draw, since ids are
hashes, and the same at every run. Where the rules are on they have dropped it already, and nothing is
measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.base.numbers import percent, significant
from tamis.corpus.stage import DOCUMENTS
from tamis.filters import Plan, measured
from tamis.filters.boilerplate import REPEATED, repeated_share
from tamis.settings.sections import FiltersSection
from tamis.store.tables import Store

LOOKED_AT = 200
"""Texts of each that are measured: a share is right to a few percent, in a fifth of a second."""
REFERENCE = 2_000
"""Texts of the pool among which boilerplate is looked for: a notice has to be on ten pages of these."""
NOISY_SHARE, NOISY_LEAST = 0.02, 3
_RULES = ("noise", "boilerplate")


@dataclass(frozen=True, kw_only=True)
class RandomBaseline:
    """What is compared, as it is shown: a name, the value of the choice, that of the random one.

    `looked_at`: how many texts of each were measured for noise and boilerplate; `noisy`: those of them that
    the rules would drop; nothing is measured where the rules are on.
    """

    rows: list[tuple[str, str, str]]
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
            "choice, drawn at random, but these rules are off; to turn them on, set "
            'heuristics = ["noise", "boilerplate"] in [filters]'
        )


def random_baseline(
    store: Store, decisions: pl.DataFrame, sources: pl.DataFrame, score: str | None, filters: FiltersSection
) -> RandomBaseline:
    """Compare the chosen with as many random documents.

    sources: doc_id and source. score: the column to compare, or None.
    """
    chosen = decisions.filter(pl.col("verdict") == "selected").sort("rank")
    eligible = decisions.filter(pl.col("rank").is_not_null())
    shuffled = eligible.sort(pl.col("doc_id").str.slice(16), "doc_id")
    drawn = shuffled.head(len(chosen))
    known = store.read(DOCUMENTS.name, ["doc_id", "n_chars"]).join(sources, on="doc_id", how="left")
    ours, random = (side.join(known, on="doc_id", how="left") for side in (chosen, drawn))

    def compared(name: str, of: Callable[[pl.DataFrame], Any]) -> tuple[str, str, str]:
        return name, significant(of(ours)), significant(of(random))

    rows = [
        compared("documents", len),
        compared("characters, median", lambda side: side["n_chars"].median()),
        compared("sources", lambda side: side["source"].n_unique()),
    ]
    if score:
        rows.append(compared(f"{score.replace('_', ' ')}, mean", lambda side: side[score].mean()))
    off = tuple(rule for rule in _RULES if rule not in filters.heuristics)
    if not off or chosen.is_empty():
        return RandomBaseline(rows=rows)
    # Of the chosen some of every rank: the first ones alone would be too good.
    spread = chosen.gather_every(max(len(chosen) // LOOKED_AT, 1)).head(LOOKED_AT)
    sides = [side["doc_id"].head(LOOKED_AT) for side in (spread, drawn)]
    checked = _checked(store, pl.concat(sides), shuffled["doc_id"].head(REFERENCE), off)
    of_chosen, of_drawn = (checked.filter(pl.col("doc_id").is_in(side.implode())) for side in sides)
    looked_at = (len(of_chosen), len(of_drawn))
    noisy = (int(of_chosen["is_dropped"].sum()), int(of_drawn["is_dropped"].sum()))
    if all(looked_at):
        ours_noisy, random_noisy = (percent(bad / seen) for bad, seen in zip(noisy, looked_at, strict=True))
        rows.append(("share of checked texts that these rules would drop", ours_noisy, random_noisy))
    return RandomBaseline(rows=rows, looked_at=looked_at, noisy=noisy)


def _checked(store: Store, doc_ids: pl.Series, reference: pl.Series, rules: Sequence[str]) -> pl.DataFrame:
    """Return doc_id and is_dropped of those documents whose text is stored.

    reference: documents of the pool among which pages of boilerplate are counted, with the others.
    """
    counted = "boilerplate" in rules
    texts = _texts(store, pl.concat([doc_ids, reference] if counted else [doc_ids]).unique())
    checked = texts.filter(pl.col("doc_id").is_in(doc_ids.implode()))
    dropped = pl.lit(False)
    if "noise" in rules and len(checked):
        dropped |= measured(checked, Plan(heuristics=("noise",)))["broken"] != ""
    if counted and len(texts):
        flags = texts.hstack(measured(texts, Plan(heuristics=("boilerplate",))))
        pages = repeated_share(flags.with_columns(n_chars=pl.col("text").str.len_chars()))
        dropped |= pl.col("doc_id").is_in(pages.filter(REPEATED.broken)["doc_id"].implode())
    return checked.select("doc_id", is_dropped=dropped)


def _texts(store: Store, doc_ids: pl.Series) -> pl.DataFrame:
    blocks = store.by_ids(DOCUMENTS.name, doc_ids.sort().to_list(), ["doc_id", "text"])
    none = pl.DataFrame(schema={"doc_id": pl.String, "text": pl.String})
    return pl.concat([none, *(pl.DataFrame(pl.from_arrow(block)) for block in blocks)])
