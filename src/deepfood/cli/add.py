"""`deepfood add`, `remove` and `update`: a gallery that changes while it is searched."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import deepfood
from deepfood.cli.app import (
    CHANGE,
    WAIT_S,
    ChangedGalleryArgument,
    GalleryModelOption,
    Json,
    app,
    print_json,
    print_passed_over,
    print_rows_without_photo,
)
from deepfood.cli.complete import complete_label, complete_photo
from deepfood.config import load_settings
from deepfood.counted import counted
from deepfood.place import Place

LabelOption = Annotated[
    str | None,
    typer.Option(
        "--label", help='Label of the photos; "" for none.', autocompletion=complete_label
    ),
]
NameOption = Annotated[str | None, typer.Option("--name", help='Name of the photos; "" for none.')]
Attributes = Annotated[
    str | None,
    typer.Option(metavar="JSON", help='Attributes: {"price": 4}. A null takes a value away.'),
]


@app.command(rich_help_panel=CHANGE)
def add(
    gallery: ChangedGalleryArgument,
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTOS", readable=False, help="Photos, folders or CSVs."),
    ],
    label: LabelOption = None,
    name: NameOption = None,
    attributes: Attributes = None,
    model: GalleryModelOption = None,
    as_json: Json = False,
) -> None:
    """Add photos to a gallery; they are found at once, without a rebuild.

    Labels and names come from the options, else from the folder or CSV, as in a build. Further
    columns of a CSV become attributes. Exit status 1 if some files could not be used.
    """
    values = _attributes(attributes)
    settings = load_settings(model=model)
    done = deepfood.add_photos(
        gallery,
        photos,
        settings,
        label=label,
        name=name,
        attributes=values,
        wait_s=WAIT_S,
        quiet=as_json,
    )
    if as_json:
        print_json(
            {
                "gallery": str(gallery),
                "photos": [
                    {"id": photo.id, "file": photo.file, "label": photo.label, "done": outcome}
                    for photo, outcome in done.photos
                ],
                "attributes": done.attributes,
                "rows_without_photo": done.rows_without_photo,
                "left_out": [{"file": one.file, "reason": one.reason} for one in done.left_out],
                "passed_over": [asdict(one) for one in done.passed_over],
                "seconds": round(done.seconds, 3),
            }
        )
    else:
        counts = Counter(outcome for _, outcome in done.photos)
        parts = [f"{counts[one]} {one}" for one in ("added", "updated", "unchanged") if counts[one]]
        print(f"{gallery}: {', '.join(parts) or 'nothing added'}, {done.seconds:.1f} s")
        if done.attributes:
            print(f"attributes of the tables: {', '.join(done.attributes)}")
        print_rows_without_photo(done.rows_without_photo)
        if done.left_out:
            print(f"{counted(done.left_out, 'file is', 'files are')} left out:")
            for one in done.left_out:
                print(f"  {one.file}: {one.reason}")
        print_passed_over(done.passed_over)
    raise typer.Exit(1 if done.left_out else 0)


@app.command(rich_help_panel=CHANGE)
def remove(
    gallery: ChangedGalleryArgument,
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="ID", help="Ids or file names of photos.", autocompletion=complete_photo
        ),
    ],
    as_json: Json = False,
) -> None:
    """Remove photos from a gallery, without a rebuild.

    If one of them is not in the gallery, none is removed. Copies that `deepfood add` made are
    deleted; your own files are not touched.
    """
    gone = deepfood.remove_photos(gallery, photos, load_settings(), wait_s=WAIT_S)
    if as_json:
        print_json({"gallery": str(gallery), "removed": [_facts(photo) for photo in gone]})
    else:
        print(f"{gallery}: {counted(gone, 'photo')} removed")


@app.command(rich_help_panel=CHANGE)
def update(
    gallery: ChangedGalleryArgument,
    photo: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="The photo's id or file name.", autocompletion=complete_photo
        ),
    ] = None,
    label: LabelOption = None,
    name: NameOption = None,
    attributes: Attributes = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="TABLE",
            readable=False,
            help="Set the labels of a table with columns id and label, such as deepfood labels "
            "and deepfood label write; other columns are passed over.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Change the label, name or attributes of a photo, or the labels of a table.

    Later builds keep the change.
    """
    from deepfood.errors import SettingError

    if (photo is None) == (table is None):
        raise SettingError("give the ID of a photo, or a table of labels with --import")
    if table is not None:
        if not (label is name is attributes is None):
            raise SettingError("--import goes with no --label, --name and --attributes")
        _set_labels(gallery, table, as_json=as_json)
        return
    assert photo is not None
    if label is None and name is None and attributes is None:
        raise SettingError("nothing to change: give --label, --name or --attributes")
    values = _attributes(attributes)
    changed = deepfood.update_photo(
        gallery,
        photo,
        load_settings(),
        label=label,
        name=name,
        attributes=values,
        wait_s=WAIT_S,
    )
    if as_json:
        print_json({"gallery": str(gallery), **_facts(changed)})
    else:
        print(f"{changed.id}  {' · '.join(part for part in (changed.name, changed.label) if part)}")


def _set_labels(gallery: Place, table: Path, *, as_json: bool) -> None:
    labels = deepfood.set_labels(gallery, table, load_settings(), wait_s=WAIT_S)
    if as_json:
        print_json({"gallery": str(gallery), "labels": labels})
    else:
        print(f"{gallery}: {counted(labels, 'label')} set")


def _attributes(text: str | None) -> dict[str, Any]:
    from deepfood.errors import SettingError

    try:
        values = json.loads(text or "{}")
    except ValueError as error:
        raise SettingError(f"--attributes {text}: this is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise SettingError(f'--attributes {text}: give an object, {{"price": 4}}')
    return values


def _facts(photo: Any) -> dict[str, str | None]:
    return {"id": photo.id, "file": photo.file, "label": photo.label, "name": photo.name}
