"""Exclusions of texts in memory: the steps of `tamis select` make them, on a temporary home."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tamis.base.errors import UnknownNameError
from tamis.base.precision import FLOAT32, computing_in
from tamis.corpus.documents import Reading, batches_of
from tamis.corpus.intake import store_shards
from tamis.corpus.shards import Shard, shard_key
from tamis.corpus.stage import DOCUMENTS_STAGE, EXAMPLES_STAGE, NEAR_DUPLICATES, TARGET_EXAMPLES
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.readers.rows import Row
from tamis.selection.benchmarks import Benchmark
from tamis.selection.keep_out import update_kept_out
from tamis.selection.pool import exclusions
from tamis.selection.stage import eligible_edges
from tamis.settings.config import PROJECT_FILE, parse_settings
from tamis.settings.sections import CorpusSection
from tamis.store.home import Home, placed, writing
from tamis.verbs.choice.from_files import AWAY, CHOSEN, CONTRAST, GOAL, RULES
from tamis.verbs.choice.temporary import temporary_folder
from tamis.verbs.steps import BATCH_ROWS, Steps

TEXTS = "texts"
"""Name of the corpus, and of its only file."""


@dataclass(frozen=True, kw_only=True)
class Excluding:
    """Settings that keep texts out, and examples (doc_id, normal), which are kept out, too.

    rules: of `RULES`. near_duplicates: whether repeats are left out. held_out: examples of an evaluation;
    goal and away: those to choose by and to keep away from. benchmarks: texts of benchmarks, by name.
    """

    rules: Sequence[str]
    near_duplicates: bool
    held_out: pl.DataFrame
    goal: pl.DataFrame
    away: pl.DataFrame
    benchmarks: Mapping[str, pl.DataFrame]
    seed: int

    def __post_init__(self) -> None:
        """Raise `UnknownNameError` for a rule that does not exist."""
        for rule in self.rules:
            if rule not in RULES:
                raise UnknownNameError("rule", rule, RULES)

    @property
    def reads_texts(self) -> bool:
        """Return whether anything but equal texts excludes a text."""
        return bool(self.rules or self.near_duplicates or len(self.held_out) or self.benchmarks)


def excluded_texts(given: pl.DataFrame, excluding: Excluding) -> pl.DataFrame:
    """Return doc_id, reason, duplicate_of and detail of the texts (normal, a row each) that are kept out."""
    with temporary_folder() as folder:
        settings = parse_settings(_settings(excluding, folder), "tamis.select")
        project = Project(file=folder / PROJECT_FILE, settings=settings, home=placed(Home(folder / "home")))
        shard = Shard(corpus=TEXTS, name=TEXTS, key=shard_key(TEXTS, TEXTS), kind="file", path=folder / TEXTS)
        snapshot = ProjectSnapshot(
            project=project, shards={shard.key: shard}, fingerprints={}, target_fingerprints={}
        )
        steps = Steps(project=project, snapshot=snapshot, read={})
        with writing(project.home, "tamis.select"), computing_in(FLOAT32):
            _store(steps, given, shard, settings.corpus[0])
            _store_examples(steps, excluding)
            left_out = {DOCUMENTS_STAGE.name, EXAMPLES_STAGE.name}
            left_out |= set() if excluding.near_duplicates else {NEAR_DUPLICATES.name}
            excluded_by = {one.asset for one in eligible_edges()} - left_out
            steps.run(CHOSEN, done=stages().keys() - excluded_by)
            if excluding.benchmarks:
                benchmarks = [_benchmark(*one) for one in excluding.benchmarks.items()]
                update_kept_out(steps.store, benchmarks, settings.decontamination.maximum_share)
            return exclusions(steps.store, settings.filters)


def _benchmark(name: str, rows: pl.DataFrame) -> Benchmark:
    texts = rows.select(pl.int_range(pl.len()).alias("row"), column=pl.lit(TEXTS), text="normal")
    return Benchmark(name=name, texts=texts, rows=len(rows), without_text=0, unreadable=0)


def _settings(excluding: Excluding, folder: Path) -> dict[str, Any]:
    """Return the values of a tamis.toml whose selection has these exclusions."""
    sizes = {GOAL: (len(excluding.goal), len(excluding.held_out)), AWAY: (len(excluding.away), 0)}
    targets = [
        {"name": name, "kind": "files", "path": str(folder), "train": max(train, 1), "held_out": held_out}
        for name, (train, held_out) in sizes.items()
        if train + held_out
    ]
    by_target = {"target": GOAL, "away_from": AWAY, "sampler": CONTRAST}
    both = len(excluding.goal) and len(excluding.away)
    return {
        "project": {"name": "select", "seed": excluding.seed, "precision": FLOAT32},
        "corpus": [{"name": TEXTS, "kind": "files", "path": str(folder)}],
        "target": targets,
        "filters": {"heuristics": list(excluding.rules)},
        "selection": [{"name": CHOSEN, "budget": 1} | (by_target if both else {"sampler": "random"})],
    }


def _store(steps: Steps, given: pl.DataFrame, shard: Shard, section: CorpusSection) -> None:
    rows = (Row(row=row, values={"text": text}) for row, text in enumerate(given["normal"]))
    batches = batches_of(rows, shard, section, Reading(batch_rows=BATCH_ROWS))
    for _intakes in store_shards(steps.store, [(shard.key, batches)]):
        pass


def _store_examples(steps: Steps, excluding: Excluding) -> None:
    """Store the examples; one that is held out, too, is no example to choose by."""
    learnt = excluding.goal.join(excluding.held_out, on="doc_id", how="anti")
    parts = ((GOAL, "train", learnt), (GOAL, "held_out", excluding.held_out), (AWAY, "train", excluding.away))
    for target in (GOAL, AWAY):
        rows = [
            part.select(
                "doc_id", text="normal", target=pl.lit(target), split=pl.lit(split), source=pl.lit(TEXTS)
            )
            for name, split, part in parts
            if name == target
        ]
        if sum(map(len, rows)):
            steps.store.put(TARGET_EXAMPLES.name, pl.concat(rows), f"target = '{target}'")
