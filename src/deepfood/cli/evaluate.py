"""`deepfood evaluate`: measure how good a gallery's answers are."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import deepfood
from deepfood.cli.app import (
    LEARN,
    GalleryModelOption,
    Json,
    PhotosRoot,
    SearchedGalleryArgument,
    app,
    print_json,
)
from deepfood.config import Settings, load_settings
from deepfood.counted import counted
from deepfood.place import Place

#: How many texts that were missed are named; `--json` has all.
_SHOWN = 10


@app.command(rich_help_panel=LEARN)
def evaluate(
    gallery: SearchedGalleryArgument,
    queries: Annotated[
        Path | None,
        typer.Argument(
            metavar="QUERIES",
            readable=False,
            help="Labelled photos to search with: a folder, or a CSV.",
            show_default="the gallery's own, each left out in turn",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", readable=False, help="Write a report to this folder, as HTML."),
    ] = None,
    compare: Annotated[
        Place | None,
        typer.Option(
            "--compare",
            metavar="GALLERY|MODEL",
            parser=Place.parse,
            help="Compare with a second gallery of the same photos, or with another Model.",
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", min=1, max=1000, help="How many nearest photos to judge by.")
    ] = 9,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.")] = 0,
    words: Annotated[
        bool,
        typer.Option(
            "--words",
            help="Ask with words: QUERIES is a CSV with columns words and label or id. Without it "
            "each label asks.",
        ),
    ] = False,
    submission: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Only guess the labels of iFood's test photos, and write a CSV for Kaggle.",
        ),
    ] = None,
    model: GalleryModelOption = None,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """Measure how good a gallery's answers are, with confidence intervals."""
    from deepfood.errors import SettingError

    settings = load_settings(model=model, photos_root=photos_root)
    if words:
        if report is not None or compare is not None or submission is not None:
            raise SettingError("--words goes with none of --report, --compare and --submission")
        _ask_with_words(gallery, queries, settings, k=k, seed=seed, as_json=as_json)
        return
    if submission is not None:
        if queries is None or report is not None or compare is not None:
            raise SettingError(
                "--submission needs QUERIES, the iFood folder, and goes with neither --report nor "
                "--compare"
            )
        _submit(gallery, queries, submission, settings, k=k, as_json=as_json)
        return
    from deepfood.evaluate.report import prepare_report, write_report
    from deepfood.evaluate.summary import as_json as everything
    from deepfood.evaluate.summary import as_lines

    if report is not None:
        prepare_report(report)
    found = deepfood.evaluate_gallery(
        gallery, queries, settings, compare=compare, k=k, seed=seed, quiet=as_json
    )
    about = everything(found)
    if report is not None:
        page = write_report(found, report, settings, seed=seed, quiet=as_json)
        about["report"] = str(page)
    if as_json:
        print_json(about)
        return
    for line in as_lines(found):
        print(line)
    if report is not None:
        print(f"\n{page}")


def _submit(
    gallery: Place, queries: Path, out: Path, settings: Settings, *, k: int, as_json: bool
) -> None:
    from deepfood.evaluate.submission import write_submission

    done = write_submission(gallery, queries, out, settings, k=k, quiet=as_json)
    if as_json:
        print_json(
            {"submission": str(out), "photos": done.photos, "unreadable": list(done.unreadable)}
        )
        return
    print(f"{out}: {counted(done.photos, 'photo')}, three guesses each")
    if done.unreadable:
        print(
            f"{len(done.unreadable)} of them cannot be read and got the gallery's commonest labels"
        )


def _ask_with_words(
    gallery: Place, queries: Path | None, settings: Settings, *, k: int, seed: int, as_json: bool
) -> None:
    found = deepfood.evaluate_words(gallery, queries, settings, k=k, seed=seed, quiet=as_json)
    figures = {
        name: None if math.isnan(one.value) else asdict(one) for name, one in found.figures.items()
    }
    if as_json:
        print_json({"gallery": str(gallery), **asdict(found), "figures": figures})
        return
    print(f"{counted(found.queries, 'text')}, {found.nonsense} of which should find nothing")
    for name, one in found.figures.items():
        if figures[name]:
            print(f"{name:14}  {one.value:.3f} ({one.low:.3f} to {one.high:.3f})")
    if found.missed:
        shown = ", ".join(found.missed[:_SHOWN])
        print(f"not among the first {k}: {shown}" + (", ..." if len(found.missed) > _SHOWN else ""))
