"""What each training row weighs in the loss."""

import numpy as np
import pytest

from emomm.curriculum.row_weights import difficulty_weights


def test_difficulty_weights():
    weights = difficulty_weights(np.array([0.0, 1.0, 2.0, 5.0]))
    np.testing.assert_allclose(weights, np.array([1, 2, 3, 6]) / 3, rtol=1e-6)
    assert weights.dtype == np.float32
    many = difficulty_weights(np.random.default_rng(0).random(10_000) * 4)
    assert many.mean(dtype=np.float64) == pytest.approx(1.0, abs=1e-7) and many.min() >= 0
    for bad in (-0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="row 1"):
            difficulty_weights(np.array([0.0, bad]))
