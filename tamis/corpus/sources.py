"""The sources that people know: what the rows name as theirs, else the corpus.

Readers put the name of the file where a row names no source, so the two are distinguished here.
"""

from collections.abc import Collection

import polars as pl

from tamis.corpus.shards import corpus_of_key
from tamis.corpus.small_files import TABLE as GROUPED_FILES
from tamis.store.tables import Store

FEW = 15
"""So many different sources are groups, however few documents each has."""
SOURCES_AS_COUNTED = {"small_files": "by folder", "files": "by name"}
"""Meaning of a source, as a setting of the stages that divide by sources: it decides what they choose."""
_HASHED = r"-[0-9a-f]{8}$"
NOTES = ("shard_files", GROUPED_FILES)
_BY_KEY = pl.col("shard").str.extract(r"^(.+?)__").fill_null(pl.col("shard"))


def noted_corpora(store: Store) -> pl.DataFrame:
    """Return the corpus of each file that was taken in, as it was noted then: shard, corpus."""
    notes = pl.concat([store.read(table, ["shard", "corpus"]) for table in NOTES])
    return notes.unique("shard", keep="last", maintain_order=True)


def with_corpora(store: Store, places: pl.DataFrame) -> pl.DataFrame:
    """Return places, by `shard`, with the `corpus` of each: as it was noted when the file was read.

    The key of a file does not say it where the name of the corpus holds a separator, or ends as one begins.
    """
    unsaid = noted_corpora(store).filter(pl.col("corpus") != _BY_KEY).rename({"corpus": "noted"})
    return (
        places.join(unsaid, on="shard", how="left", maintain_order="left")
        .with_columns(corpus=pl.coalesce("noted", _BY_KEY))
        .drop("noted")
    )


def corpora_of(store: Store, keys: Collection[str]) -> dict[str, str]:
    """Return the corpus of each of these files, by key: as it was noted, else as the key says.

    Of the key of a group, which is noted nowhere, what it says.
    """
    noted: dict[str, str] = dict(noted_corpora(store).iter_rows()) if keys else {}
    return {key: noted.get(key) or corpus_of_key(key) for key in keys}


def stated_licence() -> pl.Expr:
    """The licence of a document, of its places: that of the first, by shard and row, that states one."""
    return pl.col("licence").sort_by("shard", "row").drop_nulls().first()


def stored_sources(store: Store, places: pl.DataFrame, of: pl.Series | None = None) -> pl.DataFrame:
    """Return `document_sources` of places (doc_id, shard, source), with what was noted of their files."""
    small = store.read(GROUPED_FILES, ["shard", "name"])  # files that share a shard, such as `notes/`
    folders = small.select("shard", folder=pl.col("name").str.extract(r"^(.*/)").fill_null(""))
    noted = with_corpora(store, places).join(folders, on="shard", how="left", maintain_order="left")
    return document_sources(noted, of)


def document_sources(occurrences: pl.DataFrame, of: pl.Series | None = None) -> pl.DataFrame:
    """Return doc_id, `source` and `more`: for each document its sources, folded, in the order of names.

    `more`: the others of a document that is in several. occurrences: doc_id, shard, source, corpus, folder,
    of the whole pool; `of`: the documents to return, all by default. Of an address the host counts. Where
    nearly each document of a corpus has a source of its own, they are places and no groups: the file or
    package counts there. So it does in the only corpus, if no row names a source. Small files that share a
    shard count as their folder.
    """
    # Sources may be far fewer than documents.
    if 2 * occurrences.select(pl.col("source").approx_n_unique()).item() < len(occurrences):
        places = occurrences.group_by("corpus", "folder", "shard", "source").agg("doc_id")
    else:
        places = occurrences.with_columns(pl.concat_list("doc_id"))
    found = _named(places).explode("doc_id")
    if of is not None:
        found = found.join(of.to_frame("doc_id"), on="doc_id", how="semi")
    several = pl.col("doc_id").is_duplicated()
    alone = found.filter(~several).select("doc_id", source="name", more=pl.lit([], pl.List(pl.String)))
    folded = (
        found.filter(several)
        .group_by("doc_id")
        .agg(pl.col("name").unique().sort())
        .select("doc_id", source=pl.col("name").list.first(), more=pl.col("name").list.slice(1))
    )
    return pl.concat([alone, folded]).sort("doc_id")


def _named(places: pl.DataFrame) -> pl.DataFrame:
    """Return `name` of the source and the documents, of corpus, folder, shard, source and their doc_ids."""
    corpus, folder = pl.col("corpus"), pl.col("folder")
    # Readers note the whole name, folders included; a key keeps letters and digits of it, and a hash.
    file = pl.when(folder == "").then(corpus).otherwise(pl.coalesce(folder, "source", _file()))
    host = pl.col("source").str.extract(r"^https?://([^/]+)").fill_null(pl.col("source"))
    alone = (corpus.n_unique() == 1) & ~_is_own().any()
    named = places.with_columns(own=pl.when(_is_own()).then(host).when(alone).then(file).otherwise(corpus))
    single = (
        named.filter(pl.col("own").n_unique().over("corpus") > FEW)
        .select("corpus", "own", "doc_id")
        .explode("doc_id")
        .group_by("corpus")
        .agg(pl.col("own").n_unique(), pl.col("doc_id").n_unique())
        .filter(2 * pl.col("own") > pl.col("doc_id"))["corpus"]
    )
    name = pl.when(pl.col("corpus").is_in(single.implode())).then("shard").otherwise("own")
    return named.select("doc_id", name=name)


def _is_own() -> pl.Expr:
    """Return whether the row named its source: it is not the file's name, which the shard's key ends with.

    Keys keep letters and digits of the name alone, the first hundred characters, and may end with a hash.
    """
    key, source = _file(), _letters(pl.col("source"))
    cut = key.str.contains(_HASHED) & source.str.starts_with(_letters(key.str.replace(_HASHED, "")))
    return pl.col("source").is_not_null() & (source != _letters(key)) & ~cut


def _file() -> pl.Expr:
    """The part of a key after its corpus, which names the file."""
    key, corpus = pl.col("shard"), pl.col("corpus") + "__"
    after = key.str.slice(corpus.str.len_chars())
    return pl.when(key.str.starts_with(corpus)).then(after).otherwise(key.str.replace(r"^.+?__", ""))


def _letters(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"[^A-Za-z0-9]", "")
