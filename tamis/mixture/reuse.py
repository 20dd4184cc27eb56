"""Runs to train when sources change: unchanged ones are frozen into one virtual source (arXiv 2602.12237).

A mixture over many sources is learnt once. When a source arrives or is revised, those that did not change
keep their ratios and act together as one source, so that a law over the virtual and the changed sources needs
3 (parts + 1) runs instead of 3 (k + 1). What only grew, shrank or left needs no run at all.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tamis.base.arguments import as_number
from tamis.mixture.errors import BadMixtureSettingError, BadWeightsError, setting_numbers
from tamis.mixture.exponential import Floats
from tamis.mixture.law import checked_weights
from tamis.mixture.proposing import runs_needed, runs_to_extend

REVISED = 0.10
"""A source of whose tokens more than this share changed is revised: the law is one of another source."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reuse:
    """The sources [k] that a new law is over, and the number of runs it needs.

    `sources`: names of all k sources now; `free`: those whose shares the new law learns; `frozen`: those
    that the virtual source holds, in the ratios [k] (0 for the free ones); `removed`: sources that left, on
    whose absence the old law is conditional; `runs`: mixtures to train, 0 where the old law holds. A law
    over `columns`, the virtual source first, expands to all sources by `expand`.
    """

    sources: tuple[str, ...]
    free: tuple[str, ...]
    removed: tuple[str, ...]
    ratios: Floats
    runs: int

    @property
    def frozen(self) -> tuple[str, ...]:
        """Sources of the virtual source."""
        return tuple(name for name in self.sources if name not in self.free)

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """For each column of collapsed weights the names in it: those frozen together, then each free one."""
        return ((self.frozen,) if self.frozen else ()) + tuple((name,) for name in self.free)

    def expand(self, weights: ArrayLike) -> Floats:
        """Return shares of all sources [n, k] from those of columns [n, c], frozen ones in their ratios."""
        return checked_weights(weights, len(self.columns)) @ self._parts()

    def collapse(self, weights: ArrayLike) -> Floats:
        """Return shares of the columns [n, c] from those of all sources [n, k].

        Raises `BadWeightsError` where frozen sources have other ratios: such a run belongs to another law.
        """
        weights_nk = checked_weights(weights, len(self.sources))
        collapsed_nc = self.totals(weights_nk)
        off_n = np.abs(collapsed_nc @ self._parts() - weights_nk).max(1)
        if (off_n > 2e-3).any():
            row = int(np.flatnonzero(off_n > 2e-3)[0])
            raise BadWeightsError(
                f"shares of frozen sources are up to {off_n[row]:.3g} off their fixed ratios", row
            )
        return collapsed_nc

    def totals(self, weights: ArrayLike) -> Floats:
        """Return the sum of shares in each column [n, c], whatever the ratios: of a prior, say."""
        weights_nk = checked_weights(weights, len(self.sources))
        return np.stack([weights_nk[:, self._places(names)].sum(1) for names in self.columns], axis=1)

    def available_tokens(self, available_tokens: ArrayLike) -> Floats:
        """Return tokens of the columns [c] from those of all sources [k].

        The virtual source has as many as keep its ratios until its scarcest part is used up.
        """
        expected = f"{len(self.sources)} numbers"
        available_k = setting_numbers("available_tokens", available_tokens, expected)
        if available_k.shape != (len(self.sources),):
            raise BadMixtureSettingError("available_tokens", available_tokens, expected)
        return np.array([(available_k[part_k > 0] / part_k[part_k > 0]).min() for part_k in self._parts()])

    def _places(self, names: Collection[str]) -> list[int]:
        return [self.sources.index(name) for name in names]

    def _parts(self) -> Floats:
        """Return the shares [c, k] of sources in each column."""
        parts_ck = np.zeros((len(self.columns), len(self.sources)))
        for column, names in enumerate(self.columns):
            places = self._places(names)
            parts_ck[column, places] = self.ratios[places] if names == self.frozen else 1.0
        return parts_ck


def plan_reuse(
    weights: Mapping[str, float],
    sources: Collection[str],
    *,
    changed: Mapping[str, float] | None = None,
    free: Collection[str] = (),
) -> Reuse:
    """Return which runs sources need now, where `weights` is the mixture that is in use.

    `changed`: the share of the tokens of an old source that are other documents than when its law was
    fitted (growth of the same kind is no change); over 10 % it is as a new source. `free`: old sources to
    learn again too, such as near neighbours of a new one. Where all are new, or frozen ones have no weight,
    all are free and the runs are those of a first swarm. Raises `BadMixtureSettingError`.
    """
    names, changed = tuple(sources), changed or {}
    for setting, shares in (("weights", weights), ("changed", changed)):
        if not (isinstance(shares, Mapping) and all(np.isfinite(as_number(one)) for one in shares.values())):
            raise BadMixtureSettingError(setting, shares, "finite shares by the name of a source")
    if len(set(names)) != len(names) or not names:
        raise BadMixtureSettingError("sources", list(names), "at least one name and no repeated names")
    for setting, given in (("changed", changed), ("free", free)):
        if unknown := sorted(set(given) - set(names)):
            raise BadMixtureSettingError(setting, unknown, "names of `sources`")
    if not all(np.isfinite(share) and share >= 0 for share in weights.values()):
        raise BadMixtureSettingError("weights", dict(weights), "finite, non-negative shares")
    new = {name for name in names if name not in weights or changed.get(name, 0.0) > REVISED}
    learnt = tuple(name for name in names if name in new or name in set(free))
    held = {name: float(weights[name]) for name in names if name not in learnt}
    removed = tuple(name for name in weights if name not in names)
    total = sum(held.values())
    if not total > 0:
        return Reuse(
            sources=names,
            free=names,
            removed=removed,
            ratios=np.zeros(len(names)),
            runs=runs_needed(len(names)),
        )
    return Reuse(
        sources=names,
        free=learnt,
        removed=removed,
        ratios=np.array([held.get(name, 0.0) / total for name in names]),
        runs=runs_to_extend(len(learnt)),
    )
