"""Split a dataset into train, val and test.

The dataset's own splits are used as they are. If it has no validation photos, a share of each
label's training photos is held out, chosen by a hash of the file name: the same photos on every
machine, independent of other labels. A photo added to a label displaces at most one of them.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepfood.counted import counted
from deepfood.data.passed_over import in_words
from deepfood.data.photo_file import TEST, TRAIN, VAL, PhotoFile, PhotoSource
from deepfood.errors import DatasetError

__all__ = ["TEST", "TRAIN", "VAL", "Splits", "halves", "query_files", "split_photos"]


#: How many names a note gives as examples.
_SHOWN = 3


@dataclass(frozen=True)
class Splits:
    """Photos that exist and have labels; those of `test` may lack them.

    `labels` are the labels of `train`, sorted; every photo of `val` has one of them. `notes` are
    lines for the user: what was left out, and why.
    """

    source: PhotoSource
    train: tuple[PhotoFile, ...]
    val: tuple[PhotoFile, ...]
    test: tuple[PhotoFile, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def split_photos(source: PhotoSource, *, val_share: float = 0.1, seed: int = 0) -> Splits:
    """Split a labelled dataset. Raises DatasetError if nothing could be learned from it."""
    notes: list[str] = []
    if source.passed_over:
        notes.append(f"passed over: {in_words(source.passed_over)}")
    there = _existing(source, notes)
    given = {split: [p for p in there if p.split == split] for split in (TRAIN, VAL, TEST)}
    if given[VAL] and not given[TRAIN] and not any(p.split is None for p in there):
        raise DatasetError(f"{source.root} has validation photos and none to train on")
    # Photos without a named split are for training; so are all where none is named.
    train = _labelled(given[TRAIN] + [p for p in there if p.split is None], "training", notes)
    val = _labelled(given[VAL], "validation", notes)
    if not train:
        raise DatasetError(
            f"{source.root} has no labelled photos to train on: put each label's photos into a "
            "folder of its name, or give a CSV with the columns photo and label"
        )
    if not val:
        train, val = _hold_out(train, val_share, seed)
    counts = Counter(p.label or "" for p in train)
    if len(counts) < 2:
        raise DatasetError(
            f"{source.root} has one label, {next(iter(counts))!r}: two or more are needed to learn "
            "to distinguish them"
        )
    unlearnable = [p for p in val if p.label not in counts]
    if unlearnable:
        notes.append(
            f"{counted(unlearnable, 'validation photo is', 'validation photos are')} left out: "
            "nothing to train on has their label "
            f"({_names(sorted({p.label or '' for p in unlearnable}))})"
        )
        val = [p for p in val if p.label in counts]
    if not val:
        raise DatasetError(
            f"{source.root} leaves no photo to validate on: each of its {counted(counts, 'label')} "
            "has one photo, or the validation photos have other labels; two photos a label are "
            "needed"
        )
    unknown = sorted({p.label for p in given[TEST] if p.label and p.label not in counts})
    if unknown:
        notes.append(
            f"{counted(unknown, 'label is', 'labels are')} of test photos only, not trained on: "
            f"{_names(unknown)}"
        )
    alone = sorted(label for label, count in counts.items() if count == 1)
    if alone:
        has = "label has" if len(alone) == 1 else "labels have"
        notes.append(f"{len(alone)} {has} one training photo: {_names(alone)}")
    return Splits(
        source, tuple(train), tuple(val), tuple(given[TEST]), tuple(sorted(counts)), tuple(notes)
    )


def query_files(source: PhotoSource) -> tuple[list[PhotoFile], str | None]:
    """The labelled photos of a dataset to ask a gallery with, and the split that they are.

    These are the test photos, else the validation photos, else all (None). Raises DatasetError
    where none has a label.
    """
    labelled = [photo for photo in source.files if photo.label]
    if not labelled:
        raise DatasetError(
            f"{source.root} has no labelled photos to ask with: put each label's photos into a "
            "folder of its name, or give a CSV with the columns photo and label"
        )
    for split in (TEST, VAL):
        if chosen := [photo for photo in labelled if photo.split == split]:
            return chosen, split
    return labelled, None


def halves(photos: Sequence[PhotoFile], seed: int) -> tuple[list[int], list[int]]:
    """The rows, from 0, of two halves of `photos`, drawn by a hash of the file names.

    The halves have as many photos of each label, or one more.
    """
    rows = sorted(
        range(len(photos)), key=lambda row: (photos[row].label or "", _draw(photos[row].file, seed))
    )
    return sorted(rows[::2]), sorted(rows[1::2])


def _existing(source: PhotoSource, notes: list[str]) -> list[PhotoFile]:
    gone: list[PhotoFile] = []
    there: list[PhotoFile] = []
    present = source.root.present(photo.file for photo in source.files)
    for photo, is_there in zip(source.files, present, strict=True):
        (there if is_there else gone).append(photo)
    if gone:
        notes.append(
            f"{counted(gone, 'photo is', 'photos are')} named and not there: "
            f"{_names(p.file for p in gone)}"
        )
    return there


def _labelled(photos: list[PhotoFile], what: str, notes: list[str]) -> list[PhotoFile]:
    bare = [photo for photo in photos if not photo.label]
    if bare:
        notes.append(
            f"{counted(bare, f'{what} photo is', f'{what} photos are')} left out for want of a "
            "label"
        )
    return [photo for photo in photos if photo.label]


def _hold_out(
    photos: list[PhotoFile], share: float, seed: int
) -> tuple[list[PhotoFile], list[PhotoFile]]:
    """Move at least one photo of each label, but never its last, to the second list."""
    by_label: dict[str, list[PhotoFile]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label or ""].append(photo)
    held = set()
    for own in by_label.values():
        count = min(len(own) - 1, max(1, round(len(own) * share)))
        held |= {p.file for p in sorted(own, key=lambda p: _draw(p.file, seed))[:count]}
    return [p for p in photos if p.file not in held], [p for p in photos if p.file in held]


def _draw(file: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{file}".encode("utf-8", "surrogateescape")).digest()


def _names(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - _SHOWN} more" if len(all_names) > _SHOWN else ""
    return ", ".join(repr(name) for name in all_names[:_SHOWN]) + more
