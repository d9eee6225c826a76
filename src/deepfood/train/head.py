"""A head: a linear map of a frozen Model's embeddings that moves photos of one label together.

It starts as regularised linear discriminant analysis in closed form (Fisher 1936; the shrinkage of
Friedman, "Regularized Discriminant Analysis", 1989), which may be refined by gradient descent on
one of deepfood's losses. The given embedding is appended as a residual, so that similar photos
stay similar; the discriminants alone move everything near a label's centre together.

A head has no bias, so that it commutes with the length of a vector: the head of a unit vector and
that of the network's own output point the same way.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from deepfood.train.losses import Loss, LossName

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_BATCH_PHOTOS = 128
_MIN_PHOTOS_A_LABEL = 4
_EPOCHS = 10
_STEPS = (50, 1000)
_SCALE = 30.0
#: Losses draw their initial weights from the process-wide generator.
_SEEDING = threading.Lock()


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of a head.

    `shrinkage` (above 0) is added to the variance within labels in every direction, as a multiple
    of the mean variance; `residual` (above 0) weighs the given embedding against the discriminants,
    1 for as much of either; `size` is the numbers in an embedding; `step` the learning rate of the
    refinement, 0 for none.
    """

    shrinkage: float
    residual: float
    size: int
    step: float = 0.0


class Discriminant:
    """The statistics of training photos that every closed-form head is made from.

    `vectors` are unit vectors float32 [n, dim], `labels` int64 [n] from 0 without gaps; some label
    has two photos or more.
    """

    def __init__(self, vectors: Vectors, labels: Labels) -> None:
        wide, targets = torch.from_numpy(vectors).double(), torch.from_numpy(labels)
        count = torch.bincount(targets)
        sums = torch.zeros(len(count), wide.shape[1], dtype=wide.dtype)
        self.centres = sums.index_add_(0, targets, wide) / count[:, None]
        within = wide - self.centres[targets]
        variances, directions = torch.linalg.eigh(within.T @ within / len(wide))
        # The directions along which photos of a label differ most come first.
        self.variances = variances.flip(0).clamp(min=0)
        self.directions = directions.flip(1)
        self.middle = self.centres.mean(dim=0)
        self.moment = wide.T @ wide / len(wide)
        self._white: tuple[float, torch.Tensor] | None = None

    @cached_property
    def principal(self) -> torch.Tensor:
        """The principal directions of the photos, largest first, float64 [dim, dim]."""
        directions: torch.Tensor = torch.linalg.eigh(self.moment)[1]
        return directions.flip(1)

    def whitening(self, shrinkage: float) -> torch.Tensor:
        """float64 [dim, dim]: equalizes the variance within labels, and removes the mean.

        The last one is kept, as most heads that are tried differ in other things.
        """
        kept = self._white  # from several threads
        if kept is not None and kept[0] == shrinkage:
            return kept[1]
        floor = shrinkage * self.variances.mean()
        white = self.directions / torch.sqrt(self.variances + floor)
        axis = nn.functional.normalize(self.middle, dim=0)
        # A projection instead of a subtraction, which would need a bias.
        projected: torch.Tensor = white - torch.outer(axis, axis @ white)
        self._white = shrinkage, projected
        return projected

    def axes(self, choice: Hyperparameters, white: torch.Tensor) -> torch.Tensor:
        """The discriminants, float64 [dim, rank], for vectors that went through `white`.

        The photos' mean squared length along them is 1.
        """
        between = (self.centres - self.middle) @ white
        rank = min(len(self.centres) - 1, choice.size)
        axes = torch.linalg.svd(between, full_matrices=False)[2][:rank].T
        weights = white @ axes
        length = torch.sqrt(((self.moment @ weights) * weights).sum())
        scaled: torch.Tensor = axes / length.clamp(min=torch.finfo(length.dtype).tiny)
        return scaled

    def given(self, choice: Hyperparameters, rank: int) -> torch.Tensor:
        """The given embedding in the dimensions left by the discriminants.

        float64 [dim, size - rank].
        """
        return choice.residual * self.principal[:, : choice.size - rank]


def fit_head(
    vectors: Vectors,
    labels: Labels,
    choice: Hyperparameters,
    loss: LossName,
    *,
    seed: int,
    statistics: Discriminant | None = None,
) -> Vectors:
    """The head's weights float32 [dim, size]: an embedding is `vector @ weights`, at unit length.

    `vectors` float32 [n, dim] are unit vectors, `labels` int64 [n] from 0 without gaps;
    `statistics` are theirs, where they are known already.
    """
    statistics = statistics or Discriminant(vectors, labels)
    white = statistics.whitening(choice.shrinkage)
    axes = statistics.axes(choice, white)
    given = statistics.given(choice, axes.shape[1])
    if choice.step:
        head = nn.functional.pad(axes, (0, given.shape[1]))
        given = nn.functional.pad(given, (axes.shape[1], 0))
        photos = torch.from_numpy(vectors)
        seen = photos @ white.float(), photos @ given.float()
        head = _refine(*seen, torch.from_numpy(labels), head.float(), choice, loss, seed)
        weights = white @ head.double() + given
    else:  # neither has anything where the other has
        weights = torch.cat([white @ axes, given], 1)
    return (weights / weights.abs().max()).float().numpy()


def apply_head(vectors: Vectors, weights: Vectors) -> Vectors:
    """The unit vectors float32 [n, size] of float32 [n, dim]; a row of zeros stays one."""
    mapped = torch.from_numpy(vectors) @ torch.from_numpy(weights)
    return nn.functional.normalize(mapped, dim=1).numpy()


def _refine(
    photos: torch.Tensor,
    given: torch.Tensor,
    targets: torch.Tensor,
    start: torch.Tensor,
    choice: Hyperparameters,
    loss: LossName,
    seed: int,
) -> torch.Tensor:
    """Gradient descent from `start` [dim, size], on batches with equally many photos per label.

    An embedding is `photos @ head + given`, of photos [n, dim] and given [n, size].
    """
    rng = np.random.default_rng(seed)
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        criterion = Loss(loss, int(targets.max()) + 1, choice.size)
    head = nn.Parameter(start)
    _start_at_centres(criterion, nn.functional.normalize(photos @ start + given, dim=1), targets)
    steps = int(np.clip(_EPOCHS * len(targets) // _BATCH_PHOTOS, *_STEPS))
    optimizer = torch.optim.Adam([head, *criterion.parameters()], lr=choice.step)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for rows in _batches(targets.numpy(), steps, rng):
        # At one length, so that the loss that does not normalise (softmax) has a fixed scale.
        embeddings = _SCALE * nn.functional.normalize(photos[rows] @ head + given[rows], dim=1)
        value = criterion(embeddings, targets[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
    refined: torch.Tensor = head.detach()
    return refined


def _start_at_centres(criterion: Loss, embeddings: torch.Tensor, targets: torch.Tensor) -> None:
    """Initialize losses with a vector per label by the labels' mean embeddings."""
    name = criterion.name
    with torch.no_grad():
        own: torch.Tensor
        if name == "cosine-margin":
            own = criterion.centres
        elif name == "proxy-anchor":
            own = criterion.inner.proxies
        elif criterion.classifier is not None:
            own = criterion.classifier.weight
        else:
            return
        own.zero_().index_add_(0, targets, embeddings)
        own.copy_(nn.functional.normalize(own, dim=1))


def _batches(labels: Labels, steps: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """Rows int64 of each batch: some labels, drawn without repeats, and as many photos of each."""
    order = np.argsort(labels, kind="stable")
    count = np.bincount(labels)
    begin = np.cumsum(count) - count
    each = max(_MIN_PHOTOS_A_LABEL, _BATCH_PHOTOS // len(count))
    for _ in range(steps):
        drawn = rng.permutation(len(count))[: _BATCH_PHOTOS // each]
        within = (rng.random((len(drawn), each)) * count[drawn, np.newaxis]).astype(np.int64)
        yield torch.from_numpy(order[(begin[drawn, np.newaxis] + within).reshape(-1)])
