"""`evaluate` says where a query has a near copy in the gallery."""

import shutil
from pathlib import Path

import pytest

from deepfood.config import Settings, load_settings
from deepfood.embed import open_embedder
from deepfood.evaluate.examine import examine
from deepfood.evaluate.near_copies import near_copy_notes
from deepfood.evaluate.summary import as_json, as_lines
from deepfood.evaluate.trial import labelled_photos
from deepfood.local import LocalGallery
from deepfood.place import Place
from dishes import write_leaky
from plates import LIMITS, build, write_tiny_model


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    model = write_tiny_model(tmp_path / "model")
    return load_settings(model=model, cache=tmp_path / "cache")


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    return write_leaky(tmp_path / "leaky")


def notes(gallery: Path, queries: Path | None, settings: Settings) -> list[str]:
    found = examine(Place.parse(gallery), queries, settings, k=3, seed=0, quiet=True)
    said: list[str] = as_json(found)["notes"]
    lines = list(as_lines(found))
    assert all(f"note: {note}" in lines for note in said)
    return said


def test_near_copies_of_queries_are_reported(
    leaky: Path, settings: Settings, tmp_path: Path
) -> None:
    build(leaky / "train", tmp_path / "gallery", open_embedder(settings))
    (said,) = notes(tmp_path / "gallery", leaky, settings)
    assert said == (
        "leakage: the gallery has near copies of 1 of the 5 query photos "
        "('test/curry/mirrored.jpg' is nearly 'curry/2.jpg'): figures flatter"
    )
    (leaky / "test/curry/mirrored.jpg").unlink()
    assert notes(tmp_path / "gallery", leaky, settings) == []
    # The very same photo is another matter: it is left out of its own ranking.
    shutil.copy(leaky / "train/curry/3.jpg", leaky / "test/curry/same.jpg")
    (said,) = notes(tmp_path / "gallery", leaky, settings)
    assert "1 query photo is also in the gallery" in said


def test_near_copies_within_a_gallery_are_reported(
    leaky: Path, settings: Settings, tmp_path: Path
) -> None:
    build(leaky, tmp_path / "gallery", open_embedder(settings))
    # Each is asked for: the two of each pair.
    (said,) = notes(tmp_path / "gallery", None, settings)
    assert said == (
        "leakage: the gallery has near copies of 4 of the 22 query photos "
        "('test/curry/mirrored.jpg' is nearly 'train/curry/2.jpg'): figures flatter"
    )


def test_photos_of_the_gallery_that_are_gone(
    leaky: Path, settings: Settings, tmp_path: Path
) -> None:
    shutil.copytree(leaky / "train", tmp_path / "photos")
    build(tmp_path / "photos", tmp_path / "gallery", open_embedder(settings))
    (tmp_path / "photos").rename(tmp_path / "moved")
    (said,) = notes(tmp_path / "gallery", leaky, settings)
    assert "not looked for among 12 photos that cannot be read; the first, curry/0.jpg" in said


def test_among_many_photos_near_copies_are_not_looked_for(
    leaky: Path, settings: Settings, tmp_path: Path
) -> None:
    build(leaky, tmp_path / "gallery", open_embedder(settings))
    with LocalGallery.open(tmp_path / "gallery", open_embedder(settings).model) as gallery:
        photos, _ = labelled_photos(gallery, gallery.photos())
        for near_photos, said in ((22, "leakage: "), (21, "near copies were not looked for: 22")):
            (note,) = near_copy_notes(photos, photos, LIMITS, quiet=True, near_photos=near_photos)
            assert note.startswith(said)
