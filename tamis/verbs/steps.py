"""Steps of the graph up to a selection, without Dagster: each calls the method that its asset calls.

They run once on a home that nobody else has, so nothing is recorded: no manifest, no event, no current value.
"""

import contextlib
import json
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import polars as pl

from tamis.base.files import user_cache, write_atomically
from tamis.base.memory import return_freed_memory
from tamis.base.progress import Progress, say
from tamis.columns.rows import Files
from tamis.corpus.documents import Reading, ShardBatch, read_as, read_files_of_group
from tamis.corpus.intake import groups_of_shards, store_shards
from tamis.corpus.repeats import update_near_duplicates
from tamis.corpus.small_files import GroupIntake, group_intake
from tamis.corpus.stage import DOCUMENTS, TARGET_ANSWERS, TARGET_EXAMPLES
from tamis.corpus.targets import TargetRows, near_groups, quarantine_of_target, rows_of_examples, split_target
from tamis.coverage import DensitySketch
from tamis.coverage.storing import build_sketch, score_density
from tamis.embedding import load_encoder
from tamis.embedding.encoder import Encoder
from tamis.embedding.row_vectors import take_vectors, update_row_vectors, vectors_of_examples
from tamis.embedding.stage import TARGET_EMBEDDINGS
from tamis.embedding.storing import (
    RowVectors,
    current_table,
    embed_missing,
    encoded_examples,
    encoder_slug,
    put_example_vectors,
    read_row_vectors,
    require_different_vectors,
)
from tamis.filters import FORM_CODE_VERSION
from tamis.filters.flags import shipped_form
from tamis.filters.form.model import default_model
from tamis.filters.form.storing import broken_goal_lines, read_form, score_form, update_form_model
from tamis.filters.stage import FORM_MODEL, kept_away, plan_of
from tamis.filters.storing import flag_documents
from tamis.graph.plan import upstream
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.retention.held_back import note_files
from tamis.samplers.pool_potential import OwnScoring, current_pool_potential
from tamis.scores.classifier import Classifier
from tamis.scores.storing import update_classifier_scores, update_column_scores
from tamis.selection.benchmarks import read_benchmark
from tamis.selection.choosing import Chosen, choose_documents
from tamis.selection.computing import ScoringOptions, method_scores
from tamis.selection.keep_out import update_kept_out
from tamis.selection.leaks import update_contamination
from tamis.selection.stage import SELECTION_STAGE, scored_by
from tamis.settings.config import SelectionSection
from tamis.settings.references import named
from tamis.settings.samplers import SAMPLERS, find_sampler
from tamis.settings.tokenizer import counting_tokenizer
from tamis.store.digests import canonical_digest
from tamis.store.tables import ALL, Store, quoted
from tamis.store.vectors import VectorBlocks
from tamis.tokens.counting import TokenCounter, count_missing
from tamis.tokens.splitting import cutter_of
from tamis.topics.storing import update_topics
from tamis.transport import FewTargetPoints, TargetPotential
from tamis.transport.scoring import PoolScoring, score_pool
from tamis.transport.solve import solve_potential
from tamis.transport.storing import target_vectors

BATCH_ROWS = 10_000
ONLY = "only"
"""Fingerprint of rows that one step writes and nothing computes again."""


@dataclass(kw_only=True)
class Steps:
    """The steps up to one selection: the method of a stage's name makes it, of one partition or all shards.

    `read`: rows of its targets; `unread`: files that raised an error.
    """

    project: Project
    snapshot: ProjectSnapshot
    read: Mapping[str, TargetRows]
    unread: dict[str, Exception] = field(default_factory=dict)
    _potentials: dict[str, TargetPotential] = field(default_factory=dict)
    _sketch: DensitySketch | None = None

    @property
    def store(self) -> Store:
        """All tables."""
        return self.project.home.store

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, loaded once, from the cache that a user's projects share."""
        name = self.project.settings.encoder.name
        with Progress(f"loading encoder {name}"):
            return load_encoder(self.project.model(name), cache=user_cache())

    def run(self, selection: str, done: Collection[str] = ()) -> None:
        """Run the steps that the selection reads and that are not done, in the order of the graph."""
        needed = upstream(self.snapshot, (SELECTION_STAGE.name, selection))
        for name, stage in stages().items():
            own = sorted(partition for one, partition in needed if one == name and name not in done)
            for partition in own[:1] if stage.partitions == "shards" else own:  # a step makes all shards
                getattr(self, name)(partition)
                return_freed_memory()

    def choose(self, section: SelectionSection) -> Chosen:
        """Return the decisions of a selection whose steps have run."""
        if find_sampler(section.sampler).reads_vectors:
            require_different_vectors(self.project)
        settings = self.project.settings
        scored = partial(self._method_scores, section)
        return choose_documents(
            self.store, section, settings.filters, self.project.seed, scored, scores=settings.score
        )

    def _method_scores(
        self, section: SelectionSection, pool: pl.DataFrame, excluded: pl.DataFrame
    ) -> pl.DataFrame:
        options = ScoringOptions(
            transport=self.project.settings.transport,
            seed=self.project.seed,
            pool_table=current_table(self.project),
            target_table=self._target_table,
        )
        eligible = pool.join(excluded, on="doc_id", how="anti")
        with Progress(section.sampler) as progress:
            return method_scores(self.store, section, eligible, options, progress.advance)

    def documents(self, _partition: str) -> None:
        """Take in the documents of all files; of a file that raises an error, note it."""
        note_files(self.store, list(self.snapshot.shards.values()))
        with Progress("reading") as progress:
            # Rows of any length are kept, so that none has to be read again.
            reading = Reading(batch_rows=BATCH_ROWS, kept_bytes=float("inf"), advance=progress.advance)
            shards = ((key, self._batches(key, reading)) for key in self.snapshot.shards)
            for intakes in store_shards(self.store, shards, leave=(Exception,), group_of=self._group):
                self.unread.update({one.shard: one.error for one in intakes if one.error})

    def _batches(self, key: str, reading: Reading) -> Iterator[ShardBatch]:
        shard = self.snapshot.shards[key]
        section = named(self.project.settings.corpus, shard.corpus)
        cutter = cutter_of(self.project, section, user_cache() / "tokenizers")
        reading = replace(reading, cutter=cutter)
        if shard.kind == "group":
            return read_files_of_group(shard.members, section, reading)
        return read_as(shard, section, reading)

    def _group(self, key: str) -> GroupIntake | None:
        shard, files = self.snapshot.shards[key], self.snapshot.files
        if shard.kind != "group":
            return None
        return group_intake(
            self.store, shard, self.snapshot.versions, files.__contains__, "", lambda group: {}
        )

    def token_counts(self, _partition: str) -> None:
        """Count the tokens of all documents."""
        found = counting_tokenizer(self.project.settings)
        assert found is not None
        assert found.path is not None
        counter = TokenCounter(self.project.model(found.path), user_cache() / "tokenizers")
        with Progress("counting tokens", self._count) as progress:
            for doc_ids in self._documents():
                count_missing(
                    self.store, counter, self.snapshot.tokenizer_identity, doc_ids, progress.advance
                )

    def near_duplicates(self, _partition: str) -> None:
        """Find documents that repeat another almost word for word."""
        threshold = self.project.settings.near_duplicates.threshold
        with Progress("near-duplicates") as progress:
            update_near_duplicates(self.store, threshold, afresh=True, advance=progress.advance)

    def document_flags(self, _partition: str) -> None:
        """Measure what the rules read of each document."""
        plan = plan_of(self.project.settings.filters)
        with Progress("rules", self._count) as progress:
            for doc_ids in self._documents():
                flag_documents(self.store, plan, doc_ids, progress.advance)

    def form_model(self, _partition: str) -> None:
        """Choose the model of form; one that an earlier call fitted on the same texts is read again."""
        away = kept_away(self.project.settings)
        cached = user_cache() / "form" / f"{self._form_key(away)}.json"
        with contextlib.suppress(OSError, ValueError, KeyError):
            self.store.put(FORM_MODEL.name, pl.DataFrame([json.loads(cached.read_bytes())]), ALL)
        with Progress("form") as progress:
            known, reason = update_form_model(self.store, self.project.seed, away, progress.advance)
        if reason and known.model != default_model():
            with contextlib.suppress(OSError):  # only a cache
                row = self.store.read(FORM_MODEL.name).row(0, named=True)
                write_atomically(cached, json.dumps(row).encode())
        if reason and known.own_was_refused:
            say(f"form is judged by {known.note}")
        for line in broken_goal_lines(known):
            say(line)

    def _form_key(self, away: Sequence[str]) -> str:
        """Return a digest of all that the model of form is fitted on: ids stand for texts."""
        examples = self.store.read(TARGET_EXAMPLES.name, ["target", "doc_id"], "split = 'train'")
        parts = [
            [FORM_CODE_VERSION, shipped_form(), str(self.project.seed), *away],
            self.store.read(DOCUMENTS.name, ["doc_id"])["doc_id"].sort().to_list(),
            *(list(row) for row in examples.sort("target", "doc_id").iter_rows()),
        ]
        return canonical_digest(json.dumps(parts))

    def form_scores(self, _partition: str) -> None:
        """Score each document by its form."""
        known = read_form(self.store)
        assert known is not None
        with Progress("form", self._count) as progress:
            for doc_ids in self._documents():
                score_form(self.store, known, doc_ids, progress.advance)

    def column_scores(self, _partition: str) -> None:
        """Read the scores of the rows: all of their columns are kept."""
        with Progress("scores", self._count) as progress:
            scores = self.project.settings.column_scores
            update_column_scores(self.store, scores, self._files, progress.advance)

    def classifier_scores(self, _partition: str) -> None:
        """Score each document by the models of scores."""
        scores = self.project.settings.classifier_scores
        sources = {score.name: self.project.model(score.model) for score in scores}
        loaded = {score.name: (Classifier(sources[score.name], score.label), ONLY) for score in scores}
        with Progress("scores of classifiers", len(scores) * self._count) as progress:
            for doc_ids in self._documents():
                update_classifier_scores(self.store, scores, loaded, doc_ids, progress.advance)

    def row_vectors(self, _partition: str) -> None:
        """Look at the vectors in the rows: all of their columns are kept."""
        column = str(self.project.settings.encoder.column)
        with Progress("vectors in rows", unit="rows") as progress:
            update_row_vectors(self.store, column, self._files, "", advance=progress.advance)

    def embeddings(self, _partition: str) -> None:
        """Encode each document, or read its vector."""
        vectors = self._row_vectors
        with Progress("embeddings", self._count) as progress:
            for doc_ids in self._documents():
                if vectors is not None:
                    take_vectors(self.store, vectors, doc_ids, self._files, progress.advance)
                else:
                    table = current_table(self.project)
                    embed_missing(self.store, self.encoder, doc_ids, progress.advance, table=table)

    @property
    def _row_vectors(self) -> RowVectors | None:
        """The vectors in a column of the rows; None of an encoder."""
        return read_row_vectors(self.store) if self.project.settings.encoder.column is not None else None

    def target_examples(self, target: str) -> None:
        """Split the examples of a target."""
        section, read = named(self.project.settings.target, target), self.read[target]
        bad = quarantine_of_target(self.store, target, read.quarantine)
        groups = near_groups(read.examples, self.project.settings.near_duplicates.threshold)
        split = split_target(
            read.examples, groups, section.train, section.held_out, self.project.seed, sum(bad.values())
        ).with_columns(target=pl.lit(target))
        scope = f"target = {quoted(target)}"
        self.store.put(TARGET_EXAMPLES.name, split, scope)
        if "response_at" in split.columns:
            self.store.put(TARGET_ANSWERS.name, split, scope)

    def target_embeddings(self, target: str) -> None:
        """Encode the examples of a target, or read their vectors."""
        scope, vectors = f"target = {quoted(target)}", self._row_vectors
        examples = self.store.read(TARGET_EXAMPLES.name, ["doc_id", "text"], scope).sort("doc_id")
        if vectors is not None:
            rows = rows_of_examples(named(self.project.settings.target, target), self.project.root)
            found = vectors_of_examples(target, examples["doc_id"], rows, vectors)
        else:
            found = encoded_examples(self.encoder, examples)
        put_example_vectors(self.store, self._target_table, target, found)

    def contamination(self, target: str) -> None:
        """Find documents that give held-out examples away; without held-out examples there are none."""
        if named(self.project.settings.target, target).held_out:
            with Progress("contamination", self._count) as progress:
                update_contamination(
                    self.store, target, self.project.settings.decontamination, advance=progress.advance
                )

    def kept_out(self, _partition: str) -> None:
        """Find documents that give rows of benchmarks away."""
        settings = self.project.settings
        read = [read_benchmark(section, self.project.root) for section in settings.keep_out]
        with Progress("benchmarks", self._count) as progress:
            update_kept_out(
                self.store, read, settings.decontamination.maximum_share, advance=progress.advance
            )

    def target_potential(self, target: str) -> None:
        """Solve the optimal transport from the pool to a target."""
        section = self.project.settings.transport
        require_different_vectors(self.project)
        with warnings.catch_warnings(), Progress("optimal transport"):
            warnings.simplefilter("ignore", FewTargetPoints)
            self._potentials[target] = solve_potential(
                target_vectors(self.store, self._target_table, target),
                VectorBlocks(self.store, current_table(self.project), dtype=np.float16),
                seed=self.project.seed,
                **section.model_dump(include={"relative_epsilon", "tolerance", "max_passes", "memory"}),
            )

    def transport_scores(self, target: str) -> None:
        """Score each document by the potential of a target."""
        scoring = PoolScoring(
            potential=self._potentials[target],
            target_md=target_vectors(self.store, self._target_table, target),
            target=target,
            fingerprint=ONLY,
        )
        with Progress("scores", self._count) as progress:
            score_pool(self.store, scoring, current_table(self.project), progress.advance)

    def pool_potential_scores(self, target: str) -> None:
        """Solve the pool's own potential, and score each document by it."""
        table, potential = current_table(self.project), self._potentials[target]
        with Progress("own potential of the pool", self._count) as progress:
            found = current_pool_potential(self.store, table, potential, seed=self.project.seed)
            scoring = OwnScoring(own=found.own, target=target, fingerprint=ONLY)
            score_pool(self.store, scoring, table, progress.advance)

    def density_sketch(self, _partition: str) -> None:
        """Sketch the density of the pool."""
        settings, table = self.project.settings, current_table(self.project)
        with Progress("density", self._count) as progress:
            self._sketch = build_sketch(
                self.store, table, settings.density, self.project.seed, progress.advance, self._buckets
            )

    def density_scores(self, _partition: str) -> None:
        """Estimate the density at each document."""
        assert self._sketch is not None
        with Progress("density", self._count) as progress:
            score_density(
                self.store, current_table(self.project), self._sketch, progress.advance, self._buckets
            )

    def topics(self, _partition: str) -> None:
        """Find the topics of the pool."""
        count = self.project.settings.topics.count
        with Progress("topics", self._count) as progress:
            update_topics(self.store, current_table(self.project), count, self.project.seed, progress.advance)

    def raw_shards(self, _partition: str) -> None:
        """Do nothing: the snapshot has the hashes."""

    def pool_potential(self, _target: str) -> None:
        """Do nothing: `pool_potential_scores` solves the potential that it scores by."""

    @property
    def _files(self) -> Files:
        corpora = {section.name: section for section in self.project.settings.corpus}
        return Files(shards=self.snapshot.shards, corpora=corpora)

    @property
    def _buckets(self) -> Path:
        return self.project.home.cache / "density_buckets"

    @property
    def _target_table(self) -> str:
        return f"{TARGET_EMBEDDINGS.name}_{encoder_slug(self.project.settings.encoder.name)}"

    @property
    def _count(self) -> int:
        return self.store.count(DOCUMENTS.name)

    def _documents(self) -> Iterator[Sequence[str]]:
        """Yield the ids of the documents of each file."""
        for group in groups_of_shards(self.store, list(self.snapshot.shards)):
            yield from group.values()


def made() -> frozenset[str]:
    """Return the stages that `Steps` makes: those of samplers that need no model of the project."""
    return frozenset(name for name in stages() if callable(getattr(Steps, name, None)))


def samplers_of_files() -> list[str]:
    """Return the samplers that need nothing but files."""
    return [name for name, one in SAMPLERS.items() if scored_by(one.score_columns) <= made()]
