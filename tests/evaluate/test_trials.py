"""What an evaluation asks with, and which photos its pages show."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deepfood.data.photos import list_photos
from deepfood.data.root import Folder
from deepfood.errors import SettingError
from deepfood.evaluate import trial
from deepfood.evaluate.confidence import Figure
from deepfood.evaluate.evaluation import evaluate_trial
from deepfood.evaluate.labels_page import prepare_page
from deepfood.evaluate.report.embedding_map import map_points
from deepfood.evaluate.report.galleries import asked, worst_rows
from deepfood.evaluate.report.pictures import Pictures
from deepfood.evaluate.summary import in_words
from deepfood.evaluate.trial import LabelledVectors
from plates import LIMITS, sha256, tiny_embedder, write_photos


@pytest.fixture
def photos(tmp_path: Path) -> LabelledVectors:
    """Four photos that are there, of one label."""
    folder = write_photos(tmp_path / "photos", 4)
    files = sorted(path.name for path in folder.iterdir())
    ids = tuple(sha256((folder / name).read_bytes())[:20] for name in files)
    vectors = np.eye(4, dtype=np.float32)
    return LabelledVectors(Folder(folder), tuple(files), ids, ("soup",) * 4, vectors)


def test_query_photos_without_a_label_are_left_out_and_said(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 3)
    table = "photo,label\nplate-00000.jpg,soup\nplate-00001.jpg,\nplate-00002.jpg,pie\n"
    (folder / "photos.csv").write_text(table)
    embedder = tiny_embedder(tmp_path / "model")
    source, cache = list_photos(folder), tmp_path / "cache"
    found, origin, notes = trial.query_photos(source, embedder, cache, quiet=True)
    assert (found.labels, origin) == (("soup", "pie"), "all of photos")
    assert notes == ["1 query photo has no label: left out"]


def test_of_very_many_photos_some_are_drawn_to_ask_with(
    photos: LabelledVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trial.leave_one_out(photos, 0)[0] is photos
    monkeypatch.setattr(trial, "MAX_QUERIES", 3)
    asked, origin = trial.leave_one_out(photos, 7)
    assert len(set(asked.ids)) == 3
    assert asked.ids == trial.leave_one_out(photos, 7)[0].ids
    assert origin == "3 of the gallery's photos, drawn with seed 7, each left out in turn"


def test_a_model_that_has_seen_the_queries_is_flattered(photos: LabelledVectors) -> None:
    assert trial.trained_on_note(photos, frozenset({"0" * 20}), "lite0") == []
    [note] = trial.trained_on_note(photos, frozenset(photos.ids[:2]), "lite0")
    assert "the Model lite0 was trained on 2 of the 4 query photos" in note


def test_pictures_are_of_photos_as_they_were_and_no_more_than_a_page_holds(
    photos: LabelledVectors, tmp_path: Path
) -> None:
    first = Pictures(LIMITS, 2**20).of(photos, 0, 32)
    assert first is not None
    assert first.startswith("data:image/jpeg;base64,")
    within = Pictures(LIMITS, len(first))
    assert [within.of(photos, 0, 32), within.of(photos, 0, 32)] == [first, None]
    (tmp_path / "photos" / photos.files[1]).write_bytes(b"another photo")
    (tmp_path / "photos" / photos.files[2]).unlink()
    os.truncate(tmp_path / "photos" / photos.files[3], 2**40)
    assert [Pictures(LIMITS, 2**20).of(photos, row, 32) for row in (1, 2, 3)] == [None] * 3


def test_few_photos_make_no_map(photos: LabelledVectors) -> None:
    found = map_points(photos, Pictures(LIMITS, 2**20), seed=0, quiet=True)
    assert found == {"x": [], "y": [], "label": [], "file": [], "picture": []}


def test_the_worst_answers_are_of_each_label_twice_at_most() -> None:
    ap = np.array([0.1, 0.2, 0.3, 0.4, np.nan, 0.5])
    labels = np.array([0, 0, 0, 1, 1, 1])
    found: Any = SimpleNamespace(
        retrieval=SimpleNamespace(metrics={"mAP": ap}), trial=SimpleNamespace(query_labels=labels)
    )
    assert worst_rows(found, 3).tolist() == [0, 1, 3]
    assert worst_rows(found, 9).tolist() == [0, 1, 3, 5]


def test_a_query_is_shown_with_as_many_hits_as_there_are(photos: LabelledVectors) -> None:
    two = trial.make_trial(photos, photos.select([0, 2]), "", left_out_in_turn=True)
    found = evaluate_trial(two, "tiny", k=9, seed=0)
    second = asked([1], {"A": found, "B": found}, Pictures(LIMITS, 2**20))[0]
    assert second.query.file == photos.files[2]
    assert [answer.side for answer in second.answers] == ["A", "B"]
    for answer in second.answers:
        assert [hit.file for hit in answer.hits] == [photos.files[row] for row in (0, 1, 3)]
        assert all(hit.right for hit in answer.hits)


def test_a_figure_of_nothing_is_none() -> None:
    assert in_words(Figure(float("nan"), float("nan"), float("nan"))) == "none"


def test_a_report_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"--report .*report cannot be made: Not a directory"):
        prepare_page(tmp_path / "file" / "report")
