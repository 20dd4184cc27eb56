"""Kernel ridge regression against scikit-learn."""

import numpy as np
import pytest

from tamis.quality.kernel_ridge import (
    FOLDS,
    RIDGES,
    Setting,
    choose_setting,
    fit_kernel_ridge,
    weighted,
)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(80, 6))


def reference(gram, targets, ridge, gram_new):
    """Predictions of scikit-learn on a kernel it centres itself."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.preprocessing import KernelCenterer

    centre = KernelCenterer().fit(gram)
    centred = centre.transform(gram)
    model = KernelRidge(alpha=ridge * np.trace(centred) / len(gram), kernel="precomputed")
    model.fit(centred, targets - targets.mean())
    return model.predict(centre.transform(gram_new)) + targets.mean()


def gaussian(left, right, gamma):
    return np.exp(-gamma * ((left[:, None] - right[None]) ** 2).sum(axis=2))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_predictions_equal_those_of_scikit_learn(rows, kernel):
    targets, new = np.sin(rows[:, 0]) + rows[:, 1] + 5, rows[:9] + 0.1
    fitted = fit_kernel_ridge(rows, targets, Setting(kernel=kernel, width=1.0, ridge=0.1, vector_weight=1.0))
    grams = [
        left @ rows.T if kernel == "linear" else gaussian(left, rows, fitted.gamma) for left in (rows, new)
    ]
    np.testing.assert_allclose(fitted.predict(new), reference(grams[0], targets, 0.1, grams[1]), atol=1e-9)


def test_predictions_out_of_fold_are_those_of_fits_without_the_fold(rows):
    targets = rows[:, 0] ** 2 + 0.1 * rows[:, 1]
    setting, predicted = choose_setting(rows, targets, 0)
    assert setting.kernel == "rbf"  # no line fits a square
    assert setting.ridge in RIDGES
    scaled, fold = weighted(rows, 0, setting.vector_weight), np.arange(len(rows)) % FOLDS
    gram = gaussian(scaled, scaled, fit_kernel_ridge(scaled, targets, setting).gamma)
    for out in range(FOLDS):
        inside = fold != out
        seen, new = gram[np.ix_(inside, inside)], gram[np.ix_(~inside, inside)]
        np.testing.assert_allclose(
            predicted[~inside], reference(seen, targets[inside], setting.ridge, new), atol=1e-6
        )


def test_a_line_calls_for_the_linear_kernel_and_noise_columns_lose_their_weight():
    generator = np.random.default_rng(1)
    vectors, surface = generator.normal(size=(120, 64)), generator.normal(size=(120, 4))
    rows = np.concatenate([vectors, surface], axis=1)
    setting, _ = choose_setting(rows, surface[:, 0] + 0.5 * generator.normal(size=120), 64)
    assert setting.vector_weight == 0.0
    assert setting.kernel == "linear"
    setting, _ = choose_setting(rows, vectors[:, :32] @ np.ones(32), 64)
    assert setting.vector_weight > 0.0


def test_constant_targets_give_constant_predictions(rows):
    setting, predicted = choose_setting(rows, np.full(80, 3.0), 0)
    np.testing.assert_allclose(predicted, 3.0)
    np.testing.assert_allclose(fit_kernel_ridge(rows, np.full(80, 3.0), setting).predict(rows), 3.0)
