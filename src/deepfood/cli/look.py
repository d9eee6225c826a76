"""`deepfood features` and `explain`: what the Model looks at, and why two photos are alike."""

import contextlib
from collections.abc import Sequence
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
    print_json,
)
from deepfood.cli.complete import complete_id
from deepfood.cli.search import BoxOption, parse_box
from deepfood.config import load_settings
from deepfood.counted import counted

if TYPE_CHECKING:
    from deepfood.evaluate.features import Feature
    from deepfood.evaluate.thumbs import Thumbs
    from deepfood.gallery import Photo
    from deepfood.gallery.protocol import SearchedGallery
    from deepfood.photo import Limits, Preprocess
    from deepfood.photo_box import Box

_CELL_PIXELS = 220
_PAGE_PHOTO_PIXELS = 112
_PAGE_K = 8
#: How many photos that could not be shown are listed.
_NAMED = 5


@app.command(rich_help_panel=SEARCH)
def features(
    gallery: SearchedGalleryArgument,
    feature: Annotated[int | None, typer.Option(help="Number of the feature, from 0.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Write a page of all features.")] = False,
    k: Annotated[
        int | None,
        typer.Option(
            "-k",
            min=1,
            max=100,
            help="How many photos of each feature.",
            show_default="10; 8 with --all",
        ),
    ] = None,
    lowest: Annotated[
        bool, typer.Option("--lowest", help="Show the photos with the lowest values instead.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(readable=False, help="Write a picture, PNG; with --all a page, HTML."),
    ] = None,
    model: GalleryModelOption = None,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """Show the photos with the highest values of one feature of the vectors, or of each."""
    from deepfood.artifacts import check_can_write
    from deepfood.engine import engine_at
    from deepfood.errors import SettingError
    from deepfood.evaluate.thumbs import Thumbs
    from deepfood.photo import Limits

    if (feature is None) != every:
        raise SettingError("name one feature with --feature, or take --all of them, not both")
    if every and out is None and not as_json:
        raise SettingError("--all writes a page: name it with --out features.html")
    if out is not None:
        check_can_write(out)
    settings = load_settings(gallery=gallery, model=model, photos_root=photos_root)
    k = k or (_PAGE_K if every else 10)
    with contextlib.closing(engine_at(gallery, settings).open()[0]) as opened:
        pixels = _PAGE_PHOTO_PIXELS if every else _CELL_PIXELS
        thumbs = Thumbs(opened, Limits.of(settings), pixels)
        numbers = range(opened.manifest.dimension) if feature is None else [feature]
        quiet = as_json or not every
        ranked = _ranked(opened, numbers, k, thumbs if out else None, lowest=lowest, quiet=quiet)
        left_out = _write(out, opened, ranked, thumbs, every, lowest) if out else 0
    if as_json:
        rows = [one.as_json() for one in ranked]
        notes: dict[str, Any] = {"not_shown": thumbs.skipped, "left_out": left_out}
        print_json({"features": rows, **notes} if every else {**rows[0], **notes})
        return
    if not every:
        _print_photos(ranked[0])
    _print_notes(thumbs, left_out)
    if out:
        print(f"{out}: {counted(ranked, 'feature')}, {out.stat().st_size:,} bytes")


def _ranked(
    gallery: "SearchedGallery",
    numbers: Sequence[int],
    k: int,
    thumbs: "Thumbs | None",
    *,
    lowest: bool,
    quiet: bool,
) -> list["Feature"]:
    """The features with `k` photos each; with `thumbs`, only photos that can be shown."""
    from deepfood.errors import DatasetError
    from deepfood.evaluate.features import rank_features

    usable = thumbs.has if thumbs else lambda photo: True
    ranked = rank_features(gallery, numbers, k, lowest=lowest, usable=usable, quiet=quiet)
    if thumbs and not any(one.photos for one in ranked):
        first = thumbs.skipped[0]
        raise DatasetError(
            f"none of these photos can be shown; the first, {first['file']}: {first['reason']}"
            " (moved photos are found with --photos-root)"
        )
    return ranked


def _write(
    out: Path,
    gallery: "SearchedGallery",
    ranked: list["Feature"],
    thumbs: "Thumbs",
    every: bool,
    lowest: bool,
) -> int:
    """Write the page or the picture. Returns how many photos were left out."""
    from deepfood.artifacts import write_result
    from deepfood.evaluate.feature_page import feature_page

    if not every:
        write_result(out, _grid_of(ranked[0], thumbs, lowest))
        return 0
    page, left_out = feature_page(gallery, ranked, thumbs, lowest=lowest)
    write_result(out, page.encode())
    return left_out


def _print_photos(feature: "Feature") -> None:
    for row in feature.photos:
        what = " · ".join(part for part in (row.photo.name, row.photo.label) if part)
        print(f"{row.value:7.4f}  {row.photo.file}  {what}".rstrip())


def _print_notes(thumbs: "Thumbs", left_out: int) -> None:
    for one in thumbs.skipped[:_NAMED]:
        print(f"  not shown: {one['file']}: {one['reason']}")
    if len(thumbs.skipped) > _NAMED:
        print(f"  not shown: {len(thumbs.skipped) - _NAMED} more")
    if left_out:
        photos = counted(left_out, "photo")
        print(f"  {photos} left out to keep the page small: ask for a smaller -k")


@app.command(rich_help_panel=SEARCH)
def explain(
    gallery: SearchedGalleryArgument,
    photo: Annotated[
        Path | None,
        typer.Argument(metavar="PHOTO", readable=False, help="The photo that you searched with."),
    ] = None,
    photo_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="Instead of PHOTO, one of the gallery's photos.",
            autocompletion=complete_id,
        ),
    ] = None,
    hit: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The photo of the gallery to compare it with.",
            autocompletion=complete_id,
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of --hit, its place in the answer.", show_default="1"),
    ] = None,
    box: BoxOption = None,
    out: Annotated[
        Path | None, typer.Option(readable=False, help="Write a picture of both photos, PNG.")
    ] = None,
    model: GalleryModelOption = None,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """Show which regions make a photo and one of its hits look alike."""
    from deepfood.api import read_photo
    from deepfood.artifacts import check_can_write, write_result
    from deepfood.errors import QueryError, SettingError
    from deepfood.heatmap import draw_pair, scale_in_words
    from deepfood.photo_box import Box
    from deepfood.serve.question import SearchQuestion
    from deepfood.serve.service import open_service

    if (photo is None) == (photo_id is None):
        raise SettingError("give either a PHOTO or --id ID")
    if hit is not None and rank is not None:
        raise SettingError("name the photo to compare with by --hit or by --rank, not both")
    if out is None and not as_json:
        raise SettingError("name the picture to write with --out, or ask for --json")
    if out is not None:
        check_can_write(out)
    settings = load_settings(gallery=gallery, model=model, photos_root=photos_root)
    service = open_service(settings)
    limits = service.embedder.limits
    part = Box(*parse_box(box)) if box is not None else None
    if photo is not None:
        query, asked, file = read_photo(photo, limits), photo.name, str(photo)
        question = SearchQuestion(photos=(query,), k=rank or 1, box=part)
    else:
        known, query = service.photo(photo_id or "")
        asked, file = _called(known), known.file
        question = SearchQuestion(ids=(known.id,), k=rank or 1, box=part)
    if hit is None:
        hits = service.search(question).hits
        if len(hits) < question.k:
            raise QueryError(
                f"--rank {question.k}: the gallery has {counted(hits, 'photo')} to find"
            )
        hit = hits[-1].photo.id
    found, data = service.photo(hit)
    match = service.explainer.explain(query, data, part)
    name, preprocess = _called(found), service.embedder.preprocess
    if out:
        write_result(
            out, draw_pair(query, data, match, (asked, name), preprocess, limits, box=part)
        )
    service.close()
    if as_json:
        print_json(
            {
                "score": match.score,
                "strongest": match.strongest,
                "crop": preprocess.crop,
                "query": {
                    "file": file,
                    "seen": _seen(query, preprocess, limits, part),
                    "contributions": match.query.tolist(),
                },
                "hit": {
                    "id": found.id,
                    "file": found.file,
                    "label": found.label,
                    "name": found.name,
                    "seen": _seen(data, preprocess, limits),
                    "contributions": match.hit.tolist(),
                },
            }
        )
    else:
        print(f"{out}: {asked} and {name}, {scale_in_words(match)}")


def _seen(
    photo: bytes, preprocess: "Preprocess", limits: "Limits", box: "Box | None" = None
) -> dict[str, float]:
    """What the Model sees of a photo, as the API tells it."""
    from deepfood.photo import read_header

    about = read_header(photo, limits)
    shares = preprocess.visible_shares(about.width, about.height, box)
    return dict(zip(("x", "y", "width", "height"), shares, strict=True))


def _called(photo: "Photo") -> str:
    return photo.name or photo.label or photo.file


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
