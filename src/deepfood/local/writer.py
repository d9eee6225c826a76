"""The LocalWriter adds, removes and updates photos of a gallery that is being searched.

A change is acknowledged when its call returns: it is then on the disk, and readers see it at their
next search. A writer that is killed earlier has changed nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from deepfood.errors import PhotoNotFoundError, QueryError
from deepfood.gallery.declared import Declared
from deepfood.gallery.history import undo_of
from deepfood.gallery.named_photos import find_by_name
from deepfood.gallery.photo import EmbeddedPhoto, Outcome, Photo, edit_given, edited, relabelled
from deepfood.local.growing_store import GrowingStore
from deepfood.local.lock import only_writer
from deepfood.local.manifest import LocalManifest
from deepfood.local.photo_files import PhotoFiles
from deepfood.local.recover import open_to_change
from deepfood.local.reindex import drop_unfinished
from deepfood.local.snapshot import manifest_stamp
from deepfood.model import Model


class LocalWriter:
    """The only writer of a gallery: `open` waits for the write lock."""

    def __init__(self, folder: Path, manifest: LocalManifest, store: GrowingStore) -> None:
        self.folder = folder
        self.manifest = manifest
        self._store = store
        self._files = PhotoFiles(folder)

    @classmethod
    @contextmanager
    def open(
        cls, folder: Path, model: Model | None = None, *, wait_s: float = 0, by: str = ""
    ) -> Iterator[Self]:
        """Open to write. Keep it short, as nobody else can write meanwhile.

        `model` made the vectors of the photos to add. `by` is the author in the journal, by default
        the system's user. Raises ArtifactBusyError where another writer is still active after
        `wait_s` seconds, or another ArtifactError.
        """
        stamp = manifest_stamp(folder)
        manifest = LocalManifest.read(folder)  # before the lock, which would create its file
        with only_writer(folder, wait_s):
            if manifest_stamp(folder) != stamp:
                manifest = LocalManifest.read(folder)
            if model is not None:
                manifest.check_model(folder, model)
            with open_to_change(folder, manifest, by) as store:
                writer = cls(folder, manifest, store)
                writer._files.clean_up(store)  # left by a killed writer
                drop_unfinished(folder, manifest)
                yield writer

    def add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]:
        """Add photos. For a photo that exists already, only label, name and attributes count.

        Raises DiskFullError, or DatasetError for invalid attributes; none of the new photos has
        then been added.
        """
        outcomes: list[Outcome] = []
        fresh: dict[str, EmbeddedPhoto] = {}
        known: dict[int, Photo] = {}
        values: dict[int, Mapping[str, object]] = {}
        for one in new:
            sha256 = one.photo.sha256
            found = self._store.find(one.photo.id)
            if found is not None:
                row, before = found
                before = known.get(row, before)
                after = relabelled(before, one.photo)
                same = after == before and not one.attributes
                outcomes.append("unchanged" if same else "updated")
                if not same:
                    known[row] = after
                    values[row] = {**values.get(row, {}), **one.attributes}
            elif sha256 in fresh:
                before, given = fresh[sha256].photo, fresh[sha256].attributes
                after = relabelled(before, one.photo)
                fresh[sha256] = replace(one, photo=after, attributes={**given, **one.attributes})
                same = after == before and not one.attributes
                outcomes.append("unchanged" if same else "updated")
            else:
                fresh[sha256] = replace(one, photo=replace(one.photo, added=True))
                outcomes.append("added")
        if fresh:
            self._add(list(fresh.values()))
        if known:
            self._store.update(known, values)
        return outcomes

    def _add(self, new: list[EmbeddedPhoto]) -> None:
        self._files.begin(one.photo.sha256 for one in new)
        try:
            self._files.write(one.data for one in new)
            vectors = np.stack([one.vector for one in new])
            self._store.append(
                [one.photo for one in new],
                vectors,
                attributes=[one.attributes for one in new],
                announce=True,
            )
        finally:
            self._files.finish(self._store)

    def remove(self, names: Sequence[str]) -> list[Photo]:
        """Remove photos, by id or file name. Raises QueryError, and has then removed none."""
        photos = dict(self._named(name) for name in names)
        added = [photo.sha256 for photo in photos.values() if photo.added]
        if added:
            self._files.begin(added)
        self._store.remove(photos)
        if added:
            self._files.finish(self._store)
        return list(photos.values())

    def update(
        self,
        name: str,
        *,
        label: str | None = None,
        photo_name: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> Photo:
        """Edit a photo, by id or file name. "" removes a label or name; None keeps it.

        None as the value of an attribute makes it unknown. Raises QueryError, or DatasetError for
        an invalid attribute.
        """
        row, before = self._named(name)
        after = edited(before, edit_given(label, photo_name))
        self._store.update({row: after}, {row: attributes or {}})
        return after

    def declared(self) -> Mapping[str, Declared]:
        """The declared attributes, by name."""
        return self._store.attributes.declared()

    def declare(self, columns: Mapping[str, Declared]) -> list[str]:
        """Declare attributes, all or none. Returns the new names.

        Raises DatasetError for an invalid name or a change of type.
        """
        return self._store.declare(columns)

    def drop_attribute(self, name: str) -> None:
        """Drop an attribute. Raises UndeclaredError, or DatasetError where a photo has a value."""
        self._store.drop_attribute(name)

    def undo(self, number: int) -> list[Photo]:
        """Undo a change, by its number in `history`. Returns the photos it concerned.

        Raises QueryError where it cannot be undone.
        """
        journal = self._store.journal
        assert journal is not None
        return self._store.take_back(undo_of(journal, number))

    def _named(self, name: str) -> tuple[int, Photo]:
        found = self._store.find(name)
        several = [found] if found else find_by_name(self._store.named, name)
        if not several:
            raise PhotoNotFoundError(f"there is no photo {name[:200]!r} in this gallery")
        if len(several) > 1:
            ids = ", ".join(photo.id for _, photo in several)
            raise QueryError(
                f"{len(several)} photos are called {name!r}: name one by its id: {ids}"
            )
        return several[0]
