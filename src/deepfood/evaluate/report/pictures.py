"""Small pictures of photos as data URLs, within a budget: the report stays one small file."""

import base64
import hashlib

from deepfood.data.photo_file import photo_id
from deepfood.errors import PhotoError
from deepfood.evaluate.trial import LabelledVectors
from deepfood.photo import Limits, thumbnail


class Pictures:
    """Thumbnails of photos that still are what was measured; None for others and beyond the budget.

    `budget_bytes` is the size in the page of all that are given out, a picture used twice counted
    twice.
    """

    def __init__(self, limits: Limits, budget_bytes: int) -> None:
        self._limits = limits
        self._left = budget_bytes
        self._made: dict[tuple[str, int], str | None] = {}

    def of(self, photos: LabelledVectors, row: int, longest: int) -> str | None:
        """The photo in `row`, its longest side at most `longest` pixels, as a JPEG data URL."""
        key = (photos.ids[row], longest)
        if key not in self._made:
            self._made[key] = self._make(photos, row, longest)
        url = self._made[key]
        if url is None or len(url) > self._left:
            return None
        self._left -= len(url)
        return url

    def _make(self, photos: LabelledVectors, row: int, longest: int) -> str | None:
        try:
            data = photos.root.read(photos.files[row], self._limits.check_bytes)
            if photo_id(hashlib.sha256(data).hexdigest()) != photos.ids[row]:
                return None
            small = thumbnail(data, longest, self._limits)
        except PhotoError:
            return None
        return f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"
