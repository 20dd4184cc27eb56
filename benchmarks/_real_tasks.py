"""Labelled tasks on real text: which rows, which label, and which domains of the pool are the right ones.

Rows are in the order of a hash of their text, so that every seed sees the same held-out set.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from benchmarks._texts import data_folder, read_texts


@dataclass(frozen=True, kw_only=True)
class Task:
    """Rows of one source of a file under text/; `metric`: accuracy or macro_f1; `domains`: right sources."""

    name: str
    file: str
    source: str
    metric: str = "accuracy"
    labelled: int = 500
    domains: tuple[str, ...] = ()


_DEFAULT = (
    Task(name="ag-news", file="t_ag_news_train", source="ag_news", domains=("abc_news_2006",)),
    Task(name="imdb", file="t_imdb_train", source="imdb", domains=("movie_reviews_2004",)),
    Task(
        name="banking77",
        file="t_intent",
        source="banking77",
        labelled=1_000,
        domains=("schema_guided_dialogue",),
    ),
    Task(name="scicite", file="t_science_a", source="sci_cite", metric="macro_f1", domains=("arxiv",)),
)
TASKS = {task.name: task for task in _DEFAULT}


ALL_TASKS = "all tasks"
"""In place of a task's name: the mean over all."""


def task_named(name: str) -> Task:
    """A default task, or FILE:SOURCE of any file of the same columns; exits when there is none."""
    if name in TASKS:
        return TASKS[name]
    file, _, source = name.partition(":")
    if not source or not (data_folder() / f"{file}.parquet").is_file():
        sys.exit(f"no task {name!r}; known are {', '.join(TASKS)}, or FILE:SOURCE of a file in text/")
    return Task(name=source.replace("_", "-"), file=file, source=source, metric="macro_f1")


def tasks_named(names: Sequence[str]) -> list[Task]:
    """The tasks of these names; exits where two would be one."""
    tasks = [task_named(name) for name in names]
    for place, task in enumerate(tasks):
        if task.name in [other.name for other in tasks[:place]]:
            sys.exit(f"two tasks are called {task.name}: name each once")
    return tasks


def task_rows(task: Task) -> pl.DataFrame:
    """text and label of a task, each text once, in the order of a hash of the text; exits without any."""
    rows = read_texts(task.file, "label", "source")
    rows = rows.filter((pl.col("source") == task.source) & pl.col("label").is_not_null())
    rows = rows.unique("text", keep="none").select("text", "label")
    if not len(rows):
        sys.exit(f"{task.file} has no labelled rows of source {task.source!r}")
    return rows.with_columns(order=pl.Series(hashes(rows["text"].to_list()))).sort("order").drop("order")


def hashes(texts: Sequence[str]) -> list[str]:
    """A hexadecimal digest of each text, for orders that depend on nothing else."""
    return [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest() for text in texts]
