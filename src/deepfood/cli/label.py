"""`deepfood label`: guess the labels of photos from a list of names."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import deepfood
from deepfood.cli.app import (
    CHANGE,
    GalleryModelOption,
    Json,
    SearchedGalleryArgument,
    app,
    print_json,
)
from deepfood.cli.complete import complete_id
from deepfood.cli.lines import read_lines
from deepfood.config import Settings, load_settings
from deepfood.counted import counted
from deepfood.place import Place

if TYPE_CHECKING:
    from deepfood.gallery.zero_shot import LabelAnswer

_Photos = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PHOTO",
        readable=False,
        help="Photos to guess the labels of.",
        show_default="the gallery's photos without a label",
    ),
]
_Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        metavar="ID",
        help="Guess for a photo of the gallery. Repeatable.",
        autocompletion=complete_id,
    ),
]
_Names = Annotated[
    Path | None,
    typer.Option(metavar="FILE", readable=False, help="The names to choose from, one a line."),
]
_Template = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="What the Model is asked with: each name takes the place of {}.",
        show_default="a photo of {}",
    ),
]
_Out = Annotated[
    Path | None, typer.Option(readable=False, help="Write the guesses to a table, CSV.")
]


@app.command(rich_help_panel=CHANGE)
def label(
    gallery: SearchedGalleryArgument,
    photos: _Photos = None,
    ids: _Ids = None,
    names: _Names = None,
    template: _Template = None,
    out: _Out = None,
    model: GalleryModelOption = None,
    as_json: Json = False,
) -> None:
    """Guess which of some names photos show, by a Model with a text tower.

    No labelled photo is needed. With 50 photos whose label is one of the names, the guesses have
    probabilities, and `none` is answered for a photo that shows none of them.
    """
    from deepfood.errors import SettingError

    if names is None:
        raise SettingError("give the names to choose from with --names")
    settings = load_settings(model=model)
    _guess(gallery, photos or [], ids or [], names, template, out, settings, as_json=as_json)


def _guess(
    gallery: Place,
    photos: list[Path],
    ids: list[str],
    names: Path,
    template: str | None,
    out: Path | None,
    settings: Settings,
    *,
    as_json: bool,
) -> None:
    from deepfood.artifacts import check_can_write, write_result
    from deepfood.errors import SettingError
    from deepfood.gallery.label_table import labels_csv
    from deepfood.gallery.zero_shot import TEMPLATE

    if out is not None:
        check_can_write(out)
        if photos:
            raise SettingError("--out lists photos of the gallery: name none of your own")
    chosen, template = read_lines("--names", names), template or TEMPLATE
    with deepfood.open_gallery(gallery, settings) as opened:
        asked: list[tuple[str, LabelAnswer]] = []
        of_gallery = []
        if photos or ids:
            for path in photos:
                asked.append((str(path), opened.guess_label(path, names=chosen, template=template)))
            for one in ids:
                answer = opened.guess_label(id=one, names=chosen, template=template)
                of_gallery.append((opened.photo(one), answer))
        else:
            of_gallery = list(opened.guess_labels(chosen, template=template, quiet=as_json))
        asked += [(opened.where(photo), answer) for photo, answer in of_gallery]
    if out is not None:
        write_result(out, labels_csv(of_gallery))
    if as_json:
        known = [None] * len(photos) + [photo.id for photo, _ in of_gallery]
        print_json(_as_json(asked, known))
        return
    if out is None:
        for file, answer in asked:
            print(_line(file, answer))
    _print_summary(asked, out)


def _line(file: str, answer: "LabelAnswer") -> str:
    best = answer.guesses[0]
    if answer.verdict is None:
        return f"{best.score:6.3f}         {best.label}  {file}"
    assert best.probability is not None
    name = f"none of these; if any, {best.label}" if answer.verdict == "none" else best.label
    return f"{best.probability:6.3f}  {answer.verdict:5}  {name}  {file}"


def _print_summary(asked: list[tuple[str, "LabelAnswer"]], out: Path | None) -> None:
    where = f"{out}: " if out else ""
    print(f"{where}{counted(asked, 'photo')}")
    if not asked:
        return
    first = asked[0][1]
    if first.calibration:
        fitted = first.calibration
        print(
            f"calibrated on {counted(fitted.photos, 'labelled photo')}: {fitted.accuracy:.1%} get "
            f"their label, calibration error {fitted.ece:.3f}"
        )
    for note in first.notes:
        print(f"note: {note}")


def _as_json(asked: list[tuple[str, "LabelAnswer"]], ids: list[str | None]) -> dict[str, Any]:
    first = asked[0][1] if asked else None
    photos = [
        {
            "id": photo_id,
            "file": file,
            "verdict": answer.verdict,
            "in_names": answer.in_names,
            "guesses": [asdict(one) for one in answer.guesses],
        }
        for photo_id, (file, answer) in zip(ids, asked, strict=True)
    ]
    return {
        "photos": photos,
        "calibration": first.calibration.quality if first and first.calibration else None,
        "notes": [asdict(one) for one in first.notes] if first else [],
    }
