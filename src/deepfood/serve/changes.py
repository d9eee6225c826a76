"""The routes that change the gallery, behind a key: its photos and attributes, and reload.

A change is on the disk when its answer is sent, and every process finds it at its next search.
"""

import hashlib
import time
from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException

from deepfood.data.photo_file import PhotoFile
from deepfood.data.tables import clean_label
from deepfood.engine import engine_at
from deepfood.errors import ModelMismatchError, UndeclaredError
from deepfood.gallery.declared import Definition
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.photo import EmbeddedPhoto, Outcome
from deepfood.gallery.protocol import ChangedGallery
from deepfood.serve.bodies import (
    ADD_FORM,
    AddRequest,
    AttributeRequest,
    ChangeRequest,
    PhotoId,
    accepts,
)
from deepfood.serve.current import Current
from deepfood.serve.guard import max_body_bytes
from deepfood.serve.keys import with_key
from deepfood.serve.line import compute, in_turn, read
from deepfood.serve.problems import CHANGE_PROBLEMS
from deepfood.serve.query import NewPhoto, read_change, read_json, read_new_photo
from deepfood.serve.released import refuse_to_change_a_release
from deepfood.serve.say import attribute_of, facts_of, gallery_of
from deepfood.serve.service import SearchService
from deepfood_client.models import Attribute, GalleryFacts, PhotoFacts

T = TypeVar("T")
Changed = TypeVar("Changed")

#: How long a change waits for its turn to write; builds take longer, and then it is a 503.
WAIT_S = 5.0
_LONGEST_FILE_NAME = 200

_OWN_ONLY = [Depends(refuse_to_change_a_release)]

router = APIRouter(tags=["changes"], dependencies=[Depends(with_key)], responses=CHANGE_PROBLEMS)


@router.post(
    "/api/v1/photos",
    status_code=201,
    dependencies=_OWN_ONLY,
    responses={200: {"model": PhotoFacts, "description": "the gallery has this photo already"}},
    openapi_extra=accepts(
        {"multipart/form-data": ADD_FORM, "application/json": AddRequest.model_json_schema()}
    ),
)
async def add_photo(request: Request, response: Response) -> PhotoFacts:
    """Add a photo. The same photo twice is one; then only what is said of it now counts."""
    new = await read_new_photo(request, max_body_bytes(request.app.state.settings))
    current: Current = request.state.current
    deadline = time.monotonic() + WAIT_S
    try:
        facts, outcome = await _add(request, current.service, new, deadline)
    except ModelMismatchError:  # the gallery has been made anew, with another Model
        service = await read(request, current.follow)
        facts, outcome = await _add(request, service, new, deadline)
    response.status_code = 201 if outcome == "added" else 200
    response.headers["Location"] = f"/api/v1/photos/{facts.id}"
    return facts


@router.patch(
    "/api/v1/photos/{id}",
    dependencies=_OWN_ONLY,
    openapi_extra=accepts({"application/json": ChangeRequest.model_json_schema()}),
)
async def change_photo(request: Request, photo_id: PhotoId) -> PhotoFacts:
    """Change what is said of a photo: only what is given."""
    change = await read_change(request)

    def write(writer: ChangedGallery) -> None:
        texts = {
            field: clean_label(getattr(change, field) or "") or ""
            for field in change.model_fields_set & {"label", "name"}
        }
        writer.update(
            photo_id,
            label=texts.get("label"),
            photo_name=texts.get("name"),
            attributes=change.attributes,
        )

    return await _change_existing(request, photo_id, write, lambda: facts_of(request, photo_id))


@router.delete("/api/v1/photos/{id}", status_code=204, dependencies=_OWN_ONLY)
async def remove_photo(request: Request, photo_id: PhotoId) -> None:
    """Remove a photo from the gallery, and its bytes if it was added; your own files stay."""
    await _change_existing(
        request, photo_id, lambda writer: writer.remove([photo_id]), lambda: None
    )


@router.post(
    "/api/v1/attributes",
    status_code=201,
    dependencies=_OWN_ONLY,
    responses={200: {"model": Attribute, "description": "it was declared already"}},
    openapi_extra=accepts({"application/json": AttributeRequest.model_json_schema()}),
)
async def declare_attribute(request: Request, response: Response) -> Attribute:
    """Declare an attribute; its type stays, and one of safety stays one."""
    wanted = await read_json(request, AttributeRequest)
    columns = {wanted.name: Definition(wanted.type, wanted.safety)}
    told, new = await _write_now(
        request,
        lambda writer: writer.declare(columns),
        lambda new: (attribute_of(request, wanted.name), new),
    )
    response.status_code = 201 if new else 200
    return told


@router.delete("/api/v1/attributes/{name}", status_code=204, dependencies=_OWN_ONLY)
async def drop_attribute(request: Request, name: str) -> None:
    """Drop an attribute that no photo has a value of."""
    try:
        await _write_now(request, lambda writer: writer.drop_attribute(name), lambda _: None)
    except UndeclaredError as error:
        raise HTTPException(404, str(error)) from error


@router.post("/api/v1/admin/reload")
async def reload(request: Request) -> GalleryFacts:
    """Take up a new generation or Model now; this process would do so within a second anyway."""
    await read(request, request.state.current.follow)
    return await read(request, gallery_of, request)


async def _add(
    request: Request, service: SearchService, new: NewPhoto, deadline: float
) -> tuple[PhotoFacts, Outcome]:
    one = await compute(request, _embedded, service, new)
    return await _write(
        request,
        service,
        lambda writer: writer.add([one])[0],
        lambda outcome: (facts_of(request, one.photo.id), outcome),
        deadline,
    )


def _embedded(service: SearchService, new: NewPhoto) -> EmbeddedPhoto:
    name = new.file[-_LONGEST_FILE_NAME:] or hashlib.sha256(new.data).hexdigest()
    about = PhotoFile(name, clean_label(new.label or ""), clean_label(new.name or ""))
    one = embed_photo(new.data, PhotoFile(about.stored, about.label, about.name), service.embedder)
    return EmbeddedPhoto(one.photo, one.vector, one.data, new.attributes)


async def _change_existing(
    request: Request,
    photo_id: str,
    change: Callable[[ChangedGallery], object],
    answer: Callable[[], T],
) -> T:
    service: SearchService = request.state.current.service
    # By its id only: a writer takes file names too.
    await read(request, service.gallery.photo, photo_id)
    return await _write_now(request, change, lambda _: answer())


async def _write_now(
    request: Request, change: Callable[[ChangedGallery], Changed], answer: Callable[[Changed], T]
) -> T:
    """Make a change that embeds nothing."""
    service: SearchService = request.state.current.service
    deadline = time.monotonic() + WAIT_S
    return await _write(request, service, change, answer, deadline, embeds=False)


async def _write(
    request: Request,
    service: SearchService,
    change: Callable[[ChangedGallery], Changed],
    answer: Callable[[Changed], T],
    deadline: float,
    *,
    embeds: bool = True,
) -> T:
    """Make a change, one after the other in this process, and say what it came to.

    Both in one turn, or a change that was made could be answered as failed, since no turn to read
    came in time. Raises ArtifactBusyError.
    """

    def write() -> T:
        model = service.embedder.model if embeds else None
        wait_s = max(0.0, deadline - time.monotonic())
        settings = request.app.state.settings
        by = request.state.key_name
        engine = engine_at(service.gallery.place, settings)
        with engine.writer(model, wait_s=wait_s, by=by) as writer:
            changed = change(writer)
        return answer(changed)

    return await in_turn(request, write)
