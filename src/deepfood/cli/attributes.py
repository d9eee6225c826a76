"""`deepfood attributes` and `dedupe`: what is known of photos, and which are there twice."""

import contextlib
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from deepfood.cli.app import (
    ChangedGalleryArgument,
    Json,
    ModelOption,
    PhotosRoot,
    SearchedGalleryArgument,
    app,
    count,
    print_json,
)
from deepfood.config import load_settings

_CELL_PIXELS = 220
#: The most photos on the picture.
_MOST_CELLS = 200


@app.command()
def attributes(
    gallery: ChangedGalleryArgument,
    table: Annotated[
        Path | None, typer.Argument(metavar="[TABLE]", help="A CSV, or JSON lines (.jsonl).")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="NAME=text, number, boolean or list; else as the data shows."),
    ] = None,
    safety: Annotated[
        list[str] | None, typer.Option(help="An attribute that must be known to pass a filter.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring in attributes of photos from a table, or list those that there are."""
    from deepfood.errors import SettingError
    from deepfood.galleries import import_attributes, known_counts, open_to_read
    from deepfood.gallery.values import Type

    given: dict[str, Any] = {}
    for pair in types or []:
        name, _, type_ = pair.partition("=")
        if type_ not in get_args(Type):
            raise SettingError(f"--type {pair}: write NAME=text, number, boolean or list")
        given[name] = type_
    if table is None and (types or safety):
        raise SettingError("--type and --safety go with a TABLE to bring in")
    report, settings = None, load_settings()
    if table:
        report = import_attributes(gallery, table, given, frozenset(safety or []), settings)
    with contextlib.closing(open_to_read(gallery, settings)) as opened:
        declared, known = opened.columns(), known_counts(opened)
    if as_json:
        listed = [
            {"name": one.name, "type": one.type, "safety": one.safety, "known": known[one.name]}
            for one in declared
        ]
        changed = (
            {"photos": len(report.photos), "passed_over": report.passed_over} if report else {}
        )
        print_json({"attributes": listed, **changed})
        return
    if report:
        print(
            f"{table}: {count(report.types, 'attribute', 'attributes')} of "
            f"{count(report.photos, 'photo', 'photos')}"
        )
    for one in declared:
        safe = "  never passes a filter where unknown" if one.safety else ""
        print(f"{one.name:17}  {one.type:8} known of {known[one.name]:,} photos{safe}")


@app.command()
def dedupe(
    gallery: SearchedGalleryArgument,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Cosine similarity of near-duplicates.", show_default="0.9"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture of them to write, PNG.")] = None,
    model: ModelOption = None,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """List groups of photos that are nearly the same picture; the largest of each comes first."""
    from deepfood.galleries import compared, open_gallery
    from deepfood.gallery.duplicates import duplicate_groups
    from deepfood.gallery.queries import NEAR_DUPLICATE
    from deepfood.progress import bar

    settings = load_settings(gallery=gallery, model=model, photos_root=photos_root)
    limit = NEAR_DUPLICATE if threshold is None else threshold
    with contextlib.closing(open_gallery(gallery, settings)[0]) as opened:
        every, index = compared(opened)
        with bar("Comparing", "photo", len(every[0]), quiet=as_json) as progress:
            groups = duplicate_groups(index, every, limit, progress.update)
        if out and groups:
            _draw(opened, groups, out, settings)
    if as_json:
        print_json(
            {
                "threshold": limit,
                "groups": [
                    [
                        {
                            "id": photo.id,
                            "file": photo.file,
                            "width": photo.width,
                            "height": photo.height,
                            "score": score,
                        }
                        for photo, score in group
                    ]
                    for group in groups
                ],
            }
        )
        return
    for number, group in enumerate(groups, 1):
        print(f"group {number}")
        for photo, score in group:
            print(f"  {score:6.3f}  {photo.width} x {photo.height}  {photo.file}")
    print(f"{gallery}: {count(groups, 'group', 'groups')} of near-duplicates")


def _draw(opened: Any, groups: list[Any], out: Path, settings: Any) -> None:
    from deepfood.artifacts import write_result
    from deepfood.evaluate.grid import Cell, draw_grid
    from deepfood.evaluate.thumbs import Thumbs
    from deepfood.photo import Limits

    limits = Limits.of(settings)
    thumbs = Thumbs(opened, limits, _CELL_PIXELS)
    cells = [
        Cell(thumbs.jpeg(photo), (f"{number} · {score:.3f}", Path(photo.file).name))
        for number, members in enumerate(groups, 1)
        for photo, score in members
        if thumbs.has(photo)
    ][:_MOST_CELLS]
    if cells:
        write_result(out, draw_grid("Near-duplicates", cells, _CELL_PIXELS))
