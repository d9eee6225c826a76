"""Whether photos to validate or test on are also among those to train on: the same, or nearly so.

The same are files with the same bytes. Nearly the same are pictures whose difference hashes (N.
Krawetz, "Kind of Like That", 2013), of 256 bits, differ in few bits: a copy that was saved again,
made smaller or brighter, slightly cropped, or mirrored.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import faiss
import numpy as np
import numpy.typing as npt

from deepfood.data.each_photo import Unreadable, each_photo
from deepfood.data.photo_file import TEST, TRAIN, VAL, PhotoFile
from deepfood.data.splits import Splits
from deepfood.photo import Limits, Preprocess, read_pixels

Hash = npt.NDArray[np.uint8]

#: Bits in which the hashes of nearly the same pictures may differ. Measured on 3,000 photos of ten
#: dishes of Food-101 (4.5 million pairs, and as many mirrored): two pictures that are not copies
#: differ in 60 or more. Of 300 copies, this finds all of those saved again as JPEG of quality 20
#: or at half the size, or cropped by 2 %; 98 % of those made brighter by 30 %; 76 % of those
#: cropped by 4 %. Drawn plates on plain ground, more alike than photos, differ in 41 or more.
MAX_DISTANCE = 36

_ROWS, _COLUMNS = 16, 17
_BYTES = _ROWS * (_COLUMNS - 1) // 8
#: 272 pixels are 17 columns of 16 and 16 rows of 17.
_SQUARE = Preprocess(
    size=_ROWS * _COLUMNS, crop=1, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1)
)
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
#: Grey levels (0 to 255, standard deviation) below which a picture is blank: all blank ones would
#: be nearly the same.
_MIN_CONTRAST = 1.0
#: Pairs compared at once; each may be a result of 12 bytes.
_PAIRS_AT_ONCE = 2**24


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


def find_leaks(splits: Splits, limits: Limits, quiet: bool = False) -> tuple[Leak, ...]:
    """Photos of val and test that are in train too, and those of test that are in val."""
    return check_leakage(splits, limits, quiet).leaks


def check_leakage(splits: Splits, limits: Limits, quiet: bool = False) -> Leakage:
    """Like `find_leaks`, and with the photos that could not be read."""
    named = [(TRAIN, splits.train), (VAL, splits.val), (TEST, splits.test)]
    files = [(split, file) for split, files in named for file in files]
    prints, unreadable = [], []
    results = each_photo(
        "comparing",
        [(splits.source.root, file) for _, file in files],
        limits,
        lambda data, _: _fingerprint(data, limits),
        quiet=quiet,
    )
    for (split, file), result in zip(files, results, strict=True):
        if isinstance(result, Unreadable):
            unreadable.append(result)
        else:
            prints.append(_Print(file, split, *result))
    leaks = []
    for split, before in ((VAL, (TRAIN,)), (TEST, (TRAIN, VAL))):
        own = [one for one in prints if one.split == split]
        others = [one for one in prints if one.split in before]
        same = list(_same(own, others))
        known = {(one.file.file, other.file.file) for one, other in same}
        near = [
            (one, other)
            for one, other in _near(own, others)
            if (one.file.file, other.file.file) not in known
        ]
        leaks += [_leak(one, other, "same") for one, other in same]
        leaks += [_leak(one, other, "nearly the same") for one, other in near]
    leaks.sort(key=lambda leak: (leak.kind != "same", leak.split, leak.photo, leak.twin))
    return Leakage(tuple(leaks), tuple(unreadable))


@dataclass(frozen=True)
class _Print:
    file: PhotoFile
    split: str
    sha256: bytes
    hashes: tuple[Hash, Hash] | None  # of the picture and of its mirror image; None if it is blank


def _fingerprint(data: bytes, limits: Limits) -> tuple[bytes, tuple[Hash, Hash] | None]:
    return hashlib.sha256(data).digest(), difference_hashes(data, limits)


def difference_hashes(data: bytes, limits: Limits) -> tuple[Hash, Hash] | None:
    """Hashes of the centred square and of its mirror image, uint8 [32] each; None if it is blank.

    A bit says whether one of 16 x 17 fields of the grey picture is darker than the next in its row.
    Raises PhotoError for bytes that are no photo.
    """
    grey = read_pixels(data, _SQUARE, limits).astype(np.float32) @ _GREY
    fields = grey.reshape(_ROWS, _COLUMNS, _COLUMNS, _ROWS).mean((1, 3))
    if fields.std() < _MIN_CONTRAST:
        return None
    return _bits(fields), _bits(fields[:, ::-1])


def _bits(fields: npt.NDArray[np.float32]) -> Hash:
    return np.packbits(fields[:, 1:] > fields[:, :-1])


def _same(own: Sequence[_Print], others: Sequence[_Print]) -> Iterator[tuple[_Print, _Print]]:
    by_content = defaultdict(list)
    for other in others:
        by_content[other.sha256].append(other)
    for one in own:
        for other in by_content.get(one.sha256, ()):
            yield one, other


def _near(own: Sequence[_Print], others: Sequence[_Print]) -> Iterator[tuple[_Print, _Print]]:
    """Pairs whose hashes are at most MAX_DISTANCE apart, mirrored ones included, each once."""
    own = [one for one in own if one.hashes]
    others = [other for other in others if other.hashes]
    if not own or not others:
        return
    index = faiss.IndexBinaryFlat(8 * _BYTES)
    index.add(np.stack([other.hashes[0] for other in others if other.hashes]))
    step = max(1, _PAIRS_AT_ONCE // len(others))
    for start in range(0, len(own), step):
        chunk = own[start : start + step]
        found: set[tuple[int, int]] = set()
        for side in (0, 1):
            wanted = np.stack([one.hashes[side] for one in chunk if one.hashes])
            # faiss gives what is nearer than the radius.
            bounds, _, rows = index.range_search(wanted, MAX_DISTANCE + 1)
            owners = np.repeat(np.arange(len(chunk)), np.diff(bounds).astype(np.int64))
            found.update(zip(owners.tolist(), rows.tolist(), strict=True))
        for at, row in sorted(found):
            yield chunk[at], others[row]


def _leak(one: _Print, other: _Print, kind: Literal["same", "nearly the same"]) -> Leak:
    return Leak(one.file.stored, one.split, other.file.stored, other.split, kind)
