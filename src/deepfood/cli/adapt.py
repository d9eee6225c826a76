"""`deepfood adapt`: a head on a frozen Model, fitted to the user's labels."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import deepfood
from deepfood.cli.app import LEARN, Json, ModelOption, app, print_json
from deepfood.config import load_settings
from deepfood.counted import counted

DatasetArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATASET",
        readable=False,
        help="Labelled photos: a folder of class folders, or a CSV.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", readable=False, help="Folder for the new Model.")]


@app.command(rich_help_panel=LEARN)
def adapt(
    dataset: DatasetArgument,
    out: OutOption,
    model: ModelOption = None,
    loss: Annotated[
        str,
        typer.Option(
            help="Loss: supcon, cosine-margin, softmax, proxy-anchor, multi-similarity or triplet."
        ),
    ] = "supcon",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.")] = 0,
    val_share: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9, help="Share of each label to validate on, if there is no val split."
        ),
    ] = 0.1,
    even_if_worse: Annotated[
        bool,
        typer.Option(
            "--even-if-worse",
            help="Choose by mAP alone, and write the Model even if other figures get worse.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Learn your labels in seconds: fit a small head on a frozen Model.

    Exit status 1, and no Model is written, if it would find less than the given one.
    """
    report = deepfood.adapt_model(
        dataset,
        out,
        load_settings(model=model),
        loss=loss,
        seed=seed,
        val_share=val_share,
        even_if_worse=even_if_worse,
        quiet=as_json,
    )
    if as_json:
        print_json({"model": str(out), "written": report.refused is None, **asdict(report)})
    else:
        _print_adapted(report, out)
    if report.refused:
        print(f"deepfood: {report.refused}", file=sys.stderr)
        raise typer.Exit(1)


def _print_adapted(report: Any, out: Path) -> None:
    for note in report.notes:
        print(f"note: {note}")
    tried = report.cross_validation
    chosen = tried.best.choice
    print(
        f"{counted(report.train_photos, 'photo')} of {counted(report.labels, 'label')}; chosen in "
        f"{tried.folds} folds of {tried.photos}: {chosen.size} numbers, shrinkage "
        f"{chosen.shrinkage:g}, residual {chosen.residual:g}, step {chosen.step:g}"
    )
    print_compared(report.compared, report.val_photos)
    if report.refused is None:
        print(f"{out}: written; for a gallery: deepfood build PHOTOS --model {out} --out GALLERY")


def print_compared(compared: dict[str, Any], queries: int) -> None:
    """A line for each metric of two Models, asked with `queries` photos."""
    print(f"on {counted(queries, 'held-out photo')}   before   after   difference (95 % interval)")
    for name, one in compared.items():
        print(f"  {name:22}   {one.before:.3f}   {one.after:.3f}   {one.change}")
