"""Training, photos a second: deepfood's loop beside a plain float32 loop of torch.

The plain loop is what one writes first: a DataLoader with torchvision's transforms, contiguous
float32, Adam, cross-entropy. deepfood's is `deepfood train` without its command line, timed over
the steps of an epoch: reading, augmentation, forward, backward, AdamW and averaged weights. Both
start from random weights, on the same photos, a label a photo in turn. On the GPU, if there is one.
"""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from torchvision import transforms

from contenders import limits
from deepfood.config import available_cores
from deepfood.data.photos import PhotoFile, list_photos
from deepfood.data.splits import Splits
from deepfood.train.hardware import bf16_pays
from deepfood.train.recipe import DEEPFOOD
from deepfood.train.run import Task, open_training
from photos import PhotoSet
from report import Bound, Section, Table, interleave, medians

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 32
RESNET34, LITE0 = "resnet34.tv_in1k", "tf_efficientnet_lite0"
_LABELS = 10
_TIMES_FASTER = 3.0


def measure(photos: PhotoSet, work: Path, rounds: int) -> Section:
    """A round takes each backbone once through `photos`, in whole batches."""
    files = photos.files[: len(photos.files) // BATCH * BATCH]
    if not files:
        raise SystemExit(f"training needs --count {BATCH} or more, not {len(photos.files)}")
    contenders: dict[str, Callable[[], float]] = {}
    for backbone in (RESNET34, LITE0):
        contenders[f"plain loop, {backbone}"] = _plain(backbone, files)
        contenders[f"deepfood, {backbone}"] = _deepfood(backbone, photos, len(files), work)
    for warm_up in contenders.values():
        warm_up()
    speed = medians(interleave(contenders, rounds))
    rows: list[tuple[Any, ...]] = []
    for backbone in (RESNET34, LITE0):
        plain, ours = speed[f"plain loop, {backbone}"], speed[f"deepfood, {backbone}"]
        rows += [
            (backbone, "plain loop, f32", plain, 1.0),
            (backbone, "deepfood", ours, ours / plain),
        ]
    note = (
        f"{len(files)} photos, {photos.about}; batches of {BATCH}, all layers trained; median of "
        f"{rounds} rounds, taken in turn, after one that is not counted. deepfood computed in "
        f"{'bf16' if bf16_pays(DEVICE) else 'f32'}."
    )
    columns = ("backbone", "loop", "photos/s", "times the plain loop")
    section = Section("Training", [Table(f"Training on {DEVICE}", columns, rows, note)])
    if DEVICE == "cpu" and torch.cpu.get_capabilities().get("amx_bf16"):  # what the bound is for
        ratio = speed[f"deepfood, {RESNET34}"] / speed[f"plain loop, {RESNET34}"]
        section.bounds.append(Bound(f"{RESNET34} / plain loop", ratio, _TIMES_FASTER))
    return section


def _plain(backbone: str, files: tuple[Path, ...]) -> Callable[[], float]:
    class Labelled(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
        """Photos as tensors float32 [3, 224, 224], and their labels."""

        change = transforms.Compose(
            [
                transforms.RandomResizedCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
            with Image.open(files[row]) as photo:
                return self.change(photo.convert("RGB")), row % _LABELS

    network = timm.create_model(backbone, pretrained=False, num_classes=_LABELS).to(DEVICE).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    loader = torch.utils.data.DataLoader(
        Labelled(), BATCH, shuffle=True, num_workers=available_cores(), persistent_workers=True
    )

    def one_epoch() -> float:
        started = time.perf_counter()
        for pixels, labels in loader:
            logits = network(pixels.to(DEVICE))
            loss = torch.nn.functional.cross_entropy(logits, labels.to(DEVICE))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        return len(files) / (time.perf_counter() - started)

    return one_epoch


def _deepfood(backbone: str, photos: PhotoSet, count: int, work: Path) -> Callable[[], float]:
    source = list_photos(photos.folder)
    named = [
        PhotoFile(one.file, label=str(row % _LABELS))
        for row, one in enumerate(source.files[:count])
    ]
    labels = tuple(sorted({one.label or "" for one in named}))
    # An epoch's validation is no part of what is timed: one photo is enough.
    splits = Splits(source, tuple(named), tuple(named[:1]), (), labels, ())
    recipe = DEEPFOOD.with_changes(batch=BATCH, epochs=10_000, image_size=224)
    number = itertools.count()

    def one_epoch() -> float:
        task = Task(
            splits,
            work / f"training-{next(number)}",
            backbone=backbone,
            weights="none",
            recipe=recipe,
            limits=limits(),
            cache=work,
            pictures_bytes=2**34,
            workers=available_cores(),
            device=DEVICE,
            checkpoint_s=float("inf"),
            quiet=True,
        )
        with open_training(task) as training:
            started = time.monotonic()
            training.train_epoch(started)
            return training.progress.step * BATCH / (time.monotonic() - started)

    return one_epoch
