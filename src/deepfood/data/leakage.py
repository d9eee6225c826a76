"""Whether photos to validate or test on are also among those to train on: the same, or nearly so.

`deepfood data check` looks at everything. `train`, `adapt` and `evaluate` look too, within a cost
that is small beside their own: copies are always found, for files are compared by size and only
those alike are read; near copies, for which every photo is decoded (2 ms on one core), only among
NEAR_PHOTOS photos at most, 20 s on two cores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from deepfood.data.duplicates import Print, near_pairs, prints_of_copies, same_pairs, take_prints
from deepfood.data.each_photo import Unreadable
from deepfood.data.photo_file import TEST, TRAIN, VAL, PhotoFile
from deepfood.data.splits import Splits
from deepfood.photo import Limits

#: Above so many photos, a command with other work to do looks for no near copies.
NEAR_PHOTOS = 20_000


@dataclass(frozen=True)
class Leak:
    """`photo` of `split` (val or test) is also there as `twin` of `twin_split`."""

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
    """Photos of val and test that are in train too, and those of test that are in val.

    Decodes every photo; those that cannot be read are named.
    """
    by_split = _by_split(splits)
    photos = [(splits.source.root, file) for files in by_split.values() for file in files]
    taken = take_prints(photos, limits, quiet=quiet)
    unreadable: list[Unreadable] = []
    prints: dict[str, list[Print]] = {}
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
    """What `check_leakage` finds, in lines for the user.

    Among more than `near_photos` photos only copies are looked for, and a line says so.
    """
    by_split = _by_split(splits)
    count = sum(map(len, by_split.values()))
    if count <= near_photos:
        return _notes(check_leakage(splits, limits, quiet).leaks)
    photos = [(splits.source.root, file) for files in by_split.values() for file in files]
    copies = prints_of_copies(photos)
    prints, start = {}, 0
    for split, files in by_split.items():
        own = range(start, start + len(files))
        prints[split] = [copies[place] for place in own if place in copies]
        start = own.stop
    return [*_notes(_leaks(prints)), not_looked_for(count, near_photos)]


def not_looked_for(photos: int, near_photos: int) -> str:
    """The line that says that only copies were looked for."""
    return (
        f"near copies were not looked for: {photos:,} photos are more than {near_photos:,}; "
        "deepfood data check DATASET does"
    )


def _by_split(splits: Splits) -> dict[str, tuple[PhotoFile, ...]]:
    return {TRAIN: splits.train, VAL: splits.val, TEST: splits.test}


def _leaks(prints: Mapping[str, Sequence[Print]]) -> tuple[Leak, ...]:
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
    """A line for each two splits that share photos; an example is a copy, where there is one."""
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
