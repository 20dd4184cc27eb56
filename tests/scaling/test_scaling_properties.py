"""Whatever is measured, every method answers: a number or a stated nothing, without a crash or a warning."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tamis.scaling import BudgetedSearch, accept_then_stop, audit_curves, fit_law, predict_full_loss
from tamis.scaling.laws import LAWS
from tamis.scaling.measurements import measured
from tamis.scaling.methods import METHODS

NAN, INFINITE = float("nan"), float("inf")
ODD = st.sampled_from([NAN, INFINITE, -INFINITE, 0.0, -1.0, 1e-300, 1e300])
SIZES = st.one_of(st.integers(0, 10**7).map(float), st.floats(1e-3, 1e12), ODD)
LOSSES = st.one_of(st.floats(1e-6, 1e6), st.floats(0.5, 5), st.sampled_from([1.0, 2.0]), ODD)
CURVES = st.lists(st.tuples(SIZES, LOSSES), max_size=9).map(
    lambda points: tuple(map(list, zip(*points, strict=True))) or ([], [])
)
TABLES = st.lists(CURVES, min_size=1, max_size=4).map(
    lambda curves: {f"m{i}": curve for i, curve in enumerate(curves)}
)
UNITS = st.sampled_from([1e-6, 1.0, 1e6])


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def tame(curves, target):
    """Whether a line as steep as any two neighbours stays within floating point as far as any model needs."""
    curves = [curve for curve in curves if len(curve)]
    steepest = max(
        (
            np.abs(np.diff(curve.log_losses) / np.diff(curve.log_sizes)).max()
            for curve in curves
            if len(curve) > 1
        ),
        default=0.0,
    )
    reach = max((abs(np.log(target) - curve.log_sizes).max() for curve in curves), default=0.0)
    return steepest * reach + max((abs(curve.log_losses).max() for curve in curves), default=0.0) < 300


@settings(max_examples=60, deadline=None)
@given(CURVES, st.sampled_from(list(LAWS)))
def test_a_fit_has_a_status_and_predicts_a_loss_or_nothing(curve, law):
    fit, usable = fit_law(law, *curve), len(measured(*curve))
    assert fit.n_sizes == usable
    if usable < len(LAWS[law].free):
        assert "too few sizes" in fit.status
        assert np.isnan(fit.predict(1e5))
        return
    assert fit.status.startswith(("converged", "not converged"))
    assert np.isfinite(fit.rmsd)
    assert (fit.predict(measured(*curve).sizes) >= 0).all()
    assert fit.basins[0].rmsd == min(basin.rmsd for basin in fit.basins)
    enough = usable - len(LAWS[law].free) - 2 > 0
    assert np.isfinite(fit.aicc) == enough


@settings(max_examples=80, deadline=None)
@given(CURVES, st.floats(1e-2, 1e12), st.integers(2, 5), st.sampled_from(["published", "literal"]))
def test_accept_then_stop_predicts_or_says_nothing(curve, target, k, variant):
    found = accept_then_stop(*curve, target, k=k, variant=variant)
    seen = measured(*curve).up_to(target)
    sizes = seen.sizes
    assert len(sizes) or np.isnan(found.loss)
    assert np.isfinite(found.loss) or not (len(sizes) and tame([seen], target))
    assert set(found.accepted) <= set(sizes.tolist())
    assert np.isnan(found.high) or found.low <= found.loss <= found.high


@settings(max_examples=60, deadline=None)
@given(TABLES, st.floats(1e-2, 1e9), st.sampled_from(list(METHODS)))
def test_every_method_answers_for_every_model(curves, target, method):
    found = predict_full_loss(curves, target, method)
    assert list(found) == list(curves)
    cleaned = {model: measured(*curve).up_to(target) for model, curve in curves.items()}
    usual = tame(cleaned.values(), target)
    for model, one in found.items():
        curve = cleaned[model]
        if method in ("best", "ats", "subtuning"):
            assert len(curve) or np.isnan(one.loss)
            assert np.isfinite(one.loss) or not (len(curve) and usual)
        assert np.isnan(one.loss) or one.loss >= 0
        assert np.isnan([one.low, one.high]).all() or one.low <= one.loss <= one.high


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["best", "ats", "subtuning", "rectified"]), UNITS, st.integers(0, 30))
def test_scales_of_a_millionth_or_a_million_change_nothing(method, unit, seed):
    rng = np.random.default_rng(seed)
    sizes = np.sort(rng.choice(np.arange(1, 200), 7, replace=False) * 10.0)
    curves = {
        f"m{i}": (sizes, (1 + 3 * sizes**-0.3 + 0.1 * i) * np.exp(0.005 * rng.normal(size=7)))
        for i in range(4)
    }
    there = {model: (grid, losses * unit) for model, (grid, losses) in curves.items()}
    here, found = predict_full_loss(curves, 5_000, method), predict_full_loss(there, 5_000, method)
    for model in curves:
        assert found[model].loss == pytest.approx(here[model].loss * unit, rel=1e-3)
        assert found[model].high == pytest.approx(here[model].high * unit, rel=2e-2)


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_audits_name_curves_and_sizes_of_the_table(curves):
    for defect in audit_curves(curves):
        assert defect.model in curves
        assert defect.kind in ("copied", "repeated", "interpolated", "non_monotone", "outlier")
        assert defect.detail


@settings(max_examples=40, deadline=None)
@given(
    reported=st.lists(
        st.tuples(
            st.integers(0, 3), SIZES.filter(lambda size: 0 < size < INFINITE), st.one_of(LOSSES, st.none())
        ),
        max_size=8,
    ),
    costs=st.lists(st.floats(1e-6, 1e9), min_size=4, max_size=4),
    sizes=st.lists(st.floats(1, 1e6), min_size=1, max_size=6),
    share=st.floats(1e-3, 2.0),
    seed=st.integers(0, 9),
)
@example(
    reported=[(0, 1.0, 1.0), (0, 1e300, None), (2, 1e300, None)],
    costs=[1.0, 1.0, 179769313.0, 1.0],
    sizes=[1.0],
    share=1.0,
    seed=0,
)
def test_a_search_ends_within_its_budget_whatever_is_reported(reported, costs, sizes, share, seed):
    models = [f"m{i}" for i in range(4)]
    search = BudgetedSearch(models, sizes, dict(zip(models, costs, strict=True)), share, seed)
    for model, size, loss in reported:
        search.tell(models[model], size, loss)
    outside = search.spent_share
    rng, rounds = np.random.default_rng(seed), 0
    while runs := search.ask():
        rounds += 1
        assert search.spent_share <= max(share, outside) * (1 + 1e-6)
        for model, size in runs:
            search.tell(model, size, NAN if rng.random() < 0.2 else rng.uniform(1, 3))
    assert rounds <= len(sizes)
    assert search.choice in [*models, None]
