"""What the benchmark of own curves says of curves whose law is known."""

import json

import numpy as np
import pytest

from benchmarks.own_curves import SIZES, draw, print_ahead, print_curves, print_searches

GRID = np.array(SIZES, dtype=float)
BENDS = {"llama-0-3m-early": 60.0, "llama-0-8m-early": 300.0, "llama-2-5m-late": 1_500.0}
CURVES = {
    model: (GRID, 1.0 + place / 10 + 2 / (1 + (GRID / bend) ** 0.7))
    for place, (model, bend) in enumerate(BENDS.items())
}


@pytest.fixture
def lines(capsys):
    """Print all of the curves; the lines by kind."""
    print_curves("news", CURVES)
    print_ahead("news", CURVES)
    print_searches("news", CURVES)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {kind: [line for line in found if line["kind"] == kind] for kind in ("curve", "ahead", "search")}


def test_the_end_of_the_first_phase_is_found(lines):
    found = {line["model"]: line["pre_learned_examples"] for line in lines["curve"]}
    assert found == pytest.approx(BENDS, rel=0.02)
    assert all(line["both_phases"] and line["rmsd"] < line["rmsd_vanilla"] for line in lines["curve"])


def test_the_law_that_the_curves_follow_predicts_them(lines):
    errors = {
        (line["method"], line["octaves"], line["size"]): (line["error"], line["regret_percent"])
        for line in lines["ahead"]
    }
    law = [value for key, value in errors.items() if key[0] == "rectified"]
    assert len(law) == 4
    assert max(error for error, _ in law) < 1e-3
    assert max(regret for _, regret in law) == 0
    assert errors["subtuning", 2, SIZES[-1]][0] > 0.05


def test_searches_choose_within_their_budget(lines):
    assert {(line["search"], line["budget"]) for line in lines["search"]} == {
        (search, budget) for search in ("tamis", "ats", "halving") for budget in (0.1, 0.3)
    }
    assert all(
        line["spent"] <= line["budget"] + 1e-9 for line in lines["search"] if line["search"] == "tamis"
    )
    best = min(CURVES, key=lambda model: CURVES[model][1][-1])
    assert all((line["regret_percent"] == 0) == (line["model"] == best) for line in lines["search"])


def test_the_picture_is_one(tmp_path):
    draw({"news": CURVES}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
