"""The routes that list what a gallery has: photos, labels and facets."""

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request

from deepfood.gallery.browse import MOST_LISTED, Selected
from deepfood.gallery.filters import MAX_CHARACTERS as MAX_FILTER
from deepfood.gallery.written import MAX_CHARACTERS as MAX_WORDS
from deepfood.serve.api.presenting import (
    doubtful_page_of,
    duplicate_page_of,
    facets_of,
    label_page_of,
    outlier_page_of,
    overlap_page_of,
    photo_page_of,
    to_label_page_of,
)
from deepfood.serve.api.problems import PROBLEMS
from deepfood.serve.api.resources import Resources, ResourcesDep
from deepfood.serve.curated import CuratedPage, Curator, NotYetError
from deepfood.serve.edge.queue import unavailable
from deepfood.serve.listing import (
    DEFAULT_LISTED,
    DEFAULT_SORT,
    DEFAULT_VALUES,
    Curated,
    count_facets,
    list_curated,
    list_labels,
    list_photos,
    selected_by,
)
from deepfood_client.models import (
    DoubtfulPage,
    DuplicatePage,
    Facets,
    LabelPage,
    OutlierPage,
    OverlapPage,
    PhotoPage,
    ToLabelPage,
)

router = APIRouter(tags=["gallery"], responses={422: PROBLEMS[422]})

#: What a route may answer whose list is made in the background.
COMPARING_PROBLEMS: dict[int | str, dict[str, Any]] = {503: PROBLEMS[503], 504: PROBLEMS[504]}
#: Seconds that a client waits for the first list of all photos; then it is told to come back.
_WAIT_S = 10.0

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=MOST_LISTED, description="how many at most")]
Cursor = Annotated[str | None, Query(description="`next` of the page before")]


async def _selected(
    where: Annotated[str | None, Query(max_length=MAX_FILTER, description="a filter")] = None,
    words: Annotated[
        str | None,
        Query(max_length=MAX_WORDS, description="words that all are in the texts of a photo"),
    ] = None,
    label: Annotated[
        list[str] | None, Query(max_length=64, description="labels, of which a photo has one")
    ] = None,
) -> Selected:
    return selected_by(where, words, label or ())


SelectedDep = Annotated[Selected, Depends(_selected)]


@router.get("/api/v1/photos", operation_id="listPhotos", responses={404: PROBLEMS[404]})
async def photos(
    request: Request,
    resources: ResourcesDep,
    selected: SelectedDep,
    sort: Annotated[
        str,
        Query(
            max_length=100,
            description="`newest`, `name` or a number attribute; with `-` before it the reverse. "
            "Photos without one come last.",
        ),
    ] = DEFAULT_SORT,
    cursor: Cursor = None,
    around: Annotated[
        str | None,
        Query(max_length=100, description="a photo's id: the page has this photo in its middle"),
    ] = None,
    limit: Limit = DEFAULT_LISTED,
) -> PhotoPage:
    """The photos of the gallery, page by page, those that a filter, words and labels select.

    `around` begins in the middle of the list, and `start` says where; beside a `cursor` it has no
    effect.
    """
    page = await resources.reading.run(
        request, list_photos, resources.service, selected, sort, limit, cursor, around
    )
    return photo_page_of(page, resources.public_url)


@router.get("/api/v1/labels", operation_id="listLabels")
async def labels(
    request: Request,
    resources: ResourcesDep,
    q: Annotated[str, Query(max_length=MAX_WORDS, description="what somebody begins to type")] = "",
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LISTED,
) -> LabelPage:
    """The labels in alphabetical order, with the number of photos that have each."""
    page = await resources.reading.run(request, list_labels, resources.service, q, limit, cursor)
    return label_page_of(page)


@router.get(
    "/api/v1/labels/doubtful", operation_id="listDoubtfulLabels", responses=COMPARING_PROBLEMS
)
async def doubtful_labels(
    request: Request, resources: ResourcesDep, cursor: Cursor = None, limit: Limit = DEFAULT_LISTED
) -> DoubtfulPage:
    """The photos whose labels are likely wrong, the most likely first.

    All photos are compared for it, once for each change of the gallery: 503 with `Retry-After`
    until the first list is there.
    """
    page = await _compared(request, resources, Curator.doubtful, limit, cursor)
    return doubtful_page_of(page, resources.public_url)


@router.get(
    "/api/v1/labels/overlapping", operation_id="listOverlappingLabels", responses=COMPARING_PROBLEMS
)
async def overlapping_labels(
    request: Request, resources: ResourcesDep, cursor: Cursor = None, limit: Limit = DEFAULT_LISTED
) -> OverlapPage:
    """The pairs of labels whose photos are hard to tell apart, those with the largest share first.

    As with doubtful labels, 503 with `Retry-After` until the first list is there.
    """
    page = await _compared(request, resources, Curator.overlapping, limit, cursor)
    return overlap_page_of(page)


@router.get("/api/v1/outliers", operation_id="listOutliers", responses=COMPARING_PROBLEMS)
async def outliers(
    request: Request, resources: ResourcesDep, cursor: Cursor = None, limit: Limit = DEFAULT_LISTED
) -> OutlierPage:
    """The photos that are far from all others, the farthest first.

    As with doubtful labels, 503 with `Retry-After` until the first list is there.
    """
    page = await _compared(request, resources, Curator.outliers, limit, cursor)
    return outlier_page_of(page, resources.public_url)


@router.get("/api/v1/to-label", operation_id="listPhotosToLabel", responses=COMPARING_PROBLEMS)
async def photos_to_label(
    request: Request, resources: ResourcesDep, cursor: Cursor = None, limit: Limit = DEFAULT_LISTED
) -> ToLabelPage:
    """The photos without a label that are worth one, those that are most worth one first.

    As with doubtful labels, 503 with `Retry-After` until the first list is there.
    """
    page = await _compared(request, resources, Curator.to_label, limit, cursor)
    return to_label_page_of(page, resources.public_url)


@router.get("/api/v1/duplicates", operation_id="listDuplicates", responses=COMPARING_PROBLEMS)
async def duplicates(
    request: Request, resources: ResourcesDep, cursor: Cursor = None, limit: Limit = DEFAULT_LISTED
) -> DuplicatePage:
    """Groups of photos that are nearly the same picture, those with the most similar photos first.

    As with doubtful labels, 503 with `Retry-After` until the first list is there.
    """
    page = await _compared(request, resources, Curator.duplicates, limit, cursor)
    return duplicate_page_of(page, resources.public_url)


async def _compared(
    request: Request,
    resources: Resources,
    curated: Curated[T],
    limit: int,
    cursor: str | None,
) -> CuratedPage[T]:
    """A page of a list that is made in the background, for which a client waits a while only."""
    wait_s = min(_WAIT_S, resources.settings.request_timeout_s / 2)
    try:
        return await resources.comparing.run(
            request, list_curated, resources.service, curated, limit, cursor, wait_s
        )
    except NotYetError as error:
        raise unavailable(str(error)) from error


@router.get("/api/v1/facets", operation_id="getFacets")
async def facets(
    request: Request,
    resources: ResourcesDep,
    selected: SelectedDep,
    limit: Annotated[
        int, Query(ge=1, le=MOST_LISTED, description="values of each attribute, at most")
    ] = DEFAULT_VALUES,
) -> Facets:
    """How many of the selected photos have which label, and which values of each attribute."""
    counts = await resources.reading.run(request, count_facets, resources.service, selected, limit)
    return facets_of(counts)
