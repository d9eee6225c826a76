"""`deepfood reembed`, `rollback` and `compact`: replace a gallery's generation while it is used."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfood.cli.app import (
    LOOK_AFTER,
    ChangedGalleryArgument,
    Json,
    PhotosRoot,
    app,
    count,
    print_json,
)
from deepfood.cli.release import print_latest
from deepfood.config import Settings, load_settings
from deepfood.errors import SettingError, nearest
from deepfood.place import Place
from deepfood.release.objects import parse_address
from deepfood.release.shelf import Shelf

if TYPE_CHECKING:
    from deepfood.gallery.reports import RenewReport
    from deepfood.model import Model

DropUnreadable = Annotated[
    bool,
    typer.Option("--drop-unreadable", help="Drop photos whose files cannot be read any more."),
]

#: How many lost photos are listed.
_SHOWN = 20


@app.command(rich_help_panel=LOOK_AFTER)
def reembed(
    gallery: ChangedGalleryArgument,
    model: Annotated[
        Path, typer.Option("--model", readable=False, help="The new Model: a folder.")
    ],
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Only compare how well the Models find labels; do not change the gallery.",
        ),
    ] = False,
    drop_unreadable: DropUnreadable = False,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """Give a gallery another Model, while it can still be searched and changed.

    Vectors that `--compare` made are used by the same command without it. If interrupted, run it
    again to continue.
    """
    from deepfood.embed import open_embedder
    from deepfood.engine import engine_at
    from deepfood.serve.fit_plates import calibrate_plates

    settings = load_settings(model=model, photos_root=photos_root)
    embedder = open_embedder(settings)
    engine = engine_at(gallery, settings)
    done = engine.reembed(
        embedder,
        drop_unreadable=drop_unreadable,
        swap=not compare,
        quiet=as_json,
    )
    if done.swapped:
        calibrate_plates(engine, done.manifest.calibration, settings, quiet=as_json)
    about: dict[str, Any] = {}
    known = done.manifest.model_fingerprint == embedder.model.fingerprint and not done.swapped
    if compare and not known:
        about["compared"] = _compared(gallery, embedder.model, settings, quiet=as_json)
    if as_json:
        print_json({**_facts(gallery, done), **about})
        return
    if known:
        print(f"{gallery} is up to date: it was made with this Model")
    else:
        _print_report(gallery, done, "embedded")


@app.command(rich_help_panel=LOOK_AFTER)
def rollback(
    gallery: Annotated[
        Place,
        typer.Argument(
            metavar="GALLERY",
            parser=Place.parse,
            help="A gallery: a folder, s3://bucket/prefix or milvus://…",
        ),
    ],
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Instead, delete the previous generation to free its space."),
    ] = False,
    drop_unreadable: DropUnreadable = False,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """Undo the last `build` or `reembed`; changes made by hand since are kept.

    In a bucket, make the previous release the latest again. A second rollback goes forward
    again.
    """
    from deepfood.engine import engine_at

    settings = load_settings(photos_root=photos_root)
    if gallery.kind == "release":
        _rollback_releases(gallery.text, settings, forget=forget, as_json=as_json)
        return
    if gallery.kind == "folder" and not Path(gallery.text).exists():
        raise SettingError(f"there is no {gallery}: {nearest(Path(gallery.text))}")
    engine = engine_at(gallery, settings)
    if forget:
        engine.forget_before()
        if as_json:
            print_json({"gallery": str(gallery), "forgotten": True})
        else:
            print(f"{gallery}: the generation before is deleted")
        return
    done = engine.rollback(drop_unreadable=drop_unreadable, quiet=as_json)
    if as_json:
        print_json(_facts(gallery, done))
    else:
        _print_report(gallery, done, "embedded")


def _rollback_releases(address: str, settings: Settings, *, forget: bool, as_json: bool) -> None:
    if forget:
        raise SettingError(f"{address}: deepfood prune deletes releases, not --forget")
    prefix, name = parse_address(address)
    if name is not None:
        raise SettingError(
            f"{address}: deepfood promote {address} makes that the latest; rollback takes "
            f"{prefix} alone, and goes back to what was the latest before"
        )
    print_latest(address, Shelf.open(address, settings).rollback(), as_json=as_json)


@app.command(rich_help_panel=LOOK_AFTER)
def compact(gallery: ChangedGalleryArgument, as_json: Json = False) -> None:
    """Free the space of removed photos, while the gallery can be searched and changed."""
    from deepfood.engine import engine_at

    done = engine_at(gallery, load_settings()).compact(quiet=as_json)
    if as_json:
        print_json(_facts(gallery, done))
    else:
        _print_report(gallery, done, "copied")


def _compared(gallery: Place, model: "Model", settings: Settings, *, quiet: bool) -> dict[str, Any]:
    from deepfood.errors import DatasetError
    from deepfood.evaluate.succession import compare_successor

    try:
        found = compare_successor(gallery, model, settings, k=9, seed=0)
    except DatasetError as error:  # the vectors are kept all the same
        if not quiet:
            print(f"not compared: {error}")
        return {"photos": 0, "notes": [], "verdict": str(error), "metrics": {}}
    notes = found.first.trial.notes
    if not quiet:
        name = model.manifest.name
        print(f"A: {found.first.model} (the gallery's)   B: {name}   {found.first.judged} photos")
        for note in notes:
            print(f"note: {note}")
        print(found.verdict())
    return {
        "photos": found.first.judged,
        "notes": list(notes),
        "verdict": found.verdict(),
        "metrics": {
            metric: {
                "first": one.first,
                "second": one.second,
                "difference": one.by.value,
                "low": one.by.low,
                "high": one.by.high,
                "p": one.p,
            }
            for metric, one in found.differences.items()
        },
    }


def _facts(gallery: Place, done: "RenewReport[Any]") -> dict[str, Any]:
    return {
        "gallery": str(gallery),
        "swapped": done.swapped,
        "generation": done.manifest.generation,
        "model": done.manifest.model_name,
        "photos": done.count,
        "made": done.made,
        "lost": [{"id": one.id, "file": one.file, "reason": why} for one, why in done.lost],
        "seconds": round(done.seconds, 3),
    }


def _print_report(gallery: Place, done: "RenewReport[Any]", what: str) -> None:
    about = done.manifest
    kept = "" if done.swapped else "; nothing else changed"
    print(
        f"{gallery}: {done.count} photos, {done.made} {what} now, {done.seconds:.1f} s{kept}; "
        f"generation {about.generation} of the Model {about.model_name} is the gallery"
    )
    if about.uncalibrated and done.swapped:
        print(f"answers without probabilities: {about.uncalibrated}")
    if done.lost:
        print(f"{count(done.lost, 'photo has', 'photos have')} no vector:")
        for photo, reason in done.lost[:_SHOWN]:
            print(f"  {photo.file}: {reason}")
        if len(done.lost) > _SHOWN:
            print(f"  and {len(done.lost) - _SHOWN} more")
