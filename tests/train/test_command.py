"""`deepfood train` on datasets that cannot be learned from, and on odd ones that can."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch

from deepfood.cli import main
from deepfood.evaluate.gate import MEANS
from deepfood.train.backbone import create_backbone
from deepfood.train.checkpoint import GIVEN, TRAINING
from plates import jpeg

Rows = list[tuple[str, str, str]]


def dataset(folder: Path, rows: Rows, missing: tuple[str, ...] = ()) -> Path:
    """A folder with a photos.csv of `rows`: photo, label, split; photos in `missing` are not."""
    folder.mkdir()
    with (folder / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("photo", "label", "split"), *rows])
    for seed, (name, _, _) in enumerate(rows):
        if name not in missing:
            (folder / name).write_bytes(jpeg(seed))
    return folder


def train(monkeypatch: pytest.MonkeyPatch, *arguments: object, weights: Path | str = "none") -> int:
    fixed = "--backbone test_resnet --image-size 32 --epochs 1 --batch 4 --device cpu --weights"
    command = ["deepfood", "train", *map(str, arguments), *fixed.split(), str(weights)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def photos(label: str, count: int, split: str, start: int = 0) -> Rows:
    return [(f"{start + number:02}.jpg", label, split) for number in range(count)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (photos("soup", 6, ""), "has one label, 'soup': two or more are needed"),
        (photos("soup", 1, "") + photos("rice", 1, "", 1), "leaves no photo to validate on"),
        (photos("soup", 4, "val"), "has validation photos and none to train on"),
        (photos("", 4, "train"), "has no labelled photos to train on"),
        (
            photos("soup", 3, "train") + photos("rice", 3, "train", 3) + photos("tea", 2, "val", 6),
            "leaves no photo to validate on",
        ),
    ],
    ids=["one class", "one photo a class", "empty train", "no labels", "val of other classes"],
)
def test_nothing_to_learn_from_is_one_line(
    rows: Rows,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = dataset(tmp_path / "photos", rows)
    assert train(monkeypatch, folder, "--out", tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"deepfood: {folder}")
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_odd_dataset_is_learned_from_and_what_was_odd_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = photos("Süßes/Kuchen", 4, "train") + photos("麻婆豆腐 / 🍛", 4, "train", 4)
    rows += photos("Süßes/Kuchen", 2, "val", 8) + photos("麻婆豆腐 / 🍛", 1, "val", 10)
    rows += [("11.jpg", "nur hier", "val"), ("12.jpg", "../..", "train"), ("13.jpg", "", "train")]
    folder = dataset(tmp_path / "photos", rows, missing=("03.jpg",))
    (folder / "05.jpg").write_bytes(jpeg(5)[:200])
    out = tmp_path / "out"
    assert train(monkeypatch, folder, "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    notes = "\n".join(told["notes"])
    assert "1 photo is named and not there: '03.jpg'" in notes
    assert "'nur hier'" in notes
    assert "1 training photo is left out for want of a label" in notes
    assert "1 label has one training photo: '../..'" in notes
    assert list(told["broken_photos"]) == ["05.jpg"]
    assert told["dataset"]["train_photos"] == 8
    assert told["dataset"]["val_photos"] == 3
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["labels"] == ["../..", "Süßes/Kuchen", "麻婆豆腐 / 🍛"]
    assert manifest["training"]["notes"] == told["notes"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos"]


def test_the_command_refuses_what_is_worse_with_1_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = photos("soup", 6, "train") + photos("rice", 6, "train", 6)
    rows += photos("soup", 3, "val", 12) + photos("rice", 3, "val", 15)
    folder, out = dataset(tmp_path / "photos", rows), tmp_path / "out"
    (folder / "05.jpg").write_bytes(jpeg(5)[:200])
    weights = tmp_path / "w.pth"
    torch.save(create_backbone("test_resnet").state_dict(), weights)
    asked = (folder, "--out", out)
    assert train(monkeypatch, *asked, "--even-if-worse", weights=weights) == 0
    printed = capsys.readouterr().out
    assert "on 6 held-out photos   before   after   difference" in printed
    assert "1 photo could not be read, others stood in:\n  05.jpg: the photo " in printed
    for name in MEANS:
        assert f"\n  {name} " in printed

    given = out / TRAINING / GIVEN
    state = torch.load(given, weights_only=True)
    state["figures"] = state["figures"] | {name: 0 * state["figures"][name] + 1 for name in MEANS}
    torch.save(state, given)
    (out / "manifest.json").unlink()
    assert train(monkeypatch, *asked, weights=weights) == 1
    for_people = capsys.readouterr()
    assert "on 6 held-out photos" in for_people.out
    assert str(out) not in for_people.out
    assert for_people.err.startswith("deepfood: it is worse on the validation photos")
    assert train(monkeypatch, *asked, "--json", weights=weights) == 1
    said = capsys.readouterr()
    assert said.err.startswith("deepfood: it is worse on the validation photos")
    assert said.err.count("\n") == 1
    about = json.loads(said.out)
    assert about["written"] is False
    assert about["refused"] in said.err
    assert not (out / "manifest.json").exists()
    assert train(monkeypatch, *asked, "--even-if-worse", "--json", weights=weights) == 0
    assert json.loads(capsys.readouterr().out)["written"] is True
