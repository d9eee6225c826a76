"""`deepfood build`: build a gallery from photos, and report the result."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import deepfood
from deepfood.cli.app import (
    START,
    BuildModelOption,
    Json,
    PhotosArgument,
    app,
    print_json,
    print_passed_over,
    print_rows_without_photo,
)
from deepfood.cli.tune import print_untuned
from deepfood.config import Settings, load_settings
from deepfood.counted import counted

if TYPE_CHECKING:
    from deepfood.data.photos import PhotoSource

IndexOption = Annotated[
    str | None,
    typer.Option("--index", help="Kind of index: exact, annoy, hnsw or auto.", show_default="auto"),
]

#: How many skipped files are listed.
_SHOWN = 20


@app.command(rich_help_panel=START)
def build(
    photos: PhotosArgument,
    out: Annotated[
        str,
        typer.Option(
            "--out", help="Where to make the gallery: a folder, or milvus://host:port/name."
        ),
    ],
    model: BuildModelOption = None,
    index: IndexOption = None,
    annoy_trees: Annotated[
        int | None, typer.Option(help="Number of trees of an annoy index.")
    ] = None,
    annoy_search_k: Annotated[
        int | None, typer.Option(help="Nodes that annoy visits for a search; -1: trees times k.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="How vectors are stored: f32, f16 or i8.", show_default="f32"),
    ] = None,
    parts: Annotated[
        bool | None,
        typer.Option(
            "--parts/--no-parts",
            help="Find each dish of photos of several by itself; later builds keep it so.",
            show_default=False,
        ),
    ] = None,
    parts_storage: Annotated[
        str | None,
        typer.Option(
            help="How vectors of such dishes are stored in a folder: f16 or i8.", show_default="i8"
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Where photos are embedded: local, or ray for many machines.", show_default="local"
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Allow another folder than the gallery was built from."),
    ] = False,
    allow_loss: Annotated[
        bool,
        typer.Option(
            "--allow-loss", help="Allow the gallery to lose more than half of its photos."
        ),
    ] = False,
    discard: Annotated[
        bool,
        typer.Option(
            "--discard",
            help="Start anew if the gallery's manifest cannot be read. Changes by hand are kept.",
        ),
    ] = False,
    empty: Annotated[
        bool,
        typer.Option("--empty", help="Allow a gallery without photos, to add them later."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Build a gallery from photos, or bring one up to date.

    Only new and changed photos are embedded. If interrupted, run it again to continue. Labels,
    names and attributes set by hand are kept: see `deepfood history`.
    """
    from deepfood.api import photo_source
    from deepfood.data.photos import NoPhotosError
    from deepfood.errors import DatasetError

    settings = load_settings(
        model=model,
        index=index,
        annoy_trees=annoy_trees,
        annoy_search_k=annoy_search_k,
        storage=storage,
        parts_storage=parts_storage,
        engine=engine,
    )
    try:
        source = photo_source(photos, settings, empty=empty)
    except NoPhotosError as error:
        raise DatasetError(f"{error}; --empty makes a gallery without photos") from error
    report = build_and_report(
        source,
        out,
        settings,
        parts=parts,
        replace=replace,
        allow_loss=allow_loss,
        discard=discard,
        empty=empty,
        quiet=as_json,
    )
    if as_json:
        print_json(
            {
                "gallery": str(out),
                "photos": report.count,
                "embedded": report.embedded,
                "reused": report.reused,
                "gone": list(report.gone),
                "notes": list(report.notes),
                "left_out": [asdict(one) for one in report.skipped],
                "rows_without_photo": source.rows_without_photo,
                "passed_over": [asdict(one) for one in source.passed_over],
                "index": report.manifest.index.kind,
                **report.manifest.model_dump(mode="json", include={"calibration", "uncalibrated"}),
                "parts": report.parts and asdict(report.parts),
                "seconds": round(report.seconds, 3),
                "parts_seconds": round(report.parts_seconds, 3),
                "up_to_date": report.up_to_date,
            }
        )


def build_and_report(
    source: "PhotoSource",
    out: Path | str,
    settings: Settings,
    *,
    quiet: bool = False,
    parts: bool | None = None,
    **consent: bool,
) -> Any:
    report = deepfood.build_gallery(source, out, settings, parts=parts, quiet=quiet, **consent)
    if not quiet:
        _print_report(report, out)
        print_passed_over(source.passed_over)
        print_rows_without_photo(source.rows_without_photo)
    return report


def _print_report(report: Any, out: Path | str) -> None:
    from deepfood.gallery.photo import REMOVED

    about = report.manifest
    if report.up_to_date:
        print(f"{out} is up to date: {counted(report.count, 'photo')}")
        return
    rate = f", {report.embedded / report.seconds:.0f} a second" if report.seconds > 0.5 else ""
    print(
        f"{out}: {counted(report.count, 'photo')}, index {about.index.kind}; "
        f"{report.embedded} embedded, {report.reused} known before, {report.seconds:.1f} s{rate}"
    )
    if kept := report.parts:
        print(
            f"parts of photos: {counted(kept.vectors, 'vector')} in {kept.storage}, "
            f"index {kept.index}; {report.parts_seconds:.1f} s of these"
        )
    for note in report.notes:
        print(note)
    if report.gone:
        print(
            f"{counted(report.gone, 'photo is', 'photos are')} gone since the last build; "
            "the manual edits of them are kept:"
        )
        for file in report.gone[:_SHOWN]:
            print(f"  {file}")
    print_untuned(out, report)
    if about.uncalibrated and report.labels:
        print(f"answers without probabilities: {about.uncalibrated}")
    removed = [one for one in report.skipped if one.reason == REMOVED]
    copies = [one for one in report.skipped if one.same_as and one.reason != REMOVED]
    unusable = [one for one in report.skipped if not one.same_as]
    if removed:
        print(f"{counted(removed, 'file stays', 'files stay')} out: {REMOVED}")
    if copies:
        print(f"{counted(copies, 'file is a copy', 'files are copies')} of photos that are in it")
    if unusable:
        print(f"{counted(unusable, 'file is', 'files are')} left out:")
        for one in unusable[:_SHOWN]:
            print(f"  {one.file}: {one.reason}")
    if copies or len(unusable) > _SHOWN:
        print(f"  all of them: deepfood info {out}")
