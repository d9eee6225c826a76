"""Lists of a gallery without a query photo, as clients ask for them: photos, labels and facets."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from deepfood.gallery.browse import FacetCounts, LabelPage, PhotoPage, Selected, Sort
from deepfood.gallery.filter_tree import Among, And
from deepfood.gallery.filters import Filter, parse_filter
from deepfood.gallery.written import parse_words
from deepfood.serve.curated import (
    CuratedPage,
    Curator,
    DoubtfulPage,
    DuplicatePage,
    OutlierPage,
    OverlapPage,
    ToLabelPage,
)
from deepfood_client.calls import Listing, Selection, each

if TYPE_CHECKING:
    from deepfood.serve.service import SearchService

T = TypeVar("T")
AnyPage = TypeVar("AnyPage", bound=PhotoPage | LabelPage | CuratedPage[Any])
#: A list of a Curator: a page of it for a limit, a cursor, and seconds to wait for it.
Curated = Callable[[Curator, int, str | None, float | None], CuratedPage[T]]

DEFAULT_SORT = "newest"
DEFAULT_LISTED = 50
#: Values of a facet.
DEFAULT_VALUES = 20


def selected_by(
    where: str | None = None, words: str | None = None, labels: Sequence[str] = ()
) -> Selected:
    """The photos that pass a filter, have words in their texts, and one of some labels.

    What is empty or None is not asked for. Raises QueryError.
    """
    parts: list[Filter] = []
    if where:
        parts.append(parse_filter(where))
    if labels:
        parts.append(Among("label", tuple(labels)))
    both = And(tuple(parts)) if len(parts) > 1 else parts[0] if parts else None
    return Selected(both, parse_words(words) if words else None)


def list_photos(
    service: "SearchService",
    selected: Selected,
    sort: str = DEFAULT_SORT,
    limit: int = DEFAULT_LISTED,
    cursor: str | None = None,
    around: str | None = None,
) -> PhotoPage:
    """A page of photos; `cursor` is the `next` of the page before.

    Without one, `around` is the id of a photo that is in the middle of the page. Raises QueryError,
    or PhotoNotFoundError.
    """
    gallery = service.gallery
    return _after(
        service,
        cursor,
        lambda after: gallery.browse(selected, Sort.parse(sort), limit, after, around or None),
    )


def list_labels(
    service: "SearchService",
    begun: str = "",
    limit: int = DEFAULT_LISTED,
    cursor: str | None = None,
) -> LabelPage:
    """A page of the labels that somebody begins to type, all of them for "". Raises QueryError."""
    gallery = service.gallery
    return _after(service, cursor, lambda after: gallery.label_page(begun, limit, after))


def count_facets(
    service: "SearchService", selected: Selected, limit: int = DEFAULT_VALUES
) -> FacetCounts:
    """The facets of the selected photos, `limit` values of each at most. Raises QueryError."""
    return service.gallery.facets(selected, limit)


def list_curated(
    service: "SearchService",
    curated: Curated[T],
    limit: int = DEFAULT_LISTED,
    cursor: str | None = None,
    wait_s: float | None = None,
) -> CuratedPage[T]:
    """A page of a list of the Curator, such as `Curator.doubtful`. Raises QueryError, NotYetError.

    None for `wait_s` waits for the list.
    """
    curator = service.curator
    return _after(service, cursor, lambda after: curated(curator, limit, after, wait_s))


def _after(
    service: "SearchService", cursor: str | None, find: Callable[[str | None], AnyPage]
) -> AnyPage:
    """The page that `find` has after a cursor of a client, with a cursor for clients itself."""
    page = find(service.cursors.checked(cursor) if cursor else None)
    return page if page.next is None else replace(page, next=service.cursors.signed(page.next))


class Lists:
    """What an open gallery lists: the Python API's part of the functions above."""

    def __init__(self, service: "SearchService") -> None:
        self._service = service

    def photos(self, **listing: Unpack[Listing]) -> PhotoPage:
        """A page of the photos, by `sort`: those of a filter, words and labels, or all.

        The options are those of `deepfood_client.Client.photos`. Raises QueryError.
        """
        sort, limit = listing.get("sort", DEFAULT_SORT), listing.get("limit", DEFAULT_LISTED)
        cursor, around = listing.get("cursor"), listing.get("around")
        return list_photos(self._service, _selected(listing), sort, limit, cursor, around)

    def labels(
        self, q: str = "", limit: int = DEFAULT_LISTED, cursor: str | None = None
    ) -> LabelPage:
        """The labels with counts, or those that somebody begins to type, `q`. Raises QueryError."""
        return list_labels(self._service, q, limit, cursor)

    def doubtful_labels(
        self, limit: int = DEFAULT_LISTED, cursor: str | None = None
    ) -> DoubtfulPage:
        """The photos whose labels are likely wrong, the most likely first. Raises QueryError.

        All photos are compared, once for each change of the gallery, for this and for the lists
        of `overlapping_labels`, `outliers` and `photos_to_label`.
        """
        return list_curated(self._service, Curator.doubtful, limit, cursor)

    def overlapping_labels(
        self, limit: int = DEFAULT_LISTED, cursor: str | None = None
    ) -> OverlapPage:
        """The pairs of labels whose photos are hard to tell apart, the largest share first.

        Raises QueryError.
        """
        return list_curated(self._service, Curator.overlapping, limit, cursor)

    def outliers(self, limit: int = DEFAULT_LISTED, cursor: str | None = None) -> OutlierPage:
        """The photos far from all others, the farthest first. Raises QueryError."""
        return list_curated(self._service, Curator.outliers, limit, cursor)

    def photos_to_label(
        self, limit: int = DEFAULT_LISTED, cursor: str | None = None
    ) -> ToLabelPage:
        """The photos without a label that are worth one, the most first. Raises QueryError."""
        return list_curated(self._service, Curator.to_label, limit, cursor)

    def duplicates(self, limit: int = DEFAULT_LISTED, cursor: str | None = None) -> DuplicatePage:
        """The groups of near-duplicates, the most similar first. Raises QueryError."""
        return list_curated(self._service, Curator.duplicates, limit, cursor)

    def facets(self, limit: int = DEFAULT_VALUES, **selection: Unpack[Selection]) -> FacetCounts:
        """How many photos have which values, at most `limit` of each attribute.

        The options are those of `deepfood_client.Client.facets`. Raises QueryError.
        """
        return count_facets(self._service, _selected(selection), limit)


def _selected(selection: Selection | Listing) -> Selected:
    labels = each(selection.get("label"))
    return selected_by(selection.get("where"), selection.get("words"), labels)
