"""Laws that map a mixture to the losses of a model trained on it, fitted to a swarm of small runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.base.arguments import NO_NUMBERS, as_number, dense
from tamis.mixture.errors import (
    BadMixtureSettingError,
    BadWeightsError,
    TooFewRunsError,
    UnknownMethodError,
    checked_seed,
    setting_numbers,
)
from tamis.mixture.exponential import Flags, Floats
from tamis.mixture.forms import Candidate, Constants, Fitted, Swarm, boosted, gaussian, mean_of, parametric

Method = Literal["best", "root", "log-linear", "boosting", "gp", "linear"]
OFF = 0.02
"""Largest distance of the sum of a row from 1."""
MADS = 5.0
"""A run whose residual is more than so many median absolute deviations is an outlier."""
LEAST_OUTLIER = 5.0
"""... and more than so many median absolute deviations of the losses themselves."""
OUTLIER_PASSES = 4
LEAST_WEIGHT, ROUNDING = 0.02, 1e-9
LEAST_NEARNESS = 0.05  # 1 - leverage of a run that alone determines a slope
NEAREST_RUNS = 12
BOOSTED_FROM = 256
"""Runs from which `best` tries trees: with fewer they choose badly however they rank."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MixtureLaw:
    """A law for t losses of mixtures of k sources, and how well it does on runs it has not seen.

    `method` names the form of each target; `cross_validated`: for each target the rank correlation of every
    form tried, between predictions for held-out runs and their losses; `held_out` [R, t]: those predictions,
    of the form chosen, NaN for runs without any loss; `losses` [R, t]; `outliers`: runs (rows) of each target
    that were left out.
    """

    weights: Floats
    losses: Floats
    method: tuple[str, ...]
    cross_validated: tuple[dict[str, float], ...]
    held_out: Floats
    outliers: tuple[tuple[int, ...], ...]
    parts: tuple[Fitted, ...]
    one_target: bool

    @property
    def sources(self) -> int:
        """k."""
        return self.weights.shape[1]

    @property
    def targets(self) -> int:
        """t."""
        return self.losses.shape[1]

    def largest_seen(self, goal_weights: ArrayLike | None = None) -> Floats:
        """Return the largest share [k] of each source in a run with a loss of the goal that is no outlier."""
        counted_r = np.isfinite(self.kept_losses[:, self.goal_weights(goal_weights) > 0]).any(1)
        seen: Floats = self.weights[counted_r].max(0)
        return seen

    @property
    def kept_losses(self) -> Floats:
        """[R, t] the losses that count, NaN for failed runs and for outliers: those have diverged."""
        kept_rt = self.losses.copy()
        for target, outliers in enumerate(self.outliers):
            kept_rt[list(outliers), target] = np.nan
        return kept_rt

    @property
    def smooth(self) -> bool:
        """True if the law has derivatives."""
        return all(part.smooth for part in self.parts)

    def predict(self, weights: ArrayLike) -> Floats:
        """Return losses [n], or [n, t] of a law that was fitted to [R, t]; raises `BadWeightsError`."""
        found_nt = self.values(checked_weights(weights, self.sources))
        return found_nt[:, 0] if self.one_target else found_nt

    def values(self, weights_nk: Floats) -> Floats:
        """Return losses [n, t] at mixtures that need no check."""
        return np.stack([part.predict(weights_nk)[0] for part in self.parts], axis=1)

    def by_root(self, roots_nk: Floats) -> Floats:
        """Return derivatives [n, t, k] by the square roots of the shares, of a smooth law."""
        return np.stack([part.by_root(roots_nk)[0] for part in self.parts], axis=1)

    def interval(self, weights: ArrayLike, level: float = 0.9) -> tuple[Floats, Floats]:
        """Return bounds between which the loss of a run of these mixtures is, with probability `level`.

        The half-width is a quantile of the residuals of held-out runs, wider the less a mixture resembles
        the runs. With fewer runs than have such a quantile (at .9 under nine) it is the largest residual,
        widened as if residuals were normal (`few_runs_widening`): of one form that holds about what is
        promised, and somewhat less where "best" chose among forms. Shapes are those of `predict`.
        """
        weights_nk = checked_weights(weights, self.sources)
        predicted_nt = self.values(weights_nk)
        half_nt = np.stack(
            [self._half_width(weights_nk, goal_t, level) for goal_t in np.eye(self.targets)], axis=1
        )
        low_nt, high_nt = predicted_nt - half_nt, predicted_nt + half_nt
        return (low_nt[:, 0], high_nt[:, 0]) if self.one_target else (low_nt, high_nt)

    def goal_interval(
        self, weights: ArrayLike, goal_weights: ArrayLike | None = None, level: float = 0.9
    ) -> tuple[Floats, Floats, Floats]:
        """Return the goal (weighted sum of the losses) of mixtures [n], and its bounds as in `interval`."""
        goal_t = self.goal_weights(goal_weights)
        weights_nk = checked_weights(weights, self.sources)
        goal_n = self.values(weights_nk) @ goal_t
        half_n = self._half_width(weights_nk, goal_t, level)
        return goal_n, goal_n - half_n, goal_n + half_n

    def difference_interval(
        self, first: ArrayLike, second: ArrayLike, goal_weights: ArrayLike | None = None, level: float = 0.9
    ) -> tuple[float, float, float]:
        """Return how much larger the goal of the first mixture [k] is than that of the second, with bounds.

        The half-width is a quantile of the differences between residuals of pairs of held-out runs, with few
        runs widened as in `interval`: bounds that cover 0 say that the two cannot be distinguished by the
        runs at hand.
        """
        goal_t = self.goal_weights(goal_weights)
        both_2k = np.stack([checked_mixture(one, self.sources) for one in (first, second)])
        level = _checked_level(level)
        goal_2 = self.values(both_2k) @ goal_t
        residual_r, spread_2 = self._scaled_residuals(goal_t, both_2k)
        above, below = np.triu_indices(len(residual_r), 1)
        gaps = np.abs(residual_r[above] - residual_r[below])
        half = _quantile(gaps, level) * float(np.sqrt((spread_2**2).mean()))
        half *= few_runs_widening(len(residual_r), self.sources, level)
        difference = float(goal_2[0] - goal_2[1])
        return difference, difference - half, difference + half

    def goal_weights(self, goal_weights: ArrayLike | None) -> Floats:
        """Return weights [t] of the targets in the goal, uniform by default; they sum to 1."""
        if goal_weights is None:
            return np.full(self.targets, 1.0 / self.targets)
        expected = f"{self.targets} non-negative numbers that add up to 1"
        found_t = np.atleast_1d(setting_numbers("goal_weights", goal_weights, expected))
        right = found_t.shape == (self.targets,) and np.isfinite(found_t).all() and (found_t >= 0).all()
        if not right or abs(found_t.sum() - 1.0) > OFF:
            raise BadMixtureSettingError("goal_weights", goal_weights, expected)
        return found_t / found_t.sum()

    def _half_width(self, weights_nk: Floats, goal_t: Floats, level: float) -> Floats:
        level = _checked_level(level)
        residual_r, spread_n = self._scaled_residuals(goal_t, weights_nk)
        widening = few_runs_widening(len(residual_r), self.sources, level)
        return spread_n * _quantile(np.abs(residual_r), level) * widening

    def _scaled_residuals(self, goal_t: Floats, weights_nk: Floats) -> tuple[Floats, Floats]:
        """Return residuals of the goal, held out, of the runs that have it, and the spread [n] at mixtures.

        Where hardly any run has all targets, a run counts with the mean over those that it has.

        Residuals are in units of the spread at their runs. It grows with the leverage of a mixture and with
        the residuals of the runs nearest to it, by the distance of roots of the shares: laws are worse among
        mixtures of high loss than around the prior.
        """
        counted_t = goal_t > 0
        residual_rt = (self.kept_losses - self.held_out)[:, counted_t]
        known_rt, share_t = np.isfinite(residual_rt), goal_t[counted_t]
        counted_r = known_rt.all(1)
        if counted_r.sum() < self.sources + 2:
            counted_r = known_rt.any(1)
            known_share_r = np.maximum(known_rt @ share_t, 1e-12)
            residual_rt = np.where(known_rt, residual_rt, 0.0) / known_share_r[:, None]
        runs_rk = self.weights[counted_r]
        residual_r = residual_rt[counted_r] @ share_t
        residual_r = residual_r * np.sqrt(np.maximum(1.0 - leverage(runs_rk, runs_rk), LEAST_NEARNESS))
        near_rr, near_nr = _distances(runs_rk, runs_rk), _distances(weights_nk, runs_rk)
        np.fill_diagonal(near_rr, np.inf)
        local_r, local_n = (_nearby(near, np.abs(residual_r)) for near in (near_rr, near_nr))
        return residual_r / local_r, local_n * np.sqrt(1.0 + leverage(weights_nk, runs_rk))


def leverage(weights_nk: Floats, runs_rk: Floats) -> Floats:
    """Return how far mixtures are from the runs: leverage [n] in a regression on roots of the shares."""
    roots_rk = np.sqrt(runs_rk)
    centre_k = roots_rk.mean(0)
    design_rk = roots_rk - centre_k
    normal_kk = design_rk.T @ design_rk
    slack = 1e-3 * float(np.trace(normal_kk)) / len(normal_kk) + 1e-12
    away_nk = np.sqrt(weights_nk) - centre_k
    solved_kn = np.linalg.solve(normal_kk + slack * np.eye(len(normal_kk)), away_nk.T)
    found_n: Floats = (away_nk * solved_kn.T).sum(1) + 1.0 / len(runs_rk)
    return found_n


def _distances(left_nk: Floats, right_rk: Floats) -> Floats:
    """Return squared distances [n, r] between roots of shares, by which corners are farthest apart."""
    return 2.0 - 2.0 * np.sqrt(left_nk) @ np.sqrt(right_rk).T


def _nearby(distance_nr: Floats, size_r: Floats) -> Floats:
    """Return the mean [n] of the sizes of the nearest runs and of all runs; 1 where all are 0."""
    count = min(max(NEAREST_RUNS, len(size_r) // 8), len(size_r) - 1)
    nearest_nc = np.argpartition(distance_nr, count - 1, axis=1)[:, :count]
    found_n = (size_r[nearest_nc].mean(1) + size_r.mean()) / 2
    return np.where(found_n > 0, found_n, 1.0)


def _quantile(values: Floats, level: float) -> float:
    """Return the conformal quantile: of n values the ceil((n + 1) level)-th, at most the largest."""
    rank = min(int(np.ceil((len(values) + 1) * level)), len(values))
    return float(np.sort(values)[rank - 1]) if len(values) else float("nan")


def few_runs_widening(runs: int, sources: int, level: float) -> float:
    """Return how much wider than the largest residual an interval must be; 1 where runs have the quantile.

    The largest of n residuals is about the n / (n + 1) quantile of their size, which gives their deviation if
    they are normal. Student's quantile then has as many degrees of freedom as a law of one slope a source
    leaves.
    """
    from scipy.special import ndtri, stdtrit

    if int(np.ceil((runs + 1) * level)) <= runs:
        return 1.0
    deviations = float(ndtri((1 + runs / (runs + 1)) / 2))
    return float(stdtrit(max(runs - sources - 1, 1), (1 + level) / 2)) / deviations


def checked_weights(weights: ArrayLike, sources: int | None = None) -> Floats:
    """Return mixtures [n, k], each summing to 1; [k] is one mixture.

    Raises `BadWeightsError` for anything but finite numbers of 0 or more, for rows that are off by more than
    2 % and for another number of sources.
    """
    try:
        found_nk = np.atleast_2d(np.asarray(dense(weights), dtype=float))
    except NO_NUMBERS:
        raise BadWeightsError(
            "weights must be numbers, one row per mixture and one column per source"
        ) from None
    if found_nk.ndim != 2 or found_nk.shape[1] == 0:
        raise BadWeightsError(f"weights have the shape {found_nk.shape}; expected [runs, sources]")
    if sources is not None and found_nk.shape[1] != sources:
        raise BadWeightsError(f"the mixtures have {found_nk.shape[1]} sources, but the law has {sources}")
    sum_n = found_nk.sum(1)
    for wrong_n, problem in (
        (~np.isfinite(found_nk).all(1), "a share is not a finite number"),
        ((found_nk < 0).any(1), "a share is negative"),
        (np.abs(sum_n - 1.0) > OFF + 1e-9, "shares do not add up to 1 within 2 %"),
    ):
        if wrong_n.any():
            row = int(np.flatnonzero(wrong_n)[0])
            raise BadWeightsError(f"{problem} (the sum is {sum_n[row]:.4g})", row)
    return found_nk / sum_n[:, None]


def checked_mixture(weights: ArrayLike, sources: int | None = None) -> Floats:
    """Return one mixture [k], summing to 1; raise `BadWeightsError` as `checked_weights`, and for several."""
    found_nk = checked_weights(weights, sources)
    if len(found_nk) != 1:
        raise BadWeightsError(f"found {len(found_nk)} mixtures; expected one, [sources]")
    return found_nk[0]


def _checked_level(level: float) -> float:
    if not 0 < as_number(level) < 1:
        raise BadMixtureSettingError("level", level, "a number between 0 and 1")
    return float(level)


def fit_mixture_law(
    weights: ArrayLike, losses: ArrayLike, method: Method = "best", seed: int = 0
) -> MixtureLaw:
    """Fit a law to finished runs: weights [R, k], losses [R] or [R, t], smaller is better, NaN = failed run.

    "root" is c + exp(b + sum t_j sqrt(w_j)), "log-linear" c + exp(t . w), "linear" b + t . w, "gp" a Gaussian
    process on log(w + .005), "boosting" trees. "best" decides for each target by cross-validation among
    these, a power law in the effective data ("transfer"), means of two and a process on what a law leaves.
    Each target uses the runs that have it. Raises `BadWeightsError`, `TooFewRunsError` (under k + 2 finished
    runs) and `UnknownMethodError`, all `ValueError`.
    """
    if method not in get_args(Method):
        raise UnknownMethodError("method", str(method), get_args(Method))
    weights_rk, seed = checked_weights(weights), checked_seed(seed)
    losses_rt, one_target = _checked_losses(losses, weights_rk)
    # A run without losses is as if it had never been: no form is fitted to where it was.
    counted_r = np.isfinite(losses_rt).any(1)
    rows = _fit_losses(weights_rk[counted_r], losses_rt[counted_r], method, seed)
    held_out_rt = np.full(losses_rt.shape, np.nan)
    held_out_rt[counted_r] = np.stack([row.held_out_r for row in rows], axis=1)
    places_r = np.flatnonzero(counted_r)
    return MixtureLaw(
        weights=weights_rk,
        losses=losses_rt,
        method=tuple(row.method for row in rows),
        cross_validated=tuple(row.cross_validated for row in rows),
        held_out=held_out_rt,
        outliers=tuple(tuple(places_r[list(row.outliers)].tolist()) for row in rows),
        parts=tuple(row.fitted for row in rows),
        one_target=one_target,
    )


class _Found(NamedTuple):
    """The law fitted to one target."""

    method: str
    cross_validated: dict[str, float]
    held_out_r: Floats
    outliers: tuple[int, ...]
    fitted: Fitted


def _fit_losses(weights_rk: Floats, losses_rt: Floats, method: Method, seed: int) -> list[_Found]:
    """Fit a law to each target, those without a difference a constant; every run has a loss."""
    used_rt = np.isfinite(losses_rt)
    varied_t = np.array(
        [varies(column_r[used_r]) for column_r, used_r in zip(losses_rt.T, used_rt.T, strict=True)]
    )
    found: dict[int, _Found] = {}
    for target in np.flatnonzero(~varied_t).tolist():
        level = float(losses_rt[used_rt[:, target], target].mean())
        found[target] = _Found(
            "constant", {}, np.full(len(losses_rt), level), (), Constants(level_s=np.array([level]))
        )
    if varied_t.any():
        swarm = Swarm(
            weights_rk=weights_rk,
            losses_tr=np.where(used_rt, losses_rt, 0.0).T[varied_t],
            used_tr=used_rt.T[varied_t],
            fold_r=_folds(weights_rk, seed),
        )
        found |= dict(zip(np.flatnonzero(varied_t).tolist(), _fit_targets(swarm, method, seed), strict=True))
    return [found[target] for target in range(losses_rt.shape[1])]


def _checked_losses(losses: ArrayLike, weights_rk: Floats) -> tuple[Floats, bool]:
    """Return losses [R, t], NaN where a run failed, and whether they came as [R]."""
    runs, sources = weights_rk.shape
    try:
        given = np.asarray(dense(losses), dtype=float)
    except NO_NUMBERS:
        raise BadWeightsError("losses must be numbers, one row per run and one column per target") from None
    if given.ndim not in (1, 2) or given.shape[0] != runs or given.size == 0:
        raise BadWeightsError(f"losses have the shape {given.shape}; expected [{runs}] or [{runs}, targets]")
    losses_rt = given.reshape(runs, -1)
    losses_rt = np.where(np.isfinite(losses_rt), losses_rt, np.nan)
    for target, count in enumerate(np.isfinite(losses_rt).sum(0)):
        if count < sources + 2:
            raise TooFewRunsError(target, int(count), sources + 2)
    return losses_rt, given.ndim == 1


def varies(losses_n: Floats) -> bool:
    """Return whether losses differ by more than rounding."""
    return bool(np.ptp(losses_n) > ROUNDING * np.abs(losses_n).max())


def _folds(weights_rk: Floats, seed: int) -> NDArray[np.intp]:
    """Return the fold of each run: the fewer mixtures, the more folds, so that fits without one are alike.

    Runs of one mixture share a fold: predicted from one another, they would show the noise of seeds alone.
    With too few mixtures to fit a law without some of them, each run counts as one.
    """
    _, first_m, mixture_r = np.unique(weights_rk, axis=0, return_index=True, return_inverse=True)
    # Mixtures count in the order of their first runs.
    _, place_r = np.unique(first_m[mixture_r], return_inverse=True)
    if len(first_m) < weights_rk.shape[1] + 2:
        place_r = np.arange(len(weights_rk))
    mixtures = int(place_r.max()) + 1
    count = min(mixtures, 16 if mixtures <= 64 else 10 if mixtures <= 256 else 5)
    fold_m = np.random.default_rng(seed).permutation(mixtures) % count
    found_r: NDArray[np.intp] = fold_m[place_r]
    return found_r


def _fit_targets(swarm: Swarm, method: Method, seed: int) -> list[_Found]:
    """Fit the forms of few parameters to all targets at once, choose for each; again without outliers."""
    given_tr = swarm.used_tr
    roots = parametric(swarm, "root")
    for _ in range(OUTLIER_PASSES):
        outlier_tr = _outliers(swarm, roots, given_tr)
        if (outlier_tr == (given_tr & ~swarm.used_tr)).all():
            break
        # Bad runs bend the law that they are judged by: it is fitted without them, and all are judged again.
        swarm = replace(swarm, used_tr=given_tr & ~outlier_tr)
        roots = parametric(swarm, "root")
    shared = [*(roots if method in ("best", "root") else ())]
    for name in ("log-linear", "transfer", "linear"):
        if method in ("best", name):
            shared += parametric(swarm, name)
    found = []
    for row in range(len(given_tr)):
        one, candidates = swarm.take(row), [candidate.take(row) for candidate in shared]
        if method == "gp":
            candidates = [gaussian(one)]
        if method == "boosting":
            candidates = [boosted(one, seed)]
        chosen, tried = _best(one, candidates, seed) if method == "best" else _least_error(one, candidates)
        ranks = {name: _rank_correlation(one, candidate) for name, candidate in tried.items()}
        outliers = tuple(np.flatnonzero(outlier_tr[row]).tolist())
        found.append(_Found(chosen.name, ranks, chosen.held_out_tr[0], outliers, chosen.fitted))
    return found


def _outliers(swarm: Swarm, roots: list[Candidate], given_tr: Flags) -> Flags:
    """Return which of the given runs [t, R] every form of few parameters misses by many absolute deviations.

    Residuals are those held out, less where a run is far from the others. What is small next to the spread
    of the losses, or what another form has right, may be the form of the law, and is no sign of a bad run.
    """
    found_tr = _missed(swarm, roots, given_tr)
    if found_tr.any():
        for name in ("log-linear", "linear"):
            found_tr &= _missed(swarm, parametric(swarm, name), given_tr)
    for row, given_r in enumerate(given_tr):
        if given_r.sum() - found_tr[row].sum() < swarm.weights_rk.shape[1] + 2:
            found_tr[row] = False
    return found_tr


def _missed(swarm: Swarm, candidates: list[Candidate], given_tr: Flags) -> Flags:
    """Return which runs [t, R] the best of the candidates misses."""
    found_tr = np.zeros_like(given_tr)
    for row, given_r in enumerate(given_tr):
        near_r = np.sqrt(
            np.maximum(1.0 - leverage(swarm.weights_rk, swarm.weights_rk[given_r]), LEAST_NEARNESS)
        )
        chosen, _ = _least_error(swarm.take(row), [candidate.take(row) for candidate in candidates])
        losses_r = swarm.losses_tr[row]
        away_r = np.abs(losses_r - chosen.held_out_tr[0]) * near_r
        spread = float(np.median(np.abs(losses_r[given_r] - np.median(losses_r[given_r]))))
        limit = max(MADS * float(np.median(away_r[given_r])), LEAST_OUTLIER * spread)
        found_tr[row] = given_r & (away_r > limit)
    return found_tr


def _error(swarm: Swarm, candidate: Candidate) -> Floats:
    """Return squared errors of the runs that count, held out, of a swarm of one target."""
    squares: Floats = (candidate.held_out_tr[0] - swarm.losses_tr[0])[swarm.used_tr[0]] ** 2
    return squares


def _least_error(swarm: Swarm, candidates: Sequence[Candidate]) -> tuple[Candidate, dict[str, Candidate]]:
    """Return the candidate of the least error, and the best of each name."""
    best: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda one: float(_error(swarm, one).mean())):
        best.setdefault(candidate.name, candidate)
    return next(iter(best.values())), best


def _best(swarm: Swarm, candidates: list[Candidate], seed: int) -> tuple[Candidate, dict[str, Candidate]]:
    """Return what cross-validation chooses for one target, and the best of each form.

    What has as many parameters as runs follows quirks of the proxies' own size, which a larger model does
    not share: it has to win by more than a standard error of the difference.
    """
    transfer = _averaged(swarm, [one for one in candidates if one.name == "transfer"])
    _, forms = _least_error(swarm, [transfer, *(one for one in candidates if one.name != "transfer")])
    base, forms = _least_error(swarm, [*forms.values(), mean_of(swarm, [forms["root"], transfer])])
    flexible = [gaussian(swarm, base), gaussian(swarm)]
    if swarm.used_tr.sum() >= BOOSTED_FROM:
        flexible.append(boosted(swarm, seed))
    chosen, forms = base, forms | {one.name: one for one in flexible}
    for one in flexible:
        gain_n = _error(swarm, chosen) - _error(swarm, one)
        if gain_n.mean() > gain_n.std() / np.sqrt(len(gain_n)):
            chosen = one
    return chosen, forms


def _averaged(swarm: Swarm, candidates: list[Candidate]) -> Candidate:
    """Return the mean of variants that the held-out runs hardly tell apart, weighted by how well they do.

    A variant whose error is 1 / sqrt(runs) above the least, about a standard error, has 1 / e of its weight.
    """
    error_c = np.array([_error(swarm, one).mean() for one in candidates])
    least = max(float(error_c.min()), np.finfo(float).tiny)
    weight_c = np.exp(-np.sqrt(swarm.used_tr.sum()) * (error_c / least - 1.0))
    weight_c = np.where(weight_c < LEAST_WEIGHT, 0.0, weight_c)
    weight_c /= weight_c.sum()
    kept = np.flatnonzero(weight_c)
    return mean_of(swarm, [candidates[one] for one in kept], weight_c[kept].tolist())


def _rank_correlation(swarm: Swarm, candidate: Candidate) -> float:
    from scipy.stats import spearmanr

    used_r = swarm.used_tr[0]
    predicted_n, losses_n = candidate.held_out_tr[0, used_r], swarm.losses_tr[0, used_r]
    if np.ptp(predicted_n) == 0:
        return 0.0
    return float(spearmanr(predicted_n, losses_n).statistic)
