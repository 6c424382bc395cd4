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
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 15),
)
@settings(max_examples=200, deadline=None)
def test_fit_is_always_monotone_and_survives_json(samples: list[tuple[float, float, bool, bool]], bins: int) -> None:
    scores, ious, empty, there = ([sample[index] for sample in samples] for index in range(4))
    fitted = Calibration.fit(scores, ious, np.array(empty, bool), np.array(there, bool), bins)
    grid = np.linspace(0, 1, 101)
    for kind in (False, True):
        held = fitted.withholds(grid, np.full(101, kind))
        assert (fitted(grid[held], np.full(held.sum(), kind)) == np.float32(fitted.withheld)).all()
        mapped = fitted(grid[~held], np.full((~held).sum(), kind))
        assert (np.diff(mapped) >= 0).all() and mapped.min() >= 0 and mapped.max() <= 1
    assert Calibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_masks_of_nothing_are_withheld_for_few_of_something() -> None:
    """Of 100 things two are missed, and three may be given up; of 50 others a third has scores as low as these have."""
    there = np.array([True] * 100 + [False] * 50)
    empty = np.array([True] * 2 + [False] * 148)
    scores = np.concatenate([[0.9, 0.9, 0.5, 0.54, 0.56], np.linspace(0.6, 1, 95), np.linspace(0.5, 1, 50)])
    ious = np.where(there & ~empty, scores - 0.1, 0.0)
    fitted = Calibration.fit(scores, ious, empty, there)
    held = fitted.withholds(scores, empty)
    assert fitted.least == pytest.approx(0.6) and held[there].sum() == 3 and held[~there].sum() == 10
    assert fitted.withheld == pytest.approx(10 / 13)
    assert fitted([0.52], [False])[0] == pytest.approx(fitted.withheld)
    assert not fitted.withholds([0.52], [True]).any()
    # The map is that of what is shown.
    assert fitted.present == Calibration.fit(scores[~empty & ~held], ious[~empty & ~held]).present


NEVER = np.zeros(60, bool)


@pytest.mark.parametrize(
    ("there", "empty"),
    [
        (~NEVER, NEVER),  # nothing is asked for that is not there
        (NEVER, NEVER),  # or nothing else
        (np.arange(60) < 30, NEVER),  # the lowest scores are those of what is there
        (np.arange(60) % 2 == 0, np.arange(60) > 55),  # much of that is missed as it is, and the lowest score is of it
    ],
)
def test_nothing_is_withheld_without_need(there: np.ndarray, empty: np.ndarray) -> None:
    fitted = Calibration.fit(np.linspace(0.5, 1, 60), np.where(there, 0.8, 0.0), empty, there)
    assert fitted.least == 0 and "least" not in fitted.to_dict()


def test_masks_of_nothing_are_withheld_as_far_as_iou_gains() -> None:
    """50 right masks are not given up for 7 of nothing, though 95 % of what is there would still be found."""
    there = np.arange(1100) % 11 > 0
    scores = np.linspace(0.5, 1, 1100)
    assert Calibration.fit(scores, np.where(there, 0.8, 0.0), there=there).least == 0
    ious = np.where(there & (scores > 0.51), 0.8, 0.0)  # of wrong ones more are
    fitted = Calibration.fit(scores, ious, there=there)
    assert fitted.least == pytest.approx(0.51, abs=0.005) and fitted.withheld < 0.2


def test_masks_of_one_score_stand_and_fall_together() -> None:
    there = np.array([False, True] * 10 + [True] * 200)
    scores = np.array([0.5] * 20 + [0.9] * 200)
    fitted = Calibration.fit(scores, np.where(there & (scores > 0.5), 0.8, 0.0), there=there)
    assert fitted.withholds(scores, np.zeros(220, bool)).sum() == 20 and fitted.withheld == 0.5


@pytest.mark.parametrize(("few", "withheld"), [(4, False), (5, True)])
def test_a_handful_of_masks_proves_nothing(few: int, withheld: bool) -> None:
    scores, there = np.array([0.5] * few + [0.9] * 60), np.array([False] * few + [True] * 60)
    fitted = Calibration.fit(scores, np.where(there, 0.8, 0.0), there=there)
    assert (fitted.least > 0) == withheld


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
    with pytest.raises(ValueError, match=r"`least` is outside \[0, 1\]: 1.5"):
        Calibration(least=1.5)
    with pytest.raises(ValueError, match="unknown"):
        Calibration.from_dict({"presnt": []})
    with pytest.raises(ValueError, match="shapes"):
        Calibration.fit([0.1, 0.2], [0.3])
    with pytest.raises(ValueError, match="bins"):
        Calibration.fit([0.1], [0.3], bins=0)
