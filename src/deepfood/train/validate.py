"""Validation metrics of a training: retrieval and classification of validation photos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deepfood.data.photo_file import PhotoFile
from deepfood.data.splits import halves
from deepfood.evaluate.gate import FEWEST_FOR_CURVES, answers_of
from deepfood.evaluate.metrics import Floats, measure
from deepfood.train.dataset import PhotoDataset
from deepfood.train.feed import to_device
from deepfood.train.hardware import Hardware
from deepfood.train.learner import Learner
from deepfood.train.sampling import Rows

#: The metric that selects the best epoch: it rates all neighbours of a photo that a search shows.
BEST_BY = "mAP@R"

#: Validation photos are ranked against this many training photos: a quarter, within bounds, so that
#: validating stays a small part of an epoch.
_GALLERY_SHARE, _GALLERY_LEAST, _GALLERY_MOST = 0.25, 500, 10_000


@dataclass(frozen=True)
class ValidationRows:
    """The rows of the validation photos that choose the best epoch, and of those that judge it.

    Both are all of them where they are too few for two halves.
    """

    choosing: Rows
    judging: Rows

    @classmethod
    def of(cls, photos: Sequence[PhotoFile], seed: int) -> "ValidationRows":
        """Split `photos` in halves of which each can measure every figure of the gate, if it can.

        The same on every machine, and after every resume.
        """
        if len(photos) < 2 * FEWEST_FOR_CURVES:
            every = np.arange(len(photos))
            return cls(every, every)
        choosing, judging = halves(photos, seed)
        return cls(np.array(choosing, np.int64), np.array(judging, np.int64))

    @property
    def are_halves(self) -> bool:
        return self.choosing is not self.judging

    @property
    def note(self) -> str:
        """What the report says of them."""
        if self.are_halves:
            return (
                f"{len(self.choosing):,} validation photos choose the best epoch, and "
                f"{len(self.judging):,} others judge it"
            )
        return (
            f"the {len(self.judging):,} validation photos choose the best epoch and judge it too, "
            "which flatters it a little: they are too few for two halves"
        )


def gallery_rows(labels: Rows, seed: int) -> Rows:
    """Rows of the training photos to rank, sorted: all of them, or a sample even over labels."""
    count = len(labels)
    wanted = min(count, _GALLERY_MOST, max(_GALLERY_LEAST, round(count * _GALLERY_SHARE)))
    rng = np.random.default_rng([seed, count])
    shuffled = rng.permutation(count)
    # Round-robin: every label's first photo, then every label's second, and so on.
    turn = np.empty(count, np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels[shuffled] == label)
        turn[own] = np.arange(len(own))
    chosen: Rows = np.sort(shuffled[np.argsort(turn, kind="stable")[:wanted]])
    return chosen


def validate(
    learner: Learner,
    train: PhotoDataset,
    val: PhotoDataset,
    gallery: Rows,
    choosing: Rows,
    hardware: Hardware,
    *,
    batch: int,
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Metrics by name, means over the rows `choosing` of `val`; all processes must call it.

    `val loss` is the loss in batches of these photos, `top-1` and `top-3` the
    classifier's accuracy, or the neighbours' vote where the loss has no classifier. Also the
    answers to each photo of `val`, as the gate wants them: float64 [len(val), ...] by name.
    """
    learner.eval()
    photos, usable = embed(learner, val, np.arange(len(val)), hardware, batch=batch)
    ranked, ranked_usable = embed(learner, train, gallery, hardware, batch=batch)
    photos, labels = photos[usable], torch.from_numpy(val.labels)[usable]
    ranked = ranked[ranked_usable]
    ranked_labels = train.labels[gallery][ranked_usable.numpy()]
    unit = torch.nn.functional.normalize
    retrieval = measure(unit(photos).numpy(), labels.numpy(), unit(ranked).numpy(), ranked_labels)
    answers = answers_of(retrieval, labels.numpy(), ranked_labels)
    figures = {name: np.full((len(val), *one.shape[1:]), np.nan) for name, one in answers.items()}
    for name, values in figures.items():
        values[usable.numpy()] = answers[name]
    chosen = np.isin(np.flatnonzero(usable.numpy()), choosing)
    found = retrieval.means(chosen)
    names = ("top-1", "top-3", "precision@1", "mAP@R", "recall@1", "recall@5", "recall@10")
    metrics = {name: found[name] for name in names}
    with torch.no_grad():
        photos, labels = photos[chosen].to(hardware.device), labels[chosen].to(hardware.device)
        # In a fixed random order, so that losses that compare photos find several labels.
        order = np.random.default_rng(0).permutation(len(photos))
        losses = [
            (float(learner.loss(photos[part], labels[part])), len(part))
            for part in np.split(order, range(batch, len(order), batch))
        ]
        logits = learner.loss.logits(photos)
        if logits is not None:
            guesses = logits.topk(min(3, logits.shape[1]), dim=1).indices == labels[:, None]
            metrics["top-1"] = float(guesses[:, 0].float().mean())
            metrics["top-3"] = float(guesses.any(dim=1).float().mean())
    weight = sum(count for _, count in losses)
    metrics["val loss"] = sum(value * count for value, count in losses) / max(1, weight)
    return metrics, figures


def embed(
    learner: Learner,
    photos: PhotoDataset,
    rows: Sequence[int] | Rows,
    hardware: Hardware,
    *,
    batch: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings float32 [n, dimension] of `rows`, on the CPU, and bool [n]: whether each was read.

    Each process embeds its share, and all get the full result.
    """
    # All processes need equally many: shares are padded with repeated photos.
    each = -(-len(rows) // hardware.processes)
    padded = np.resize(np.asarray(rows), each * hardware.processes)
    own = padded[hardware.rank * each : (hardware.rank + 1) * each]
    vectors, usable = [], []
    with torch.no_grad():
        for pixels, was_read in photos.plain_batches(own, batch):
            vectors.append(learner.embed(to_device(pixels, hardware.device)))
            usable.append(to_device(was_read, hardware.device))
    gather = hardware.accelerator.gather
    count = len(rows)
    return gather(torch.cat(vectors))[:count].cpu(), gather(torch.cat(usable))[:count].cpu()
