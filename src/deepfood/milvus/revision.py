"""The next revision of the living generation: changed in its place, with a way back.

A build with the gallery's own Model makes one, and so does a rollback of such a build. All rows
that it changes are kept as they were (`before_images.py`); writing the manifest ends it. One that
is killed leaves the way back from the last finished revision, and the next goes on with its images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deepfood.config import Settings
from deepfood.milvus.before_images import State, drop_images
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import drop_others, generations_of
from deepfood.milvus.gone import GonePhotos
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.metadata import MilvusManifest
from deepfood.milvus.rows import WrittenRows
from deepfood.milvus.writer import MilvusWriter
from deepfood.model import Model

#: What a manifest says of the photos that a generation holds, beside its Model.
OF_PHOTOS = ("photos_root", "labels", "calibration", "uncalibrated")


class Revision:
    """The holder of the lease makes a revision of `gallery` by what `writer` changes."""

    def __init__(
        self,
        gallery: MilvusGallery,
        lease: HeldLease,
        settings: Settings,
        model: Model | None = None,
    ) -> None:
        """`gallery` is held to the generation that lives. Raises ArtifactBusyError."""
        lease.build_in_place()
        self.gallery = gallery
        self.writer = MilvusWriter(
            gallery.connection, settings, model, before_change=self._before_change
        )
        manifest = gallery.follow()
        self.images = gallery.before_images(manifest.revision + 1)
        #: What the images lead back to.
        self.before = self.images.state() or State(manifest, gallery.left_out())
        self._lease = lease
        self.settings = settings
        self._begun = False

    @property
    def was_begun(self) -> bool:
        """Whether rows may have been changed, also by one that was killed."""
        return self._begun or self.images.state() is not None

    def begin(self) -> None:
        """Before anything is changed. Raises ArtifactBusyError where the lease is lost."""
        self._lease.check()
        if not self._begun:
            self.images.begin(self.before, self.settings)
            self._begun = True

    def commit(self, changed: Mapping[str, Any]) -> MilvusManifest:
        """End the revision; the way back is now to before it."""
        self.begin()
        gallery, last = self.gallery, self.gallery.follow().before
        update = {
            **changed,
            "revision": self.images.revision,
            "before": None,
            "before_images": self.images.checksum(),
        }
        GonePhotos(gallery).note(self.images.revision, self.images.kept_photos())
        manifest = self.writer.in_stable_generation(lambda: self.writer.commit(update))
        self.images.release()
        gallery.follow()
        drop_images(gallery.connection, gallery.metadata, gallery.collection, self.images.revision)
        if last:
            keep = set(generations_of(gallery.connection)) - {last}
            drop_others(gallery.connection, gallery.metadata, keep)
        return manifest

    def _before_change(self, ids: Sequence[str], rows: WrittenRows) -> None:
        self.begin()
        self.images.keep(ids, rows)
