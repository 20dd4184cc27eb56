"""Vectors into the store: only what an encoder has not seen, 16-bit floats, the first one kept.

Batches of 4,096 documents a commit; a killed run goes on after its last commit. A document that the encoder
gives no vector has no row; it is remembered as set aside, and this encoder is not asked again.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tamis.base.errors import PermanentError
from tamis.base.numbers import counted
from tamis.base.progress import Advance, ignore
from tamis.base.threads import Behind, ahead
from tamis.base.unfit import Refusal
from tamis.corpus.quarantine import forget_refused, note_refused, read_refused
from tamis.corpus.stage import DOCUMENTS
from tamis.embedding.encoder import Encoder, encode_each
from tamis.embedding.identity import column_fingerprint, encoder_identity, is_column
from tamis.embedding.sentence import groups
from tamis.embedding.stage import ROW_VECTORS
from tamis.embedding.unknown import SAMPLE, UnknownTexts, unknown_texts
from tamis.engine import current_engine
from tamis.project import Project
from tamis.settings.sections import COLUMN_ENCODER
from tamis.store.retained import take_back
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of, quoted, vector_column

BATCH = 4_096
DIGITS = 8
"""Digits of a fingerprint in the name of a table."""
STAGE = "embeddings"
ROUNDING = 2e-3
"""Largest difference of a component between vectors of the same tokens, from bfloat16 and padding."""
SAME = 1e-5
"""The same in float32: what centring leaves of smaller differences is no direction."""
IGNORED = (
    "the texts differ only in what this encoder ignores (static: the order of words, capitals and accents); "
    'name another encoder in [encoder], such as "minilm", or choose by words (samplers dsir and classifier)'
)


def table_name(encoder: str, fingerprint: str) -> str:
    """Return the name of the table with an encoder's vectors, one a fingerprint, safe as a file name.

    Vectors of another fingerprint cannot be compared with these, and stay as long as a shard has no others.
    """
    return f"embeddings_{encoder_slug(encoder)}_{fingerprint[:DIGITS]}"


def current_table(project: Project) -> str:
    """Return the name of the table with the vectors of the configured encoder as its files are now.

    Raises as `encoder_identity` does.
    """
    return table_name(project.settings.encoder.name, project_encoder(project))


def project_encoder(project: Project) -> str:
    """Return the fingerprint of the configured encoder, or of the column that has the vectors.

    Raises as `encoder_identity` does.
    """
    section = project.settings.encoder
    if section.column is None:
        return encoder_identity(project.model(section.name), project.precision or "auto")
    known = read_row_vectors(project.home.store)
    if known is None or known.column != section.column:  # not looked at yet
        return column_fingerprint(section.column, 0, "")
    return known.fingerprint


@dataclass(frozen=True, kw_only=True)
class RowVectors:
    """The vectors in a column of the rows: their width, and the edition of the column."""

    column: str
    width: int
    edition: str

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the rows of vectors."""
        return column_fingerprint(self.column, self.width, self.edition)

    @property
    def table(self) -> str:
        """The name of the table of vectors of documents."""
        return table_name(f"{COLUMN_ENCODER}{self.column}", self.fingerprint)

    @property
    def row(self) -> dict[str, str | int]:
        """The row of the table `row_vectors`."""
        return {"column": self.column, "width": self.width, "edition": self.edition}

    def renewed(self, state: str) -> "RowVectors":
        """Return the next edition, for files in this state (a digest)."""
        edition = hashlib.sha256(f"{self.edition} {state}".encode()).hexdigest()[:32]
        return replace(self, edition=edition)


def read_row_vectors(store: Store) -> RowVectors | None:
    """Return what was last found of the column with the vectors; None before that."""
    rows = store.read(ROW_VECTORS.name, list(ROW_VECTORS.column_names)).to_dicts()
    return RowVectors(**rows[0]) if rows else None


def encoder_slug(encoder: str) -> str:
    """An encoder's name, safe as a file name; ids and folders get a digest of the whole name."""
    slug = re.sub(r"[^a-z0-9_.-]+", "-", encoder.lower()).strip("-.")
    return slug if slug == encoder else f"{slug[-40:]}-{hashlib.sha256(encoder.encode()).hexdigest()[:8]}"


def embed_missing(
    store: Store,
    encoder: Encoder,
    doc_ids: Sequence[str],
    advance: Advance = ignore,
    *,
    table: str | None = None,
) -> list[str]:
    """Encode the documents that this encoder has not seen yet; returns those that got a vector.

    Of a document that left and came back the retained vector is put back. `table`: that of the encoder as
    tamis.toml names it, where this one was loaded under the whole path of its folder.
    """
    table = table or table_name(encoder.name, encoder.fingerprint)
    schema = schema_of(table, encoder.dimension)
    advance(take_back(store, table, doc_ids, encoder.fingerprint))
    blocks = store.by_ids(table, doc_ids, ["doc_id"]) if store.exists(table) else ()
    known = {doc_id for block in blocks for doc_id in block["doc_id"].to_pylist()}
    forget_refused(store, STAGE, [encoder.fingerprint])
    refused_before = read_refused(store, [STAGE], [encoder.fingerprint])["doc_id"]
    missing = sorted(set(doc_ids) - known - set(refused_before))
    if not store.exists(table):
        store.insert_new(table, schema.empty_table())
    if not missing:  # so that no cluster is started, either
        return []
    done: list[pa.Table] = []
    refused: dict[str, Refusal] = {}
    # Texts are read, and vectors written, while others are encoded.
    engine = current_engine()
    with Behind() as behind, contextlib.closing(ahead(_parts(store, missing, engine.parts == 1))) as parts:
        for part, (vectors_nd, failed) in engine.map(_encoded, encoder, parts, advance):
            behind.check()
            refused |= {part.ids[place]: why for place, why in failed.items()}
            kept = [place for place in range(len(part.ids)) if place not in failed]
            ids = [part.ids[place] for place in kept]
            columns = [ids, vector_column(vectors_nd[kept]), [encoder.fingerprint] * len(ids)]
            done.append(pa.table(columns, schema=schema))
            if part.ends_batch:
                note_refused(store, STAGE, encoder.fingerprint, refused)
                behind.do(store.append, table, pa.concat_tables(done))
                done = []
    return [doc_id for doc_id in missing if doc_id not in refused]


@dataclass(frozen=True, kw_only=True)
class ExampleVectors:
    """Vectors [m, d] of the examples of a target that have one, by id, and why others have none."""

    doc_ids: list[str]
    vectors_md: np.ndarray
    refused: dict[str, Refusal]
    fingerprint: str


def encoded_examples(encoder: Encoder, examples: pl.DataFrame, advance: Advance = ignore) -> ExampleVectors:
    """Encode the examples (doc_id, text) of a target."""
    vectors_nd, refused = encode_each(encoder, examples["text"].to_list(), advance)
    ids = examples["doc_id"].to_list()
    kept = [place for place in range(len(ids)) if place not in refused]
    return ExampleVectors(
        doc_ids=[ids[place] for place in kept],
        vectors_md=vectors_nd[kept],
        refused={ids[place]: why for place, why in refused.items()},
        fingerprint=encoder.fingerprint,
    )


def put_example_vectors(store: Store, table: str, target: str, found: ExampleVectors) -> None:
    """Write the vectors of a target's examples; vectors of another width, of other targets, leave the table.

    Those belong to another edition of a column of the rows, and are about to be read again.
    """
    width = found.vectors_md.shape[1]
    if store.exists(table) and store.schema(table).field("vector").type.list_size != width:
        store.overwrite_schema(table, schema_of(table, width))
    columns = {
        "target": [target] * len(found.doc_ids),
        "doc_id": found.doc_ids,
        "vector": vector_column(found.vectors_md),
        "fingerprint": [found.fingerprint] * len(found.doc_ids),
    }
    store.put(table, columns, f"target = {quoted(target)}")


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Documents that are encoded in one go; `ends_batch` is a commit."""

    ids: list[str]
    texts: list[str]
    ends_batch: bool


def _parts(store: Store, missing: list[str], whole: bool) -> Iterator[_Part]:
    """The documents a batch at a time; unless `whole`, cut where an encoder would cut a batch itself."""
    for rows in store.by_ids(DOCUMENTS.name, missing, ["doc_id", "text"], at_once=BATCH):
        ids, texts = rows["doc_id"].to_pylist(), rows["text"].to_pylist()
        end = 0
        for group in [texts] if whole else groups(texts):
            first, end = end, end + len(group)
            yield _Part(ids=ids[first:end], texts=texts[first:end], ends_batch=end == len(ids))


def _encoded(encoder: Encoder, part: _Part, advance: Advance) -> tuple[np.ndarray, dict[int, Refusal]]:
    """Vectors [n, d] as halves, and which have none: a worker sends no more than is stored."""
    vectors_nd, refused = encode_each(encoder, part.texts, advance)
    return vectors_nd.astype(np.float16), refused


class OneVectorError(PermanentError):
    """The encoder gives all documents of the pool the same vector."""

    def __init__(self, encoder: str, documents: int, unknown: UnknownTexts | None) -> None:
        self.encoder, self.documents, self.unknown = encoder, documents, unknown
        why = f"it {unknown.finding}; {unknown.remedy}" if unknown else IGNORED
        if is_column(encoder):
            why = "the lists in this column are all the same; write a vector of each text into it"
        super().__init__(
            f"the encoder {encoder} gives all {counted(documents, 'document')} of the pool the same vector, "
            f"so vectors cannot rank them: {why}"
        )


def require_different_vectors(project: Project) -> None:
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
