"""The next revision of the living generation: changed in place, with before-images for a rollback.

A build with the gallery's own Model makes one, and so does a rollback of such a build. All changed
rows are kept as they were (`before_images.py`); writing the manifest finishes the revision. A
killed one can be rolled back to the last finished revision, and the next one resumes with its
images.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepfood.config import Settings
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.milvus.before_images import GenerationState, drop_images
from deepfood.milvus.find_parts import find_parts
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import drop_others, generations_of
from deepfood.milvus.gone import GonePhotos
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.metadata import MilvusManifest
from deepfood.milvus.rows import StrongRows
from deepfood.milvus.writer import MilvusWriter
from deepfood.model import Model

#: Fields of a manifest that depend on the photos of a generation.
OF_PHOTOS = ("photos_root", "labels", "calibration", "uncalibrated", "tuned", "parts")


class Revision:
    """A revision of `gallery`, made through `writer` by the holder of the lease."""

    def __init__(
        self,
        gallery: MilvusGallery,
        lease: HeldLease,
        settings: Settings,
        model: Model | None = None,
    ) -> None:
        """`gallery` is fixed to the living generation. Raises ArtifactBusyError."""
        lease.build_in_place()
        self.gallery = gallery
        self.writer = MilvusWriter(
            gallery.connection, settings, model, before_change=self._before_change
        )
        manifest = gallery.follow()
        self.images = gallery.before_images(manifest.revision + 1)
        #: The state that the images lead back to.
        self.before = self.images.state() or GenerationState(manifest, gallery.left_out())
        self._lease = lease
        self.settings = settings
        self._begun = False

    @property
    def was_begun(self) -> bool:
        """Whether rows may have been changed, now or by a killed build."""
        return self._begun or self.images.state() is not None

    def begin(self) -> None:
        """To be called before the first change. Raises ArtifactBusyError if the lease is lost."""
        self._lease.check()
        if not self._begun:
            self.images.begin(self.before, self.settings)
            self._begun = True

    def find_parts(self, open_embedder: Callable[[], PartEmbedder], *, quiet: bool) -> int:
        """Find the parts of photos that nobody has looked at; of how many photos."""
        gallery = self.gallery
        now = gallery.follow()
        gallery.parts().create(now.dimension, self.settings)
        if now.parts is None:
            self.begin()
            self._write({"parts": "begun"})
            self._lease.note_changes()  # a writer that began before knows nothing of parts
        return find_parts(gallery, self._write, open_embedder, quiet=quiet)

    def drop_parts(self) -> None:
        """Delete those of photos that are gone, and that no rollback brings back."""
        if self.gallery.manifest.parts:
            self.gallery.parts().settle_all(self.images.changed())

    def commit(self, changed: Mapping[str, Any]) -> MilvusManifest:
        """Finish the revision: a rollback now returns to the state before it."""
        self.begin()
        gallery, last = self.gallery, self.gallery.follow().before
        update = {
            **changed,
            "revision": self.images.revision,
            "before": None,
            "before_images": self.images.checksum(),
        }
        GonePhotos(gallery).note(self.images.revision, self.images.kept_photos())
        manifest = self._write(update)
        self.images.release()
        gallery.follow()
        drop_images(gallery.connection, gallery.metadata, gallery.collection, self.images.revision)
        if last:
            keep = set(generations_of(gallery.connection)) - {last}
            drop_others(gallery.connection, gallery.metadata, keep)
        return manifest

    def _write(self, changed: Mapping[str, Any]) -> MilvusManifest:
        return self.writer.in_stable_generation(lambda: self.writer.commit(changed))

    def _before_change(self, ids: Sequence[str], rows: StrongRows) -> None:
        self.begin()
        self.images.keep(ids, rows)
