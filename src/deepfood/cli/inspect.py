"""`deepfood info` and `verify`: what artefacts are, and whether they are whole."""

from pathlib import Path
from typing import Annotated

import typer

from deepfood.cli.app import (
    LOOK_AFTER,
    ArtifactArgument,
    GalleryModelOption,
    Json,
    anywhere,
    app,
    count,
    print_json,
)
from deepfood.cli.calibrate import calibration_line
from deepfood.config import load_settings


@app.command(rich_help_panel=LOOK_AFTER)
def info(
    artifact: ArtifactArgument,
    as_json: Json = False,
) -> None:
    """What a gallery or Model is: sizes, index, Model, and the files that were left out."""
    from deepfood.info import describe

    about = describe(artifact)
    if as_json:
        print_json(about)
        return
    if "calibration" in about:
        about["calibration"] = calibration_line(about["calibration"], about.pop("uncalibrated"))
    for name, value in about.items():
        if not isinstance(value, list):
            print(f"{name.replace('_', ' '):17}  {value}")
    for file in about.get("gone", []):
        print(f"  gone since the generation before: {file}")
    for one in about.get("left_out", []):
        print(f"  left out: {one['file']}: {one['reason']}")


@app.command(rich_help_panel=LOOK_AFTER)
def verify(
    artifact: Annotated[
        str,
        typer.Argument(metavar="ARTIFACT", help="A gallery or a Model, also s3://…, milvus://…"),
    ],
    photos_root: Annotated[
        Path | None, typer.Option(help="Where the photos are, if they have moved.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend a gallery as far as its photos are still there.")
    ] = False,
    model: GalleryModelOption = None,
    as_json: Json = False,
) -> None:
    """Read every byte and compare. Exit status 1 where something is (still) wrong.

    Of a release every byte is read where it lies, its photos too.

    `--model` names the gallery's Model, for a repair where the gallery's own copy of it is damaged.
    """
    from deepfood.errors import SettingError
    from deepfood.info import problems_of, repair_gallery
    from deepfood.release.shelf import is_release
    from deepfood.release.verify import release_problems

    done: list[str] = []
    settings = load_settings(model=model, photos_root=photos_root)
    if is_release(artifact):
        if repair:
            raise SettingError(
                "a release never changes: mend the gallery that it was pushed from, and push"
            )
        problems = release_problems(artifact, settings, quiet=as_json)
    elif repair:
        done, problems = repair_gallery(anywhere(artifact), settings, quiet=as_json)
    else:
        problems = list(problems_of(anywhere(artifact), settings.photos_root, quiet=as_json))
    if as_json:
        about = {"artifact": artifact, "ok": not problems, "problems": problems}
        print_json({**about, "mended": done} if repair else about)
    else:
        for line in done:
            print(f"mended: {line}")
        for problem in problems:
            print(problem)
        said = count(problems, "problem", "problems") if problems else "whole"
        print(f"{artifact}: {said}")
    raise typer.Exit(1 if problems else 0)
