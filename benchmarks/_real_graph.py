"""A project of Tamis over the pool of real text: every sampler's choice for every task, made by the graph."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from benchmarks._project import made_once, materialize
from benchmarks._real_pool import PoolShares, write_pool
from benchmarks._real_tasks import Task, task_rows
from tamis.selection import SAMPLERS, select
from tamis.store.home import Home
from tamis.store.tables import Store, quoted
from tamis.training.examples import Labelled

DRAWN = ("random", "density")
"""Samplers that draw and whose scores are stored: each seed gets a draw of its own."""

FILTERS = ("gopher", "word_order")
"""Rules of form that every sampler keeps to, so that none is ahead by what a rule finds."""

SETTINGS = """
[project]
name = "real-tasks"
seed = {seed}

[[corpus]]
name = "pool"
kind = "files"
path = "pool"
text_column = "text"

[encoder]
name = "{encoder}"

[filters]
heuristics = {filters}
heuristics_off = ["gopher_word_count"]

[judge]
sample = {judged}

[[base_model]]
name = "base"
{base}

[pretraining]
tokens = {tokens}
compile = {compiled}
"""
READER = """
[[base_model]]
name = "reader"
preset = "llama-0.8m"
"""
PERPLEXITY = """
[perplexity]
model = "{reader}"
"""
SCORES_OF_READER = frozenset(("bits_per_byte", "quality", "judge_margin_predicted"))
"""Scores that a pass of the reader over the pool serves; the grader reads perplexity too."""
TARGET = """
[[target]]
name = "{name}"
kind = "files"
path = "target/{name}.parquet"
text_column = "text"
label_column = "label"
train = {train}
held_out = {held_out}
"""
SELECTION = """
[[selection]]
name = "{name}"
sampler = "{sampler}"
budget = "{budget}"
"""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared: tasks, samplers, one budget, one pool."""

    folder: Path
    tasks: Sequence[Task]
    samplers: Sequence[str]
    budget: str
    documents: int
    shares: PoolShares
    base: str = 'preset = "llama-2.5m"'
    encoder: str = "static"
    filters: Sequence[str] = FILTERS
    held_out: int = 1_000
    judged: int = 200
    pretraining_tokens: int = 2_000_000
    compiled: bool = False
    seed: int = 0

    @property
    def store(self) -> Store:
        """Tables of the study's home."""
        return Home(self.folder / ".tamis").store

    @property
    def base_model(self) -> str:
        """The folder of the base model that the graph pre-trained last."""
        found = (self.folder / ".tamis" / "checkpoints" / "base_models" / "base").iterdir()
        return str(max(found, key=lambda folder: folder.stat().st_mtime))

    @property
    def truth(self) -> pl.DataFrame:
        """What every document of the pool is, a row a doc_id."""
        rows = pl.read_parquet(self.folder / "truth.parquet")
        return rows.sort("planted").unique("doc_id", keep="first", maintain_order=True)

    def identity(self) -> dict[str, object]:
        """What a choice or an example set depends on, but which tasks and samplers there are."""
        return {
            name: value for name, value in asdict(self).items() if name not in ("folder", "samplers", "tasks")
        }

    def selection(self, task: Task, sampler: str) -> str:
        """Name of a selection; one without a target serves every task."""
        return f"{sampler}-{task.name}" if SAMPLERS[sampler].needs_target else sampler

    def materialize(self) -> None:
        """Write the project and bring it to the settled state; exits when that fails."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for task in self.tasks:
            self._write_target(task)
        write_pool(
            self.folder / "pool", self.folder / "truth.parquet", self.documents, self.shares, self.seed
        )
        (self.folder / "tamis.toml").write_text(self._settings())
        materialize(self.folder)

    def is_written(self) -> bool:
        """Whether the folder is that of `materialize` for the same study; not whether that ended."""
        written = self.folder / "tamis.toml"
        return written.is_file() and written.read_text() == self._settings()

    def _settings(self) -> str:
        text = SETTINGS.format(
            seed=self.seed,
            encoder=self.encoder,
            filters=json.dumps(list(self.filters)),
            judged=self.judged,
            base=self.base,
            tokens=self.pretraining_tokens,
            compiled=json.dumps(self.compiled),
        )
        if any(SCORES_OF_READER.intersection(SAMPLERS[name].score_columns) for name in self.samplers):
            reader = "base" if self.base.startswith("preset") else "reader"
            text += READER if reader == "reader" else ""
            text += PERPLEXITY.format(reader=reader)
        for task in self.tasks:
            text += TARGET.format(name=task.name, train=task.labelled, held_out=self.held_out)
        written: set[str] = set()
        for sampler in self.samplers:
            for task in self.tasks:
                name = self.selection(task, sampler)
                if name not in written:
                    text += SELECTION.format(name=name, sampler=sampler, budget=self.budget)
                    text += f'target = "{task.name}"\n' if SAMPLERS[sampler].needs_target else ""
                    written.add(name)
        return text

    def _write_target(self, task: Task) -> None:
        # A third more than is asked for: near-duplicates go to one side of the split.
        wanted = (task.labelled + self.held_out) * 4 // 3
        made_once(
            self.folder / "target" / f"{task.name}.parquet",
            {"file": task.file, "source": task.source, "rows": wanted},
            lambda path: task_rows(task).head(wanted).write_parquet(path),
        )

    def chosen(self, task: Task, sampler: str, seed: int) -> list[str]:
        """doc_ids of a selection, best first; of samplers that draw, the draw of this seed."""
        name = self.selection(task, sampler)
        where = f"selection = {quoted(name)} AND rank IS NOT NULL"
        decided = self.store.read("decisions", ["doc_id", "verdict", "rank", "density"], where)
        if sampler in DRAWN:
            sizes = self.store.read("documents", ["doc_id", "n_bytes"])
            pool = decided.join(sizes, on="doc_id").with_columns(n_tokens=(pl.col("n_bytes") / 4).ceil())
            decided = select(pool, sampler, self.budget, seed=self.seed + 1_000 + seed)
        return decided.filter(pl.col("verdict") == "selected").sort("rank")["doc_id"].to_list()

    def examples(self, task: Task, split: str) -> list[Labelled]:
        """Labelled examples of a part of the target, in the order of their ids."""
        where = f"target = {quoted(task.name)}"
        rows = self.store.read("target_examples", ["doc_id", "text", "split"], where)
        answers = self.store.read("target_answers", ["doc_id", "label"], where)
        rows = rows.filter(pl.col("split") == split).join(answers, on="doc_id").sort("doc_id")
        return [Labelled(text=text, label=label) for text, label in rows.select("text", "label").iter_rows()]


def report(benchmark: str, kind: str, **figures: object) -> None:
    """One JSON line; a number that does not exist is null."""
    plain = {
        key: (round(value, 5) if value == value else None) if isinstance(value, float) else value
        for key, value in figures.items()
    }
    print(json.dumps({"benchmark": benchmark, "kind": kind, **plain}), flush=True)
