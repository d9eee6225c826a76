"""Lists for who looks after a gallery: labels that are likely wrong, and near-duplicates.

They compare all photos, which takes long in a large gallery. So they are made in the background,
once for each version of the gallery, and kept: meanwhile the list before is shown, less the photos
that have changed since.
"""

import base64
import binascii
import json
import logging
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from deepfood.errors import DeepfoodError, PhotoNotFoundError, QueryError
from deepfood.gallery.curation import DoubtfulLabel, curate
from deepfood.gallery.near_duplicates import duplicate_groups
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import Photo
from deepfood.gallery.protocol import SearchedGallery
from deepfood.gallery.queries import NEAR_DUPLICATE
from deepfood.index.contract import Progress

_log = logging.getLogger(__name__)

#: So many photos of a larger gallery are compared; on Milvus their vectors are in memory, 0.5 GB.
MOST_COMPARED = 100_000

T = TypeVar("T")
#: Where an entry comes in its list: the least first, by two numbers, then the photo's id.
Key = tuple[float, float, str]


class NotYetError(DeepfoodError):
    """A list is being made, and takes longer than somebody wants to wait."""


class ClosedError(DeepfoodError):
    """The gallery was closed while its photos were compared."""


@dataclass(frozen=True)
class DuplicateGroup:
    """Near-duplicates, the largest picture first, and the cosine similarity of each to that."""

    photos: tuple[tuple[Photo, float], ...]

    @property
    def different_labels(self) -> bool:
        return len({photo.label for photo, _ in self.photos if photo.label}) > 1


@dataclass(frozen=True)
class Found(Generic[T]):
    """A list with the key of each entry, in order, made of `looked_at` photos of a `version`."""

    version: str
    entries: tuple[tuple[Key, T], ...]
    looked_at: int
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class CuratedPage(Generic[T]):
    """A page of such a list. `total` counts the entries on all pages."""

    entries: tuple[T, ...]
    total: int
    looked_at: int
    next: str | None
    notes: tuple[Note, ...]


DoubtfulPage = CuratedPage[DoubtfulLabel]
DuplicatePage = CuratedPage[DuplicateGroup]


class Curator:
    """Makes the lists of one gallery; safe to use from many threads."""

    def __init__(self, gallery: SearchedGallery, most: int = MOST_COMPARED) -> None:
        self._gallery = gallery
        self._most = most
        self._pool = ThreadPoolExecutor(1, "curator")
        self._closed = threading.Event()
        self._doubtful = _Kept(gallery, self._pool, self._find_doubtful)
        self._duplicates = _Kept(gallery, self._pool, self._find_duplicates)

    def doubtful(
        self, limit: int, after: str | None = None, wait_s: float | None = None
    ) -> DoubtfulPage:
        """A page of doubtful labels, the most doubtful first.

        `after` is the `next` of the page before. Raises QueryError for another text, and
        NotYetError where the list is not there within `wait_s` seconds; None waits for it.
        """
        return self._page(self._doubtful, "doubtful", _now_doubtful, limit, after, wait_s)

    def duplicates(
        self, limit: int, after: str | None = None, wait_s: float | None = None
    ) -> DuplicatePage:
        """A page of near-duplicates, those with the most similar photos first; as `doubtful`."""
        return self._page(self._duplicates, "duplicates", _now_group, limit, after, wait_s)

    def close(self) -> None:
        """End what is being made."""
        self._closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _page(
        self,
        kept: "_Kept[T]",
        name: str,
        now: Callable[[SearchedGallery, T], T | None],
        limit: int,
        after: str | None,
        wait_s: float | None,
    ) -> CuratedPage[T]:
        start = None if after is None else _parse(after, name)
        found = kept.get(wait_s)
        begin = 0 if start is None else bisect_right(found.entries, start, key=lambda one: one[0])
        some = found.entries[begin : begin + limit]
        entries, notes = [entry for _, entry in some], found.notes
        if found.version != self._gallery.version():
            fresh = [now(self._gallery, entry) for entry in entries]
            entries = [entry for entry in fresh if entry is not None]
            message = "the gallery has changed since this list was made: a new one is being made"
            notes = (*notes, Note("gallery_changed", message))
        more = begin + limit < len(found.entries)
        return CuratedPage(
            tuple(entries),
            len(found.entries),
            found.looked_at,
            _text(name, some[-1][0]) if more else None,
            notes,
        )

    def _find_doubtful(self, version: str) -> Found[DoubtfulLabel]:
        every, index = self._gallery.compared(self._most)
        found = curate(index, every, self._go_on)
        entries = tuple(
            ((one.probability, one.margin, one.photo.id), one) for one in found.doubtful
        )
        return Found(version, entries, found.photos, (*found.notes, *self._part(found.photos)))

    def _find_duplicates(self, version: str) -> Found[DuplicateGroup]:
        every, index = self._gallery.compared(self._most)
        groups = duplicate_groups(index, every, NEAR_DUPLICATE, self._go_on)
        entries = []
        for members in groups:
            photos = tuple(members)
            key = -max(score for _, score in photos[1:]), 0.0, photos[0][0].id
            entries.append((key, DuplicateGroup(photos)))
        entries.sort(key=lambda entry: entry[0])
        return Found(version, tuple(entries), len(every[0]), self._part(len(every[0])))

    @property
    def _go_on(self) -> Progress:
        def progress(_: int) -> None:
            if self._closed.is_set():
                raise ClosedError("the gallery was closed")

        return progress

    def _part(self, looked_at: int) -> tuple[Note, ...]:
        count = self._gallery.count
        if count <= self._most:
            return ()
        message = f"{looked_at:,} of {count:,} photos were compared, as the gallery is very large"
        return (Note("part_looked_at", message, looked_at),)


class _Kept(Generic[T]):
    """The newest list of a kind, and its successor while that is being made."""

    def __init__(
        self, gallery: SearchedGallery, pool: ThreadPoolExecutor, find: Callable[[str], Found[T]]
    ) -> None:
        self._gallery = gallery
        self._pool = pool
        self._find = find
        self._lock = threading.Lock()
        self._newest: Found[T] | None = None
        self._making: Future[Found[T]] | None = None

    def get(self, wait_s: float | None) -> Found[T]:
        """The newest list, of an earlier version while there is none of the gallery's.

        Without any, waits for the first one.
        """
        version = self._gallery.version()
        with self._lock:
            newest = self._newest
            if newest is not None and newest.version == version:
                return newest
            if self._making is None:
                self._making = self._pool.submit(self._make, version)
            making = self._making
        if newest is not None:
            return newest
        try:
            return making.result(wait_s)
        except TimeoutError:
            raise NotYetError(
                "the photos are being compared, which takes a while: try again in a moment"
            ) from None

    def _make(self, version: str) -> Found[T]:
        try:
            found = self._find(version)
        except ClosedError:
            raise
        except Exception:
            with self._lock:
                failed, self._making = self._newest is not None, None
            if failed:  # nobody waits for it
                _log.exception("a list could not be made anew")
            raise
        with self._lock:
            self._newest, self._making = found, None
        return found


def _now_doubtful(gallery: SearchedGallery, entry: DoubtfulLabel) -> DoubtfulLabel | None:
    """The entry with its photo as it is now; None where it is gone or has another label."""
    photo = _now(gallery, entry.photo)
    same = photo is not None and photo.label == entry.photo.label
    return replace(entry, photo=photo) if photo is not None and same else None


def _now_group(gallery: SearchedGallery, group: DuplicateGroup) -> DuplicateGroup | None:
    """The group without the photos that are gone; None where fewer than two are left."""
    photos = [(_now(gallery, photo), score) for photo, score in group.photos]
    left = tuple((photo, score) for photo, score in photos if photo is not None)
    return DuplicateGroup(left) if len(left) > 1 else None


def _now(gallery: SearchedGallery, photo: Photo) -> Photo | None:
    try:
        return gallery.photo(photo.id)
    except PhotoNotFoundError:
        return None


def _text(name: str, key: Key) -> str:
    """The cursor after an entry: it holds in a list that is made anew, too."""
    return base64.urlsafe_b64encode(json.dumps([name, *key]).encode()).decode()


def _parse(text: str, name: str) -> Key:
    try:
        said: Sequence[object] = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
        of, first, second, photo_id = said
        key = float(str(first)), float(str(second)), str(photo_id)
    except (ValueError, TypeError, binascii.Error):
        of = None
    if of != name:
        raise QueryError("the cursor belongs to another list: begin with the first page", "cursor")
    return key
