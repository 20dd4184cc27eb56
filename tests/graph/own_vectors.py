"""Projects whose rows have vectors of their own: those of the built-in encoder, or what a test says."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import polars as pl
from projects import (
    COOKING,
    SAILING,
    TRANSPORT,
    SmallProject,
    corpus,
    selection,
    settings,
    target,
    texts,
    write,
)

from tamis.embedding import Encoder
from tamis.embedding.near_copies import TABLE as NEAR_COPIES
from tamis.embedding.storing import current_table
from tamis.store.tables import matrix_of

COLUMN = '[encoder]\ncolumn = "meta.vector"\n'
ENCODED = settings(
    corpus(path="landing"),
    target(train=8, held_out=4),
    "[near_duplicates]\ncosine = 0.9\n",
    TRANSPORT,
    selection("near", "got-d", 5, target="goal"),
)
OWN = ENCODED + COLUMN
READ = {"raw_shards", "documents", "row_vectors", "embeddings"}
FITTED = READ | {
    "near_duplicates", "near_copies", "target_examples", "target_embeddings", "target_potential",
    "transport_scores",
}  # fmt: skip
MADE = FITTED | {"contamination", "selected_subset"}
GOAL = texts("algebra", 14, 2)
MORE = texts("sailing", 6, 5)
FIRST, SECOND = [1.0, *[0.0] * 255], [0.0, 1.0, *[0.0] * 254]
NOTHING: Mapping[str, object] = MappingProxyType({})


def rows(static: Encoder, documents: Sequence[str], other: Mapping[str, object] = NOTHING) -> list[str]:
    """Return rows of texts with the vectors that the built-in encoder gives, or other values for some."""
    own = zip(documents, static.encode(documents).tolist(), strict=True)
    return [json.dumps({"text": text, "meta": {"vector": other.get(text, vector)}}) for text, vector in own]


def write_own(project: SmallProject, static: Encoder) -> SmallProject:
    """Write files of rows in place of those that there are."""
    for path in (*project.landing.glob("*.jsonl"), *(project.root / "target").glob("*.jsonl")):
        path.unlink()
    write(project.landing / "cooking.jsonl", rows(static, COOKING))
    write(project.landing / "sailing.jsonl", rows(static, [*SAILING, COOKING[0]]))
    write(project.root / "target" / "goal.jsonl", rows(static, GOAL))
    return project


def vectors(project: SmallProject) -> dict[str, list[float]]:
    """Return the stored vectors by document."""
    table = project.store.read_arrow(current_table(project.project), ["doc_id", "vector"])
    halves_nd = matrix_of(table["vector"], np.float16)
    return dict(zip(table["doc_id"].to_pylist(), halves_nd.tolist(), strict=True))


def near_copies(project: SmallProject) -> pl.DataFrame:
    """Return the near copies that were found."""
    return project.store.read(NEAR_COPIES).sort("doc_id")


def red(project: SmallProject) -> list[str]:
    """Return what an audit finds wrong."""
    return [node.name for node in project.audit().nodes.values() if node.status == "red"]
