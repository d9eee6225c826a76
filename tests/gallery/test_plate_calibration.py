"""Curves of plates from what was found on made tables, without any photo."""

import numpy as np

from deepfood.gallery.plate_calibration import PlateEvidence, fit_plates, several_scores


def evidence(dishes: int, rng: np.random.Generator) -> PlateEvidence:
    """Parts are right where their label is likely, and more similar than the whole of a table."""
    right = [dishes > 1 and bool(one) for one in rng.random(3) < 0.5]
    scores = np.array([(0.9, 0.8) if one else (0.3, 0.4) for one in right])
    scores += rng.normal(0, 0.05, scores.shape)
    gap = float(rng.normal(0.1 if dishes > 1 else -0.2, 0.05))
    nearest = float(rng.normal(0.6 if dishes else 0.3, 0.05))
    return PlateEvidence(dishes, 0.8 if dishes > 2 else 0.9, nearest, gap, scores, right)


def test_curves_tell_what_is_right_and_what_shows_several() -> None:
    rng = np.random.default_rng(5)
    found = [evidence(dishes, rng) for dishes in 30 * [3] + 20 * [1]]
    fitted = fit_plates(found)
    assert fitted is not None
    assert (fitted.tables, fitted.photos, fitted.parts) == (30, 20, 90)
    sure, unsure = fitted.right([(0.9, 0.8), (0.3, 0.4)])
    assert sure > 0.9
    assert unsure < 0.1
    rights = np.array([sure, sure, unsure])
    assert fitted.several(several_scores(0.1, rights)) > 0.9
    assert fitted.several(several_scores(-0.2, rights)) < 0.1
    assert fitted.ece < 0.1
    assert fit_plates(found) == fitted
    assert (fitted.bare, fitted.dish) == (0, None)
    assert fitted.sure == 0.8  # more than of any table


def test_bare_tables_tell_what_shows_a_dish_and_change_nothing_else() -> None:
    rng = np.random.default_rng(6)
    found = [evidence(dishes, rng) for dishes in 30 * [3] + 20 * [1]]
    without = fit_plates(found)
    fitted = fit_plates([*found, *(evidence(0, rng) for _ in range(10))])
    assert fitted is not None
    assert fitted.dish is not None
    assert (fitted.tables, fitted.photos, fitted.bare) == (30, 20, 10)
    assert fitted.dish([0.6]) > 0.9
    assert fitted.dish([0.3]) < 0.1
    assert fitted.model_copy(update={"dish": None, "bare": 0}) == without


def test_without_a_part_on_any_table_there_are_no_curves() -> None:
    nothing = PlateEvidence(3, 0.2, 0.5, 0.0, np.empty((0, 2)), [])
    one = PlateEvidence(1, 0.9, 0.5, 0.1, np.array([(0.9, 0.8)]), [False])
    assert fit_plates([]) is None
    assert fit_plates([nothing, one]) is None


def test_one_part_tells_nothing_of_several_nor_of_the_error() -> None:
    only = PlateEvidence(3, 0.2, 0.5, 0.1, np.array([(0.9, 0.8)]), [True])
    fitted = fit_plates([only, PlateEvidence(1, 0.9, 0.5, 0.1, np.empty((0, 2)), [])])
    assert fitted is not None
    assert (fitted.tables, fitted.photos, fitted.parts, fitted.ece) == (1, 1, 1, 0.0)
    assert fitted.sure == 0.65
    for gap in (-1.0, 1.0):
        assert fitted.several(several_scores(gap, np.array([0.9, 0.8]))) == 0.5


def test_the_error_is_that_of_tables_that_were_not_fitted_on() -> None:
    """Curves that hold have a small error, with few tables too: halves of 30 gave 0.19."""
    rng = np.random.default_rng(1)

    def error(tables: int) -> float:
        found = [PlateEvidence(1, 0.9, 0.5, 0.1, np.empty((0, 2)), [])]
        for _ in range(tables):
            likely = rng.random(3)
            right = (rng.random(3) < likely).tolist()
            found.append(PlateEvidence(3, 0.2, 0.5, 0.1, np.column_stack([likely, likely]), right))
        fitted = fit_plates(found)
        assert fitted is not None
        return fitted.ece

    assert 0.05 < np.mean([error(30) for _ in range(20)]) < 0.15
    assert error(600) < 0.05
