"""Target: examples of what the model must become good at, and how far each document is from them."""

import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.numbers import counted
from tamis.corpus import split_target
from tamis.corpus.quarantine import place_of, show_rows
from tamis.corpus.refusing import NEAR_REPEATS, Refusal, refusal
from tamis.corpus.targets import (
    ROWS_READ,
    TargetShrunkError,
    near_groups,
    never_learnt,
    place_of_target,
    quarantine_of_target,
    read_target_rows,
    require_labels,
    rows_of_examples,
    rows_of_target,
)
from tamis.embedding.row_vectors import vectors_of_examples
from tamis.embedding.storing import (
    current_table,
    encoded_examples,
    put_example_vectors,
    read_row_vectors,
    require_different_vectors,
)
from tamis.graph.snapshot import Shrunken, lost_too_many_documents
from tamis.platform.assets.corpus import readable
from tamis.platform.assets.scorers import target_table
from tamis.platform.assets.specification import asset, per_partition
from tamis.platform.resources.encoder import EncoderResource
from tamis.records.manifest import content_digest
from tamis.retention.held_back import keep_values
from tamis.retention.losses import forget_shrunken, note_shrunken
from tamis.runtime.record import Output, Rows, rows_set_aside
from tamis.runtime.step import Work
from tamis.samplers.pool_potential import OwnScoring, PoolPotential, current_pool_potential
from tamis.selection.leaks import RUNS, TABLE, Leaks, update_contamination
from tamis.selection.pool import exclusions
from tamis.settings.references import named
from tamis.stage import every
from tamis.store.rows_files import stored_rows
from tamis.store.schemas import schema_of
from tamis.store.tables import quoted
from tamis.store.vectors import VectorBlocks
from tamis.store.withdrawn import note_places, version_of
from tamis.training.chats import without_refused
from tamis.transport.gaps import FEWEST, Gaps, find_gaps
from tamis.transport.scoring import PoolScoring, score_pool, score_range
from tamis.transport.storing import (
    CurrentPotential,
    current_potential,
    load_potential,
    potential_facts,
    save_potential,
    target_rows,
    target_vectors,
)

READABLE = ("readable", "No row of the target's files is in quarantine.", False)
LEARNABLE = ("learnable", "Every label of the held-out examples also occurs in the training examples.", False)
CONVERGED = (
    "converged",
    "The marginal error of the transport solution is within the tolerance or, if an earlier solution was "
    "updated, accepted by the error certificate.",
    True,
)
EXACT = (
    "agrees_with_exact_transport",
    "On a sample of the pool, the scores have a rank correlation of at least 0.9 with exact optimal "
    "transport (library POT).",
    False,
)
LEAST_AGREEMENT = 0.9
CHECKS = ("readable", "learnable")


@asset("target_examples", ["polars"], [READABLE, LEARNABLE])
def target_examples(work: Work) -> Iterator[Any]:
    """Examples of a target, split into training and held-out parts; near-duplicates are in the same part."""
    barred = refusal(work.store)
    for key in work.partitions:
        with work.apart(key):
            section = named(work.project.settings.target, key)
            read = read_target_rows(section, work.project.root)
            found, quarantined = read.examples, read.quarantine
            if section.format != "text":
                models = [one.path for one in work.project.settings.base_model if one.path]
                found, refused_here = without_refused(found, [*map(work.project.model, models)])
                quarantined = pl.concat([quarantined, refused_here])
            examples, refused = barred.documents(found)
            if loss := _too_few(work, key, len(examples)):
                note_shrunken(work.store, [loss])
                keep_values(work.project.home, work.current, [(work.stage.name, key)], work.attempt)
                yield from work.leave(key, TargetShrunkError(key, loss.before, loss.now), *CHECKS)
                continue
            bad = _quarantine(work, key, barred, refused, quarantined)
            groups = near_groups(examples, work.project.settings.near_duplicates.threshold)
            split = split_target(
                examples,
                groups,
                section.train,
                section.held_out,
                work.project.seed,
                sum(bad.values()),
                read.files,
            )
            if section.label_column:
                require_labels(split)
            scope = f"target = {quoted(key)}"
            work.store.put("target_examples", split.with_columns(target=pl.lit(key)), scope)
            facts = dict(split.group_by("split").len().sort("split").iter_rows())
            facts |= {"quarantined": sum(bad.values()), ROWS_READ: read.rows}
            if repeats := barred.near_repeats(examples):
                facts[NEAR_REPEATS] = repeats
            forget_shrunken(work.store, [place_of_target(key)])
            learnt = [_stored(work, "target_examples", scope), *_answers(work, key, split)]
            unknown = never_learnt(split) if section.label_column else {}
            learnable = dg.AssetCheckResult(
                asset_key="target_examples",
                check_name="learnable",
                passed=not unknown,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"labels_never_in_train": len(unknown), "examples_of_them": sum(unknown.values())},
            )
            yield from work.record(
                Output(
                    partition=key,
                    rows=[*learnt, _stored(work, "quarantine", rows_of_target(key))],
                    row_count=len(split),
                    # Of these alone: nothing is trained again because a bad row was repaired.
                    data_version=content_digest(
                        {entry.table: entry.records[0] for entry in learnt if entry.records}, {}
                    ),
                    metadata=facts,
                    checks=[
                        readable("target_examples", bad),
                        learnable,
                    ],
                )
            )


def _too_few(work: Work, key: str, now: int) -> Shrunken | None:
    """Return the loss of a target that has too few of the examples it had; None where a person allowed it."""
    place, before = place_of_target(key), work.store.count("target_examples", f"target = {quoted(key)}")
    noted = work.snapshot.shrunken.get(place)
    allowed = noted is not None and noted.allowed and noted.input_key == work.key(key)
    made = work.current.get((work.stage.name, key))
    if allowed or made is None or not made.passed or not lost_too_many_documents(before - now, before):
        return None
    return Shrunken(shard=place, input_key=work.key(key), before=before, now=now, bad_rows={}, allowed=False)


def _quarantine(
    work: Work, key: str, barred: Refusal, refused: pl.DataFrame, quarantined: pl.DataFrame
) -> dict[str, int]:
    """Store what a target has in quarantine, counted by reason, and note where it holds what is withdrawn.

    It is stored before the split: of too few examples it says where the others are.
    """
    shown, held = barred.quarantine(quarantined)
    places = pl.concat([refused, held])
    note_places(work.store, "target_examples", [key], places.with_columns(partition=pl.lit(key)))
    work.refuse({key: version_of(places["doc_id"])})
    return quarantine_of_target(work.store, key, shown)


def _stored(work: Work, table: str, where: str) -> Rows:
    return Rows(table=table, where=where, records=stored_rows(work.store, table, where))


def _answers(work: Work, key: str, split: pl.DataFrame) -> list[Rows]:
    """Write the answers that a target's examples teach; plain texts have none."""
    table, scope = "target_answers", f"target = {quoted(key)}"
    if "response_at" not in split.columns:
        work.store.delete(table, scope)
        return []
    work.store.put(table, split.with_columns(target=pl.lit(key)), scope)
    return [_stored(work, table, scope)]


@asset("target_embeddings", ["lancedb", "torch"])
def target_embeddings(work: Work, encoder: EncoderResource) -> Iterator[Any]:
    """Embedding vectors of a target's examples, from the encoder that also encodes the pool."""
    table, section = target_table(work), work.project.settings.encoder
    vectors = read_row_vectors(work.store) if section.column is not None else None
    if vectors is None:
        with work.progress(f"loading encoder {section.name}"):
            model = encoder.open(work.project)
    for key in work.partitions:
        with work.apart(key):
            scope = f"target = {quoted(key)}"
            examples = work.store.read("target_examples", ["doc_id", "text"], scope).sort("doc_id")
            if vectors is not None:
                rows = rows_of_examples(named(work.project.settings.target, key), work.project.root)
                made = vectors_of_examples(key, examples["doc_id"], rows, vectors)
            else:
                with work.progress(f"target {key}", len(examples)) as progress:
                    made = encoded_examples(model, examples, progress.advance)
            put_example_vectors(work.store, table, key, made)
            aside = [
                {"doc_id": doc_id, "reason": str(why.reason), "detail": why.detail}
                for doc_id, why in made.refused.items()
            ]
            rows = pl.DataFrame(aside, schema=dict.fromkeys(("doc_id", "reason", "detail"), pl.String))
            show_rows(work.store, place_of(work.stage.name, key), rows)
            facts: dict[str, Any] = {}
            shown = rows_set_aside(work.stage.name, key, facts, {key: len(aside)})
            yield from work.record(
                Output(
                    partition=key,
                    rows=[Rows(table=table, where=scope)],  # the table is that of the encoder
                    aside=shown,
                    row_count=len(made.doc_ids),
                    metadata=facts,
                )
            )


@asset("contamination", ["polars"])
@per_partition
def contamination(work: Work, key: str) -> Iterator[Any]:
    """Documents of the pool that share long n-grams with a target's held-out examples.

    There are none of a target that holds nothing out.
    """
    section, scope = work.project.settings.decontamination, f"target = {quoted(key)}"
    if named(work.project.settings.target, key).held_out:
        changed = work.changed_only(key, "documents") if work.store.exists(RUNS) else None
        with work.progress(f"contamination by {key}") as progress:
            found = update_contamination(work.store, key, section, changed, progress.advance)
    else:
        found = Leaks(read=0, contaminated=0)
        for table in (TABLE, RUNS):
            work.store.put(table, schema_of(table).empty_table(), scope)
    records = stored_rows(work.store, TABLE, scope)
    yield from work.record(
        Output(
            partition=key,
            rows=[Rows(table=TABLE, where=scope, records=records), Rows(table=RUNS, where=scope)],
            row_count=found.contaminated,
            data_version=records[0],
            metadata={"documents_read": found.read},
        )
    )


@asset("target_potential", ["torch"], [CONVERGED, EXACT], engine=True)
@per_partition
def target_potential(work: Work, key: str) -> Iterator[Any]:
    """Dual potential of each target example: the solution of the optimal transport from pool to target."""
    require_different_vectors(work.project)
    with warnings.catch_warnings(record=True) as caught, work.progress(f"potential of {key}"):
        warnings.simplefilter("always")
        found = current_potential(
            work.store,
            current_table(work.project),
            target_vectors(work.store, target_table(work), key),
            section=work.project.settings.transport,
            seed=work.project.seed,
            before=kept_potential(work, key),
        )
    for warning in caught:
        work.context.log.warning(str(warning.message))
    folder, exact = work.fitted(key), found.exact
    save_potential(folder, found)
    converged = dg.AssetCheckResult(
        asset_key="target_potential",
        check_name="converged",
        passed=found.within_tolerance,
        metadata={"marginal_error": found.marginal_error, "tolerance": found.tolerance},
    )
    # Without a comparison, of a potential that earlier code wrote, there is nothing to warn of.
    agreeing = dg.AssetCheckResult(
        asset_key="target_potential",
        check_name="agrees_with_exact_transport",
        passed=exact is None or exact.rank_agreement >= LEAST_AGREEMENT,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={} if exact is None else asdict(exact) | {"difference_of_values": exact.difference},
    )
    yield from work.record(
        Output(
            partition=key,
            files=[folder],
            row_count=len(found.potential.g),
            metadata=potential_facts(found),
            checks=[converged, agreeing],
            **kept_version(work, key, found),
        )
    )


def kept_version(work: Work, key: str, found: CurrentPotential) -> dict[str, Any]:
    """An accepted potential keeps its version; that of a solve from nothing on this very pool is settled."""
    if found.done != "accept":
        return {"settled": found.done is None}
    version = work.current[("target_potential", key)].data_version
    return {"settled": version == work.key(key), "data_version": version}


def kept_potential(work: Work, key: str) -> Path | None:
    """Folder of the potential to bring up to date; None where it has to be solved from nothing."""
    before = work.current.get(("target_potential", key))
    if work.refits or before is None or not work.differs_only_in(key, {"embeddings"}):
        return None
    return work.upstream("target_potential", key)


@asset("transport_scores", ["lancedb", "torch"], engine=True)
@per_partition
def transport_scores(work: Work, key: str) -> Iterator[Any]:
    """GOT-D: gradient of the transport distance from pool to target in the mass of each document."""
    scoring = PoolScoring(
        potential=load_potential(work.upstream("target_potential", key)),
        target_md=target_vectors(work.store, target_table(work), key),
        target=key,
        fingerprint=work.current[("target_potential", key)].data_version[:32],
    )
    count = work.store.count(current_table(work.project))
    with work.progress(f"transport to {key}", count) as progress:
        scored = score_pool(work.store, scoring, current_table(work.project), progress.advance)
    smallest, largest = score_range(work.store, key)
    facts = {"scored": scored, "smallest_gradient": smallest, "largest_gradient": largest}
    rows = [Rows(table=f"transport_{key}")]
    yield from work.record(Output(partition=key, rows=rows, row_count=count, metadata=facts))


@asset("pool_potential", ["scipy"])
@per_partition
def pool_potential(work: Work, key: str) -> Iterator[Any]:
    """The pool's own potential on a sample of the pool, in the geometry of the target's potential."""
    entry = ("pool_potential", key)
    usable = not work.refits and entry in work.current
    with (
        warnings.catch_warnings(record=True) as caught,
        work.progress(f"own potential of the pool for {key}"),
    ):
        warnings.simplefilter("always")
        found = current_pool_potential(
            work.store,
            current_table(work.project),
            load_potential(work.upstream("target_potential", key)),
            seed=work.project.seed,
            before=work.upstream(*entry)
            if usable and work.differs_only_in(key, {"embeddings", "target_potential"})
            else None,
        )
    for warning in caught:
        work.context.log.warning(str(warning.message))
    folder = work.fitted(key)
    found.own.save(folder)
    version: dict[str, Any] = {"settled": not found.kept}
    if found.kept:  # scores of documents that were here stay
        before = work.current[entry].data_version
        version = {"settled": before == work.key(key), "data_version": before}
    yield from work.record(
        Output(partition=key, files=[folder], row_count=len(found.own.ids), metadata=found.facts, **version)
    )


@asset("pool_potential_scores", ["lancedb", "torch"], engine=True)
@per_partition
def pool_potential_scores(work: Work, key: str) -> Iterator[Any]:
    """The pool's own potential at each document: small where the pool is crowded."""
    scoring = OwnScoring(
        own=PoolPotential.load(work.upstream("pool_potential", key)),
        target=key,
        fingerprint=work.current[("pool_potential", key)].data_version[:32],
    )
    count = work.store.count(current_table(work.project))
    with work.progress(f"own potential of the pool for {key}", count) as progress:
        scored = score_pool(work.store, scoring, current_table(work.project), progress.advance)
    rows = [Rows(table=scoring.table)]
    yield from work.record(Output(partition=key, rows=rows, row_count=count, metadata={"scored": scored}))


@asset("target_gaps", ["lancedb", "torch"])
def target_gaps(work: Work) -> Iterator[Any]:
    """For each target example, whether too few similar documents may be selected (a gap in the data)."""
    schema, found, facts = schema_of("target_gaps"), [], {}
    excluded = exclusions(work.store, work.project.settings.filters)["doc_id"]
    for key in every("targets")(work.snapshot, ""):
        ids, gaps = _gaps_of(work, key, excluded)
        supply = pl.Series(gaps.supply_m).fill_nan(None).to_arrow()
        found.append(pa.table([[key] * len(ids), ids, supply, gaps.is_gap_m], schema=schema))
        facts[f"gaps_of_{key}"] = f"{gaps.is_gap_m.sum():,} of {counted(len(ids), 'example')}"
    rows = pa.concat_tables(found)
    work.store.overwrite("target_gaps", rows)
    yield from work.record(Output(row_count=rows.num_rows, metadata=facts))


def _gaps_of(work: Work, key: str, excluded: pl.Series) -> tuple[list[str], Gaps]:
    """The ids of a target's examples, and their gaps in the geometry of its potential.

    Near duplicates count once, and what no selection may choose counts for nothing.
    """
    potential = load_potential(work.upstream("target_potential", key))
    ids, example_md = target_rows(work.store, target_table(work), key)
    pool = VectorBlocks(work.store, current_table(work.project), dtype=np.float16, left_out=excluded)
    if not pool.count():
        return ids, Gaps(supply_m=np.full(len(ids), 0.0 if len(ids) >= FEWEST else np.nan))
    with work.progress(f"gaps of {key}", pool.count()) as progress:
        gaps = find_gaps(
            example_md,
            pool,
            center=potential.center,
            normalize=potential.normalize,
            seed=work.project.seed,
            advance=progress.advance,
        )
    return ids, gaps
