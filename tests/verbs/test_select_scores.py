"""Scores, quality and conditions by options of `tamis select`, against the project of the same call."""

import json

import polars as pl
import pytest
from classifiers import save_classifier
from projects import CHOSEN, SmallProject, texts, write

from tamis.cli import main

SCORED = CHOSEN | {"column_scores", "classifier_scores"}


@pytest.fixture
def pool(tmp_path, encoder_cache, monkeypatch):
    monkeypatch.setenv("TAMIS_CACHE", str(encoder_cache))
    monkeypatch.chdir(tmp_path)
    documents = [*texts("cooking", 30), *texts("sailing", 30)]
    rows = [
        {
            "text": text,
            "meta": {"edu": number % 7, "kind": "recipe"},
            "tox": None if number % 5 else number / 60,
        }
        for number, text in enumerate(documents)
    ]
    write(tmp_path / "pool.jsonl", map(json.dumps, rows))
    write(tmp_path / "goal.jsonl", (json.dumps({"text": text}) for text in texts("algebra", 40)))
    save_classifier(tmp_path / "sound")
    return tmp_path


@pytest.mark.parametrize(
    "options",
    [
        ["--score", "tox=tox,worse", "--sampler", "score:tox", "--where", "n_chars > 150"],
        ["--score", "edu=meta.edu,range=0:5", "--sampler", "got-d-quality", "--quality", "edu"],
        [
            "--score",
            "edu=meta.edu",
            "--score",
            "tox=tox",
            "--where",
            "edu >= 2 AND (tox < .5 OR tox IS NULL)",
        ],
        ["--score", "sound=sound,label=good", "--sampler", "score:sound", "--where", "sound > 0.01"],
    ],
)
def test_the_choice_is_that_of_the_project_of_the_same_call(pool, options):
    call = ["pool.jsonl", "--target", "goal.jsonl", "--rules", "none", "--budget", "5", *options]
    assert main(["select", *call, "-o", "out.jsonl", "--decisions", "why.jsonl"]) == 0
    assert main(["init", "made", "--from-select", *call]) == 0
    project = SmallProject(pool / "made")
    project.configure(project.text + "\n[automation]\nsettle_seconds = 0.0\n")
    project.make(SCORED)
    stored = project.store.read("decisions").sort("doc_id")
    found = pl.read_ndjson("why.jsonl", infer_schema_length=None).sort("doc_id")
    for column in ("doc_id", "verdict", "reason", "rank", "detail"):
        assert found[column].to_list() == stored[column].to_list()
    assert (found["verdict"] == "selected").sum() == 5
    project.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--score", "edu"], "--score edu: expected NAME=COLUMN or NAME=FOLDER"),
        (["--score", "edu=x,lower"], "--score edu=x,lower: 'lower' is not valid"),
        (["--score", "edu=x,range=1"], "'range=1' is not valid"),
        (["--score", "edu=meta.edo", "--sampler", "score:edu"], "--score edu: no row of the corpora"),
        (
            ["--score", "kind=meta.kind", "--sampler", "score:kind"],
            'kind: 60 rows have a value in column meta.kind that is no number, such as "recipe"',
        ),
        (["--score", "edu=models/edu,label=good"], "'models/edu' is no folder, so it is read as"),
        (["--sampler", "score:edu"], "the name of a --score, but there is none"),
        (["--score", "edu=meta.edu", "--sampler", "got-d-quality", "--quality", "edu"], "such as range=0:5"),
        (["--score", "edu=meta.edu", "--where", "len(edu) > 1"], "--where = "),
        (["--score", "sound=sound", "--sampler", "score:sound"], "needs `label`, the one that counts"),
    ],
)
def test_what_is_wrong_is_said_in_options(pool, capfd, options, said):
    call = ["select", "pool.jsonl", "--target", "goal.jsonl", "-o", "out.jsonl", *options]
    assert main(call) == 2
    error = capfd.readouterr().err
    assert said in error
    assert "tamis.toml" not in error
    assert not (pool / "out.jsonl").exists()
