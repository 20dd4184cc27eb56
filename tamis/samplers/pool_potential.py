"""The pool's own potential: with it a document ranks by the goal's density over the pool's (got-d-debiased).

f_ab alone is the goal's density. f_ab - p_aa is the gradient, at the pool a, of the debiased divergence
OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2 (Feydy et al. 1810.08278); p_aa solves p = T(p), T the soft c-transform
under a. In many dimensions a document is so much nearer to itself than to any other that p_aa is about
epsilon log(N) / 2 everywhere and says nothing of the pool's density (decision 0040). So no document counts as
its own neighbour: plans of OT(a, a) have an empty diagonal, as a U-statistic does. `itself=True` gives the
divergence of Feydy et al.

p is solved on a sample of the pool, densely in float64; one c-transform extends it to any document. That
costs N x S x d products: with S = 1,000, as many as scores by 1,000 examples.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.files import write_atomically
from tamis.base.numbers import counted
from tamis.base.progress import Advance, ignore
from tamis.coverage.sampling import keyed_hash
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of
from tamis.store.vectors import require_documents
from tamis.transport.certificate import ACCEPT_BELOW
from tamis.transport.cost import BadShapeError, Floats, Geometry, Matrix, Rows, as_matrix, check_whole
from tamis.transport.ordering import Indices
from tamis.transport.potential import Float32s, TargetPotential, UnreadablePotentialError
from tamis.transport.solve import NotConverged

SAMPLE = 1_000
"""Documents of the pool that its own potential is solved on."""
TOLERANCE = 1e-9
"""Largest |log of a row sum| of a solved plan; Newton's method squares what is left in every step."""
MOST_STEPS, FIRST_STEPS = 500, 5
# Two documents far from all others leave the difference of their potentials open, up to rounding.
RIDGE = 1e-10
# First plans of a document far from all others overflow: infinity times a mass of zero would be no number.
LARGEST_LOG = 300.0
POTENTIAL_FILE, FACTS_FILE = "pool_potential.npz", "pool_potential.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolPotential:
    """Symmetric potential of a pool to itself, on a sample of it; see `solve_pool_potential`.

    sample: the sampled points [S, d] with p [S], not shifted: T(p) = p fixes the constant. Of its fields,
    marginal_error is the L1 distance of the plan's marginals to the masses; error_estimate bounds
    max |p - p*| to first order; gap_bound is the product of both; passes counts steps. ids [S]: of the
    sampled documents. itself: whether a document counts as its own neighbour. pool_rows: documents in the
    pool.
    """

    sample: TargetPotential
    ids: tuple[str, ...]
    itself: bool
    pool_rows: int

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, hex, over all that scores of documents outside the sample depend on."""
        return self.sample.fingerprint

    def gradient(
        self,
        candidates: Rows,
        *,
        ids: Sequence[str] | None = None,
        device: str = "auto",
        advance: Advance = ignore,
    ) -> Float32s:
        """p [n] at candidates [n, d]: its soft c-transform, and at documents of the sample p itself.

        ids [n] say which candidates are of the sample, so that none counts as its own neighbour; without ids
        none is. Raises ValueError as `TargetPotential.gradient` and on ids of another length.
        """
        own_n = self.sample.gradient(candidates, device=device, advance=advance)
        if ids is None:
            return own_n
        if len(ids) != len(own_n):
            raise BadShapeError("ids", f"{len(ids)} ids", f"{len(own_n)}, one per candidate")
        given = pl.DataFrame({"id": pl.Series(ids, dtype=pl.String)}).with_row_index("row")
        members = pl.DataFrame({"id": pl.Series(self.ids, dtype=pl.String), "p": self.sample.potential})
        known = given.join(members, on="id")
        own_n[known["row"].to_numpy()] = known["p"].to_numpy()
        return own_n

    def debias(
        self,
        potential: TargetPotential,
        candidates: Rows,
        *,
        ids: Sequence[str] | None = None,
        device: str = "auto",
        advance: Advance = ignore,
    ) -> Float32s:
        """Scores [n] of candidates [n, d], f_ab - p_aa: smallest first, up to a constant; read twice.

        Raises `BadShapeError` for a potential of another geometry or epsilon, and as `gradient`.
        """
        self.check(potential)
        toward_n = potential.gradient(candidates, device=device, advance=advance)
        return toward_n - self.gradient(candidates, ids=ids, device=device, advance=advance)

    def fits(self, potential: TargetPotential) -> bool:
        """Whether a potential has the epsilon, centre and norm that this one was solved with."""
        mine, other = self.sample, potential
        return (
            mine.epsilon == other.epsilon
            and mine.normalize == other.normalize
            and (mine.center is None) == (other.center is None)
            and (mine.center is None or np.array_equal(mine.center, other.center))  # type: ignore[arg-type]
        )

    def check(self, potential: TargetPotential) -> None:
        """Raise `BadShapeError` unless `fits`."""
        if not self.fits(potential):
            raise BadShapeError(
                "potential",
                f"epsilon {potential.epsilon:.6g} and its centre",
                f"epsilon {self.sample.epsilon:.6g}, the centre and the norm of the pool's own potential",
            )

    def change(self, ids: Sequence[str]) -> float:
        """Return the L1 distance, in [0, 2], of the sample's masses to those of another draw of the pool."""
        mine, other = {*self.ids}, {*ids}
        both = len(mine & other)
        larger = max(len(mine), len(other))
        return 2.0 * (1 - both / larger)

    def save(self, folder: Path) -> None:
        """Write to a folder, each file whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        self.sample.save(folder / POTENTIAL_FILE)
        facts = {"itself": self.itself, "pool_rows": self.pool_rows, "ids": list(self.ids)}
        write_atomically(folder / FACTS_FILE, json.dumps(facts, sort_keys=True).encode())

    @classmethod
    def load(cls, folder: Path) -> "PoolPotential":
        """Read what `save` wrote. Raises `UnreadablePotentialError` on other or altered files."""
        sample = TargetPotential.load(folder / POTENTIAL_FILE)
        try:
            facts = json.loads((folder / FACTS_FILE).read_text())
            found = cls(sample=sample, **{**facts, "ids": tuple(facts["ids"])})
        except (ValueError, TypeError, KeyError) as error:
            raise UnreadablePotentialError(str(folder / FACTS_FILE), str(error)) from error
        if len(found.ids) != len(sample.potential):
            raise UnreadablePotentialError(str(folder / FACTS_FILE), "ids and potential do not match")
        return found


def draw_sample(ids: Sequence[str], size: int = SAMPLE, seed: int = 0) -> Indices:
    """Positions [min(size, n)] of the documents with the smallest hash of (seed, id), in order of the hash.

    The order of the documents changes nothing, and one that joins or leaves moves one place at most.
    """
    check_whole("size", size)
    return np.argsort(keyed_hash(ids, seed, "pool sample"), kind="stable")[: int(size)]


def solve_pool_potential(
    sample: Matrix,
    like: TargetPotential,
    *,
    ids: Sequence[str],
    pool_rows: int | None = None,
    itself: bool = False,
) -> PoolPotential:
    """Symmetric potential of a pool to itself, from a sample [S, d] of it, in the geometry of `like`.

    Solves p = T(p) by Newton's method on the S x S plan in float64, after averaging steps p <- (p + T(p)) / 2
    (Knight, Ruiz and Ucar 2014): S^2 d products, and S^3 / 3 a step. A sample that is the whole pool gives
    the exact potential. Takes centre, norm, epsilon and the type of the products from `like`, so that both
    gradients are of one cost. Raises ValueError as `solve_potential`, and unless there are as many ids as
    rows; warns with `NotConverged`.
    """
    import torch

    raw_sd = as_matrix(sample, "sample").cpu()
    if len(ids) != len(raw_sd) or not len(raw_sd):
        raise BadShapeError("ids", f"{len(ids)} ids", f"{len(raw_sd)}, one per row, at least one")
    pool_rows = len(raw_sd) if pool_rows is None else pool_rows
    check_whole("pool_rows", pool_rows, len(raw_sd))
    geometry = Geometry(center_d=like.center, normalize=like.normalize)
    points_sd = geometry.points(raw_sd, first_row=0, name="sample", like=torch.from_numpy(like.points[:0]))
    exact_sd = points_sd.double().numpy()
    square_s = np.square(exact_sd).sum(1)
    cost_ss = np.maximum(square_s[:, None] + square_s - 2 * exact_sd @ exact_sd.T, 0)
    np.fill_diagonal(cost_ss, 0)
    count = len(exact_sd)
    others = count if itself or count == 1 else count - 1
    log_kernel_ss = -cost_ss / like.epsilon - np.log(others)
    if others < count:
        np.fill_diagonal(log_kernel_ss, -np.inf)
    solved = _scale(log_kernel_ss)
    potential_s = like.epsilon * solved.scale_s
    error = like.epsilon * solved.error_bound
    return PoolPotential(
        sample=TargetPotential(
            points=points_sd.numpy(),
            potential=potential_s,
            target_weights=np.full(count, 1.0 / count),
            center=like.center,
            normalize=like.normalize,
            epsilon=like.epsilon,
            mean_cost=float(cost_ss.sum()) / (count * max(others, 1)),
            marginal_error=solved.marginal_error,
            dual_value=2 * float(potential_s.mean()),
            gap_bound=solved.marginal_error * error,
            error_estimate=error,
            passes=float(solved.steps),
            converged=solved.converged,
            optimal_range=float(np.ptp(potential_s)),
            contraction=solved.contraction,
        ),
        ids=tuple(ids),
        itself=itself,
        pool_rows=pool_rows,
    )


@dataclass(frozen=True, kw_only=True)
class _Scaled:
    """A symmetric scaling: logarithms [S] of its factors, and how near they are to the exact ones."""

    scale_s: Floats
    marginal_error: float
    error_bound: float
    contraction: float
    steps: int

    @property
    def converged(self) -> bool:
        """Whether the marginals are met as far as float64 can tell."""
        return self.marginal_error <= 10 * TOLERANCE


def _scale(log_kernel_ss: Floats) -> _Scaled:
    """Return h [S] with sum_j exp(h_i + h_j + log_kernel_ij) = 1 for every i, of a symmetric kernel."""
    count = len(log_kernel_ss)
    scale_s = np.zeros(count)
    log_sum_s, plan_ss = _marginals(log_kernel_ss, scale_s)
    for steps in range(MOST_STEPS + 1):
        if np.abs(log_sum_s).max() <= TOLERANCE or steps == MOST_STEPS:
            break
        next_s = scale_s - log_sum_s / 2
        if steps >= FIRST_STEPS and (newton_s := _newton_step(plan_ss)) is not None:
            sums_s, moved_ss = _marginals(log_kernel_ss, scale_s + newton_s)
            if np.abs(sums_s).max() < np.abs(log_sum_s).max():
                scale_s, log_sum_s, plan_ss = scale_s + newton_s, sums_s, moved_ss
                continue
        scale_s = next_s
        log_sum_s, plan_ss = _marginals(log_kernel_ss, scale_s)
    contraction = _contraction(plan_ss)
    left = float(np.linalg.norm(log_sum_s / 2))
    a_priori = float(np.ptp(scale_s)) + left
    found = _Scaled(
        scale_s=scale_s,
        marginal_error=float(np.abs(plan_ss.sum(1) - 1).mean()),
        error_bound=min(a_priori, left / (1 - contraction)) if contraction < 1 else a_priori,
        contraction=contraction,
        steps=steps,
    )
    if not found.converged:
        warnings.warn(
            f"the pool's own potential did not converge: after {steps} steps the marginal error is "
            f"{found.marginal_error:.3g}; raise epsilon",
            NotConverged,
            stacklevel=4,
        )
    return found


def _marginals(log_kernel_ss: Floats, scale_s: Floats) -> tuple[Floats, Floats]:
    """Logarithms [S] of the row sums of the plan, and the plan [S, S]; its sum of ones is S."""
    log_plan_ss = log_kernel_ss + scale_s[:, None] + scale_s
    largest_s = log_plan_ss.max(1)
    plan_ss = np.exp(log_plan_ss - largest_s[:, None])
    sum_s = plan_ss.sum(1)
    plan_ss *= np.exp(np.minimum(largest_s, LARGEST_LOG))[:, None]
    return np.log(sum_s) + largest_s, plan_ss


def _newton_step(plan_ss: Floats) -> Floats | None:
    """Return the step [S] that brings all row sums to 1 to first order; None where there is none."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    sum_s = plan_ss.sum(1)
    matrix_ss = plan_ss.copy()
    matrix_ss[np.diag_indices(len(sum_s))] += sum_s + RIDGE
    try:
        return cho_solve(cho_factor(matrix_ss, overwrite_a=True), 1 - sum_s)
    except LinAlgError:
        return None


def _contraction(plan_ss: Floats) -> float:
    """Return the largest factor, in [0, 1], by which an averaging step shrinks an error of p.

    Its derivative is (I - P) / 2 with the plan P, self-adjoint, so that factor is (1 - least eigenvalue) / 2.
    """
    from scipy.linalg import eigh

    symmetric_ss = (plan_ss + plan_ss.T) / 2
    least = float(eigh(symmetric_ss, eigvals_only=True, subset_by_index=[0, 0])[0])
    return float(np.clip((1 - least) / 2, 0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class OwnScoring:
    """Scoring of a pool by its own potential, for a target, and the version the rows will carry."""

    own: PoolPotential
    target: str
    fingerprint: str

    @property
    def table(self) -> str:
        """The table of the pool's own potential."""
        return f"pool_potential_{self.target}"

    def rows(self, ids: list[str], vectors_nd: np.ndarray) -> pa.Table:
        """Rows of the table `pool_potential_<target>` for some documents."""
        own_n = self.own.gradient(vectors_nd, ids=ids).astype(np.float64)
        columns = [[self.target] * len(ids), ids, own_n, [self.fingerprint] * len(ids)]
        return pa.table(columns, schema=schema_of(self.table))


@dataclass(frozen=True, kw_only=True)
class CurrentPool:
    """The pool's own potential as the pool is: solved (`kept` False), or that of an earlier pool.

    change: L1 distance, in [0, 2], of the sample's masses to those of a draw from the pool as it is. why:
    why an earlier potential was not kept; empty where there was none, or it was.
    """

    own: PoolPotential
    kept: bool
    change: float
    why: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """Figures for the event log."""
        sample = self.own.sample
        return {
            "done": "accept" if self.kept else "solved from nothing",
            "change_of_sample": self.change,
            "marginal_error": sample.marginal_error,
            "score_error_estimate": sample.error_estimate,
            "epsilon": sample.epsilon,
            "steps": sample.passes,
            "pool_rows": self.own.pool_rows,
        } | ({"why": self.why} if self.why else {})


def current_pool_potential(
    store: Store,
    pool_table: str,
    potential: TargetPotential,
    *,
    seed: int,
    before: Path | None = None,
    sample: int = SAMPLE,
) -> CurrentPool:
    """The own potential of the stored pool in the geometry of `potential`: solved, or that in `before`.

    That one stays while all documents of its sample are in the pool and a new draw differs from it by less
    than a certificate accepts: `ACCEPT_BELOW`, in L1 distance. A solve on 1,000 documents takes a second, so
    nothing is refined. Raises `PoolTooSmallError`.
    """
    require_documents(store, pool_table, 2)
    ids = store.read(pool_table, ["doc_id"])["doc_id"].to_list()
    drawn = [ids[row] for row in draw_sample(ids, sample, seed)]
    why, change = "", 0.0
    if before is not None:
        own = PoolPotential.load(before)
        change = own.change(drawn)
        why = _why_again(own, potential, change, {*ids})
        if not why:
            return CurrentPool(own=own, kept=True, change=change)
    blocks = [*store.by_ids(pool_table, drawn, ["doc_id", "vector"])]
    place = {doc_id: row for row, doc_id in enumerate(drawn)}
    found = [place[doc_id] for block in blocks for doc_id in block["doc_id"].to_pylist()]
    vectors_sd = np.concatenate([matrix_of(block["vector"]) for block in blocks])[np.argsort(found)]
    own = solve_pool_potential(vectors_sd, potential, ids=drawn, pool_rows=len(ids))
    return CurrentPool(own=own, kept=False, change=change, why=why)


def _why_again(own: PoolPotential, potential: TargetPotential, change: float, ids: set[str]) -> str:
    """Return why a potential is solved again for a pool of these documents; empty where it stays."""
    if not own.fits(potential):
        return "the target's potential has another epsilon, centre or norm"
    if gone := {*own.ids} - ids:
        return f"{counted(len(gone), 'document')} of its sample left the pool"
    if change >= ACCEPT_BELOW:
        return f"a new sample of the pool is at a distance of {change:.2g} from it, at least {ACCEPT_BELOW}"
    return ""
