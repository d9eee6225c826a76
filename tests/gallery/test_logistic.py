"""The curves: rising, within 0 to 1, finite whatever they are fitted to, and the right ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepfood.gallery.logistic import Logistic, auroc, calibration_error

SCORES = st.floats(-1, 1)


@st.composite
def evidence(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 3)))
    scores = draw(hnp.arrays(np.float64, shape, elements=SCORES))
    return scores, draw(hnp.arrays(bool, shape[0]))


@given(evidence=evidence(), step=st.floats(0, 2), data=st.data())
def test_never_falls_and_stays_within_0_and_1(
    evidence: tuple[np.ndarray, np.ndarray], step: float, data: st.DataObject
) -> None:
    curve = Logistic.fit(*evidence)
    assert np.isfinite([*curve.slopes, curve.offset]).all()
    d = evidence[0].shape[1]
    at = np.array(data.draw(st.lists(SCORES, min_size=d, max_size=d)))
    for feature in range(d):
        higher = at.copy()
        higher[feature] += step
        assert 0 <= curve(at) <= curve(higher) <= 1
    assert Logistic.model_validate_json(curve.model_dump_json()) == curve


@given(gap=st.floats(1e-6, 2), count=st.integers(1, 200))
def test_scores_that_tell_perfectly_stay_finite(gap: float, count: int) -> None:
    scores = np.repeat([0.0, gap], count)[:, np.newaxis]
    curve = Logistic.fit(scores, scores[:, 0] > 0)
    low, high = curve([[0.0], [gap]])
    # Platt's targets: what one more photo of each kind would make of it.
    assert low == pytest.approx(1 / (count + 2), abs=0.01)
    assert high == pytest.approx((count + 1) / (count + 2), abs=0.01)


def test_a_score_that_tells_the_wrong_way_round_is_left_out() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(500) < 0.3
    good = right + rng.normal(0, 0.5, 500)
    bad = ~right + rng.normal(0, 0.1, 500)
    assert Logistic.fit(bad[:, np.newaxis], right).slopes == (0,)
    level = Logistic.fit(bad[:, np.newaxis], right)([[0.5]])
    assert level == pytest.approx(right.mean(), abs=0.01)
    both = Logistic.fit(np.column_stack([good, bad]), right)
    assert both.slopes[1] == 0
    assert both.slopes[0] == pytest.approx(Logistic.fit(good[:, np.newaxis], right).slopes[0])


def test_finds_the_curve_that_the_data_came_from() -> None:
    rng = np.random.default_rng(1)
    truth = Logistic(slopes=(6.0, 3.0), offset=-4.0)
    scores = rng.random((20_000, 2))
    right = rng.random(20_000) < truth(scores)
    found = Logistic.fit(scores, right)
    assert found.slopes == pytest.approx((6, 3), rel=0.1)
    assert found.offset == pytest.approx(-4, rel=0.1)
    assert calibration_error(found(scores), right) < 0.02


def test_no_smaller_loss_is_near() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random((300, 1))
    right = rng.random(300) < scores[:, 0]
    yes = right.sum()
    target = np.where(right, (yes + 1) / (yes + 2), 1 / (300 - yes + 2))

    def loss(slope: float, offset: float) -> float:
        p = Logistic(slopes=(slope,), offset=offset)(scores)
        return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).sum())

    best = Logistic.fit(scores, right)
    for slope, offset in [(0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)]:
        assert loss(best.slopes[0], best.offset) < loss(
            best.slopes[0] + slope, best.offset + offset
        )


def test_calibration_error_by_hand() -> None:
    assert calibration_error(np.array([0.5, 0.5]), np.array([True, False])) == 0
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert calibration_error(np.array([0.9, 0.1]), np.array([False, True])) == pytest.approx(0.9)
    # One bin 0.2 too sure, another with as many 0.2 not sure enough: no averaging out.
    p = np.repeat([0.1, 0.9], 10)
    right = np.repeat([True, False, True, False], [3, 7, 7, 3])
    assert calibration_error(p, right) == pytest.approx(0.2)


@given(
    scores=hnp.arrays(np.int8, st.integers(2, 30), elements=st.integers(0, 5)),
    data=st.data(),
)
def test_auroc_counts_pairs(scores: np.ndarray, data: st.DataObject) -> None:
    positive = data.draw(
        hnp.arrays(bool, len(scores)).filter(lambda which: 0 < which.sum() < len(which))
    )
    yes, no = scores[positive, np.newaxis], scores[~positive]
    by_pairs = ((yes > no) + 0.5 * (yes == no)).mean()
    assert auroc(scores[positive].astype(float), scores[~positive].astype(float)) == pytest.approx(
        by_pairs
    )
