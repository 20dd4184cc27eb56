"""A base model that was interrupted keeps its state when trials begin after it."""

import os

from projects import CORPUS, GRAPH

from tamis.base.errors import PermanentError
from tamis.training.loop import keep_newest, resume_folder
from tamis.training.stage import TRIALS_STAGE

MODEL = """
[[base_model]]
name = "small"
preset = "llama-0.8m"

[pretraining]
tokens = 2_000
vocabulary = 512
"""


def test_the_state_of_a_base_model_is_none_that_a_trial_makes_room_in(new_graph, monkeypatch):
    kept = []

    def interrupted(_shape, _texts, _source, _options, _folder, resume, **_named):
        resume.mkdir(parents=True, exist_ok=True)
        os.utime(resume, (1, 1))
        kept.append(resume)
        raise PermanentError("interrupted for a test")

    monkeypatch.setattr("tamis.platform.assets.training.pretrain", interrupted)
    graph = new_graph("models", GRAPH + MODEL)
    graph.try_making(CORPUS | {"target_examples", "contamination", "tokenizer", "base_models"})
    assert kept
    for digit in "abcdef":
        resume_folder(graph.home.cache, TRIALS_STAGE.name, digit * 16).mkdir(parents=True)
    keep_newest(kept[0].parent, 2, TRIALS_STAGE.name)
    assert all(folder.is_dir() for folder in kept)
    assert len(list(kept[0].parent.glob("trials-*"))) == 2
