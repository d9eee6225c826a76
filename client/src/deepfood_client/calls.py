"""Every request to a server as a Call, which either client sends."""

import base64
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from deepfood_client.errors import (
    DeepfoodError,
    KeyRefusedError,
    PhotoError,
    PhotoNotFoundError,
    QueryError,
    ServiceError,
    UndeclaredError,
)
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
from deepfood_client.weighted import Weighted, check_weight

T = TypeVar("T")


class Picture(Protocol):
    """An image of Pillow, which need not be installed."""

    @property
    def mode(self) -> str: ...
    def save(self, fp: BinaryIO, format: str, **options: Any) -> None: ...  # noqa: A002


#: A file's path, a file's bytes, or an image of Pillow.
PhotoLike = str | os.PathLike[str] | bytes | Picture
#: Left, top, width and height, as shares of a photo.
Sides: TypeAlias = tuple[float, float, float, float]
#: One or several, each with or without a weight and a box.
OneOrSeveral: TypeAlias = T | Weighted[T] | Sequence[T | Weighted[T]]
#: The fields of a Question that may have several values, and `photo`.
EXAMPLES = ("photo", "id", "words", "not_photo", "not_id", "not_words")


class Question(TypedDict, total=False):
    """The options of a search besides its `photo`, as documented for POST /api/v1/search.

    `id` and `not_id` are photos of the gallery, one or several, and so are photos to be unlike,
    `words` and `not_words`. Each may have a weight: `words=["mint", Weighted("rice", 2)]`.
    `box` is the part of the photo that counts: left, top, width and height as shares. Of several
    photos each may have its own: `id=[Weighted(first, box=(0, 0, 0.5, 1)), second]`.
    `plate` answers for each dish of the one photo by itself.
    """

    id: OneOrSeveral[str]
    not_photo: OneOrSeveral[PhotoLike]
    not_id: OneOrSeveral[str]
    words: OneOrSeveral[str]
    not_words: OneOrSeveral[str]
    k: int
    where: str | None
    box: Sides | None
    diversity: float
    group_duplicates: bool
    plate: bool
    cursor: str | None


class BatchQuestion(Question, total=False):
    """One question of several: its `photo`, one or several, and the options of a search."""

    photo: OneOrSeveral[PhotoLike]


class Selection(TypedDict, total=False):
    """Which photos of the gallery: those that pass a filter, have words, and one of some labels."""

    where: str | None
    words: str | None
    label: str | Sequence[str]


class Listing(Selection, total=False):
    """The options of a list of photos, as documented for GET /api/v1/photos.

    `sort` is `newest`, `name` or a number attribute, with `-` before it for the reverse. `around`
    is the id of a photo that is in the middle of the first page.
    """

    sort: str
    limit: int
    cursor: str | None
    around: str | None


class Paged(Protocol):
    """A result that may have a next page, and its cursor."""

    @property
    def next(self) -> str | None: ...


AnyPaged = TypeVar("AnyPaged", bound=Paged)


AnyQuestion = TypeVar("AnyQuestion", Question, Listing)


def next_question(question: AnyQuestion, found: Paged) -> AnyQuestion | None:
    """The question for the page after `found`; None after the last one."""
    return None if found.next is None else {**question, "cursor": found.next}


def pages(search: Callable[[AnyQuestion], AnyPaged], question: AnyQuestion) -> Iterator[AnyPaged]:
    """The results of one question, page by page, to the last."""
    following: AnyQuestion | None = question
    while following is not None:
        found = search(following)
        yield found
        following = next_question(following, found)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and how its answer is read.

    `changes` marks requests that change the gallery: they are sent again only if the server
    certainly did nothing. `missing` is the error where what it names is not there, `forbidden` that
    where the server takes no such request.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    changes: bool = False
    body: dict[str, Any] = field(default_factory=dict)
    missing: type[DeepfoodError] = PhotoNotFoundError
    forbidden: type[DeepfoodError] = KeyRefusedError


def search(photo: OneOrSeveral[PhotoLike] | None, question: Question) -> Call[SearchResult]:
    """Raises QueryError where there is nothing to search for, and PhotoError."""
    examples = examples_of(photo, question)
    files = [
        (name, photo_file(one)) for name in ("photo", "not_photo") for one, _ in examples[name]
    ]
    data: dict[str, Any] = {}
    for name, value in question.items():
        if name in ("id", "not_id", "words", "not_words"):
            data[name] = [one for one, _ in examples[name]]
        elif value is None or name == "not_photo":
            continue
        elif name == "box":
            data[name] = ",".join(map(str, value))  # type: ignore[call-overload]
        else:
            data[name] = str(value)
    weights = {name: [weight for _, weight in some] for name, some in examples.items()}
    weights = {name: some for name, some in weights.items() if set(some) - {1.0}}
    if weights:
        data["weights"] = json.dumps(weights)
    boxes = boxes_of(photo, question)
    if boxes:
        data["boxes"] = json.dumps(boxes)
    body = {"data": data, "files": files or None}
    return Call("POST", "/api/v1/search", _reader(SearchResult), body=body)


def guess_label(
    photo: PhotoLike | None, photo_id: str | None, names: Sequence[str], template: str | None
) -> Call[LabelAnswer]:
    """Raises PhotoError."""
    fields = {"id": photo_id, "names": "\n".join(names), "template": template}
    data = {key: value for key, value in fields.items() if value is not None}
    files = None if photo is None else [("photo", photo_file(photo))]
    return Call("POST", "/api/v1/label", _reader(LabelAnswer), body={"data": data, "files": files})


def search_batch(questions: Sequence[BatchQuestion]) -> Call[BatchResult]:
    """Photos are sent as data URLs. Raises PhotoError."""
    asked = [
        {
            name: [_in_json(name, one) for one in each(value)] if name in EXAMPLES else value
            for name, value in question.items()
            if value is not None
        }
        for question in questions
    ]
    path = "/api/v1/search:batch"
    return Call("POST", path, _reader(BatchResult), body={"json": {"questions": asked}})


def explain(
    photo: PhotoLike | None,
    hit: str,
    photo_id: str | None,
    box: Sides | None,
) -> Call[Explanation]:
    """Raises PhotoError."""
    fields = {"hit": hit, "id": photo_id, "box": None if box is None else ",".join(map(str, box))}
    data = {key: value for key, value in fields.items() if value is not None}
    files = None if photo is None else [("photo", photo_file(photo))]
    body = {"data": data, "files": files}
    return Call("POST", "/api/v1/explain", _reader(Explanation), body=body)


def feedback(
    question: str, hit: str, right: bool | None, session: str, photo: PhotoLike | None
) -> Call[None]:
    """Raises PhotoError."""
    fields = {"question": question, "hit": hit, "right": right, "session": session}
    if photo is not None:
        fields["photo"] = _data_url(photo)
    # Not marked as a change: what is said twice is said once.
    body = {"json": fields}
    return Call("POST", "/api/v1/feedback", lambda _: None, body=body, forbidden=ServiceError)


def _in_json(name: str, one: Any) -> Any:
    """An example as JSON has it: with its weight and box, if it has them."""
    value, weight = _weighed(one)
    if name in ("photo", "not_photo"):
        value = _data_url(value)
    if not isinstance(one, Weighted):
        return value
    kind = {"words": "text"}.get(name.removeprefix("not_"), name.removeprefix("not_"))
    box = {} if one.box is None else {"box": one.box}
    return {kind: value, "weight": weight, **box}


def _data_url(photo: PhotoLike) -> str:
    data = base64.b64encode(photo_file(photo)[1]).decode()
    return f"data:application/octet-stream;base64,{data}"


def add(
    photo: PhotoLike,
    label: str | None,
    name: str | None,
    attributes: dict[str, Any] | None,
    only_new: bool,
) -> Call[PhotoFacts]:
    fields = {"label": label, "name": name}
    data = {key: value for key, value in fields.items() if value is not None}
    if attributes:
        data["attributes"] = json.dumps(attributes)
    body: dict[str, Any] = {"files": [("photo", photo_file(photo))], "data": data}
    if only_new:
        body["headers"] = {"If-None-Match": "*"}
    return Call("POST", "/api/v1/photos", _reader(PhotoFacts), changes=True, body=body)


def update(photo_id: str, fields: dict[str, Any]) -> Call[PhotoFacts]:
    return Call(
        "PATCH", _path("/api/v1/photos", photo_id), _reader(PhotoFacts), True, {"json": fields}
    )


def remove(photo_id: str) -> Call[None]:
    return Call("DELETE", _path("/api/v1/photos", photo_id), lambda _: None, True)


def declare(name: str, type_: str, safety: bool) -> Call[Attribute]:
    fields = {"name": name, "type": type_, "safety": safety}
    return Call("POST", "/api/v1/attributes", _reader(Attribute), True, {"json": fields})


def drop_attribute(name: str) -> Call[None]:
    path = _path("/api/v1/attributes", name)
    return Call("DELETE", path, lambda _: None, changes=True, missing=UndeclaredError)


def gallery() -> Call[GalleryFacts]:
    return Call("GET", "/api/v1/gallery", _reader(GalleryFacts))


def samples(k: int, seed: int | None) -> Call[list[Photo]]:
    asked = {"k": k} | ({} if seed is None else {"seed": seed})
    return Call("GET", "/api/v1/samples", _reader(list[Photo]), body={"params": asked})


def photos(listing: Listing) -> Call[PhotoPage]:
    return Call("GET", "/api/v1/photos", _reader(PhotoPage), body=_params(**listing))


def labels(q: str, limit: int, cursor: str | None) -> Call[LabelPage]:
    asked = _params(q=q, limit=limit, cursor=cursor)
    return Call("GET", "/api/v1/labels", _reader(LabelPage), body=asked)


def doubtful_labels(limit: int, cursor: str | None) -> Call[DoubtfulPage]:
    asked = _params(limit=limit, cursor=cursor)
    return Call("GET", "/api/v1/labels/doubtful", _reader(DoubtfulPage), body=asked)


def overlapping_labels(limit: int, cursor: str | None) -> Call[OverlapPage]:
    asked = _params(limit=limit, cursor=cursor)
    return Call("GET", "/api/v1/labels/overlapping", _reader(OverlapPage), body=asked)


def outliers(limit: int, cursor: str | None) -> Call[OutlierPage]:
    asked = _params(limit=limit, cursor=cursor)
    return Call("GET", "/api/v1/outliers", _reader(OutlierPage), body=asked)


def photos_to_label(limit: int, cursor: str | None) -> Call[ToLabelPage]:
    asked = _params(limit=limit, cursor=cursor)
    return Call("GET", "/api/v1/to-label", _reader(ToLabelPage), body=asked)


def duplicates(limit: int, cursor: str | None) -> Call[DuplicatePage]:
    asked = _params(limit=limit, cursor=cursor)
    return Call("GET", "/api/v1/duplicates", _reader(DuplicatePage), body=asked)


def facets(selection: Selection, limit: int) -> Call[Facets]:
    asked = _params(**selection, limit=limit)
    return Call("GET", "/api/v1/facets", _reader(Facets), body=asked)


def suggest(q: str, limit: int) -> Call[list[Suggestion]]:
    asked = {"params": {"q": q, "limit": limit}}
    return Call("GET", "/api/v1/suggest", _reader(list[Suggestion]), body=asked)


def facts(photo_id: str) -> Call[PhotoFacts]:
    return Call("GET", _path("/api/v1/photos", photo_id), _reader(PhotoFacts))


def file(folder: str, photo_id: str) -> Call[bytes]:
    return Call("GET", _path(folder, photo_id), lambda answer: answer.content)


def _reader(kind: Any) -> Callable[[httpx.Response], Any]:
    adapter = TypeAdapter(kind)

    def read(answer: httpx.Response) -> Any:
        try:
            return adapter.validate_json(answer.content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ServiceError(
                f"{answer.url.host} does not answer as a deepfood server: {where} {first['msg']}"
            ) from error

    return read


def _params(**asked: Any) -> dict[str, Any]:
    """The query of an address, without what is not given."""
    return {"params": {name: each(one) for name, one in asked.items() if each(one)}}


def each(one_or_several: Any) -> list[Any]:
    """A list of what may be one value, several, or None."""
    if one_or_several is None:
        return []
    several = isinstance(one_or_several, list | tuple)
    return list(one_or_several) if several else [one_or_several]


def _path(folder: str, name: str) -> str:
    return f"{folder}/{quote(name, safe='')}"


def examples_of(
    photo: OneOrSeveral[PhotoLike] | None, question: Question
) -> dict[str, list[tuple[Any, float]]]:
    """What is searched with, and its weights, by the names EXAMPLES.

    Raises QueryError where nothing is wanted.
    """
    given = {**question, "photo": photo}
    examples = {name: [_weighed(one) for one in each(given.get(name))] for name in EXAMPLES}
    if not (examples["photo"] or examples["id"] or examples["words"]):
        raise QueryError(
            "nothing to search for: give a photo, the id of one of the gallery, or words"
        )
    return examples


def boxes_of(
    photo: OneOrSeveral[PhotoLike] | None, question: Question
) -> dict[str, list[Sides | None]]:
    """The part of each photo that counts, None for all of it, by those of EXAMPLES that have some.

    Raises QueryError for a box of words, and for one beside the `box` of the question.
    """
    given = {**question, "photo": photo}
    every = {
        name: [one.box if isinstance(one, Weighted) else None for one in each(given.get(name))]
        for name in EXAMPLES
    }
    boxes = {name: some for name, some in every.items() if any(some)}
    if boxes and question.get("box") is not None:
        raise QueryError("give `box`, or a box of each photo, not both")
    for name in boxes:
        if name in ("words", "not_words"):
            raise QueryError(f"{name}: only photos have a box")
    return boxes


def _weighed(one: Any) -> tuple[Any, float]:
    return (one.value, check_weight(one.weight)) if isinstance(one, Weighted) else (one, 1.0)


def photo_file(photo: PhotoLike) -> tuple[str, bytes]:
    """The name and bytes to upload. Raises PhotoError for a file that cannot be read."""
    if isinstance(photo, bytes):
        return "photo", photo
    if isinstance(photo, str | os.PathLike):
        try:
            return Path(photo).name, Path(photo).read_bytes()
        except OSError as error:
            raise PhotoError(f"{photo}: {error.strerror}") from error
    out = io.BytesIO()
    # JPEG for what it can hold, since a PNG of a photo may be over the server's limit.
    if photo.mode in ("RGB", "L"):
        photo.save(out, "JPEG", quality=95, subsampling=0)
    else:
        photo.save(out, "PNG")
    return "photo", out.getvalue()
