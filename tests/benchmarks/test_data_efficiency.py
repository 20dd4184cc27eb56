"""What the benchmark says of the paper's claims, from tests whose answers are known."""

import json
from types import SimpleNamespace

import pytest

from benchmarks.data_efficiency import print_claims
from tamis.comparison.statistics import NonInferiority


def outcome(sampler: str, budget: str, p: float, p_better: float) -> NonInferiority:
    return NonInferiority(
        sampler=sampler, budget=budget, difference=-0.1, upper=-0.05, margin=0.01, p=p, p_better=p_better
    )


def claims(capsys, arms: list[NonInferiority]) -> list[dict]:
    target = SimpleNamespace(recoveries=arms, recovery_p=[one.p for one in arms])
    print_claims(SimpleNamespace(target=target, convergences=[]))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_claims_hold_for_the_arms_that_show_them(capsys):
    arms = [outcome("density", "30%", 0.01, 0.4), outcome("ask-llm", "10%", 0.01, 0.02)]
    coverage, quality = claims(capsys, [*arms, outcome("ask-llm", "60%", 0.9, 0.9)])
    assert (coverage["holds"], coverage["arms"]) == (True, ["density at 30%"])
    assert (quality["holds"], quality["arms"]) == (True, ["ask-llm at 10%"])
    assert quality["p_holm"] == {"ask-llm at 10%": 0.04, "ask-llm at 60%": 0.9}


@pytest.mark.parametrize(
    "arms",
    [
        [outcome("ask-llm", f"{share}%", 0.01, 0.02) for share in (10, 30, 60)],  # one of three by chance
        [outcome("ask-llm", "5%", 0.01, 0.001), outcome("quality-diversity", "10%", 0.01, 0.5)],
        [outcome("perplexity", "10%", 0.01, 0.001), outcome("ask-llm", "10%", 0.01, 0.5)],
    ],
)
def test_chance_other_budgets_and_other_samplers_show_nothing_of_quality(capsys, arms):
    _coverage, quality = claims(capsys, arms)
    assert quality["holds"] is False


def test_where_nothing_was_tested_nothing_is_said(capsys):
    assert [line["holds"] for line in claims(capsys, [])] == [None, None]
