"""What earlier work already says of a source's files, so that no photo is embedded twice."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from deepfood.data.photos import PhotoFile
from deepfood.gallery.fold import Fold
from deepfood.gallery.photo import REMOVED, Photo, Skipped
from deepfood.local.store import Store


@dataclass(frozen=True)
class EmbeddedFile:
    """A file's vector (row `row` of `store`) and catalogue entry, or the reason it has none."""

    store: Store
    row: int
    entry: Photo | Skipped

    def agrees(self, file: PhotoFile) -> bool:
        """Whether the catalogue has the label and name that the source gives the file now.

        Copies of another photo show neither, so theirs may change; what was set by hand stays.
        """
        one = self.entry
        return (
            isinstance(one, Skipped)
            or one.file != file.file
            or (
                (one.label_edited or one.label == file.label)
                and (one.name_edited or one.name == file.name)
            )
        )


def known_files(stores: list[Store]) -> dict[str, EmbeddedFile]:
    """By stored file name; what an earlier store in the list says comes before the later ones."""
    known: dict[str, EmbeddedFile] = {}
    for store in reversed(stores):
        by_content: dict[str, tuple[int, Photo]] = {}
        for row, photo in store.sound_rows():
            if not photo.added:
                known[photo.file] = EmbeddedFile(store, row, photo)
            by_content[photo.sha256] = (row, photo)
        for skipped in store.sound_skipped():
            if skipped.same_as in by_content:
                row, photo = by_content[skipped.same_as]
                # The same bytes as a photo that is there: its vector serves this file too.
                known[skipped.file] = EmbeddedFile(
                    store, row, replace(photo, modified_ns=skipped.modified_ns)
                )
            else:
                known[skipped.file] = EmbeddedFile(store, -1, skipped)
    return known


def known_or_removed(stores: list[Store], fold: Fold) -> dict[str, EmbeddedFile]:
    """What earlier work says of files, by stored name, and which were removed by hand."""
    known: dict[str, EmbeddedFile] = {}
    for sha256 in fold:
        if removed := fold[sha256].removed:
            file, size, modified_ns = (removed[key] for key in ("file", "bytes", "modified_ns"))
            known[file] = EmbeddedFile(
                stores[0], -1, Skipped(file, REMOVED, size, modified_ns, sha256)
            )
    for file, one in known_files(stores).items():
        # One that was removed and is wanted again is looked at again.
        entry = one.entry
        came_back = (
            isinstance(entry, Skipped)
            and entry.reason == REMOVED
            and entry.same_as is not None  # of an earlier format, and told by its name alone
            and fold[entry.same_as].removed is None
        )
        if not came_back:
            known[file] = one
    return known


def by_content(stores: Iterable[Store]) -> dict[str, EmbeddedFile]:
    """Where each photo's vector is, by SHA-256."""
    return {
        photo.sha256: EmbeddedFile(store, row, photo)
        for store in stores
        for row, photo in store.sound_rows()
    }
