"""The routes that read: search, photos, the gallery's facts, health, and the page."""

import logging
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from deepfood.errors import DeepfoodError
from deepfood.gallery.written import MAX_CHARACTERS, MOST_SUGGESTED
from deepfood.serve import STATIC
from deepfood.serve.api.parsing import read_label, read_original_form, read_question
from deepfood.serve.api.presenting import (
    facts_of,
    gallery_of,
    label_answer_of,
    photo_of,
    result_of,
    tag_of_facts,
    url,
)
from deepfood.serve.api.problems import PROBLEMS, documented
from deepfood.serve.api.ranges import in_parts
from deepfood.serve.api.requests import PhotoId, accepts, post_json_or_form
from deepfood.serve.api.resources import ResourcesDep
from deepfood.serve.api.responses import ReadyOut, UrlsOut
from deepfood.serve.edge.queue import unavailable
from deepfood.serve.joined import joined_later, joined_script, joined_sheet, version_of_page
from deepfood.serve.language import language_of, page_in
from deepfood.serve.question import SearchQuestion
from deepfood_client.models import (
    GalleryFacts,
    LabelAnswer,
    Photo,
    PhotoFacts,
    SearchResult,
    Suggestion,
)

_log = logging.getLogger(__name__)

#: Photos and thumbnails are named by their content, so a copy never goes stale.
_FOREVER = "public, max-age=31536000, immutable"

_SCRIPT = "text/javascript"
_PICTURE_HEADERS = {
    "Cache-Control": _FOREVER,
    # Browsers show a bare picture in a page of their own, with inline styles.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; sandbox",
}


def _picture(description: str) -> dict[str, Any]:
    """An answer with a picture, for OpenAPI."""
    schema = {"type": "string", "format": "binary"}
    return {"description": description, "content": {"image/*": {"schema": schema}}}


router = APIRouter()


@post_json_or_form(
    router, "/api/v1/search", "search", "Search", tags=["search"], responses=PROBLEMS
)
async def search(request: Request, resources: ResourcesDep) -> SearchResult:
    """Find the photos most like those sent, or more like some of the gallery."""
    question = await read_question(request, resources.max_body_bytes, resources.fetcher)
    result = await resources.searching.run(request, resources.service.search, question)
    return result_of(result, resources.public_url)


@router.post(
    "/search",
    tags=["search"],
    responses=PROBLEMS,
    openapi_extra=accepts(urlencoded="OriginalForm"),
    operation_id="searchAsTheOriginal",
)
async def search_as_the_original(request: Request, resources: ResourcesDep) -> UrlsOut:
    """The first deepfood's API: form field `image` with a base64 data URL, nine addresses back."""
    data = await read_original_form(request, resources.max_body_bytes)
    question = SearchQuestion(photos=(data,))
    result = await resources.searching.run(request, resources.service.search, question)
    return UrlsOut(
        urls=[url(resources.public_url, f"/photos/{hit.photo.id}") for hit in result.hits]
    )


@post_json_or_form(
    router, "/api/v1/label", "guessLabel", "Label", tags=["search"], responses=PROBLEMS
)
async def label(request: Request, resources: ResourcesDep) -> LabelAnswer:
    """Guess which of some names a photo shows, by the Model's text tower."""
    asked = await read_label(request, resources.max_body_bytes)
    guess = resources.service.guess_label
    answer = await resources.searching.run(request, guess, asked.names, asked.photo, asked.photo_id)
    return label_answer_of(answer)


@router.get("/api/v1/gallery", tags=["gallery"], operation_id="getGallery")
async def gallery(request: Request, resources: ResourcesDep) -> GalleryFacts:
    """Facts about the gallery."""
    return await resources.reading.run(request, gallery_of, resources)


@router.get("/api/v1/samples", tags=["gallery"], operation_id="listSamples")
async def samples(
    request: Request,
    resources: ResourcesDep,
    k: Annotated[int, Query(ge=1, le=48)] = 12,
    seed: int | None = None,
) -> list[Photo]:
    """Random photos of the gallery, to start from."""
    seed = secrets.randbits(32) if seed is None else seed
    drawn = await resources.reading.run(request, resources.service.gallery.sample, k, seed)
    return [photo_of(photo, resources.public_url) for photo in drawn]


@router.get(
    "/api/v1/suggest", tags=["search"], responses={422: PROBLEMS[422]}, operation_id="suggest"
)
async def suggest(
    request: Request,
    resources: ResourcesDep,
    q: Annotated[str, Query(max_length=MAX_CHARACTERS)] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_SUGGESTED)] = 10,
) -> list[Suggestion]:
    """Labels, names and attributes for what somebody begins to type in `q`.

    They have all its words, the last of which may be unfinished. Without a word, these are the
    most frequent labels.
    """
    found = await resources.reading.run(request, resources.service.suggest, q, limit)
    return [Suggestion(**vars(one)) for one in found]


@router.get(
    "/api/v1/photos/{id}", tags=["gallery"], responses={404: PROBLEMS[404]}, operation_id="getPhoto"
)
async def photo_facts(
    request: Request, response: Response, photo_id: PhotoId, resources: ResourcesDep
) -> PhotoFacts:
    """A photo's label, name and attributes."""
    facts = await resources.reading.run(
        request, facts_of, resources.service, photo_id, resources.public_url
    )
    response.headers["ETag"] = tag_of_facts(facts)
    return facts


@router.get(
    "/photos/{id}",
    tags=["gallery"],
    response_class=Response,
    responses={
        200: _picture("the photo"),
        206: _picture("the bytes that `Range` asks for"),
        404: PROBLEMS[404],
        **documented({416: "the photo has fewer bytes than `Range` begins at"}),
    },
    operation_id="getPhotoFile",
)
async def photo_file(request: Request, photo_id: PhotoId, resources: ResourcesDep) -> Response:
    """The photo as it was indexed, byte for byte."""
    service = resources.service
    if link := await resources.reading.run(request, service.link, photo_id):
        # The redirect is cached for half the time that its address is valid.
        kept_s = int(resources.settings.presigned_s / 2)
        return RedirectResponse(link, headers={"Cache-Control": f"private, max-age={kept_s}"})
    photo, data = await resources.reading.run(request, service.photo, photo_id)
    headers = {**_PICTURE_HEADERS, "ETag": f'"{photo.id}"'}
    return in_parts(request, data, photo.media_type, headers)


@router.get(
    "/thumbnails/{id}",
    tags=["gallery"],
    response_class=Response,
    responses={200: _picture("the thumbnail, a JPEG"), 404: PROBLEMS[404]},
    operation_id="getThumbnail",
)
async def photo_thumbnail(request: Request, photo_id: PhotoId, resources: ResourcesDep) -> Response:
    """A small JPEG of the photo."""
    data = await resources.reading.run(request, resources.service.thumbnail, photo_id)
    return Response(data, media_type="image/jpeg", headers=_PICTURE_HEADERS)


@router.get("/healthz", tags=["operation"], operation_id="getHealth")
async def healthz() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok"}


@router.get(
    "/readyz", tags=["operation"], responses={503: PROBLEMS[503]}, operation_id="getReadiness"
)
async def readyz(resources: ResourcesDep) -> ReadyOut:
    """The gallery is open and can be searched; before that, nothing answers here.

    503 while it cannot be read, and while the process drains after SIGTERM (`drain_s`).
    """
    if resources.drain.under_way:
        raise unavailable("the service is ending")
    try:
        return ReadyOut(photos=resources.service.gallery.count)
    except DeepfoodError as error:
        _log.error("not ready: %s", error)
        raise unavailable("the gallery cannot be read") from error


@router.get("/", include_in_schema=False)
async def page(request: Request) -> HTMLResponse:
    """The start page, to be seen before its scripts; what an address asks for needs them."""
    text = page_in(language_of(request.headers.get("accept-language", "")))
    if request.url.query:
        text = text.replace('<section id="start"', '<section id="start" hidden', 1)
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Language"}
    return HTMLResponse(text, headers=headers)


@router.get("/sw.js", include_in_schema=False)
async def service_worker() -> Response:
    """Beside the page and not below `/static`, as it serves what is below its own address."""
    text = (STATIC / "sw.js").read_text(encoding="utf-8").replace("{{version}}", version_of_page())
    return Response(text, media_type=_SCRIPT, headers={"Cache-Control": "no-cache"})


@router.get("/static/css/page-{version}.css", include_in_schema=False)
async def page_sheet(version: str) -> Response:
    return _joined(joined_sheet(), "text/css", version)


@router.get("/static/app-{version}.js", include_in_schema=False)
async def page_script(version: str) -> Response:
    return _joined(joined_script(), _SCRIPT, version)


@router.get("/static/later-{version}.js", include_in_schema=False)
async def page_script_later(version: str) -> Response:
    return _joined(joined_later(), _SCRIPT, version)


def _joined(text: str, media_type: str, version: str) -> Response:
    """A joined file of this version, to be kept for ever; who asks for another one gets it too, as
    while servers are exchanged the page may be of another one."""
    lasts = version == version_of_page()
    headers = {"Cache-Control": _FOREVER if lasts else "no-cache"}
    return Response(text, media_type=media_type, headers=headers)


@router.get("/docs", include_in_schema=False)
async def docs() -> FileResponse:
    return FileResponse(STATIC / "docs.html", headers={"Cache-Control": "no-cache"})
