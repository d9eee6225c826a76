"""What earlier work already says of a source's files, so that no photo is embedded twice."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.data.root import UNREADABLE_FILE
from deepfood.errors import PhotoError
from deepfood.gallery.entry import Photo, Skipped
from deepfood.gallery.store import Store
from deepfood.photo import Limits


class Entry(Protocol):
    """What is known of a file."""

    @property
    def entry(self) -> Photo | Skipped: ...


@dataclass(frozen=True)
class Known:
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


def known_files(stores: list[Store]) -> dict[str, Known]:
    """By stored file name; what an earlier store in the list says comes before the later ones."""
    known: dict[str, Known] = {}
    for store in reversed(stores):
        by_content: dict[str, tuple[int, Photo]] = {}
        for row, photo in store.sound_rows():
            if not photo.added:
                known[photo.file] = Known(store, row, photo)
            by_content[photo.sha256] = (row, photo)
        for skipped in store.sound_skipped():
            if skipped.same_as in by_content:
                row, photo = by_content[skipped.same_as]
                # The same bytes as a photo that is there: its vector serves this file too.
                known[skipped.file] = Known(
                    store, row, replace(photo, modified_ns=skipped.modified_ns)
                )
            else:
                known[skipped.file] = Known(store, -1, skipped)
    return known


def is_known(
    source: PhotoSource, file: PhotoFile, known: Mapping[str, Entry], limits: Limits
) -> bool:
    """Whether the file is known and unchanged: same size, same time of change.

    One that was left out for what does not lie in it is known only while that is still so.
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
