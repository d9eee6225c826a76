"""Which of a source's files, and of the photos that were added, a new generation holds."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from deepfood.data.photos import PhotoSource
from deepfood.errors import DatasetError
from deepfood.gallery.entry import REMOVED, Photo, Skipped
from deepfood.gallery.fold import Fold
from deepfood.gallery.known import Known, known_files
from deepfood.gallery.store import Store

#: Why a photo that was added is not in a new generation.
BYTES_GONE = "the gallery's copy of its bytes is gone or damaged: add it again"


@dataclass(frozen=True)
class Choice:
    """Photos and where their vectors are, and files that are left out."""

    photos: list[tuple[Photo, Known]]
    skipped: list[Skipped]


def known_or_removed(stores: list[Store], fold: Fold) -> dict[str, Known]:
    """What earlier work says of files, by stored name, and which were removed by hand."""
    known: dict[str, Known] = {}
    for sha256 in fold:
        if removed := fold[sha256].removed:
            file, size, modified_ns = (removed[key] for key in ("file", "bytes", "modified_ns"))
            known[file] = Known(stores[0], -1, Skipped(file, REMOVED, size, modified_ns, sha256))
    for file, one in known_files(stores).items():
        # One that was removed and is wanted again is looked at again.
        entry = one.entry
        came_back = (
            isinstance(entry, Skipped)
            and entry.reason == REMOVED
            and fold[entry.same_as or ""].removed is None
        )
        if not came_back:
            known[file] = one
    return known


def by_content(stores: Iterable[Store]) -> dict[str, Known]:
    """Where each photo's vector is, by SHA-256."""
    return {
        photo.sha256: Known(store, row, photo)
        for store in stores
        for row, photo in store.sound_rows()
    }


def choose_photos(
    source: PhotoSource, known: dict[str, Known], fold: Fold, vectors: dict[str, Known]
) -> Choice:
    """Each content once, under the first file that has it; the other files are skipped.

    What people said of a photo goes with its content. Added photos come last, and a file with the
    same content as one of them is a copy of it. Raises DatasetError where no photo is usable.
    """
    chosen: list[tuple[Photo, Known]] = []
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
        said = fold[photo.sha256]
        original = first.setdefault(photo.sha256, photo.file)
        about = (photo.file, photo.bytes, photo.modified_ns)
        if said.removed is not None:
            skipped.append(_left_out(*about, REMOVED, photo.sha256))
        elif original is photo.file:
            chosen.append((said.of(photo), one))
        else:
            skipped.append(_left_out(*about, f"the same photo as {original}", photo.sha256))
    chosen += [(photo, vectors[sha256]) for sha256, photo in added.items()]
    if not chosen:
        raise DatasetError(
            f"none of the {len(skipped)} files in {source.root} is a usable photo; the first, "
            f"{skipped[0].file}: {skipped[0].reason}"
        )
    return Choice(chosen, skipped)


def _left_out(file: str, size: int, modified_ns: int, reason: str, same_as: str) -> Skipped:
    return Skipped(file, reason, size, modified_ns, same_as)
