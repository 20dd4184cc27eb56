"""Published figures of Lin et al. (arXiv 2402.02314), reproduced from the public loss tables."""

import numpy as np
import polars as pl
import pytest

from tamis.scaling import accept_then_stop, audit_curves, fit_law, model_size_scores, predict_full_loss

TABLES = ("flan", "gigaword")
BUDGETS = (8, 16, 32, 64, 128, 256, 512)
FULL = 1_638_400


@pytest.fixture(scope="module")
def tables(bench_data):
    folder = bench_data / "scaling_laws"
    if not (folder / "flan.csv").is_file():
        pytest.skip(f"the public loss curves are absent: {folder}/flan.csv")
    return {name: _curves(pl.read_csv(folder / f"{name}.csv")) for name in TABLES} | {"folder": folder}


def _curves(frame):
    return {
        key[0]: (rows["D"].to_numpy(), rows["loss"].to_numpy())
        for key, rows in frame.group_by("model", maintain_order=True)
    }


def _cut(curves, budget):
    return {
        name: (sizes[sizes <= FULL / budget], losses[sizes <= FULL / budget])
        for name, (sizes, losses) in curves.items()
    }


def _scores(predicted, curves):
    truth = np.array([losses[-1] for _sizes, losses in curves.values()])
    return np.corrcoef(predicted, truth)[0, 1], (truth.max() - truth[np.argmin(predicted)]) / np.ptp(truth)


@pytest.mark.parametrize(
    ("k", "delta"),
    [
        pytest.param(k, delta, marks=() if (k, delta) in ((3, 5), (4, 1)) else pytest.mark.slow)
        for k in (3, 4, 5)
        for delta in (1, 2, 3, 4, 5)
    ],
)
def test_accept_then_stop_reproduces_every_published_correlation(tables, k, delta):
    published = pl.read_csv(tables["folder"] / "published_ablation_study_hyper.csv")
    cells = published.filter(pl.col("metric") == "PearCorr", pl.col("k") == k, pl.col("delta") == delta)
    assert len(cells) == 14
    for row in cells.iter_rows(named=True):
        curves = tables[row["dataset"].lower()]
        cut = _cut(curves, row["ratio"]).values()
        found = [accept_then_stop(*c, FULL, k=k, delta=delta).loss for c in cut]
        assert _scores(found, curves)[0] == pytest.approx(row["value"], abs=5e-4)


def test_accept_then_stop_reproduces_every_published_accuracy(tables):
    published = pl.read_csv(tables["folder"] / "published_different_law_for_selection.csv")
    cells = published.filter(pl.col("method") == "AtS", pl.col("metric") == "RelAcc")
    assert len(cells) == 14
    for row in cells.iter_rows(named=True):
        curves = tables[row["dataset"].lower()]
        found = [accept_then_stop(*c, FULL).loss for c in _cut(curves, row["ratio"]).values()]
        assert _scores(found, curves)[1] == pytest.approx(row["value"], abs=5e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flan", (90.4, 71.3, 63.6, 61.0, 51.1, 50.4, 46.0)),
        ("gigaword", (98.9, 97.6, 96.9, 92.7, 91.7, 88.6, 90.3)),
    ],
)
def test_the_literal_variant_differs_as_known(tables, name, expected):
    for budget, correlation in zip(BUDGETS, expected, strict=True):
        cut = _cut(tables[name], budget).values()
        found = [accept_then_stop(*c, FULL, variant="literal").loss for c in cut]
        assert 100 * _scores(found, tables[name])[0] == pytest.approx(correlation, abs=0.06)


@pytest.mark.parametrize(
    ("method", "name", "expected"), [("zeroshot", "flan", -0.107), ("zeroshot", "gigaword", -0.492)]
)
def test_zero_shot_correlates_as_published(tables, method, name, expected):
    found = predict_full_loss(_cut(tables[name], 8), FULL, method)
    assert _scores([one.loss for one in found.values()], tables[name])[0] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("name", "expected"), [("flan", -0.209), ("gigaword", -0.244)])
def test_model_size_correlates_as_published(tables, name, expected):
    frame = pl.read_csv(tables["folder"] / f"{name}.csv")
    scores = model_size_scores(dict(frame.select("model", "n_params").unique().iter_rows()))
    correlation = _scores([scores[model] for model in tables[name]], tables[name])[0]
    assert -correlation == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("name", "least"), [("flan", 0.68), ("gigaword", 0.94)])
def test_best_predicts_better_than_accept_then_stop(tables, name, least):
    scores = {
        method: np.array([_cell(tables[name], budget, method) for budget in BUDGETS])
        for method in ("best", "ats")
    }
    assert scores["best"][:, 0].mean() >= max(least, scores["ats"][:, 0].mean())


def test_best_chooses_no_worse_than_accept_then_stop(tables):
    accuracy = {
        method: np.mean([_cell(tables[name], budget, method)[1] for name in TABLES for budget in BUDGETS])
        for method in ("best", "ats")
    }
    assert accuracy["best"] >= accuracy["ats"] >= 0.935


def _cell(curves, budget, method):
    found = predict_full_loss(_cut(curves, budget), FULL, method)
    return _scores([one.loss for one in found.values()], curves)


def test_known_defects_of_the_public_tables_are_found(tables):
    flan = {(d.model, d.kind) for d in audit_curves(tables["flan"]) if d.kind != "outlier"}
    assert flan == {("microsoft/phi-2", "interpolated")}
    gigaword = {(d.model, d.kind) for d in audit_curves(tables["gigaword"]) if d.kind != "outlier"}
    assert gigaword == {
        ("ai-forever/mGPT", "non_monotone"),
        ("facebook/opt-6.7b", "interpolated"),
        ("microsoft/phi-2", "copied"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "name", "low", "high"),
    [
        ("rectified", "flan", 0.00635, 0.00642),
        ("rectified", "gigaword", 0.00503, 0.00509),
        ("vanilla", "flan", 0.0347, 0.0350),
        ("vanilla", "gigaword", 0.0098, 0.0100),
        ("power3", "gigaword", 0.01000, 0.01010),
        ("shifted", "flan", 0.0136, 0.0137),
        ("shifted", "gigaword", 0.0060, 0.0061),
    ],
)
def test_fits_reach_the_known_optima(tables, law, name, low, high):
    fits = [fit_law(law, *curve) for curve in tables[name].values()]
    assert low <= np.mean([fit.rmsd for fit in fits]) <= high
    assert np.mean([fit.converged for fit in fits]) > 0.9
