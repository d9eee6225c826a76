"""Choose which files of a source, and which added photos, a new generation holds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from deepfood.counted import counted
from deepfood.data.photo_file import PhotoFile
from deepfood.data.photos import PhotoSource
from deepfood.data.root import UNREADABLE_FILE
from deepfood.errors import DatasetError, PhotoError
from deepfood.gallery.fold import Fold
from deepfood.gallery.photo import REMOVED, Photo, Skipped
from deepfood.gallery.reports import Consent
from deepfood.photo.limits import Limits

#: The reason why an added photo is not in a new generation.
BYTES_GONE = "the gallery's copy of its bytes is gone or damaged: add it again"


class FileEntry(Protocol):
    """The catalogue entry of a file."""

    @property
    def entry(self) -> Photo | Skipped: ...


EntryT = TypeVar("EntryT", bound=FileEntry)


@dataclass(frozen=True)
class Choice(Generic[EntryT]):
    """The chosen photos with the place of their vectors, and the files that are left out."""

    photos: list[tuple[Photo, EntryT]]
    skipped: list[Skipped]


def choose_photos(
    source: PhotoSource,
    known: Mapping[str, EntryT],
    fold: Fold,
    vectors: Mapping[str, EntryT],
    consent: Consent,
) -> Choice[EntryT]:
    """Choose each content once, under its first file; further files with it are skipped.

    Manual edits follow the content. Added photos come last; a file of the source with the same
    content is a copy of one. Raises DatasetError where no photo is usable, without consent.
    """
    chosen: list[tuple[Photo, EntryT]] = []
    skipped: list[Skipped] = []
    added: dict[str, Photo] = {}
    for sha256, photo in fold.added():
        if sha256 in vectors:
            added[sha256] = photo
        else:
            skipped.append(Skipped(f"photos/{sha256}", BYTES_GONE, -1, -1, sha256))
    first = {photo.sha256: photo.file for photo in added.values()}
    for file in source.files:
        one = known[file.stored]
        if isinstance(one.entry, Skipped):
            skipped.append(one.entry)
            continue
        photo = replace(
            one.entry,
            file=file.file,
            label=file.label,
            name=file.name,
            added=False,
            label_edited=False,
            name_edited=False,
        )
        edits = fold[photo.sha256]
        original = first.setdefault(photo.sha256, photo.file)
        about = (photo.file, photo.bytes, photo.modified_ns)
        if edits.removed is not None:
            skipped.append(_left_out(*about, REMOVED, photo.sha256))
        elif original is photo.file:
            chosen.append((edits.apply_to(photo), one))
        else:
            skipped.append(_left_out(*about, f"the same photo as {original}", photo.sha256))
    chosen += [(photo, vectors[sha256]) for sha256, photo in added.items()]
    if not chosen and not consent.empty:
        raise DatasetError(
            f"none of the {counted(skipped, 'file')} in {source.root} is a usable photo; the "
            f"first, {skipped[0].file}: {skipped[0].reason}"
        )
    return Choice(chosen, skipped)


def _left_out(file: str, size: int, modified_ns: int, reason: str, same_as: str) -> Skipped:
    return Skipped(file, reason, size, modified_ns, same_as)


def is_known(
    source: PhotoSource, file: PhotoFile, known: Mapping[str, FileEntry], limits: Limits
) -> bool:
    """Whether the file is known and unchanged: same size, same modification time.

    A file that was skipped for a reason outside of it (a limit, missing permission) counts as known
    only while that reason holds.
    """
    one = known.get(file.stored)
    if one is None or (one.entry.bytes, one.entry.modified_ns) != source.root.stamp(file.file):
        return False
    if not isinstance(one.entry, Skipped):
        return True
    if one.entry.reason.startswith(UNREADABLE_FILE):
        return not _can_be_read(source, file)
    return limits.still_refuses(one.entry.reason)


def _can_be_read(source: PhotoSource, file: PhotoFile) -> bool:
    try:
        source.root.head(file.file, 1)
    except PhotoError:
        return False
    return True
