"""`tamis.select` and `tamis.take` take tables of any kind, and exclude as the command `tamis select` does."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from projects import CHECKOUT
from test_choose_files import GOAL, POOL, texts

import tamis
from tamis.base.errors import UnknownNameError
from tamis.cli import main
from tamis.readers.text import document_id
from tamis.transport import FewTargetPoints
from tamis.verbs.choice.data_types import REPEATED, UnusableTextsError
from tamis.verbs.select import COLUMNS, EXCLUSION_COLUMNS

ROWS = [{"n": number, "body": {"said": text}, "text": text} for number, text in enumerate(POOL)]
FLAT = [{"n": row["n"], "text": row["text"]} for row in ROWS]
TABLES = {
    "polars": pl.DataFrame,
    "pandas": lambda rows: pd.DataFrame(rows, index=range(7, 7 + len(rows))),
    "arrow": pa.Table.from_pylist,
    "batch": pa.RecordBatch.from_pylist,
    "datasets": datasets.Dataset.from_list,
}
SERIES = {
    "list": list,
    "tuple": tuple,
    "numpy": np.array,
    "polars": pl.Series,
    "pandas": lambda some: pd.Series(some, index=range(7, 7 + len(some))),
    "arrow": pa.array,
    "chunks": lambda some: pa.chunked_array([some[:20], some[20:]]),
}


@pytest.fixture(autouse=True)
def own_cache(encoder_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("TAMIS_CACHE", str(encoder_cache))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewTargetPoints)
        yield
    assert not list(tmp_path.glob("tamis-select-*"))


def as_rows(taken) -> list[dict]:
    """Rows of a table of any kind."""
    if isinstance(taken, pl.DataFrame):
        return taken.to_dicts()
    if isinstance(taken, pd.DataFrame):
        return taken.to_dict("records")
    return taken.to_pylist() if isinstance(taken, pa.Table | pa.RecordBatch) else taken.to_list()


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_chosen_from_and_taken_from_in_their_own_type(kind):
    table, goal = TABLES[kind](FLAT), TABLES[kind]([{"text": text} for text in GOAL])
    decisions = tamis.select(table, goal, 7, sampler="dsir")
    assert decisions.equals(tamis.select(POOL, GOAL, 7, sampler="dsir"))
    taken = tamis.take(table, decisions)
    assert type(taken) is type(table)
    best = decisions.filter(verdict="selected").sort("rank")["row"]
    assert as_rows(taken) == [FLAT[row] for row in best]
    if kind == "pandas":
        assert taken.index.to_list() == [7 + row for row in best]


@pytest.mark.parametrize("kind", TABLES)
def test_the_column_of_texts_is_named_by_path_or_several_or_looked_for(kind):
    plain = tamis.select(POOL, GOAL, 7, sampler="dsir")
    nested = TABLES[kind]([{"n": row["n"], "body": row["body"]} for row in ROWS])
    assert tamis.select(nested, GOAL, 7, sampler="dsir", text_column="body.said").equals(plain)
    halves = [
        {"a": row["text"] if row["n"] % 2 else None, "b": row["text"] if not row["n"] % 2 else None}
        for row in ROWS
    ]
    both = tamis.select(TABLES[kind](halves), GOAL, 7, sampler="dsir", text_column=["a", "b"])
    assert both.equals(plain)
    table = TABLES[kind]([{"n": row["n"], "words": row["text"]} for row in ROWS])
    assert tamis.select(table, GOAL, 7, sampler="dsir").equals(plain)
    with pytest.raises(UnusableTextsError, match="texts: there is no column 'txt'; its columns are n, words"):
        tamis.select(table, GOAL, 7, text_column="txt")
    with pytest.raises(UnusableTextsError, match="goal: no column holds texts"):
        tamis.select(POOL, TABLES[kind]([{"n": 3}]), 7)


@pytest.mark.parametrize("kind", SERIES)
def test_rows_of_a_series_come_back_in_its_own_type(kind):
    series = SERIES[kind](POOL)
    decisions = tamis.select(series, GOAL, 7, sampler="dsir")
    taken = tamis.take(series, decisions)
    assert type(taken) is type(series)
    best = decisions.filter(verdict="selected").sort("rank")["row"]
    assert [str(text) for text in taken] == [POOL[row] for row in best]
    some = tamis.take(series, decisions.filter(pl.col("rank") <= 3))
    assert [str(text) for text in some] == [POOL[row] for row in best[:3]]


def test_tables_that_have_to_be_read_first_say_so():
    parts = datasets.DatasetDict(train=datasets.Dataset.from_list(FLAT))
    refused = {
        "pass its .collect": pl.LazyFrame(FLAT),
        "several data sets .'train'.": parts,
        "in order": parts["train"].to_iterable_dataset(),
    }
    decisions = tamis.select(POOL, None, 7, sampler="random")
    for problem, data in refused.items():
        with pytest.raises(UnusableTextsError, match=problem):
            tamis.select(data, GOAL, 7)
        with pytest.raises(UnusableTextsError, match=problem):
            tamis.take(data, decisions)
    with pytest.raises(UnusableTextsError, match="has 3 rows, and the decisions select row"):
        tamis.take(POOL[:3], tamis.select(POOL, None, "100%", sampler="random"))
    with pytest.raises(UnusableTextsError, match="of a generator no rows can be taken"):
        tamis.take((text for text in POOL), decisions)
    with pytest.raises(UnusableTextsError, match="no column 'row'"):
        tamis.take(POOL, decisions.drop("row"))


def test_pandas_and_datasets_are_not_imported():
    program = (
        "import sys, tamis; texts = ['a text', 'another']; "
        "tamis.take(texts, tamis.select(texts, None, 1, sampler='random')); "
        "sys.exit(any(name in sys.modules for name in ('pandas', 'datasets', 'torch')))"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0


NOISE = "5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24"
MIXED = [
    *POOL,
    *(f"{text} indeed" for text in POOL[:10]),
    POOL[3],
    f" {POOL[3]}\n",
    NOISE,
    GOAL[0],
    *texts("railway", 3, seed=9),
]
AWAY = [*texts("railway", 100, seed=4), MIXED[-1]]


@pytest.mark.parametrize(
    ("sampler", "rules", "away"),
    [("got-d", "noise", ()), ("got-d-contrast", "noise,boilerplate,form", AWAY), ("dsir", "form", ())],
)
def test_exclusions_and_choice_are_those_of_the_command(tmp_path, monkeypatch, sampler, rules, away):
    monkeypatch.chdir(tmp_path)
    for name, some in {"pool": MIXED, "goal": GOAL, "away": list(away)}.items():
        pl.DataFrame({"text": some}, schema={"text": pl.String}).write_parquet(f"{name}.parquet")
    call = ["select", "pool.parquet", "--target", "goal.parquet", "--rules", rules, "--sampler", sampler]
    call += ["--keep-away", "away.parquet"] if away else []
    assert main([*call, "--budget", "10%", "-o", "out.parquet", "--decisions", "why.parquet"]) == 0
    theirs = pl.read_parquet("why.parquet").sort("row")
    ours = tamis.select(
        MIXED,
        GOAL,
        "10%",
        sampler=sampler,
        rules=rules.split(","),
        near_duplicates=True,
        keep_away=away or None,
    ).sort("row")
    assert ours.columns == [*COLUMNS, *EXCLUSION_COLUMNS]
    assert {REPEATED, "near_duplicate", "target_example", "heuristic"} <= {*ours["reason"]}
    for column in ("doc_id", "verdict", "reason", "rank", "duplicate_of", "detail"):
        assert ours[column].to_list() == theirs[column].to_list(), column
    both = [frame["score"].cast(pl.Float64).to_numpy() for frame in (ours, theirs)]
    np.testing.assert_allclose(*both, rtol=2e-3, atol=2e-3)
    chosen = pl.read_parquet("out.parquet")["text"].to_list()
    assert [text.strip() for text in tamis.take(MIXED, ours)] == chosen


def test_held_out_examples_and_what_shares_passages_with_them_are_not_chosen():
    passage = " ".join(texts("garden", 2, seed=11))
    pool = [*POOL, f"before {passage} and after", passage, "a text of its own about nothing else"]
    for goal in (GOAL, None):
        found = tamis.select(pool, goal, "100%", sampler="random", held_out=[passage]).sort("row")
        assert found["reason"].to_list()[-3:] == ["contaminated", "held_out_example", "within_budget"]
    assert found["reason"].to_list()[:-3] == ["within_budget"] * len(POOL)


def test_without_an_option_nothing_changes_and_options_are_checked():
    plain = tamis.select(MIXED, GOAL, 9)
    assert plain.columns == list(COLUMNS)
    assert {*plain["reason"]} == {"within_budget", "over_budget", "target_example"}
    same = plain.filter(pl.col("doc_id") == document_id(POOL[3]))
    assert len(same) == 3
    assert same.select("rank", "verdict", "score").n_unique() == 1
    with pytest.raises(UnknownNameError, match="unknown rule 'nose'; valid: boilerplate, form, noise"):
        tamis.select(MIXED, GOAL, 9, rules="nose")
    with pytest.raises(UnusableTextsError, match="keep_away: the sampler 'got-d' keeps away from nothing"):
        tamis.select(MIXED, GOAL, 9, keep_away=AWAY)
    with pytest.raises(UnusableTextsError, match="keep_away: it contains no texts"):
        tamis.select(MIXED, GOAL, 9, sampler="got-d-contrast")


def test_a_call_leaves_no_folder_behind_where_it_fails(monkeypatch, tmp_path):
    def failing(store, filters):
        assert list(Path(tmp_path).glob("tamis-select-*"))
        raise ZeroDivisionError

    monkeypatch.setattr("tamis.verbs.choice.text_exclusions.exclusions", failing)
    with pytest.raises(ZeroDivisionError):
        tamis.select(MIXED, GOAL, 9, near_duplicates=True)
