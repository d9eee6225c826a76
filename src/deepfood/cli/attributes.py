"""`deepfood attributes` and `dedupe`: the attributes of photos, and near-duplicates."""

import contextlib
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from deepfood.cli.app import (
    CHANGE,
    SEARCH,
    WAIT_S,
    ChangedGalleryArgument,
    GalleryModelOption,
    Json,
    PhotosRoot,
    SearchedGalleryArgument,
    app,
    print_json,
    print_rows_without_photo,
)
from deepfood.cli.complete import complete_attribute
from deepfood.config import load_settings
from deepfood.counted import counted

_CELL_PIXELS = 220
#: The most photos in the picture.
_MOST_CELLS = 200


@app.command(rich_help_panel=CHANGE)
def attributes(
    gallery: ChangedGalleryArgument,
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="TABLE", readable=False, help="A table to import: CSV, or JSON lines (.jsonl)."
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="NAME=TYPE",
            help="Type of a column of TABLE: text, number, boolean or list. Repeatable.",
            show_default="inferred from the values",
        ),
    ] = None,
    safety: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Treat an attribute as one of safety: a photo passes a filter on it only if its "
            "value is known. Repeatable.",
            autocompletion=complete_attribute,
        ),
    ] = None,
    declare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TYPE", help="Declare an attribute, with types as for --type. Repeatable."
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Drop an attribute that no photo has a value of. Repeatable.",
            autocompletion=complete_attribute,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List a gallery's attributes; import them from a table; declare or drop one."""
    from deepfood.engine import engine_at
    from deepfood.errors import SettingError

    if bool(table) + bool(declare) + bool(drop) > 1:
        raise SettingError("give a TABLE, --declare or --drop: one at a time")
    if types and table is None:
        raise SettingError("--type needs a TABLE to import")
    if safety and table is None and not declare:
        raise SettingError("--safety needs a TABLE to import, or --declare")
    report, engine = None, engine_at(gallery, load_settings())
    given = _typed("--type", types)
    columns = _declarations(_typed("--declare", declare), safety or [])
    if table:
        report = engine.import_attributes(table, given, frozenset(safety or []))
    if columns or drop:
        with engine.writer(wait_s=WAIT_S) as writer:
            if columns:
                writer.declare(columns)
            for name in drop or []:
                writer.drop_attribute(name)
    with contextlib.closing(engine.open_to_read()) as opened:
        declared, known = opened.columns(), opened.known_counts()
    if as_json:
        listed = [
            {"name": one.name, "type": one.type, "safety": one.safety, "known": known[one.name]}
            for one in declared
        ]
        changed = (
            {
                "photos": len(report.photos),
                "passed_over": report.passed_over,
                "rows_without_photo": report.rows_without_photo,
            }
            if report
            else {}
        )
        print_json({"attributes": listed, **changed})
        return
    if report:
        print(
            f"{table}: {counted(report.declared, 'attribute')} of {counted(report.photos, 'photo')}"
        )
        print_rows_without_photo(report.rows_without_photo)
    for one in declared:
        safe = "  never passes a filter where unknown" if one.safety else ""
        photos = counted(known[one.name], "photo")
        print(f"{one.name:17}  {one.type:8} known of {photos}{safe}")


def _typed(option: str, pairs: list[str] | None) -> dict[str, Any]:
    """The type of each name. Raises SettingError."""
    from deepfood.errors import SettingError
    from deepfood.gallery.values import Type

    given: dict[str, Any] = {}
    for pair in pairs or []:
        name, _, type_ = pair.partition("=")
        if type_ not in get_args(Type):
            raise SettingError(f"{option} {pair}: write NAME=text, number, boolean or list")
        given[name] = type_
    return given


def _declarations(types: dict[str, Any], safety: list[str]) -> dict[str, Any]:
    """The definitions in `--declare` and `--safety`. Raises SettingError."""
    from deepfood.errors import SettingError
    from deepfood.gallery.declared import Definition
    from deepfood.gallery.values import attribute_name

    safe = set(map(attribute_name, safety))
    columns = {
        attribute_name(name): Definition(type_, attribute_name(name) in safe)
        for name, type_ in types.items()
    }
    if columns and safe - columns.keys():
        raise SettingError(f"--safety {min(safe - columns.keys())}: --declare it as well")
    return columns


@app.command(rich_help_panel=SEARCH)
def dedupe(
    gallery: SearchedGalleryArgument,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="Cosine similarity from which two photos are near-duplicates.",
            show_default="0.9",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(readable=False, help="Write a picture of the groups, PNG.")
    ] = None,
    model: GalleryModelOption = None,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """List groups of photos that are nearly the same picture, the largest picture first."""
    from deepfood.engine import engine_at
    from deepfood.gallery.near_duplicates import duplicate_groups
    from deepfood.gallery.queries import NEAR_DUPLICATE
    from deepfood.progress import bar

    settings = load_settings(gallery=gallery, model=model, photos_root=photos_root)
    limit = NEAR_DUPLICATE if threshold is None else threshold
    with contextlib.closing(engine_at(gallery, settings).open()[0]) as opened:
        every, index = opened.compared()
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
    print(f"{gallery}: {counted(groups, 'group')} of near-duplicates")


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
