"""A whole project without its files: what the corpora hold is stated, what was made is imagined."""

import pytest
from projects import Imagined, base_model, plain_project, selection, settings, target

TRAINING = """
[scaling]
target = "goal"
models = ["small"]
sizes = [5, 10]

[comparison]
model = "small"
selections = ["near"]
on_request = { models = ["small"], selections = ["near", "thin"] }
"""


@pytest.fixture
def imagined(tmp_path) -> Imagined:
    near, thin = selection("near", "got-d", 10, target="goal"), selection("thin", "density", 10)
    text = settings(target(), target("other"), near, thin, base_model(), TRAINING)
    return Imagined(plain_project(tmp_path, text, {}).project, {"web__a": "1", "web__b": "1"})
