"""Manual edits of photos that a gallery does not hold now, kept in case they are added again.

They are a copy of what the journal has, so that adding a photo need not read the whole journal.
"""

from collections.abc import Container, Mapping, Sequence

from deepfood.batches import batches
from deepfood.data.photo_file import photo_id
from deepfood.gallery.fold import Fold, ManualEdits, edits_from_json, edits_to_json
from deepfood.milvus.metadata import GalleryMetadata

_KEY = "absent"
_AT_ONCE = 100


class AbsentEdits:
    """Manual edits by photo, as texts in NAME_about."""

    def __init__(self, metadata: GalleryMetadata) -> None:
        self._metadata = metadata

    def read(self, ids: Sequence[str]) -> dict[str, ManualEdits]:
        """The manual edits of some photos, by id."""
        found: dict[str, ManualEdits] = {}
        for some in batches(ids, _AT_ONCE):
            where = ", ".join(f'"{_KEY}/{one}"' for one in some)
            for row in self._metadata.rows(f"id in [{where}]", ["id", "text"], "Bounded"):
                found[str(row["id"]).partition("/")[2]] = edits_from_json(row["text"])
        return found

    def known(self, name: str) -> int:
        """The number of these photos for which an attribute is known."""
        every = self._metadata.every(_KEY, 0, ["id", "text"])
        return sum(name in edits_from_json(row["text"]).attributes for row in every)

    def forget(self, ids: Sequence[str]) -> None:
        self._metadata.delete([f"{_KEY}/{one}" for one in ids])

    def replace(self, fold: Fold, there: Container[str]) -> None:
        """Keep the edits in a fold for all photos, by SHA-256, that are not in `there`."""
        wanted: dict[str, str] = {}
        for sha256 in fold:
            edits = fold[sha256]
            if sha256 not in there and edits.removed is None and edits.outlasts_photo:
                wanted[f"{_KEY}/{photo_id(sha256)}"] = edits_to_json(edits)
        now = {str(row["id"]): row["text"] for row in self._metadata.every(_KEY, 0, ["id", "text"])}
        self._write({one: text for one, text in wanted.items() if now.get(one) != text})
        if gone := sorted(now.keys() - wanted):
            self._metadata.delete(gone)

    def _write(self, texts: Mapping[str, str]) -> None:
        rows = [(one, _KEY, 0, 0, 1, text) for one, text in texts.items()]
        for some in batches(rows, _AT_ONCE):
            self._metadata.put(some)
