"""Surfaces and rivals of the benchmark of tuning: their noise, their truth, and what rivals spend."""

import json

import numpy as np
import pytest

from benchmarks._coverage_data import Report
from benchmarks._tune_searches import RIVALS, by_halving, by_random_search, searched
from benchmarks._tune_surfaces import (
    EXAMPLES,
    NOISES,
    OF_EXAMPLES,
    OF_SEEDS,
    RECIPES,
    Surface,
    Trainer,
    example_effects,
    guard_pairs,
    luck,
    luck_of_pairs,
    with_effects,
    without_effect,
)
from benchmarks.tune import Options, effects, failing, grids, null, regret, retunes
from tamis.tuning.search import SHARES


def draw():
    return np.random.default_rng(0)


@pytest.mark.parametrize("noise", NOISES)
def test_noise_has_no_mean_and_the_stated_variance(noise):
    values = luck(draw(), noise, (200_000,))
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.var() == pytest.approx(1, rel=0.25 if noise == "t3" else 0.02)
    one = draw()
    means = np.array([luck_of_pairs(one, noise, 3).mean() for _ in range(20_000)])
    assert means.mean() == pytest.approx(0, abs=0.02)
    assert means.var() == pytest.approx(1 / 3, rel=0.25 if noise == "t3" else 0.05)


@pytest.mark.parametrize("pairs", [3, 5])
def test_means_of_pairs_vary_as_real_tasks_do(pairs):
    one = draw()
    differences = []
    for _ in range(3_000):
        runs = guard_pairs(one, -0.4, pairs=pairs, examples_d=example_effects(one))
        differences.append((runs.winner_pd - runs.reference_pd).sum() / pairs / runs.bytes_d.sum())
    assert np.mean(differences) == pytest.approx(-0.4, abs=0.02)
    # Noise of single examples in single runs is half of that of examples, divided by the pairs.
    expected = OF_EXAMPLES + OF_SEEDS / pairs + OF_EXAMPLES / 2 / pairs
    assert np.var(differences) == pytest.approx(expected, rel=0.1)
    assert runs.winner_pd.shape == (pairs, EXAMPLES)


def test_sizes_agree_as_stated():
    one = draw()
    ranks = {}
    for agree in (1.0, 0.5):
        surfaces = [with_effects(one, agree=agree, spread=1.0) for _ in range(300)]
        pairs = np.concatenate([surface.loss_as[4:, :2] for surface in surfaces])
        ranks[agree] = np.corrcoef(pairs.T)[0, 1]
    assert ranks[1.0] == pytest.approx(1)
    assert 0.5 < ranks[0.5] < 0.85  # all are less random, which the sizes do not share


def test_runs_of_a_seed_share_its_luck_and_some_fail():
    surface = Surface(
        names=("random", "got-d"), loss_as=np.zeros((2, len(SHARES))), deviation=1.0, failing=(0.0, 0.5)
    )
    trainer = Trainer(surface, draw())
    losses = np.array([[trainer.loss(name, seed, 1.0) for name in surface.names] for seed in range(4_000)])
    assert np.isnan(losses).mean(0) == pytest.approx([0, 0.5], abs=0.03)
    both = losses[np.isfinite(losses).all(1)]
    assert np.corrcoef(both.T)[0, 1] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("rival", RIVALS)
def test_without_noise_searches_end_with_the_best(rival):
    quiet = with_effects(draw(), agree=1.0)
    surface = Surface(names=quiet.names, loss_as=quiet.loss_as, deviation=1e-9)
    regret_of = surface.regret(RIVALS[rival](surface, 36.0, draw()))
    if rival in ("fixed got-d", "random"):
        assert regret_of == surface.regret("got-d" if rival == "fixed got-d" else "random")
    else:
        assert regret_of < 1e-6


@pytest.mark.parametrize("budget", [9.0, 18.0, 40.0])
def test_nobody_spends_more_than_the_budget(budget, monkeypatch):
    spent = []
    own = Trainer.loss
    monkeypatch.setattr(
        Trainer, "loss", lambda self, name, seed, share: spent.append(share) or own(self, name, seed, share)
    )
    surface = with_effects(draw())
    for choose in (by_random_search, by_halving):
        spent.clear()
        choose(surface, budget, draw())
        assert budget / 3 < sum(spent) <= budget + 1e-9
    spent.clear()
    search = searched(surface, budget, draw())
    assert sum(spent) == pytest.approx(search.spent)
    assert search.spent + search.reserved <= budget * (1 + 1e-6)


def test_equal_recipes_have_no_regret():
    surface = without_effect("normal")
    assert len(surface.names) == RECIPES
    assert {surface.regret(name) for name in surface.names} == {0.0}


def test_parts_print_their_figures(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_BENCH_DATA", str(tmp_path))
    options = Options(surfaces=40, seed=3)
    for part in (null, effects, retunes, failing, regret, grids):
        part(Report(), options)
    lines = {line["benchmark"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {"null_t3_5_pairs", "effects_lucky_3_pairs", "retunes_null", "failing_0.5"} <= lines.keys()
    assert lines["null_normal_3_pairs"]["surfaces"] == 40
    assert 0 <= lines["null_normal_3_pairs"]["ten_looks"] < 0.3
    assert "tune standard error" in lines["regret_spread_0.5_budget_18"]
    assert "set TAMIS_BENCH_DATA" in lines["grids"]["skipped"]
