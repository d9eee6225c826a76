"""`Client`, and `AsyncClient` with the same methods to await."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx

from deepfood_client import calls
from deepfood_client.calls import (
    BatchQuestion,
    Call,
    Listing,
    OneOrSeveral,
    PhotoLike,
    Question,
    Selection,
)
from deepfood_client.failures import error_of, wait_before_again
from deepfood_client.models import (
    Attribute,
    BatchResult,
    DoubtfulPage,
    DuplicatePage,
    Explanation,
    Facets,
    GalleryFacts,
    LabelAnswer,
    LabelPage,
    OutlierPage,
    OverlapPage,
    Photo,
    PhotoFacts,
    PhotoPage,
    SearchResult,
    Suggestion,
    ToLabelPage,
)

T = TypeVar("T")


def _options(url: str, key: str | None, timeout_s: float) -> dict[str, Any]:
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return {"base_url": url.rstrip("/"), "headers": headers, "timeout": timeout_s}


class Client:
    """A server at `url`; `key` is for changing its gallery. Many threads may use one Client.

    `timeout_s` bounds each wait for the server. What is safe to repeat is sent again up to
    `retries` times where the server is busy (429, 503) or the connection fails, after the seconds
    in `Retry-After`, or with exponential backoff up to `longest_wait_s`. A change is
    sent again only where the server certainly did nothing.

    Every method raises ServiceError, and depending on the response: PhotoError, QueryError,
    PhotoNotFoundError, KeyRefusedError, ServiceBusyError.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        longest_wait_s: float = 10.0,
    ) -> None:
        self._http = httpx.Client(**_options(url, key, timeout_s))
        self._url, self._retries, self._longest_wait_s = url, retries, longest_wait_s
        self._session = secrets.token_urlsafe(16)

    def search(
        self,
        photo: OneOrSeveral[PhotoLike] | None = None,
        **question: Unpack[Question],
    ) -> SearchResult:
        """The photos most like those given: paths, bytes, Pillow's pictures, `id` or `words`."""
        return self._send(calls.search(photo, question))

    def search_batch(self, questions: Sequence[BatchQuestion]) -> BatchResult:
        """Up to 64 searches in one request; what is wrong in one does not stop the others."""
        return self._send(calls.search_batch(questions))

    def pages(
        self,
        photo: OneOrSeveral[PhotoLike] | None = None,
        **question: Unpack[Question],
    ) -> Iterator[SearchResult]:
        """The results of one search, page by page, to the last."""
        return calls.pages(lambda following: self.search(photo, **following), question)

    def guess_label(
        self,
        photo: PhotoLike | None = None,
        *,
        names: Sequence[str],
        id: str | None = None,  # noqa: A002
        template: str | None = None,
    ) -> LabelAnswer:
        """Which of the `names` a photo shows: given, or of the gallery by its `id`.

        Each name takes the place of {} in `template`, by default "a photo of {}".
        """
        return self._send(calls.guess_label(photo, id, names, template))

    def explain(
        self,
        photo: PhotoLike | None = None,
        *,
        hit: str,
        id: str | None = None,  # noqa: A002
        box: tuple[float, float, float, float] | None = None,
    ) -> Explanation:
        """Which regions make a photo, given or of the gallery by its `id`, and a `hit` alike.

        `hit` is the id of a photo that was found; `box` the part that was searched with.
        """
        return self._send(calls.explain(photo, hit, id, box))

    def feedback(
        self,
        question: str,
        hit: str,
        right: bool | None,
        *,
        session: str | None = None,
        photo: PhotoLike | None = None,
    ) -> None:
        """Say whether a hit of an answer was right, None to take it back.

        `question` is the answer's, `hit` the photo's id. `session` stands for one visitor, who has
        one vote on each hit: 16 to 64 letters and digits, by default drawn for this Client. `photo`
        is the one photo asked with, for servers that keep it (`gallery().feedback_photos`).
        """
        self._send(calls.feedback(question, hit, right, session or self._session, photo))

    def add(
        self,
        photo: PhotoLike,
        *,
        label: str | None = None,
        name: str | None = None,
        attributes: dict[str, Any] | None = None,
        only_new: bool = False,
    ) -> PhotoFacts:
        """Add a photo, or update one that the gallery has.

        With `only_new`, one that it has stays as it is, which PhotoExistsError says.
        """
        return self._send(calls.add(photo, label, name, attributes, only_new))

    def update(self, photo_id: str, **changes: Any) -> PhotoFacts:
        """Change `label`, `name` or `attributes` of a photo; None removes it."""
        return self._send(calls.update(photo_id, changes))

    def remove(self, photo_id: str) -> None:
        self._send(calls.remove(photo_id))

    def declare(self, name: str, type: str, *, safety: bool = False) -> Attribute:  # noqa: A002
        """Declare an attribute: of `type` text, number, boolean or list."""
        return self._send(calls.declare(name, type, safety))

    def drop_attribute(self, name: str) -> None:
        """Drop an attribute that no photo has a value of."""
        self._send(calls.drop_attribute(name))

    def gallery(self) -> GalleryFacts:
        return self._send(calls.gallery())

    def samples(self, k: int = 12, seed: int | None = None) -> list[Photo]:
        """Photos drawn at random; the same for the same seed."""
        return self._send(calls.samples(k, seed))

    def photos(self, **listing: Unpack[Listing]) -> PhotoPage:
        """A page of the gallery's photos, by `sort`: those of a filter, words and labels, or all.

        `cursor` is the `next` of the page before.
        """
        return self._send(calls.photos(listing))

    def photo_pages(self, **listing: Unpack[Listing]) -> Iterator[PhotoPage]:
        """The photos of one list, page by page, to the last."""
        return calls.pages(lambda following: self.photos(**following), listing)

    def labels(self, q: str = "", limit: int = 50, cursor: str | None = None) -> LabelPage:
        """The labels with counts, or those that somebody begins to type, `q`."""
        return self._send(calls.labels(q, limit, cursor))

    def doubtful_labels(self, limit: int = 50, cursor: str | None = None) -> DoubtfulPage:
        """The photos whose labels are likely wrong, the most likely first."""
        return self._send(calls.doubtful_labels(limit, cursor))

    def overlapping_labels(self, limit: int = 50, cursor: str | None = None) -> OverlapPage:
        """The pairs of labels whose photos are hard to tell apart, the largest share first."""
        return self._send(calls.overlapping_labels(limit, cursor))

    def outliers(self, limit: int = 50, cursor: str | None = None) -> OutlierPage:
        """The photos far from all others, the farthest first."""
        return self._send(calls.outliers(limit, cursor))

    def photos_to_label(self, limit: int = 50, cursor: str | None = None) -> ToLabelPage:
        """The photos without a label that are worth one, those that are most worth one first."""
        return self._send(calls.photos_to_label(limit, cursor))

    def duplicates(self, limit: int = 50, cursor: str | None = None) -> DuplicatePage:
        """The groups of near-duplicates, those with the most similar photos first."""
        return self._send(calls.duplicates(limit, cursor))

    def facets(self, limit: int = 20, **selection: Unpack[Selection]) -> Facets:
        """How many photos have which values, at most `limit` of each attribute."""
        return self._send(calls.facets(selection, limit))

    def suggest(self, q: str, limit: int = 10) -> list[Suggestion]:
        """Labels, names and attributes for what somebody begins to type, `q`."""
        return self._send(calls.suggest(q, limit))

    def facts(self, photo_id: str) -> PhotoFacts:
        return self._send(calls.facts(photo_id))

    def photo(self, photo_id: str) -> bytes:
        """The photo's file."""
        return self._send(calls.file("/photos", photo_id))

    def thumbnail(self, photo_id: str) -> bytes:
        """A small JPEG."""
        return self._send(calls.file("/thumbnails", photo_id))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        what: httpx.Response | httpx.TransportError
        tried = 0
        while True:
            try:
                what = self._http.request(call.method, call.path, **call.body)
            except httpx.TransportError as error:
                what = error
            else:
                if what.is_success:
                    return call.read(what)
            wait_s = wait_before_again(call, what, tried, self._longest_wait_s)
            if wait_s is None or tried >= self._retries:
                raise error_of(call, what, self._url)
            time.sleep(wait_s)
            tried += 1


class AsyncClient:
    """As `Client`, to be awaited; for asyncio."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        longest_wait_s: float = 10.0,
    ) -> None:
        self._http = httpx.AsyncClient(**_options(url, key, timeout_s))
        self._url, self._retries, self._longest_wait_s = url, retries, longest_wait_s
        self._session = secrets.token_urlsafe(16)

    async def search(
        self,
        photo: OneOrSeveral[PhotoLike] | None = None,
        **question: Unpack[Question],
    ) -> SearchResult:
        """The photos most like those given: paths, bytes, Pillow's pictures, `id` or `words`."""
        return await self._send(calls.search(photo, question))

    async def search_batch(self, questions: Sequence[BatchQuestion]) -> BatchResult:
        """Up to 64 searches in one request; what is wrong in one does not stop the others."""
        return await self._send(calls.search_batch(questions))

    async def pages(
        self,
        photo: OneOrSeveral[PhotoLike] | None = None,
        **question: Unpack[Question],
    ) -> AsyncIterator[SearchResult]:
        """The results of one search, page by page, to the last."""
        following: Question | None = question
        while following is not None:
            found = await self.search(photo, **following)
            yield found
            following = calls.next_question(following, found)

    async def guess_label(
        self,
        photo: PhotoLike | None = None,
        *,
        names: Sequence[str],
        id: str | None = None,  # noqa: A002
        template: str | None = None,
    ) -> LabelAnswer:
        """Which of the `names` a photo shows: given, or of the gallery by its `id`.

        Each name takes the place of {} in `template`, by default "a photo of {}".
        """
        return await self._send(calls.guess_label(photo, id, names, template))

    async def explain(
        self,
        photo: PhotoLike | None = None,
        *,
        hit: str,
        id: str | None = None,  # noqa: A002
        box: tuple[float, float, float, float] | None = None,
    ) -> Explanation:
        """Which regions make a photo, given or of the gallery by its `id`, and a `hit` alike.

        `hit` is the id of a photo that was found; `box` the part that was searched with.
        """
        return await self._send(calls.explain(photo, hit, id, box))

    async def feedback(
        self,
        question: str,
        hit: str,
        right: bool | None,
        *,
        session: str | None = None,
        photo: PhotoLike | None = None,
    ) -> None:
        """Say whether a hit of an answer was right, None to take it back.

        `question` is the answer's, `hit` the photo's id. `session` stands for one visitor, who has
        one vote on each hit: 16 to 64 letters and digits, by default drawn for this Client. `photo`
        is the one photo asked with, for servers that keep it (`gallery().feedback_photos`).
        """
        await self._send(calls.feedback(question, hit, right, session or self._session, photo))

    async def add(
        self,
        photo: PhotoLike,
        *,
        label: str | None = None,
        name: str | None = None,
        attributes: dict[str, Any] | None = None,
        only_new: bool = False,
    ) -> PhotoFacts:
        """Add a photo, or update one that the gallery has.

        With `only_new`, one that it has stays as it is, which PhotoExistsError says.
        """
        return await self._send(calls.add(photo, label, name, attributes, only_new))

    async def update(self, photo_id: str, **changes: Any) -> PhotoFacts:
        """Change `label`, `name` or `attributes` of a photo; None removes it."""
        return await self._send(calls.update(photo_id, changes))

    async def remove(self, photo_id: str) -> None:
        await self._send(calls.remove(photo_id))

    async def declare(self, name: str, type: str, *, safety: bool = False) -> Attribute:  # noqa: A002
        """Declare an attribute: of `type` text, number, boolean or list."""
        return await self._send(calls.declare(name, type, safety))

    async def drop_attribute(self, name: str) -> None:
        """Drop an attribute that no photo has a value of."""
        await self._send(calls.drop_attribute(name))

    async def gallery(self) -> GalleryFacts:
        return await self._send(calls.gallery())

    async def samples(self, k: int = 12, seed: int | None = None) -> list[Photo]:
        """Photos drawn at random; the same for the same seed."""
        return await self._send(calls.samples(k, seed))

    async def photos(self, **listing: Unpack[Listing]) -> PhotoPage:
        """A page of the gallery's photos, by `sort`: those of a filter, words and labels, or all.

        `cursor` is the `next` of the page before.
        """
        return await self._send(calls.photos(listing))

    async def photo_pages(self, **listing: Unpack[Listing]) -> AsyncIterator[PhotoPage]:
        """The photos of one list, page by page, to the last."""
        following: Listing | None = listing
        while following is not None:
            found = await self.photos(**following)
            yield found
            following = calls.next_question(following, found)

    async def labels(self, q: str = "", limit: int = 50, cursor: str | None = None) -> LabelPage:
        """The labels with counts, or those that somebody begins to type, `q`."""
        return await self._send(calls.labels(q, limit, cursor))

    async def doubtful_labels(self, limit: int = 50, cursor: str | None = None) -> DoubtfulPage:
        """The photos whose labels are likely wrong, the most likely first."""
        return await self._send(calls.doubtful_labels(limit, cursor))

    async def overlapping_labels(self, limit: int = 50, cursor: str | None = None) -> OverlapPage:
        """The pairs of labels whose photos are hard to tell apart, the largest share first."""
        return await self._send(calls.overlapping_labels(limit, cursor))

    async def outliers(self, limit: int = 50, cursor: str | None = None) -> OutlierPage:
        """The photos far from all others, the farthest first."""
        return await self._send(calls.outliers(limit, cursor))

    async def photos_to_label(self, limit: int = 50, cursor: str | None = None) -> ToLabelPage:
        """The photos without a label that are worth one, those that are most worth one first."""
        return await self._send(calls.photos_to_label(limit, cursor))

    async def duplicates(self, limit: int = 50, cursor: str | None = None) -> DuplicatePage:
        """The groups of near-duplicates, those with the most similar photos first."""
        return await self._send(calls.duplicates(limit, cursor))

    async def facets(self, limit: int = 20, **selection: Unpack[Selection]) -> Facets:
        """How many photos have which values, at most `limit` of each attribute."""
        return await self._send(calls.facets(selection, limit))

    async def suggest(self, q: str, limit: int = 10) -> list[Suggestion]:
        """Labels, names and attributes for what somebody begins to type, `q`."""
        return await self._send(calls.suggest(q, limit))

    async def facts(self, photo_id: str) -> PhotoFacts:
        return await self._send(calls.facts(photo_id))

    async def photo(self, photo_id: str) -> bytes:
        """The photo's file."""
        return await self._send(calls.file("/photos", photo_id))

    async def thumbnail(self, photo_id: str) -> bytes:
        """A small JPEG."""
        return await self._send(calls.file("/thumbnails", photo_id))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        what: httpx.Response | httpx.TransportError
        tried = 0
        while True:
            try:
                what = await self._http.request(call.method, call.path, **call.body)
            except httpx.TransportError as error:
                what = error
            else:
                if what.is_success:
                    return call.read(what)
            wait_s = wait_before_again(call, what, tried, self._longest_wait_s)
            if wait_s is None or tried >= self._retries:
                raise error_of(call, what, self._url)
            await asyncio.sleep(wait_s)
            tried += 1
