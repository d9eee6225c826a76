"""Duplicate photos: exact and near-duplicates.

Exact duplicates are files with the same bytes. Near-duplicates are pictures whose difference hashes
(N. Krawetz, "Kind of Like That", 2013), of 256 bits, differ in few bits: a copy that was saved
again, made smaller or brighter, slightly cropped, or mirrored.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from deepfood.data.each_photo import Unreadable, each_photo
from deepfood.data.photo_file import PhotoFile
from deepfood.data.root import Root
from deepfood.errors import PhotoError, PhotoMissingError
from deepfood.photo import Limits, Preprocess, read_pixels

Hash = npt.NDArray[np.uint8]
#: The root of a photo, and the photo.
Located = tuple[Root, PhotoFile]

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
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Fingerprint:
    """What two photos are compared by.

    `hashes` are those of the picture and of its mirror image; None if it is blank or was not
    decoded.
    """

    file: PhotoFile
    sha256: bytes
    hashes: tuple[Hash, Hash] | None


def fingerprints(
    photos: Sequence[Located], limits: Limits, *, quiet: bool
) -> Iterator[Fingerprint | Unreadable]:
    """The fingerprint of each photo, in order. Decodes them all: 2 ms a photo on one core."""
    results = each_photo(
        "comparing",
        photos,
        limits,
        lambda data: (hashlib.sha256(data).digest(), difference_hashes(data, limits)),
        quiet=quiet,
    )
    for (_, file), result in zip(photos, results, strict=True):
        yield result if isinstance(result, Unreadable) else Fingerprint(file, *result)


def fingerprints_of_copies(photos: Sequence[Located]) -> dict[int, Fingerprint]:
    """The photos that have the same bytes as another, by position; their fingerprints lack hashes.

    Decodes nothing, and reads only files whose size and first 4 kB are those of another.
    """
    groups = [list(range(len(photos)))]
    for step in (_size, _head):
        finer: list[list[int]] = []
        for group in groups:
            alike = defaultdict(list)
            for place in group:
                alike[step(photos[place], place)].append(place)
            finer += [places for places in alike.values() if len(places) > 1]
        groups = finer
    copies = defaultdict(list)
    for group in groups:
        for place in group:
            copies[_content(photos[place], place)].append(place)
    return {
        place: Fingerprint(photos[place][1], content, None)
        for content, places in copies.items()
        if len(places) > 1
        for place in places
    }


def _key_of_photo(look: Callable[[Root, str], bytes]) -> Callable[[Located, int], bytes]:
    """What `look` reads of a photo; for an unreadable one its position, which equals no other key.

    The error is reported later, by the work that the photos are read for.
    """

    def key(photo: Located, place: int) -> bytes:
        try:
            return look(photo[0], photo[1].file)
        except PhotoError:
            return f"place {place}".encode()

    return key


@_key_of_photo
def _size(root: Root, file: str) -> bytes:
    size, _ = root.stamp(file)
    if size < 0:
        raise PhotoMissingError("there is no such file")
    return str(size).encode()


@_key_of_photo
def _head(root: Root, file: str) -> bytes:
    return root.head(file, _HEAD_BYTES)


@_key_of_photo
def _content(root: Root, file: str) -> bytes:
    return hashlib.sha256(root.read(file, lambda _: None)).digest()


def difference_hashes(data: bytes, limits: Limits) -> tuple[Hash, Hash] | None:
    """Hashes of the centred square and of its mirror image, uint8 [32] each; None if it is blank.

    Each bit tells whether one of 16 x 17 fields of the grey image is darker than its neighbour.
    Raises PhotoError for bytes that are not a photo.
    """
    grey = read_pixels(data, _SQUARE, limits).astype(np.float32) @ _GREY
    fields = grey.reshape(_ROWS, _COLUMNS, _COLUMNS, _ROWS).mean((1, 3))
    if fields.std() < _MIN_CONTRAST:
        return None
    return _bits(fields), _bits(fields[:, ::-1])


def _bits(fields: npt.NDArray[np.float32]) -> Hash:
    return np.packbits(fields[:, 1:] > fields[:, :-1])


def same_pairs(
    own: Sequence[Fingerprint], others: Sequence[Fingerprint]
) -> Iterator[tuple[Fingerprint, Fingerprint]]:
    """Pairs with the same bytes."""
    by_content = defaultdict(list)
    for other in others:
        by_content[other.sha256].append(other)
    for one in own:
        for other in by_content.get(one.sha256, ()):
            yield one, other


def near_pairs(
    own: Sequence[Fingerprint], others: Sequence[Fingerprint]
) -> Iterator[tuple[Fingerprint, Fingerprint]]:
    """Pairs of other bytes whose hashes are at most MAX_DISTANCE apart, mirrored ones included."""
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
            # faiss returns what is closer than the radius.
            bounds, _, rows = index.range_search(wanted, MAX_DISTANCE + 1)
            owners = np.repeat(np.arange(len(chunk)), np.diff(bounds).astype(np.int64))
            found.update(zip(owners.tolist(), rows.tolist(), strict=True))
        for at, row in sorted(found):
            if chunk[at].sha256 != others[row].sha256:
                yield chunk[at], others[row]
