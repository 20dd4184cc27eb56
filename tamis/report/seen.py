"""Contents of the pages about a selection: its decisions, what is known of each document, and a sample.

Of a large pool a bounded sample by a keyed hash has a text and a place on the map; counts are of the whole.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tamis.base.numbers import counted
from tamis.corpus.sources import stated_licence, stored_sources
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES, TARGET_EXAMPLES
from tamis.coverage.sampling import keyed_hash
from tamis.embedding.layout import Components, Floats, principal_components
from tamis.embedding.stage import TARGET_EMBEDDINGS
from tamis.embedding.storing import current_table, encoder_slug
from tamis.filters.storing import TABLE as FLAGS
from tamis.project import Project
from tamis.selection.computing import known_vectors
from tamis.selection.stage import DECISIONS
from tamis.settings.references import uses_topics
from tamis.settings.samplers import find_sampler
from tamis.settings.sections import SelectionSection
from tamis.store.tables import Store, matrix_of, one_of, quoted
from tamis.store.vectors import MOST_A_SPAN
from tamis.topics.clusters import (
    AXES_OF_TOPICS,
    cluster_centers,
    naming_words,
    nearest_center,
    nearest_topic,
    topic_names,
)
from tamis.topics.storing import NO_VECTOR, read_centers, read_names, read_topics
from tamis.transport.stage import TARGET_GAPS
from tamis.transport.storing import target_rows

MOST_DOCUMENTS, MOST_CHOSEN, MOST_EXAMPLES = 20_000, 8_000, 2_000
BEGINNING_CHARACTERS = 60
FEWEST_A_REASON = 100
TEXT_CHARACTERS = 1_000
SHOWN_COLUMNS = ("doc_id", "verdict", "reason", "detail", "rank", "margin", "duplicate_of", "training_count")
LENGTHS = {500: "under 500", 2_000: "500 to 2,000", 8_000: "2,000 to 8,000", 32_000: "8,000 to 32,000"}
LONGEST = "32,000 and more"
NO_FILE, UNKNOWN = "(no longer in any file)", "not stated"
EXAMPLE, GAP = "example", "gap"
"""Kinds of points of the map that are no documents: an example of the target, or one that is a gap."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A selection to look at: its decisions, and the tables that hold the vectors.

    `stored_topics`: the project keeps topics, which are those of its pages.
    """

    name: str
    target: str | None
    decisions: pl.DataFrame
    pool_table: str
    target_table: str
    seed: int = 0
    stored_topics: bool = False


@dataclass(frozen=True, kw_only=True)
class Topics:
    """Topics as a page shows them: labels, and the topic of each document and point by place among these.

    `ids`: what tables call them. of_pool: doc_id and topic. label_n: of the points, label_m: of the examples
    of the target. `from_documents`: those that words of the labels are from, where these are stored.
    """

    labels: list[str]
    ids: list[str]
    of_pool: pl.DataFrame
    label_n: np.ndarray
    label_m: np.ndarray
    from_documents: list[str]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Decisions, with source, licence, language, length, n_bytes and topic of each document.

    subject: without its decisions, which are not kept twice. sample: doc_id, verdict and reason of those that
    may be shown, by id. points: a row a sampled document that has a vector, by id, then a row an example of
    the target: doc_id, kind ("selected", "rejected", "example" or "gap"), text, topic. vector_nd, point_nk:
    their vectors, and these in the first components. topics: their labels, topic_ids: what tables call them,
    topics_from: documents that their words are from. examples: topic, length and
    n_bytes of the whole target. left_out: what the map does not show, in sentences.
    """

    subject: Subject
    decisions: pl.DataFrame
    sample: pl.DataFrame
    points: pl.DataFrame
    vector_nd: np.ndarray
    point_nk: Floats
    components: Components
    topics: list[str]
    topic_ids: list[str]
    topics_from: list[str]
    examples: pl.DataFrame
    left_out: list[str]


def subject_of(project: Project, section: SelectionSection, decisions: pl.DataFrame | None = None) -> Subject:
    """Return a selection as it is in the store, or with these decisions."""
    columns = [*SHOWN_COLUMNS, *find_sampler(section.sampler).score_columns]
    if decisions is None:
        decisions = project.home.store.read(DECISIONS.name, columns, f"selection = {quoted(section.name)}")
    return Subject(
        name=section.name,
        target=section.target,
        decisions=decisions.select(columns),
        pool_table=current_table(project),
        target_table=f"{TARGET_EMBEDDINGS.name}_{encoder_slug(project.settings.encoder.name)}",
        seed=project.seed,
        stored_topics=uses_topics(project.settings),
    )


def page_links(selection: str) -> list[tuple[str, str]]:
    """Return file and content of the pages of a selection: its own, map, documents and mix."""
    return [
        (f"selection_{selection}.html", "the selection: reasons, scores and the cut"),
        (f"map_{selection}.html", "the map of its documents"),
        (f"browse_{selection}.html", "documents that were chosen or dropped"),
        (f"mix_{selection}.html", "how the choice changed the mix of sources, topics and languages"),
    ]


def look_at(store: Store, subject: Subject) -> Seen:
    """Return what there is to see of a selection, from the store."""
    sample = sampled(subject.decisions.select("doc_id", "verdict", "reason"), subject.seed)
    known, document_nd = known_vectors(store, subject.pool_table, sample)
    examples, example_md = _examples(store, subject)
    order_m = np.argsort(keyed_hash(examples["doc_id"], subject.seed, "map"), kind="stable")
    shown_m = np.sort(order_m[:MOST_EXAMPLES])
    # A table without rows does not say how long its vectors are.
    parts = [part_nd for part_nd in (document_nd, example_md[shown_m]) if len(part_nd)]
    vector_nd = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    components = principal_components(vector_nd)
    point_nk = components.of(vector_nd.astype(np.float64))
    texts = known.join(
        heads(store, known["doc_id"].to_list()), on="doc_id", how="left", maintain_order="left"
    )
    points = pl.concat(
        [
            texts.select("doc_id", "text", kind="verdict"),
            examples[shown_m].select("doc_id", "text", "kind"),
        ]
    )
    if subject.stored_topics:
        topics = _stored_topics(store, vector_nd, example_md)
    else:
        topics = _own_topics(store, subject.pool_table, (points, point_nk), example_md, components)
    decisions = (
        subject.decisions.join(documents_known(store), on="doc_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("source").fill_null(NO_FILE), pl.col("licence", "language", "length").fill_null(UNKNOWN)
        )
        # Names that many share are categories.
        .with_columns(pl.col("source", "licence", "language", "length").cast(pl.Categorical))
        .join(topics.of_pool, on="doc_id", how="left", maintain_order="left")
    )
    return Seen(
        subject=replace(subject, decisions=subject.decisions.clear()),
        decisions=decisions,
        sample=sample,
        points=points.with_columns(topic=pl.Series(topics.label_n, dtype=pl.Int64)),
        vector_nd=vector_nd,
        point_nk=point_nk,
        components=components,
        topics=topics.labels,
        topic_ids=topics.ids,
        topics_from=topics.from_documents,
        examples=examples.drop("text").with_columns(topic=pl.Series(topics.label_m, dtype=pl.Int64)),
        left_out=_left_out(subject, sample, known, (len(examples), len(shown_m)), components),
    )


def sampled(decisions: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return at most 20,000 decisions (doc_id, verdict, reason, ...) by id, of each reason its share.

    Up to 8,000 are of the chosen, however small their share of the pool is, and some of each other reason.
    """
    counts = decisions.group_by("verdict", "reason").len("count").sort("verdict", "reason")
    chosen = int(counts.filter(pl.col("verdict") == "selected")["count"].sum())
    rest, others = len(decisions) - chosen, len(counts) - bool(chosen)
    taken = min(chosen, max(MOST_CHOSEN, MOST_DOCUMENTS - rest))
    spare = MOST_DOCUMENTS - taken - FEWEST_A_REASON * others
    parts = [decisions.clear()]
    for verdict, reason, count in counts.iter_rows():
        quota = taken if verdict == "selected" else FEWEST_A_REASON + spare * count // max(rest, 1)
        rows = decisions.filter((pl.col("verdict") == verdict) & (pl.col("reason") == reason))
        if (rest > MOST_DOCUMENTS - taken and count > quota) or (verdict == "selected" and count > taken):
            rows = rows[np.sort(np.argsort(keyed_hash(rows["doc_id"], seed, "map"), kind="stable")[:quota])]
        parts.append(rows)
    return pl.concat(parts).sort("doc_id")


def documents_known(store: Store) -> pl.DataFrame:
    """Return doc_id, source, licence, language, length and n_bytes of every document of the pool.

    Of one in several places the first source and language by name, and the licence of the first place, by
    shard and row, that states one.
    """
    places = store.read(OCCURRENCES.name, ["doc_id", "shard", "row", "source", "licence", "language"])
    sources = stored_sources(store, places.select("doc_id", "shard", "source")).select("doc_id", "source")
    several = pl.col("doc_id").is_duplicated()  # few: to group a million documents takes memory and seconds
    alone = places.filter(~several).select("doc_id", "licence", "language")
    folded = places.filter(several).group_by("doc_id").agg(stated_licence(), pl.col("language").min())
    stated = pl.concat([alone, folded])
    del places, alone, folded
    known = store.read(DOCUMENTS.name, ["doc_id", "n_chars", "n_bytes", "language"])
    found = known.rename({"language": "first"}).join(stated, on="doc_id", how="left")
    if store.exists(FLAGS):
        found = found.join(store.read(FLAGS, ["doc_id", "detected_language"]), on="doc_id", how="left")
    languages = [name for name in ("language", "first", "detected_language") if name in found.columns]
    return found.join(sources, on="doc_id", how="left").select(
        "doc_id", "source", "licence", pl.coalesce(languages).alias("language"), _length("n_chars"), "n_bytes"
    )


def beginnings(store: Store, table: str, doc_ids: Collection[str]) -> dict[str, str]:
    """Return how the texts of these documents or examples begin, by id.

    For a terminal: `--json` is written to files and logs, and holds no text.
    """
    if not len(doc_ids):
        return {}
    rows = store.read(table, ["doc_id", "text"], one_of("doc_id", sorted(set(doc_ids))))
    return dict(rows.select("doc_id", clean(pl.col("text"), BEGINNING_CHARACTERS)).iter_rows())


def clean(text: pl.Expr, characters: int) -> pl.Expr:
    """Return the head of texts in one line, without what moves or hides the words around it."""
    hidden = r"[\p{Cc}\s\x{200B}\x{200E}\x{200F}\x{061C}\x{202A}-\x{202E}\x{2066}-\x{2069}\x{FEFF}]+"
    head = text.fill_null("").str.slice(0, 3 * characters).str.replace_all(hidden, " ")
    return head.str.strip_chars().str.slice(0, characters)


def _length(characters: str) -> pl.Expr:
    found: pl.Expr = pl.when(pl.col(characters).is_not_null()).then(pl.lit(LONGEST)).otherwise(None)
    for limit, shorter in reversed(LENGTHS.items()):
        found = pl.when(pl.col(characters) < limit).then(pl.lit(shorter)).otherwise(found)
    return found.alias("length")


def heads(store: Store, doc_ids: list[str], characters: int | None = TEXT_CHARACTERS) -> pl.DataFrame:
    """Return doc_id and the first thousand characters of the text of documents; None: the whole text."""
    head = pl.col("text").str.slice(0, characters)
    blocks = store.by_ids(DOCUMENTS.name, doc_ids, ["doc_id", "text"], at_once=1_024)
    texts = [pl.DataFrame(pl.from_arrow(block)).with_columns(head).rechunk() for block in blocks]
    return pl.concat([pl.DataFrame(schema={"doc_id": pl.String, "text": pl.String}), *texts])


def _examples(store: Store, subject: Subject) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the training examples of the target that have a vector, by id, and these vectors [M, d]."""
    if subject.target is None or not store.exists(subject.target_table):
        schema = dict.fromkeys(("doc_id", "text", "kind", "source", "length"), pl.String)
        return pl.DataFrame(schema=schema | {"n_bytes": pl.Int64}), np.zeros((0, 1), np.float32)
    ids, example_md = target_rows(store, subject.target_table, subject.target)
    where = f"target = {quoted(subject.target)}"
    lacking = store.read(TARGET_GAPS.name, ["doc_id"], f"{where} AND is_gap")["doc_id"].implode()
    rows = store.read(TARGET_EXAMPLES.name, ["doc_id", "text", "source"], where)
    rows = pl.DataFrame({"doc_id": ids}, schema={"doc_id": pl.String}).join(
        rows.unique("doc_id", keep="first"), on="doc_id", how="left", maintain_order="left"
    )
    kind = pl.when(pl.col("doc_id").is_in(lacking)).then(pl.lit(GAP)).otherwise(pl.lit(EXAMPLE)).alias("kind")
    text = pl.col("text").fill_null("")
    found = rows.with_columns(kind, n_chars=text.str.len_chars(), n_bytes=text.str.len_bytes().cast(pl.Int64))
    return found.select(
        "doc_id", text.str.slice(0, TEXT_CHARACTERS), "kind", "source", _length("n_chars"), "n_bytes"
    ), example_md


def _own_topics(
    store: Store,
    table: str,
    shown: tuple[pl.DataFrame, Floats],
    example_md: np.ndarray,
    components: Components,
) -> Topics:
    """Return topics of the points that are shown, as their places in the components make them."""
    points, point_nk = shown
    center_ck = cluster_centers(point_nk[:, :AXES_OF_TOPICS])
    label_n = nearest_center(point_nk[:, :AXES_OF_TOPICS], center_ck)
    words = naming_words(points["text"].fill_null(""), label_n)
    names = topic_names(words, len(center_ck))
    shown_in = words["rows"].explode().drop_nulls().unique()
    return Topics(
        labels=names,
        ids=names,
        of_pool=_topics_of_pool(store, table, components, center_ck),
        label_n=label_n,
        label_m=nearest_center(components.of(example_md, AXES_OF_TOPICS), center_ck)
        if len(example_md)
        else np.zeros(0, np.int64),
        from_documents=points["doc_id"].gather(shown_in).sort().to_list(),
    )


def _stored_topics(store: Store, vector_nd: np.ndarray, example_md: np.ndarray) -> Topics:
    """Return the topics that the project keeps; an example of the target is of the nearest."""
    (ids, center_cd), names = read_centers(store), read_names(store)
    if not ids:  # no document has a vector
        ids, center_cd = [NO_VECTOR], np.zeros((1, vector_nd.shape[1]))
    return Topics(
        labels=[names.label(topic) for topic in ids],
        ids=ids,
        of_pool=read_topics(store).with_columns(
            pl.col("topic").replace_strict(ids, range(len(ids)), default=None, return_dtype=pl.Int64)
        ),
        label_n=nearest_topic(vector_nd, center_cd) if len(vector_nd) else np.zeros(0, np.int64),
        label_m=nearest_topic(example_md, center_cd) if len(example_md) else np.zeros(0, np.int64),
        from_documents=names.from_documents,
    )


def _topics_of_pool(store: Store, table: str, components: Components, center_ck: Floats) -> pl.DataFrame:
    found = [pl.DataFrame(schema={"doc_id": pl.String, "topic": pl.Int64})]
    version, count = store.version(table), store.count(table)
    for start in range(0, count, MOST_A_SPAN):  # else the whole column is read ahead
        span = (start, min(start + MOST_A_SPAN, count))
        for batch in store.batches(table, ["doc_id", "vector"], version=version, span=span):
            point_nk = components.of(matrix_of(batch["vector"]), AXES_OF_TOPICS)
            ids = batch["doc_id"].to_pylist()  # as they are, they would keep the batch with its vectors
            found.append(pl.DataFrame({"doc_id": ids, "topic": nearest_center(point_nk, center_ck)}))
    return pl.concat(found)


def _left_out(
    subject: Subject,
    sample: pl.DataFrame,
    known: pl.DataFrame,
    examples: tuple[int, int],
    components: Components,
) -> list[str]:
    """Return what the map does not show, as sentences."""
    said, pool = [], len(subject.decisions)
    if len(sample) < pool:
        said.append(
            f"The map shows a sample of {len(sample):,} of the {pool:,} documents: up to {MOST_CHOSEN:,} "
            "chosen ones (more if few were dropped), and dropped ones roughly in proportion to how common "
            "each reason is. So the density of points on the map is not that of the pool, but all counts "
            "are of the whole pool."
        )
    if len(known) < len(sample):
        said.append(f"Not on the map: {counted(len(sample) - len(known), 'document')} without a vector.")
    if subject.target is None:
        said.append("The selection has no target, so the map shows no target examples.")
    elif examples[1] < examples[0]:
        said.append(f"{examples[1]:,} of the {examples[0]:,} examples of {subject.target} are shown.")
    elif not examples[0]:
        said.append(f"No example of {subject.target} has a vector.")
    if len(known) and not components.share_k.any():
        said.append("All vectors are identical, so every point is in the middle.")
    return said
