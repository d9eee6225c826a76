"""`deepfood calibrate`: fit the probabilities of a gallery's answers on other photos."""

from pathlib import Path
from typing import Annotated, Any

import typer

import deepfood
from deepfood.cli.app import (
    LEARN,
    ChangedGalleryArgument,
    GalleryModelOption,
    Json,
    app,
    print_json,
)
from deepfood.config import load_settings
from deepfood.counted import counted


@app.command(rich_help_panel=LEARN)
def calibrate(
    gallery: ChangedGalleryArgument,
    queries: Annotated[
        Path,
        typer.Argument(
            metavar="QUERIES",
            readable=False,
            help="Labelled photos that are not in the gallery: a folder, or a CSV.",
        ),
    ],
    model: GalleryModelOption = None,
    as_json: Json = False,
) -> None:
    """Fit the probabilities of answers on labelled photos that are not in the gallery.

    A build fits them on the gallery's own photos. This is not possible if the Model was trained on
    them: use this command instead.
    """
    settings = load_settings(model=model)
    found = deepfood.calibrate_gallery(gallery, queries, settings, quiet=as_json)
    about = found.model_dump(mode="json")
    if as_json:
        print_json({"gallery": str(gallery), **about})
    else:
        print(f"{gallery}: {calibration_line(about, None)}")


def calibration_line(about: dict[str, Any] | None, why_not: str | None) -> str:
    """The calibration in a manifest as one line."""
    if about is None:
        return f"none: {why_not}" if why_not else "none: build it again"
    plates = about["plates"]
    made = f"on {counted(plates['tables'], 'made table')}" if plates else "by fixed rules"
    if plates and plates.get("bare"):
        made += f" and {plates['bare']} without a dish"
    if about["no_plates"]:
        made += f" ({about['no_plates']})"
    return (
        f"on {counted(about['queries'], 'photo')} ({about['queries_from']}); label right "
        f"{about['label_accuracy']:.1%}, error of probabilities {about['hit_ece']:.3f} (hits) and "
        f"{about['label_ece']:.3f} (label), AUROC of left-out labels {about['auroc']:.3f}; "
        f"plates {made}"
    )
