"""A selection by quality in a small project: a judge, its chosen sample, and a grader for the rest."""

import pytest
from projects import SMALL, sentences, write_jsonl

from tamis.quality import Grader

QUALITY = """
[judge]
sample = 60
max_tokens = 16

[[selection]]
name = "good"
sampler = "ask-llm"
budget = 20
"""


@pytest.fixture(scope="module")
def judged(tmp_path_factory, materialized):
    project = materialized(tmp_path_factory.mktemp("judged") / "project", SMALL + QUALITY)
    project.tamis("materialize")
    return project


def test_the_sample_is_judged_and_everything_graded_and_arrivals_are_asked_about_once(judged):
    store = judged.store
    sample = store.read("judge_sample")
    assert len(sample) == 60
    assert 8 <= (sample["part"] == "hold_out").sum() <= 30
    assert store.count("scores_judge") == 60
    assert store.count("scores_quality") == 180
    noise = store.count("scores_noise")
    assert 0 < noise <= 48
    held_out = (sample["part"] == "hold_out").sum()
    assert store.count("scores_judge_again") == held_out
    (fitted,) = (judged.home.fitted / "quality_grader").rglob("grader.npz")
    ceiling = Grader.load(fitted).report.ceiling
    assert (ceiling.documents if ceiling else 0) == (held_out if held_out >= 10 else 0)
    assert judged.json("status")["quarantine"] == []
    assert judged.json("plan") == []

    added = judged.root / "landing" / "more.jsonl"
    write_jsonl(added, sentences("sailing", 20, 7))
    judged.tamis("materialize")
    assert store.count("scores_quality") == 200
    added.unlink()
    judged.tamis("materialize")
    assert judged.store.read("judge_sample").sort("doc_id").equals(sample.sort("doc_id"))
    assert judged.json("audit")["status"] == "green"
