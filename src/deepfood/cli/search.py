"""`deepfood search`: asking a gallery from the command line."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfood.cli.app import GalleryArgument, Json, ModelOption, app, print_json
from deepfood.config import load_settings

if TYPE_CHECKING:
    from deepfood.gallery import Hit
    from deepfood.photo import Limits
    from deepfood.photo_box import Box

#: What a verdict says before the label that the neighbours vote for.
_VERDICTS = {
    "match": "looks like",
    "maybe": "perhaps",
    "none": "probably nothing like it in this gallery; if anything,",
}


@app.command()
def search(
    gallery: GalleryArgument,
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photos to search for.")],
    k: Annotated[int, typer.Option("-k", help="How many photos to find.")] = 9,
    unwanted: Annotated[
        list[Path] | None, typer.Option("--not", help="A photo that the hits should be unlike.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="The part of PHOTO that counts: x,y,width,height, 0 to 1.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Only photos that pass this filter: docs/filters.md.")
    ] = None,
    diverse: Annotated[
        float, typer.Option(min=0, max=1, help="0: the most similar; 1: the most varied.")
    ] = 0.0,
    group: Annotated[bool, typer.Option("--group", help="Show near-duplicates as one.")] = False,
    after: Annotated[
        str | None, typer.Option(help="The page after: `next` of the page before.")
    ] = None,
    model: ModelOption = None,
    as_json: Json = False,
) -> None:
    """Find the photos most like this one, or like several."""
    import numpy as np

    from deepfood.errors import SettingError
    from deepfood.gallery import Answer
    from deepfood.gallery.filters import parse_filter
    from deepfood.gallery.find import find
    from deepfood.gallery.queries import combine
    from deepfood.serve.service import open_service

    if box is not None and len(photos) > 1:
        raise SettingError("--box is a part of one PHOTO: give one photo to search for")
    region = _box(box) if box is not None else None
    passing = parse_filter(where) if where is not None else None
    settings = load_settings(gallery=gallery, model=model)
    service = open_service(settings)
    limits = service.embedder.limits
    wanted = [_read(photo, limits) for photo in photos]
    others = [_read(photo, limits) for photo in unwanted or []]
    about: dict[str, Any] = {"notes": (), "next": None}
    alike: list[list[Hit]]
    if len(photos) == 1 and not (others or region or passing or diverse or group or after):
        # How sure an answer is, is known for the plain question only.
        answer = service.search_photo(wanted[0], k)
        alike = [[] for _ in answer.hits]
    else:
        embed = service.embedder.embed
        query = combine(
            np.stack([embed(data, region) for data in wanted]),
            np.stack([embed(data) for data in others]) if others else None,
        )
        found = find(
            service.gallery, query, k, where=passing, diverse=diverse, grouped=group, after=after
        )
        answer, alike = Answer(found.hits), found.alike
        about = {"notes": found.notes, "next": found.next}
    if as_json:
        hits = [
            {**_hit(hit), "alike": [_hit(one) for one in others]}
            for hit, others in zip(answer.hits, alike, strict=True)
        ]
        print_json({**asdict(answer), "hits": hits, **about})
        return
    if answer.verdict and answer.label:
        print(f"{_VERDICTS[answer.verdict]} {answer.label.label} ({answer.label.probability:.0%})")
    for hit, near in zip(answer.hits, alike, strict=True):
        sure = "" if hit.probability is None else f"{hit.probability:4.0%}  "
        what = " · ".join(part for part in (hit.photo.name, hit.photo.label) if part)
        print(f"{hit.score:6.3f}  {sure}{service.gallery.path(hit.photo)}  {what}")
        for one in near:
            print(f"        alike: {service.gallery.path(one.photo)}")
    for note in about["notes"]:
        print(f"note: {note}")


def _hit(hit: "Hit") -> dict[str, Any]:
    return {
        "score": hit.score,
        "probability": hit.probability,
        "id": hit.photo.id,
        **asdict(hit.photo),
    }


def _read(photo: Path, limits: "Limits") -> bytes:
    from deepfood.errors import DatasetError

    try:
        limits.check_bytes(photo.stat().st_size)
        return photo.read_bytes()
    except OSError as error:
        raise DatasetError(f"{photo} cannot be read: {error.strerror}") from error


def _box(text: str) -> "Box":
    from deepfood.errors import SettingError
    from deepfood.photo_box import Box

    try:
        x, y, width, height = map(float, text.split(","))
    except ValueError:
        raise SettingError(f"--box {text}: give x,y,width,height as shares, 0 to 1") from None
    return Box(x, y, width, height)
