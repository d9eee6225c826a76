"""The HTTP face of the service: routes, answers, and the resources that live as long as it does."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from deepfood import __version__
from deepfood.config import Settings, load_settings
from deepfood.errors import DeepfoodError
from deepfood.photo import Limits
from deepfood.serve import changes, explain, logs
from deepfood.serve.answers import ReadyOut, UrlsOut
from deepfood.serve.bodies import SEARCH_FORM, PhotoId, SearchRequest, accepts
from deepfood.serve.current import Current, Upkeep
from deepfood.serve.door import Door
from deepfood.serve.drain import LastAnswers, drained
from deepfood.serve.fetch import Fetcher
from deepfood.serve.guard import SecurityHeaders, add_guards, max_body_bytes
from deepfood.serve.line import Line, compute, read, turned_away
from deepfood.serve.measure import trace_with
from deepfood.serve.methods import HeadAsGet
from deepfood.serve.observe import Observe
from deepfood.serve.problems import PROBLEMS, add_problem_handlers, document_problems
from deepfood.serve.query import read_original_form, read_question
from deepfood.serve.question import Question
from deepfood.serve.say import facts_of, gallery_of, hit_of, photo_of, url
from deepfood.serve.service import SearchService, open_service
from deepfood.serve.tracing import Trace, open_tracer
from deepfood.serve.workers import end_with_parent
from deepfood_client.models import GalleryFacts, LabelGuess, Photo, PhotoFacts, SearchResult

_log = logging.getLogger(__name__)

#: One page asks for some dozens of thumbnails at once, and shows what it is refused as broken.
_QUEUED_READS = 1024

STATIC = Path(__file__).parent / "static"

#: Photos and thumbnails are named by their content, so what was once fetched stays right.
_FOREVER = "public, max-age=31536000, immutable"

_PICTURE_HEADERS = {
    "Cache-Control": _FOREVER,
    # A browser shows a bare picture in a page of its own making, which is styled inline.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; sandbox",
}


_ORIGINAL_FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": {"type": "string", "description": "a data URL"}},
}


def create_app(
    settings: Settings,
    opener: Callable[[Settings], SearchService],
    fetcher: Fetcher | None = None,
) -> FastAPI:
    """The application; `opener` is called once, when it starts.

    `fetcher` gets photos by URL, as the settings say unless one is given.
    """
    if fetcher is None:
        limits = Limits.of(settings)
        fetcher = Fetcher(settings.query_url_hosts.split(), limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
        service = await asyncio.to_thread(opener, settings)
        current = Current(settings, service)
        upkeep = Upkeep(current, settings)
        app.state.photo_host = service.links.host() if service.links else ""
        upkeep.start()
        # As many photos are decoded at once as there are cores to do it (and memory for). Who waits
        # for a turn to write keeps none of them from searching, nor does who waits for a heat map,
        # of which one is made at a time; and a crowd that searches does not keep the page from
        # showing photos.
        queued, timeout_s = settings.max_queued, settings.request_timeout_s
        with (
            Line("search", service.embedder.threads + 1, queued, timeout_s) as computing,
            Line("explain", 1, queued, timeout_s) as explaining,
            Line("read", 2, _QUEUED_READS, timeout_s) as reading,
            Line("write", 1, queued, timeout_s, finishes=True) as writing,
            drained(settings.drain_s) as drain,
        ):
            yield {
                "current": current,
                "door": Door(computing, drain, settings.cors_origins.split()),
                "drain": drain,
                "fetcher": fetcher,
                "computing": computing,
                "explaining": explaining,
                "reading": reading,
                "writing": writing,
            }
        await fetcher.close()
        upkeep.end()
        current.service.close()

    app = FastAPI(
        title="deepfood",
        version=__version__,
        summary="Photo search for food: send a photo, get the ones that look like it.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # methods.py does, without the client's word for where this is
    )
    app.state.settings = settings
    add_problem_handlers(app)
    routers = (router, explain.router, changes.router)
    for one in routers:
        app.include_router(one)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.state.routes = [*app.routes, *(route for one in routers for route in one.routes)]
    document_problems(app)
    app.add_middleware(HeadAsGet)
    add_guards(app, settings)
    app.add_middleware(Observe)
    if settings.traces:
        tracer = open_tracer()
        trace_with(tracer.start_as_current_span)
        app.add_middleware(Trace, tracer=tracer)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(LastAnswers)
    return app


def app_for_worker() -> FastAPI:
    """What each worker process of `deepfood serve --workers` starts from."""
    settings = load_settings()
    logs.configure(settings)
    logs.tell_of_crashes()
    end_with_parent()
    return create_app(settings, open_service)


router = APIRouter()


@router.post(
    "/api/v1/search",
    tags=["search"],
    responses=PROBLEMS,
    openapi_extra=accepts(
        {
            "multipart/form-data": SEARCH_FORM,
            "application/json": SearchRequest.model_json_schema(),
        }
    ),
)
async def search(request: Request) -> SearchResult:
    """Find the photos most like those sent, or more like some of the gallery."""
    question = await read_question(request, max_body_bytes(_settings(request)))
    answer, found = await compute(request, _service(request).search, question)
    hits = zip(answer.hits, found.alike, strict=True)
    return SearchResult(
        hits=[
            hit_of(request, hit, alike, found.attributes.get(hit.photo.id, {}))
            for hit, alike in hits
        ],
        verdict=answer.verdict,
        in_gallery=answer.in_gallery,
        label=answer.label and LabelGuess(**asdict(answer.label)),
        total=found.total,
        next=found.next,
        notes=list(found.notes),
    )


@router.post(
    "/search",
    tags=["search"],
    responses=PROBLEMS,
    openapi_extra=accepts({"application/x-www-form-urlencoded": _ORIGINAL_FORM}),
)
async def search_as_the_original(request: Request) -> UrlsOut:
    """The first deepfood's API: form field `image` with a base64 data URL, nine addresses back."""
    data = await read_original_form(request, max_body_bytes(_settings(request)))
    answer, _ = await compute(request, _service(request).search, Question(photos=(data,)))
    return UrlsOut(urls=[url(request, f"/photos/{hit.photo.id}") for hit in answer.hits])


@router.get("/api/v1/gallery", tags=["gallery"])
async def gallery(request: Request) -> GalleryFacts:
    """What is searched here."""
    return await read(request, gallery_of, request)


@router.get("/api/v1/samples", tags=["gallery"])
async def samples(
    request: Request, k: Annotated[int, Query(ge=1, le=48)] = 12, seed: int | None = None
) -> list[Photo]:
    """Photos of the gallery drawn at random, to start from."""
    seed = secrets.randbits(32) if seed is None else seed
    drawn = await read(request, _service(request).gallery.sample, k, seed)
    return [photo_of(request, photo) for photo in drawn]


@router.get("/api/v1/photos/{id}", tags=["gallery"], responses={404: PROBLEMS[404]})
async def photo_facts(request: Request, photo_id: PhotoId) -> PhotoFacts:
    """What the gallery says of one photo."""
    return await read(request, facts_of, request, photo_id)


@router.get(
    "/photos/{id}", tags=["gallery"], response_class=Response, responses={404: PROBLEMS[404]}
)
async def photo_file(request: Request, photo_id: PhotoId) -> Response:
    """The photo as it was indexed, byte for byte."""
    service = _service(request)
    if link := await read(request, service.link, photo_id):
        # The same address for as long as it surely works; what it leads to stays right for ever.
        kept_s = int(_settings(request).presigned_s / 2)
        return RedirectResponse(link, headers={"Cache-Control": f"private, max-age={kept_s}"})
    photo, data = await read(request, service.photo, photo_id)
    return Response(data, media_type=photo.media_type, headers=_PICTURE_HEADERS)


@router.get(
    "/thumbnails/{id}",
    tags=["gallery"],
    response_class=Response,
    responses={404: PROBLEMS[404]},
)
async def photo_thumbnail(request: Request, photo_id: PhotoId) -> Response:
    """A small JPEG of the photo."""
    data = await read(request, _service(request).thumbnail, photo_id)
    return Response(data, media_type="image/jpeg", headers=_PICTURE_HEADERS)


@router.get("/healthz", tags=["operation"])
async def healthz() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok"}


@router.get("/readyz", tags=["operation"], responses={503: PROBLEMS[503]})
async def readyz(request: Request) -> ReadyOut:
    """The gallery is open and can be searched; before that, nothing answers here.

    503 while it cannot be read, and once the process was told to end, while it still answers
    (`drain_s`).
    """
    if request.state.drain.under_way:
        raise turned_away("the service is ending")
    try:
        return ReadyOut(photos=_service(request).gallery.count)
    except DeepfoodError as error:
        _log.error("not ready: %s", error)
        raise turned_away("the gallery cannot be read") from error


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


@router.get("/docs", include_in_schema=False)
async def docs() -> FileResponse:
    return FileResponse(STATIC / "docs.html", headers={"Cache-Control": "no-cache"})


def _service(request: Request) -> SearchService:
    service: SearchService = request.state.current.service
    return service


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings
