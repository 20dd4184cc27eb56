"""Measures that filters take of a document, and the verdicts of a selection on them.

`measured` looks at texts and is stored; `verdicts` turns stored rows into rules that documents break, by
limits that may change without a text being read again.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import polars as pl

from tamis.base.arguments import as_frame
from tamis.base.errors import BadArgumentError, UnknownNameError
from tamis.filters import boilerplate, fineweb, gopher, noise, repetition, word_order
from tamis.filters.form.model import MEASURES as FORM_MEASURES
from tamis.filters.form.model import MODEL, default_model
from tamis.filters.form.statistics import form, tables_digest
from tamis.filters.language import LINE_SHARES, identified, identifier_version, stated_code
from tamis.filters.personal_data import COUNTS, KINDS, personal_data
from tamis.filters.phone_numbers import DEFAULT_REGIONS, phone_rules_version
from tamis.filters.rule import Rule, broken_rules, with_units
from tamis.filters.word_order import table_digest
from tamis.settings.language_codes import counted_as

FORM = "form"
"""The family that a model judges; its limit follows the targets of a project."""
IMPLAUSIBLE = Rule(
    name="form_implausible",
    column="form_logit",
    allowed="at most the limit for the targets",
    broken=pl.col("form_logit") > pl.col("form_limit"),
    of_pool=True,
)
FAMILIES: dict[str, tuple[Rule, ...]] = {
    "gopher": (*gopher.RULES, *repetition.RULES),
    "fineweb": fineweb.RULES,
    "word_order": word_order.RULES,
    "noise": noise.RULES,
    "boilerplate": boilerplate.RULES,
    FORM: (IMPLAUSIBLE,),
}
MEASURES: dict[str, tuple[str, ...]] = {
    "gopher": (*gopher.MEASURES, *repetition.MEASURES),
    "fineweb": tuple(fineweb.MEASURES),
    "word_order": tuple(word_order.MEASURES),
    "noise": noise.MEASURES,
    "boilerplate": boilerplate.MEASURES,
    FORM: FORM_MEASURES,
}
_MEASURE: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "gopher": lambda units: units.select(**gopher.MEASURES).hstack(repetition.repetition(units)),
    "fineweb": lambda units: units.select(**fineweb.MEASURES),
    "word_order": lambda units: units.select(**word_order.MEASURES),
    "noise": noise.noise,
    "boilerplate": boilerplate.units_of,
    FORM: lambda units: default_model().judge(form(units["text"])),
}
PASSES_OVER_CODE = frozenset({"noise", "boilerplate"})
"""Families that read `LINE_SHARES`, since they are not meant for code and conversations."""
LanguageSource = Literal["stated", "detected"]
__all__ = ["COUNTS", "FAMILIES", "MEASURES", "Plan", "measured"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The measures to take: families of heuristics, the language where `language` says so, personal data.

    phone_regions: of those, whose national phone numbers are known.
    """

    heuristics: tuple[str, ...] = ()
    language: LanguageSource | None = None
    personal_data: bool = False
    phone_regions: tuple[str, ...] = DEFAULT_REGIONS

    def __bool__(self) -> bool:
        return bool(self.heuristics or self.language or self.personal_data)

    def identity(self) -> dict[str, object]:
        """Everything that decides what is measured, but the code that all families share."""
        table: dict[str, object] = {"word_pairs": table_digest()} if "noise" in self.heuristics else {}
        if "boilerplate" in self.heuristics:
            table["units"] = boilerplate.UNITS_VERSION
        if FORM in self.heuristics:
            table["form"] = shipped_form()
        return table | {
            "heuristics": sorted(set(self.heuristics)),
            "language": identifier_version() if self.language else None,
            "personal_data": phone_rules_version(self.phone_regions) if self.personal_data else False,
        }


@cache
def shipped_form() -> str:
    """Return the digest of the model of form that ships with Tamis, and of the tables that it reads."""
    return f"{tables_digest()} {hashlib.sha256(MODEL.read_bytes()).hexdigest()[:16]}"


def measured(texts: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """The measures and broken rules of a frame with a column text, a row per text in order.

    Columns, as far as the plan asks for them: those of `MEASURES` and `COUNTS`, `detected_language`,
    `language_confidence`, and `broken`, without rules whose verdict depends on the pool or the targets. The
    measures of `form` are by the model that ships with Tamis; its own limit is `default_model().limit`.
    Raises `BadArgumentError` for a plan that asks for nothing, `UnknownNameError` for a family that is none.
    """
    if not (isinstance(plan, Plan) and plan):
        raise BadArgumentError(
            "plan", repr(plan), "a Plan that asks for heuristics, language or personal data"
        )
    texts = as_frame("texts", texts)
    if unknown := [family for family in plan.heuristics if family not in FAMILIES]:
        raise UnknownNameError("family of heuristics", unknown[0], FAMILIES)
    frames = []
    if plan.heuristics:
        units = with_units(texts.select("text"))
        if not PASSES_OVER_CODE.isdisjoint(plan.heuristics):
            units = units.with_columns(**LINE_SHARES)
        families = [family for family in FAMILIES if family in plan.heuristics]
        found = pl.concat([_MEASURE[family](units) for family in families], how="horizontal")
        rules = [rule for family in families for rule in FAMILIES[family] if not rule.of_pool]
        frames.append(found.with_columns(broken=broken_rules(rules)))
    if plan.language:
        # Of every text: what its places state may change without it, and is no part of its flags.
        languages = identified(texts["text"])
        frames.append(languages.select(detected_language="language", language_confidence="confidence"))
    if plan.personal_data:
        frames.append(personal_data(texts, plan.phone_regions))
    return pl.concat(frames, how="horizontal")


def broken_heuristic(families: Sequence[str], without: Sequence[str]) -> pl.Expr:
    """The first rule of these families, in the order of `FAMILIES`, that a stored row breaks, or null."""
    rules = [rule.name for family in FAMILIES if family in families for rule in FAMILIES[family]]
    counts = pl.element().filter(pl.element().is_in([name for name in rules if name not in without]))
    return pl.col("broken").str.split(",").list.eval(counts).list.first()


def wrong_language(languages: Sequence[str], source: LanguageSource, confidence: float) -> pl.Expr:
    """ "language_stated_de" or "language_detected_de" for a row in another language than these, else null.

    A language that is a part of one of these, such as "nb" of "no", is not another. A detected language under
    `confidence` is not known, and an unknown language is not wrong.
    """
    code = stated_code(pl.col("language").cast(pl.String))
    stated = pl.lit(None, dtype=pl.String) if source == "detected" else code
    detected = pl.when(pl.col("language_confidence") >= confidence).then(pl.col("detected_language"))
    kept = pl.coalesce(stated, stated_code(detected))
    name = pl.coalesce(
        pl.lit("language_stated_") + stated,
        pl.when(stated.is_null()).then(pl.lit("language_detected_") + detected),
    )
    return pl.when(~kept.is_in(counted_as(languages))).then(name)


def too_much_personal_data(limit: int) -> pl.Expr:
    """Rule that a row with more than `limit` findings breaks, by its first kind; null for other rows."""
    kinds = [
        pl.when(pl.col(column) > 0).then(pl.lit(f"personal_data_{kind.name}"))
        for kind, column in zip(KINDS, COUNTS, strict=True)
    ]
    return pl.when(pl.sum_horizontal(pl.col(COUNTS)) > limit).then(pl.coalesce(kinds))
