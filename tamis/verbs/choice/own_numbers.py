"""Numbers of the user's own for texts in memory: vectors and qualities, checked row by row.

Arrays of numpy, tensors of torch, lists and columns do; nothing of torch is imported here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.embedding.row_vectors import as_bytes, as_halves, one_of_each, unit_halves
from tamis.scores.scale import log_odds
from tamis.verbs.choice.data_types import UnusableTextsError

VECTORS, QUALITY = "vectors", "quality"


def own_vectors(
    given: Any, documents: Mapping[str, pl.DataFrame], needed: tuple[str, ...]
) -> dict[str, pl.DataFrame]:
    """Return doc_id and vector, as a column of an encoder has it, of the documents of each argument.

    given: arrays by the name of the argument that they are of; an array alone is of `texts`. documents: rows
    (normal, doc_id) of each argument. Of equal texts with different vectors one counts, whatever their order.
    Raises `UnusableTextsError`.
    """
    by_name = given if isinstance(given, Mapping) else {needed[0]: given}
    valid = ", ".join(documents)
    if unknown := [name for name in by_name if name not in documents]:
        raise UnusableTextsError(
            VECTORS, f"{unknown[0]!r} is no argument that has vectors; pass a mapping with {valid}"
        )
    if missing := [name for name in needed if name not in by_name]:
        written = ", ".join(f'"{name}": ...' for name in needed)
        raise UnusableTextsError(
            VECTORS, f"there are none for {missing[0]!r}; pass {{{written}}}, an array of (n, d) for each"
        )
    arrays = {name: _array(f'{VECTORS}["{name}"]', by_name[name], len(documents[name]), 2) for name in needed}
    widths = {name: array.shape[1] for name, array in arrays.items()}
    if len({*widths.values()}) > 1:
        shown = ", ".join(f"{width:,} of {name}" for name, width in widths.items())
        raise UnusableTextsError(VECTORS, f"their widths differ: {shown}; pass vectors of one model")
    return {
        name: _of_documents(f'{VECTORS}["{name}"]', array, documents[name]) for name, array in arrays.items()
    }


def _of_documents(
    argument: str, vectors_nd: npt.NDArray[np.float64], documents: pl.DataFrame
) -> pl.DataFrame:
    visible_n = (documents["normal"] != "").to_numpy()
    largest_n = np.abs(vectors_nd).max(axis=1, initial=0)
    _refuse(argument, visible_n & ~np.isfinite(vectors_nd).all(axis=1), "has NaN or an infinity")
    _refuse(argument, visible_n & (largest_n == 0), "has nothing but zeros")
    width = vectors_nd.shape[1]
    halves_nd = unit_halves(vectors_nd[visible_n])
    found = pl.DataFrame({"doc_id": documents["doc_id"].filter(visible_n), "vector": as_bytes(halves_nd)})
    one, _several = one_of_each(found.with_columns(why=pl.lit(None, pl.String)))
    vectors = pl.Series(as_halves(one["vector"], width).astype(np.float32), dtype=pl.Array(pl.Float32, width))
    return pl.DataFrame({"doc_id": one["doc_id"], "vector": vectors})


def own_quality(given: Any, documents: pl.DataFrame) -> pl.DataFrame:
    """Return doc_id, quality (0 to 1) and its log odds, as `judge_margin_predicted`, of documents (doc_id).

    Of equal texts with different qualities the best counts. Raises `UnusableTextsError`.
    """
    value_n = _array(QUALITY, given, len(documents), 1)
    _refuse(QUALITY, ~np.isfinite(value_n), "is NaN or an infinity")
    _refuse(QUALITY, (value_n < 0) | (value_n > 1), "is not from 0 to 1")
    best = (
        documents.select("doc_id", quality=pl.Series(value_n)).group_by("doc_id").agg(pl.col("quality").max())
    )
    return best.with_columns(judge_margin_predicted=log_odds(pl.col("quality")))


def _refuse(argument: str, wrong_n: npt.NDArray[np.bool_], what: str) -> None:
    if wrong_n.any():
        more = f" ({int(wrong_n.sum()):,} of {len(wrong_n):,} rows)" if wrong_n.sum() > 1 else ""
        raise UnusableTextsError(
            argument,
            f"row {int(wrong_n.argmax())} {what}{more}; leave such texts out, or correct the numbers",
        )


def _array(argument: str, given: Any, rows: int, dimensions: int) -> npt.NDArray[np.float64]:
    """Return numbers as an array with a row for each text; raises `UnusableTextsError`."""
    shape = f"({rows:,}, d)" if dimensions == 2 else f"({rows:,},)"
    if hasattr(given, "detach"):  # a tensor of torch, perhaps on a GPU, perhaps in bfloat16
        given = given.detach().cpu()
        given = given.double() if given.is_floating_point() else given
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnusableTextsError(
            argument, f"it is no array of numbers; pass one of the shape {shape}"
        ) from error
    if array.dtype.kind not in "fiu":
        raise UnusableTextsError(
            argument,
            f"its type is {array.dtype}, which is no type of numbers; pass floats of the shape {shape}",
        )
    if array.ndim != dimensions or len(array) != rows or 0 in array.shape[1:]:
        raise UnusableTextsError(
            argument, f"its shape is {array.shape}; pass {shape}: a row for each text, in their order"
        )
    return array.astype(np.float64)
