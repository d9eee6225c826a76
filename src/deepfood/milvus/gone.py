"""Photos that are gone since the last build or change of Model, without having been removed."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from deepfood.data.photo_file import photo_id
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.rows import StrongRows


class GonePhotos:
    """The photos that are gone from a gallery's generation."""

    def __init__(self, gallery: MilvusGallery) -> None:
        self._gallery = gallery
        self._key = f"{gallery.collection}/gone"
        self._rows = StrongRows(gallery.connection, gallery.collection)

    def note(self, revision: int, before: Iterable[Mapping[str, Any]]) -> None:
        """Note which of `before` (each with `sha256` and `file`) a revision does not contain."""
        files = {str(one["sha256"]): str(one["file"]) for one in before}
        note = {"revision": revision, "files": self._absent(files)}
        self._gallery.metadata.write_long(self._key, json.dumps(note).encode())

    def files(self) -> list[str]:
        """The files of noted photos that were neither added nor removed since."""
        text = self._gallery.metadata.read_long(self._key)
        note = json.loads(text) if text is not None else {}
        if not note.get("files") or note["revision"] != self._gallery.manifest.revision:
            return []
        fold = self._gallery.journal.read().fold
        absent = self._absent(note["files"])
        return sorted(file for sha256, file in absent.items() if fold[sha256].removed is None)

    def _absent(self, files: Mapping[str, str]) -> dict[str, str]:
        """Those without a row, by SHA-256."""
        there = self._rows.named([photo_id(sha256) for sha256 in files], ["id"])
        return {sha256: file for sha256, file in files.items() if photo_id(sha256) not in there}
