"""Values of tamis.toml that would fail later: addresses, globs, a seed, and names that others are made of."""

import tomllib

import pytest
from projects import base_model, corpus, selection, settings, target

from tamis.base.errors import ConfigurationError
from tamis.settings.config import Settings, parse_settings

MODELS = settings(base_model("small"), base_model("small-twin"))


def parsed(text: str) -> Settings:
    return parse_settings(tomllib.loads(text))


WRONG = {
    "a judge without a scheme": (
        settings() + '[judge]\nurl = "localhost:8000/v1"\n',
        ["judge.url = 'localhost:8000/v1'", "begins with https:// or http://"],
    ),
    "a tracker without a scheme": (
        settings() + '[tracking]\nuri = "mlflow:5000"\n',
        ["tracking.uri = 'mlflow:5000'", "http://", "postgresql://", "sqlite:///"],
    ),
    "a tracker without a scheme, with a password": (
        settings() + '[tracking]\nuri = "me:secret@mlflow:5000"\n',
        ["tracking.uri = '(hidden)'", "postgresql://"],
    ),
    "a seed that no library takes": (
        settings().replace("[project]", f"[project]\nseed = {2**63}"),
        ["project.seed", "less than or equal to 9223372036854775807"],
    ),
    "a range that goes down": (
        settings(corpus(include=["[z-a]*"])),
        ["corpus[0].include[0] = '[z-a]*'", "a range such as [a-z] goes upwards"],
    ),
    "a model named as another's twin": (
        MODELS + '[perplexity]\nmodel = "small"\n',
        ["[[base_model]] name = 'small-twin'", "a twin of 'small'"],
    ),
    "a model named as the twin of one that a sampler names": (
        MODELS + selection("best", "perplexity:small"),
        ["[[base_model]] name = 'small-twin'", "a twin of 'small'"],
    ),
    "a model named as the twin of one that is warmed up": (
        MODELS + target() + selection("best", "target-path:small", target="goal"),
        ["[[base_model]] name = 'small-twin'", "a twin of 'small'"],
    ),
    "trials of one name": (
        settings(base_model("small"), base_model("small__a"), selection("b"), selection("a__b"))
        + '[comparison.on_request]\nmodels = ["small", "small__a"]\nselections = ["b", "a__b"]\n',
        ["[[base_model]] name", "'warm-up__small__a__b'", "without two underscores"],
    ),
    "law trials of one name": (
        settings(target("law"), target("20"), base_model("small"), base_model("small__10"))
        + '[scaling]\ntarget = ["law", "20"]\nmodels = ["small", "small__10"]\nsizes = [10, 20]\n',
        ["[[base_model]] name", "'law__small__10__20'"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_would_fail_later_is_refused_with_what_is_valid(case):
    text, parts = WRONG[case]
    with pytest.raises(ConfigurationError) as caught:
        parsed(text)
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://mlflow:5000",
        "postgresql+psycopg2://host/db",
        "sqlite:///runs.db",
        "file:///runs",
        "databricks",
    ],
)
def test_addresses_that_mlflow_takes_are_taken(uri):
    assert parsed(settings() + f'[tracking]\nuri = "{uri}"\n').tracking.uri == uri


def test_a_model_may_be_named_as_a_twin_that_nothing_trains():
    assert [model.name for model in parsed(MODELS).base_model] == ["small", "small-twin"]
