"""Messages of `tamis select` name its options, never a tamis.toml, which its user does not have."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from projects import CHECKOUT
from test_choose_files import GOAL, POOL, folder, texts, write  # noqa: F401

from tamis.cli import main
from tamis.verbs.choice.advice import in_options

OF_A_PROJECT = re.compile(
    r"tamis\.toml|\[\[|\]\]|\bset \w+ =|heuristics_off|\bcorpus\b|`tamis (status|explain)"
)


def chat(text: str) -> list[dict]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]


def talk(text: str) -> list[dict]:
    return [{"from": "human", "value": text}, {"from": "gpt", "value": "yes"}]


@pytest.fixture
def files(folder):  # noqa: F811
    """Pools and examples with something wrong."""
    write("body.jsonl", [{"body": text} for text in POOL])
    write("numbers.jsonl", [{"n": number} for number in range(40)])
    write("chat.jsonl", [{"messages": chat(text)} for text in POOL])
    write("talk.jsonl", [{"talk": talk(text)} for text in POOL])
    write("noise.jsonl", [{"text": " ".join(map(str, range(at, at + 30)))} for at in range(30)])
    write(
        "near.jsonl",
        [{"text": f"{text} {word}"} for text in texts("garden", 30) for word in ("", "so", "too")],
    )
    letters = "ሀለሐመ"
    write("amharic.jsonl", [{"text": f"ሰላም ዓለም {letters[at % 4] * 5} {at}"} for at in range(40)])
    Path("picture.png").write_bytes(b"\x89PNG\r\n")
    Path("mixed").mkdir()
    for name in ("pool.jsonl", "body.jsonl", "numbers.jsonl", "chat.jsonl", "talk.jsonl", "picture.png"):
        shutil.copy(name, "mixed")
    return folder


def said_of(capsys, *arguments: str, rules: str = "none") -> str:
    main(["select", *arguments, "--rules", rules, "-o", "out.jsonl"])
    said = capsys.readouterr().err
    assert not OF_A_PROJECT.search(said), said
    return said


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["body.jsonl", "--target", "goal.jsonl", "--text-column", "text"], ["pass --text-column body"]),
        (
            ["pool.jsonl", "--target", "numbers.jsonl"],
            ["(name the right one with --text-column, or the --format)"],
        ),
        (["pool.jsonl", "--target", "chat.jsonl"], ["pass --format messages"]),
        (["talk.jsonl", "--target", "goal.jsonl"], ["pass --format sharegpt --text-column talk"]),
        (
            ["mixed", "--target", "goal.jsonl", "--text-column", "text"],
            [
                "pass --text-column text,body",
                "choose from these files in a call of their own, with --format messages or --format sharegpt "
                "--text-column talk",
                "1 file of an unsupported type: 1 .png in the folder of the pool",
            ],
        ),
        (["amharic.jsonl", "--target", "goal.jsonl"], ["pass --encoder multilingual-e5-small"]),
        (["pool.jsonl", "--target", "goal.jsonl", "--encoder", "a/b"], ["or pass --encoder"]),
        (["pool.jsonl", "--target", "goal.jsonl", "--tokenizer", "a/b"], ["'smollm2-135m' to --tokenizer"]),
        (["pool.jsonl", "--target", "goal.jsonl", "--text-column", ","], ["--text-column [] is not valid"]),
        (
            [
                "pool.jsonl",
                "--target",
                "goal.jsonl",
                "--per",
                "source",
                "--maximum-share",
                "0.2",
                "--minimum-share",
                "0.3",
            ],
            ["--minimum-share 0.3 is not valid", "as set by --maximum-share"],
        ),
        (
            ["pool.jsonl", "--target", "goal.jsonl", "--sampler", "ask-llm:a"],
            ["ranks by a model of a project"],
        ),
        (
            ["pool.jsonl", "--target", "goal.jsonl", "--sampler", "perplexity:a"],
            ["ranks by a model of a project"],
        ),
        (
            ["pool.jsonl", "--target", "goal.jsonl", "--sampler", "perplexity"],
            ["ranks by a model of a project"],
        ),
        (
            ["pool.jsonl", "--target", "goal.jsonl", "--keep-away", "near.jsonl"],
            ["--keep-away: 90 examples", "--keep-away: texts are taken from the column text in near.jsonl"],
        ),
    ],
)
def test_advice_is_about_options(files, capsys, arguments, advice):
    said = said_of(capsys, *arguments)
    for one in advice:
        assert one in said


def test_advice_about_what_was_dropped_is_about_options(files, capsys):
    said = said_of(capsys, "noise.jsonl", "pool.jsonl", "--target", "goal.jsonl", rules="noise,boilerplate")
    assert "--decisions names the rule of each" in said
    assert "--decisions shows which these are; if they are sound, pass --rules boilerplate,form" in said
    said = said_of(capsys, "near.jsonl", "--target", "goal.jsonl")
    assert "in a project (`tamis init NAME --from-select ...`), raise threshold in [near_duplicates]" in said


@pytest.mark.parametrize(
    "line",
    [
        "a sentence about nothing",
        "goal: 90 examples",
        "file a.jsonl, row 3, malformed row: corpus of letters",
        "the budget is 5 documents, but only 3 are eligible",
    ],
)
def test_other_lines_stay(line):
    assert in_options(line) == line


def test_rows_before_nul_bytes_are_chosen_from(files, capsys):
    whole = Path("pool.jsonl").read_bytes()
    Path("padded.jsonl").write_bytes(whole.removesuffix(b"\n") + b"\0" * 900)
    assert "NUL" not in said_of(capsys, "padded.jsonl", "--target", "goal.jsonl", "--decisions", "why.jsonl")
    assert len(pl.read_ndjson("why.jsonl")) == len(POOL)


def test_a_call_that_is_killed_leaves_the_earlier_file(files):
    """The process ends without a word while rows are written, as by a kill: the file is the earlier one."""
    Path("out.jsonl").write_text("before")
    program = (
        "import os\nfrom tamis.verbs.choice import chosen_rows\nfrom tamis.cli import main\n"
        "whole = chosen_rows.json_lines\n"
        "def killed(rows):\n    yield from whole(rows)\n    os.kill(os.getpid(), 9)\n"
        "chosen_rows.json_lines = killed\n"
        "main(['select', 'pool.jsonl', '--target', 'goal.jsonl', '--rules', 'none', '-o', 'out.jsonl'])"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == -9
    assert Path("out.jsonl").read_text() == "before"
    assert main(["select", "pool.jsonl", "--target", "goal.jsonl", "--rules", "none", "-o", "out.jsonl"]) == 0
    assert len(Path("out.jsonl").read_text().splitlines()) == 6
    assert not [path for path in Path("temporary").iterdir() if path.name.startswith("tamis-")]
    assert json.loads(Path("out.jsonl").read_text().splitlines()[0])["tamis_rank"] == 1
