"""What benchmarks read of messy data, and what they say where there are none."""

import polars as pl
import pytest

from benchmarks import _scaling_data, mixtures
from benchmarks._quality_data import arguments
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


def test_arguments_without_a_text_a_score_or_an_id_of_their_own_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_BENCH_DATA", str(tmp_path))
    (tmp_path / "quality").mkdir()
    rows = [("a", "1", "yes", 0.5), ("a", "1", "no", 0.1), ("b", "1", "yes", 1.0), ("b", None, "lost", 1.0)]
    rows += [("c", str(place), text, 0.2) for place, text in enumerate([*MESS, "\x1c"])]
    rows += [("d", "1", "unscored", None), ("d", "2", "unscored", float("nan"))]
    frame = pl.DataFrame(rows, schema=["topic", "arg_id", "text", "bt_score"], orient="row")
    frame.write_parquet(tmp_path / "quality" / "ukpconvarg1_args.parquet")
    found = arguments()
    assert found.rows() == [("a/1", "a", "yes", 0.5), ("b/1", "b", "yes", 1.0)]


TABLES = {
    "scaling_laws/flan": ("model,D,n_params,loss", ["m,0,5,9.5", "m,200,5,3.5", "n,200,7,2.5"]),
    "mixtures/test_mixture_1m": ("index,train_the_pile_a,train_the_pile_b", ["1,.5,.5", "2,.2,.8"]),
    "mixtures/test_pile_loss_1m": ("index,metric/the_pile_a_val_loss", ["1,4.5", "2,3.5"]),
}
READ = {
    "scaling_laws": lambda: [losses.tolist() for _, losses in _scaling_data.load("flan")[0].values()],
    "mixtures": lambda: mixtures.published("test", "1m")[0].losses["1m"].tolist(),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_whole_or_not_at_all(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_BENCH_DATA", str(tmp_path))
    for table, (head, lines) in TABLES.items():
        (tmp_path / table).parent.mkdir(exist_ok=True)
        (tmp_path / f"{table}.csv").write_text("\n".join([head, *lines]) + "\n")
    read, file, (head, lines) = READ[name.partition("/")[0]], tmp_path / f"{name}.csv", TABLES[name]
    whole = read()
    assert whole in ([[3.5], [2.5]], [[4.5], [3.5]])
    file.write_text("\n".join([head, lines[0], "", *lines, ""]))
    assert read() == whole, "an empty line and one that is there twice change nothing"
    last = lines[-1].rpartition(",")[0]
    for damaged, said in (
        ([*lines[:-1], f"{last},"], "1 values are missing"),
        ([*lines[:-1], f"{last},nan"], "1 values are missing"),
        ([*lines, f"{last},.1"], "1 rows repeat the .* of another"),
    ):
        file.write_text("\n".join([head, *damaged]))
        with pytest.raises(SystemExit, match=f"{name}.csv: {said}; fetch the table again"):
            read()
    file.unlink()
    with pytest.raises(SystemExit, match=f"there is no .*{name}.csv"):
        read()


def test_mixtures_and_losses_are_of_the_same_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_BENCH_DATA", str(tmp_path))
    (tmp_path / "mixtures").mkdir()
    for table in ("mixtures/test_mixture_1m", "mixtures/test_pile_loss_1m"):
        head, lines = TABLES[table]
        (tmp_path / f"{table}.csv").write_text("\n".join([head, *lines[: 2 if "mixture_" in table else 1]]))
    with pytest.raises(SystemExit, match=r"are not of the same runs"):
        READ["mixtures"]()
