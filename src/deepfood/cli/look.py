"""`deepfood features` and `explain`: what the embedding has learned, why photos are alike."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfood.cli.app import (
    SEARCH,
    GalleryModelOption,
    Json,
    PhotosRoot,
    SearchedGalleryArgument,
    app,
    count,
    print_json,
)
from deepfood.config import load_settings

if TYPE_CHECKING:
    from deepfood.evaluate.features import Feature

_CELL_PIXELS = 220
_PAGE_PHOTO_PIXELS = 112
_PAGE_TOP = 8
#: How many photos that could not be shown are named.
_NAMED = 5


@app.command(rich_help_panel=SEARCH)
def features(
    gallery: SearchedGalleryArgument,
    feature: Annotated[
        int | None, typer.Option(help="The feature to look at, counted from 0.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All features, on a page.")] = False,
    top: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Photos a feature.", show_default="10; 8 with --all"),
    ] = None,
    bottom: Annotated[
        bool, typer.Option("--bottom", help="The photos with the lowest values instead.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write, PNG; with --all a page, HTML.")
    ] = None,
    model: GalleryModelOption = None,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """The photos that have most of one feature of the embedding, or of each."""
    from deepfood.artifacts import check_can_write, write_result
    from deepfood.errors import DatasetError, SettingError
    from deepfood.evaluate.feature_page import feature_page
    from deepfood.evaluate.features import rank_features
    from deepfood.evaluate.thumbs import Thumbs
    from deepfood.galleries import open_gallery
    from deepfood.photo import Limits

    if (feature is None) != every:
        raise SettingError("name one feature with --feature, or take --all of them, not both")
    if every and out is None and not as_json:
        raise SettingError("--all writes a page: name it with --out features.html")
    if out is not None:
        check_can_write(out)
    settings = load_settings(gallery=gallery, model=model, photos_root=photos_root)
    limits = Limits.of(settings)
    top = top or (_PAGE_TOP if every else 10)
    with contextlib.closing(open_gallery(gallery, settings)[0]) as opened:
        thumbs = Thumbs(opened, limits, _PAGE_PHOTO_PIXELS if every else _CELL_PIXELS)
        numbers = range(opened.manifest.dimension) if every else [feature or 0]
        ranked = rank_features(
            opened,
            numbers,
            top,
            lowest=bottom,
            usable=thumbs.has if out else lambda photo: True,
            quiet=as_json or not every,
        )
        if not any(one.photos for one in ranked):
            first = thumbs.skipped[0]
            raise DatasetError(
                f"none of these photos can be shown; the first, {first['file']}: {first['reason']}"
                " (moved photos are found with --photos-root)"
            )
        left_out = 0
        if out and every:
            page, left_out = feature_page(opened, ranked, thumbs, lowest=bottom)
            write_result(out, page.encode())
        elif out:
            write_result(out, _grid_of(ranked[0], thumbs, bottom))
    if as_json:
        about: dict[str, Any] = {"skipped": thumbs.skipped, "left_out": left_out}
        rows = [one.as_json() for one in ranked]
        print_json({"features": rows, **about} if every else {**rows[0], **about})
        return
    for row in [] if every else ranked[0].photos:
        what = " · ".join(part for part in (row.photo.name, row.photo.label) if part)
        print(f"{row.value:7.4f}  {row.photo.file}  {what}".rstrip())
    for one in thumbs.skipped[:_NAMED]:
        print(f"  not shown: {one['file']}: {one['reason']}")
    if len(thumbs.skipped) > _NAMED:
        print(f"  not shown: {len(thumbs.skipped) - _NAMED} more")
    if left_out:
        print(f"  {left_out:,} photos left out to keep the page small: ask for a smaller --top")
    if out:
        print(f"{out}: {count(ranked, 'feature', 'features')}, {out.stat().st_size:,} bytes")


@app.command(rich_help_panel=SEARCH)
def explain(
    gallery: SearchedGalleryArgument,
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo searched with.")],
    photo_id: Annotated[
        str | None, typer.Option("--id", help="The gallery's photo to compare it with.")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="The hit to compare it with.", show_default="1")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write, PNG.")] = None,
    model: GalleryModelOption = None,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """Show which regions of a photo and of one found for it make the two alike."""
    from deepfood.api import read_photo
    from deepfood.artifacts import check_can_write, write_result
    from deepfood.errors import QueryError, SettingError
    from deepfood.heatmap import draw_pair, scale_in_words
    from deepfood.serve.question import Question
    from deepfood.serve.service import open_service

    if photo_id is not None and rank is not None:
        raise SettingError("name the photo to compare with by --id or by --rank, not both")
    if out is None and not as_json:
        raise SettingError("name the picture to write with --out, or ask for --json")
    if out is not None:
        check_can_write(out)
    settings = load_settings(gallery=gallery, model=model, photos_root=photos_root)
    service = open_service(settings)
    limits = service.embedder.limits
    query = read_photo(photo, limits)
    if photo_id is None:
        rank = rank or 1
        hits = service.search(Question(photos=(query,), k=rank))[0].hits
        if len(hits) < rank:
            raise QueryError(f"--rank {rank}: the gallery has {len(hits)} photos to find")
        photo_id = hits[rank - 1].photo.id
    found, hit = service.photo(photo_id)
    match = service.explainer.explain(query, hit)
    name = found.name or found.label or found.file
    if out:
        preprocess = service.embedder.preprocess
        write_result(out, draw_pair(query, hit, match, (photo.name, name), preprocess, limits))
    service.close()
    if as_json:
        print_json(
            {
                "score": match.score,
                "strongest": match.strongest,
                "square": service.embedder.preprocess.crop,
                "query": {"file": str(photo), "contributions": match.query.tolist()},
                "hit": {
                    "id": found.id,
                    "file": found.file,
                    "label": found.label,
                    "name": found.name,
                    "contributions": match.hit.tolist(),
                },
            }
        )
    elif out:
        print(f"{out}: {photo.name} and {name}, {scale_in_words(match)}")


def _grid_of(feature: "Feature", thumbs: Any, lowest: bool) -> bytes:
    from deepfood.evaluate.grid import Cell, draw_grid

    cells = [
        Cell(
            thumbs.jpeg(one.photo),
            (f"{one.value:.4f}", one.photo.label or one.photo.name or Path(one.photo.file).name),
        )
        for one in feature.photos
    ]
    which = "lowest" if lowest else "highest"
    return draw_grid(f"Feature {feature.number}: {which} values", cells, _CELL_PIXELS)
