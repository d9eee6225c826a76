"""`deepfood adapt`: what it writes is what it measured, and it writes nothing that is worse."""

import csv
import json
import random
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deepfood.config import load_settings
from deepfood.data.photo_file import PhotoSource
from deepfood.data.photos import list_photos
from deepfood.data.splits import Splits, split_photos
from deepfood.embed import Embedder
from deepfood.errors import DatasetError, SettingError
from deepfood.evaluate.gate import FIGURES, BeforeAfter, Judgement, LostLabel
from deepfood.info import problems_of
from deepfood.local import LocalGallery
from deepfood.local.embedding_cache import embed_dataset
from deepfood.model import open_model
from deepfood.place import Place
from deepfood.train.adapt import AdaptReport, _notes, _regression, adapt, check_out
from deepfood.train.head import Vectors, apply_head, fit_head
from deepfood.train.losses import LOSSES
from limited import deepfood_on_a_small_disk
from live import deepfood_here
from plates import DISH_COLOURS, LIMITS, build, dish, sha256, write_dishes, write_tiny_model


@dataclass(frozen=True)
class Adapted:
    photos: Path
    splits: Splits
    base: Embedder
    out: Path
    cache: Path
    report: AdaptReport

    @property
    def embedder(self) -> Embedder:
        return Embedder(open_model(self.out), LIMITS, precision="f32")


def small_base(folder: Path) -> Embedder:
    """48 numbers a photo, in float32, so that vectors can be compared closely."""
    return Embedder(open_model(write_tiny_model(folder, pool=16)), LIMITS, precision="f32")


def splits_of(photos: Path) -> Splits:
    return split_photos(list_photos(photos), val_share=0.25)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    """40 plates of four dishes, 8 or so of a dish to learn from, the rest to validate on."""
    root = tmp_path_factory.mktemp("adapted")
    photos, base = write_dishes(root / "photos", 10), small_base(root / "base")
    out, cache = root / "model", root / "cache"
    report = adapt(splits_of(photos), base, out, cache, quiet=True)
    return Adapted(photos, splits_of(photos), base, out, cache, report)


def head_of(model: Path) -> Vectors:
    """The weights at the end of the network, as they are stored."""
    graph = onnx.load(model / "model.onnx").graph
    (found,) = (one for one in graph.initializer if one.name.startswith("deepfood.head"))
    weights: Vectors = numpy_helper.to_array(found).astype(np.float32)
    return weights


# ---- what is written ----


def test_it_learns_and_says_how_much(adapted: Adapted) -> None:
    report = adapted.report
    assert report.refused is None
    assert report.labels == tuple(sorted(DISH_COLOURS))
    assert (report.train_photos, report.val_photos) == (32, 8)
    assert report.compared["mAP"].after > report.compared["mAP"].before + 0.05
    assert report.compared["mAP"].interval is None  # of eight photos
    assert "too few photos to judge mAP" in "\n".join(report.notes)


@pytest.mark.slow
def test_with_enough_photos_there_is_nothing_to_note(adapted: Adapted, tmp_path: Path) -> None:
    splits = splits_of(write_dishes(tmp_path / "photos", 48))
    report = adapt(splits, adapted.base, tmp_path / "model", tmp_path / "cache", quiet=True)
    assert report.val_photos == 48
    assert report.compared.keys() == {*FIGURES}
    assert all(one.interval for one in report.compared.values())
    assert report.compared["mAP"].is_significant
    assert report.notes == ()


def test_the_network_gives_what_numpy_gives(adapted: Adapted) -> None:
    train = embed_dataset(
        adapted.splits.source, adapted.base, adapted.cache, files=adapted.splits.train, quiet=True
    )
    labels = np.array([adapted.report.labels.index(file.label or "") for file in train.files])
    choice = adapted.report.cross_validation.best.choice
    weights = fit_head(train.vectors, labels, choice, "supcon", seed=0)
    assert np.allclose(head_of(adapted.out), weights, atol=1e-3)  # stored as fp16
    assert adapted.embedder.dimension == choice.size
    for seed in (500, 501, 502):
        photo = dish((200, 40, 30), seed)
        photo.save(adapted.out.parent / "new.png")
        data = (adapted.out.parent / "new.png").read_bytes()
        plain = adapted.base.embed(data) @ head_of(adapted.out)
        wanted = plain / np.linalg.norm(plain)
        assert np.allclose(adapted.embedder.embed(data), wanted, atol=1e-5)
        by_torch = apply_head(adapted.base.embed(data)[np.newaxis], head_of(adapted.out))[0]
        assert np.allclose(by_torch, wanted, atol=1e-5)
        other = Embedder(open_model(adapted.out), LIMITS, runtime="onnxruntime")
        assert np.allclose(other.embed(data), wanted, atol=1e-5)


def test_the_model_is_whole_and_searches(adapted: Adapted, tmp_path: Path) -> None:
    assert list(problems_of(Place.parse(adapted.out), load_settings(), quiet=True)) == []
    build(adapted.photos, tmp_path / "gallery", adapted.embedder)
    with LocalGallery.open(tmp_path / "gallery", adapted.embedder.model) as gallery:
        right = 0
        for file in adapted.splits.val:
            vector = adapted.embedder.embed((adapted.photos / file.file).read_bytes())
            hits = gallery.search(vector, 2)
            assert hits[0].photo.file == file.file
            right += hits[1].photo.label == file.label
        assert right >= len(adapted.splits.val) / 2


def test_the_model_says_how_it_was_made(adapted: Adapted) -> None:
    about = open_model(adapted.out).manifest
    assert about.labels == adapted.report.labels
    assert about.name == "tiny-adapted"
    assert about.licence == adapted.base.model.manifest.licence
    assert adapted.base.model.fingerprint[:12] in about.source
    record: dict[str, Any] = dict(about.training)
    assert record["method"] == "adapt"
    assert record["base"]["fingerprint"] == adapted.base.model.fingerprint
    assert record["photos"] == {"train": 32, "val": 8}
    assert record["validation"]["mAP"]["after"] == adapted.report.compared["mAP"].after
    assert record["cross_validation"]["folds"] == 5
    card = (adapted.out / "README.md").read_text(encoding="utf-8")
    assert f"{adapted.report.compared['mAP'].after:.3f}" in card


def test_it_remembers_what_it_was_trained_on_and_nothing_else(adapted: Adapted) -> None:
    ids = {sha256((adapted.photos / file.file).read_bytes())[:20] for file in adapted.splits.train}
    assert open_model(adapted.out).trained_on == ids


def test_the_same_again_is_the_same_to_the_byte(adapted: Adapted, tmp_path: Path) -> None:
    one_core = Embedder(adapted.base.model, LIMITS, precision="f32", threads=1)
    again = adapt(adapted.splits, one_core, tmp_path / "again", adapted.cache, quiet=True)
    assert again == adapted.report
    first, second = (path / "model.onnx" for path in (adapted.out, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()


def test_an_adapted_model_adapts_again_and_has_one_head(adapted: Adapted, tmp_path: Path) -> None:
    photos = write_dishes(tmp_path / "photos", 10, start=300)
    # Some that the first was trained on, to validate on.
    for file in adapted.splits.train[:3]:
        (tmp_path / "photos/val" / (file.label or "")).mkdir(parents=True, exist_ok=True)
        shutil.copy(adapted.photos / file.file, tmp_path / "photos/val" / (file.label or ""))
    for label in DISH_COLOURS:
        (photos / "train").mkdir(exist_ok=True)
        (photos / label).rename(photos / "train" / label)
    out = tmp_path / "again"
    report = adapt(split_photos(list_photos(photos)), adapted.embedder, out, tmp_path / "cache")
    seen = "3 of the 3 validation photos were in the training of the base Model"
    assert any(seen in note for note in report.notes)
    if report.refused is None:
        assert len(head_of(out)) == 48
        assert open_model(out).trained_on > open_model(adapted.out).trained_on


# ---- what is refused ----


def shuffled(splits: Splits, seed: int) -> Splits:
    """The same photos with each other's labels."""
    labels = [file.label for file in splits.source.files]
    random.Random(seed).shuffle(labels)
    files = zip(splits.source.files, labels, strict=True)
    source = PhotoSource(
        splits.source.root, tuple(replace(file, label=label) for file, label in files)
    )
    return split_photos(source, val_share=0.25)


def test_labels_that_have_nothing_to_do_with_the_photos(adapted: Adapted, tmp_path: Path) -> None:
    """mAP rises by chance alone in about half of these, and at most one in twenty or so gets by."""
    refused = []
    for seed in range(4):
        out = tmp_path / str(seed)
        report = adapt(shuffled(adapted.splits, seed), adapted.base, out, adapted.cache, quiet=True)
        assert (report.refused is None) == out.exists()
        refused.append(report.refused or "")
    assert sum("no Model was written" in said for said in refused) >= 3
    assert any("the labels cannot be seen in the photos" in said for said in refused)


def test_a_head_that_is_worse_in_cross_validation(adapted: Adapted) -> None:
    tried, equal = adapted.report.cross_validation, Judgement({}, ())
    assert _regression(tried, equal) is None
    best = {**tried.best.figures, "mAP": tried.base["mAP"] - 0.1}
    said = _regression(replace(tried, best=replace(tried.best, figures=best)), equal)
    assert said == (
        f"the best head is worse in cross-validation: mAP {best['mAP']:.3f} "
        f"(before: {tried.base['mAP']:.3f})"
    )


def test_labels_that_lost_are_noted(adapted: Adapted) -> None:
    source, files = adapted.splits.source, adapted.splits.val
    val = embed_dataset(source, adapted.base, adapted.cache, files=files, quiet=True)
    figures, lost = adapted.report.compared, (LostLabel("soup", 12, 0.9, 0.5),)
    before, after = (
        _notes(val, val, adapted.base.model, Judgement(figures, one)) for one in ((), lost)
    )
    assert after == ["labels that lost: soup (mAP 0.500, before 0.900)", *before]
    # What says that the Model is worse names them already.
    worse = {**figures, "mAP": BeforeAfter(0.9, 0.5, -0.4, (-0.5, -0.3))}
    judgement = Judgement(worse, lost)
    assert "labels that lost: soup" in judgement.worse()
    assert not any("lost" in one for one in _notes(val, val, adapted.base.model, judgement))


def test_a_head_that_is_worse_on_the_validation_photos(adapted: Adapted, tmp_path: Path) -> None:
    """Photos to learn from whose label is the ground they lie on, and others whose is the dish.

    Where the ground tells the labels apart, what is under it does not count any more.
    """
    rng = np.random.default_rng(0)
    rows = [("photo", "label", "split")]
    for number, (label, colour) in enumerate(list(DISH_COLOURS.items())[:2]):
        for photo in range(12):
            image = dish(colour, photo + 100 * number)
            if photo < 8:
                # Two corners whose brightness says the label, whatever the dish.
                image.paste(((20,) * 3, (235,) * 3)[number], (0, 0, 30, 72))
            else:
                image.paste(((235,) * 3, (20,) * 3)[number], (0, 0, 30, 72))
            name = f"{label}-{photo}.png"
            image.save(tmp_path / name)
            rows.append((name, label, "train" if photo < 8 else "val"))
    rng.shuffle(rows[1:])
    with (tmp_path / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    out = tmp_path / "model"
    report = adapt(splits_of(tmp_path), adapted.base, out, tmp_path / "cache", quiet=True)
    assert report.refused is not None
    assert "worse on the validation photos: mAP" in report.refused
    assert not out.exists()
    report = adapt(
        *(splits_of(tmp_path), adapted.base, out, tmp_path / "cache"),
        even_if_worse=True,
        quiet=True,
    )
    assert report.refused is None
    assert "the adapted Model is worse on the validation photos: mAP" in report.notes[-1]
    assert open_model(out).manifest.training["notes"][-1] == report.notes[-1]
    for one in report.compared.values():
        if one.difference < 0 and one.is_significant:
            assert f"{one.after:.3f} (before: {one.before:.3f})" in report.notes[-1]


# ---- each loss ----


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss(loss: Any, adapted: Adapted, tmp_path: Path) -> None:
    out = tmp_path / "model"
    report = adapt(adapted.splits, adapted.base, out, adapted.cache, loss=loss, quiet=True)
    assert report.refused is None
    assert report.compared["mAP"].after > report.compared["mAP"].before
    steps = [trial for trial in report.cross_validation.trials if trial.choice.step > 0]
    assert len(steps) == 2
    assert all(trial.mean_ap > report.cross_validation.base["mAP"] for trial in steps)
    assert open_model(out).manifest.training["loss"] == loss


# ---- bad input ----


def write_table(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Photos of dishes as (file, label, split) says; those called gone are not there."""
    folder.mkdir()
    colours = list(DISH_COLOURS.values())
    labels = list(dict.fromkeys(label for _, label, _ in rows))
    for number, (name, label, _) in enumerate(rows):
        if "gone" not in name:
            dish(colours[labels.index(label) % 4], number).save(folder / name)
    with (folder / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("photo", "label", "split"), *rows])
    return folder


def table(counts: dict[tuple[str, str], int]) -> list[tuple[str, str, str]]:
    """So many photos of each (label, split)."""
    return [
        (f"{at}-{number}.jpg", label, split)
        for at, ((label, split), count) in enumerate(counts.items())
        for number in range(count)
    ]


def run(folder: Path, base: Embedder, tmp_path: Path) -> AdaptReport:
    return adapt(splits_of(folder), base, tmp_path / "model", tmp_path / "cache", quiet=True)


def test_one_photo_of_each_label_to_train_on(adapted: Adapted, tmp_path: Path) -> None:
    counts = {(label, split): 1 for label in ("a", "b", "c") for split in ("train", "val")}
    folder = write_table(tmp_path / "photos", table(counts))
    with pytest.raises(DatasetError, match="no label has two training photos") as caught:
        run(folder, adapted.base, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_odd_data_is_left_out_and_named(adapted: Adapted, tmp_path: Path) -> None:
    """Missing and corrupt photos, photos without a label, labels of one split, odd names."""
    slashed = "Süßes/Kuchen ../x"
    counts = {("麻婆豆腐", "train"): 8, (slashed, "train"): 8, ("one alone", "train"): 1}
    counts |= {("麻婆豆腐", "val"): 3, (slashed, "val"): 3, ("only val", "val"): 2}
    counts |= {("only test", "test"): 2}
    rows = [*table(counts), ("gone.jpg", "麻婆豆腐", "train"), ("bare.jpg", "", "train")]
    folder = write_table(tmp_path / "photos", rows)
    for name, content in (("0-2.jpg", b"\xff\xd8\xff half"), ("1-3.jpg", b""), ("3-0.jpg", b"x")):
        (folder / name).write_bytes(content)
    report = run(folder, adapted.base, tmp_path)
    assert report.labels == tuple(sorted(["麻婆豆腐", slashed, "one alone"]))
    assert (report.train_photos, report.val_photos) == (15, 5)
    notes = "\n".join(report.notes)
    for said in (
        "1 photo is named and not there: 'gone.jpg'",
        "1 training photo is left out for want of a label",
        "2 validation photos are left out: nothing to train on has their label ('only val')",
        "1 label is of test photos only, not trained on: 'only test'",
        "1 label has one training photo: 'one alone'",
        "0-2.jpg left out: ",
        "1-3.jpg left out: ",
        "3-0.jpg left out: ",
    ):
        assert said in notes
    assert report.refused is None
    assert open_model(tmp_path / "model").manifest.labels == report.labels


def test_validation_photos_that_are_all_corrupt(adapted: Adapted, tmp_path: Path) -> None:
    counts = {(label, split): 3 for label in ("a", "b") for split in ("train", "val")}
    folder = write_table(tmp_path / "photos", table(counts))
    for name in ("1-0", "1-1", "1-2", "3-0", "3-1", "3-2"):
        (folder / f"{name}.jpg").write_bytes(b"no photo")
    with pytest.raises(DatasetError, match=r"too few photos are left .* the first is 1-0"):
        run(folder, adapted.base, tmp_path)


def test_a_label_whose_photos_are_all_corrupt(adapted: Adapted, tmp_path: Path) -> None:
    counts = {(label, split): 3 for label in ("a", "b") for split in ("train", "val")}
    folder = write_table(tmp_path / "photos", table(counts))
    for name in ("0-0", "0-1", "0-2"):
        (folder / f"{name}.jpg").write_bytes(b"no photo")
    with pytest.raises(DatasetError, match=r"3 are unusable.*0-0\.jpg"):
        run(folder, adapted.base, tmp_path)


def test_places_that_can_be_no_model(adapted: Adapted, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(adapted.base.model.folder)
    (tmp_path / "project").mkdir()
    (tmp_path / "project/README.md").write_text("mine")
    build(adapted.photos, tmp_path / "gallery", adapted.base)
    before = (tmp_path / "gallery/manifest.json").read_bytes()
    for place, said in (
        (tmp_path / "file", "is not a folder"),
        (tmp_path / "file/model", "is not a folder"),
        (adapted.base.model.folder, "is the base Model itself"),
        (tmp_path / "link", "is the base Model itself"),
        (tmp_path / "project", "is neither empty nor a Model"),
        (tmp_path / "gallery", "is neither empty nor a Model"),
    ):
        with pytest.raises(SettingError, match=said) as caught:
            adapt(adapted.splits, adapted.base, place, tmp_path / "cache", quiet=True)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()  # before any work
    assert (tmp_path / "project/README.md").read_text() == "mine"
    assert (tmp_path / "gallery/manifest.json").read_bytes() == before
    for place in (adapted.out, tmp_path / "new", tmp_path / "new/deep"):
        check_out(place, adapted.base.model)


# ---- the command ----


def command(*arguments: object, cache: Path, limit: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {"DEEPFOOD_CACHE": str(cache), "DEEPFOOD_PRECISION": "f32"}
    if limit:
        return deepfood_on_a_small_disk(limit, "adapt", *arguments, **environment)
    return deepfood_here("adapt", *arguments, **environment)


def test_the_command_and_a_full_disk(adapted: Adapted, tmp_path: Path) -> None:
    base, out = adapted.base.model.folder, tmp_path / "model"
    arguments = (adapted.photos, "--out", out, "--model", base, "--val-share", 0.25)
    done = command(*arguments, cache=adapted.cache)
    assert done.returncode == 0, done.stderr
    assert "32 photos of 4 labels; chosen in 5 folds of 32" in done.stdout
    assert f"{out}: written" in done.stdout
    assert (out / "model.onnx").read_bytes() == (adapted.out / "model.onnx").read_bytes()
    whole = {path.name: path.read_bytes() for path in out.iterdir()}

    # Smaller than model.onnx, so that not even the first file fits.
    full = command(*arguments, "--seed", 1, cache=adapted.cache, limit=1500)
    assert full.returncode == 2, full.stderr
    assert "no space left on the disk of" in full.stderr.splitlines()[-1]
    assert "Traceback" not in full.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_the_command_refuses_with_1_and_one_line(adapted: Adapted, tmp_path: Path) -> None:
    splits = shuffled(adapted.splits, 0)
    folder = shutil.copytree(adapted.photos, tmp_path / "photos")
    with (folder / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(one.file, one.label) for one in splits.source.files]
        csv.writer(file).writerows([("photo", "label"), *rows])
    out = tmp_path / "model"
    arguments = (folder, "--out", out, "--model", adapted.base.model.folder)
    done = command(*arguments, "--json", cache=tmp_path / "cache")
    assert done.returncode == 1
    assert done.stderr.startswith("deepfood: ")
    assert done.stderr.count("\n") == 1
    about = json.loads(done.stdout)
    assert about["written"] is False
    assert about["refused"] in done.stderr
    again = command(*arguments, cache=tmp_path / "cache")
    assert (again.returncode, again.stderr) == (1, done.stderr)
    assert "held-out photos   before   after " in again.stdout
    assert "written" not in again.stdout
    assert not out.exists()


def test_a_dataset_of_one_label_and_a_loss_that_is_none(adapted: Adapted, tmp_path: Path) -> None:
    one = write_table(tmp_path / "photos", table({("a/b", ""): 4}))
    done = command(one, "--out", tmp_path / "model", cache=tmp_path / "cache")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "has one label, 'a/b'" in done.stderr
    done = command(one, "--out", tmp_path / "model", "--loss", "hinge", cache=tmp_path / "cache")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no loss 'hinge': known are softmax" in done.stderr
