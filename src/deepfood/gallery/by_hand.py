"""What people did to a gallery by hand, which a build from its source keeps."""

from dataclasses import dataclass, field
from typing import Self

from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.errors import ArtifactError
from deepfood.gallery.entry import REMOVED, Photo, Skipped
from deepfood.gallery.photo_files import PhotoFiles
from deepfood.gallery.store import Store


@dataclass(frozen=True)
class ByHand:
    """Photos that were added or relabelled, by SHA-256, and files that were removed, by name.

    `added` has None where only the bytes are left, for the catalogue cannot be read.
    """

    added: dict[str, Photo | None] = field(default_factory=dict)
    edited: dict[str, Photo] = field(default_factory=dict)
    removed: dict[str, Skipped] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store | None, files: PhotoFiles) -> Self:
        """As the living gallery's catalogue says it."""
        if store is not None:
            try:
                photos = list(store.photos())
                return cls(
                    {photo.sha256: photo for photo in photos if photo.added},
                    {photo.sha256: photo for photo in photos if photo.edited},
                    {one.file: one for one in store.skipped() if one.reason == REMOVED},
                )
            except ArtifactError:
                pass
        return cls({path.name: None for path in files.all() if not path.name.startswith(".")})

    def source(self, files: PhotoFiles) -> PhotoSource:
        """The added photos, as something that can be embedded."""
        found = [PhotoFile(files.file(sha256)) for sha256 in self.added]
        return PhotoSource(files.root.resolve(), tuple(found))
