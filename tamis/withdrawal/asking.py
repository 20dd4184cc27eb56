"""What a withdrawal is asked for: ids, texts, shards, sources or corpora, as content ids of the store."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property

import polars as pl

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.numbers import counted, named
from tamis.corpus.shards import corpus_of_key, is_group_key, shard_key
from tamis.corpus.small_files import files_of, rows_of_files
from tamis.corpus.sources import corpora_of, noted_corpora
from tamis.corpus.stage import DOCUMENTS_STAGE, NEAR_DUPLICATES, OCCURRENCES, QUARANTINE
from tamis.history.finding import resolve_document
from tamis.passages.places import PARENT
from tamis.readers.text import ORIGINAL, is_document_id, normalise_text, normalised_id
from tamis.retention.removals import removed_values
from tamis.store.tables import Store, quoted
from tamis.store.withdrawn import DOCUMENT, NO_REASON, read_withdrawals
from tamis.withdrawal.departed import departed_places, files_before, passages_ever

TEXT = "text"
"""Scope of a document that is named by its text."""
MOST_NAMED, MOST_COMPARED = 20, 10_000
FEWEST_DIGITS = 8
"""Of the beginning of an id: nothing brings back what two digits that happen to be unique have named."""


class NothingAskedError(PermanentError):
    """A call that names nothing to withdraw."""

    def __init__(self) -> None:
        super().__init__(
            "no documents were named; specify document ids, --ids FILE, --text FILE (or - for standard "
            "input), --shard, --source or --corpus"
        )


class EmptyTextError(PermanentError):
    """A text of white space alone is no document."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name} is empty or contains only white space, so it identifies no document; "
            "give the whole text of the document to withdraw"
        )


class BadIdsError(PermanentError):
    """A line of a file of ids names no document; nothing of the file was withdrawn."""

    def __init__(self, name: str, line: int, error: PermanentError) -> None:
        self.name, self.line = name, line
        super().__init__(f"{name}:{line}: {error}; nothing was withdrawn")


class ShortIdError(PermanentError):
    """A beginning of an id too short for something that cannot be undone; names the document it fits."""

    def __init__(self, given: str, doc_id: str) -> None:
        self.given, self.doc_id = given, doc_id
        super().__init__(
            f"{given!r} matches only document {doc_id}, but is too short for a withdrawal, which cannot be "
            f"undone; enter at least {FEWEST_DIGITS} digits of the id"
        )


class AmbiguousSourceError(PermanentError):
    """A file name that several corpora have: which of the files is meant is not known."""

    def __init__(self, source: str, files: Mapping[str, int]) -> None:
        self.source, self.files = source, files
        found = named([f"{key} ({counted(rows, 'row')})" for key, rows in files.items()], MOST_NAMED)
        super().__init__(
            f"source {source!r} is the name of {len(files)} files: {found}; withdraw each file with --shard"
        )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Content ids with how each was named, the texts that were given, and the shards meant as a whole.

    `departed`: those of the ids that are in earlier versions of tables alone; `of_places`: shards, sources or
    corpora were named that something is or was stored of, so no earlier version may stay.
    """

    scopes: Mapping[str, str]
    texts: Sequence[str] = ()
    shards: Sequence[str] = ()
    departed: frozenset[str] = frozenset()
    of_places: bool = False

    @property
    def doc_ids(self) -> list[str]:
        """The content ids, sorted."""
        return sorted(self.scopes)


@dataclass(kw_only=True)
class Asking:
    """Collects what is asked for; of a document that is named twice the first name stays."""

    store: Store
    scopes: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    departed: set[str] = field(default_factory=set)
    of_places: bool = False
    named: bool = False

    @cached_property
    def _places_before(self) -> pl.DataFrame:
        return departed_places(self.store)

    @cached_property
    def _removed(self) -> set[str]:
        """Return the keys of all shards that were ever removed."""
        names = {name.removesuffix("]").partition("[") for name in removed_values(self.store)}
        return {key for asset, _, key in names if asset == DOCUMENTS_STAGE.name}

    def ids(self, given: Iterable[str]) -> None:
        """Document ids, or unambiguous beginnings of those in the store; a whole id need not be there.

        Raises `UnknownDocumentError` or `ShortIdError`.
        """
        for one in given:
            found = one.lower() if is_document_id(one.lower()) else resolve_document(self.store, one)
            if len(one) < FEWEST_DIGITS:
                raise ShortIdError(one, found)
            self._add([found], DOCUMENT)

    def ids_of_file(self, content: str, name: str) -> None:
        """Ids of a file, one or more a line; raises `BadIdsError`, which names the line."""
        for number, line in enumerate(content.splitlines(), 1):
            try:
                self.ids(line.split())
            except PermanentError as error:
                raise BadIdsError(name, number, error) from error

    def text(self, content: str, name: str) -> None:
        """Add a whole text, as a row of a corpus holds it; raises `EmptyTextError`."""
        normal = normalise_text(content)
        if not normal:
            raise EmptyTextError(name)
        self.texts.append(normal)
        self._add([normalised_id(normal)], TEXT)

    def shard(self, key: str) -> None:
        """Everything in a shard, or in a file of a group, its quarantined rows too.

        Of a group, also what files had that left it. Raises `UnknownNameError`.
        """
        files, scope = files_of(self.store, [key])["shard"].to_list(), f"shard {key}"
        before = files_before(self.store, key) if is_group_key(key) else set[str]()
        left = self._left(pl.col("shard").is_in([*files, *before, key]), scope)
        is_group = is_group_key(key) and bool(files or before)
        if not (is_group or left or key in self._removed or key in (known := stored_shards(self.store))):
            raise UnknownNameError("shard", key, _likely(key, known))
        self.shards, self.of_places, self.named = [*self.shards, *files], True, True
        self._add([*self._of_files(files), *left], scope)

    def source(self, name: str) -> None:
        """Every document of a source, as `tamis explain` names it.

        Raises `UnknownNameError`, and `AmbiguousSourceError` for a file name that several corpora have.
        """
        known = set(self.store.read(OCCURRENCES.name, ["source"])["source"].unique())
        scope, named_so = f"source {name}", pl.col("source") == name
        left = self._left(named_so, scope)
        if name not in known and not left:
            raise UnknownNameError("source", name, _likely(name, known))
        shards = self.store.read(OCCURRENCES.name, ["shard"], f"source = {quoted(name)}")["shard"]
        shards = pl.concat([shards, self._places_before.filter(named_so)["shard"]])
        corpora = corpora_of(self.store, set(shards))
        files = {
            key: rows
            for key, rows in shards.value_counts().sort("shard").iter_rows()
            if key == shard_key(corpora[key], name)  # the source is no more than the name of the file
        }
        if len(files) > 1:
            raise AmbiguousSourceError(name, files)
        self.of_places = True
        rows = self.store.read(OCCURRENCES.name, ["doc_id", PARENT], f"source = {quoted(name)}")
        self._add([*_with_documents(rows), *left], scope)

    def corpus(self, name: str, listed: Mapping[str, str], configured: Iterable[str] = ()) -> None:
        """Everything that is stored of a corpus, whether its files are still there or not.

        `listed`: the corpus of each file that is there; `configured`: names in tamis.toml. Raises
        `UnknownNameError`.
        """
        shards = {**listed, **corpora_of_shards(self.store, listed)}
        own, scope = sorted(key for key, corpus in shards.items() if corpus == name), f"corpus {name}"
        left = self._left(pl.col("corpus") == name, scope)
        was = any(corpus_of_key(key) == name for key in self._removed)
        if not (own or left or was or name in configured):
            raise UnknownNameError("corpus", name, {*shards.values(), *configured})
        self.shards, self.named = [*self.shards, *own], True
        self.of_places |= bool(own or left or was)
        self._add([*self._of_files(own), *left], scope)

    def done(self) -> Asked:
        """What was asked for; raises `NothingAskedError`."""
        if not (self.scopes or self.shards or self.named):
            raise NothingAskedError
        self._read_from()
        self._add_passages()
        return Asked(
            scopes=self.scopes,
            texts=self.texts,
            shards=self.shards,
            departed=frozenset(self.departed),
            of_places=self.of_places,
        )

    def _add(self, doc_ids: Iterable[str], scope: str) -> None:
        for doc_id in doc_ids:
            self.scopes.setdefault(doc_id, scope)

    def _read_from(self) -> None:
        """Add the documents whose text was extracted or mended on reading from one that is asked for."""
        rows = self.store.read(OCCURRENCES.name, ["doc_id", "metadata"], f"metadata LIKE '%{ORIGINAL}%'")
        given = pl.col("metadata").str.json_path_match(f"$.{ORIGINAL}").str.split(" ")
        for doc_id, earlier in rows.select("doc_id", given).explode("metadata").drop_nulls().iter_rows():
            if earlier in self.scopes:
                self._add([doc_id], self.scopes[earlier])

    def _add_passages(self) -> None:
        """Add the passages of documents that are asked for, however these were cut."""
        passages = passages_ever(self.store, self.scopes).sort("doc_id", PARENT)
        for doc_id, document in passages.filter(pl.col(PARENT).is_in([*self.scopes])).iter_rows():
            self._add([doc_id], self.scopes[document])

    def _of_files(self, files: Sequence[str]) -> list[str]:
        return _with_documents(rows_of_files(self.store, OCCURRENCES.name, ["doc_id", PARENT], files))

    def _left(self, where: pl.Expr, scope: str) -> list[str]:
        """Documents that left such places, and those that were withdrawn under this name.

        To name it again is to ask for them again.
        """
        left = self._places_before.filter(where)["doc_id"].unique().sort().to_list()
        before = read_withdrawals(self.store, f"scope = {quoted(scope)}")["doc_id"].to_list()
        self.departed.update(left)
        return [*left, *before]


def _with_documents(places: pl.DataFrame) -> list[str]:
    """Return the ids of places (doc_id, passage_of), also of the documents that passages are from, sorted."""
    return sorted({*places["doc_id"], *places[PARENT].drop_nulls()})


def stored_shards(store: Store) -> set[str]:
    """Return the keys of all files of corpora of which a row is stored, a quarantined one too."""
    bad = store.read(QUARANTINE.name, ["shard"])["shard"].unique()
    return {
        *store.read(OCCURRENCES.name, ["shard"])["shard"].unique(),
        *(one for one in bad if "/" not in one),  # others are places in targets and stages
    }


def corpora_of_shards(store: Store, listed: Container[str] = ()) -> dict[str, str]:
    """Return the corpus of each file that was taken in, also of those that are gone.

    As it was noted; of a file that was not, and is not `listed` either, as its key says.
    """
    noted = dict(noted_corpora(store).iter_rows())
    return noted | {
        key: corpus_of_key(key) for key in stored_shards(store) if key not in noted and key not in listed
    }


def _likely(name: str, known: Iterable[str]) -> list[str]:
    """Names that may have been meant: a corpus may have millions of sources."""
    return get_close_matches(name, sorted(known)[:MOST_COMPARED], MOST_NAMED, 0.0)


def near_repeats(store: Store, doc_ids: Sequence[str]) -> pl.DataFrame:
    """Documents that nearly repeat one of these and are not asked for: doc_id, repeats."""
    asked = pl.Series(list(doc_ids), dtype=pl.String).implode()
    pairs = store.read(NEAR_DUPLICATES.name, ["doc_id", "kept"])
    both = pl.concat([pairs.select("doc_id", repeats="kept"), pairs.select(doc_id="kept", repeats="doc_id")])
    siblings = pairs.join(pairs, on="kept", suffix="_other").select(doc_id="doc_id_other", repeats="doc_id")
    found = pl.concat([both, siblings]).filter(
        pl.col("repeats").is_in(asked) & ~pl.col("doc_id").is_in(asked)
    )
    return found.unique("doc_id", keep="first", maintain_order=True).sort("doc_id")


class WithdrawalReason(StrEnum):
    """The reasons that `tamis withdraw --reason` takes."""

    NOT_STATED = NO_REASON
    OWNER_REQUEST = "owner_request"
    PERSONAL_DATA = "personal_data"
    COPYRIGHT = "copyright"
    LICENCE = "licence"
    LEGAL_ORDER = "legal_order"
    UNSAFE_CONTENT = "unsafe_content"
    MISTAKE = "mistake"
