"""Points of a transport problem, in blocks or as one array, and their cost.

A point is a raw vector minus a centre, divided by its norm; the cost is the squared Euclidean distance.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from tamis.base import arguments
from tamis.base.arguments import NO_NUMBERS, as_number, dense, is_whole
from tamis.base.errors import PermanentError
from tamis.base.progress import Advance, ignore

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]
TILE = 64
# Objects and no strings, so that the reference of the API can show them.
Matrix: TypeAlias = Union[npt.NDArray[Any], "torch.Tensor"]
Rows: TypeAlias = Matrix | Iterable[Matrix]
WEIGHT_SUM_TOLERANCE = 1e-5
# A centred vector shorter than this share of the raw one is rounding, not a direction.
DIRECTION_FLOOR = 1e-6
ROUNDING_TURNS = 4


def check_positive(name: str, value: Any) -> None:
    """Raise `BadShapeError` unless the value is a finite number above 0."""
    if not 0 < as_number(value) < np.inf:
        raise BadShapeError(name, repr(value), "a positive finite number")


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Raise `BadShapeError` unless the value is a whole number of at least `least`."""
    if not is_whole(value, least):
        raise BadShapeError(name, repr(value), f"a whole number, {least} or more")


def check_named(name: str, rows: Any) -> None:
    """Raise `BadShapeError` unless these are rows by name, of one name or more."""
    if not (isinstance(rows, Mapping) and rows):
        raise BadShapeError(
            name,
            "none" if isinstance(rows, Mapping) else f"a {type(rows).__name__}",
            "a dict of rows [n, d] by name, with at least one",
        )


def as_floats(values: Any, name: str, expected: str) -> Floats:
    """Values as float64, from numpy, torch (any device and type, with or without gradient) or a list.

    Raises `BadShapeError` on what are no numbers, and on sparse tensors.
    """
    return arguments.as_floats(name, values, expected, error=BadShapeError)


class BadVectorError(PermanentError, ValueError):
    """A row that is no point: not finite, or without a direction."""

    def __init__(self, source: str, row: int, problem: str) -> None:
        self.source, self.row, self.problem = source, row, problem
        super().__init__(f"{source} row {row}: {problem}")


class BadShapeError(PermanentError, ValueError):
    """Arrays that do not fit together, or are no matrix of numbers."""

    def __init__(self, source: str, found: object, expected: str) -> None:
        self.source, self.found, self.expected = source, found, expected
        super().__init__(f"{source}: {found}; expected {expected}")


class OneShotIterableError(PermanentError, ValueError):
    """A generator where rows are read several times."""

    def __init__(self, source: str) -> None:
        self.source = source
        super().__init__(
            f"{source} can be iterated only once; pass an array, a list of blocks, or an object whose "
            "__iter__ starts from the beginning again"
        )


def as_matrix(values: Matrix, name: str) -> "torch.Tensor":
    """The values as a floating tensor [n, d], its type kept if it is one. Raises `BadShapeError`."""
    import torch

    if isinstance(values, torch.Tensor):
        _check_dense(values, name)
        tensor = values.detach()
    else:
        try:
            array = dense(values)
        except NO_NUMBERS:
            raise BadShapeError(name, f"a {type(values).__name__} of unequal rows", "[rows, d]") from None
        if array.dtype.kind not in "fiu":
            raise BadShapeError(name, f"dtype {array.dtype}", "numbers")
        if array.dtype.kind != "f" or array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        if not (array.flags.writeable and array.flags.c_contiguous and array.dtype.isnative):
            array = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
        tensor = torch.from_numpy(array)
    if tensor.ndim != 2:
        raise BadShapeError(name, f"shape {list(tensor.shape)}", "[rows, d]")
    return tensor if tensor.is_floating_point() else tensor.double()


def _check_dense(tensor: "torch.Tensor", name: str) -> None:
    import torch

    if tensor.layout != torch.strided:
        raise BadShapeError(name, f"a tensor of layout {tensor.layout}", "a dense one: call .to_dense()")
    if tensor.is_complex():
        raise BadShapeError(name, f"dtype {tensor.dtype}", "numbers")


def is_array(values: object) -> bool:
    """Whether rows come as one array, numpy or torch (and not as an iterable of blocks)."""
    import torch

    return isinstance(values, np.ndarray | torch.Tensor)


def as_rows(values: Any) -> Rows:
    """Return a frame, a column of vectors or a list of them as one array; anything else as it is."""
    blocks = isinstance(values, list | tuple) and not (values and np.ndim(values[0]) == 1)
    if is_array(values) or blocks or not (isinstance(values, list | tuple) or hasattr(values, "__array__")):
        return values
    try:
        return dense(values)
    except NO_NUMBERS:
        return values


class RowSource:
    """Rows [n, d] that can be read again and again, in chunks of any size.

    `count` is None until an iterable has been read once; a later reading of another length raises
    `BadShapeError`. With `once` a generator will do, and no rows are no error.
    """

    def __init__(self, rows: Rows, name: str, *, once: bool = False) -> None:
        self.rows = rows = as_rows(rows)
        self.name = name
        self._may_be_empty = once
        self.count: int | None = None
        self.width: int | None = None
        if is_array(rows):
            if not isinstance(rows, np.ndarray):
                _check_dense(rows, name)  # type: ignore[arg-type]
            if rows.ndim != 2:  # type: ignore[union-attr]
                raise BadShapeError(name, f"shape {list(rows.shape)}", "[rows, d]")  # type: ignore[union-attr]
            self.count, self.width = int(rows.shape[0]), int(rows.shape[1])  # type: ignore[union-attr]
            self._check_not_empty(self.count)
        elif not isinstance(rows, Iterable):
            raise BadShapeError(
                name, f"a {type(rows).__name__}", "an array [rows, d] or an iterable of such arrays"
            )
        elif not once and iter(rows) is rows:
            raise OneShotIterableError(name)

    def chunks(self, size: int) -> "Iterator[tuple[int, torch.Tensor]]":
        """(first row, raw rows [size, d]) in order; only the last chunk is shorter."""
        if is_array(self.rows):
            assert self.count is not None
            for start in range(0, self.count, size):
                yield start, as_matrix(self.rows[start : start + size], self.name)  # type: ignore[index]
            return
        start = 0
        for chunk in _cut_again(self._blocks(), size):
            yield start, chunk
            start += len(chunk)
        self._check_not_empty(start)
        if self.count is not None and start != self.count:
            raise BadShapeError(
                self.name, f"{start} rows when read again", f"{self.count}, as on the first read"
            )
        self.count = start

    def _blocks(self) -> "Iterator[torch.Tensor]":
        for block in self.rows:
            matrix = as_matrix(block, self.name)
            if self.width is None:
                self.width = int(matrix.shape[1])
            if matrix.shape[1] != self.width:
                raise BadShapeError(self.name, f"a block of width {matrix.shape[1]}", f"width {self.width}")
            yield matrix

    def _check_not_empty(self, count: int) -> None:
        if count == 0 and not self._may_be_empty:
            raise BadShapeError(self.name, "no rows", "at least one")


def whole_tiles(rows_nd: "torch.Tensor", least: int) -> "torch.Tensor":
    """Rows [n, d], n > 0, followed by copies of the last one, up to `least` and a multiple of TILE.

    Products at the edge of a matrix are summed in another order, so that copies of a row would get other
    last bits there.
    """
    import torch

    missing = -(-max(len(rows_nd), least) // TILE) * TILE - len(rows_nd)
    return torch.cat([rows_nd, rows_nd[-1:].expand(missing, -1)]) if missing else rows_nd


def _cut_again(blocks: "Iterator[torch.Tensor]", size: int) -> "Iterator[torch.Tensor]":
    import torch

    held: list[torch.Tensor] = []
    held_rows = 0
    for block in blocks:
        position = 0
        while held_rows + len(block) - position >= size:
            taken = block[position : position + size - held_rows]
            yield torch.cat([*held, taken]) if held else taken
            position += len(taken)
            held, held_rows = [], 0
        if position < len(block):
            held.append(block[position:].clone())
            held_rows += len(block) - position
    if held:
        yield torch.cat(held)


def squared_norms(points_nd: "torch.Tensor") -> "torch.Tensor":
    """|x|^2 of each row [n], without a squared copy of the rows."""
    import torch

    return torch.linalg.vector_norm(points_nd, dim=1).square()


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How raw vectors become points: `center` [d] or nothing is subtracted, then rows get norm 1."""

    center_d: Floats | None
    normalize: bool

    def points(
        self, raw_nd: "torch.Tensor", *, first_row: int, name: str, like: "torch.Tensor"
    ) -> "torch.Tensor":
        """Points [n, d] with the type and device of `like`. Raises `BadVectorError` and `BadShapeError`."""
        import torch

        # float64 input is centred in float64: an offset of 1e6 would eat every float32 digit.
        exact = torch.float64 if raw_nd.dtype == torch.float64 else like.dtype
        points_nd = raw_nd.to(device=like.device, dtype=exact)
        raw_norm_n = norm_n = torch.linalg.vector_norm(points_nd, dim=1)
        if self.center_d is not None:
            if points_nd.shape[1] != len(self.center_d):
                raise BadShapeError(
                    name,
                    f"width {points_nd.shape[1]}",
                    f"width {len(self.center_d)}, the width of the centre",
                )
            points_nd = points_nd - torch.as_tensor(self.center_d, dtype=exact, device=like.device)
            norm_n = torch.linalg.vector_norm(points_nd, dim=1)
        self._check_rows(raw_norm_n, norm_n, first_row, name)
        if self.normalize:
            # In place where the rows are ours already: fresh memory costs more than the division.
            ours = self.center_d is not None
            points_nd = points_nd.div_(norm_n[:, None]) if ours else points_nd / norm_n[:, None]
        return points_nd.to(like.dtype)

    def _check_rows(
        self, raw_norm_n: "torch.Tensor", norm_n: "torch.Tensor", first_row: int, name: str
    ) -> None:
        # Negated, so that NaN fails too; a norm is finite when every coordinate is and none is beyond 1e19.
        bad_n = ~((norm_n + raw_norm_n) < float("inf"))
        if self.normalize:
            bad_n |= (norm_n <= DIRECTION_FLOOR * raw_norm_n) | (raw_norm_n == 0)
        if not bool(bad_n.any()):
            return
        local = int(bad_n.nonzero()[0, 0])
        raw_norm = float(raw_norm_n[local])
        if not np.isfinite(raw_norm):
            problem = "not finite (NaN, infinite or too large)"
        elif raw_norm == 0:
            problem = "a zero vector has no direction, so it cannot be normalised"
        else:
            problem = "equals the centre, so the centred vector has no direction and cannot be normalised"
        raise BadVectorError(name, first_row + local, problem)


def as_weights(weights: Any, count: int | None, name: str) -> Floats:
    """Masses [count] in float64 that sum to 1; None = uniform. Raises `BadShapeError` when they do not.

    Float32 masses sum to 1 within 1e-5; they are scaled to sum to 1 exactly. Without a count any length
    will do, as long as masses are given.
    """
    if weights is None:
        assert count is not None
        return np.full(count, 1.0 / count)
    array = as_floats(weights, name, "one mass per row")
    if array.ndim != 1 or len(array) != (len(array) if count is None else count):
        expected = "[rows]" if count is None else f"[{count}]"
        raise BadShapeError(name, f"shape {list(array.shape)}", f"{expected}, one mass per row")
    if not np.isfinite(array).all() or (array < 0).any():
        raise BadShapeError(
            name, f"mass {array[~(array >= 0) | np.isinf(array)][0]}", "finite, non-negative masses"
        )
    if abs(array.sum() - 1) > WEIGHT_SUM_TOLERANCE:
        raise BadShapeError(name, f"sum {array.sum():.6g}", "masses that sum to 1")
    return array / array.sum()


def survey(source: RowSource, weights: Any, chunk: int, advance: Advance = ignore) -> tuple[Floats, Floats]:
    """Read a source once: weighted mean [d] of its raw rows and masses [N], both float64.

    Checks every row on the way. Raises `BadVectorError` and `BadShapeError`.
    """
    import torch

    plain = Geometry(center_d=None, normalize=False)
    name = f"{source.name}_weights"
    given_n = None if weights is None else torch.from_numpy(as_weights(weights, source.count, name))
    total_d = torch.zeros((), dtype=torch.float64)
    for start, raw_nd in source.chunks(chunk):
        # Float32 sums of one chunk lose nothing that the next chunk's float64 addition would keep.
        like = raw_nd if raw_nd.dtype == torch.float64 else raw_nd.new_empty(0, dtype=torch.float32)
        points_nd = plain.points(raw_nd, first_row=start, name=source.name, like=like)
        rows = len(points_nd)
        if given_n is not None and start + rows > len(given_n):
            raise BadShapeError(name, f"{len(given_n)} masses", "one per row, but there are more rows")
        chunk_d = (
            points_nd.sum(0) if given_n is None else given_n[start : start + rows].to(points_nd) @ points_nd
        )
        total_d = total_d + chunk_d.double().cpu()
        advance(rows)
    assert source.count is not None
    mean_d = total_d / source.count if given_n is None else total_d
    return mean_d.numpy(), as_weights(weights, source.count, name)


def target_points(target: Matrix, geometry: Geometry, like: "torch.Tensor") -> "torch.Tensor":
    """Points [M, d] of the target. Raises `BadShapeError` and `BadVectorError`."""
    rows = as_rows(target)
    if not is_array(rows):
        raise BadShapeError("target", f"a {type(target).__name__}", "one array [M, d]")
    raw_md = as_matrix(rows, "target")  # type: ignore[arg-type]
    if len(raw_md) == 0:
        raise BadShapeError("target", "no rows", "at least one")
    return geometry.points(raw_md, first_row=0, name="target", like=like)


def center_vector(center: Any) -> Floats:
    """A given centre as float64 [d]. Raises `BadShapeError`."""
    expected = "True, False or a finite vector [d]"
    center_d = as_floats(center, "center", expected)
    if center_d.ndim != 1 or not np.isfinite(center_d).all():
        raise BadShapeError("center", f"shape {list(center_d.shape)}", expected)
    return center_d


class TargetSide:
    """What a pass knows of the target: points, masses and squared norms, of those with mass only."""

    def __init__(self, points_md: "torch.Tensor", mass_m: Floats) -> None:
        self.kept_m = np.flatnonzero(mass_m > 0)
        self.count = len(mass_m)
        self.points_kd = points_md if len(self.kept_m) == len(mass_m) else points_md[self.kept_m.tolist()]
        self.points_dm = self.points_kd.T.contiguous()
        self.mass_k = mass_m[self.kept_m]
        self.squared_norm_k: Floats = self.points_kd.double().square().sum(1).cpu().numpy()
        self._half_points: list[torch.Tensor] = []

    def half_points_dm(self, turn: int) -> "torch.Tensor":
        """The points in bfloat16; those of four turns are rounded so that they average to the points.

        Rows round independently, but a column rounded once shifts its sum: by .15 % on real vectors.
        """
        if not self._half_points:
            owed_dm = self.points_dm.clone()
            for _ in range(ROUNDING_TURNS):
                self._half_points.append(owed_dm.bfloat16())
                owed_dm += self.points_dm - self._half_points[-1]
        return self._half_points[turn % ROUNDING_TURNS]

    def expand(self, values_k: Floats) -> Floats:
        """Values of the kept columns as [M], zero for targets without mass."""
        values_m = np.zeros(self.count)
        values_m[self.kept_m] = values_k
        return values_m
