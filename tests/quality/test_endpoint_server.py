"""The judge asked through a server of the embedded model, faults included."""

import numpy as np
import pytest
from judge_server import serving

from tamis.quality import AskLLM, Endpoint, EndpointUnavailableError, MissingLogProbabilitiesError

TEXTS = (
    "Glaciers form where more snow falls in winter than melts in summer, and slowly flow downhill.",
    "84.1 0.003 77 1291 6.5 6.6 91 0.2 17 18",
    "",
    "Home | About | Login | Home | About | Login",
)


def judge(url, **settings):
    endpoint = Endpoint(url, "smollm2-135m", attempts=4, first_wait_seconds=0.01, **settings)
    return AskLLM(endpoint, prompt="examples", batch_size=2)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_server_gives_the_scores_of_its_model_whatever_goes_wrong_on_the_way(smollm):
    local = smollm.score(TEXTS)
    with serving(smollm.local_judge(), "429", "500", "cut") as url:
        asked = judge(url)
        remote = asked.score(TEXTS)
        assert remote["margin"].null_count() == 0
        # A server shows its likeliest tokens only; spellings beyond them are bounded, not known.
        np.testing.assert_allclose(remote["margin"], local["margin"], atol=0.2)
        np.testing.assert_allclose(remote["logp_yes_raw"], local["logp_yes_raw"], atol=0.01)
        assert asked.usage.documents == len(TEXTS)
        assert asked.usage.tokens == pytest.approx(smollm_tokens(smollm), abs=2 * len(TEXTS))
        assert asked.usage.seconds > 0


def smollm_tokens(smollm) -> int:
    before = smollm.usage.tokens
    smollm.score(TEXTS)
    return smollm.usage.tokens - before


@pytest.mark.slow
def test_a_server_that_hides_log_probabilities_or_goes_away_is_named(smollm):
    with (
        serving(smollm.local_judge(), "silent") as url,
        pytest.raises(MissingLogProbabilitiesError, match="log-probabilities"),
    ):
        judge(url).score(TEXTS[:1])
    with pytest.raises(EndpointUnavailableError, match="4"):
        judge(url).score(TEXTS[:1])


def test_what_asking_costs_is_said():
    used = AskLLM("smollm2-135m").usage
    used.count_tokens(2_000_000)
    assert used.in_words() == {"tokens_asked": 2_000_000, "seconds_asked": 0.0}
    assert used.in_words(0.15)["cost"] == pytest.approx(0.3)
