"""Photos that are in two splits are found, those that only look alike are not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from deepfood.data.duplicates import prints_of_copies
from deepfood.data.leakage import Leak, check_leakage, leak_notes, not_looked_for
from deepfood.data.photos import list_photos
from deepfood.data.splits import Splits, split_photos
from dishes import write_leaky
from plates import LIMITS

IN_VAL = (
    "leakage: val has photos of train too, {} the same and {} nearly ('val/soup/same.jpg' is "
    "'train/soup/0.jpg'): figures on val flatter"
)
SAME = Leak("val/soup/same.jpg", "val", "train/soup/0.jpg", "train", "same")
NEAR = Leak("val/soup/near.jpg", "val", "train/curry/1.jpg", "train", "nearly the same")
MIRRORED = Leak("test/curry/mirrored.jpg", "test", "train/curry/2.jpg", "train", "nearly the same")


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    return write_leaky(tmp_path / "leaky")


def splits_of(folder: Path) -> Splits:
    return split_photos(list_photos(folder))


def test_copies_and_near_copies_are_found_and_nothing_else(leaky: Path) -> None:
    found = check_leakage(splits_of(leaky), LIMITS, quiet=True)
    assert found.leaks == (SAME, MIRRORED, NEAR)
    assert found.unreadable == ()


def test_a_photo_of_test_that_is_in_val(leaky: Path) -> None:
    shutil.copy(leaky / "val/curry/0.jpg", leaky / "test/soup/9.jpg")
    found = check_leakage(splits_of(leaky), LIMITS, quiet=True).leaks
    assert Leak("test/soup/9.jpg", "test", "val/curry/0.jpg", "val", "same") in found
    assert leak_notes(splits_of(leaky), LIMITS, quiet=True)[2] == (
        "leakage: test has photos of val too, 1 the same and 0 nearly ('test/soup/9.jpg' is "
        "'val/curry/0.jpg'): figures on test flatter"
    )


def test_blank_photos_are_not_all_one(leaky: Path) -> None:
    for split, grey in (("train", 100), ("val", 120)):
        Image.new("RGB", (90, 90), (grey,) * 3).save(leaky / split / "soup/blank.png")
    assert check_leakage(splits_of(leaky), LIMITS, quiet=True).leaks == (SAME, MIRRORED, NEAR)


def test_photos_that_cannot_be_read_are_named_and_stop_nothing(leaky: Path) -> None:
    (leaky / "train/soup/1.jpg").write_bytes(b"no photo")
    splits = splits_of(leaky)
    (leaky / "val/curry/0.jpg").unlink()
    found = check_leakage(splits, LIMITS, quiet=True)
    assert [one.file.file for one in found.unreadable] == ["train/soup/1.jpg", "val/curry/0.jpg"]
    assert found.leaks == (SAME, MIRRORED, NEAR)
    for near_photos in (0, 100):
        assert "1 the same" in leak_notes(splits, LIMITS, quiet=True, near_photos=near_photos)[0]


def test_notes_count_each_kind_and_name_one(leaky: Path) -> None:
    in_val, in_test = leak_notes(splits_of(leaky), LIMITS, quiet=True)
    assert in_val == IN_VAL.format(1, 1)
    assert in_test == (
        "leakage: test has photos of train too, 0 the same and 1 nearly "
        "('test/curry/mirrored.jpg' is 'train/curry/2.jpg'): figures on test flatter"
    )


def test_clean_splits_have_no_notes(leaky: Path) -> None:
    for name in ("val/soup/same.jpg", "val/soup/near.jpg", "test/curry/mirrored.jpg"):
        (leaky / name).unlink()
    assert leak_notes(splits_of(leaky), LIMITS, quiet=True) == []


def test_among_many_photos_only_copies_are_looked_for(leaky: Path) -> None:
    """`near_photos` photos are not yet many."""
    splits = splits_of(leaky)
    count = len(splits.train) + len(splits.val) + len(splits.test)
    assert len(leak_notes(splits, LIMITS, quiet=True, near_photos=count)) == 2
    assert leak_notes(splits, LIMITS, quiet=True, near_photos=count - 1) == [
        IN_VAL.format(1, 0),
        not_looked_for(count, count - 1),
    ]


def test_copies_have_all_bytes_in_common(tmp_path: Path) -> None:
    """Neither the size alone nor the first bytes make two files the same."""
    head = bytes(4096)
    contents = [head + b"a", head + b"b", head + b"a", b"c" * 4097, b"c" * 4098, b"c" * 4097, b""]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.jpg").write_bytes(content)
    source = list_photos(tmp_path)
    (tmp_path / "6.jpg").unlink()
    found = prints_of_copies([(source.root, file) for file in source.files])
    assert sorted(found) == [0, 2, 3, 5]
    assert found[0].sha256 == found[2].sha256 != found[3].sha256


def test_data_check_says_so_and_ends_with_1(leaky: Path) -> None:
    command = [sys.executable, "-m", "deepfood.cli", "data", "check", str(leaky), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    about = json.loads(done.stdout)
    assert about["ok"] is False
    assert about["leaks"] == [vars(one) for one in (SAME, MIRRORED, NEAR)]
