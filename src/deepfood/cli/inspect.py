"""`deepfood info` and `verify`: describe artifacts and check them for damage."""

from typing import Annotated, Any

import typer

from deepfood.cli.app import (
    LOOK_AFTER,
    ArtifactArgument,
    GalleryModelOption,
    Json,
    PhotosRoot,
    app,
    print_json,
)
from deepfood.cli.calibrate import calibration_line
from deepfood.cli.tune import tuned_line
from deepfood.config import load_settings
from deepfood.counted import counted


@app.command(rich_help_panel=LOOK_AFTER)
def info(
    artifact: ArtifactArgument,
    as_json: Json = False,
) -> None:
    """Describe a gallery or Model: sizes, index, Model, and the files that were left out."""
    from deepfood.info import describe

    about = describe(artifact, load_settings())
    if as_json:
        print_json(about)
        return
    if "calibration" in about:
        about["calibration"] = calibration_line(about["calibration"], about.pop("uncalibrated"))
    if "tuned" in about:
        about["tuned"] = tuned_line(about["tuned"])
    if about.get("parts"):
        about["parts"] = _parts_line(about["parts"])
    for name, value in about.items():
        print(f"{name.replace('_', ' '):17}  {len(value) if isinstance(value, list) else value}")
    for file in about.get("gone", []):
        print(f"  gone since the generation before: {file}")
    for one in about.get("left_out", []):
        print(f"  left out: {one['file']}: {one['reason']}")


def _parts_line(kept: dict[str, Any]) -> str:
    """The dishes of photos of several, in a line."""
    return (
        f"{counted(kept['count'], 'part')} of {counted(kept['photos'], 'photo')}, "
        f"{kept['bytes']:,} bytes in {kept['storage']}, index {kept['index']}"
    )


@app.command(rich_help_panel=LOOK_AFTER)
def verify(
    artifact: ArtifactArgument,
    photos_root: PhotosRoot = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend a gallery, as far as its photos still exist.")
    ] = False,
    model: GalleryModelOption = None,
    as_json: Json = False,
) -> None:
    """Check a gallery or Model for damage: read every byte and compare checksums.

    A release is checked where it is stored, with its photos. A repair needs `--model` only if
    the gallery's own copy of its Model is damaged. Exit status 1 if anything is (still) wrong.
    """
    from deepfood.info import problems_of, repair_gallery

    done: list[str] = []
    settings = load_settings(model=model, photos_root=photos_root)
    if repair:
        done, problems = repair_gallery(artifact, settings, quiet=as_json)
    else:
        problems = list(problems_of(artifact, settings, quiet=as_json))
    if as_json:
        about = {"artifact": str(artifact), "ok": not problems, "problems": problems}
        print_json({**about, "mended": done} if repair else about)
    else:
        for line in done:
            print(f"mended: {line}")
        for problem in problems:
            print(problem)
        result = counted(problems, "problem") if problems else "whole"
        print(f"{artifact}: {result}")
    raise typer.Exit(1 if problems else 0)
