"""Mixture reuse: which runs a change needs, and a law over the virtual source that expands to all."""

import numpy as np
import pytest

from tamis.mixture import (
    BadMixtureSettingError,
    BadWeightsError,
    best_mixture,
    fit_mixture_law,
    plan_reuse,
    propose_runs,
)

OLD = {f"s{number}": share for number, share in enumerate([0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05])}


def test_a_new_source_among_eight_needs_nine_runs():
    found = plan_reuse(OLD, [*OLD, "code"])
    assert (found.runs, found.free) == (9, ("code",))
    assert found.columns == (tuple(OLD), ("code",))
    assert found.ratios == pytest.approx([*OLD.values(), 0])


@pytest.mark.parametrize(
    ("sources", "changed", "free", "runs"),
    [
        (list(OLD), {}, (), 0),
        (list(OLD), {"s0": 0.08}, (), 0),
        (list(OLD), {"s0": 0.2}, (), 9),
        (list(OLD)[1:], {}, (), 0),
        ([*list(OLD)[1:], "s0a", "s0b"], {}, (), 12),
        ([*OLD, "code"], {}, ("s3",), 12),
        (["a", "b", "c"], {}, (), 12),
    ],
)
def test_runs_follow_what_changed(sources, changed, free, runs):
    assert plan_reuse(OLD, sources, changed=changed, free=free).runs == runs


def test_a_removed_source_leaves_the_ratios_of_the_others():
    found = plan_reuse(OLD, list(OLD)[1:])
    assert found.removed == ("s0",)
    assert found.expand([[1.0]])[0] == pytest.approx(np.array(list(OLD.values())[1:]) / 0.7)


def test_collapsing_undoes_expanding():
    found = plan_reuse(OLD, ["code", *OLD])
    weights = np.array([[0.7, 0.3], [1.0, 0.0], [0.0, 1.0]])
    expanded = found.expand(weights)
    assert expanded.sum(1) == pytest.approx(np.ones(3))
    assert expanded[0, 0] == pytest.approx(0.3)
    assert expanded[0, 1] == pytest.approx(0.7 * 0.3)
    assert found.collapse(expanded) == pytest.approx(weights)
    other = np.full(9, 1 / 9)
    with pytest.raises(BadWeightsError, match="off their fixed ratios"):
        found.collapse(other)
    assert found.totals(other)[0] == pytest.approx([8 / 9, 1 / 9])


def test_the_virtual_source_ends_with_its_scarcest_part():
    found = plan_reuse({"a": 0.75, "b": 0.25}, ["a", "b", "new"])
    assert found.available_tokens([300, 50, 20]) == pytest.approx([200, 20])


def test_a_law_over_the_virtual_source_finds_the_share_of_the_new_one():
    slopes = np.array([-1.5, -1.0, -0.5, -1.2])
    old = np.array([1.5, 1.0, 0.5]) ** 2 / 3.5
    found = plan_reuse(dict(zip("abc", old, strict=True)), list("abcd"))
    weights = propose_runs([0.8, 0.2], found.runs, maximum=1.0)
    losses = 2 + np.exp(np.sqrt(found.expand(weights)) @ slopes)
    best = best_mixture(fit_mixture_law(weights, losses, "root"), [0.8, 0.2], stay_near=0.0)
    assert found.expand(best.weights)[0] == pytest.approx(slopes**2 / (slopes**2).sum(), abs=0.03)


def test_unknown_names_are_refused():
    with pytest.raises(BadMixtureSettingError):
        plan_reuse(OLD, ["a", "a"])
    with pytest.raises(BadMixtureSettingError):
        plan_reuse(OLD, list(OLD), changed={"other": 0.5})
    with pytest.raises(BadMixtureSettingError):
        plan_reuse({"a": -1.0}, ["a"])
