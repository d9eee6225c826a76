"""The routes that list what a gallery has: photos, labels and facets."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from deepfood.gallery.browse import MOST_LISTED, Selected
from deepfood.gallery.filters import MAX_CHARACTERS as MAX_FILTER
from deepfood.gallery.written import MAX_CHARACTERS as MAX_WORDS
from deepfood.serve.api.presenting import facets_of, label_page_of, photo_page_of
from deepfood.serve.api.problems import PROBLEMS
from deepfood.serve.api.resources import ResourcesDep
from deepfood.serve.listing import (
    DEFAULT_LISTED,
    DEFAULT_SORT,
    DEFAULT_VALUES,
    count_facets,
    list_labels,
    list_photos,
    selected_by,
)
from deepfood_client.models import Facets, LabelPage, PhotoPage

router = APIRouter(tags=["gallery"], responses={422: PROBLEMS[422]})

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


@router.get("/api/v1/photos", operation_id="listPhotos")
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
    limit: Limit = DEFAULT_LISTED,
) -> PhotoPage:
    """The photos of the gallery, page by page, those that a filter, words and labels select."""
    page = await resources.reading.run(
        request, list_photos, resources.service, selected, sort, limit, cursor
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
