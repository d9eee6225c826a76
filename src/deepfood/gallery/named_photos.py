"""Find the photos of a gallery by id, SHA-256 or file name.

File names are in Unicode's NFC nearly everywhere, and in NFD on some Macs: either form finds the
other. Where both exist, each finds itself.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from deepfood.data.photo_file import photo_id
from deepfood.data.root import Root
from deepfood.data.tables import is_absolute, photo_path
from deepfood.errors import DatasetError

#: Identifies a photo: its row, or its id.
PhotoKey = TypeVar("PhotoKey")
Found = TypeVar("Found")

_SHOWN = 80
#: Ids that an error lists.
_IDS = 9


def find_by_name(named: Callable[[str], list[Found]], file: str) -> list[Found]:
    """What `named` returns for a file name, else for the same name in NFC, else in NFD."""
    for spelled in dict.fromkeys([file, *(unicodedata.normalize(f, file) for f in ("NFC", "NFD"))]):
        if found := named(spelled):
            return found
    return []


class NamedPhotos(Generic[PhotoKey]):
    """Finds the photos that a table names."""

    def __init__(self, photos: Iterable[tuple[PhotoKey, str, str]], photos_root: Root) -> None:
        """`photos` yields each photo, its SHA-256 and its file below `photos_root`."""
        self._root = photos_root
        self._by_sha256: dict[str, PhotoKey] = {}
        self._sha256_of_id: dict[str, str] = {}
        self._sha256_of_file: dict[str, str] = {}
        #: Added photos may share the name of others.
        self._of_several: dict[str, list[str]] = {}
        self._spellings: dict[str, list[str]] = defaultdict(list)
        for photo, sha256, file in photos:
            self._by_sha256[sha256] = photo
            self._sha256_of_id[photo_id(sha256)] = sha256
            first = self._sha256_of_file.setdefault(file, sha256)
            if first != sha256:
                self._of_several.setdefault(file, [first]).append(sha256)
            elif not file.isascii():
                self._spellings[unicodedata.normalize("NFC", file)].append(file)

    def find(self, key: str, name: str) -> PhotoKey:
        """The photo whose `id`, `sha256` or `file` (by `key`) is `name`. Raises DatasetError."""
        if key == "id":
            sha256 = self._sha256_of_id.get(name.lower())
        elif key == "sha256":
            sha256 = name.lower()
        else:
            sha256 = self._of_file(name)
        if sha256 not in self._by_sha256:
            raise DatasetError(f"the gallery has no photo {name[:_SHOWN]!r}")
        return self._by_sha256[sha256]

    def _of_file(self, name: str) -> str | None:
        file = photo_path(name)
        if is_absolute(name):
            inside = self._root.inside(name)
            if inside is None:
                raise DatasetError(
                    f"{name[:_SHOWN]!r} lies outside {self._root}, where this gallery's photos "
                    "are: name them by their paths below that, or by their ids"
                )
            file = inside
        if file not in self._sha256_of_file:
            alike = self._spellings.get(unicodedata.normalize("NFC", file), [])
            if len(alike) > 1:
                raise _several(file, [self._sha256_of_file[one] for one in alike])
            file = alike[0] if alike else file
        if file in self._of_several:
            raise _several(file, self._of_several[file])
        return self._sha256_of_file.get(file)


def _several(file: str, sha256s: list[str]) -> DatasetError:
    ids = ", ".join(map(photo_id, sha256s[:_IDS]))
    return DatasetError(
        f"{len(sha256s)} photos are called {file[:_SHOWN]!r}: name one by its id: {ids}"
    )
