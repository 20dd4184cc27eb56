"""Writing of [tune] into tamis.toml by `tamis tune`: what changes, what stays, and what is refused."""

import json
import os
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from projects import SmallProject, base_model, plain_project, rows_of, selection, settings, target

from tamis.base.errors import UnknownNameError
from tamis.cli import main, making
from tamis.project import open_project
from tamis.settings.budget import BadComputeError
from tamis.settings.config import load_settings
from tamis.tuning.errors import TooFewExamplesError
from tamis.verbs.tune import TuneSectionError, write_section

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "find-a-recipe.md"
PARTS = (target(), target("law"), base_model(), base_model("medium", preset="llama-2.5m"))
TEXT = settings(*PARTS)
TUNED = TEXT + '[tune]\ntarget = "goal"\nmodels = ["small"]\nbudget = "20%"  # of the training\n'
DECOYS = (
    "# [tune]\n# budget = '1h'\n",
    "[evaluation] # [tune]\ncommand = ['{checkpoint}', '{out}', '''\n"
    '[tune]\ntarget = "goal"\nbudget = "5%"\n\'\'\']\n',
    '[[selection]]\nname = "best"\nsampler = "got-d"\ntarget = "goal"  # as of [tune]\nbudget = "10%"\n',
    '[mixture]\ntarget = "goal"\nmodel = "llama-0.3m"\nsources = "topics"\ntrain_tokens = 4_000_000\n',
)
HEADINGS = ("[tune]", "[ tune ]  # the recipe", '["tune"]', "  [tune]")
KEYS = (
    "target = 'goal' # whose examples",
    "models = [\n  # both\n  \"small\",\n  'medium',\n]",
    "#budget = '3h'",
    "",
    "tokens = 100_000",
)


def project_of(root: Path, text: str) -> SmallProject:
    return plain_project(root, text, {})


def values_of(project: SmallProject) -> dict[str, Any]:
    return tomllib.loads(project.file.read_text("utf-8-sig"))


def written(project: SmallProject, *call: str | None) -> str:
    """Return the text of tamis.toml after a call, in which nothing but [tune] has another value."""
    before = values_of(project)
    write_section(open_project(project.root), *call)
    assert before | {"tune": None} == values_of(project) | {"tune": None}
    load_settings(project.file)
    return project.file.read_bytes().decode()


@st.composite
def files(draw: st.DrawFn, budget: bool) -> tuple[str, str]:
    """Draw a tamis.toml with [tune] among what could be taken for it: before and after its budget."""
    heading = draw(st.sampled_from(HEADINGS))
    keys = draw(st.permutations(KEYS))
    place = draw(st.integers(0, len(keys)))
    decoys = draw(st.permutations(DECOYS))
    first = draw(st.integers(0, len(decoys)))
    quote = draw(st.sampled_from("'\""))
    above = "\n".join([TEXT, *decoys[:first], heading, *keys[:place], ""])
    own = f"\tbudget={quote}20%{quote} # paid\n" if budget else ""
    below = "\n".join([*keys[place:], "", *decoys[first:]]).rstrip("\n") + draw(st.sampled_from(["", "\n"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return tuple((above + line + below).replace("\n", end) for line in (own, own.replace("20%", "2h")))


def written_bytes(root: Path, text: str, *call: str | None) -> str:
    project = project_of(root, TEXT)
    project.file.write_bytes(text.encode())
    return written(project, *call)


once_each = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(drawn=files(budget=True))
@once_each
def test_another_budget_changes_its_value_alone(drawn, tmp_path):
    before, after = drawn
    quote = "'" if "='20%'" in before else '"'
    expected = after.replace(f"={quote}2h{quote}", '="2h"')
    assert written_bytes(tmp_path, before, "goal", "2h") == expected


@given(drawn=files(budget=False))
@once_each
def test_a_first_budget_is_a_new_line_of_the_table(drawn, tmp_path):
    text = written_bytes(tmp_path, drawn[0], None, "2h")
    lines, before = text.splitlines(keepends=True), drawn[0].splitlines(keepends=True)
    [place] = [at for at, line in enumerate(lines) if line.strip() == 'budget = "2h"']
    del lines[place]
    assert "".join(lines).rstrip("\r\n") == "".join(before).rstrip("\r\n")
    assert {line[-2:] == "\r\n" for line in text.splitlines(keepends=True)[:-1]} == {"\r\n" in text}


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n# no more", "\r\n"])
@pytest.mark.parametrize("budget", [None, "1e15flop"])
def test_a_section_is_appended_below_what_was_there(tmp_path, end, budget):
    before = TEXT.rstrip("\n") + end
    text = written_bytes(tmp_path, before, "law", budget)
    assert text.startswith(before)
    own = {"target": "law", "models": ["small", "medium"]} | ({"budget": budget} if budget else {})
    assert tomllib.loads(text)["tune"] == own
    assert re.match(r"\s*\[tune\]", text[len(before) :])
    assert "\r\n\r\n[tune]" in text or "\n\n[tune]\n" in text


def test_a_mark_of_the_encoding_stays(tmp_path):
    assert written_bytes(tmp_path, "\ufeff" + TUNED, None, "2h") == "\ufeff" + TUNED.replace("20%", "2h")


def test_models_with_adapters_are_left_out_and_named(tmp_path):
    adapter = base_model("large", preset="llama-6m", lora_rank=8)
    project = project_of(tmp_path, TEXT + adapter)
    line = write_section(open_project(tmp_path), "goal", "2h")
    assert load_settings(project.file).tune.models == ("small", "medium")
    assert line.startswith(f'added [tune] to {project.file}: target = "goal", models = ["small", "medium"]')
    assert 'budget = "2h" (large has lora_rank' in line
    assert "\n" not in line


@pytest.mark.parametrize("budget", [None, "20%", "20.0 %"])
def test_what_the_section_says_already_is_not_written_again(tmp_path, budget):
    project = project_of(tmp_path, TUNED)
    before = project.file.stat().st_ino
    assert write_section(open_project(tmp_path), "goal", budget) == ""
    assert project.file.stat().st_ino == before


def test_mode_and_link_of_the_file_stay(tmp_path):
    project = project_of(tmp_path / "project", TUNED)
    kept = tmp_path / "kept.toml"
    project.file.rename(kept)
    kept.chmod(0o640)
    project.file.symlink_to(kept)
    line = write_section(open_project(project.root), None, "2h")
    assert line == f'set budget = "2h" in [tune] of {project.file}, was "20%"'
    assert project.file.is_symlink()
    assert 'budget = "2h"' in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o640


INLINE = settings(*PARTS).replace(
    "[project]", 'tune = { target = "goal", models = ["small"], budget = "20%" }\n[project]', 1
)
WITHOUT_MODEL = settings(target())
REFUSED = {
    "no such target": (TEXT, ("gaol", None), UnknownNameError, ["'gaol'", "did you mean 'goal'?"]),
    "no target of a call": (TEXT, (None, "2h"), TuneSectionError, ["`tamis tune TARGET`", "goal, law"]),
    "no target at all": (settings(base_model()), (None, None), TuneSectionError, ["add a [[target]] first"]),
    "no model": (WITHOUT_MODEL, ("goal", None), TuneSectionError, ["no [[base_model]]", "llama-0.8m"]),
    "adapters alone": (
        WITHOUT_MODEL + base_model(lora_rank=8),
        ("goal", None),
        TuneSectionError,
        ["small has lora_rank"],
    ),
    "a wrong budget": (TEXT, ("goal", "20 cows"), BadComputeError, ["'20 cows'", '"20%"', '"1e15flop"']),
    "a wrong budget for a section": (TUNED, (None, "0%"), BadComputeError, ["'0%'"]),
    "another target": (
        TUNED,
        ("law", None),
        TuneSectionError,
        ["target = \"goal\", not 'law'", "change target"],
    ),
    "an inline table": (INLINE, (None, "2h"), TuneSectionError, ['set budget = "2h" in its [tune]']),
    "too few held-out examples": (
        settings(target(held_out=39), base_model()),
        ("goal", None),
        TooFewExamplesError,
        ["19 examples for the guard", "held_out = 40"],
    ),
    "too few examples for validation": (
        settings(target(train=109), base_model()),
        ("goal", None),
        TooFewExamplesError,
        ["29 examples for validation", "train = 110"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_changes_nothing(tmp_path, case):
    text, call, error, parts = REFUSED[case]
    project = project_of(tmp_path, text)
    before = project.file.read_bytes()
    with pytest.raises(error) as caught:
        write_section(open_project(tmp_path), *call)
    assert [part for part in parts if part not in str(caught.value)] == []
    assert project.file.read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("call", [("goal", "2h"), (None, "2h")], ids=["section", "budget"])
def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch, call):
    project = project_of(tmp_path, TEXT if call[0] else TUNED)
    before = project.file.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a test may run as root
    with pytest.raises(TuneSectionError, match=r"cannot be written \(it is read-only\); make it writable"):
        write_section(open_project(tmp_path), *call)
    assert project.file.read_bytes() == before


def test_the_page_shows_what_the_command_writes(tmp_path):
    [shown] = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    before, heading, _section = shown.partition("[tune]")
    project = project_of(tmp_path, before)
    own = tomllib.loads(shown)["tune"]
    assert heading
    assert "tamis tune goal --budget 20%" in PAGE.read_text()
    write_section(open_project(tmp_path), "goal", "20%")
    assert tomllib.loads(project.text)["tune"].items() <= own.items()


@pytest.fixture
def asked(tmp_path, monkeypatch, nowhere) -> list[list[str]]:
    """Have the verb make nothing, and return what it asked for, in the folder of a project."""
    made: list[list[str]] = []
    plain_project(tmp_path, TEXT, {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(making, "value_due", lambda *_given: None)
    monkeypatch.setattr(making, "due", lambda *_given: None)
    monkeypatch.setattr(making, "inputs_due", lambda *_given: [])
    monkeypatch.setattr(making, "read_status", lambda _project: SimpleNamespace(held_back=[]))
    monkeypatch.setattr(making, "_materialize", lambda assets, **_given: made.append([*assets]) or 0)
    return made


def test_the_verb_writes_the_section_and_makes_the_recipe_of_it(asked, tmp_path, capsys, monkeypatch):
    assert main(["tune", "goal", "--budget", "2h"]) == 2
    assert "'recipe' has not been materialized yet" in capsys.readouterr().err
    assert asked == [["recipe"]]
    tune = load_settings(tmp_path / "tamis.toml").tune
    assert (tune.target, tune.budget) == ("goal", "2h")
    monkeypatch.setattr(making, "_materialize", lambda *_given, **_more: 1)
    assert main(["tune"]) == 2
    assert "recipe was not made; fix the problems listed above" in capsys.readouterr().err


def test_the_verb_prints_the_stored_answer_and_recipes_as_json(asked, capsys):
    store = open_project().home.store
    write_section(open_project(), "goal", None)
    for name, rows in {
        "tune_answers": [
            {"target": "goal", "recipe": "a", "model": "small", "reference": "random", "break_even": None},
            {"target": "law"},
        ],
        "recipes": [{"recipe": "b", "place": 2}, {"recipe": "a", "place": 1, "sampler": None}],
    }.items():
        store.put(name, rows_of(name, rows))
    assert main(["tune", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["target"], answer["recipe"], answer["break_even"]) == ("goal", "a", None)
    assert [row["recipe"] for row in answer["recipes"]] == ["a", "b"]


def test_the_verb_makes_what_the_recipe_follows_from_and_nothing_else(tmp_path, monkeypatch, capsys, nowhere):
    plain_project(tmp_path, f"{TUNED}\n{selection('chosen')}")
    monkeypatch.chdir(tmp_path)
    assets: list[str] = []
    monkeypatch.setattr(making, "_materialize", lambda names, **_given: assets.extend(names) or 0)
    assert main(["tune"]) == 2
    said = capsys.readouterr().err
    assert "assets that the recipe follows from: " in said
    assert "'recipe' has not been materialized yet" in said
    assert assets[-1] == "recipe"
    assert {"documents", "target_examples", "embeddings", "base_models"} <= set(assets)
    assert "selected_subset" not in assets
    assert len(assets) == len(set(assets))


def test_models_that_scaling_does_not_choose_among_are_left_out(tmp_path):
    project = plain_project(
        tmp_path, TEXT + '[scaling]\ntarget = "goal"\nmodels = ["medium"]\nsizes = [8, 16]\n'
    )
    write_section(project.project, "goal", None)
    assert load_settings(project.file).tune.models == ("medium",)
