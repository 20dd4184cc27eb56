"""A pool whose documents all have one vector: nothing ranks them, and no ranking is made of rounding."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tamis.base.errors import PermanentError
from tamis.base.numbers import counted
from tamis.corpus.stage import DOCUMENTS
from tamis.embedding.storing import current_table
from tamis.embedding.unknown import SAMPLE, UnknownTexts, unknown_texts
from tamis.store.tables import matrix_of

if TYPE_CHECKING:
    from tamis.project import Project

ROUNDING = 2e-3
"""Largest difference of a component between vectors of the same tokens, from bfloat16 and padding."""
SAME = 1e-5
"""The same in float32: what centring leaves of smaller differences is no direction."""
IGNORED = (
    "the texts differ only in what this encoder ignores (static: the order of words, capitals and accents); "
    'name another encoder in [encoder], such as "minilm", or choose by words (samplers dsir and classifier)'
)


class OneVectorError(PermanentError):
    """The encoder gives all documents of the pool the same vector."""

    def __init__(self, encoder: str, documents: int, unknown: UnknownTexts | None) -> None:
        self.encoder, self.documents, self.unknown = encoder, documents, unknown
        why = f"it {unknown.finding}; {unknown.remedy}" if unknown else IGNORED
        super().__init__(
            f"the encoder {encoder} gives all {counted(documents, 'document')} of the pool the same vector, "
            f"so vectors cannot rank them: {why}"
        )


def require_different_vectors(project: "Project") -> None:
    """Raise `OneVectorError` where no document of the pool has a vector of its own; one document is enough.

    Reads vectors until two differ, so of most pools a few.
    """
    store, table = project.home.store, current_table(project)
    count = store.count(table) if store.exists(table) else 0
    if count < 2:
        return
    largest, first_d = 0.0, None
    for batch in store.batches(table, ["vector"], rows=SAMPLE):
        vectors_nd = matrix_of(batch.column("vector"))
        first_d = vectors_nd[0] if first_d is None else first_d
        largest = max(largest, float(np.abs(vectors_nd - first_d).max()))
        if largest > ROUNDING:
            return
    rows = next(store.batches(DOCUMENTS.name, ["text"], rows=SAMPLE))
    name = project.settings.encoder.name
    unknown = unknown_texts(project.model(name), rows.column("text").to_pylist())
    if unknown is not None or not largest:
        raise OneVectorError(name, count, unknown)


def are_one(vectors_nd: npt.NDArray[np.floating]) -> bool:
    """Return whether all vectors [n, d] are the same but for float32 rounding; without vectors they are."""
    return not len(vectors_nd) or float(np.ptp(vectors_nd, axis=0).max()) <= SAME
