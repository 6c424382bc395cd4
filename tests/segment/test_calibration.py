from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from self1e.segment.calibration import IDENTITY, Calibration


def test_default_changes_nothing() -> None:
    scores = np.linspace(0, 1, 11)
    np.testing.assert_allclose(Calibration()(scores, scores > 0.5), scores, atol=1e-7)


def test_fit_recovers_a_known_curve() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.5, 1, 4000)
    empty = rng.random(4000) < 0.3
    truth = np.where(empty, 2 * scores - 1, (2 * scores - 1) ** 2)
    ious = np.where(empty, rng.random(4000) < truth, np.clip(truth + rng.normal(0, 0.1, 4000), 0, 1))
    fitted = Calibration.fit(scores, ious, empty)
    middle = np.linspace(0.56, 0.94, 20)
    np.testing.assert_allclose(fitted(middle, np.zeros(20, bool)), (2 * middle - 1) ** 2, atol=0.04)
    np.testing.assert_allclose(fitted(middle, np.ones(20, bool)), 2 * middle - 1, atol=0.08)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), max_size=60),
    st.integers(1, 15),
)
@settings(max_examples=200, deadline=None)
def test_fit_is_always_monotone_and_survives_json(samples: list[tuple[float, float, bool]], bins: int) -> None:
    scores, ious, empty = ([sample[index] for sample in samples] for index in range(3))
    fitted = Calibration.fit(scores, ious, np.array(empty, bool), bins)
    grid = np.linspace(0, 1, 101)
    for kind in (False, True):
        mapped = fitted(grid, np.full(101, kind))
        assert (np.diff(mapped) >= 0).all() and mapped.min() >= 0 and mapped.max() <= 1
    assert Calibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_too_little_data_leaves_the_scores_alone() -> None:
    assert Calibration.fit([0.5] * 4, [1.0] * 4).present == IDENTITY
    assert Calibration.fit([0.5] * 5, [1.0] * 5).present == ((0.5, 1.0),)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="rise"):
        Calibration(present=((0.0, 0.5), (1.0, 0.4)))
    with pytest.raises(ValueError, match="outside"):
        Calibration(absent=((0.0, 0.5), (2.0, 0.6)))
    with pytest.raises(ValueError, match="no knots"):
        Calibration(present=())
    with pytest.raises(ValueError, match="unknown"):
        Calibration.from_dict({"presnt": []})
    with pytest.raises(ValueError, match="shapes"):
        Calibration.fit([0.1, 0.2], [0.3])
    with pytest.raises(ValueError, match="bins"):
        Calibration.fit([0.1], [0.3], bins=0)
