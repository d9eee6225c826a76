"""Feedback: visitors say whether a hit was right. Needs no key, and the setting `feedback`."""

import hashlib
import logging
import time
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactFormatError,
    DiskFullError,
)
from deepfood.gallery.feedback import Feedback, Vote
from deepfood.gallery.protocol import SearchedGallery
from deepfood.serve.api.forms import photo_in
from deepfood.serve.api.parsing import read_json
from deepfood.serve.api.problems import PROBLEMS, documented
from deepfood.serve.api.requests import FeedbackRequest, accepts
from deepfood.serve.api.resources import Resources, ResourcesDep
from deepfood.serve.asked import Asked
from deepfood.serve.edge.problem import WrongValueError

#: Votes that are kept of one browser session, so that none outweighs all others.
MOST_OF_A_SESSION = 1000
_SESSION_DIGITS = 32

_log = logging.getLogger(__name__)

router = APIRouter(tags=["search"], responses=PROBLEMS)


@router.post(
    "/api/v1/feedback",
    status_code=204,
    openapi_extra=accepts(json="FeedbackRequest"),
    responses=documented(
        {
            403: "feedback is off here: the setting `feedback`",
            404: "the gallery has no photo with that id, or no longer",
            429: "too many requests of one client, or too many votes of one session",
            507: "the server's disk is full",
        }
    ),
    operation_id="giveFeedback",
)
async def give_feedback(request: Request, resources: ResourcesDep) -> None:
    """Say of a hit whether it was right; the last vote of a session counts, null takes it back.

    The vote, the question's hash and its vector are kept; a photo only if it is sent along, and
    the setting `feedback_photos_bytes` has room for it.
    """
    if not resources.settings.feedback:
        raise HTTPException(403, "this server takes no feedback: the setting `feedback` is off")
    wanted = await read_json(request, FeedbackRequest)
    await resources.writing.run(request, _keep, resources, wanted)


def _keep(resources: Resources, wanted: FeedbackRequest) -> None:
    service, settings = resources.service, resources.settings
    asked = service.questions.read(wanted.question)
    photo = None if wanted.photo is None else photo_in(wanted.photo)
    if photo is not None:
        _check_photo(photo, asked.sha256, settings.feedback_photos_bytes)
    hit = wanted.hit
    if wanted.right is not None:  # what was said of a photo that is gone can be taken back
        hit = service.gallery.photo(wanted.hit).id
        _check_whole(service.gallery, hit, asked)
    vote = Vote(
        session=hashlib.sha256(wanted.session.encode()).hexdigest()[:_SESSION_DIGITS],
        question=asked.sha256,
        hit=hit,
        right=wanted.right,
        at=time.time(),
        model=asked.model,
        vector=asked.vector,
        kind=asked.kind,
    )
    try:
        with Feedback.open(
            Path(service.gallery.place), create=True, most=settings.feedback_votes
        ) as feedback:
            if vote.right is not None and feedback.others_of_session(vote) >= MOST_OF_A_SESSION:
                raise HTTPException(
                    429,
                    f"one visitor has {MOST_OF_A_SESSION:,} votes, and these are all given",
                    headers={"Retry-After": "3600"},
                )
            feedback.add([vote])
            if photo is not None and vote.right is not None:
                _keep_photo(feedback, photo, settings.feedback_photos_bytes)
    except (ArtifactCorruptError, ArtifactFormatError) as error:
        _log.error("%s", error)
        raise HTTPException(
            500, "feedback cannot be kept: its file is damaged, and the service's log says more"
        ) from error


def _check_whole(gallery: SearchedGallery, hit: str, asked: Asked) -> None:
    """Raise WrongValueError for a photo that was found by a dish on it."""
    current = asked.model == gallery.manifest.model_fingerprint
    if current and asked.vector is not None and gallery.is_found_by_part(hit, asked.vector):
        raise WrongValueError(
            "the photo was found by a dish on it, and a vote is about the label of the whole: vote "
            "on hits without a `box`",
            "hit",
        )


def _check_photo(photo: bytes, sha256: str, most_bytes: int) -> None:
    """Raise WrongValueError for a photo that is not kept here, or not the one asked with."""
    if not most_bytes:
        raise WrongValueError("this server keeps no photos: leave `photo` out", "photo")
    if hashlib.sha256(photo).hexdigest() != sha256:
        raise WrongValueError("`photo` is not the one photo that was asked with", "photo")


def _keep_photo(feedback: Feedback, photo: bytes, most_bytes: int) -> None:
    try:
        feedback.keep_photo(photo, most_bytes)
    except DiskFullError as error:  # the vote is kept
        _log.warning("%s", error)
