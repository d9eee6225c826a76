"""`deepfood reembed`, `rollback` and `compact`: replace a gallery's generation while it is used."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfood.cli.adapt import print_compared
from deepfood.cli.app import (
    LOOK_AFTER,
    ChangedGalleryArgument,
    Json,
    PhotosRoot,
    app,
    print_json,
)
from deepfood.cli.release import print_latest
from deepfood.cli.tune import print_untuned
from deepfood.config import Settings, load_settings
from deepfood.counted import counted
from deepfood.errors import SettingError, nearest
from deepfood.place import Place
from deepfood.release.objects import parse_address
from deepfood.release.shelf import Shelf

if TYPE_CHECKING:
    from deepfood.evaluate.succession import Succession
    from deepfood.gallery.reports import RenewReport

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
        Path | None, typer.Option("--model", readable=False, help="The new Model: a folder.")
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Only compare how well the Models find labels; do not change the gallery.",
        ),
    ] = False,
    even_if_worse: Annotated[
        bool,
        typer.Option("--even-if-worse", help="Take the Model even if it is certainly worse."),
    ] = False,
    discard: Annotated[
        bool,
        typer.Option("--discard", help="Instead, delete vectors that were made and not taken."),
    ] = False,
    drop_unreadable: DropUnreadable = False,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """Give a gallery another Model, while it can still be searched and changed.

    Exit status 1, and the gallery keeps its Model, if the new one is certainly worse on the
    gallery's labels. Vectors that were made are kept: by `--compare`, by a refusal, or by a run
    that was interrupted, which the same command continues. A server does not compact the gallery
    while there are any.
    """
    from deepfood.embed import open_embedder
    from deepfood.engine import engine_at
    from deepfood.evaluate.succession import succeed
    from deepfood.serve.fit_plates import calibrate_plates

    if discard:
        given = {"--model": model is not None, "--compare": compare}
        if other := next((name for name, there in given.items() if there), None):
            raise SettingError(
                f"{gallery}: --discard makes no vectors, so that {other} does nothing: leave out "
                "one of them"
            )
        there = engine_at(gallery, load_settings()).discard_beside()
        if as_json:
            print_json({"gallery": str(gallery), "discarded": there})
        else:
            what = "the vectors of another Model are" if there else "there was nothing to be"
            print(f"{gallery}: {what} deleted")
        return
    if model is None:
        raise SettingError(f"{gallery}: give the new Model with --model")
    settings = load_settings(model=model, photos_root=photos_root)
    embedder = open_embedder(settings)
    found = succeed(
        gallery,
        embedder,
        settings,
        only_judge=compare,
        even_if_worse=even_if_worse,
        drop_unreadable=drop_unreadable,
        quiet=as_json,
    )
    done = found.report
    if done.swapped:
        engine = engine_at(gallery, settings)
        calibrate_plates(engine, done.manifest.calibration, settings, quiet=as_json)
    known = done.manifest.model_fingerprint == embedder.model.fingerprint and not done.swapped
    if as_json:
        about = {} if known else {"compared": _compared(found), "refused": found.refused}
        print_json({**renewed_facts(gallery, done), **about})
    elif known:
        print(f"{gallery} is up to date: it was made with this Model")
    else:
        _print_compared(found)
        print_renewed(gallery, done, "embedded")
        if done.swapped:
            print_untuned(gallery, done)
    if found.refused:
        print(f"deepfood: {found.refused}", file=sys.stderr)
        raise typer.Exit(1)


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
    """Undo the last `build`, `reembed` or `learn`; changes made by hand since are kept.

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
        print_json(renewed_facts(gallery, done))
    else:
        print_renewed(gallery, done, "embedded")


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
        print_json(renewed_facts(gallery, done))
    else:
        print_renewed(gallery, done, "copied")


def _compared(found: "Succession") -> dict[str, Any]:
    judged = found.judged
    if judged is None:
        return {"photos": 0, "notes": [found.unjudged], "figures": {}, "lost": []}
    return {
        "photos": judged.queries,
        "notes": list(judged.notes),
        "figures": {name: asdict(one) for name, one in judged.judgement.figures.items()},
        "lost": [asdict(one) for one in judged.judgement.lost],
    }


def _print_compared(found: "Succession") -> None:
    judged = found.judged
    if judged is None:
        print(f"not compared: {found.unjudged}")
        return
    print(f"before: {judged.before} (the gallery's)   after: {judged.after}")
    for note in judged.notes:
        print(f"note: {note}")
    print_compared(judged.judgement.figures, judged.queries)
    if judged.judgement.lost:
        print(judged.judgement.losses())


def renewed_facts(gallery: Place, done: "RenewReport[Any]") -> dict[str, Any]:
    """What a change of generation did, for JSON."""
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


def print_renewed(gallery: Place, done: "RenewReport[Any]", what: str) -> None:
    """What a change of generation did; `what` happened to the vectors."""
    about = done.manifest
    kept = "" if done.swapped else "; nothing else changed"
    print(
        f"{gallery}: {counted(done.count, 'photo')}, {done.made} {what} now, {done.seconds:.1f} "
        f"s{kept}; generation {about.generation} of the Model {about.model_name} is the gallery"
    )
    if about.uncalibrated and done.swapped:
        print(f"answers without probabilities: {about.uncalibrated}")
    if done.lost:
        print(f"{counted(done.lost, 'photo has', 'photos have')} no vector:")
        for photo, reason in done.lost[:_SHOWN]:
            print(f"  {photo.file}: {reason}")
        if len(done.lost) > _SHOWN:
            print(f"  and {len(done.lost) - _SHOWN} more")
