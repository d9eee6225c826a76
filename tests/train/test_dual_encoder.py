"""An imported encoder finds the right photos for words, and everything works with it.

A small CLIP is really trained here, on coloured shapes with captions, written as a repository of
the hub, imported, and asked about photos that it has never seen.
"""

import csv
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_lite.adapter.grpc.server import start_server_in_thread

import deepfood
from deepfood.config import load_settings
from deepfood.errors import QueryError
from deepfood.gallery import Photo
from deepfood.gallery.logistic import calibration_error
from deepfood.model import open_model
from deepfood.proof import check_model
from deepfood.serve.worded import look_up
from deepfood.words import open_text_embedder
from deepfood_client import Client
from dual_encoder import CAPTIONS, COLOURS, SHAPES, Thing, things, write_hub_folder, write_photos
from live import run_deepfood, run_here, without_plates
from served import serving_here

pytestmark = pytest.mark.slow

EACH = 10
K = 9


@dataclass(frozen=True)
class World:
    """The Model, photos in folders by what they show, and their gallery, opened."""

    root: Path
    model: Path
    gallery: Path

    opened: deepfood.Gallery

    def found(self, gallery: Path | None = None, **question: object) -> list[Thing]:
        """What the photos show that are found, here or in another gallery."""
        if gallery is None:
            return self.found_in(self.opened, **question)
        with deepfood.open_gallery(gallery) as opened:
            return self.found_in(opened, **question)

    def found_in(self, opened: deepfood.Gallery, **question: object) -> list[Thing]:
        hits = opened.search(**{"k": K, **question}).hits  # type: ignore[arg-type]
        return [thing_of(hit.photo.label) for hit in hits]


def thing_of(label: str | None) -> Thing:
    assert label is not None
    colour, shape = label.split()
    return Thing(colour, shape)


@pytest.fixture(scope="module", autouse=True)
def no_plates() -> Iterator[None]:
    with without_plates():
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("dual")
    folder = write_hub_folder(root / "hub")
    asked = ("model", "get", folder, "--out", root / "model", "--licence", "Apache-2.0")
    assert run_here(*asked) == 0
    in_folders(write_photos(root / "flat", EACH, seed=1), root / "flat", root / "photos")
    run_deepfood("build", root / "photos", "--out", root / "gallery", "--model", root / "model")
    with deepfood.open_gallery(root / "gallery") as opened:
        yield World(root, root / "model", root / "gallery", opened)


def in_folders(shown: dict[str, Thing], flat: Path, out: Path) -> None:
    """Photos in folders named by what they show: their labels."""
    for file, thing in shown.items():
        folder = out / f"{thing.colour} {thing.shape}"
        folder.mkdir(parents=True, exist_ok=True)
        (flat / file).rename(folder / file)


def recall(world: World, gallery: Path | str | None = None) -> tuple[float, float]:
    """How many captions find a right photo first, and how many of the first nine are right."""
    first, nine = [], []
    with deepfood.open_gallery(gallery or world.gallery) as opened:
        for thing in things():
            for caption in CAPTIONS:
                words = caption.format(colour=thing.colour, shape=thing.shape)
                hits = opened.search(words=words, k=K).hits
                right = [thing_of(hit.photo.label) == thing for hit in hits]
                first.append(bool(right) and right[0])
                nine.append(sum(right) / K)
    return float(np.mean(first)), float(np.mean(nine))


def test_words_find_the_photos_that_they_name(world: World) -> None:
    first, nine = recall(world)
    assert first >= 0.95
    assert nine >= 0.75


def test_the_model_is_proven_where_it_runs(world: World) -> None:
    model = open_model(world.model)
    settings = load_settings(model=world.model)
    words = open_text_embedder(settings, model)
    proof = check_model(model, deepfood.open_embedder(settings), words)
    assert proof is not None
    assert proof.photos > 0.995
    assert proof.words is not None
    assert proof.words > 0.995


def test_a_colour_and_not_some_shape(world: World) -> None:
    """Red, but not round: nearly none of the nine photos of each colour has the unwanted shape."""
    before, after = [], []
    for colour in COLOURS:
        plain = world.found(words=f"something {colour}")
        for shape in SHAPES:
            found = world.found(words=f"something {colour}", not_words=f"a {shape}")
            assert np.mean([one.colour == colour for one in found]) >= 0.9
            before.append(np.mean([one.shape == shape for one in plain]))
            after.append(np.mean([one.shape == shape for one in found]))
    assert np.mean(before) == pytest.approx(1 / len(SHAPES))
    assert np.mean(after) <= 0.03


@pytest.mark.parametrize("several", [2, 3])
def test_a_colour_and_none_of_several_shapes(world: World, several: int) -> None:
    """Red, but neither round nor angular: the unwanted ones contradict each other."""
    shares = []
    for colour in COLOURS:
        for shapes in itertools.combinations(SHAPES, several):
            unwanted = [f"a {shape}" for shape in shapes]
            found = world.found(words=f"something {colour}", not_words=unwanted)
            assert np.mean([one.colour == colour for one in found]) >= 0.7
            shares.append(np.mean([one.shape in shapes for one in found]))
    assert np.mean(shares) <= 0.05


def test_names_and_looks_in_the_order_of_their_probabilities(world: World, tmp_path: Path) -> None:
    """A gallery in which every second photo has a name."""
    photos = tmp_path / "photos"
    photos.mkdir()
    with (photos / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "name", "label"])
        truth = {}
        for number, photo in enumerate(sorted((world.root / "photos").rglob("*.png"))):
            shutil.copy(photo, photos / f"{number}.png")
            thing = truth[f"{number}.png"] = thing_of(photo.parent.name)
            name = f"{thing.colour} {thing.shape}" if number % 2 else ""
            rows.writerow([f"{number}.png", name, name])
    run_deepfood("build", photos, "--out", tmp_path / "gallery", "--model", world.model)
    first, nine = [], []
    with deepfood.open_gallery(tmp_path / "gallery") as opened:
        for thing in things():
            words = f"{thing.colour} {thing.shape}"
            page = opened.search(words=words, k=K)
            more = opened.search(words=words, k=K, cursor=page.next).hits
            sure = [hit.probability or 0 for hit in (*page.hits, *more)]
            assert sure == sorted(sure, reverse=True)
            right = [truth[hit.photo.file] == thing for hit in page.hits]
            first.append(right[0])
            nine.append(np.mean(right))
            assert not {hit.photo.id for hit in page.hits} & {hit.photo.id for hit in more}
        together = opened.search(words=["something red", "a circle"], k=K).hits
        assert {hit.probability for hit in together} == {None}
    assert np.mean(first) == 1
    assert np.mean(nine) >= 0.85


def test_a_photo_and_words_together(world: World) -> None:
    """A photo of a red square, and "blue": what is found is nearer to both than either alone."""
    photo = next((world.root / "photos" / "red square").glob("*.png"))
    alone = world.found(photo=photo, k=K)
    mixed = world.found(photo=photo, words="something blue", k=K)
    blue = [sum(one.colour == "blue" for one in found) for found in (alone, mixed)]
    assert blue[1] > blue[0]


def test_how_sure_it_is_that_the_gallery_has_what_words_name(world: World, tmp_path: Path) -> None:
    """A gallery without red and orange things, asked for them and for those that it has."""
    lacking = ("red", "orange")
    for folder in (world.root / "photos").iterdir():
        if thing_of(folder.name).colour not in lacking:
            shutil.copytree(folder, tmp_path / "photos" / folder.name)
    gallery = tmp_path / "gallery"
    run_deepfood("build", tmp_path / "photos", "--out", gallery, "--model", world.model)
    sure: dict[bool, list[float]] = {True: [], False: []}
    with deepfood.open_gallery(gallery) as opened:
        service = opened._service
        calibration = service.gallery.manifest.calibration
        assert calibration is not None
        assert calibration.words is not None
        assert service.words is not None
        for thing in things():
            for caption in CAPTIONS:
                query = service.words.embed(caption.format(colour=thing.colour, shape=thing.shape))
                best = service.gallery.search(query, 1)[0].score
                there = thing.colour not in lacking
                sure[there].append(float(calibration.words.in_gallery([best])))
        assert opened.search(words="something red").verdict == "none"
        blue = opened.search(words="the blue circle")
        assert blue.verdict in ("match", "maybe")
        # Of what a filter lets through, the gallery knows no more or less than of the whole.
        square = opened.search(words="the blue circle", where='label = "blue square"')
        assert square.in_gallery == blue.in_gallery
        assert {hit.photo.label for hit in square.hits} == {"blue square"}
        # A varied answer begins with what is written, and says how likely each of it is.
        written = look_up(service.gallery, ["something blue"], {}, or_raise=True)
        assert written is not None
        varied = opened.search(words="something blue", diversity=0.9, k=K).hits
        assert [hit.photo.id for hit in varied] == [hit.id for hit in written.result.hits[:K]]
        likely = [hit.probability or 0 for hit in varied]
        assert likely != sorted(likely, reverse=True)
    has, lacks = np.array(sure[True]), np.resize(sure[False], len(sure[True]))
    every = np.repeat([True, False], len(has))
    # Of 20 labels the curve learns to be careful: it is less sure than it is right.
    assert calibration_error(np.concatenate([has, lacks]), every) <= 0.3
    least = load_settings().none_probability
    assert np.mean([one < least for one in sure[False]]) >= 0.85
    assert np.mean([one < least for one in sure[True]]) <= 0.05


#: The label of everything that photos may show, and what its prompt is made with.
NAMES = [f"{thing.colour} {thing.shape}" for thing in things()]
TEMPLATE = "a {}"


@pytest.fixture(scope="module")
def half(world: World) -> Path:
    """A gallery of the same photos, every second one of which has its label."""
    table = world.root / "half.csv"
    files = sorted((world.root / "photos").rglob("*.png"))
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "label"])
        for number, one in enumerate(files):
            label = one.parent.name if number % 2 else ""
            rows.writerow([one.relative_to(world.root).as_posix(), label])
    run_deepfood("build", table, "--out", world.root / "half", "--model", world.model)
    return world.root / "half"


def label_by_folder(photo: Photo) -> str:
    return Path(photo.file).parent.name


def test_labels_are_guessed_without_any_labelled_photo(world: World, tmp_path: Path) -> None:
    shown = write_photos(tmp_path / "photos", 2, seed=7)
    run_deepfood("build", tmp_path / "photos", "--out", tmp_path / "bare", "--model", world.model)
    with deepfood.open_gallery(tmp_path / "bare") as opened:
        guessed = list(opened.guess_labels(NAMES, template=TEMPLATE))
    assert len(guessed) == len(shown)
    right = [thing_of(answer.guesses[0].label) == shown[photo.file] for photo, answer in guessed]
    assert np.mean(right) >= 0.75
    for _, answer in guessed:
        assert (answer.verdict, answer.in_names, answer.calibration) == (None, None, None)
        assert answer.guesses[0].probability is None
        assert "not calibrated: 50 photos are needed" in answer.notes[0].message
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "nothing").mkdir()
    empty = ("--out", tmp_path / "none", "--model", world.model, "--empty")
    run_deepfood("build", tmp_path / "nothing", *empty)
    none = run_deepfood("label", tmp_path / "none", "--names", tmp_path / "names.txt")
    assert none == "0 photos\n"
    photo, answer = guessed[0]
    asked = ("label", tmp_path / "bare", "--names", tmp_path / "names.txt", "--template", TEMPLATE)
    first, *more = run_deepfood(*asked, "--id", photo.id).splitlines()
    best = answer.guesses[0]
    where = tmp_path / "photos" / photo.file
    assert first == f"{best.score:6.3f}         {best.label}  {where}"
    assert more == ["1 photo", f"note: {answer.notes[0].message}"]


def test_guessed_labels_are_as_sure_as_they_are_right(half: Path) -> None:
    with deepfood.open_gallery(half) as opened:
        guessed = list(opened.guess_labels(NAMES, template=TEMPLATE))
    assert len(guessed) == len(NAMES) * EACH / 2
    right = np.array([a.guesses[0].label == label_by_folder(photo) for photo, a in guessed])
    sure = np.array([a.guesses[0].probability for _, a in guessed])
    assert right.mean() >= 0.75
    assert calibration_error(sure, right) <= 0.15
    match = np.array([answer.verdict == "match" for _, answer in guessed])
    assert match.mean() >= 0.4
    assert right[match].mean() >= 0.9
    calibration = guessed[0][1].calibration
    assert calibration is not None
    assert (calibration.photos, guessed[0][1].notes) == (len(guessed), ())
    assert calibration.ece <= 0.2  # of half of them
    assert calibration.auroc >= 0.9
    assert np.mean([answer.verdict == "none" for _, answer in guessed]) <= 0.1


def test_a_photo_of_something_else_has_none_of_the_names(half: Path) -> None:
    lacking = ("red", "orange")
    names = [name for name in NAMES if name.split()[0] not in lacking]
    none: dict[bool, list[bool]] = {True: [], False: []}
    with deepfood.open_gallery(half) as opened:
        for photo, answer in opened.guess_labels(names, template=TEMPLATE):
            named = label_by_folder(photo).split()[0] not in lacking
            none[named].append(answer.verdict == "none")
    assert np.mean(none[False]) >= 0.8
    assert np.mean(none[True]) <= 0.1


def test_the_table_of_guesses_becomes_labels(world: World, half: Path, tmp_path: Path) -> None:
    gallery, names, table = (tmp_path / name for name in ("gallery", "names.txt", "table.csv"))
    shutil.copytree(half, gallery)
    names.write_text("\n".join(NAMES))
    asked = ("label", gallery, "--names", names, "--template", TEMPLATE)
    printed = run_deepfood(*asked, "--out", table)
    assert printed.startswith(f"{table}: 150 photos\ncalibrated on 150 labelled photos: ")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["verdict"] for row in rows} <= {"match", "maybe", "none"}
    set_ = {row["id"]: row["label"] for row in rows if row["label"]}
    assert len(set_) >= 0.9 * len(rows)
    assert run_deepfood("update", gallery, "--import", table) == (
        f"{gallery}: {len(set_)} labels set\n"
    )
    with deepfood.open_gallery(gallery) as opened:
        assert {one: opened.photo(one).label for one in set_} == set_
        left = list(opened.guess_labels(NAMES, template=TEMPLATE))
        assert len(left) == len(rows) - len(set_)
    photo = next((world.root / "photos" / "blue ring").glob("*.png"))
    about = json.loads(run_deepfood(*asked, photo, "--json"))
    (one,) = about["photos"]
    assert (one["id"], one["file"], one["verdict"]) == (None, str(photo), "match")
    assert one["guesses"][0]["label"] == "blue ring"
    assert run_deepfood(*asked, photo).endswith(about_calibration(about))


def about_calibration(about: dict[str, Any]) -> str:
    fitted = about["calibration"]
    return (
        f"calibrated on {fitted['photos']} labelled photos: {fitted['accuracy']:.1%} get their "
        f"label, calibration error {fitted['ece']:.3f}\n"
    )


def test_a_label_over_http_is_what_python_answers(world: World, half: Path) -> None:
    path = next((world.root / "photos" / "green cross").glob("*.png"))
    with (
        deepfood.open_gallery(half) as opened,
        serving_here(half) as url,
        Client(url) as client,
    ):
        some = next(photo for photo, _ in opened.guess_labels(NAMES))
        for photo in ({"photo": path}, {"id": some.id}):
            here = opened.guess_label(names=NAMES, template=TEMPLATE, **photo)  # type: ignore[arg-type]
            there = client.guess_label(names=NAMES, template=TEMPLATE, **photo)  # type: ignore[arg-type]
            assert there.guesses[0].label == here.guesses[0].label
            assert there.guesses[0].probability == pytest.approx(here.guesses[0].probability)
            assert there.verdict == here.verdict
            assert there.in_names == pytest.approx(here.in_names)
            assert there.calibration is not None
            assert here.calibration is not None
            assert there.calibration.photos == here.calibration.photos
        with pytest.raises(QueryError, match="give either a photo or the id"):
            opened.guess_label(path, id=some.id, names=NAMES)
        plain = client.guess_label(path, names=NAMES)
        assert (
            plain.guesses == client.guess_label(path, names=NAMES, template="a photo of {}").guesses
        )


def test_added_photos_are_found_by_words(world: World, tmp_path: Path) -> None:
    in_folders(write_photos(tmp_path / "flat", 1, seed=5), tmp_path / "flat", tmp_path / "new")
    gallery = tmp_path / "gallery"
    run_deepfood(
        *("build", world.root / "photos" / "red square", "--out", gallery),
        *("--model", world.model),
    )
    (photo,) = (tmp_path / "new" / "blue ring").iterdir()
    run_deepfood("add", gallery, photo, "--label", "blue ring")
    assert world.found(gallery, words="a blue ring", k=1) == [Thing("blue", "ring")]


def test_adapt_keeps_words(world: World, tmp_path: Path) -> None:
    """The head that photos got is on words as well, and they still meet."""
    run_deepfood(
        *("adapt", world.root / "photos", "--out", tmp_path / "adapted", "--even-if-worse"),
        *("--model", world.model),
    )
    adapted = open_model(tmp_path / "adapted")
    assert adapted.manifest.text_tower == open_model(world.model).manifest.text_tower
    assert adapted.has_golden
    run_deepfood(
        *("build", world.root / "photos", "--out", tmp_path / "gallery"),
        *("--model", tmp_path / "adapted"),
    )
    first, _ = recall(world, tmp_path / "gallery")
    assert first >= 0.8


def test_quantize_keeps_words(world: World, tmp_path: Path) -> None:
    run_deepfood(
        *("quantize", world.root / "photos", "--out", tmp_path / "int8", "--max-drop", "0.1"),
        *("--model", world.model),
    )
    run_deepfood(
        *("build", world.root / "photos", "--out", tmp_path / "gallery"),
        *("--model", tmp_path / "int8"),
    )
    first, _ = recall(world, tmp_path / "gallery")
    assert first >= 0.9


def test_reembed_brings_words_and_a_release_takes_them_along(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    gallery = tmp_path / "gallery"
    shown = write_photos(tmp_path / "flat", 2, seed=1)  # the Model that ships takes its time
    in_folders(shown, tmp_path / "flat", tmp_path / "photos")
    run_deepfood("build", tmp_path / "photos", "--out", gallery)
    run_deepfood("reembed", gallery, "--model", world.model, "--even-if-worse")
    assert world.found(gallery, words="a red square", k=1) == [Thing("red", "square")]
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    run_deepfood("push", gallery, shelf)
    run_deepfood("pull", shelf, "--out", tmp_path / "pulled")
    pulled = world.found(tmp_path / "pulled", words="a red square", k=1)
    assert pulled == [Thing("red", "square")]


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("milvus")
    server, database, port = start_server_in_thread(str(folder / "lite.db"), port=0)
    yield f"milvus://127.0.0.1:{port}/shapes"
    server.stop(None).wait()
    database.close()


def test_milvus_answers_words(world: World, milvus: str, tmp_path: Path) -> None:
    environment = {"DEEPFOOD_PHOTOS_STORE": str(tmp_path / "store")}
    run_deepfood(
        *("build", world.root / "photos", "--out", milvus, "--model", world.model), **environment
    )
    said = run_deepfood("search", milvus, "--words", "a green cross", "--json", **environment)
    hits: Sequence[dict[str, str]] = json.loads(said)["hits"]
    assert hits[0]["label"] == "green cross"
    names = tmp_path / "names.txt"
    names.write_text("\n".join(NAMES))
    photo = next((world.root / "photos" / "green cross").glob("*.png"))
    said = run_deepfood(
        *("label", milvus, photo, "--names", names, "--template", TEMPLATE, "--json"), **environment
    )
    about = json.loads(said)
    assert about["photos"][0]["guesses"][0]["label"] == "green cross"
    assert about["photos"][0]["verdict"] in ("match", "maybe")
    assert about["calibration"]["photos"] == len(NAMES) * EACH
