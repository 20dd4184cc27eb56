"""Corpus: raw shards, their documents, and near-duplicates over the whole pool."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import dagster as dg

from tamis.base.progress import Advance
from tamis.columns.rows import Files
from tamis.corpus import Shard, ShardBatch, ShardChangedError, ShardGoneError
from tamis.corpus.documents import Reading, read_as, read_files_of_group
from tamis.corpus.intake import Intake, ShardShrunkError, Shrinkage, count_documents, store_shards
from tamis.corpus.quarantine import forget_refused, show_refused
from tamis.corpus.repeats import INDEX, TABLE, mostly_shared, update_near_duplicates
from tamis.corpus.small_files import GroupIntake, group_intake
from tamis.corpus.stage import RAW_STAGE
from tamis.graph.snapshot import Shrunken
from tamis.platform.assets.specification import asset, part
from tamis.records.manifest import ManifestError, canonical_json, content_digest
from tamis.retention.held_back import keep_values, note_files
from tamis.retention.losses import ShrinkageLimits, forget_found_again, forget_shrunken, note_shrunken
from tamis.retention.reconciled import collect_orphans, forget_regrouped
from tamis.runtime.record import Output, Rows, rows_set_aside
from tamis.runtime.step import Work
from tamis.settings.references import named
from tamis.settings.tokenizer import counting_tokenizer
from tamis.store.digests import canonical_digest
from tamis.store.rows_files import LISTED_BY, stored_rows
from tamis.store.tables import quoted
from tamis.store.withdrawn import version_of
from tamis.tokens.counting import TokenCounter, count_missing
from tamis.tokens.identity import fingerprint
from tamis.tokens.splitting import cutter_of
from tamis.tokens.stage import TOKEN_COUNTS

RECORDED_TOGETHER, BATCH_ROWS = 500, 10_000
LEFT = (ShardChangedError, ShardGoneError, ShardShrunkError)
READABLE = ("readable", "No row of the shard is in quarantine.", False)


@part("raw_shards", ["text"])
def raw_shards(work: Work) -> Iterator[Any]:
    """Shard: a raw file, an installed package or a group of small files, hashed at each materialization."""
    for start in range(0, len(work.partitions), RECORDED_TOGETHER):
        keys = work.partitions[start : start + RECORDED_TOGETHER]
        present = [work.snapshot.shards[key] for key in keys if key in work.snapshot.shards]
        note_files(work.store, present)
        yield from work.record(*[_raw(work, shard.key) for shard in present])
        for key in keys:
            if key not in work.snapshot.shards:
                yield from work.leave(key, ShardGoneError(key))


def _raw(work: Work, key: str) -> Output:
    shard, digest = work.snapshot.shards[key], work.snapshot.fingerprints[key]
    facts = {"corpus": shard.corpus, "name": shard.name, "sha256": digest}
    files = {"files": len(shard.members)} if shard.kind == "group" else {}
    return Output(partition=key, data_version=digest, metadata=facts | files)


@part("documents", ["lancedb", "polars"], [READABLE])
def documents(work: Work) -> Iterator[Any]:
    """Documents of a shard: normalised texts by content id; a text that occurs several times is stored once.

    Rows that cannot be used are put in quarantine with a reason; all other rows are kept. When a file has
    lost most of its documents, the stored documents are kept until somebody allows their removal.
    """
    with work.progress("documents", unit="rows") as progress:
        # Of a single file the error ends the step as it is; of many, it is noted and the others are taken in.
        leave = LEFT if work.alone else (Exception,)
        for group, last in _stored(work, leave, progress.advance):
            if last:
                # Before the last head moves: a run that dies here leaves a shard to do, and this with it.
                collect_orphans(work.store, work.snapshot)
            work.refuse({intake.shard: version_of(intake.refused) for intake in group if not intake.error})
            made = [intake for intake in group if not intake.error]
            yield from work.record(*map(_documents_made, made))
            forget_shrunken(work.store, {intake.shard for intake in made} & work.snapshot.shrunken.keys())
            if work.snapshot.shrunken:
                doc_ids = {doc_id for intake in made for doc_id in intake.doc_ids}
                forget_found_again(work.store, work.snapshot, work.current, doc_ids)
            for intake in group:
                if isinstance(intake.error, ShardShrunkError):
                    _hold_back(work, intake.error)
                if isinstance(intake.error, LEFT):
                    yield from work.leave(intake.shard, intake.error, "readable")
                elif intake.error:
                    work.fail(intake.shard, intake.error)
        forget_regrouped(work.store, work.snapshot)


def _stored(
    work: Work, leave: tuple[type[Exception], ...], advance: Advance
) -> Iterator[tuple[list[Intake], bool]]:
    """Store the shards, many in a commit, and yield them with whether they are the last.

    None shares a commit with one of which the process may die. Shards that lost too much are read again
    at the end, when it is known which of their documents other files have.
    """
    limits = ShrinkageLimits(work.store, work.snapshot, work.current)
    made, shrunk = set[str](), dict[str, Intake]()

    def taken_in(batch: Sequence[str]) -> Iterator[list[Intake]]:
        group_of = lru_cache(maxsize=1)(partial(_group_intake, work))
        shards = ((key, as_hashed(work, key, group_of, advance)) for key in batch)
        too_few = partial(_too_few, work, limits)
        for group in store_shards(work.store, shards, leave=leave, too_few=too_few, group_of=group_of):
            shrunk.update({one.shard: one for one in group if isinstance(one.error, ShardShrunkError)})
            made.update(one.shard for one in group if not one.error)
            work.watch.end(shrunk)
            if left := [one for one in group if one.shard not in shrunk]:
                yield left

    for batch in work.batches:
        for group in taken_in(batch):
            yield group, any(one.shard == work.partitions[-1] for one in group) and not shrunk
    before = -1
    while shrunk and before < len(made):
        before, again = len(made), list(shrunk)
        limits.count_what_is_found(made)
        shrunk.clear()
        for group in taken_in(again):
            yield group, any(one.shard == again[-1] for one in group) and not shrunk
    if shrunk:
        yield list(shrunk.values()), True


def _too_few(work: Work, limits: ShrinkageLimits, shrinkage: Shrinkage) -> bool:
    found = work.snapshot.shrunken.get(shrinkage.shard)
    allowed = found is not None and found.allowed and found.input_key == work.key(shrinkage.shard)
    return not allowed and limits.are_passed_by(shrinkage)


def _hold_back(work: Work, error: ShardShrunkError) -> None:
    """Note the state of the file that lost its documents; what was made of the state before stays current."""
    shrunken = Shrunken(
        shard=error.shard,
        input_key=work.key(error.shard),
        before=error.before,
        now=error.now,
        bad_rows=error.bad_rows,
        allowed=False,
    )
    note_shrunken(work.store, [shrunken])
    keep_values(work.project.home, work.current, [("documents", error.shard)], work.attempt)


def _documents_made(intake: Intake) -> Output:
    records = intake.records
    scope = f"shard = {quoted(intake.shard)}" if intake.files is None else LISTED_BY.format("shard")
    read = [
        Rows(table="occurrences", where=scope, records=records["occurrences"]),
        Rows(table="quarantine", where=scope, records=records["quarantine"]),
        Rows(table="documents", doc_ids=intake.doc_ids, records=records["documents"]),
    ]
    return Output(
        partition=intake.shard,
        rows=[*read, Rows(table="kept_rows", where=scope, records=records["kept_rows"])],
        # No stage reads the columns that exports give back: nothing is made again when they change.
        data_version=content_digest({one.table: records[one.table][0] for one in read}, {}),
        row_count=intake.occurrences,
        metadata=intake.metadata(),
        checks=[readable("documents", intake.quarantined)],
    )


def as_hashed(
    work: Work, key: str, group_of: Callable[[str], GroupIntake | None], advance: Advance
) -> Iterator[ShardBatch]:
    """Batches of a shard; raises `ShardChangedError` unless they are the bytes that `raw_shards` hashed."""
    if key not in work.snapshot.shards:
        raise ShardGoneError(key)
    work.begin(key)
    shard = work.snapshot.shards[key]
    if work.current[("raw_shards", key)].data_version != work.snapshot.fingerprints[key]:
        raise ShardChangedError(shard.path)
    section = named(work.project.settings.corpus, shard.corpus)
    cutter = cutter_of(work.project, section, work.project.home.cache / "tokenizers")
    reading = Reading(batch_rows=BATCH_ROWS, advance=advance, cutter=cutter)
    if group := group_of(key):
        yield from read_files_of_group(group.read, section, reading, partial(_require_unchanged, work))
    else:
        yield from read_as(shard, section, reading)
        _require_unchanged(work, shard)


def _require_unchanged(work: Work, file: Shard) -> None:
    if not work.snapshot.is_unchanged(file):
        raise ShardChangedError(file.path)


def _group_intake(work: Work, key: str) -> GroupIntake | None:
    """How a group is taken in: files that were read before, by the same code and settings, are kept.

    None where the shard is no group.
    """
    shard = work.snapshot.shards.get(key)
    if shard is None or shard.kind != "group":
        return None
    settings = work.stage.settings(work.snapshot, shard.key)
    of_files = {name: value for name, value in settings.items() if name != "withdrawn"}
    reading = canonical_digest(canonical_json({"code": work.stage.code_version, "settings": of_files}))
    versions, files = work.snapshot.versions, work.snapshot.files
    return group_intake(work.store, shard, versions, files.__contains__, reading, partial(_stated, work))


def _stated(work: Work, group: str) -> dict[str, bytes]:
    """The rows files that the manifest of the documents of a group states; none where it cannot be read."""
    value = work.current.get((work.stage.name, group))
    try:
        rows = work.manifests.read(value.manifest).rows if value is not None else {}
        return {table: work.manifests.rows_path(digest).read_bytes() for table, digest in rows.items()}
    except (ManifestError, OSError):
        return {}


def readable(asset_key: str, quarantined: Mapping[str, int]) -> dg.AssetCheckResult:
    """Return the result of the check `readable` of a shard or target, by its rows in quarantine."""
    return dg.AssetCheckResult(
        asset_key=asset_key,
        check_name="readable",
        passed=not quarantined,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"quarantined": dg.MetadataValue.json(quarantined)},
    )


@part("token_counts", ["lancedb", "tokenizers"])
def token_counts(work: Work) -> Iterator[Any]:
    """Number of tokens in each document, by the project's tokenizer; each document is counted only once."""
    counter, mark = _counter(work)
    known = f"fingerprint = {quoted(mark)}"
    forget_refused(work.store, work.stage.name, [mark])
    missing = count_documents(work.store, work.partitions, TOKEN_COUNTS.name, known)
    with work.progress("counting tokens", missing) as progress:

        def counts_of(group: dict[str, list[str]]) -> Iterator[Any]:
            every = sorted({doc_id for doc_ids in group.values() for doc_id in doc_ids})
            counted = set(count_missing(work.store, counter, mark, every, progress.advance))
            aside = show_refused(work.store, work.stage.name, group, [mark])
            yield from work.record(*outputs_of(work, group, aside, ("counted", counted), fingerprint=mark))

        yield from work.in_groups(counts_of)


def outputs_of(
    work: Work,
    group: Mapping[str, Sequence[str]],
    aside: Mapping[str, int],
    new: tuple[str, set[str]],
    **more: str,
) -> Iterator[Output]:
    """Yield the output of each shard of a group by its documents.

    `new`: the fact that counts the documents that were done now, and these documents; the others are reused.
    """
    word, made = new
    for key, doc_ids in group.items():
        count = len(made.intersection(doc_ids))
        facts = {word: count, "reused": len(doc_ids) - count, **more}
        shown = rows_set_aside(work.stage.name, key, facts, aside)
        yield Output(partition=key, doc_ids=doc_ids, aside=shown, row_count=len(doc_ids), metadata=facts)


def _counter(work: Work) -> tuple[TokenCounter, str]:
    """The tokenizer that counts, and the fingerprint of its counts."""
    found = counting_tokenizer(work.project.settings)
    assert found is not None
    if found.path is None:
        version = work.current[("tokenizer", "")].data_version
        return TokenCounter(str(work.upstream("tokenizer"))), fingerprint([version])
    cache = work.project.home.cache / "tokenizers"
    return TokenCounter(work.project.model(found.path), cache), work.snapshot.tokenizer_identity


@asset("near_duplicates", ["lancedb", "minhash"])
def near_duplicate_documents(work: Work) -> Iterator[Any]:
    """Documents that repeat, almost word for word, a document with a smaller doc_id, which is kept.

    MinHash over sequences of five words (shingles) proposes pairs; their exact Jaccard similarity decides.
    """
    threshold = work.project.settings.near_duplicates.threshold
    never = ("near_duplicates", "") not in work.current
    with work.progress("near-duplicates") as progress:
        update = update_near_duplicates(work.store, threshold, afresh=never, advance=progress.advance)
    facts = {
        "share": update.dropped / max(work.store.count("documents"), 1),
        "hashed": update.hashed,
        "decided_again": update.decided,
    }
    records = stored_rows(work.store, TABLE, "")
    version, shared = records[0], mostly_shared(work.store)
    if len(shared):  # what near copies read of the index
        version = content_digest({TABLE: version, INDEX: canonical_digest(" ".join(shared))}, {})
        facts["mostly_shared_text"] = len(shared)
    yield from work.record(
        Output(
            rows=[Rows(table=TABLE, records=records), Rows(table=INDEX)],
            row_count=update.dropped,
            data_version=version,
            metadata=facts,
        )
    )


def files_as_read(work: Work) -> Files:
    """Return the files that are as they were when their documents were read."""
    values = {key: work.current.get((RAW_STAGE.name, key)) for key in work.snapshot.shards}
    read = {key: value.data_version for key, value in values.items() if value is not None}
    return Files(
        shards={
            key: shard
            for key, shard in work.snapshot.shards.items()
            if work.snapshot.fingerprints[key] == read.get(key)
        },
        corpora={section.name: section for section in work.project.settings.corpus},
    )
