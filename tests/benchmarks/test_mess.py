"""Each loader of a benchmark gives clean rows of messy files, or says in a sentence what is missing."""

import ast
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import (
    _contrast_data,
    _coverage_data,
    _quality_data,
    _scale_million,
    _transport_data,
    default_rules,
    encoding,
    filters,
    gaps,
    mixture_swarm,
    own_curves,
    token_budgets,
    transport_behaviour,
)
from benchmarks._real_pool import PoolShares, _edited, pool_rows, unused_rows
from benchmarks._real_tasks import TASKS, task_rows
from benchmarks._transport_topics import CHOICES, OVERLAPPING

BENCHMARKS = Path(_quality_data.__file__).parent
FILES = re.findall(r"^\| ([pqt]_\w+) \|", (BENCHMARKS / "DATA.md").read_text(), re.MULTILINE)
TOPICS = [topic for choice in (CHOICES | OVERLAPPING).values() for topic in choice]
BLANK = [None, "", " \n\t", "\u00a0\u3000", "\x1c\x1f"]
LABELS = {
    "q_clickbait_headlines": ("clickbait", "news"),
    "q_sms_spam": ("spam", "ham"),
    "q_nonenglish_udhr": ("cmn_hans", "deu_1996"),
}
LETTERS = str.maketrans("01", "xy")  # texts that differ in digits alone are of one half
SHARES = PoolShares(noise=0.2, boilerplate=0.1, duplicates=0.3)


def messy(name: str) -> list[dict[str, str | None]]:
    """Rows of a file: good ones of each source and label that somebody asks for, and every kind of mess."""
    kinds = {(topic.source, topic.label or "one") for topic in TOPICS if topic.file == name}
    kinds |= {(task.source, label) for task in TASKS.values() if task.file == name for label in "ab"}
    kinds |= {("one", label) for label in LABELS.get(name, ("one", "two"))}
    rows = [
        {"text": f"{bin(number).translate(LETTERS)} {source} {label} {name}. " + "好。 And on it goes. " * 20}
        | {"source": source, "label": label, "split": "train" if name[0] == "t" else None}
        for source, label in sorted(kinds)
        for number in range(220)
    ]
    words = [f"https://of-one-word.example/{name}/{number}" for number in range(40)]
    long, gap = f"{name} " * (2_000_000 // (len(name) + 1)), f"{name}\n{' ' * 100}\nafter a line of spaces"
    odd = [*BLANK, *words, rows[0]["text"], long, gap]
    rows += [rows[0] | {"text": text} for text in odd]
    return [*rows, rows[1] | {"text": None, "label": None, "source": None}]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of data: one where each file has good rows and mess, one of blank rows alone."""
    both = tmp_path_factory.mktemp("messy"), tmp_path_factory.mktemp("blank")
    for folder in both:
        (folder / "text").mkdir()
    for name in FILES:
        rows = pl.DataFrame(messy(name), schema=["text", "source", "label", "split"], orient="row")
        rows = rows.with_row_index("id").with_columns(pl.col("id").cast(pl.String))
        rows.write_parquet(both[0] / "text" / f"{name}.parquet")
        blank = rows.filter(pl.col("text").is_in(BLANK[1:], nulls_equal=True) | pl.col("text").is_null())
        blank.write_parquet(both[1] / "text" / f"{name}.parquet")
    return both


@pytest.fixture
def data(folders, monkeypatch):
    monkeypatch.setenv("TAMIS_BENCH_DATA", str(folders[0]))


class Silent:
    """A report that prints nothing."""

    def line(self, *_names, **_figures):
        pass


def written(write, path):
    write(path)
    return pl.read_parquet(path)["text"]


def texts_of_contrast(name):
    source = _contrast_data.Source(name=name, bad="", good="")
    return _contrast_data.parts_of(source, _contrast_data.Sizes(neutral=50, judging=50))["text"]


def topics_of_law(targets, rows):
    texts = transport_behaviour.corpus().filter(rows)
    transport_behaviour.build("law", texts, 60, targets, 0, encoder=None)


LOADERS = {
    "pool": lambda _: pool_rows(900, SHARES, 0)["text"],
    "unused": lambda _: unused_rows(100, SHARES, 0)["text"],
    "task": lambda _: task_rows(TASKS["ag-news"])["text"],
    "clickbait": lambda _: texts_of_contrast("clickbait"),
    "coverage": lambda _: _coverage_data.texts(200, 0, Silent()),
    "coverage, in pieces": lambda _: _coverage_data.texts(30_000, 0, Silent()),
    "clean texts": lambda _: _quality_data.clean_texts(60, 0)[1],
    "noise": lambda _: _quality_data.noise_of(["one", "two words"] * 10, 0, 1)["text"],
    "sentences": lambda _: _scale_million.sentences_of_pool(),
    "target of transport": lambda _: _transport_data.texts("target")["text"],
    "rules": lambda _: default_rules.texts_of("p_law", 0)["text"],
    "gaps": lambda _: gaps.texts_of("ag_news")["text"],
    "english": lambda _: filters.english(100, 0)["text"],
    "film reviews": lambda _: filters.film_reviews(),
    "swarm": lambda path: written(lambda to: mixture_swarm._write_rows(file_of("p_law"), 2_000, to), path),
    "own curves": lambda path: written(lambda to: own_curves.write_target("t_goemotions", 2_000, to), path),
    "token budgets": lambda _: token_budgets.pool(300)["text"],
    "topics": lambda _: transport_behaviour.corpus()["text"],
    **{kind: lambda _, kind=kind: encoding.documents(kind, 3) for kind in ("prose", "chinese", "languages")},
}


def file_of(name):
    return _quality_data.folder() / "text" / f"{name}.parquet"


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_gives_clean_rows_of_messy_files(name, data, tmp_path):
    found = list(LOADERS[name](tmp_path / "written.parquet"))
    assert found
    assert all(isinstance(text, str) and text.strip() for text in found)


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_of_blank_rows_says_so(name, folders, monkeypatch, tmp_path):
    monkeypatch.setenv("TAMIS_BENCH_DATA", str(folders[1]))
    with pytest.raises(SystemExit, match=r"too few texts in .*: 0 of the 1 that are needed"):
        LOADERS[name](tmp_path / "written.parquet")


@pytest.mark.parametrize(
    ("asked", "of"),
    [
        (lambda: token_budgets.pool(10**6), "distinct texts of t_ag_news_train and t_science_a"),
        (lambda: _quality_data.clean_texts(10**6, 0), "long texts of p_arxiv_a"),
        (lambda: _quality_data.noise_of(["some words"] * 3_500, 0, 0), "texts of half of the languages"),
        (lambda: encoding.bench_minilm(10**6, 1, Silent()), "distinct texts of the pool"),
        (lambda: filters.bench_classifier(10, 10**6, 0, Silent()), "long texts of t_imdb_train"),
        (lambda: topics_of_law(10**4, pl.lit(True)), "texts of dc_code, label ''"),
        (
            lambda: topics_of_law(20, pl.any_horizontal(topic.rows() for topic in CHOICES["law"])),
            "texts of no topic of 'law'",
        ),
        (lambda: encoding.drawn(pl.Series([], dtype=pl.String), "", 1), "sentences or clauses"),
    ],
)
def test_too_few_rows_are_said_before_anything_is_measured(asked, of, data):
    with pytest.raises(SystemExit, match=f"too few {of}.*; add texts or ask for fewer"):
        asked()


def test_one_word_is_never_dropped_and_the_draws_are_those_of_pools_made_before():
    texts = ["https://one.example", "two words", "https://two.example", "a few more words"]
    generator = np.random.default_rng(0)
    assert [_edited(text.split(), generator) for text in texts] == [
        "https://one.example https://one.example",
        "words",
        "https://two.example https://two.example",  # drawn to be dropped
        "a few few more words",
    ]


def reads_by_itself(source: str) -> bool:
    """Whether a module asks where the data are, and reads a table other than by `_texts`."""
    if "_texts" not in source and "TAMIS_BENCH_DATA" not in source:
        return False
    nodes, names = list(ast.walk(ast.parse(source))), {"folder", "data_folder", "files_of_texts"}
    knows = any(isinstance(node, ast.alias) and node.name in {*names, "benchmarks._texts"} for node in nodes)
    knows |= any(isinstance(node, ast.Constant) and node.value == "TAMIS_BENCH_DATA" for node in nodes)
    called = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return knows and any(re.match(r"(read|scan)_(?!text$|bytes$)|ParquetFile$", name) for name in called)


def test_no_other_module_reads_the_data_by_itself():
    sources = {path.stem: path.read_text() for path in BENCHMARKS.glob("*.py")}
    found = {name for name, source in sources.items() if reads_by_itself(source)}
    assert found == {"_texts", "encoding"}, "encoding reads texts that it wrote for another process"
    assert reads_by_itself("from benchmarks._texts import folder\npl.scan_parquet(folder() / 'text')")


def test_each_topic_and_task_names_rows_that_the_data_have(bench_data):
    files = {topic.file for topic in TOPICS} | {task.file for task in TASKS.values()}
    rows = {
        file: pl.read_parquet(bench_data / "text" / f"{file}.parquet", columns=["source", "label"])
        for file in files
    }
    held = [rows[topic.file].with_columns(file=pl.lit(topic.file)).filter(topic.rows()) for topic in TOPICS]
    held += [rows[task.file].filter(source=task.source) for task in TASKS.values()]
    assert all(map(len, held))
