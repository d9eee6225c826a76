"""The part of the public Python API that trains: `adapt`, `learn` and `train` as functions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from deepfood.api import Photos, PlaceLike, open_embedder, photo_source
from deepfood.config import Settings, available_cores, load_settings
from deepfood.data.splits import split_photos
from deepfood.engine import engine_at
from deepfood.errors import SettingError
from deepfood.extras import missing_extra
from deepfood.photo import Limits
from deepfood.place import Place
from deepfood.serve.fit_plates import calibrate_plates

if TYPE_CHECKING:
    from deepfood.train.adapt import AdaptReport
    from deepfood.train.learn import LearnReport
    from deepfood.train.recipe import Recipe
    from deepfood.train.run import Trained


def adapt_model(
    dataset: Photos,
    out: PlaceLike,
    settings: Settings | None = None,
    *,
    loss: str = "supcon",
    seed: int = 0,
    val_share: float = 0.1,
    even_if_worse: bool = False,
    quiet: bool = True,
) -> "AdaptReport":
    """Fit a head to the labels of `dataset` on the frozen Model in `settings`, as a Model in `out`.

    Without `even_if_worse`, no Model is written that is worse on the held-out photos, `val_share`
    of each label: the report's `refused` gives the reason. Raises DatasetError, SettingError or
    MissingExtraError.
    """
    with _train_extra("adapt"):
        from deepfood.train.adapt import adapt
        from deepfood.train.losses import LOSSES
    if loss not in LOSSES:
        raise SettingError(f"there is no loss {loss!r}: known are {', '.join(LOSSES)}")
    settings = settings or load_settings()
    return adapt(
        split_photos(photo_source(dataset, settings), val_share=val_share, seed=seed),
        open_embedder(settings),
        Path(out),
        settings.cache.expanduser(),
        loss=loss,  # type: ignore[arg-type]  # one of LOSSES, checked above
        seed=seed,
        even_if_worse=even_if_worse,
        quiet=quiet,
    )


def learn_gallery(
    gallery: PlaceLike,
    settings: Settings | None = None,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    compare: bool = False,
    even_if_worse: bool = False,
    quiet: bool = True,
) -> "LearnReport":
    """Fit a head to the labels and the feedback of a gallery in a folder, and renew it with that.

    The generation before is kept for `deepfood rollback`. Without `even_if_worse`, the gallery
    stays as it is where the head is not certainly better on the photos and votes that are held out,
    `val_share` of them: the report's `refused` gives the reason. `compare` only judges. Raises
    DatasetError where there are no votes or too few labels, SettingError for a gallery that is not
    in a folder, ArtifactError or MissingExtraError.
    """
    with _train_extra("learn"):
        from deepfood.train.learn import learn
    settings = settings or load_settings()
    folder = Place.parse(gallery).expect_folder()
    report = learn(
        folder,
        seed=seed,
        val_share=val_share,
        compare=compare,
        even_if_worse=even_if_worse,
        threads=available_cores(),
        quiet=quiet,
    )
    if report.renewed:
        engine = engine_at(folder, settings)
        calibrate_plates(engine, report.renewed.manifest.calibration, settings, quiet=quiet)
    return report


class RecipeChanges(TypedDict, total=False):
    """Numbers of a recipe to change; None leaves them. `train.recipe.Recipe` documents them."""

    loss: str | None
    epochs: int | None
    batch: int | None
    lr: float | None
    image_size: int | None
    precision: str | None
    patience: int | None


def train_model(
    dataset: Photos,
    out: PlaceLike,
    settings: Settings | None = None,
    *,
    backbone: str = "resnet34.tv_in1k",
    weights: str = "auto",
    recipe: str = "deepfood",
    seed: int = 0,
    val_share: float = 0.1,
    device: str = "auto",
    threads: int | None = None,
    checkpoint_every_s: float = 300.0,
    fresh: bool = False,
    even_if_worse: bool = False,
    on_message: Callable[[str], None] = lambda line: None,
    quiet: bool = True,
    **changes: Unpack[RecipeChanges],
) -> "Trained":
    """Fine-tune a network of timm on a labelled dataset and write its best epoch as a Model.

    Interrupted training in `out` resumes, unless `fresh`. `changes` are numbers of the recipe
    (`epochs=3`), `on_message` gets lines for the user, one per epoch among them. Without
    `even_if_worse`, no Model is written that retrieves worse on the validation photos than before:
    see `Trained.refused`. Raises TrainingError, DatasetError, SettingError or
    MissingExtraError.
    """
    with _train_extra("train"):
        from deepfood.train import run
        from deepfood.train.recipe import recipe_named
    settings = settings or load_settings()
    chosen: Recipe = recipe_named(recipe).with_changes(seed=seed, **changes)
    cache = settings.cache.expanduser()
    source = photo_source(dataset, settings)
    kept = source.root.kept_in(cache / "photos")  # each epoch reads them all
    splits = split_photos(replace(source, root=kept), val_share=val_share, seed=seed)
    for note in splits.notes:
        on_message(f"note: {note}")
    task = run.Task(
        splits,
        Path(out),
        backbone=backbone,
        weights=weights,
        recipe=chosen,
        limits=Limits.of(settings),
        cache=cache,
        pictures_bytes=settings.pictures_bytes,
        device=device,
        workers=threads or available_cores(),
        checkpoint_s=checkpoint_every_s,
        fresh=fresh,
        even_if_worse=even_if_worse,
        quiet=quiet,
    )

    def report_epoch(record: dict[str, float], best: bool) -> None:
        on_message(run.epoch_line(record, chosen.epochs, best))

    return run.train_model(task, on_message=on_message, on_epoch=report_epoch)


@contextmanager
def _train_extra(command: str) -> Iterator[None]:
    """Turn an import that fails into the error that names the extra."""
    try:
        yield
    except ImportError as error:
        raise missing_extra(f"{command} needs {error.name}", "train") from error
