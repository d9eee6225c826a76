"""`deepfood quantize`: a Model in int8, for processors that are faster with it."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deepfood.cli.adapt import OutOption, print_compared
from deepfood.cli.app import LEARN, Json, ModelOption, app, print_json
from deepfood.config import load_settings
from deepfood.counted import counted
from deepfood.extras import missing_extra


@app.command(rich_help_panel=LEARN)
def quantize(
    photos: Annotated[
        Path,
        typer.Argument(
            metavar="PHOTOS",
            readable=False,
            help="Your photos, with or without labels: a folder or a CSV.",
        ),
    ],
    out: OutOption,
    model: ModelOption = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="How much quality on held-out photos may fall: mAP if they have labels, else the "
            "share of each photo's 9 nearest that stay the same.",
            show_default="0.01 of mAP, 0.2 of the nearest",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a Model smaller and faster: int8 instead of float32.

    Exit status 1, and no Model is written, if quality falls by more than `--max-drop`.
    """
    from deepfood.api import photo_source
    from deepfood.embed import open_embedder

    try:
        from deepfood.train.quantize import quantize as make_int8
    except ImportError as error:
        raise missing_extra(f"quantize needs {error.name}", "train") from error
    settings = load_settings(model=model)
    report = make_int8(
        photo_source(photos, settings),
        open_embedder(settings),
        out,
        settings.cache.expanduser(),
        max_drop=max_drop,
        seed=seed,
        quiet=as_json,
    )
    if as_json:
        print_json({"model": str(out), "written": report.refused is None, **asdict(report)})
    else:
        for note in report.notes:
            print(f"note: {note}")
        print(
            f"calibrated on {counted(report.calibration_photos, 'photo')}; "
            f"{report.bytes_before / 1e6:.1f} MB became {report.bytes_after / 1e6:.1f} MB"
        )
        print_compared(report.compared, report.queries)
        if report.refused is None:
            print(
                f"{out}: written; for a gallery: deepfood build PHOTOS --model {out} --out GALLERY"
            )
    if report.refused:
        print(f"deepfood: {report.refused}", file=sys.stderr)
        raise typer.Exit(1)
