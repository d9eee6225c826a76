"""Which of a source's files, and of the photos that were added, a new generation holds."""

from collections.abc import Iterable
from dataclasses import replace

from deepfood.data.photos import PhotoSource
from deepfood.errors import DatasetError
from deepfood.gallery.assemble import Chosen
from deepfood.gallery.by_hand import ByHand
from deepfood.gallery.entry import Photo, Skipped
from deepfood.gallery.known import Known, known_files
from deepfood.gallery.store import Store


def known_or_removed(stores: list[Store], by_hand: ByHand) -> dict[str, Known]:
    """What earlier work says of files, by stored name, and which were removed by hand."""
    removed = {file: Known(stores[0], -1, one) for file, one in by_hand.removed.items()}
    return {**removed, **known_files(stores)}


def by_content(stores: Iterable[Store]) -> dict[str, Known]:
    """Where each photo's vector is, by SHA-256."""
    return {
        photo.sha256: Known(store, row, photo) for store in stores for row, photo in store.rows()
    }


def choose_photos(
    source: PhotoSource, known: dict[str, Known], by_hand: ByHand, vectors: dict[str, Known]
) -> tuple[Chosen, list[Skipped]]:
    """Each content once, under the first file that has it; the other files are skipped.

    Added photos come last, and a file with the same content as one of them is a copy of it.
    """
    chosen: list[tuple[Photo, Known]] = []
    skipped: list[Skipped] = []
    added = {
        sha256: photo for sha256 in by_hand.added if (photo := _added(sha256, by_hand, vectors))
    }
    first = {photo.id: photo.file for photo in added.values()}
    for file in source.files:
        one = known[file.stored]
        if isinstance(one.entry, Skipped):
            skipped.append(one.entry)
            continue
        photo = replace(
            one.entry, file=file.file, label=file.label, name=file.name, added=False, edited=False
        )
        if by := by_hand.edited.get(photo.sha256):
            photo = replace(photo, label=by.label, name=by.name, edited=True)
        original = first.setdefault(photo.id, photo.file)
        if original is photo.file:
            chosen.append((photo, one))
        else:
            skipped.append(
                Skipped(
                    photo.file,
                    f"the same photo as {original}",
                    photo.bytes,
                    photo.modified_ns,
                    same_as=photo.sha256,
                )
            )
    chosen += [(photo, vectors[sha256]) for sha256, photo in added.items()]
    if not chosen:
        raise DatasetError(
            f"none of the {len(skipped)} files in {source.root} is a usable photo; the first, "
            f"{skipped[0].file}: {skipped[0].reason}"
        )
    return chosen, skipped


def _added(sha256: str, by_hand: ByHand, vectors: dict[str, Known]) -> Photo | None:
    """An added photo as it was, or as its bytes say; None where they are no photo (any more)."""
    one = vectors.get(sha256)
    if one is None or not isinstance(one.entry, Photo):
        return None
    return by_hand.added[sha256] or replace(one.entry, file=sha256, added=True)
