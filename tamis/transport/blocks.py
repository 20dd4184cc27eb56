"""Rows from an array or from an iterable of blocks, in chunks whose size depends on neither.

Blocks are cut again into equal chunks, so a pool read as 3 blocks or as 3,000 meets the same matrix products
and gives the same bits. The price is a copy where blocks meet: 0.3 % of a pass at M = 1,000, d = 384.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from tamis.base import arguments
from tamis.base.arguments import NO_NUMBERS, as_number, dense, is_whole
from tamis.base.errors import PermanentError

Floats = npt.NDArray[np.float64]


def check_positive(name: str, value: Any) -> None:
    """Raise `BadShapeError` unless the value is a finite number above 0."""
    if not 0 < as_number(value) < np.inf:
        raise BadShapeError(name, repr(value), "a positive finite number")


def check_whole(name: str, value: Any) -> None:
    """Raise `BadShapeError` unless the value is a whole number of 1 or more."""
    if not is_whole(value, 1):
        raise BadShapeError(name, repr(value), "a whole number, 1 or more")


def check_seed(seed: Any) -> None:
    """Raise `BadShapeError` unless the seed is a whole number, 0 or more."""
    if not is_whole(seed, 0):
        raise BadShapeError("seed", repr(seed), "a whole number, 0 or more")


def check_named(name: str, rows: Any) -> None:
    """Raise `BadShapeError` unless these are rows by name, of one name or more."""
    if not (isinstance(rows, Mapping) and rows):
        found = "none" if isinstance(rows, Mapping) else f"a {type(rows).__name__}"
        raise BadShapeError(name, found, "a dict of rows [n, d] by name, with at least one")


def as_floats(values: Any, name: str, expected: str) -> Floats:
    """Values as float64, from numpy, torch (any device and type, with or without gradient) or a list.

    Raises `BadShapeError` on what are no numbers, and on sparse tensors.
    """
    return arguments.as_floats(name, values, expected, error=BadShapeError)


if TYPE_CHECKING:
    import torch

TILE = 64
# Objects and no strings, so that the reference of the API can show them.
Matrix: TypeAlias = Union[npt.NDArray[Any], "torch.Tensor"]
Rows: TypeAlias = Matrix | Iterable[Matrix]


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
        rows = as_rows(rows)
        self.name = name
        self._rows, self._may_be_empty = rows, once
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

    @property
    def rows(self) -> Rows:
        """What the rows are read from."""
        return self._rows

    def chunks(self, size: int) -> "Iterator[tuple[int, torch.Tensor]]":
        """(first row, raw rows [size, d]) in order; only the last chunk is shorter."""
        if is_array(self._rows):
            assert self.count is not None
            for start in range(0, self.count, size):
                yield start, as_matrix(self._rows[start : start + size], self.name)  # type: ignore[index]
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
        for block in self._rows:
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
