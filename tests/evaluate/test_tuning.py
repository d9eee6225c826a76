"""`deepfood tune` on galleries that averages help, that need none, and that cannot be judged."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfood.artifacts import MANIFEST
from deepfood.config import load_settings
from deepfood.engine import engine_at
from deepfood.errors import DatasetError
from deepfood.evaluate import tuning
from deepfood.evaluate.gate import BeforeAfter, Judgement, LostLabel
from deepfood.evaluate.tuning import DECISIVE, TRIED, find_tuning
from deepfood.gallery.tuned import TuneVerdict
from deepfood.local import LocalGallery
from deepfood.local.manifest import LocalManifest
from deepfood.place import Place
from live import run_here, without_plates
from plates import build, tiny_embedder, write_clouds, write_photos, write_tiny_model


@pytest.fixture(scope="module", autouse=True)
def no_plates() -> Iterator[None]:
    with without_plates():
        yield


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of three labels in much noise, which averages take away; its photos are beside."""
    root = tmp_path_factory.mktemp("noisy")
    photos = write_clouds(root / "photos", 50, noise=3)
    build(photos, root / "gallery", tiny_embedder(root / "model"))
    return root / "gallery"


@pytest.fixture
def gallery(noisy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(noisy, tmp_path / "gallery"))


def manifests(gallery: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(gallery.rglob(MANIFEST))]


def said(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    capsys.readouterr()
    assert run_here(*command) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_gallery_that_is_better_averaged_is_tuned_until_that_is_undone(
    gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = manifests(gallery)
    text = said(capsys, "tune", gallery, "--compare")
    assert "would be tuned" in text
    assert manifests(gallery) == before
    found = json.loads(said(capsys, "tune", gallery, "--json"))
    assert found["tuned"]
    assert found["refused"] is None
    assert found["figures"][DECISIVE]["interval"][0] > 0
    assert found["search_ms"]["after"] > 0
    manifest = LocalManifest.read(gallery)
    assert manifest.tuned
    assert manifest.calibration
    assert manifest.tuned.calibration
    assert manifest.calibration.auroc > manifest.tuned.calibration.auroc
    assert f"averaged with {manifest.tuned.averaging.neighbours} neighbours" in said(
        capsys, "info", gallery
    )
    # What is evaluated is what is searched, with the probabilities that are shown.
    about = json.loads(said(capsys, "evaluate", gallery, "--json"))
    assert about["figures"][DECISIVE]["value"] > found["figures"][DECISIVE]["before"] + 0.05
    again, how = said(capsys, "tune", gallery).splitlines()[-1], found["averaging"]
    assert again.startswith(
        f"{gallery}: tuned: averaged with {how['neighbours']} neighbours, power {how['power']:g}; "
    )
    assert re.search(
        r"; a search takes \d+\.\d ms, before \d+\.\d; .* --undo takes it back$", again
    )
    assert said(capsys, "tune", gallery, "--undo") == f"{gallery}: as before its tune\n"
    assert manifests(gallery) == before
    assert said(capsys, "tune", gallery, "--undo") == f"{gallery}: it is not tuned\n"
    undone = json.loads(said(capsys, "tune", gallery, "--undo", "--json"))
    assert undone == {"gallery": str(gallery), "tuned": False, "undone": False}


@pytest.mark.slow
def test_a_tune_stays_when_holes_go_and_ends_with_other_photos(
    gallery: Path, noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "tune", gallery)
    tuned = LocalManifest.read(gallery).tuned
    assert tuned
    said(capsys, "remove", gallery, "dish 0/0000.png")
    said(capsys, "compact", gallery)
    assert LocalManifest.read(gallery).tuned == tuned
    photos = gallery.parent / "photos"
    shutil.copytree(noisy.parent / "photos", photos)
    (photos / "dish 1" / "0001.png").unlink()
    built = said(capsys, "build", photos, "--out", gallery, "--replace")
    assert f"it is not tuned any longer: deepfood tune {gallery} " in built
    assert LocalManifest.read(gallery).tuned is None
    said(capsys, "rollback", gallery)
    assert LocalManifest.read(gallery).tuned == tuned
    other = write_tiny_model(gallery.parent / "other", pool=4)
    renewed = said(capsys, "reembed", gallery, "--model", other, "--even-if-worse")
    assert "it is not tuned any longer" in renewed


@pytest.mark.slow
def test_a_gallery_that_is_no_better_averaged_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = write_clouds(tmp_path / "photos", 50, noise=0.5), tmp_path / "gallery"
    write_photos(photos, 1)  # without a label
    build(photos, out, tiny_embedder(tmp_path / "model"))
    before = manifests(out)
    found = json.loads(said(capsys, "tune", out, "--json"))
    assert not found["tuned"]
    assert found["refused"] == f"{DECISIVE} is not certainly better"
    assert manifests(out) == before
    # One that was tuned is not any longer: it is judged as it would be without.
    how = tuning.tune(Place.parse(str(out)), load_settings(), compare=True).verdict
    engine = engine_at(out, load_settings())
    engine.tune(how, engine.own_model(), 1, quiet=True)
    assert LocalManifest.read(out).tuned
    lines = said(capsys, "tune", out).splitlines()
    assert lines[0] == "note: 1 photo has no label: left out"
    assert lines[-1].startswith(f"{out}: not tuned: averaged with ")
    assert lines[-1].endswith(f", {DECISIVE} is not certainly better")
    assert manifests(out) == before


@pytest.mark.slow
def test_photos_are_drawn_and_those_that_the_model_has_seen_judge_nothing(
    noisy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalGallery.open(noisy) as gallery:
        seen = frozenset(photo.id for photo in gallery.photos()[0][::5])
        found = find_tuning(gallery, seen)
        assert found.notes == ("the Model was trained on 30 of the photos: these judge nothing",)
        assert found.queries == 120 - 40, "a third chooses"
        monkeypatch.setattr(tuning, "_MOST_PHOTOS", 105)
        found = find_tuning(gallery, frozenset())
        assert found.notes == ("judged on 105 of the 150 labelled photos, drawn",)
        assert found.queries == 105 - 35
        with pytest.raises(DatasetError, match="and 100 are needed to tune it"):
            find_tuning(gallery, seen)


def test_what_is_worse_in_anything_is_refused() -> None:
    def judged(lost: tuple[LostLabel, ...] = (), **by: float) -> str:
        figures = {
            name: BeforeAfter(0.5, 0.5 + change, change, (change - 0.01, change + 0.01))
            for name, change in ({DECISIVE: 0.1} | by).items()
        }
        return tuning._refusal(Judgement(figures, lost))

    assert judged(mAP=0.0) == ""
    assert judged(mAP=-0.2) == "it is certainly worse in mAP 0.300 (before: 0.500)"
    assert judged((LostLabel("pie", 12, 0.5, 0.25),)) == (
        "labels that lost: pie (mAP 0.250, before 0.500)"
    )
    assert judged((), **{DECISIVE: -0.1}) == f"{DECISIVE} is not certainly better"


def test_what_cannot_be_judged_is_an_error_of_one_line(
    tmp_path: Path, noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embedder = tiny_embedder(tmp_path / "model")
    build(write_photos(tmp_path / "bare", 1), tmp_path / "unlabelled", embedder)
    build(write_clouds(tmp_path / "few", 11, noise=1), tmp_path / "few-labels", embedder)
    alone = write_clouds(tmp_path / "alone", 1, noise=1, labels=100)
    build(alone, tmp_path / "each-its-own", embedder)
    assert run_here("push", noisy, tmp_path / "shelf", "--name", "one") == 0
    for place, why in (
        (tmp_path / "unlabelled", "has no labels"),
        (tmp_path / "few-labels", "has 33 labelled photos"),
        (tmp_path / "each-its-own", "no photo has another one of its label"),
        (tmp_path / "nothing", "nothing"),
        (tmp_path / "shelf", "shelf"),
    ):
        capsys.readouterr()
        assert run_here("tune", place) == 2
        error = capsys.readouterr().err
        assert why in error
        assert error.count("\n") == 1


def test_what_is_tried_differs() -> None:
    assert len(set(TRIED)) == len(TRIED)


def test_a_gallery_without_probabilities_is_tuned_and_has_none_afterwards(tmp_path: Path) -> None:
    out = tmp_path / "gallery"
    build(write_clouds(tmp_path / "few", 3, noise=1), out, tiny_embedder(tmp_path / "model"))
    engine, before = engine_at(out, load_settings()), manifests(out)
    why = LocalManifest.read(out).uncalibrated
    how = TuneVerdict(averaging=TRIED[0], queries=9, before={}, after={})
    engine.tune(how, engine.own_model(), 1, quiet=True)
    manifest = LocalManifest.read(out)
    assert why
    assert manifest.tuned
    assert (manifest.calibration, manifest.uncalibrated) == (None, why)
    engine.tune(None, engine.own_model(), 1, quiet=True)
    assert manifests(out) == before


def test_a_calibration_of_another_generation_is_not_kept(gallery: Path) -> None:
    engine, before = engine_at(gallery, load_settings()), manifests(gallery)
    calibration = LocalManifest.read(gallery).calibration
    assert calibration
    other = calibration.model_copy(update={"auroc": 0.123})
    assert not engine.keep_calibration(other, 2)
    assert manifests(gallery) == before
    assert engine.keep_calibration(other, 1)
    assert LocalManifest.read(gallery).calibration == other
