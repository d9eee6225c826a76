"""The routes that change the gallery: its photos and attributes, and reload. All need a key.

A change is on disk before it is answered, and every process sees it from its next search on.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException

from deepfood.data.photo_file import PhotoFile
from deepfood.data.tables import clean_label
from deepfood.engine import engine_at
from deepfood.errors import ModelMismatchError, PhotoNotFoundError, UndeclaredError
from deepfood.gallery.declared import Definition
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.photo import EmbeddedPhoto, Outcome
from deepfood.gallery.protocol import ChangedGallery
from deepfood.serve.api.keys import Author, author_with_key
from deepfood.serve.api.parsing import NewPhoto, read_change, read_json, read_new_photo
from deepfood.serve.api.presenting import attribute_of, facts_of, gallery_of, tag_of_facts
from deepfood.serve.api.problems import CHANGE_PROBLEMS, documented
from deepfood.serve.api.requests import (
    AttributeRequest,
    PhotoId,
    accepts,
    post_json_or_form,
)
from deepfood.serve.api.resources import Resources, ResourcesDep
from deepfood.serve.edge.conditional import check_unchanged
from deepfood.serve.released import is_released
from deepfood.serve.service import SearchService
from deepfood_client.models import Attribute, GalleryFacts, PhotoFacts

T = TypeVar("T")
Changed = TypeVar("Changed")

#: Seconds that a change waits for other writers; a build takes longer, which gives a 503.
WAIT_S = 5.0
_LONGEST_FILE_NAME = 200


async def refuse_to_change_a_release(resources: ResourcesDep) -> None:
    """Raise HTTPException 409 where a release is served."""
    if is_released(resources.settings):
        raise HTTPException(409, "a release is served, which never changes: push a new one instead")


@dataclass(frozen=True)
class Change:
    """A request that changes the gallery, and its author for the journal."""

    request: Request
    resources: Resources
    author: str

    async def write(
        self,
        service: SearchService,
        change: Callable[[ChangedGallery], Changed],
        answer: Callable[[Changed], T],
        *,
        deadline: float | None = None,
        embeds: bool = False,
    ) -> T:
        """Make a change, one at a time in this process, and return its response.

        Change and response share one place in the queue: else a change that was made could be
        answered as failed because reading it back timed out. `deadline`, on time.monotonic, is
        WAIT_S from now unless given; `embeds`: the change has vectors of the service's Model.
        Raises ArtifactBusyError.
        """
        ends = time.monotonic() + WAIT_S if deadline is None else deadline

        def write() -> T:
            model = service.embedder.model if embeds else None
            wait_s = max(0.0, ends - time.monotonic())
            settings = self.resources.settings
            engine = engine_at(service.gallery.place, settings)
            with engine.writer(model, wait_s=wait_s, by=self.author) as writer:
                changed = change(writer)
            return answer(changed)

        return await self.resources.writing.run(self.request, write)

    async def write_existing(
        self,
        photo_id: str,
        change: Callable[[ChangedGallery], object],
        answer: Callable[[SearchService], T],
    ) -> T:
        """Change a photo of the gallery.

        Raises PhotoNotFoundError, and HTTPException 412 where `If-Match` is not its ETag.
        """
        service = self.resources.service
        # By its id only, although a writer accepts file names.
        await self.resources.reading.run(self.request, service.gallery.photo, photo_id)

        def change_if_unchanged(writer: ChangedGallery) -> None:
            # In a folder no other writer is active now; on Milvus one may be, for some ms.
            if "if-match" in self.request.headers:
                facts = facts_of(service, photo_id, self.resources.public_url)
                check_unchanged(self.request, tag_of_facts(facts))
            change(writer)

        return await self.write(
            service, change_if_unchanged, lambda _: answer(self.resources.service)
        )


async def change_of(request: Request, resources: ResourcesDep, author: Author) -> Change:
    """The change that a request makes."""
    return Change(request, resources, author)


ChangeDep = Annotated[Change, Depends(change_of)]

_NO_RELEASE = [Depends(refuse_to_change_a_release)]

_IF_MATCH = documented({412: "it has changed since, and `If-Match` is not its ETag"})

router = APIRouter(
    tags=["changes"], dependencies=[Depends(author_with_key)], responses=CHANGE_PROBLEMS
)


@post_json_or_form(
    router,
    "/api/v1/photos",
    "addPhoto",
    "Add",
    status_code=201,
    dependencies=_NO_RELEASE,
    responses={
        200: {"model": PhotoFacts, "description": "the gallery has this photo already"},
        **documented({412: "the gallery has it already, and `If-None-Match` is `*`"}),
    },
)
async def add_photo(
    request: Request, response: Response, change: ChangeDep, resources: ResourcesDep
) -> PhotoFacts:
    """Add a photo. One that is there already keeps its place, and gets the new label and so on.

    With `If-None-Match: *`, one that is there already stays as it is, which 412 says.
    """
    new = await read_new_photo(request, resources.max_body_bytes)
    deadline = time.monotonic() + WAIT_S
    try:
        facts, outcome = await _add(change, resources.service, new, deadline)
    except ModelMismatchError:  # the gallery has been rebuilt with another Model
        service = await resources.reading.run(request, resources.current.follow)
        facts, outcome = await _add(change, service, new, deadline)
    response.status_code = 201 if outcome == "added" else 200
    response.headers["Location"] = f"/api/v1/photos/{facts.id}"
    response.headers["ETag"] = tag_of_facts(facts)
    return facts


@router.patch(
    "/api/v1/photos/{id}",
    dependencies=_NO_RELEASE,
    responses=_IF_MATCH,
    openapi_extra=accepts(json="ChangeRequest"),
    operation_id="changePhoto",
)
async def change_photo(
    request: Request, response: Response, photo_id: PhotoId, change: ChangeDep
) -> PhotoFacts:
    """Change the label, name or attributes of a photo: only those that are given.

    With `If-Match` and the photo's ETag, only if nobody has changed it since.
    """
    wanted = await read_change(request)

    def update(writer: ChangedGallery) -> None:
        texts = {
            field: clean_label(getattr(wanted, field) or "") or ""
            for field in wanted.model_fields_set & {"label", "name"}
        }
        writer.update(
            photo_id,
            label=texts.get("label"),
            photo_name=texts.get("name"),
            attributes=wanted.attributes,
        )

    public_url = change.resources.public_url
    facts = await change.write_existing(
        photo_id, update, lambda service: facts_of(service, photo_id, public_url)
    )
    response.headers["ETag"] = tag_of_facts(facts)
    return facts


@router.delete(
    "/api/v1/photos/{id}",
    status_code=204,
    dependencies=_NO_RELEASE,
    responses=_IF_MATCH,
    operation_id="removePhoto",
)
async def remove_photo(photo_id: PhotoId, change: ChangeDep) -> None:
    """Remove a photo from the gallery, and its bytes if it was added; your own files stay.

    With `If-Match` and the photo's ETag, only if nobody has changed it since.
    """
    await change.write_existing(photo_id, lambda writer: writer.remove([photo_id]), lambda _: None)


@router.post(
    "/api/v1/attributes",
    status_code=201,
    dependencies=_NO_RELEASE,
    responses={200: {"model": Attribute, "description": "it was declared already"}},
    openapi_extra=accepts(json="AttributeRequest"),
    operation_id="declareAttribute",
)
async def declare_attribute(
    request: Request, response: Response, change: ChangeDep, resources: ResourcesDep
) -> Attribute:
    """Declare an attribute. Its type cannot change, and a safety attribute stays one."""
    wanted = await read_json(request, AttributeRequest)
    columns = {wanted.name: Definition(wanted.type, wanted.safety)}
    attribute, new = await change.write(
        resources.service,
        lambda writer: writer.declare(columns),
        lambda new: (attribute_of(resources.service, wanted.name), new),
    )
    response.status_code = 201 if new else 200
    return attribute


@router.delete(
    "/api/v1/attributes/{name}",
    status_code=204,
    dependencies=_NO_RELEASE,
    operation_id="dropAttribute",
)
async def drop_attribute(name: str, change: ChangeDep, resources: ResourcesDep) -> None:
    """Drop an attribute that no photo has a value of."""
    try:
        await change.write(
            resources.service, lambda writer: writer.drop_attribute(name), lambda _: None
        )
    except UndeclaredError as error:
        raise HTTPException(404, str(error)) from error


@router.post("/api/v1/admin/reload", operation_id="reload")
async def reload(request: Request, resources: ResourcesDep) -> GalleryFacts:
    """Open a new generation or Model now; this process would do so within a second anyway."""
    await resources.reading.run(request, resources.current.follow)
    return await resources.reading.run(request, gallery_of, resources)


async def _add(
    change: Change, service: SearchService, new: NewPhoto, deadline: float
) -> tuple[PhotoFacts, Outcome]:
    resources = change.resources
    photo = await resources.searching.run(change.request, _embedded, service, new)

    def add(writer: ChangedGallery) -> Outcome:
        if change.request.headers.get("if-none-match", "").strip() == "*":
            _refuse_known(service, photo.photo.id)
        return writer.add([photo])[0]

    return await change.write(
        service,
        add,
        lambda outcome: (
            facts_of(resources.service, photo.photo.id, resources.public_url),
            outcome,
        ),
        deadline=deadline,
        embeds=True,
    )


def _refuse_known(service: SearchService, photo_id: str) -> None:
    """Raise HTTPException 412 where the gallery has a photo."""
    try:
        service.gallery.photo(photo_id)
    except PhotoNotFoundError:
        return
    location = {"Location": f"/api/v1/photos/{photo_id}"}
    raise HTTPException(412, "the gallery has this photo already", headers=location)


def _embedded(service: SearchService, new: NewPhoto) -> EmbeddedPhoto:
    name = new.file[-_LONGEST_FILE_NAME:] or hashlib.sha256(new.data).hexdigest()
    about = PhotoFile(name, clean_label(new.label or ""), clean_label(new.name or ""))
    one = embed_photo(new.data, PhotoFile(about.stored, about.label, about.name), service.embedder)
    return EmbeddedPhoto(one.photo, one.vector, one.data, new.attributes)
