"""Photos of the source that were removed by hand, so that a build does not bring them back."""

import json
from collections.abc import Iterable
from dataclasses import asdict

from deepfood.gallery.entry import REMOVED, Photo, Skipped
from deepfood.milvus.about import About


class Removed:
    """What was removed from one generation's collection since its last build, in NAME_about."""

    def __init__(self, about: About, collection: str) -> None:
        self._about = about
        self._key = f"{collection}/removed"

    def note(self, photos: Iterable[Photo]) -> None:
        built = [photo for photo in photos if not photo.added]
        if built:
            self._about.put(
                (f"{self._key}/{photo.id}", self._key, 0, 0, 1, _said(photo)) for photo in built
            )

    def read(self) -> list[Skipped]:
        return [Skipped(**json.loads(row["text"])) for row in self._about.every(self._key)]

    def forget(self) -> None:
        self._about.forget(self._key)


def _said(photo: Photo) -> str:
    return json.dumps(asdict(Skipped(photo.file, REMOVED, photo.bytes, photo.modified_ns)))
