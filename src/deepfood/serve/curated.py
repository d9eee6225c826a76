"""Lists for who looks after a gallery: what a Curation finds, and near-duplicates.

All photos are compared for them, which takes long in a large gallery. So they are made in the
background, once for each version of the gallery, and kept: one Curation has all lists but that of
near-duplicates. Meanwhile the list before is shown, less the photos that have changed since.
"""

import base64
import binascii
import json
import logging
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from deepfood.errors import DeepfoodError, PhotoNotFoundError, QueryError
from deepfood.gallery.curation import DoubtfulLabel, Outlier, Overlap, ToLabel, curate
from deepfood.gallery.near_duplicates import duplicate_groups
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import Photo
from deepfood.gallery.protocol import SearchedGallery
from deepfood.gallery.queries import NEAR_DUPLICATE
from deepfood.index.contract import Progress

_log = logging.getLogger(__name__)

#: So many photos of a larger gallery are compared; on Milvus their vectors are in memory, 0.5 GB.
MOST_COMPARED = 100_000
_CLOSED = "the gallery was closed"

T = TypeVar("T")
#: Where an entry comes in its list: the least first, by two numbers, then by the photo's id, or
#: by the labels of a pair.
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
    """A list with the key of each entry, by these, made of `looked_at` photos."""

    entries: tuple[tuple[Key, T], ...]
    looked_at: int
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class _Curated:
    """The lists of one Curation."""

    doubtful: Found[DoubtfulLabel]
    overlaps: Found[Overlap]
    outliers: Found[Outlier]
    to_label: Found[ToLabel]


@dataclass(frozen=True)
class CuratedPage(Generic[T]):
    """A page of such a list. `total` counts the entries on all pages."""

    entries: tuple[T, ...]
    total: int
    looked_at: int
    next: str | None
    notes: tuple[Note, ...]


DoubtfulPage = CuratedPage[DoubtfulLabel]
OverlapPage = CuratedPage[Overlap]
OutlierPage = CuratedPage[Outlier]
ToLabelPage = CuratedPage[ToLabel]
DuplicatePage = CuratedPage[DuplicateGroup]


class Curator:
    """Makes the lists of one gallery; safe to use from many threads.

    Each list is a method that gives a page of it. `after` is the `next` of the page before. They
    raise QueryError for another text, NotYetError where the list is not there within `wait_s`
    seconds (None waits for it), and ClosedError where the gallery is closed meanwhile.
    """

    def __init__(self, gallery: SearchedGallery, most: int = MOST_COMPARED) -> None:
        self._gallery = gallery
        self._most = most
        self._pool = ThreadPoolExecutor(1, "curator")
        self._closed = threading.Event()
        self._curated = _Kept(gallery, self._pool, self._curate)
        self._duplicates = _Kept(gallery, self._pool, self._find_duplicates)

    def doubtful(
        self, limit: int, after: str | None = None, wait_s: float | None = None
    ) -> DoubtfulPage:
        """A page of doubtful labels, the most doubtful first."""
        start = _parse(after, "doubtful")
        version, curated = self._curated.get(wait_s)
        return self._page("doubtful", version, curated.doubtful, _now_doubtful, start, limit)

    def overlapping(
        self, limit: int, after: str | None = None, wait_s: float | None = None
    ) -> OverlapPage:
        """A page of pairs of labels that overlap, those with the largest share first."""
        start = _parse(after, "overlapping")
        version, curated = self._curated.get(wait_s)
        return self._page("overlapping", version, curated.overlaps, _as_it_was, start, limit)

    def outliers(
        self, limit: int, after: str | None = None, wait_s: float | None = None
    ) -> OutlierPage:
        """A page of photos far from all others, the farthest first."""
        start = _parse(after, "outliers")
        version, curated = self._curated.get(wait_s)
        return self._page("outliers", version, curated.outliers, _now_outlier, start, limit)

    def to_label(
        self, limit: int, after: str | None = None, wait_s: float | None = None
    ) -> ToLabelPage:
        """A page of photos that are worth a label, those that are most worth one first."""
        start = _parse(after, "to-label")
        version, curated = self._curated.get(wait_s)
        return self._page("to-label", version, curated.to_label, _now_to_label, start, limit)

    def duplicates(
        self, limit: int, after: str | None = None, wait_s: float | None = None
    ) -> DuplicatePage:
        """A page of near-duplicates, those with the most similar photos first."""
        start = _parse(after, "duplicates")
        version, found = self._duplicates.get(wait_s)
        return self._page("duplicates", version, found, _now_group, start, limit)

    def close(self) -> None:
        """End what is being made."""
        self._closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _page(
        self,
        name: str,
        version: str,
        found: Found[T],
        now: Callable[[SearchedGallery, T], T | None],
        start: Key | None,
        limit: int,
    ) -> CuratedPage[T]:
        """The entries after `start`, as they are `now`: None of `now` is one that is gone."""
        begin = 0 if start is None else bisect_right(found.entries, start, key=lambda one: one[0])
        some = found.entries[begin : begin + limit]
        entries, notes = [entry for _, entry in some], found.notes
        if version != self._gallery.version():
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

    def _curate(self) -> _Curated:
        every, index = self._gallery.compared(self._most)
        made = curate(index, every, self._go_on)

        def found(entries: Sequence[T], key: Callable[[T], Key], *notes: Note) -> Found[T]:
            return self._found(entries, key, made.photos, notes)

        return _Curated(
            found(
                made.doubtful,
                lambda one: (one.probability, one.margin, one.photo.id),
                *made.notes,
            ),
            found(made.overlaps, lambda one: (-one.share, 0, json.dumps(one.labels)), *made.notes),
            # How far a photo is from others has nothing to do with labels, nor have the notes.
            found(made.outliers, lambda one: (-one.deviations, one.similarity, one.photo.id)),
            found(made.to_label, lambda one: (-one.worth, 0, one.photo.id), *made.notes),
        )

    def _find_duplicates(self) -> Found[DuplicateGroup]:
        every, index = self._gallery.compared(self._most)
        groups = [
            DuplicateGroup(tuple(members))
            for members in duplicate_groups(index, every, NEAR_DUPLICATE, self._go_on)
        ]
        return self._found(groups, _key_of_group, len(every[0]), ())

    def _found(
        self, entries: Sequence[T], key: Callable[[T], Key], looked_at: int, notes: Sequence[Note]
    ) -> Found[T]:
        in_order = sorted(((key(one), one) for one in entries), key=lambda entry: entry[0])
        return Found(tuple(in_order), looked_at, (*notes, *self._part(looked_at)))

    @property
    def _go_on(self) -> Progress:
        def progress(_: int) -> None:
            if self._closed.is_set():
                raise ClosedError(_CLOSED)

        return progress

    def _part(self, looked_at: int) -> tuple[Note, ...]:
        count = self._gallery.count
        if count <= self._most:
            return ()
        message = f"{looked_at:,} of {count:,} photos were compared, as the gallery is very large"
        return (Note("part_looked_at", message, looked_at),)


class _Kept(Generic[T]):
    """What was made of the newest version, and its successor while that is being made."""

    def __init__(
        self, gallery: SearchedGallery, pool: ThreadPoolExecutor, make: Callable[[], T]
    ) -> None:
        self._gallery = gallery
        self._pool = pool
        self._make = make
        self._lock = threading.Lock()
        self._newest: tuple[str, T] | None = None
        self._making: Future[tuple[str, T]] | None = None

    def get(self, wait_s: float | None) -> tuple[str, T]:
        """What was made last, and of which version: an earlier one while there is no newer.

        Without any, waits for the first one.
        """
        version = self._gallery.version()
        with self._lock:
            newest = self._newest
            if newest is not None and newest[0] == version:
                return newest
            if self._making is None:
                self._making = self._pool.submit(self._make_of, version)
            making = self._making
        if newest is not None:
            return newest
        try:
            return making.result(wait_s)
        except TimeoutError:
            raise NotYetError(
                "the photos are being compared, which takes a while: try again in a moment"
            ) from None
        except CancelledError:  # it was not even begun
            raise ClosedError(_CLOSED) from None

    def _make_of(self, version: str) -> tuple[str, T]:
        try:
            made = version, self._make()
        except ClosedError:
            raise
        except Exception:
            with self._lock:
                failed, self._making = self._newest is not None, None
            if failed:  # nobody waits for it
                _log.exception("a list could not be made anew")
            raise
        with self._lock:
            self._newest, self._making = made, None
        return made


def _key_of_group(group: DuplicateGroup) -> Key:
    return -max(score for _, score in group.photos[1:]), 0, group.photos[0][0].id


def _now_doubtful(gallery: SearchedGallery, entry: DoubtfulLabel) -> DoubtfulLabel | None:
    """The entry with its photo as it is now; None where it is gone or has another label."""
    photo = _now(gallery, entry.photo)
    same = photo is not None and photo.label == entry.photo.label
    return replace(entry, photo=photo) if photo is not None and same else None


def _as_it_was(_: SearchedGallery, overlap: Overlap) -> Overlap:
    """The pair itself: whether its labels still overlap shows when all photos are compared."""
    return overlap


def _now_outlier(gallery: SearchedGallery, entry: Outlier) -> Outlier | None:
    photo = _now(gallery, entry.photo)
    return None if photo is None else replace(entry, photo=photo)


def _now_to_label(gallery: SearchedGallery, entry: ToLabel) -> ToLabel | None:
    """The entry with its photo as it is now; None where it is gone or has a label."""
    photo = _now(gallery, entry.photo)
    return None if photo is None or photo.label else replace(entry, photo=photo)


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


def _parse(text: str | None, name: str) -> Key | None:
    """The key that a cursor of this list is after. Raises QueryError for one of another."""
    if text is None:
        return None
    try:
        said: Sequence[object] = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
        of, first, second, rest = said
        key = float(str(first)), float(str(second)), str(rest)
    except (ValueError, TypeError, binascii.Error):
        of = None
    if of != name:
        raise QueryError("the cursor belongs to another list: begin with the first page", "cursor")
    return key
