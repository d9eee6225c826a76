"""What a calibrated gallery answers beside the hits: by the service, the API and the command."""

import base64
import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from deepfood.config import load_settings
from deepfood.data.photos import list_photos
from deepfood.gallery import Hit, judge
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.photo_box import Box
from deepfood.serve.question import SearchQuestion
from deepfood.serve.service import SearchService, open_service
from live import deepfood_here, one_line, run_deepfood, without_plates
from plates import tiny_embedder, write_dishes
from samples import encode


def new_photos(dish_gallery: Path) -> list[Path]:
    """Of the gallery's dishes, and not in it."""
    everything = sorted((dish_gallery.parent / "new").rglob("*.jpg"))
    return [path for path in everything if path.parent.name != "blueberry pie"]


@pytest.fixture(scope="module")
def service(dish_gallery: Path) -> SearchService:
    return open_service(load_settings(gallery=dish_gallery))


def search(url: str, photo: bytes, k: int = 9, **more: str) -> dict[str, Any]:
    data = base64.b64encode(photo).decode()
    body = {"photo": f"data:image/jpeg;base64,{data}", "k": k, **more}
    answer = httpx.post(f"{url}/api/v1/search", json=body, timeout=300)
    assert answer.status_code == 200
    return dict(answer.json())


def test_the_api_says_what_it_thinks(dish_url: str, dish_gallery: Path) -> None:
    found = search(dish_url, (dish_gallery.parent / "new/crème brûlée/00501.jpg").read_bytes())
    known = {"hits", "verdict", "in_gallery", "label", "total", "next", "notes", "question"}
    assert set(found) == known | {"parts", "several"}
    assert found["question"] is None  # without feedback
    assert found["parts"] is None
    assert found["verdict"] == "match"
    assert found["label"]["label"] == "crème brûlée"
    assert 0.8 <= found["label"]["probability"] <= 1
    assert 0.3 <= found["in_gallery"] <= 1
    for hit in found["hits"]:
        assert 0 <= hit["probability"] <= 1
        assert (hit["probability"] > 0.5) == (hit["label"] == "crème brûlée")
        assert (hit["same_dish"] == "unlikely") == (hit["probability"] < 0.3)
    assert "likely" in {hit["same_dish"] for hit in found["hits"]}
    assert found["total"] == 90


def test_guesses_are_mostly_right(service: SearchService, dish_gallery: Path) -> None:
    photos = new_photos(dish_gallery)
    answers = [service.search(SearchQuestion(photos=(path.read_bytes(),))) for path in photos]
    right = [a.label.label == path.parent.name for a, path in zip(answers, photos, strict=True)]
    assert np.mean(right) > 0.6  # one in three by chance
    sure = [ok for a, ok in zip(answers, right, strict=True) if a.verdict == "match"]
    assert len(sure) >= 5
    assert np.mean(sure) >= np.mean(right)


def test_what_looks_like_nothing_there_is_none(dish_url: str) -> None:
    found = search(dish_url, encode(Image.effect_noise((96, 72), 120).convert("RGB"), "JPEG"))
    assert found["verdict"] == "none"
    assert found["in_gallery"] < 0.3
    assert len(found["hits"]) == 9  # shown all the same
    assert {hit["same_dish"] for hit in found["hits"]} == {"unlikely"}


def test_k_changes_the_hits_and_nothing_else(dish_url: str, dish_gallery: Path) -> None:
    photo = new_photos(dish_gallery)[3].read_bytes()
    answers = [search(dish_url, photo, k) for k in (1, 2, 9, 45)]
    for found, k in zip(answers, (1, 2, 9, 45), strict=True):
        assert found.pop("next") is not None
        assert found.pop("hits") == search(dish_url, photo, 45)["hits"][:k]
    assert answers[1:] == answers[:-1]


def test_the_next_page_is_judged_as_the_first(dish_url: str, dish_gallery: Path) -> None:
    photo = new_photos(dish_gallery)[3].read_bytes()
    whole, first = search(dish_url, photo, 45), search(dish_url, photo, 9)
    second = search(dish_url, photo, 36, cursor=first["next"])
    assert first["hits"] + second["hits"] == whole["hits"]
    assert second["label"] == whole["label"]


def test_nothing_is_guessed_of_a_photo_whose_label_is_known(service: SearchService) -> None:
    for photo in service.gallery.store.photos():  # type: ignore[attr-defined]
        for box in (None, Box(0, 0, 1, 1)):
            answer = service.search(SearchQuestion(ids=(photo.id,), box=box))
            assert (answer.verdict, answer.label, answer.in_gallery) == (None, None, None)
            assert {hit.probability for hit in answer.hits} == {None}
            assert photo.id not in [hit.photo.id for hit in answer.hits]


@pytest.fixture(scope="module")
def partly(tmp_path_factory: pytest.TempPathFactory) -> SearchService:
    """A gallery where every third photo has a label, and an attribute `even`."""
    root = tmp_path_factory.mktemp("partly")
    files = sorted(write_dishes(root / "photos", 45).rglob("*.jpg"))
    with (root / "photos/photos.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "label"])
        for number, path in enumerate(files):
            known = path.parent.name if number % 3 == 0 else ""
            rows.writerow([path.relative_to(root / "photos"), known])
    embedder = tiny_embedder(root / "model")
    build_gallery(list_photos(root / "photos/photos.csv"), root / "g", embedder, IndexSpec())
    table = [f"{path.relative_to(root / 'photos')},{n % 2 == 0}" for n, path in enumerate(files)]
    (root / "even.csv").write_text("\n".join(["file,even", *table]))
    run_deepfood("attributes", root / "g", root / "even.csv")
    write_dishes(root / "new", 5, start=700)
    return open_service(load_settings(gallery=root / "g"))


@pytest.mark.slow
def test_the_nearest_that_have_a_label_vote_whatever_is_asked_for(partly: SearchService) -> None:
    photos, vectors, rows = partly.gallery.photos()
    labelled = [place for place, photo in enumerate(photos) if photo.label]
    assert len(labelled) == 60
    assert partly.gallery.manifest.calibration.queries == 60
    for path in sorted((partly.gallery.folder.parent / "new").rglob("*.jpg")):  # type: ignore[attr-defined]
        query = partly.embedder.embed(path.read_bytes())
        scores = vectors.take(rows) @ query
        best = sorted(labelled, key=lambda place: -scores[place])[:9]
        expected = judge(
            [],
            [Hit(photos[place], float(scores[place])) for place in best],
            partly.gallery.manifest.calibration,  # type: ignore[arg-type]
            match_probability=0.8,
            none_probability=0.3,
        )
        every = dict[str, Any]()
        for more in (
            {},
            {"k": 3},
            {"where": "even = true"},
            {"where": 'file = "nothing"'},
            {"where": "even = false", "diversity": 0.5},
            {"group_duplicates": True},
        ):
            answer = partly.search(SearchQuestion(photos=(path.read_bytes(),), **more))
            assert answer.verdict == expected.verdict
            assert answer.label.label == expected.label.label
            assert answer.label.probability == pytest.approx(expected.label.probability, abs=1e-3)
            assert answer.in_gallery == pytest.approx(expected.in_gallery, abs=1e-3)
            scores_shown = [hit.score for hit in answer.hits]
            assert scores_shown == sorted(scores_shown, reverse=True)
            for hit in answer.hits:
                assert (hit.same_dish is None) == (hit.photo.label is None)
                alone = replace(hit, alike=())
                assert every.setdefault(hit.photo.id, alone) == alone  # the same on every page
            assert answer.total == {"even = true": 90, "even = false": 90}.get(  # type: ignore[call-overload]
                more.get("where", ""), 0 if "where" in more else 180
            )


@pytest.mark.slow
def test_a_photo_without_a_label_is_judged_though_the_gallery_has_it(partly: SearchService) -> None:
    bare = next(photo for photo in partly.gallery.store.photos() if not photo.label)  # type: ignore[attr-defined]
    answer = partly.search(SearchQuestion(ids=(bare.id,)))
    assert answer.verdict
    assert answer.label


def test_settings_move_the_verdict(dish_gallery: Path) -> None:
    photo = (dish_gallery.parent / "new/crème brûlée/00501.jpg").read_bytes()

    def verdict(**settings: float) -> str | None:
        service = open_service(load_settings(gallery=dish_gallery, **settings))
        return service.search(SearchQuestion(photos=(photo,))).verdict

    assert verdict() == "match"
    assert verdict(match_probability=1.0) == "maybe"
    assert verdict(none_probability=1.0) == "none"


def test_an_uncalibrated_gallery_answers_nulls(server_url: str, small_gallery: Any) -> None:
    found = search(server_url, small_gallery.photos[0].read_bytes())
    assert (found["verdict"], found["in_gallery"], found["label"]) == (None, None, None)
    assert {hit["probability"] for hit in found["hits"]} == {None}
    assert {hit["same_dish"] for hit in found["hits"]} == {None}


def test_the_originals_answer_stays_as_it_was(dish_url: str, dish_gallery: Path) -> None:
    data = base64.b64encode(new_photos(dish_gallery)[0].read_bytes()).decode()
    form = {"image": f"data:image/jpeg;base64,{data}"}
    found = httpx.post(f"{dish_url}/search", data=form, timeout=300).json()
    assert set(found) == {"urls"}
    assert len(found["urls"]) == 9


# The commands


def test_search_and_info_say_it(dish_gallery: Path) -> None:
    photo = dish_gallery.parent / "new/crème brûlée/00501.jpg"
    first, *hits, counted = run_deepfood("search", dish_gallery, photo, "-k", 2).splitlines()
    assert first == "looks like crème brûlée"
    assert len(hits) == 2
    assert "  likely    /" in hits[0]
    assert counted == "2 of 90 photos"
    found = json.loads(run_deepfood("search", dish_gallery, photo, "--json"))
    assert found["verdict"] == "match"
    assert found["label"]["label"] == "crème brûlée"
    assert found["hits"][0]["probability"] > 0.8
    assert (found["hits"][0]["same_dish"], found["total"]) == ("likely", 90)
    said = run_deepfood("info", dish_gallery)
    assert "calibration        on 90 photos (gallery); label right 8" in said
    assert json.loads(run_deepfood("info", dish_gallery, "--json"))["calibration"]["queries"] == 90


def test_evaluate_judges_what_is_served(dish_gallery: Path, tmp_path: Path) -> None:
    held_out = dish_gallery.parent / "new"
    cache = {"DEEPFOOD_CACHE": str(tmp_path)}
    found = json.loads(deepfood_here("evaluate", dish_gallery, held_out, "--json", **cache).stdout)
    assert found["calibration"]["curve"] == "as served"
    service = open_service(load_settings(gallery=dish_gallery))
    missed = []
    for path in new_photos(dish_gallery):
        hits = service.search(SearchQuestion(photos=(path.read_bytes(),))).hits
        right = [hit.photo.label == path.parent.name for hit in hits]
        said = [hit.probability for hit in hits]
        missed.append(np.mean((np.array(said) - right) ** 2))
    assert found["calibration"]["brier"]["value"] == pytest.approx(np.mean(missed), abs=1e-4)


def test_calibrate_on_other_photos(dish_gallery: Path, tmp_path: Path) -> None:
    gallery = Path(shutil.copytree(dish_gallery, tmp_path / "gallery"))
    held_out = dish_gallery.parent / "new"
    environment = {"DEEPFOOD_CACHE": str(tmp_path / "cache")}
    assert "18 have a label that the gallery knows" in one_line(
        deepfood_here("calibrate", gallery, held_out, "--json", **environment)
    )
    assert "on 90 photos (gallery)" in run_deepfood("info", gallery)
    for number, path in enumerate(new_photos(dish_gallery)):
        for copy in range(3):  # the same dish in three sizes, as other photos of it would be
            with Image.open(path) as image:
                size = (96 + 8 * copy, 72 + 6 * copy)
                folder = tmp_path / "more" / path.parent.name
                folder.mkdir(parents=True, exist_ok=True)
                image.resize(size).save(folder / f"{number}-{copy}.jpg", quality=85)
    with without_plates():
        done = deepfood_here("calibrate", gallery, tmp_path / "more", "--json", **environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["queries"], found["queries_from"]) == (54, "held-out photos")
    assert "on 54 photos (held-out photos)" in run_deepfood("info", gallery)
    with without_plates():
        again = deepfood_here("calibrate", gallery, tmp_path / "more", **environment)
    assert again.stdout.startswith(f"{gallery}: on 54 photos")


def test_a_build_and_info_say_why_there_is_none(tmp_path: Path, small_gallery: Any) -> None:
    said = run_deepfood("info", small_gallery.folder)
    assert "calibration        none: only 23 photos to calibrate with, and 50" in said
    said = run_deepfood("build", small_gallery.photos[0].parent, "--out", tmp_path / "g")
    assert "answers without probabilities: only 23 photos" in said
    assert "deepfood calibrate" in said
