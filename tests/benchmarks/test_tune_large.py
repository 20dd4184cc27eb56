"""Arms with 135 million parameters: the pick of the smaller model, unless it is another arm already."""

import json

from benchmarks._real_tasks import TASKS
from benchmarks.tune_large import PICK, PICKS, arms
from tamis.tuning.recipes import EXAMPLES


def test_a_pick_is_an_arm_of_its_own_unless_it_is_another(tmp_path):
    fixed = {"random": ("random", "10%"), "got-d": ("got-d", "10%"), "knn": ("knn", "10%")}
    assert PICKS["ag-news"] in fixed.values()
    assert arms(TASKS["ag-news"], None) == fixed
    assert arms(TASKS["imdb"], tmp_path) == {**fixed, PICK: PICKS["imdb"]}, "no other answer"
    for answer, pick in (
        ({"sampler": "classifier", "share": "30%"}, ("classifier", "30%")),
        ({"sampler": None, "share": None}, (EXAMPLES, None)),
    ):
        (tmp_path / "imdb.json").write_text(json.dumps(answer))
        assert arms(TASKS["imdb"], tmp_path) == {**fixed, PICK: pick}
