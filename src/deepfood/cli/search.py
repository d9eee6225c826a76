"""`deepfood search`: asking a gallery from the command line."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import deepfood
from deepfood.cli.app import (
    SEARCH,
    GalleryModelOption,
    Json,
    SearchedGalleryArgument,
    app,
    print_json,
)
from deepfood.config import load_settings

if TYPE_CHECKING:
    from deepfood.gallery import Hit

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

    photos, like = photos or [], like or []
    if not photos and not like:
        raise SettingError("nothing to search for: give a PHOTO, or --like ID")
    if box is not None and len(photos) + len(like) > 1:
        raise SettingError("--box is a part of one PHOTO: give one photo to search for")
    region = _box(box) if box is not None else None
    settings = load_settings(model=model)
    if not settings.cursor_key:  # the next page is asked for by another process, of this user
        settings = settings.model_copy(update={"cursor_key": "command line"})
    opened = deepfood.open_gallery(gallery, settings)
    found = opened.search(
        photos,
        ids=like,
        not_photos=unwanted or [],
        k=k,
        where=where,
        box=region,
        cursor=after,
        diversity=diverse,
        group_duplicates=group,
    )
    if as_json:
        hits = [
            {
                **_hit(hit),
                "attributes": hit.attributes,
                "alike": [_hit(one) for one in hit.alike],
            }
            for hit in found.hits
        ]
        print_json({**asdict(found), "hits": hits})
        return
    if found.verdict and found.label:
        print(f"{_VERDICTS[found.verdict]} {found.label.label}")
    for hit in found.hits:
        sure = f"{hit.same_dish or '':8}  " if found.verdict else ""
        what = " · ".join(part for part in (hit.photo.name, hit.photo.label) if part)
        print(f"{hit.score:6.3f}  {sure}{opened.where(hit.photo)}  {what}")
        for one in hit.alike:
            print(f"        alike: {opened.where(one.photo)}")
    passing = " that pass the filter" if where is not None else ""
    total = "1 photo" if found.total == 1 else f"{found.total:,} photos"
    print(f"{len(found.hits)} of {total}{passing}")
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


def _box(text: str) -> tuple[float, float, float, float]:
    from deepfood.errors import SettingError

    try:
        x, y, width, height = map(float, text.split(","))
    except ValueError:
        raise SettingError(f"--box {text}: give x,y,width,height as shares, 0 to 1") from None
    return x, y, width, height
