"""Ids of photos, noted in NAME_about: of those that were changed, or inserted, in a generation."""

import time
from collections.abc import Collection

from deepfood.milvus.metadata import GalleryMetadata

_AT_ONCE = 10_000
#: How far the clocks of those who note may be off, with plenty to spare.
_CLOCKS_NS = 60 * 10**9


class NotedIds:
    """The ids that were noted under one key."""

    def __init__(self, metadata: GalleryMetadata, key: str) -> None:
        self._metadata = metadata
        self._key = key

    def note(self, ids: Collection[str]) -> None:
        every, version = list(ids), time.time_ns()
        for start in range(0, len(every), _AT_ONCE):
            self._metadata.put(
                (f"{self._key}/{one}", self._key, version, 0, 1, one)
                for one in every[start : start + _AT_ONCE]
            )

    def read(self, since_ns: int = 0) -> dict[str, int]:
        """Each id, and a number that is another when it was noted again.

        `since_ns` is a time by this machine's clock: what was noted long before it is left out.
        """
        rows = self._metadata.every(self._key, max(since_ns - _CLOCKS_NS, 0))
        return {row["text"]: row["version"] for row in rows}

    def forget(self) -> None:
        self._metadata.forget(self._key)


def changed_in(metadata: GalleryMetadata, collection: str) -> NotedIds:
    """The photos changed in a generation, for another that has to catch up with it.

    They are noted before they are changed: a writer that is killed in between notes too much.
    """
    return NotedIds(metadata, f"{collection}/changed")
