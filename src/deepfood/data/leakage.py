"""Leakage: validation or test photos that are also training photos, exactly or nearly.

`deepfood data check` checks everything. `train`, `adapt` and `evaluate` check what costs little:
exact copies always, as only files of equal size are read; near copies, for which every photo is
decoded (2 ms on one core), among NEAR_PHOTOS photos at most, which takes 20 s on two cores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from deepfood.data.duplicates import (
    Fingerprint,
    fingerprints,
    fingerprints_of_copies,
    near_pairs,
    same_pairs,
)
from deepfood.data.each_photo import Unreadable
from deepfood.data.photo_file import TEST, TRAIN, VAL, PhotoFile
from deepfood.data.splits import Splits
from deepfood.photo import Limits

#: Commands with other work look for near copies among at most so many photos.
NEAR_PHOTOS = 20_000


@dataclass(frozen=True)
class Leak:
    """`photo` of `split` (val or test) is also in `twin_split`, as `twin`."""

    photo: str
    split: str
    twin: str
    twin_split: str
    kind: Literal["same", "nearly the same"]


@dataclass(frozen=True)
class Leakage:
    leaks: tuple[Leak, ...]
    unreadable: tuple[Unreadable, ...]


def check_leakage(splits: Splits, limits: Limits, quiet: bool = False) -> Leakage:
    """Photos of val and test that are also in train, and photos of test that are also in val.

    Decodes every photo, and lists those that cannot be read.
    """
    by_split = _by_split(splits)
    photos = [(splits.source.root, file) for files in by_split.values() for file in files]
    taken = fingerprints(photos, limits, quiet=quiet)
    unreadable: list[Unreadable] = []
    prints: dict[str, list[Fingerprint]] = {}
    for split, files in by_split.items():
        prints[split] = []
        for one in islice(taken, len(files)):
            if isinstance(one, Unreadable):
                unreadable.append(one)
            else:
                prints[split].append(one)
    return Leakage(_leaks(prints), tuple(unreadable))


def leak_notes(
    splits: Splits, limits: Limits, *, quiet: bool = False, near_photos: int = NEAR_PHOTOS
) -> list[str]:
    """The results of `check_leakage` as lines for the user.

    Beyond `near_photos` photos only exact copies are looked for, and a note states it.
    """
    by_split = _by_split(splits)
    count = sum(map(len, by_split.values()))
    if count <= near_photos:
        return _notes(check_leakage(splits, limits, quiet).leaks)
    photos = [(splits.source.root, file) for files in by_split.values() for file in files]
    copies = fingerprints_of_copies(photos)
    prints, start = {}, 0
    for split, files in by_split.items():
        own = range(start, start + len(files))
        prints[split] = [copies[place] for place in own if place in copies]
        start = own.stop
    return [*_notes(_leaks(prints)), not_looked_for(count, near_photos)]


def not_looked_for(photos: int, near_photos: int) -> str:
    """The note that only exact copies were looked for."""
    return (
        f"near copies were not looked for: {photos:,} photos are more than {near_photos:,}; "
        "deepfood data check DATASET does"
    )


def _by_split(splits: Splits) -> dict[str, tuple[PhotoFile, ...]]:
    return {TRAIN: splits.train, VAL: splits.val, TEST: splits.test}


def _leaks(prints: Mapping[str, Sequence[Fingerprint]]) -> tuple[Leak, ...]:
    leaks = []
    for split, before in ((VAL, (TRAIN,)), (TEST, (TRAIN, VAL))):
        for other in before:
            own, others = prints[split], prints[other]
            for one, twin in same_pairs(own, others):
                leaks.append(Leak(one.file.stored, split, twin.file.stored, other, "same"))
            for one, twin in near_pairs(own, others):
                leaks.append(
                    Leak(one.file.stored, split, twin.file.stored, other, "nearly the same")
                )
    leaks.sort(key=lambda leak: (leak.kind != "same", leak.split, leak.photo, leak.twin))
    return tuple(leaks)


def _notes(leaks: Sequence[Leak]) -> list[str]:
    """A line per pair of splits that share photos, with an example: an exact copy if possible."""
    notes = []
    for split, other in ((VAL, TRAIN), (TEST, TRAIN), (TEST, VAL)):
        between = [leak for leak in leaks if (leak.split, leak.twin_split) == (split, other)]
        if not between:
            continue
        same = {leak.photo for leak in between if leak.kind == "same"}
        near = {leak.photo for leak in between} - same
        first, counts = between[0], f"{len(same)} the same and {len(near)} nearly"
        notes.append(
            f"leakage: {split} has photos of {other} too, {counts} "
            f"({first.photo!r} is {first.twin!r}): figures on {split} flatter"
        )
    return notes
