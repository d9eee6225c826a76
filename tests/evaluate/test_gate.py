"""The gate: what is certainly worse is refused, and what chance makes is not."""

import math

import numpy as np
import pytest

from deepfood.evaluate.gate import (
    CALIBRATION,
    FIGURES,
    MEANS,
    NOVELTY,
    WORST,
    Answers,
    BeforeAfter,
    Judgement,
    answers_of,
    judge,
)
from deepfood.evaluate.metrics import Labels, Vectors, confidence_interval, measure
from deepfood.gallery.logistic import auroc

NAMES = ("cake", "pasta", "rice", "soup")
LABELS = np.repeat(np.arange(4), 30)


def made_up(noise: float | np.ndarray, seed: int) -> Vectors:
    """120 unit vectors [n, 12] around the centres of four labels; `noise` of all, or of each."""
    rng = np.random.default_rng(seed)
    spread = np.broadcast_to(noise, len(LABELS))[:, np.newaxis]
    raw = np.eye(12)[LABELS] + spread * rng.normal(0, 1, (len(LABELS), 12))
    vectors: Vectors = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def asked(vectors: Vectors, labels: Labels = LABELS) -> Answers:
    own = np.arange(len(vectors))
    return answers_of(measure(vectors, labels, vectors, labels, own_rows=own), labels, labels)


def test_every_figure_of_a_model_that_is_worse_falls() -> None:
    good, bad = asked(made_up(0.2, 1)), asked(made_up(0.9, 1))
    found = judge(good, bad, LABELS, NAMES, seed=0)
    assert tuple(found.figures) == FIGURES
    for name in (*FIGURES[:4], NOVELTY, WORST):
        one = found.figures[name]
        assert one.after < one.before, name
        assert one.interval[0] <= one.difference <= one.interval[1] < 0, name
        assert f"{name} {one.after:.3f} (before: {one.before:.3f})" in found.worse(), name
    assert {one.label for one in found.lost} == set(NAMES)
    assert all(one.queries == 30 for one in found.lost)
    assert "labels that lost: " in found.worse()
    back = judge(bad, good, LABELS, NAMES, seed=0)
    assert not any(name in back.worse() for name in (*FIGURES[:4], NOVELTY, WORST))
    assert back.lost == ()


def test_figures_are_those_that_one_would_count_by_hand() -> None:
    first, second = asked(made_up(0.5, 2)), asked(made_up(0.6, 3))
    found = judge(first, second, LABELS, NAMES, seed=0)
    assert found.figures["mAP"].before == pytest.approx(first["mAP"].mean())
    by_label = [second["mAP"][label == LABELS].mean() for label in range(4)]
    assert found.figures[WORST].after == pytest.approx(min(by_label))
    # The probability is monotone in each score, so that a curve can hardly change the order.
    plain = auroc(second["in gallery"][:, 0], second["left out"][:, 0])
    assert found.figures[NOVELTY].after == pytest.approx(plain, abs=0.1)
    assert 0 <= found.figures[CALIBRATION].after < 0.2


def test_the_label_that_lost_is_named_where_all_others_gain() -> None:
    before = asked(made_up(0.4, 4))
    after = asked(made_up(np.where(LABELS == 2, 2.0, 0.1), 4))
    found = judge(before, after, LABELS, NAMES, seed=0)
    assert [one.label for one in found.lost] == ["rice"]
    assert found.figures["mAP"].difference > 0
    assert WORST in found.worse()


def test_equal_models_pass() -> None:
    same = asked(made_up(0.5, 5))
    found = judge(same, same, LABELS, NAMES, seed=0)
    assert found.worse() == ""
    assert found.lost == ()
    assert all(one.interval == (0, 0) for one in found.figures.values())


def test_few_queries_are_judged_by_means_alone() -> None:
    few = np.repeat(np.arange(4), 5)
    vectors = made_up(0.3, 6)[::6]
    found = judge(asked(vectors, few), asked(vectors, few), few, NAMES, seed=0)
    assert tuple(found.figures) == FIGURES[:4]
    assert found.unjudged() == f"too few photos to judge {', '.join(FIGURES[4:])}"
    alone = np.arange(20)  # labels that exist once: no query has a right photo
    found = judge(asked(vectors, alone), asked(vectors, alone), alone, "a" * 20, seed=0)
    assert found == Judgement({}, ())


def test_where_all_is_one_dish_nothing_tells_how_well_a_new_one_is_known() -> None:
    one = np.zeros_like(LABELS)
    answers = asked(made_up(0.5, 5), one)
    found = judge(answers, answers, one, NAMES, seed=0)
    assert tuple(found.figures) == (*MEANS, CALIBRATION, WORST)
    said = f"{NOVELTY} cannot be judged, as all photos have the same label"
    assert found.unjudged() == said
    few = slice(0, 20)
    answers = asked(made_up(0.5, 5)[few], one[few])
    found = judge(answers, answers, one[few], NAMES, seed=0)
    assert found.unjudged() == f"too few photos to judge {', '.join(FIGURES[5:6])}; {said}"


def test_a_mean_of_fewer_than_ten_queries_has_no_interval_and_judges_nothing() -> None:
    labels, rows = np.repeat(np.arange(3), 3), np.flatnonzero(np.arange(120) % 30 < 3)[:9]
    good, bad = (asked(made_up(noise, 6)[rows], labels) for noise in (0.01, 3.0))
    found = judge(good, bad, labels, NAMES, seed=0)
    assert found.figures["mAP"].difference < -0.2
    assert all(one.interval is None for one in found.figures.values())
    assert not any(one.is_significant for one in found.figures.values())
    assert found.worse(decisive=None) == ""
    assert found.figures["mAP"].change.endswith("(too few photos)")
    assert found.unjudged() == f"too few photos to judge {', '.join(FIGURES)}"
    assert found.worse().startswith("mAP 0.")  # any fall of it counts, which needs no interval


def test_the_intervals_hold_together() -> None:
    """Each is as wide as 1 - 0.05 / 7 asks for, so that one of seven is hardly wrong by chance."""
    first, second = asked(made_up(0.5, 7)), asked(made_up(0.6, 8))
    change = second["mAP"] - first["mAP"]
    one = judge(first, second, LABELS, NAMES, seed=3).figures["mAP"]
    assert one.interval == confidence_interval(change, seed=3, level=1 - 0.05 / len(FIGURES))
    alone = confidence_interval(change, seed=3)
    assert one.interval[0] < alone[0] < alone[1] < one.interval[1]


def test_what_is_allowed() -> None:
    def one(difference: float, low: float, high: float) -> BeforeAfter:
        return BeforeAfter(0.8, 0.8 + difference, difference, (low, high))

    unsure = Judgement({"mAP": one(-0.02, -0.05, 0.01)}, ())
    assert unsure.worse().startswith("mAP 0.780")
    assert unsure.worse(decisive=None) == ""
    assert unsure.worse(0.02) == ""
    sure = Judgement({"mAP": one(0.1, 0.05, 0.15), "top-3": one(-0.1, -0.15, -0.05)}, ())
    assert sure.worse().startswith("top-3 0.700")
    assert sure.worse(0.04).startswith("top-3")
    assert sure.worse(0.06) == ""
    errs = Judgement({CALIBRATION: one(0.1, 0.05, 0.15)}, ())
    assert errs.worse(decisive=None).startswith(CALIBRATION)
    assert Judgement({CALIBRATION: one(-0.1, -0.15, -0.05)}, ()).worse() == ""
    assert not math.isnan(errs.figures[CALIBRATION].before)
