"""`deepfood labels`: what is worth a look in a gallery's labels."""

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import deepfood
from deepfood.cli.app import (
    LOOK_AFTER,
    Json,
    PhotosRoot,
    SearchedGalleryArgument,
    app,
    print_json,
)
from deepfood.config import Settings, load_settings
from deepfood.counted import counted
from deepfood.place import Place

if TYPE_CHECKING:
    from deepfood.gallery.curation import Curation
    from deepfood.gallery.photo import Photo

#: Entries of a list that are printed, and shown in a report.
_PRINTED, _SHOWN = 10, 100
#: Columns of a label in print; a longer one is cut.
_WIDTH = 24


@app.command(rich_help_panel=LOOK_AFTER)
def labels(
    gallery: SearchedGalleryArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Write a table, CSV, with the suggested labels. deepfood update --import sets "
            "what you leave in it.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(readable=False, help="Write a page with the photos to this folder, as HTML."),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many of each list at most.",
            show_default=f"{_PRINTED} printed, {_SHOWN} in a report, all in --json and --out",
        ),
    ] = None,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """Find labels that may be wrong, that overlap, and photos worth labelling next.

    Each photo's label is compared with the labels of the photos most like it (confident learning).
    Outliers and near-copies with different labels are listed too. Nothing is changed.
    """
    from deepfood.artifacts import check_can_write, write_result
    from deepfood.evaluate.labels_page import prepare_page
    from deepfood.gallery.label_table import curation_csv

    if out is not None:
        check_can_write(out)
    page = None if report is None else prepare_page(report)
    settings = load_settings(photos_root=photos_root)
    found = deepfood.check_labels(gallery, settings, quiet=as_json)
    if out is not None:
        write_result(out, curation_csv(found, most))
    if page is not None:
        _write_page(gallery, found, page, most or _SHOWN, settings, quiet=as_json)
    if as_json:
        print_json({"gallery": str(gallery), **_facts(found, most)})
        return
    _print(gallery, found, most or _PRINTED)
    for path in (out, page):
        if path is not None:
            print(f"\n{path}: {path.stat().st_size:,} bytes")


def _write_page(
    gallery: Place, found: "Curation", page: Path, most: int, settings: Settings, *, quiet: bool
) -> None:
    from deepfood.artifacts import write_result
    from deepfood.engine import engine_at
    from deepfood.evaluate.labels_page import labels_page

    with contextlib.closing(engine_at(gallery, settings).open_to_read()) as opened:
        html = labels_page(opened, found, most, settings, quiet=quiet)
    write_result(page, html.encode("utf-8", "backslashreplace"))


def _print(gallery: Place, found: "Curation", most: int) -> None:
    print(
        f"{gallery}: {counted(found.photos, 'photo')}, {found.labelled:,} of them with one of "
        f"{counted(found.labels, 'label')}; "
        f"{counted(found.judged, 'label was', 'labels were')} judged"
    )
    for note in found.notes:
        print(f"note: {note}")
    _print_list(
        "label may be wrong",
        "labels may be wrong",
        [
            f"{_cut(one.photo.label)}  {_cut(one.suggested)}  "
            f"{f'{one.agreeing} of {one.voters}':8}  {one.photo.file}"
            for one in found.doubtful[:most]
        ],
        len(found.doubtful),
        f"{'label':{_WIDTH}}  {'neighbours say':{_WIDTH}}  {'votes':8}  photo",
    )
    _print_list(
        "pair of labels overlaps",
        "pairs of labels overlap",
        [
            f"{_cut(one.labels[0])}  {_cut(one.labels[1])}  {one.photos:6,}  {one.share:6.1%}"
            for one in found.overlaps[:most]
        ],
        len(found.overlaps),
        f"{'label':{_WIDTH}}  {'and':{_WIDTH}}  photos   share",
    )
    _print_list(
        "pair of near-copies has different labels",
        "pairs of near-copies have different labels",
        [
            f"{one.similarity:.3f}  {_cut(first.label)}  {_cut(second.label)}  "
            f"{first.file}  {second.file}"
            for one in found.conflicts[:most]
            for first, second in [one.photos]
        ],
        len(found.conflicts),
        f"alike  {'label':{_WIDTH}}  {'and':{_WIDTH}}  photos",
    )
    _print_list(
        "photo is far from all others",
        "photos are far from all others",
        [
            f"{one.similarity:.3f}  {_cut(one.photo.label)}  {one.photo.file}"
            for one in found.outliers[:most]
        ],
        len(found.outliers),
        f"alike  {'label':{_WIDTH}}  photo",
    )
    _print_list(
        "photo without a label, worth one",
        "photos without a label, the ones most worth one first",
        [f"{_cut(one.guess)}  {one.photo.file}" for one in found.to_label[:most]],
        len(found.to_label),
        f"{'perhaps':{_WIDTH}}  photo",
    )


def _print_list(one: str, many: str, lines: list[str], total: int, heading: str) -> None:
    if lines:
        print(
            f"\n{counted(total, one, many)}",
            f"  {heading}",
            *(f"  {line}" for line in lines),
            sep="\n",
        )


def _cut(label: str | None) -> str:
    text = label or "-"
    return f"{text if len(text) <= _WIDTH else text[: _WIDTH - 1] + '…':{_WIDTH}}"


def _facts(found: "Curation", most: int | None) -> dict[str, Any]:
    """The report as JSON; a photo is its id, file, label and name."""
    counts = ("photos", "labelled", "labels", "judged", "copies_from")
    lists = {
        name: [
            {key: _said(value) for key, value in vars(one).items()}
            for one in getattr(found, name)[:most]
        ]
        for name in ("doubtful", "overlaps", "conflicts", "outliers", "to_label")
    }
    return {
        **{name: getattr(found, name) for name in counts},
        **{f"{name}_total": len(getattr(found, name)) for name in lists},
        **lists,
        "notes": [asdict(note) for note in found.notes],
    }


def _said(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_said(one) for one in value]
    return _photo(value) if hasattr(value, "sha256") else value


def _photo(photo: "Photo") -> dict[str, str | None]:
    return {"id": photo.id, "file": photo.file, "label": photo.label, "name": photo.name}
