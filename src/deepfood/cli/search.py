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
from deepfood.serve.question import DEFAULT_K

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
        list[Path] | None,
        typer.Argument(metavar="PHOTO", readable=False, help="A photo to search with, or several."),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="Search with a photo of the gallery. Repeatable."),
    ] = None,
    not_photos: Annotated[
        list[Path] | None,
        typer.Option(
            "--not-photo",
            metavar="PHOTO",
            readable=False,
            help="Find photos unlike this one. Repeatable.",
        ),
    ] = None,
    not_ids: Annotated[
        list[str] | None,
        typer.Option(
            "--not-id", metavar="ID", help="Find photos unlike this one of the gallery. Repeatable."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many photos to find.")] = DEFAULT_K,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help='Find only photos that pass, such as "price < 12": docs/filters.md.',
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,WIDTH,HEIGHT",
            help="Search with this part of the photo only, in shares of its width and height: "
            "0,0,0.5,1 is the left half.",
        ),
    ] = None,
    diversity: Annotated[
        float,
        typer.Option(min=0, max=1, help="From 0, the most similar photos, to 1, the most varied."),
    ] = 0.0,
    group_duplicates: Annotated[
        bool, typer.Option("--group-duplicates", help="Show near-duplicates as one hit.")
    ] = False,
    cursor: Annotated[
        str | None,
        typer.Option(help="Show the next page: `next` of this page, as --json prints it."),
    ] = None,
    model: GalleryModelOption = None,
    as_json: Json = False,
) -> None:
    """Find the photos of a gallery that look most like yours."""
    from deepfood.errors import SettingError
    from deepfood.serve.question import Question
    from deepfood.serve.service import open_service

    photos, ids = photos or [], ids or []
    if not photos and not ids:
        raise SettingError("nothing to search for: give a PHOTO, or --id ID")
    if box is not None and len(photos) + len(ids) > 1:
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
            ids=tuple(ids),
            not_photos=tuple(read_photo(photo, limits) for photo in not_photos or []),
            not_ids=tuple(not_ids or []),
            k=k,
            where=where,
            box=region,
            cursor=cursor,
            diversity=diversity,
            group_duplicates=group_duplicates,
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
