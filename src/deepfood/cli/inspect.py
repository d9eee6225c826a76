"""`deepfood info` and `verify`: what artifacts are, and whether they are whole."""

from typing import Annotated

import typer

from deepfood.cli.app import (
    LOOK_AFTER,
    ArtifactArgument,
    GalleryModelOption,
    Json,
    PhotosRoot,
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
    """Describe a gallery or Model: sizes, index, Model, and the files that were left out."""
    from deepfood.info import describe

    about = describe(artifact, load_settings())
    if as_json:
        print_json(about)
        return
    if "calibration" in about:
        about["calibration"] = calibration_line(about["calibration"], about.pop("uncalibrated"))
    for name, value in about.items():
        print(f"{name.replace('_', ' '):17}  {len(value) if isinstance(value, list) else value}")
    for file in about.get("gone", []):
        print(f"  gone since the generation before: {file}")
    for one in about.get("left_out", []):
        print(f"  left out: {one['file']}: {one['reason']}")


@app.command(rich_help_panel=LOOK_AFTER)
def verify(
    artifact: Annotated[
        str,
        typer.Argument(
            metavar="ARTIFACT",
            help="A gallery or a Model: a folder, s3://bucket/prefix[@RELEASE] or milvus://…",
        ),
    ],
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
        problems = list(problems_of(anywhere(artifact), settings, quiet=as_json))
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
