"""Gaps of a target as they are stored: how many there are, which, and what that means in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tamis.base.numbers import counted, cut, percent
from tamis.corpus.stage import TARGET_EXAMPLES
from tamis.store.tables import Store, quoted
from tamis.transport.gaps import Gaps
from tamis.transport.stage import TARGET_GAPS


@dataclass(frozen=True, kw_only=True)
class TargetGaps:
    """The gaps of a target. lacking: example_id and supply of the gaps, the smallest supply first."""

    target: str
    gaps: Gaps
    lacking: pl.DataFrame

    @property
    def answer(self) -> str:
        """How many examples nothing serves, and by which limit, as a sentence."""
        examples = counted(len(self.gaps.supply_m), "example")
        if np.isnan(self.gaps.typical):
            return f"{self.target} has {examples}: too few to tell which examples the pool does not cover."
        share = percent(len(self.lacking) / len(self.gaps.supply_m), 0)
        found = f"{len(self.lacking):,} of the {examples} of {self.target} ({share})"
        if not len(self.lacking):
            return (
                f"Eligible documents are near all {examples} of {self.target}: at least "
                f"{self.gaps.limit:.2g} per example, and {self.gaps.typical:.2g} for a typical one."
            )
        under = f"fewer than {self.gaps.limit:.2g} per example"
        if self.gaps.typical < self.gaps.limit:
            return (
                f"Hardly any eligible documents are near this target: {under} near {found}, and "
                f"{self.gaps.typical:.2g} near a typical example."
            )
        return (
            f"Hardly any eligible documents are near {found}: {under}, compared with "
            f"{self.gaps.typical:.2g} for a typical example."
        )

    def to_json(self, store: Store) -> dict[str, Any]:
        """Return what is known of the gaps; numbers are None where the examples are too few."""
        known = not np.isnan(self.gaps.typical)
        return {
            "target": self.target,
            "examples": len(self.gaps.supply_m),
            "typical_supply": self.gaps.typical if known else None,
            "limit": self.gaps.limit if known else None,
            "gaps": self._with_sources(store).to_dicts(),
        }

    def lines(self, store: Store, begins: Mapping[str, str]) -> list[str]:
        """Return the answer and the first of the gaps, for a person; `begins`: how texts of them begin."""
        shown = self._with_sources(store).select("example_id", "supply", "source").iter_rows()
        named = [
            f"{example}  supply {supply:.2g} ({source})"
            + (f'  "{begins[example]}"' if example in begins else "")
            for example, supply, source in shown
        ]
        return [self.answer, *(f"  {line}" for line in cut(named, "--json"))]

    def _with_sources(self, store: Store) -> pl.DataFrame:
        where = f"target = {quoted(self.target)}"
        known = store.read(TARGET_EXAMPLES.name, ["doc_id", "source"], where).unique("doc_id", keep="first")
        columns = ["example_id", "source", "supply"]
        found = self.lacking.join(known, left_on="example_id", right_on="doc_id", maintain_order="left")
        return found.select(columns)


def read_gaps(store: Store, target: str) -> TargetGaps:
    """Return the gaps of a target that are stored; of none made yet there is no example."""
    rows = store.read(TARGET_GAPS.name, where=f"target = {quoted(target)}").sort("supply", "doc_id")
    lacking = rows.filter(pl.col("is_gap")).select("supply", example_id="doc_id")
    supply_m = rows["supply"].fill_null(float("nan")).to_numpy()
    return TargetGaps(target=target, gaps=Gaps(supply_m=supply_m), lacking=lacking)
