"""Splitting a dataset: the laws of holding out, and datasets that are not what they should be."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepfood.data.photos import PhotoFile, PhotoSource, list_photos
from deepfood.data.root import Folder
from deepfood.data.splits import Splits, halves, split_photos
from deepfood.errors import DatasetError

LABELS = ["curry", "half/half", "../up", "麻婆豆腐", "crème", "🍛 x", "a\\b"]
sizes = st.dictionaries(
    st.sampled_from(LABELS), st.integers(min_value=1, max_value=12), min_size=2, max_size=5
).filter(lambda counts: max(counts.values()) > 1)
shares = st.floats(min_value=0.01, max_value=0.99)
seeds = st.integers(min_value=0, max_value=5)
here = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def source_of(root: Path, photos: list[PhotoFile]) -> PhotoSource:
    """A source whose files are there."""
    for photo in photos:
        if not (root / photo.file).exists():
            (root / photo.file).touch()
    return PhotoSource(Folder(root), tuple(sorted(photos, key=lambda photo: photo.file)))


def labelled(counts: dict[str, int], split: str | None = None) -> list[PhotoFile]:
    return [
        PhotoFile(f"{LABELS.index(label)}-{number}-{split}.jpg", label, split=split)
        for label, count in counts.items()
        for number in range(count)
    ]


def held_out(splits: Splits, label: str) -> set[str]:
    return {photo.file for photo in splits.val if photo.label == label}


@here
@given(counts=sizes, share=shares, seed=seeds)
def test_holding_out(counts: dict[str, int], share: float, seed: int, tmp_path: Path) -> None:
    source = source_of(tmp_path, labelled(counts))
    splits = split_photos(source, val_share=share, seed=seed)
    assert splits == split_photos(source, val_share=share, seed=seed)
    train, val = {p.file for p in splits.train}, {p.file for p in splits.val}
    assert not train & val
    assert train | val == {p.file for p in source.files}
    assert splits.labels == tuple(sorted(counts))
    assert {p.label for p in splits.train} == set(counts)
    for label, count in counts.items():
        wanted = min(count - 1, max(1, round(count * share)))
        assert len(held_out(splits, label)) == wanted


@here
@given(counts=sizes, more=sizes, share=shares, seed=seeds)
def test_added_photos_displace_few(
    counts: dict[str, int], more: dict[str, int], share: float, seed: int, tmp_path: Path
) -> None:
    before = split_photos(source_of(tmp_path, labelled(counts)), val_share=share, seed=seed)
    added = [PhotoFile(f"new-{p.file}", p.label) for p in labelled(more)]
    grown = source_of(tmp_path, labelled(counts) + added)
    after = split_photos(grown, val_share=share, seed=seed)
    for label in counts:
        displaced = held_out(before, label) - held_out(after, label)
        assert len(displaced) <= more.get(label, 0)


def test_another_seed_holds_out_others(tmp_path: Path) -> None:
    source = source_of(tmp_path, labelled({"curry": 100, "crème": 100}))
    assert split_photos(source, seed=0).val != split_photos(source, seed=1).val


@given(sizes, seeds)
def test_halves_share_each_label(counts: dict[str, int], seed: int) -> None:
    photos = labelled(counts)
    first, second = halves(photos, seed)
    assert sorted([*first, *second]) == list(range(len(photos)))
    assert 0 <= len(first) - len(second) <= 1
    for label in counts:
        own = [sum(photos[row].label == label for row in half) for half in (first, second)]
        assert abs(own[0] - own[1]) <= 1
    backwards = halves(photos[::-1], seed)
    names = [{photos[row].file for row in half} for half in (first, second)]
    assert [{photos[::-1][row].file for row in half} for half in backwards] == names


def test_another_seed_draws_other_halves() -> None:
    photos = labelled({"curry": 12, "crème": 11})
    assert halves(photos, 1) != halves(photos, 2)


def test_named_splits_are_taken_at_their_word(tmp_path: Path) -> None:
    named = [labelled({"curry": 3, "crème": 2}, split) for split in ("train", "val", "test")]
    splits = split_photos(source_of(tmp_path, [p for own in named for p in own]))
    for files, wanted in zip((splits.train, splits.val, splits.test), named, strict=True):
        assert sorted(p.file for p in files) == sorted(p.file for p in wanted)
    assert splits.notes == ()


def test_photos_of_no_split_are_for_training(tmp_path: Path) -> None:
    mixed = labelled({"curry": 3}) + labelled({"crème": 2}, "train") + labelled({"curry": 1}, "val")
    splits = split_photos(source_of(tmp_path, mixed))
    assert Counter(p.label for p in splits.train) == {"curry": 3, "crème": 2}
    assert len(splits.val) == 1


def test_a_table_that_names_missing_files(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("0-0-None.jpg")
    (tmp_path / "out.jpg").symlink_to("/etc/hostname")
    (tmp_path / "outside").symlink_to("/etc")
    bad = ("gone.jpg", "folder.jpg", "out.jpg", "outside/hostname", "/etc/hostname", "../x", "a\0b")
    source = source_of(tmp_path, labelled({"curry": 3, "crème": 3}))
    files = [*source.files, *(PhotoFile(name, "curry") for name in ("link.jpg", *bad))]
    splits = split_photos(PhotoSource(Folder(tmp_path), tuple(files)))
    assert len(splits.train) + len(splits.val) == 7
    assert splits.notes == (
        "7 photos are named and not there: 'gone.jpg', 'folder.jpg', 'out.jpg' and 4 more",
    )


def test_files_without_labels(tmp_path: Path) -> None:
    bare = [PhotoFile(f"bare-{split}.jpg", split=split) for split in (None, "val", "test")]
    splits = split_photos(source_of(tmp_path, labelled({"curry": 3, "crème": 3}) + bare))
    assert [p.file for p in splits.test] == ["bare-test.jpg"]
    assert "bare-val.jpg" not in {p.file for p in splits.val}
    assert splits.notes == (
        "1 training photo is left out for want of a label",
        "1 validation photo is left out for want of a label",
    )


def refused(root: Path, photos: list[PhotoFile]) -> str:
    with pytest.raises(DatasetError) as caught:
        split_photos(source_of(root, photos))
    said = str(caught.value)
    assert "\n" not in said
    assert str(root) in said
    return said


def test_nothing_could_be_learned(tmp_path: Path) -> None:
    assert "one label, 'half/half'" in refused(tmp_path, labelled({"half/half": 9}))
    assert "each of its 2 labels has one photo" in refused(
        tmp_path, labelled({"curry": 1, "../up": 1})
    )
    assert "no labelled photos to train on" in refused(tmp_path, [PhotoFile("a.jpg")])
    assert "no labelled photos to train on" in refused(tmp_path, labelled({"curry": 5}, "test"))
    only_val = labelled({"curry": 5, "crème": 5}, "val")
    assert "validation photos and none to train on" in refused(tmp_path, only_val)
    strangers = labelled({"curry": 5, "crème": 5}, "train") + labelled({"🍛 x": 2}, "val")
    assert "no photo to validate on" in refused(tmp_path, strangers)


def test_an_empty_split(tmp_path: Path) -> None:
    """`val/` without a photo is as no `val/`: some of the training photos are held out."""
    for name in ("train/a/1.jpg", "train/a/2.jpg", "train/b/3.jpg", "train/b/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("val", "test/a"):
        (tmp_path / name).mkdir(parents=True)
    splits = split_photos(list_photos(tmp_path))
    assert (len(splits.train), len(splits.val), splits.test) == (2, 2, ())


def test_one_photo_of_a_label(tmp_path: Path) -> None:
    splits = split_photos(source_of(tmp_path, labelled({"curry": 9, "crème": 1})))
    assert {p.label for p in splits.val} == {"curry"}
    assert splits.notes == ("1 label has one training photo: 'crème'",)


def test_labels_that_are_not_in_train(tmp_path: Path) -> None:
    train = labelled({"curry": 3, "crème": 3}, "train")
    val = labelled({"curry": 1, "麻婆豆腐": 2}, "val")
    test = labelled({"a\\b": 1, "curry": 1}, "test")
    splits = split_photos(source_of(tmp_path, train + val + test))
    assert [p.label for p in splits.val] == ["curry"]
    assert len(splits.test) == 2
    assert splits.labels == ("crème", "curry")
    assert splits.notes == (
        "2 validation photos are left out: nothing to train on has their label ('麻婆豆腐')",
        "1 label is of test photos only, not trained on: 'a\\\\b'",
    )
