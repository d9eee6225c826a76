"""Forms from browsers and programs: texts and photos by field, kept in memory."""

from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from deepfood.photo import from_data_url
from deepfood.serve.api.requests import unknown_field
from deepfood.serve.edge.problem import WrongValueError
from deepfood.serve.question import MAX_EXAMPLES

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
_MAX_FIELDS = 32

#: Other ways to write a letter of base64: base64url (RFC 4648), and a URL's percent-encoding.
_SPELLINGS = (
    *(("-", "+"), ("_", "/")),
    *(("%2B", "+"), ("%2F", "/"), ("%3D", "="), ("%2b", "+"), ("%2f", "/"), ("%3d", "=")),
)


@dataclass(frozen=True)
class Sent:
    """A photo's bytes, and the name of its file; "" for a data URL."""

    data: bytes
    file: str = ""


#: What a file input without a chosen file sends.
_NO_FILE = Sent(b"")


@dataclass(frozen=True)
class Form:
    """The values of each field that is filled in, in the order in which they were sent."""

    photos: dict[str, list[Sent]]
    texts: dict[str, list[str]]

    def photo(self, name: str) -> Sent | None:
        return self.photos[name][0] if name in self.photos else None


async def read_form(
    request: Request,
    max_part_bytes: int,
    *,
    photos: Collection[str],
    texts: Collection[str],
    several: Collection[str] = (),
) -> Form:
    """Read a form with the fields `photos` and `texts`; only those in `several` may come twice.

    A photo is a file or a data URL. HTML forms send an empty text, or a file input without a file,
    for fields that are not filled in: these count as not given. Raises HTTPException 400 or 422.
    """
    form = Form({}, {})
    for name, value in await _fields(request, max_part_bytes):
        is_file = isinstance(value, Sent)
        if name not in (*photos, *texts):
            raise WrongValueError(
                unknown_field(name, (*photos, *texts), is_file=is_file), name[:40]
            )
        if value in ("", _NO_FILE):
            continue
        if name in photos:
            sent = value if isinstance(value, Sent) else Sent(photo_in(value))
            form.photos.setdefault(name, []).append(sent)
        elif isinstance(value, Sent):
            raise WrongValueError(f"`{name}` is a file, and should be text", name)
        else:
            form.texts.setdefault(name, []).append(value)
    counts = {name: len(values) for name, values in form.photos.items()}
    counts |= {name: len(values) for name, values in form.texts.items()}
    for name, count in counts.items():
        if count > 1 and name not in several:
            raise WrongValueError(f"`{name}` was sent {count} times: send one", name)
    return form


def photo_in(data_url: str) -> bytes:
    """The photo in a data URL, in any alphabet of base64. Raises PhotoBrokenError."""
    head, comma, body = data_url.partition(",")
    for spelling, letter in _SPELLINGS:
        body = body.replace(spelling, letter)
    return from_data_url(head + comma + body)


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class _InMemory(MultiPartParser):
    """Keeps files in memory. Starlette's own writes those above 1 MB to the disk, if it has room.

    `BodyLimit` bounds the bytes of all requests together.
    """

    spool_max_size = 0  # no limit


async def _fields(request: Request, max_part_bytes: int) -> list[tuple[str, str | Sent]]:
    kind = media_type(request)
    if kind == URLENCODED:
        return _decode_urlencoded(await request.body())
    if kind != MULTIPART:
        return []
    try:
        async with aclosing(request.stream()) as stream:
            form = await _InMemory(
                request.headers,
                stream,
                max_files=MAX_EXAMPLES,
                max_fields=_MAX_FIELDS,
                max_part_size=max_part_bytes,
            ).parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error
    return [(name, await _sent(value)) for name, value in form.multi_items()]


async def _sent(value: str | UploadFile) -> str | Sent:
    if isinstance(value, str):
        return value
    data = await value.read()
    await value.close()  # frees the bytes, which are copied
    return Sent(data, value.filename or "")


def _decode_urlencoded(body: bytes) -> list[tuple[str, str | Sent]]:
    """A form of few fields, of which one may be a long data URL.

    The general decoder splits at every "%", some thousands in a data URL. Replacing those of base64
    first takes a tenth of the time. A "+" may then become a space; `from_data_url` takes either.
    """
    for code, letter in ((b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"=")):
        body = body.replace(code, letter)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise WrongValueError(f"the form cannot be read: {error}", "body") from error
    return [(name, value) for name, value in fields]
