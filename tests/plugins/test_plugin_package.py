"""The template of a package with plug-ins, built, installed and used as its README says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from projects import corpus, plain_project, selection, sentences, settings, write_jsonl

from tamis.history.explain import explain_document

TEMPLATE = Path(__file__).resolve().parents[2] / "docs" / "template-plugin"
MADE = {"raw_shards", "documents", "near_duplicates", "plugin_scores", "selected_subset"}
TEXT = settings(
    corpus(),
    '[[score]]\nname = "words"\nplugin = "distinct-words"\n',
    selection("rich", "score:words", 3),
    selection("many", "many-words-first", 3),
)


def pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The folder in which the built wheel of the template is installed."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copytree(TEMPLATE, folder / "source")
    offline = ("--no-deps", "--no-index")
    pip("wheel", *offline, "--no-build-isolation", "-w", str(folder), str(folder / "source"))
    (wheel,) = folder.glob("*.whl")
    pip("install", *offline, "--target", str(folder / "site"), str(wheel))
    return folder / "site"


def test_its_plugins_choose_by_their_names_alone(site, tmp_path, monkeypatch, nowhere):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TAMIS_TRUST", raising=False)
    monkeypatch.syspath_prepend(site)
    project = plain_project(tmp_path / "project", TEXT, {})
    texts = sentences("algebra", 12, 3)
    write_jsonl(project.root / "documents" / "a.jsonl", texts)
    project.make(MADE)
    project.close()
    values = sorted(project.store.read("plugin_scores", ["value"])["value"])
    assert values == sorted(len({word.casefold() for word in text.split()}) for text in texts)
    rows = project.store.read("selected_subset", ["selection", "doc_id"])
    for name in ("rich", "many"):
        chosen = project.store.read("plugin_scores", ["doc_id", "value"]).join(
            rows.filter(selection=name), on="doc_id"
        )
        assert sorted(chosen["value"]) == values[-3:]
    (first, *_others) = explain_document(project.home, rows["doc_id"][0])["scores"]
    assert first["plugin"]["file"] == "tamis-plugin-template 1.0, plugins.py"


def test_its_own_tests_pass(site):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", "-c", "/dev/null",
         str(TEMPLATE / "tests")],
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
