"""What benchmarks read of messy data, and what they say where there are none."""

import polars as pl
import pytest

from benchmarks._real_pool import PoolShares, pool_rows
from benchmarks._real_tasks import Task, task_rows
from benchmarks._texts import files_of_texts, read_texts

MESS = [None, "", "   \n\t", "\u00a0"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of data in which each file holds good texts and mess."""
    (tmp_path / "text").mkdir()
    monkeypatch.setenv("TAMIS_BENCH_DATA", str(tmp_path))
    for name in ("p_one", "t_one"):
        texts = [*MESS, *(f"a good text of the number {number}" for number in range(40)), " " * 40]
        labels = ["even" if row % 2 else None if row % 10 == 0 else "odd" for row in range(len(texts))]
        rows = pl.DataFrame({"text": texts, "label": labels}).with_columns(
            source=pl.lit("one"), split=pl.lit(None, pl.String), id=pl.int_range(pl.len()).cast(pl.String)
        )
        rows.write_parquet(tmp_path / "text" / f"{name}.parquet")
    return tmp_path


def test_rows_without_a_text_are_left_out_and_counted(data, capsys):
    rows = read_texts("p_one", "label")
    assert rows.columns == ["text", "label"]
    assert len(rows) == 40
    assert capsys.readouterr().err == "p_one.parquet: 5 rows without a text are left out\n"
    assert [file.name for file in files_of_texts("p_*")] == ["p_one.parquet"]


def test_a_pool_and_a_task_hold_texts_alone(data):
    pool = pool_rows(30, PoolShares(), 0)
    assert pool["text"].str.strip_chars().str.len_chars().min() > 0
    task = task_rows(Task(name="one", file="t_one", source="one"))
    assert task.null_count().sum_horizontal()[0] == 0
    assert 0 < len(task) < 40


def test_without_the_data_the_variable_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_BENCH_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="set TAMIS_BENCH_DATA to the folder that holds text/"):
        read_texts("p_one")
    (tmp_path / "text").mkdir()
    with pytest.raises(SystemExit, match=r"there is no p_\*\.parquet"):
        files_of_texts("p_*")
