"""What earlier work knows of a source's files, so that no photo is embedded twice."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from deepfood.data.photos import PhotoFile
from deepfood.embed import Vectors
from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.fold import Fold
from deepfood.gallery.photo import REMOVED, Photo, Skipped
from deepfood.local.attribute_faults import attribute_faults
from deepfood.local.store import Store


@dataclass(frozen=True)
class EmbeddedFile:
    """A file's vector (row `row` of `store`) and catalogue entry, or the reason it has none."""

    store: Store
    row: int
    entry: Photo | Skipped

    @property
    def vector(self) -> Vectors:
        """float32 [dimension]"""
        return self.store.vector(self.row)

    def agrees(self, file: PhotoFile) -> bool:
        """Whether the catalogue has the label and name that the source gives the file now.

        Copies of another photo show neither, so theirs may change. Manual edits stay.
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


@dataclass(frozen=True)
class SoundRows:
    """The rows of a Store that match their checksums, read once.

    Valid for as long as the Store does not change: the living one cannot under the write lock.
    """

    store: Store
    photos: Sequence[tuple[int, Photo]]
    skipped: Sequence[Skipped]

    @classmethod
    def of(cls, store: Store) -> Self:
        """Read them. Raises ArtifactError where the catalogue cannot be read."""
        return cls(store, list(store.sound_rows()), list(store.sound_skipped()))

    @cached_property
    def is_everything(self) -> bool:
        """Whether nothing in the catalogue is altered or missing."""
        try:
            self.store.holes()
            self.store.check_ends()
            self.store.check_sum("absent")
            self.store.skipped()
            return len(self.photos) == self.store.count() and not any(
                attribute_faults(self.store.attributes)
            )
        except ArtifactCorruptError:
            return False


def known_files(stores: Sequence[SoundRows]) -> dict[str, EmbeddedFile]:
    """The known files by stored name. An earlier store in the list takes precedence."""
    known: dict[str, EmbeddedFile] = {}
    for sound in reversed(stores):
        rows_by_content: dict[str, tuple[int, Photo]] = {}
        for row, photo in sound.photos:
            if not photo.added:
                known[photo.file] = EmbeddedFile(sound.store, row, photo)
            rows_by_content[photo.sha256] = (row, photo)
        for skipped in sound.skipped:
            if skipped.same_as in rows_by_content:
                row, photo = rows_by_content[skipped.same_as]
                # The same bytes as a photo that is there: its vector serves this file too.
                known[skipped.file] = EmbeddedFile(
                    sound.store, row, replace(photo, modified_ns=skipped.modified_ns)
                )
            else:
                known[skipped.file] = EmbeddedFile(sound.store, -1, skipped)
    return known


def known_or_removed(stores: Sequence[SoundRows], fold: Fold) -> dict[str, EmbeddedFile]:
    """The known files by stored name, and those that people removed."""
    known: dict[str, EmbeddedFile] = {}
    for sha256 in fold:
        if removed := fold[sha256].removed:
            file, size, modified_ns = (removed[key] for key in ("file", "bytes", "modified_ns"))
            entry = Skipped(file, REMOVED, size, modified_ns, sha256)
            known[file] = EmbeddedFile(stores[0].store, -1, entry)
    for file, one in known_files(stores).items():
        if not _was_added_again(one.entry, fold):  # else the file is looked at again
            known[file] = one
    return known


def _was_added_again(entry: Photo | Skipped, fold: Fold) -> bool:
    """Whether a file was removed, and its photo was added again since."""
    return (
        isinstance(entry, Skipped)
        and entry.reason == REMOVED
        and entry.same_as is not None  # None in format 1, which knew it by its name alone
        and fold[entry.same_as].removed is None
    )


def by_content(stores: Iterable[SoundRows]) -> dict[str, EmbeddedFile]:
    """Where each photo's vector is, by SHA-256."""
    return {
        photo.sha256: EmbeddedFile(sound.store, row, photo)
        for sound in stores
        for row, photo in sound.photos
    }
