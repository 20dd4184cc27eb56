"""The benchmark of solvers: what it claims of each ratio, and the exit code that says so."""

import json

import pytest

from benchmarks import transport
from benchmarks._transport_claims import missed, ratios


def measured(**seconds_and_memory):
    return {
        name.replace("_", "-"): {"seconds": seconds, "peak_memory_mib": memory}
        for name, (seconds, memory) in seconds_and_memory.items()
    }


GOOD = {"tamis": (1.0, 500), "pot_lazy": (20.0, 50), "pot_dense": (1.3, 1_000), "ott_jax": (1.5, 200)}


def test_each_ratio_says_what_is_wanted_and_whether_it_is_reached():
    lines = {line["ratio"]: line for line in ratios(measured(**GOOD))}
    assert {name: (line["wanted"], line["reached"]) for name, line in lines.items()} == {
        "tamis to pot-lazy": ({"times_faster": 20.0}, True),
        "tamis to pot-dense": ({"times_faster": 1.3}, True),
        "tamis to ott-jax": ({}, None),
    }
    assert not any(map(missed, lines.values()))


@pytest.mark.parametrize(
    ("changed", "sentences"),
    [
        ({"pot_lazy": (19.9, 50)}, ["tamis to pot-lazy: 19.9 times faster, wanted at least 20"]),
        ({"ott_jax": (1.29, 200)}, ["tamis to ott-jax: 1.29 times faster, wanted at least 1.3"]),
        ({"pot_dense": (0.94, 900)}, ["tamis to pot-dense: 0.94 times faster, wanted at least 1.3"]),
        (
            {"tamis_scores": (1.1, 101)},
            ["tamis-scores to pot-lazy: 18.18", "tamis-scores to pot-dense: 1.18"],
        ),
        (
            {"tamis_streamed": (0.9, 100), "geomloss": (9.0, 990)},
            ["tamis-streamed to geomloss: 0.101 of its memory, wanted at most 0.1"],
        ),
    ],
)
def test_a_missed_claim_is_said_in_words(changed, sentences):
    found = [text for text in map(missed, ratios(measured(**{**GOOD, **changed}))) if text]
    assert len(found) == len(sentences)
    assert all(text.startswith(sentence) for text, sentence in zip(found, sentences, strict=True))


def test_without_tamis_or_others_nothing_is_claimed():
    assert ratios(measured(pot_lazy=(1.0, 1))) == []
    assert ratios(measured(tamis=(1.0, 1))) == []


@pytest.mark.parametrize(("lazy", "code"), [(20.0, None), (2.0, "claim missed: tamis to pot-lazy: 2 times")])
def test_the_exit_code_says_whether_the_claims_hold(lazy, code, monkeypatch, capsys, tmp_path):
    lines = measured(**{**GOOD, "pot_lazy": (lazy, 50)})
    monkeypatch.setattr(transport, "compare", lambda flags, cache: transport._ratios(lines))
    monkeypatch.setattr("sys.argv", ["transport", "--figure", "cpu", "--cache", str(tmp_path)])
    if code is None:
        transport.main()
    else:
        with pytest.raises(SystemExit, match=code):
            transport.main()
    yardstick, *printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert yardstick["benchmark"] == "yardstick"
    assert [line["reached"] for line in printed] == [code is None, True, None]
