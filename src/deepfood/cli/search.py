"""`deepfood search`: asking a gallery from the command line."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfood.cli.app import (
    SEARCH,
    GalleryModelOption,
    Json,
    SearchedGalleryArgument,
    app,
    print_json,
    read_photo,
)
from deepfood.config import load_settings

if TYPE_CHECKING:
    from deepfood.gallery import Hit
    from deepfood.photo_box import Box

#: What a verdict says before the label that the neighbours vote for.
_VERDICTS = {
    "match": "looks like",
    "maybe": "perhaps",
    "none": "probably nothing like it in this gallery; if anything,",
}


@app.command(rich_help_panel=SEARCH)
def search(
    gallery: SearchedGalleryArgument,
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="PHOTO", help="Photos to search for.")
    ] = None,
    like: Annotated[
        list[str] | None, typer.Option(help="A photo of the gallery to search for, by its id.")
    ] = None,
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
    model: GalleryModelOption = None,
    as_json: Json = False,
) -> None:
    """Find the photos most like this one, or like several."""
    from deepfood.errors import SettingError
    from deepfood.serve.question import Question
    from deepfood.serve.service import open_service

    photos, like = photos or [], like or []
    if not photos and not like:
        raise SettingError("nothing to search for: give a PHOTO, or --like ID")
    if box is not None and len(photos) + len(like) > 1:
        raise SettingError("--box is a part of one PHOTO: give one photo to search for")
    region = _box(box) if box is not None else None
    settings = load_settings(gallery=gallery, model=model)
    if not settings.cursor_key:  # the next page is asked for by another process, of this user
        settings = settings.model_copy(update={"cursor_key": "command line"})
    service = open_service(settings)
    limits = service.embedder.limits
    answer, found = service.search(
        Question(
            photos=tuple(read_photo(photo, limits) for photo in photos),
            ids=tuple(like),
            not_photos=tuple(read_photo(photo, limits) for photo in unwanted or []),
            k=k,
            where=where,
            box=region,
            cursor=after,
            diversity=diverse,
            group_duplicates=group,
        )
    )
    if as_json:
        hits = [
            {
                **_hit(hit),
                "attributes": found.attributes.get(hit.photo.id, {}),
                "alike": [_hit(one) for one in alike],
            }
            for hit, alike in zip(answer.hits, found.alike, strict=True)
        ]
        about = {"total": found.total, "notes": found.notes, "next": found.next}
        print_json({**asdict(answer), "hits": hits, **about})
        return
    if answer.verdict and answer.label:
        print(f"{_VERDICTS[answer.verdict]} {answer.label.label}")
    for hit, alike in zip(answer.hits, found.alike, strict=True):
        sure = f"{hit.same_dish or '':8}  " if answer.verdict else ""
        what = " · ".join(part for part in (hit.photo.name, hit.photo.label) if part)
        print(f"{hit.score:6.3f}  {sure}{service.gallery.where(hit.photo)}  {what}")
        for one in alike:
            print(f"        alike: {service.gallery.where(one.photo)}")
    passing = " that pass the filter" if where is not None else ""
    total = "1 photo" if found.total == 1 else f"{found.total:,} photos"
    print(f"{len(answer.hits)} of {total}{passing}")
    for note in found.notes:
        print(f"note: {note}")


def _hit(hit: "Hit") -> dict[str, Any]:
    return {
        "score": hit.score,
        "probability": hit.probability,
        "same_dish": hit.same_dish,
        "id": hit.photo.id,
        **asdict(hit.photo),
    }


def _box(text: str) -> "Box":
    from deepfood.errors import SettingError
    from deepfood.photo_box import Box

    try:
        x, y, width, height = map(float, text.split(","))
    except ValueError:
        raise SettingError(f"--box {text}: give x,y,width,height as shares, 0 to 1") from None
    return Box(x, y, width, height)
