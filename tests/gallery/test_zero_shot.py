"""Labels guessed from names, on made-up similarities: the curves, bad names, and the table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deepfood.errors import DatasetError, QueryError
from deepfood.gallery.label_table import labels_csv, read_labels
from deepfood.gallery.logistic import calibration_error
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import Photo
from deepfood.gallery.zero_shot import (
    GUESSES,
    MAX_NAME_CHARACTERS,
    MAX_NAMES,
    MIN_QUERIES,
    LabelAnswer,
    LabelNames,
    NamesCalibration,
    calibrate_names,
    guess_names,
    names_in,
)

Floats = npt.NDArray[np.float64]

NAMES = LabelNames.of([f"dish {number}" for number in range(12)])
SURE: dict[str, Any] = {"match_probability": 0.8, "none_probability": 0.3}


def photos(
    count: int, seed: int, *, shown: bool = True, lead: float = 0.08
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Similarities as a text tower gives them, near 0.2, and the place of each photo's name.

    The own name leads by `lead` on average, with noise that makes some guesses wrong; without
    `shown` no name does.
    """
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.2, 0.03, (count, len(NAMES.names)))
    own = rng.integers(0, len(NAMES.names), count)
    if shown:
        scores[np.arange(count), own] += rng.normal(lead, 0.03, count)
    return scores, own


def calibrated(count: int = 300) -> NamesCalibration:
    found = calibrate_names(*photos(count, seed=1))
    assert found is not None
    return found


def answers(scores: Floats, calibration: NamesCalibration | None) -> list[LabelAnswer]:
    return guess_names(scores, NAMES, calibration, **SURE)


def test_probabilities_hold_on_photos_that_were_not_fitted_on() -> None:
    calibration = calibrated()
    scores, own = photos(4000, seed=2)
    found = answers(scores, calibration)
    right = np.array(
        [one.guesses[0].label == NAMES.names[place] for one, place in zip(found, own, strict=True)]
    )
    sure = np.array([one.guesses[0].probability for one in found])
    assert 0.6 < right.mean() < 0.95
    assert calibration_error(sure, right) < 0.05
    assert calibration.accuracy == pytest.approx(right.mean(), abs=0.06)
    assert calibration.ece < 0.12  # of 150 photos


def test_whether_a_photo_shows_any_of_the_names() -> None:
    calibration = calibrated()
    there = np.array([one.in_names for one in answers(photos(1000, seed=3)[0], calibration)])
    lacking, _ = photos(1000, seed=4, shown=False)
    not_there = np.array([one.in_names for one in answers(lacking, calibration)])
    sure, has = np.concatenate([there, not_there]), np.repeat([True, False], 1000)
    assert calibration_error(sure, has) < 0.1
    assert calibration.auroc > 0.8
    verdicts = [one.verdict for one in answers(lacking, calibration)]
    assert verdicts.count("none") > verdicts.count("match")


def test_the_temperature_is_that_which_the_labels_were_drawn_with() -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(0.2, 0.05, (500, 12))
    shares = np.exp(scores / 0.02)
    shares /= shares.sum(axis=1, keepdims=True)
    own = np.array([rng.choice(12, p=share) for share in shares])
    found = calibrate_names(scores, own)
    assert found is not None
    assert found.temperature == pytest.approx(0.02, rel=0.15)


def test_names_that_are_always_right_are_not_called_certain() -> None:
    scores, own = photos(100, seed=6, lead=1)
    found = calibrate_names(scores, own)
    assert found is not None
    assert found.accuracy == 1
    best = answers(scores, found)[0].guesses[0].probability
    assert best is not None
    assert 0.95 < best < 1


def test_without_enough_labelled_photos_nothing_is_called_sure() -> None:
    scores, own = photos(MIN_QUERIES - 1, seed=7)
    assert calibrate_names(scores, own) is None
    why = Note("not_calibrated", "why")
    first, *_ = guess_names(scores, NAMES, None, notes=(why,), **SURE)
    assert (first.verdict, first.in_names, first.calibration) == (None, None, None)
    assert first.notes == (why,)
    assert [one.probability for one in first.guesses] == [None] * GUESSES
    assert first.guesses[0].label == NAMES.names[int(scores[0].argmax())]
    assert first.guesses[0].score == scores[0].max()


def test_two_names_are_enough() -> None:
    scores, own = photos(200, seed=8)
    two = LabelNames.of(["dish 0", "dish 1"])
    found = calibrate_names(scores[own < 2][:, :2].repeat(4, axis=0), own[own < 2].repeat(4))
    assert found is not None
    answer = guess_names(scores[:1, :2], two, found, **SURE)[0]
    shares = [one.probability for one in answer.guesses]
    assert None not in shares
    assert sum(one for one in shares if one is not None) == pytest.approx(1)


@pytest.mark.parametrize(
    ("names", "template", "why"),
    [
        ([], "{}", "0 names: give 2 to 2,000"),
        (["soup"], "{}", "1 name: give 2 to 2,000"),
        ([str(number) for number in range(MAX_NAMES + 1)], "{}", "2,001 names"),
        (["soup", "Soup "], "{}", "the name 'Soup' is given twice"),
        (["soup", "  "], "{}", "name 2 is empty"),
        (["soup", "a\nb"], "{}", "name 2 has several lines"),
        (["soup", "x" * (MAX_NAME_CHARACTERS + 1)], "{}", "name 2 has 201 characters"),
        (["soup", "cake"], "a photo", "it needs {} once"),
        (["soup", "cake"], "{} and {}", "it needs {} once"),
    ],
)
def test_names_that_cannot_be_chosen_from(names: Sequence[str], template: str, why: str) -> None:
    with pytest.raises(QueryError, match=why):
        LabelNames.of(names, template)


def test_a_name_stands_where_the_template_says() -> None:
    names = LabelNames.of(["{0}", "mac & cheese"], "a photo of {}, a type of food")
    assert names.prompts == [
        "a photo of {0}, a type of food",
        "a photo of mac & cheese, a type of food",
    ]
    assert names.places(["MAC & cheese", None, "cheese"]).tolist() == [1, -1, -1]


def test_a_text_has_a_name_a_line() -> None:
    assert names_in("soup\r\n\n  mac & cheese \ncake") == ["soup", "mac & cheese", "cake"]


def photo(number: int) -> Photo:
    return Photo(
        f"{number:020x}".ljust(64, "0"), f"{number},x.jpg", None, None, "image/jpeg", 1, 1, 1, 1
    )


def test_the_table_that_is_written_is_read_as_labels(tmp_path: Path) -> None:
    scores = np.vstack([photos(30, seed=9)[0], photos(30, seed=10, shown=False)[0]])
    found = answers(scores, calibrated())
    assert {one.verdict for one in found} == {"match", "maybe", "none"}
    guessed = [(photo(number), answer) for number, answer in enumerate(found)]
    table = tmp_path / "guesses.csv"
    table.write_bytes(labels_csv(guessed))
    assert read_labels(table) == {
        one.id: answer.guesses[0].label for one, answer in guessed if answer.verdict != "none"
    }


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["id,guess", "1,soup"], "needs the columns id and label"),
        ([""], "needs the columns id and label"),
        (["id,label", "1,soup", "1,cake"], "line 3: photo '1' has another label above"),
        (["id,label", "1,soup,more"], "line 2"),
    ],
)
def test_tables_that_are_no_labels(tmp_path: Path, lines: list[str], why: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(lines))
    with pytest.raises(DatasetError, match=why):
        read_labels(table)


def test_rows_without_a_label_are_passed_over(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,ID,Label\nx.jpg,1,Soup\ny.jpg,2, \nz.jpg,1,Soup\n")
    assert read_labels(table) == {"1": "Soup"}
