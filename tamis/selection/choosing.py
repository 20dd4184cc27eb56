"""One selection from what is stored: pool, exclusions, the sampler's own score, the cut, the decisions."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from tamis.selection.allocation import ShareBounds, TargetShares, allocate
from tamis.selection.decide import Ranking, select
from tamis.selection.pool import candidates, exclusions, groups, name_set_aside
from tamis.selection.where import unmet_by
from tamis.settings.config import FiltersSection, SelectionSection
from tamis.settings.samplers import DEFAULT_OPTIONS, complete_options, find_sampler
from tamis.settings.sections import ScoreSection
from tamis.store.tables import Store

Shares = ShareBounds | TargetShares
Scored = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
"""Function of the pool and its exclusions: `method_score` of the eligible documents, by doc_id."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Decisions about every document of the pool.

    `shares`: of a divided budget. `shortfalls`: sentences about groups that could not have their share.
    """

    decided: pl.DataFrame
    pool: pl.DataFrame
    shares: Shares | None
    shortfalls: tuple[str, ...]


def choose_documents(
    store: Store,
    section: SelectionSection,
    filters: FiltersSection,
    seed: int,
    scored: Scored,
    mixture: tuple[pl.DataFrame, TargetShares] | None = None,
    scores: Sequence[ScoreSection] = (),
) -> Chosen:
    """Rank the pool by the selection's sampler, cut it at the budget, and give each document a reason.

    `scored`: called for a sampler that computes its own score. `mixture`: the group of each document and the
    shares of groups, for a selection that follows [mixture]. `scores`: those of the project. Raises as
    `select` and `allocate` do.
    """
    pool = candidates(store, section, scores)
    excluded = exclusions(store, filters, unmet_by(store, section, filters, scores))
    sampler, options = find_sampler(section.sampler), section.model_dump(include={*DEFAULT_OPTIONS})
    if sampler.method:
        pool = pool.join(scored(pool, excluded), on="doc_id", how="left")
    division = mixture or _bounds(store, section)
    shortfalls: tuple[str, ...] = ()
    if division:
        by_group, shares = division
        pool = pool.join(by_group, on="doc_id")
        ranking = Ranking(sampler=sampler, seed=seed, options=complete_options(options))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the shortfalls say the same
            divided = allocate(pool, section.budget, shares, ranking, excluded)
        decided, shortfalls = divided.decisions, tuple(found.message for found in divided.shortfalls)
    else:
        decided = select(pool, section.sampler, section.budget, seed, exclusions=excluded, options=options)
    return Chosen(
        decided=name_set_aside(store, decided, section),
        pool=pool,
        shares=division[1] if division else None,
        shortfalls=shortfalls,
    )


def _bounds(store: Store, section: SelectionSection) -> tuple[pl.DataFrame, Shares] | None:
    """Return the group of each document and the bounds of groups; None where the budget is not divided."""
    if section.per is None:
        return None
    least, most = section.bounds
    return groups(store, section.per), ShareBounds(minimum=least, maximum=most, per=section.per)
