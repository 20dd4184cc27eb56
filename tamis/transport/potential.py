"""The target potential: M numbers that summarise a solve and score any document, old or new.

Scoring is a pure function of this object and the rows: shards are scored apart and their column sums add up,
at the price of the products. 1,000,000 x 1,000 x 384 take 5 s of two cores.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.base.archives import UnreadableFileError, content_digest, read_npz, write_npz
from tamis.base.errors import PermanentError
from tamis.base.progress import Advance, ignore
from tamis.transport.cost import (
    BadShapeError,
    Floats,
    Geometry,
    Matrix,
    Rows,
    RowSource,
    TargetSide,
    as_floats,
    as_weights,
    squared_norms,
    target_points,
)
from tamis.transport.sinkhorn import Kernel, RowWeights, chunk_rows, exact_products

Float32s = npt.NDArray[np.float32]
Points = npt.NDArray[np.float32] | npt.NDArray[np.float64]
FILE_FORMAT, FINGERPRINT_FORMAT = 2, 1
# In units of the longest target point: rounding of raw vectors moves points by less.
SAME_POINT = 1e-4
DEVICES = "'auto', 'cpu', 'cuda' or 'cuda:<number>'"


class UnreadablePotentialError(PermanentError):
    """A file that is no saved potential, or not what was saved."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}; expected a file written by TargetPotential.save")


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetPotential:
    """Solution of a transport problem, seen from the target; see `solve_potential`.

    points [M, d]: target after centring and normalising, in the type of the products of the solve, float64
    where the tolerance needed it, so that scores have its precision. potential [M]: g in float64, sum(b g) =
    0, zero where the target has no mass. target_weights [M]: b. center [d] or None. epsilon and mean_cost in
    units of the cost. marginal_error: L1 distance of column sums to b, measured at this very g. dual_value:
    D(g) under KL(P | a x b). gap_bound >= OT - D(g), exactly. error_estimate: of the scores, up to a
    constant; the true error can be larger. passes: in readings of the whole reference. optimal_range: at
    least osc g*. contraction: of the plain iteration, None when unknown.
    """

    points: Points
    potential: Floats
    target_weights: Floats
    center: Floats | None
    normalize: bool
    epsilon: float
    mean_cost: float
    marginal_error: float
    dual_value: float
    gap_bound: float
    error_estimate: float
    passes: float
    converged: bool
    optimal_range: float
    contraction: float | None

    @property
    def g(self) -> Float32s:
        """Target potential [M], shifted so that sum(b * g) = 0."""
        return self.potential.astype(np.float32)

    @property
    def relative_epsilon(self) -> float:
        """epsilon / mean cost of the reference it was solved on."""
        return self.epsilon / self.mean_cost

    @property
    def potential_range(self) -> float:
        """osc g = max g - min g over target points with mass."""
        return float(np.ptp(self.potential[self.target_weights > 0]))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, hex, over all that scores depend on: target points and masses, g, epsilon, centre."""
        digest = hashlib.sha256(f"{FINGERPRINT_FORMAT} {self.normalize} {self.epsilon!r}".encode())
        center_d = np.zeros(0) if self.center is None else self.center
        for array in (self.points, self.potential, self.target_weights, center_d):
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def gradient(
        self, candidates: Rows, row_cost: Any = None, *, device: str = "auto", advance: Advance = ignore
    ) -> Float32s:
        """Scores [n] of candidates [n, d]: soft c-transform of g, plus row_cost [n]; smallest first.

        Equals the gradient of the transport distance in the mass of a candidate, up to a constant (Kang et
        al. 2405.02774, theorem 1). Products in the type of `points`. Raises ValueError on bad rows or shapes.
        """
        chunks = self._chunks(candidates, device, advance)
        score_n = np.concatenate([np.zeros(0), *(gradient_n for gradient_n, _ in chunks)])
        if row_cost is None:
            return score_n.astype(np.float32)
        cost_n = as_floats(row_cost, "row_cost", f"[{len(score_n)}], finite")
        if cost_n.shape != score_n.shape or not np.isfinite(cost_n).all():
            raise BadShapeError("row_cost", f"shape {list(cost_n.shape)}", f"[{len(score_n)}], finite")
        return (score_n + cost_n).astype(np.float32)

    def column_sums(
        self, candidates: Rows, weights: Any = None, *, device: str = "auto", advance: Advance = ignore
    ) -> Float32s:
        """Mass [M] that candidates [n, d] send to each target point; sums to 1. Raises as `gradient`.

        Sums of shards add up by their shares of rows, and their distance to b says whether g still holds.
        """
        return self.score(candidates, weights, device=device, advance=advance)[1]

    def score(
        self, candidates: Rows, weights: Any = None, *, device: str = "auto", advance: Advance = ignore
    ) -> tuple[Float32s, Float32s]:
        """Scores [n] and column sums [M] (weights [n] sum to 1, default uniform) from one pass."""
        scores: list[Floats] = []
        total_k = np.zeros(int((self.target_weights > 0).sum()))
        given_n = None if weights is None else as_weights(weights, None, "weights")
        start = 0
        for gradient_n, rows in self._chunks(candidates, device, advance):
            scores.append(gradient_n)
            mass_n = np.ones(len(gradient_n)) if given_n is None else given_n[start : start + len(gradient_n)]
            start += len(gradient_n)
            if len(mass_n) == len(gradient_n):
                share_n = rows.sum_n.new_tensor(mass_n) / rows.sum_n
                with exact_products():
                    total_k += (share_n @ rows.weights_nk).double().cpu().numpy()
        if given_n is not None and len(given_n) != start:
            raise BadShapeError("weights", f"shape [{len(given_n)}]", f"[{start}], one mass per row")
        if start == 0:
            raise BadShapeError("candidates", "no rows", "at least one row")
        sums_m = np.zeros(len(self.target_weights))
        sums_m[self.target_weights > 0] = total_k / total_k.sum()
        return np.concatenate(scores).astype(np.float32), sums_m.astype(np.float32)

    def _chunks(self, candidates: Rows, device: str, advance: Advance) -> Iterator[tuple[Floats, RowWeights]]:
        import torch

        place = resolve_device(device)
        points_md = torch.from_numpy(self.points).to(place)
        side = TargetSide(points_md, self.target_weights)
        kernel = Kernel(side, self.potential[side.kept_m], self.epsilon)
        geometry = Geometry(center_d=self.center, normalize=self.normalize)
        source = RowSource(candidates, "candidates", once=True)
        for start, raw_nd in source.chunks(chunk_rows(len(side.kept_m), place)):
            if raw_nd.shape[1] != points_md.shape[1]:
                raise BadShapeError("candidates", f"width {raw_nd.shape[1]}", f"width {points_md.shape[1]}")
            points_nd = geometry.points(raw_nd, first_row=start, name="candidates", like=points_md)
            with exact_products():
                rows = kernel.weigh(partial(kernel.similarities, points_nd))
                gradient_n = kernel.gradient(rows, squared_norms(points_nd))
            yield gradient_n.cpu().numpy(), rows
            advance(len(points_nd))

    def check_target(self, target: Matrix) -> None:
        """Raise `BadShapeError` unless the raw target [M, d] is the one that the potential was solved for."""
        import torch

        geometry = Geometry(center_d=self.center, normalize=self.normalize)
        found_md = target_points(target, geometry, torch.from_numpy(self.points[:0])).numpy()
        if found_md.shape != self.points.shape:
            raise BadShapeError(
                "target",
                f"shape {list(found_md.shape)}",
                f"shape {list(self.points.shape)}, as when the potential was solved",
            )
        away_m = np.linalg.norm(found_md - self.points, axis=1)
        row = int(away_m.argmax())
        if away_m[row] > SAME_POINT * np.linalg.norm(self.points, axis=1).max():
            raise BadShapeError(
                "target",
                f"row {row} is {away_m[row]:.3g} away from the same row of the potential's target",
                "the target that the potential was solved for",
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to exactly that path, whole or not at all, with a digest over every field."""
        values = {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "format": FILE_FORMAT,
            "fingerprint": self.fingerprint,
        }
        stored = {name: np.asarray(value) for name, value in values.items() if value is not None}
        write_npz(Path(path), content=content_digest(stored), **stored)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TargetPotential":
        """Read a saved potential. Raises `UnreadablePotentialError` on other or altered files."""
        try:
            stored = read_npz(Path(path))
        except UnreadableFileError as error:
            raise UnreadablePotentialError(str(path), error.reason) from error
        if str(stored.get("format", "")) != str(FILE_FORMAT):
            raise UnreadablePotentialError(str(path), "unsupported file format")
        if str(stored.pop("content", "")) != content_digest(stored):
            raise UnreadablePotentialError(str(path), "the content does not match its digest")
        del stored["format"]
        fingerprint = str(stored.pop("fingerprint", ""))
        values: dict[str, Any] = {
            name: value.item() if value.ndim == 0 else value for name, value in stored.items()
        }
        try:
            potential = cls(**{"center": None, "contraction": None, **values})
            fits = potential.points.ndim == 2 and potential.potential.shape == potential.points.shape[:1]
        except (TypeError, AttributeError) as error:
            raise UnreadablePotentialError(str(path), str(error)) from error
        if not fits:
            raise UnreadablePotentialError(str(path), "the shapes of points and potential do not match")
        if potential.fingerprint != fingerprint:
            raise UnreadablePotentialError(str(path), "the content does not match its fingerprint")
        return potential


def resolve_device(device: str) -> str:
    """A torch device name; "auto" = cuda where there is one, else cpu. Raises `BadShapeError` on others."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise BadShapeError("device", repr(device), DEVICES) from None
    if found.type not in ("cpu", "cuda"):
        raise BadShapeError("device", repr(device), DEVICES)
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise BadShapeError("device", f"{device!r}, but torch finds no such GPU", "'auto' or 'cpu'")
    return str(found)
