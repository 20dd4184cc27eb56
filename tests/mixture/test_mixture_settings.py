"""[mixture] in tamis.toml: what is refused, and that it says what would be right."""

import tomllib

import pytest
from projects import base_model, corpus, selection, settings, target

from tamis.base.errors import ConfigurationError
from tamis.project import Project
from tamis.settings.config import parse_settings
from tamis.settings.references import TWIN, mixture_presets
from tamis.store.home import Home
from tamis.training.planned import model_names

TWO = corpus("a", "a") + corpus("b", "b")
GOAL = target("goal")


def mixture(**more):
    values = {"target": '"goal"', "model": '"llama-0.3m"', "train_tokens": "10_000"} | more
    return "[mixture]\n" + "\n".join(f"{key} = {value}" for key, value in values.items() if value) + "\n"


def parsed(*parts):
    return parse_settings(tomllib.loads(settings(*parts)))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((TWO, GOAL, mixture(target='"other"')), ["[mixture] target", "goal"]),
        ((TWO, GOAL, mixture(model='"llama-0.4m"')), ["[mixture] model", "llama-0.3m"]),
        ((TWO, GOAL, mixture(sources='"topic"')), ["mixture.sources", "did you mean 'topics'?"]),
        ((TWO, GOAL, mixture(runs="3")), ["[mixture] runs", "at least 4"]),
        ((corpus("a", "a"), GOAL, mixture()), ["[mixture] sources", "two [[corpus]]"]),
        ((TWO, GOAL, mixture(agreement_model='"llama-0.3m"')), ["agreement_model", "larger"]),
        ((TWO, GOAL, mixture(train_tokens="")), ["train_tokens", "a whole number"]),
        ((TWO, GOAL, mixture(target="[]")), ["mixture.target", "or a list of names"]),
        ((TWO, GOAL, mixture(target="[1]")), ["mixture.target = [1]", "or a list of names"]),
        ((TWO, GOAL, mixture(run_tokens="20_000")), ["[mixture] run_tokens", "train_tokens (10,000)"]),
        ((TWO, GOAL, mixture(runs="1_000_000")), ["mixture.runs", "2000"]),
        ((TWO, GOAL, mixture(pairs="2")), ["mixture.pairs = 2", "3 or more, or 0"]),
        ((TWO, GOAL, mixture(stay_near="1e300")), ["mixture.stay_near", "1000"]),
        ((TWO, GOAL, mixture(sampler='"perplexity:foo"')), ["'perplexity:foo'", "a [[base_model]]", "none"]),
        ((TWO, GOAL, mixture(max_repetition="0.5")), ["max_repetition"]),
        ((TWO, GOAL, mixture(sampler='"perplexity"')), ["perplexity.model"]),
        ((TWO, GOAL, selection("s", budget="4ktok", mixture=True)), ["mixture", "a [mixture]"]),
        ((TWO, GOAL, mixture(), selection("s", budget=4, mixture=True)), ["budget", "tokens"]),
        (
            (
                TWO, GOAL, mixture(),
                selection("s", budget="4ktok", mixture=True, per="source", maximum_shares=0.5),
            ),
            ["mixture", "per"],
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(parts, said):
    with pytest.raises(ConfigurationError) as raised:
        parsed(*parts)
    for part in said:
        assert part in str(raised.value)


def test_the_larger_preset_is_the_next_one_and_models_may_be_named():
    assert mixture_presets(parsed(TWO, GOAL, mixture())) == ("llama-0.3m", "llama-0.8m")
    assert mixture_presets(parsed(TWO, GOAL, mixture(model='"llama-6m"'))) == ("llama-6m", None)
    by_name = parsed(TWO, GOAL, base_model("mine", "llama-2.5m"), mixture(model='"mine"'))
    assert mixture_presets(by_name) == ("llama-2.5m", "llama-6m")
    assert mixture_presets(parsed(TWO, GOAL)) == (None, None)


@pytest.mark.parametrize("family", ["perplexity", "target-path"])
def test_a_model_that_ranks_inside_sources_has_a_twin(family, tmp_path):
    read = parsed(TWO, GOAL, base_model("mine", "llama-0.3m"), mixture(sampler=f'"{family}:mine"'))
    project = Project(file=tmp_path / "tamis.toml", settings=read, home=Home(tmp_path))
    assert model_names(project) == ("mine", f"mine{TWIN}")


def test_a_selection_without_mixture_depends_on_nothing_new():
    assert parsed(TWO, GOAL, selection("s")).selection[0].mixture is False
