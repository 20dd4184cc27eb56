"""`tamis select`: rows of files are chosen as a project chooses them, and written with all their columns."""

import gzip
import io
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from projects import CHECKOUT

from tamis.cli import main
from tamis.filters.form.model import default_model
from tamis.settings.samplers import MODEL_SCORES, SAMPLERS
from tamis.verbs.choice.chosen_rows import REPEATED
from tamis.verbs.choice.from_files import Call, Place, PoolError, sections_of
from tamis.verbs.steps import made, samplers_of_files

WORDS = {
    "statistics": "sample variance median estimator bias quantile likelihood prior residual",
    "garden": "seed soil compost prune hedge bulb mulch spade petal root frost",
    "railway": "signal track sleeper carriage engine platform gauge shunt brake",
}


def texts(topic: str, count: int, seed: int = 0) -> list[str]:
    chance = random.Random(f"{topic} {seed}")
    return [" ".join(chance.choices([*WORDS[topic].split(), "the", "of"], k=15)) for _ in range(count)]


POOL = texts("garden", 25) + texts("statistics", 10) + texts("railway", 25)
GOAL = texts("statistics", 120, seed=1)


@pytest.fixture
def folder(tmp_path, encoder_cache, monkeypatch):
    """A folder with a pool of rows that have other columns, and a goal."""
    monkeypatch.setenv("TAMIS_CACHE", str(encoder_cache))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    write("pool.jsonl", [{"text": text, "n": number} for number, text in enumerate(POOL)])
    write("goal.jsonl", [{"text": text} for text in GOAL])
    return tmp_path


def write(name: str, rows: list[dict]) -> None:
    Path(name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def choose(*arguments: str, output: str = "out.jsonl", code: int = 0) -> list[dict]:
    assert main(["select", *arguments, "--rules", "none", "-o", output]) == code
    return pl.read_ndjson(output).to_dicts() if output.endswith(".jsonl") and not code else []


def refused(capsys, *arguments: str) -> str:
    """Return the sentence in which a call is refused; nothing is written."""
    before = sorted(Path().rglob("*"))
    assert main(["select", *arguments]) == 2
    said = capsys.readouterr().err
    assert sorted(Path().rglob("*")) == before
    return said


@pytest.mark.parametrize("output", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.csv", "out.parquet"])
def test_rows_are_written_with_all_their_columns_rank_and_score(folder, output):
    choose("pool.jsonl", "--target", "goal.jsonl", "--budget", "6", output=output)
    read = {".csv": pl.read_csv, ".parquet": pl.read_parquet}.get(Path(output).suffix, pl.read_ndjson)
    found = read(gzip.decompress(Path(output).read_bytes()) if output.endswith(".gz") else output)
    assert found.columns == ["text", "n", "tamis_rank", "tamis_score"]
    assert found["tamis_rank"].to_list() == [1, 2, 3, 4, 5, 6]
    assert found["tamis_score"].is_sorted()
    assert all(POOL[row["n"]] == row["text"] and 25 <= row["n"] < 35 for row in found.iter_rows(named=True))
    assert not list(Path("temporary").iterdir())


def test_every_row_has_a_verdict_and_a_reason(folder):
    rows = [{"text": text, "n": number} for number, text in enumerate(POOL)]
    write("pool.jsonl", [*rows, {"text": GOAL[0]}, {"text": f" {POOL[3]}\n"}, {"text": 7}])
    chosen = choose("pool.jsonl", "--target", "goal.jsonl", "--budget", "6", "--decisions", "why.parquet")
    found = pl.read_parquet("why.parquet").sort("row")
    assert found["row"].to_list() == list(range(len(POOL) + 3))
    assert found["verdict"].value_counts(sort=True)["count"].to_list() == [len(POOL) - 3, 6]
    assert found["reason"].to_list()[-3:] == ["target_example", REPEATED, "non_text"]
    ranked = found.filter(verdict="selected").sort("rank")
    assert ranked["row"].to_list() == [row["n"] for row in chosen]
    assert ranked["score"].to_list() == [row["tamis_score"] for row in chosen]


def test_texts_on_standard_input_and_compressed_files_of_any_kind(folder, monkeypatch):
    frame = pl.read_ndjson("pool.jsonl")
    frame.write_parquet("pool.parquet")
    frame.write_csv("pool.csv")
    Path("pool.jsonl.gz").write_bytes(gzip.compress(Path("pool.jsonl").read_bytes()))
    Path("deep/er").mkdir(parents=True)
    Path("pool.csv").rename("deep/er/pool.csv")

    def chosen(rows: list[dict]) -> list[tuple]:
        """Rows without the type of a number, which CSV does not have."""
        return [(row["text"], int(row["n"]), row["tamis_rank"], row["tamis_score"]) for row in rows]

    as_given = chosen(choose("pool.jsonl", "--target", "goal.jsonl", "--budget", "6"))
    for pool in ("pool.parquet", "pool.jsonl.gz", "deep", "deep/**/*.csv"):
        assert chosen(choose(pool, "--target", "goal.jsonl", "--budget", "6")) == as_given, pool
    for file in ("pool.jsonl", "pool.parquet", "pool.jsonl.gz", "deep/er/pool.csv"):
        with open(file, "rb") as stream:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
            assert chosen(choose("-", "--target", "goal.jsonl", "--budget", "6")) == as_given, file
    os.mkfifo("pipe")
    with subprocess.Popen("cat goal.jsonl > pipe", shell=True):
        assert chosen(choose("pool.jsonl", "--target", "pipe", "--budget", "6")) == as_given


def test_chats_come_back_whole(folder):
    def chat(text: str) -> list[dict]:
        return [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]

    write("pool.jsonl", [{"messages": chat(text), "n": number} for number, text in enumerate(POOL)])
    write("goal.jsonl", [{"messages": chat(text)} for text in GOAL])
    found = choose("pool.jsonl", "--target", "goal.jsonl", "--budget", "3", "--format", "messages")
    assert [row["messages"] for row in found] == [chat(POOL[row["n"]]) for row in found]
    assert list(found[0]) == ["messages", "n", "tamis_rank", "tamis_score"]


def test_columns_that_clash_are_said_and_kept(folder, capsys):
    write("a.jsonl", [{"text": text, "year": 1999, "tamis_rank": 7} for text in POOL[:30]])
    write("b.jsonl", [{"content": text, "year": "never"} for text in POOL[30:]])
    choose("a.jsonl", "b.jsonl", "--target", "goal.jsonl", "--budget", "60", output="out.parquet")
    found, said = pl.read_parquet("out.parquet"), capsys.readouterr().err
    assert "column tamis_rank of the pool is called original_tamis_rank" in said
    assert "column year: " in said
    assert set(found["year"]) == {"1999", '"never"'}
    assert sorted(found.select(pl.coalesce("text", "content")).to_series()) == sorted(POOL)


def test_rules_keep_away_and_bounds_are_of_the_project(folder):
    write("pool.jsonl", [{"text": text, "source": "ab"[number % 2]} for number, text in enumerate(POOL)])
    write("away.jsonl", [{"text": text} for text in texts("railway", 100, seed=4)])
    away = choose("pool.jsonl", "--target", "goal.jsonl", "--keep-away", "away.jsonl", "--budget", "30")
    assert sum(row["text"] in POOL[35:] for row in away) < 10
    bounds = ["--per", "source", "--maximum-share", "0.5", "--budget", "20"]
    divided = choose("pool.jsonl", "--target", "goal.jsonl", *bounds)
    assert sorted(row["source"] for row in divided) == ["a"] * 10 + ["b"] * 10
    broken = "5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24"
    write("pool.jsonl", [*({"text": text} for text in POOL), {"text": broken}])
    call = ["pool.jsonl", "--target", "goal.jsonl", "-o", "out.jsonl", "--decisions", "why.jsonl"]
    assert main(["select", *call, "--rules", "noise"]) == 0
    reasons = pl.read_ndjson("why.jsonl", infer_schema_length=None)["reason"].to_list()
    assert reasons[-1] == "heuristic"


def test_a_page_stands_by_itself(folder):
    choose("pool.jsonl", "--target", "goal.jsonl", "--budget", "6", "--page", "page.html")
    page = Path("page.html").read_text()
    assert "holds out no examples" in page
    assert 'href="' not in page.replace('href="data:', "").replace('href="#', "")


def test_a_page_of_a_divided_budget_shows_its_groups(folder):
    options = ("--per", "source", "--maximum-share", "0.6", "--page", "page.html")
    write("second.jsonl", [{"text": text} for text in texts("railway", 30, seed=2)])
    chosen = choose("pool.jsonl", "second.jsonl", "--target", "goal.jsonl", "--budget", "6", *options)
    assert len(chosen) == 6
    page = Path("page.html").read_text()
    assert "second" in page
    assert "filled" in page


def test_pages_in_a_column_are_said_and_read_as_their_main_text(folder, capsys):
    pages = [
        f"<html><head><title>t</title></head><body><nav><ul><li><a href='/'>Home</a></li></ul></nav><main>"
        f"<p>{text}. {text}.</p><p>{text}</p></main></body></html>"
        for text in POOL
    ]
    write("pages.jsonl", [{"text": page} for page in pages])
    found = choose("pages.jsonl", "--target", "goal.jsonl", "--budget", "6")
    assert found[0]["text"].startswith("<html>")
    assert "60 of 60 texts of pages are markup: pass --extract html" in capsys.readouterr().err
    found = choose("pages.jsonl", "--target", "goal.jsonl", "--budget", "6", "--extract", "html")
    assert not any("<" in row["text"] for row in found)
    assert "markup" not in capsys.readouterr().err


def test_quiet_says_nothing_of_a_choice(folder, capsys):
    choose("pool.jsonl", "--target", "goal.jsonl", "--budget", "6")
    assert "6 of 60" in capsys.readouterr().out
    choose("pool.jsonl", "--target", "goal.jsonl", "--budget", "6", "-q")
    assert capsys.readouterr().out == ""


def test_an_unreadable_file_among_good_ones_is_said(folder, capsys):
    Path("broken.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 2_000)[:60])
    Path("picture.png").write_bytes(b"\x89PNG\r\n")
    found = choose("pool.jsonl", "broken.jsonl.gz", "picture.png", "--target", "goal.jsonl", "--budget", "6")
    assert len(found) == 6
    said = capsys.readouterr().err
    assert "broken.jsonl.gz" in said
    assert "picture.png" in said or ".png" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pool.jsonl"], "--target FILE"),
        (["pool.jsonl", "--target", "gaol.jsonl"], "there is no such file or folder of examples"),
        (["pol.jsonl", "--target", "goal.jsonl"], "did you mean"),
        (["pool.jsonl", "--target", "pool.jsonl"], "both pool and target"),
        (["copy.jsonl", "--target", "pool.jsonl"], "every document of the pool is an example"),
        (["pool.jsonl", "--target", "goal.jsonl", "--budget", "ten"], "budget"),
        (["pool.jsonl", "--target", "goal.jsonl", "--sampler", "ask-llm"], "only a project has"),
        (["pool.jsonl", "--target", "goal.jsonl", "--sampler", "got"], "got-d"),
        (["pool.jsonl", "--target", "goal.jsonl", "--rules", "noise,nose"], "there is no such rule"),
        (["pool.jsonl", "--target", "goal.jsonl", "--per", "source"], "--maximum-share"),
        (["pool.jsonl", "--target", "goal.jsonl", "--hold-out", "120"], "leaves nothing to choose by"),
        (["pool.jsonl", "--target", "goal.jsonl", "--text-column", "body"], "no example could be read"),
        (["empty", "--target", "goal.jsonl"], "the pool has no file"),
        (["blank.jsonl", "--target", "goal.jsonl"], "blank.jsonl): no row has a text"),
        (["one.txt", "--target", "goal.jsonl"], "has a single text"),
    ],
)
def test_a_call_that_cannot_be_done_is_a_sentence(folder, capsys, arguments, sentence):
    Path("copy.jsonl").write_bytes(Path("pool.jsonl").read_bytes())
    Path("one.txt").write_text(POOL[0])
    Path("empty").mkdir()
    Path("blank.jsonl").write_text("\n\n")
    said = refused(capsys, *arguments, "-o", "out.jsonl")
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("pool.jsonl", "would overwrite a file of the pool"),
        ("goal.jsonl", "would overwrite a file of the target"),
        ("docs/out.jsonl", "inside the pool"),
        ("out.txt", "the name says no format"),
        ("nowhere/out.jsonl", "does not exist"),
        ("/proc/out.jsonl", "/proc/out.jsonl cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_read(folder, capsys, output, sentence):
    Path("docs").mkdir()
    write("docs/more.jsonl", [{"text": text} for text in POOL])
    assert sentence in refused(capsys, "pool.jsonl", "docs", "--target", "goal.jsonl", "-o", output)


def test_few_examples_and_a_budget_above_the_pool_are_said(folder, capsys):
    write("goal.jsonl", [{"text": text} for text in GOAL[:3]])
    assert len(choose("pool.jsonl", "--target", "goal.jsonl", "--budget", "1000")) == len(POOL)
    said = capsys.readouterr().err
    assert "3 examples; with fewer than 100" in said
    assert "only 60 are eligible" in said


def test_a_failure_while_writing_leaves_the_earlier_file(folder, capsys, monkeypatch):
    Path("out.jsonl").write_text("before")

    def full(rows):
        yield "one"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tamis.verbs.choice.chosen_rows.json_lines", full)
    assert main(["select", "pool.jsonl", "--target", "goal.jsonl", "--rules", "none", "-o", "out.jsonl"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert Path("out.jsonl").read_text() == "before"
    assert sorted(path.name for path in Path().iterdir()) == [
        "goal.jsonl",
        "out.jsonl",
        "pool.jsonl",
        "temporary",
    ]


def test_of_several_files_the_chosen_rows_are_written_last(folder, capsys, monkeypatch):
    def full(*_given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tamis.verbs.choice.choose_files.write_decisions", full)
    call = ["select", "pool.jsonl", "--target", "goal.jsonl", "--rules", "none", "-o", "out.jsonl"]
    assert main([*call, "--decisions", "why.csv"]) == 2
    assert "why.csv cannot be written (No space left on device)" in capsys.readouterr().err
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("lance error: No space left on device")]
)
def test_a_full_disk_of_temporary_files_is_named_and_nothing_else(folder, capsys, monkeypatch, error):
    def full(*_given):
        raise error

    monkeypatch.setattr("tamis.verbs.steps.Steps.embeddings", full)
    call = ["select", "pool.jsonl", "--target", "goal.jsonl", "--rules", "none", "-o", "out.jsonl"]
    assert main(call) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"temporary files, {folder / 'temporary'}, is full" in said
    assert "set TMPDIR" in said
    assert "TAMIS_HOME" not in said
    assert [*(folder / "temporary").iterdir()] == []


@pytest.mark.parametrize("option", ["--encoder", "--tokenizer"])
def test_a_model_that_is_not_there_is_refused_before_the_pool_is_read(folder, capsys, monkeypatch, option):
    monkeypatch.setattr("tamis.verbs.steps.Steps.documents", lambda steps, partition: 1 / 0)
    said = refused(capsys, "pool.jsonl", "--target", "goal.jsonl", option, "nope", "-o", "out.jsonl")
    assert "'nope'" in said


def test_rows_after_a_broken_one_of_a_compressed_file_are_said_to_be_lost(folder, capsys):
    whole = gzip.compress(Path("pool.jsonl").read_bytes())
    Path("cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    choose("pool.jsonl", "cut.jsonl.gz", "--target", "goal.jsonl")
    assert " and all rows after it, broken compression" in capsys.readouterr().err


def test_a_model_of_form_is_fitted_once_for_the_same_texts(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    fits = []

    def fitted(sound, goals, there, seed, advance):
        fits.append(there)
        return replace(default_model(), limit=default_model().limit + 1, fitted_on="the pool")

    for name, value in {"LEAST_POOL": 50, "LEAST_SOUND": 1, "_fitted": fitted}.items():
        monkeypatch.setattr(f"tamis.filters.form.storing.{name}", value)
    call = ["select", "pool.jsonl", "--target", "goal.jsonl", "--rules", "form", "--sampler", "random"]
    for output in ("out.jsonl", "again.jsonl"):
        assert main([*call, "-o", output]) == 0
    assert Path("out.jsonl").read_bytes() == Path("again.jsonl").read_bytes()
    assert fits == [60]
    assert main([*call, "--seed", "1", "-o", output]) == 0
    assert fits == [60, 60]


def test_the_folder_of_a_killed_call_goes_with_the_next(folder):
    left = Path("temporary/tamis-select-left")
    left.mkdir()
    (left / "lock").write_text("")
    choose("pool.jsonl", "--target", "goal.jsonl", "--budget", "6")
    assert not list(Path("temporary").iterdir())


def test_dagster_is_not_imported(folder):
    program = (
        "import sys; from tamis.cli import main; "
        "code = main(['select', 'pool.jsonl', '--target', 'goal.jsonl', '-o', 'out.jsonl']); "
        "sys.exit(code or ('dagster' in sys.modules and 9))"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0


def test_the_steps_are_those_of_samplers_that_need_no_model_of_the_project():
    assert made() >= {"documents", "kept_out", "form_model", "transport_scores", "density_scores", "topics"}
    assert not made() & {"judge_scores", "quality_scores", "perplexity_scores", "base_models", "mixture"}


def test_sections_of_files_folders_and_globs(folder):
    for name in ("a/one.jsonl", "a/two.jsonl", "b.d/x/three.csv", "c[1].jsonl"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("")
    call = Call(
        pool=["a/one.jsonl", "a/two.jsonl", "b.d", "b.d/**/*.csv", "c[1].jsonl"], budget=1, sampler="random"
    )
    found = sections_of(call, Place(folder=folder, root=folder))["corpus"]
    assert [(one["name"], one["path"], one.get("include")) for one in found] == [
        ("b", "b.d", None),
        ("b-2", "b.d", ["**/*.csv"]),
        ("a", "a", ["one.jsonl", "two.jsonl"]),
        ("c-1", "c[1].jsonl", None),
    ]
    with pytest.raises(PoolError, match="no file matches"):
        sections_of(Call(pool=["d/*.csv"], budget=1, sampler="random"), Place(folder=folder))


def test_a_project_that_is_not_written_leaves_the_folder_as_it_was(folder, capsys):
    write("more.jsonl", [{"text": text} for text in texts("statistics", 20, seed=2)])
    call = ("init", ".", "--from-select", "pool.jsonl", "--target", "goal.jsonl", "--target", "more.jsonl")
    assert main([*call, "--hold-out", "9999"]) != 0
    assert not (folder / "examples").exists()
    for own in ("notes.txt", "goal/of-mine.jsonl"):
        path = folder / "examples" / own
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    capsys.readouterr()
    assert main([*call]) != 0
    assert "is there already, where links to several files of examples would go" in capsys.readouterr().err
    (folder / "examples" / "goal").rename(folder / "examples" / "other")
    assert main([*call, "--hold-out", "9999"]) != 0
    examples = folder / "examples"
    left = {path.relative_to(examples).as_posix() for path in examples.rglob("*")}
    assert left == {"notes.txt", "other", "other/of-mine.jsonl"}
    assert not (folder / "tamis.toml").exists()


def test_samplers_without_a_model_are_those_that_the_steps_can_make():
    without = {one.name for one in SAMPLERS.values() if MODEL_SCORES.isdisjoint(one.score_columns)}
    assert {name for name in samplers_of_files() if not SAMPLERS[name].needs_target} == {
        name for name in without if not SAMPLERS[name].needs_target
    }
