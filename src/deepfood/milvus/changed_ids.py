"""Ids of photos that were changed or inserted in a generation, noted in NAME_about."""

import time
from collections.abc import Collection

from deepfood.batches import batches
from deepfood.milvus.metadata import GalleryMetadata

_AT_ONCE = 10_000
#: A generous bound on the differences between the writers' clocks.
_CLOCKS_NS = 60 * 10**9


class NotedIds:
    """The ids that were noted under one key."""

    def __init__(self, metadata: GalleryMetadata, key: str) -> None:
        self._metadata = metadata
        self._key = key

    @property
    def are_there(self) -> bool:
        """Whether any are noted, by one quick request, which may be some seconds late."""
        return bool(self._metadata.rows(f'key == "{self._key}"', ["id"], None, limit=1))

    def note(self, ids: Collection[str]) -> None:
        version = time.time_ns()
        for some in batches(ids, _AT_ONCE):
            self._metadata.put(
                (f"{self._key}/{one}", self._key, version, 0, 1, one) for one in some
            )

    def read(self, since_ns: int = 0) -> dict[str, int]:
        """Each id with a version, which differs after the id was noted again.

        `since_ns` is a time on this machine's clock: ids noted long before it are omitted.
        """
        rows = self._metadata.every(self._key, max(since_ns - _CLOCKS_NS, 0))
        return {row["text"]: row["version"] for row in rows}

    def drop(self, ids: Collection[str], until_ns: int) -> None:
        """Forget these ids, unless they were noted again after that time."""
        for some in batches(ids, _AT_ONCE):
            named = ", ".join(f'"{one}"' for one in some)
            self._metadata.forget(self._key, f"version <= {until_ns} and text in [{named}]")

    def forget(self) -> None:
        self._metadata.forget(self._key)


def changed_ids(metadata: GalleryMetadata, collection: str) -> NotedIds:
    """The photos changed in a generation, for the next generation to catch up.

    They are noted before they are changed, so that a writer killed in between leaves extra ids,
    never missing ones.
    """
    return NotedIds(metadata, f"{collection}/changed")
