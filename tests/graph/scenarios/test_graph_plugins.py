"""Plug-ins in the graph: scores and samplers in Python, their trust, changes, failures and explanation."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import SmallProject, corpus, plain_project, selection, settings, write

from tamis.base.trust import TRUST, UntrustedError, accept
from tamis.cli import main
from tamis.corpus import document_id
from tamis.graph.plan import full_plan, label
from tamis.graph.used_stages import used_by
from tamis.history.explain import explain_document, explanation_lines
from tamis.settings import samplers
from tamis.trust import plugins_asked
from tamis.verbs.status import read_status

MADE = {"raw_shards", "documents", "near_duplicates", "plugin_scores", "selected_subset"}
NAMES = ("ant", "bee", "crow", "dog", "elk", "fox", "gnu", "horse")
PLUGINS = """
from pathlib import Path

from helpers import characters
from tamis.plugins import sampler, score

with Path(__file__).with_name("imported").open("a") as log:
    log.write("+")


@score(name="length", version="1", reads="text", range=(0, 5000), meaning="characters of the text")
def length(texts):
    with Path(__file__).with_name("asked").open("a") as log:
        log.write("".join(f"{text.split()[2]} " for text in texts))
    return [characters(text) for text in texts]


@sampler(name="short-first", version="1", reads="text")
def short_first(candidates, vectors_nd, goal_md, seed):
    assert vectors_nd is None and goal_md is None and seed == 0
    return candidates["text"].str.len_chars()
"""
HELPERS = "def characters(text):\n    return len(text)\n"
TEXT = settings(
    corpus(),
    '[[score]]\nname = "len"\nplugin = "length"\n',
    selection("long", "score:len", 2, where="len < 1000"),
    selection("short", "short-first", 2),
).replace("[project]\n", '[project]\nplugins = ["plugins.py"]\n')


def text(name: str) -> str:
    return f"About the {name}, which is an animal of the {name} kind in the land of {name}."


def ids(*names: str) -> set[str]:
    return {document_id(text(name)) for name in names}


def rows(*names: str) -> list[str]:
    return [json.dumps({"text": text(name)}) for name in names]


def chosen(project: SmallProject, name: str) -> set[str]:
    found = project.store.read("selected_subset", ["selection", "doc_id"])
    return set(found.filter(selection=name)["doc_id"])


def values(project: SmallProject, score: str = "len") -> dict[str, float | None]:
    found = project.store.read("plugin_scores", ["doc_id", "value"], f"score = '{score}'")
    return dict(found.iter_rows())


def asked(project: SmallProject) -> list[str]:
    """The documents that the plug-in was asked about since the last call."""
    log = project.root / "asked"
    names = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return sorted(name.strip(",") for name in names)


def plugins_of(project: SmallProject, *changes: tuple[str, str]) -> None:
    """Change the file of plug-ins, and accept it."""
    file = project.root / "plugins.py"
    content = file.read_text()
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    file.write_text(content)
    accept(plugins_asked(project.project))


def failure(project: SmallProject) -> str:
    return " ".join(map(str, project.try_making(MADE).failed.values()))


def plan(project: SmallProject) -> dict[str, str]:
    """Due values of the stages that are made here, with the reason."""
    found = full_plan(project.snapshot, project.current)
    return {label(one.asset, one.partition): one.reason for one in found if one.asset in MADE}


@pytest.fixture(autouse=True)
def _own_record(tmp_path, monkeypatch, nowhere):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(TRUST, raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[SmallProject]:
    made = plain_project(tmp_path_factory.mktemp("plugins") / "project", TEXT, {})
    write(made.root / "documents" / "a.jsonl", rows(*NAMES))
    (made.root / "plugins.py").write_text(PLUGINS)
    (made.root / "helpers.py").write_text(HELPERS)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(TRUST, "1")
        made.make(MADE)
    yield made
    made.close()


@pytest.fixture
def project(made, tmp_path) -> Iterator[SmallProject]:
    """A copy of the project, everything made and its plug-ins accepted."""
    copied = made.copy(tmp_path / "copied")
    accept(plugins_asked(copied.project))
    asked(copied)
    (copied.root / "imported").unlink()
    yield copied
    copied.close()


def test_scores_and_samplers_of_a_file_choose_and_are_explained(made):
    project = made
    assert values(project) == {document_id(text(name)): len(text(name)) for name in NAMES}
    assert chosen(project, "long") == ids("horse", "crow")
    first = sorted(ids("ant", "bee", "dog", "elk", "fox", "gnu"))
    assert chosen(project, "short") <= set(first)
    (found,) = explain_document(project.home, document_id(text("horse")))["scores"]
    assert found["plugin"] == {
        "name": "length",
        "version": "1",
        "file": "plugins.py",
        "meaning": "characters of the text",
        "citation": "",
    }
    lines = explanation_lines(explain_document(project.home, document_id(text("horse"))))
    said = "len = 75 (percentile 100.0), by plug-in length of plugins.py, version 1: characters of the text"
    assert f"  {said}" in lines
    assert not project.make(MADE).made
    project.assert_sound(MADE)


def test_only_new_documents_are_asked_about_and_withdrawn_ones_leave(project):
    write(project.root / "documents" / "b.jsonl", rows("ibis", "ant"))
    project.make(MADE)
    assert asked(project) == ["ibis"]
    project.withdraw(sorted(ids("horse")))
    assert ids("horse").isdisjoint(values(project))
    project.make(MADE)
    assert asked(project) == []
    assert chosen(project, "long") == ids("crow", "ibis")
    (project.root / "documents" / "b.jsonl").unlink()
    project.try_making(MADE, allowed=["all"])
    assert set(values(project)) == ids(*NAMES) - ids("horse")


def test_planning_status_explanation_and_loading_run_nothing(project, monkeypatch, capsys):
    marker = project.root / "imported"
    monkeypatch.chdir(project.root)
    write(project.root / "documents" / "b.jsonl", rows("ibis"))
    explaining = ["explain", document_id(text("ant"))]
    for words in (["plan"], ["status"], explaining, ["audit", "long"], ["trust", "--list"]):
        assert main(words) in (0, 1), words
    project.definitions()
    used_by(project.project)
    read_status(project.project)
    assert not marker.exists()
    project.make(MADE)
    assert marker.read_text() == "+" * 2, "the score and the sampler are imported for their steps"


def test_nothing_runs_until_the_file_is_accepted_and_a_change_asks_again(project, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(project.root / "other"))
    monkeypatch.chdir(project.root)
    assert not project.make(MADE).made, "nothing is due, so nothing would run"
    write(project.root / "documents" / "b.jsonl", rows("ibis"))
    with pytest.raises(UntrustedError, match=r"plugins\.py is Python that runs .* with helpers"):
        project.try_making(MADE)
    assert not (project.root / "imported").exists()
    assert main(["plan"]) == 0
    assert "warning: `tamis materialize` will stop: " in capsys.readouterr().err
    assert main(["status"]) == 0
    assert "warning: `tamis materialize` will stop: " in capsys.readouterr().out
    assert main(["trust", "--list"]) == 0
    assert "not accepted: " in capsys.readouterr().out
    assert main(["trust"]) == 0
    project.make(MADE)
    (project.root / "helpers.py").write_text(HELPERS + "# changed\n")
    with pytest.raises(UntrustedError, match=r"take it out of plugins"):
        project.try_making(MADE)
    project.configure(project.text + selection("plain", "random", 2))
    assert not project.try_making(MADE - {"plugin_scores", "selected_subset"}).failed
    monkeypatch.setenv(TRUST, "1")
    project.make(MADE)
    assert chosen(project, "plain")


def test_other_code_under_the_same_version_is_due_again_with_that_reason(project):
    plugins_of(project, ("len_chars()", "len_bytes()"))
    why = "the code of plug-in {} (plugins.py) has changed, though not its version"
    assert plan(project) == {
        "plugin_scores": why.format("length"),
        "selected_subset[long]": "an input changes",
        "selected_subset[short]": why.format("short-first"),
    }
    project.make(MADE)
    assert asked(project) == sorted(NAMES)
    plugins_of(project, ('version="1", reads="text", range', 'version="2", reads="text", range'))
    assert plan(project)["plugin_scores"] == "changed"
    (project.root / "helpers.py").write_text(HELPERS.replace("len(text)", "-len(text)"))
    accept(plugins_asked(project.project))
    project.make(MADE)
    assert set(values(project).values()) == {-len(text(name)) for name in NAMES}


FAILS_ON_TWO = (
    "    return [characters(text) for text in texts]",
    "    if any('bee' in text or 'dog' in text for text in texts):\n        raise ValueError(texts[0])\n"
    "    return [characters(text) for text in texts]",
)


def test_documents_on_which_a_plugin_fails_are_set_aside_and_the_others_go_on(project):
    plugins_of(project, FAILS_ON_TWO)
    project.make(MADE)
    assert {doc_id for doc_id, value in values(project).items() if value is None} == ids("bee", "dog")
    shown = project.store.read("quarantine", ["shard", "reason", "detail", "excerpt"])
    assert set(shown["excerpt"]) == ids("bee", "dog")
    assert set(shown["reason"]) == {"plugin_failed"}
    line = (project.root / "plugins.py").read_text().split("raise ValueError")[0].count("\n") + 1
    (detail,) = {one.partition(": ")[2] for one in shown["detail"]}
    assert detail == f"plug-in length failed on it with ValueError (plugins.py, line {line})"
    decided = project.store.read("decisions", where=f"selection = 'long' AND doc_id = '{min(ids('bee'))}'")
    assert decided["reason"].to_list() == ["where"]
    assert any(
        "set aside by plugin_scores/len, plugin failed: plug-in length failed" in line
        for line in explanation_lines(explain_document(project.home, min(ids("bee"))))
    )
    asked(project)
    write(project.root / "documents" / "b.jsonl", rows("ibis"))
    project.make(MADE)
    assert asked(project) == ["ibis"], "what failed is asked about again only by other code"
    plugins_of(project, (FAILS_ON_TWO[1], FAILS_ON_TWO[0]))
    project.make(MADE)
    assert None not in values(project).values()
    assert not project.store.count("quarantine")
    assert not project.store.count("set_aside")
    project.assert_sound(MADE)


WRONG = {
    "too few": ("[characters(text) for text in texts]", "[1.0]", "returned 1 answer for 8 documents"),
    "raises at import": (
        "from helpers import characters",
        "from helpers import characters\nraise RuntimeError('no such model')",
        "plug-in length: importing plugins.py, line 5 raised RuntimeError: no such model",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_a_plugin_at_fault_is_named_and_stops_nothing_else(project, case):
    before = values(project)
    old, new, said = WRONG[case]
    project.configure(project.text + selection("plain", "random", 2))
    plugins_of(project, (old, new))
    assert said in failure(project)
    assert chosen(project, "plain"), "a selection that reads no plug-in is made"
    assert values(project) == before
    (project.root / "plugins.py").write_text(PLUGINS)
    accept(plugins_asked(project.project))
    project.make(MADE)
    assert values(project) == before
    project.assert_sound(MADE)


NO_NUMBERS = """def answer(text):
    return None if "ant" in text else float("nan") if "bee" in text else 1


@score"""


@pytest.mark.slow
def test_no_value_is_null_and_rejected_by_name(project):
    plugins_of(
        project,
        ("[characters(text) for text in texts]", "[answer(text) for text in texts]"),
        ('candidates["text"].str.len_chars()', '[answer(text) for text in candidates["text"]]'),
        ("@score", NO_NUMBERS),
    )
    project.make(MADE)
    assert {doc_id for doc_id, value in values(project).items() if value is None} == ids("ant", "bee")
    found = project.store.read("decisions", ["selection", "doc_id", "reason", "detail"])
    lacking = found.filter(selection="long").filter(doc_id=min(ids("ant"))).row(0)
    assert lacking[2:] == ("where", "len < 1000 (no value)")
    assert set(found.filter(selection="short", reason="no_score")["doc_id"]) == ids("ant", "bee")


def test_a_project_that_uses_plugins_no_more_has_none_of_their_rows(project):
    plugins_of(project, FAILS_ON_TWO)
    project.make(MADE)
    project.configure(settings(corpus(), selection("plain", "random", 2)))
    project.try_making(MADE - {"plugin_scores"}, allowed=["all"])
    assert project.store.count("plugin_scores") == 0
    assert project.store.count("quarantine") == 0
    assert project.store.count("set_aside") == 0
    assert "plugin_scores" not in used_by(project.project).assets


@pytest.mark.slow
def test_a_version_whose_plugin_is_gone_can_be_repeated(project, monkeypatch):
    monkeypatch.chdir(project.root)
    before = chosen(project, "short")
    project.reconfigure('sampler = "short-first"', 'sampler = "random"')
    project.reconfigure('plugins = ["plugins.py"]\n', "")
    project.reconfigure('[[score]]\nname = "len"\nplugin = "length"\n', "")
    project.reconfigure('"score:len"', '"random"')
    project.reconfigure('where = "len < 1000"\n', "")
    Path(project.root / "plugins.py").unlink()
    monkeypatch.setattr(samplers, "_PLUGINS", {})  # as in a process that never had it
    project.try_making(MADE - {"plugin_scores"}, allowed=["all"])
    assert main(["restore", "short", "1"]) == 0
    project.try_making(MADE - {"plugin_scores"}, allowed=["all"])
    assert chosen(project, "short") == before
