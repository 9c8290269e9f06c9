"""Tukey's biweight in closed form."""

from __future__ import annotations

import numpy as np

from porepatch_lib.robust import MAD_TO_SIGMA, TUKEY, tukey_weights


def test_weights_fall_to_nothing_at_the_cut_off():
    np.testing.assert_allclose(tukey_weights(np.array([0.0, 1.0, 2.0, 5.0, np.inf]), 2.0), [1.0, 0.5625, 0.0, 0.0, 0.0])


def test_every_row_has_its_cut_off_and_none_at_zero_weighs_one():
    residual = np.array([[1.0, 3.0], [1.0, 3.0]])
    np.testing.assert_allclose(tukey_weights(residual, np.array([[2.0], [0.0]])), [[0.5625, 0.0], [1.0, 1.0]])


def test_the_constants_are_those_of_normal_errors():
    errors = np.abs(np.random.default_rng(0).standard_normal(200_000))
    assert abs(MAD_TO_SIGMA * np.median(errors) - 1.0) < 0.01
    psi = errors * tukey_weights(errors, TUKEY)  # efficiency: mean slope squared over mean square of r w(r)
    share = np.minimum(errors / TUKEY, 1.0) ** 2
    slope = (1.0 - share) * (1.0 - 5.0 * share)
    assert abs(slope.mean() ** 2 / np.mean(psi**2) - 0.95) < 0.005
