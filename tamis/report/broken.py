"""Broken texts of a selection: kinds in pool, random choice and choice, and texts at the border of `form`.

A rule that is on drops all that break it, so the decisions say how many documents these are. What no rule of
the project drops is looked for in a few texts of each side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from tamis.base.numbers import percent
from tamis.filters import FAMILIES, Plan, measured
from tamis.filters.boilerplate import REPEATED, repeated_share
from tamis.filters.flags import FORM, IMPLAUSIBLE
from tamis.filters.form.model import default_model
from tamis.filters.form.statistics import form
from tamis.filters.form.storing import StoredForm, read_form, unusual_statistics
from tamis.filters.stage import FORM_SCORES
from tamis.readers.markup import is_markup
from tamis.readers.repair import is_mistaken
from tamis.report.seen import heads
from tamis.selection.filtering import form_excludes
from tamis.settings.sections import FiltersSection
from tamis.store.tables import Store

LOOKED_AT = 200
"""Texts of each side that are looked at: a share is right to a few percent, in a fifth of a second."""
REFERENCE = 2_000
"""Texts of the pool among which boilerplate is looked for: a notice has to be on ten pages of these."""
OURS = ("noise", "boilerplate", FORM)
"""Families of rules that `tamis init` writes."""
MARKUP, MISTAKEN = "markup (HTML)", "mistaken encoding"
AT_BORDER = 6
POOL, DRAWN, CHOSEN = "pool", "drawn", "chosen"


@dataclass(frozen=True, kw_only=True)
class BrokenTexts:
    """Kinds of broken texts: `dropped` by a rule, as shares of the pool, and those that were looked for.

    looked_at: doc_id, side and kind of the texts that were looked at, the kind null of sound ones.
    """

    dropped: Mapping[str, float]
    looked_at: pl.DataFrame

    def count(self, side: str, kinds: Sequence[str] | None = None) -> int:
        """Return how many texts of a side were looked at, or how many of these are of these kinds."""
        rows = self.looked_at.filter(side=side)
        return len(rows if kinds is None else rows.filter(pl.col("kind").is_in(kinds)))

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Kind, and its share of pool, random choice and choice, as they are shown; only kinds that occur.

        What a rule drops is in no choice, a random one included.
        """
        shown = [(rule, percent(share), percent(0), percent(0)) for rule, share in self.dropped.items()]
        for kind in self.looked_at["kind"].drop_nulls().unique().sort():
            pool, drawn, chosen = (
                percent(self.count(side, [kind]) / (self.count(side) or 1)) for side in (POOL, DRAWN, CHOSEN)
            )
            shown.append((f"{kind}*", pool, drawn, chosen))
        return shown

    @property
    def most_looked_at(self) -> int:
        """The most texts of a side that were looked at."""
        return max(map(self.count, (POOL, DRAWN, CHOSEN)))


def broken_texts(
    store: Store, decisions: pl.DataFrame, drawn: pl.Series, filters: FiltersSection
) -> BrokenTexts:
    """Count the kinds of broken texts in pool, random choice and choice.

    decisions: doc_id, rank, verdict, reason and maybe detail of the pool. drawn: the random choice, by id.
    """
    chosen = decisions.filter(pl.col("verdict") == "selected").sort("rank")
    sides = {  # of the chosen some of every rank: the first ones alone would be too good
        POOL: drawn_of(decisions, LOOKED_AT),
        DRAWN: drawn.head(LOOKED_AT),
        CHOSEN: chosen["doc_id"].gather_every(max(len(chosen) // LOOKED_AT, 1)).head(LOOKED_AT),
    }
    ids = pl.concat(
        pl.DataFrame({"doc_id": doc_ids}).with_columns(side=pl.lit(side)) for side, doc_ids in sides.items()
    )
    off = [
        rule.name
        for family in OURS
        for rule in FAMILIES[family]
        if family not in filters.heuristics or rule.name in filters.heuristics_off
    ]
    eligible = decisions.filter(pl.col("rank").is_not_null())
    reference = drawn_of(eligible, REFERENCE if REPEATED.name in off else 0)
    kinds = _kinds(store, ids["doc_id"].unique(), reference, off)
    detail = pl.col("detail") if "detail" in decisions.columns else pl.lit(None, dtype=pl.String)
    by_rule = decisions.select(rule=pl.when(pl.col("reason") == "heuristic").then(detail)).drop_nulls()
    counts = by_rule.group_by("rule").len().sort("len", "rule", descending=[True, False])
    return BrokenTexts(
        dropped={rule: count / len(decisions) for rule, count in counts.iter_rows()},
        looked_at=ids.join(kinds, on="doc_id"),
    )


def drawn_of(decisions: pl.DataFrame, count: int) -> pl.Series:
    """Return the ids of so many documents, drawn by the second half of the id."""
    order = [pl.col("doc_id").str.slice(16), pl.col("doc_id")]
    return decisions.select("doc_id").bottom_k(count, by=order).sort(order)["doc_id"]


def _kinds(store: Store, doc_ids: pl.Series, reference: pl.Series, off: Sequence[str]) -> pl.DataFrame:
    """Return doc_id and kind, null of a sound text, of those documents whose text is stored.

    reference: documents of the pool among which pages of boilerplate are counted, with the others. off: the
    rules that are looked for.
    """
    noise = [rule.name for rule in FAMILIES["noise"] if rule.name in off]
    wanted = pl.concat([doc_ids, reference]).unique().sort()
    texts = heads(store, wanted.to_list(), None)
    checked = texts.filter(pl.col("doc_id").is_in(doc_ids.implode()))
    kinds: list[pl.Series] = []
    if noise and len(checked):
        broken = measured(checked, Plan(heuristics=("noise",)))["broken"].str.split(",")
        kinds.append(broken.list.eval(pl.element().filter(pl.element().is_in(noise))).list.first())
    if REPEATED.name in off and len(texts):
        flags = texts.hstack(measured(texts, Plan(heuristics=("boilerplate",))))
        pages = repeated_share(flags.with_columns(n_chars=pl.col("text").str.len_chars()))
        pages = pages.filter(REPEATED.broken).select("doc_id", kind=pl.lit(REPEATED.name))
        kinds.append(checked.join(pages, on="doc_id", how="left", maintain_order="left")["kind"])
    for kind, holds in ((MARKUP, is_markup), (MISTAKEN, is_mistaken)):
        held = pl.Series([holds(text) for text in checked["text"]], dtype=pl.Boolean)
        kinds.append(pl.select(pl.when(held).then(pl.lit(kind))).to_series())
    if IMPLAUSIBLE.name in off:
        known = read_form(store)
        model, limit = (known.model, known.limit) if known else (default_model(), default_model().limit)
        over = model.judge(form(checked["text"]))["form_logit"] > limit
        kinds.append(pl.select(pl.when(over).then(pl.lit(IMPLAUSIBLE.name))).to_series())
    return checked.select("doc_id", kind=pl.coalesce(kinds))


@dataclass(frozen=True, kw_only=True)
class FormBorder:
    """The documents on each side of the limit of `form` that are nearest to it.

    stayed, fell: doc_id, form_logit and form_reasons, the nearest first. limit: in words.
    """

    stayed: pl.DataFrame
    fell: pl.DataFrame
    limit: str


def border_of_form(store: Store, decisions: pl.DataFrame, filters: FiltersSection) -> FormBorder | None:
    """Return the documents at the border, None where the rule is off or a project has no model yet.

    Those that stayed could be chosen; ties are broken by the second half of the id.
    """
    known = read_form(store) if form_excludes(filters) and "detail" in decisions.columns else None
    if known is None:
        return None
    scores = store.read(FORM_SCORES.name, ["doc_id", "form_logit"]).drop_nulls()
    scored = scores.join(decisions.select("doc_id", "rank", "detail"), on="doc_id")
    within = (pl.col("form_logit") <= known.limit) & pl.col("rank").is_not_null()
    return FormBorder(
        stayed=_nearest(store, known, scored.filter(within)),
        fell=_nearest(store, known, scored.filter(pl.col("detail") == IMPLAUSIBLE.name)),
        limit=known.limit_in_words,
    )


def _nearest(store: Store, known: StoredForm, scored: pl.DataFrame) -> pl.DataFrame:
    distance = (pl.col("form_logit") - known.limit).abs()
    nearest = scored.sort(distance, pl.col("doc_id").str.slice(16), "doc_id").head(AT_BORDER)
    reasons = unusual_statistics(store, known, nearest["doc_id"].to_list())
    joined = nearest.join(reasons, on="doc_id", how="left", maintain_order="left")
    return joined.select("doc_id", "form_logit", "form_reasons")
