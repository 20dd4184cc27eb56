"""README.md is short and runs as printed; its figures and comparisons are those of docs/."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import sentences, write

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+")
Run = Callable[[list[str]], str]


def block(language: str, words: str) -> str:
    """Return the block of this language that has these words."""
    (text,) = (text for written, text in BLOCKS if written == language and words in text)
    return text


def table(text: str) -> dict[str, dict[str, str]]:
    """Return the cells of the only table in a text, by row and column."""
    head, _rule, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\|.*\|$", text, re.MULTILINE)
    )
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def section(heading: str) -> str:
    return re.split(r"^## ", TEXT, flags=re.MULTILINE)[1 + headings().index(heading)]


def headings() -> list[str]:
    return re.findall(r"^## (.*)$", TEXT, re.MULTILINE)


def put_rows(path: Path, texts: list[str]) -> None:
    write(path, [json.dumps({"text": text, "number": number}) for number, text in enumerate(texts)])


@pytest.fixture
def run(tmp_path, encoder_cache) -> Run:
    """Return a function that runs a command in a folder and gives its output."""
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": search, "TAMIS_CACHE": str(encoder_cache)}

    def in_folder(command: list[str]) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return in_folder


def test_it_has_120_lines_and_1000_words_at_most():
    assert len(TEXT.splitlines()) <= 120
    assert len(TEXT.split()) <= 1_000


def test_no_block_is_left_to_no_test():
    """The settings are tested with those of all pages."""
    assert [language for language, _text in BLOCKS] == ["", "", "", "", "toml"]


def test_ten_seconds(tmp_path, run):
    goal = sentences("algebra", 600, 1)
    put_rows(tmp_path / "goal.jsonl", goal[:500])
    put_rows(tmp_path / "pool.jsonl", [*sentences("cooking", 900, 1), *goal[500:]])
    run(["bash", "-c", block("", "tamis select") + "test ! -e .tamis"])
    rows = [json.loads(line) for line in (tmp_path / "chosen.jsonl").read_text().splitlines()]
    assert rows  # rules of form drop most of these made-up sentences
    assert [row["tamis_rank"] for row in rows] == [*range(1, len(rows) + 1)]
    assert {row["number"] for row in rows} <= {*range(900, 1_000)}


def test_the_wheel_has_the_name_that_is_installed():
    """tests/test_wheel.py builds, installs and uses it."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert block("", "pip install") == f"pip install ./tamis-{project['version']}-py3-none-any.whl\n"


def test_six_minutes(run, tmp_path):
    """tests/test_wheel.py runs the demonstration to its end."""
    demo, ui = (command.split() for command in block("", "tamis demo").split("&&"))
    assert demo == ["tamis", "demo"]
    run(["python", "-c", "from tamis.verbs.demonstration import demonstration; demonstration(None)"])
    assert ui[-1] == "ui"
    assert "raw_shards" in run([*ui[:-1], "plan"])


@pytest.mark.slow
def test_your_own_data(tmp_path, run):
    goal = sentences("algebra", 560, 1)
    put_rows(tmp_path / "goal.jsonl", goal[:500])
    put_rows(tmp_path / "pool.jsonl", [*sentences("cooking", 540, 1), *goal[500:]])
    said = run(["bash", "-c", "set -e\n" + block("", "tamis init")])
    project = tmp_path / "my-project"
    (page,) = re.findall(r"`(\.tamis/\S+)`", TEXT)
    assert (project / page).exists()
    assert re.search(r"^  best: (selected|rejected), ", said, re.MULTILINE)
    rows = [json.loads(line) for line in (project / "chosen.jsonl").read_text().splitlines()]
    assert {"text", "number"} <= rows[0].keys()


def test_figures_are_on_the_page_of_all_figures():
    stated = set(NUMBER.findall((CHECKOUT / "docs" / "figures.md").read_text()))
    figures = NUMBER.findall(section("Figures"))
    assert len(figures) > 25
    assert set(figures) - stated == set()


def test_each_figure_has_a_benchmark():
    page = (CHECKOUT / "docs" / "figures.md").read_text()
    rows = [line.split("|")[3].strip() for line in re.findall(r"^\|.*\|$", page, re.MULTILINE)]
    commands = [cell for cell in rows if cell != "---" and "python -m" not in cell]
    assert len(commands) > 30
    for command in commands:
        modules = re.findall(r"`(\w+)[^`]*`", command)
        assert modules, command
        assert all((CHECKOUT / "benchmarks" / f"{module}.py").exists() for module in modules), command


def test_the_comparison_is_that_of_other_tools():
    here = table(section("How it compares"))
    there = table((CHECKOUT / "docs" / "other-tools.md").read_text())
    for row, cells in here.items():
        for tool, cell in cells.items():
            long = there[row][tool]
            assert (cell == "–") == (long == "–"), f"{row}, {tool}"
            assert set(NUMBER.findall(cell)) <= set(NUMBER.findall(long)), f"{row}, {tool}"
