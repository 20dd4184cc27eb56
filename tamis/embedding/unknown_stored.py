"""What a project's encoder does not know of its stored texts: of each corpus and each target, in a sample.

Nothing of it is stored: a few hundred texts are read and tokenized where it is said, so that it also holds
for vectors that an earlier version has computed.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from tamis.corpus.intake import texts_of
from tamis.corpus.sources import with_corpora
from tamis.corpus.stage import OCCURRENCES, TARGET_EXAMPLES
from tamis.embedding.unknown import SAMPLE, UnknownTexts, unknown_texts
from tamis.project import Project
from tamis.settings.samplers import find_sampler
from tamis.store.tables import Store, one_of

CORPUS, TARGET = "corpus", "target"
Place = tuple[str, str]
"""`CORPUS` or `TARGET`, and its name."""


def unknown_places(
    project: Project, unread: Mapping[Place, Sequence[str]] | None = None
) -> dict[Place, UnknownTexts]:
    """Return the corpora and targets of which the encoder does not know much.

    unread: texts of files that are still to be read. Nothing where no selection looks at vectors.
    """
    samplers = [find_sampler(section.sampler) for section in project.settings.selection]
    if samplers and not any(sampler.reads_vectors for sampler in samplers):
        return {}
    encoder = project.model(project.settings.encoder.name)
    texts = {**(unread or {}), **_sampled(project.home.store)}
    corpora = [(CORPUS, one.name) for one in project.settings.corpus]
    targets = [(TARGET, one.name) for one in project.settings.target]
    found = {place: unknown_texts(encoder, texts.get(place, ())) for place in (*corpora, *targets)}
    return {place: unknown for place, unknown in found.items() if unknown is not None}


def unknown_lines(
    project: Project, unread: Mapping[Place, Sequence[str]] | None = None, target: str | None = None
) -> list[str]:
    """Return a line for each of `unknown_places`; with `target` for the corpora and that target alone."""
    return [
        f"{kind} {name}: {unknown.sentence}"
        for (kind, name), unknown in unknown_places(project, unread).items()
        if target is None or kind == CORPUS or name == target
    ]


def _sampled(store: Store) -> dict[Place, list[str]]:
    """Return the texts of the smallest ids of each corpus and target: a draw by content alone."""
    places = with_corpora(store, store.read(OCCURRENCES.name, ["doc_id", "shard"]))
    smallest = pl.col("doc_id").unique().bottom_k(SAMPLE)
    by_corpus = places.group_by("corpus").agg(smallest)
    ids = by_corpus.select(pl.col("doc_id").explode().unique())["doc_id"].drop_nulls().to_list()
    texts = texts_of(store, ids) if ids else {}
    found: dict[Place, list[str]] = {
        (CORPUS, corpus): [texts[one] for one in sorted(some) if one in texts]
        for corpus, some in by_corpus.iter_rows()
    }
    by_target = store.read(TARGET_EXAMPLES.name, ["target", "doc_id"]).group_by("target").agg(smallest)
    for name, some in by_target.iter_rows():
        rows = store.read(TARGET_EXAMPLES.name, ["target", "text"], one_of("doc_id", list(some)))
        found[TARGET, name] = rows.filter(pl.col("target") == name)["text"].to_list()
    return found
