"""Forms of a law that maps the shares of a mixture to losses, each fitted to all losses and folds at once.

A fitted form predicts s laws together. Root, linear exponent and transfer (`tamis.mixture.exponential`) have
few parameters; the Gaussian process (on log(w + .005), alone or on what another form leaves) and boosted
trees have as many as runs allow, and are controls more than choices below a few hundred runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.mixture.exponential import Flags, Floats, Linear, Shape, Transfer, fit_exponentials

FOLDS_OF_TREES = 5
OFFSET = 0.005
"""Added to a share before its logarithm is taken."""
LINEAR_RIDGE = 1e-6
RIDGES = {"root": (1e-4, 1e-3, 1e-2), "log-linear": (1e-6, 1e-5, 1e-4, 1e-3), "transfer": (1e-4, 1e-3)}
"""Ridges of `fit_exponentials` among which cross-validation decides."""
LENGTHS = np.geomspace(0.2, 10.0, 12)
"""Lengths of the process, in roots of the number of sources."""
NOISES = np.geomspace(1e-4, 1e3, 36)
"""Variances of its noise, in variances of its kernel."""
TRANSFER_POWERS = (0.5, 0.6, 0.7)


class Fitted(Protocol):
    """s fitted laws."""

    @property
    def smooth(self) -> bool:
        """True if they have derivatives."""
        ...

    def predict(self, weights_nk: Floats) -> Floats:
        """Return values [s, n]."""
        ...

    def by_root(self, roots_nk: Floats) -> Floats:
        """Return derivatives [s, n, k] by the square roots of the shares; only of a smooth form."""
        ...

    def take(self, rows: NDArray[np.intp]) -> "Fitted":
        """Return some of the laws."""
        ...


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A form fitted to t losses: `fitted` to all runs, `held_out_tr` from fits without the fold of a run.

    `by_fold_ftr`: what each of those fits says of all runs.
    """

    name: str
    fitted: Fitted
    held_out_tr: Floats
    by_fold_ftr: Floats

    def take(self, row: int) -> "Candidate":
        """Return the candidate for one loss."""
        return Candidate(
            name=self.name,
            fitted=self.fitted.take(np.array([row])),
            held_out_tr=self.held_out_tr[row : row + 1],
            by_fold_ftr=self.by_fold_ftr[:, row : row + 1],
        )


@dataclass(frozen=True, kw_only=True)
class Swarm:
    """Runs that a law is fitted to: shares [R, k], losses [t, R], which of them count, and folds [R].

    `spectra`: of kernels over these runs, kept for the next loss.
    """

    weights_rk: Floats
    losses_tr: Floats
    used_tr: Flags
    fold_r: NDArray[np.intp]
    spectra: dict[tuple[bytes, float], Any] = field(default_factory=dict)

    @property
    def folds(self) -> range:
        """Numbers of the folds."""
        return range(int(self.fold_r.max()) + 1)

    @property
    def training_ftr(self) -> Flags:
        """The runs that the fit without each fold may use."""
        return np.stack([self.used_tr & (self.fold_r != fold) for fold in self.folds])

    def take(self, row: int) -> "Swarm":
        """Return the swarm with one loss."""
        part = slice(row, row + 1)
        return replace(self, losses_tr=self.losses_tr[part], used_tr=self.used_tr[part])

    def candidate(self, name: str, fitted: Fitted, by_fold_ftr: Floats) -> Candidate:
        """Return a candidate from predictions by fold: held out, a run is predicted without its fold."""
        held_out_rt = by_fold_ftr[self.fold_r, :, np.arange(len(self.fold_r))]
        return Candidate(
            name=name, fitted=fitted, held_out_tr=np.moveaxis(held_out_rt, 0, 1), by_fold_ftr=by_fold_ftr
        )


def parametric(swarm: Swarm, name: str) -> list[Candidate]:
    """Return the variants (ridges, powers) of a form of few parameters, each cross-validated."""
    if name == "linear":
        return [_linear(swarm)]
    shapes: list[Shape]
    if name == "transfer":
        shapes = [Transfer(power=power) for power in TRANSFER_POWERS]
    else:
        power = 0.5 if name == "root" else 1.0
        shapes = [Linear(power=power, centre_k=(swarm.weights_rk**power).mean(0))]
    return [_exponential(swarm, name, shape, ridge) for shape in shapes for ridge in RIDGES[name]]


def _exponential(swarm: Swarm, name: str, shape: Shape, ridge: float) -> Candidate:
    full = fit_exponentials(shape, swarm.weights_rk, swarm.losses_tr, swarm.used_tr, ridge)
    folds, targets = len(swarm.folds), len(swarm.losses_tr)
    near = full.take(np.tile(np.arange(targets), folds))
    training_sr = swarm.training_ftr.reshape(folds * targets, -1)
    found = fit_exponentials(
        shape, swarm.weights_rk, np.tile(swarm.losses_tr, (folds, 1)), training_sr, ridge, near=near
    )
    return swarm.candidate(name, full, found.predict(swarm.weights_rk).reshape(folds, targets, -1))


@dataclass(frozen=True, kw_only=True)
class LinearLaws:
    """y = level + slope . w."""

    level_s: Floats
    slope_sk: Floats
    smooth: bool = True

    def predict(self, weights_nk: Floats) -> Floats:
        """Return values [s, n]."""
        return self.level_s[:, None] + self.slope_sk @ weights_nk.T

    def by_root(self, roots_nk: Floats) -> Floats:
        """Return derivatives [s, n, k] by the square roots of the shares."""
        return 2 * self.slope_sk[:, None, :] * roots_nk

    def take(self, rows: NDArray[np.intp]) -> "LinearLaws":
        """Return some of the laws."""
        return LinearLaws(level_s=self.level_s[rows], slope_sk=self.slope_sk[rows])


def _linear(swarm: Swarm) -> Candidate:
    def fit(used_sr: Flags, losses_sr: Floats) -> LinearLaws:
        count_s = used_sr.sum(1)
        center_k = swarm.weights_rk.mean(0)
        design_rk = swarm.weights_rk - center_k
        weight_sr = used_sr.astype(float)
        mean_s = np.where(used_sr, losses_sr, 0.0).sum(1) / count_s
        mean_sk = weight_sr @ design_rk / count_s[:, None]
        normal = np.einsum("sr,rj,rk->sjk", weight_sr, design_rk, design_rk, optimize=True)
        normal -= count_s[:, None, None] * mean_sk[:, :, None] * mean_sk[:, None, :]
        normal += LINEAR_RIDGE * count_s[:, None, None] * np.eye(design_rk.shape[1])
        right = np.where(used_sr, losses_sr - mean_s[:, None], 0.0) @ design_rk
        slope_sk = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
        return LinearLaws(level_s=mean_s - (slope_sk * (mean_sk + center_k)).sum(1), slope_sk=slope_sk)

    by_fold = [fit(used, swarm.losses_tr).predict(swarm.weights_rk) for used in swarm.training_ftr]
    return swarm.candidate("linear", fit(swarm.used_tr, swarm.losses_tr), np.stack(by_fold))


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Posterior means of Gaussian processes with an RBF kernel on scaled log(w + offset)."""

    points: Sequence[Floats]
    dual: Sequence[Floats]
    variance_s: Floats
    length_s: Floats
    mean_s: Floats
    scale: float
    smooth: bool = True

    def predict(self, weights_nk: Floats) -> Floats:
        """Return values [s, n]."""
        features_nk = np.log(weights_nk + OFFSET) / self.scale
        return np.stack([m + self._kernel(s, features_nk) @ self.dual[s] for s, m in enumerate(self.mean_s)])

    def by_root(self, roots_nk: Floats) -> Floats:
        """Return derivatives [s, n, k] by the square roots of the shares."""
        features_nk = np.log(roots_nk**2 + OFFSET) / self.scale
        found = np.empty((len(self.mean_s), *roots_nk.shape))
        for s, (points, dual) in enumerate(zip(self.points, self.dual, strict=True)):
            pull_nr = self._kernel(s, features_nk) * dual
            found[s] = (pull_nr @ points - pull_nr.sum(1)[:, None] * features_nk) / self.length_s[s] ** 2
        return found * (2 * roots_nk / (roots_nk**2 + OFFSET) / self.scale)

    def take(self, rows: NDArray[np.intp]) -> "Processes":
        """Return some of the laws."""
        return Processes(
            points=[self.points[s] for s in rows],
            dual=[self.dual[s] for s in rows],
            variance_s=self.variance_s[rows],
            length_s=self.length_s[rows],
            mean_s=self.mean_s[rows],
            scale=self.scale,
        )

    def _kernel(self, s: int, features_nk: Floats) -> Floats:
        return self.variance_s[s] * _rbf(features_nk, self.points[s], self.length_s[s])


def _rbf(left_nk: Floats, right_mk: Floats, length: float) -> Floats:
    square_nm = (left_nk**2).sum(1)[:, None] + (right_mk**2).sum(1) - 2 * left_nk @ right_mk.T
    return np.exp(-0.5 * np.maximum(square_nm, 0.0) / length**2)


def gaussian(swarm: Swarm, base: Candidate | None = None) -> Candidate:
    """Return Gaussian processes, or the sum of `base` and processes on its residuals.

    Length and variances are those most likely for the fit to all runs, and the same in every fold.
    """
    targets = len(swarm.losses_tr)
    features_rk = np.log(swarm.weights_rk + OFFSET)
    scale = float(features_rk.std()) or 1.0
    features_rk = features_rk / scale
    full_tr = base.fitted.predict(swarm.weights_rk) if base else np.zeros_like(swarm.losses_tr)
    by_fold_ftr = (base.by_fold_ftr if base else np.zeros((len(swarm.folds), *full_tr.shape))).copy()
    points, duals, settings_ts, means_t = [], [], np.empty((targets, 3)), np.empty(targets)
    for target in range(targets):
        used_r = swarm.used_tr[target]
        residual_r = swarm.losses_tr[target] - full_tr[target]
        settings_ts[target] = _likeliest(swarm, features_rk, used_r, residual_r)
        variance, length, noise = settings_ts[target]
        kernel_rr = variance * _rbf(features_rk, features_rk, length)
        means_t[target], dual = _dual(kernel_rr, noise, used_r, residual_r)
        points.append(features_rk[used_r])
        duals.append(dual)
        for fold in swarm.folds:
            rows = used_r & (swarm.fold_r != fold)
            residual_r = swarm.losses_tr[target] - by_fold_ftr[fold, target]
            mean, dual = _dual(kernel_rr, noise, rows, residual_r)
            by_fold_ftr[fold, target] += mean + kernel_rr[:, rows] @ dual
    processes = Processes(
        points=points,
        dual=duals,
        variance_s=settings_ts[:, 0],
        length_s=settings_ts[:, 1],
        mean_s=means_t,
        scale=scale,
    )
    if base is None:
        return swarm.candidate("gp", processes, by_fold_ftr)
    return swarm.candidate(
        f"{base.name} + gp", Blend(parts=(base.fitted, processes), shares=(1.0, 1.0)), by_fold_ftr
    )


def _dual(kernel_rr: Floats, noise: float, rows: Flags, values_r: Floats) -> tuple[float, Floats]:
    """Return the mean of the values of some runs, and what multiplies their kernels in the posterior."""
    mean = float(values_r[rows].mean())
    noisy_nn = kernel_rr[np.ix_(rows, rows)] + noise * np.eye(int(rows.sum()))
    return mean, np.linalg.solve(noisy_nn, values_r[rows] - mean).astype(float)


def _likeliest(swarm: Swarm, features_rk: Floats, used_r: Flags, values_r: Floats) -> Floats:
    """Return variance, length and noise variance of the largest likelihood on a grid, in units of the values.

    The spectrum of the kernel of each length serves every ratio of noise and every loss with the same runs.
    """
    values_n = values_r[used_r] - values_r[used_r].mean()
    if not values_n.any():
        return np.array([0.0, 1.0, 1.0])
    best, chosen = -np.inf, np.array([0.0, 1.0, 1.0])
    for length in LENGTHS * np.sqrt(features_rk.shape[1]):
        key = (used_r.tobytes(), float(length))
        if key not in swarm.spectra:
            swarm.spectra[key] = np.linalg.eigh(_rbf(features_rk[used_r], features_rk[used_r], length))
        root_n, vectors_nn = swarm.spectra[key]
        total_gn = np.maximum(root_n, 0.0) + NOISES[:, None]
        variance_g = ((vectors_nn.T @ values_n) ** 2 / total_gn).mean(1)
        likelihood_g = -len(values_n) * np.log(variance_g) - np.log(total_gn).sum(1)
        place = int(likelihood_g.argmax())
        if likelihood_g[place] > best:
            best = float(likelihood_g[place])
            chosen = np.array([1.0, 0.0, NOISES[place]]) * variance_g[place] + [0.0, length, 0.0]
    return chosen


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Boosted trees, one model a law, of values that are standardised."""

    models: Sequence[Any]
    mean_s: Floats
    scale_s: Floats
    smooth: bool = False

    def predict(self, weights_nk: Floats) -> Floats:
        """Return values [s, n]."""
        found_sn = np.stack([model.predict(weights_nk) for model in self.models])
        return self.mean_s[:, None] + self.scale_s[:, None] * found_sn

    def by_root(self, roots_nk: Floats) -> Floats:
        """Raise: trees are flat between their steps."""
        raise NotImplementedError

    def take(self, rows: NDArray[np.intp]) -> "Trees":
        """Return some of the laws."""
        return Trees(
            models=[self.models[s] for s in rows], mean_s=self.mean_s[rows], scale_s=self.scale_s[rows]
        )


def boosted(swarm: Swarm, seed: int) -> Candidate:
    """Return boosted trees on the shares; folds are put together until there are at most five."""
    coarse = replace(swarm, fold_r=swarm.fold_r % min(FOLDS_OF_TREES, len(swarm.folds)))
    by_fold = [_fit_trees(coarse, used_tr, seed).predict(swarm.weights_rk) for used_tr in coarse.training_ftr]
    return coarse.candidate("boosting", _fit_trees(swarm, swarm.used_tr, seed), np.stack(by_fold))


def _fit_trees(swarm: Swarm, used_tr: Flags, seed: int) -> Trees:
    from sklearn.ensemble import HistGradientBoostingRegressor

    mean_t = np.where(used_tr, swarm.losses_tr, 0.0).sum(1) / used_tr.sum(1)
    away_tr = np.where(used_tr, swarm.losses_tr - mean_t[:, None], 0.0)
    scale_t = np.sqrt((away_tr**2).sum(1) / used_tr.sum(1))
    scale_t = np.where(scale_t > 0, scale_t, 1.0)
    models = []
    for used_r, away_r, scale in zip(used_tr, away_tr, scale_t, strict=True):
        model = HistGradientBoostingRegressor(
            max_iter=200,
            learning_rate=0.08,
            max_leaf_nodes=15,
            min_samples_leaf=min(20, max(2, int(used_r.sum()) // 10)),
            early_stopping=False,
            random_state=seed % 2**32,
        )
        # Rounded, so that losses of another scale split at the same places.
        models.append(model.fit(swarm.weights_rk[used_r], np.round(away_r[used_r] / scale, 9)))
    return Trees(models=models, mean_s=mean_t, scale_s=scale_t)


@dataclass(frozen=True, kw_only=True)
class Blend:
    """A weighted sum of forms."""

    parts: tuple[Fitted, ...]
    shares: tuple[float, ...]

    @property
    def smooth(self) -> bool:
        """True if all parts are smooth."""
        return all(part.smooth for part in self.parts)

    def predict(self, weights_nk: Floats) -> Floats:
        """Return values [s, n]."""
        return self._sum(lambda part: part.predict(weights_nk))

    def by_root(self, roots_nk: Floats) -> Floats:
        """Return derivatives [s, n, k] by the square roots of the shares."""
        return self._sum(lambda part: part.by_root(roots_nk))

    def take(self, rows: NDArray[np.intp]) -> "Blend":
        """Return some of the laws."""
        return Blend(parts=tuple(part.take(rows) for part in self.parts), shares=self.shares)

    def _sum(self, of: Callable[[Fitted], Floats]) -> Floats:
        return np.sum([share * of(part) for share, part in zip(self.shares, self.parts, strict=True)], axis=0)


def mean_of(
    swarm: Swarm, candidates: Sequence[Candidate], shares: Sequence[float] | None = None
) -> Candidate:
    """Return the mean of candidates, weighted by shares that add up to 1, by default alike."""
    given = tuple(shares or [1.0 / len(candidates)] * len(candidates))
    fitted = Blend(parts=tuple(one.fitted for one in candidates), shares=given)
    by_fold_ftr = np.tensordot(given, np.stack([one.by_fold_ftr for one in candidates]), axes=1)
    name = " + ".join(dict.fromkeys(one.name for one in candidates))
    return swarm.candidate(name, fitted, by_fold_ftr)


@dataclass(frozen=True, kw_only=True)
class Constants:
    """y = level, whatever the mixture: of losses that do not vary."""

    level_s: Floats
    smooth: bool = True

    def predict(self, weights_nk: Floats) -> Floats:
        """Return values [s, n]."""
        return np.repeat(self.level_s[:, None], len(weights_nk), 1)

    def by_root(self, roots_nk: Floats) -> Floats:
        """Return zeros [s, n, k]."""
        return np.zeros((len(self.level_s), *roots_nk.shape))

    def take(self, rows: NDArray[np.intp]) -> "Constants":
        """Return some of the laws."""
        return Constants(level_s=self.level_s[rows])
