"""The photos of each step of an epoch: a table that depends on seed and epoch only.

So resumed training continues with the same photos, and each process knows its own share.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from deepfood.train.recipe import PHOTOS_A_LABEL

Sampling = Literal["shuffled", "balanced", "paired"]
Rows = npt.NDArray[np.int64]

#: Independent streams of random numbers.
_ORDER, _PHOTO, _STEP, _VIEW, _DROPOUT = 1, 2, 3, 4, 5


def epoch_table(labels: Rows, batch: int, sampling: Sampling, seed: int, epoch: int) -> Rows:
    """Rows of photos, int64 [steps, batch], for `labels` int64 [n], 0 to classes - 1.

    `shuffled`: each photo once; an incomplete last batch is dropped.
    `balanced`: n draws, each label as often as the others, its photos in turn.
    `paired`: the same, with PHOTOS_A_LABEL photos of a label next to each other in a batch.
    With fewer photos than a batch holds, photos repeat.
    """
    rng = np.random.default_rng([seed, epoch, _ORDER])
    count = len(labels)
    if sampling == "shuffled":
        rows = np.concatenate([rng.permutation(count) for _ in range(-(-batch // count))])
        return rows[: len(rows) // batch * batch].reshape(-1, batch)
    steps = -(-count // batch)
    group = PHOTOS_A_LABEL if sampling == "paired" else 1
    classes = int(labels.max()) + 1
    turns = [_in_turn(np.flatnonzero(labels == one), rng) for one in range(classes)]
    labels_in_turn = _in_turn(np.arange(classes), rng)
    drawn = []
    for _ in range(steps):
        rows_of_step: list[int] = []
        while len(rows_of_step) < batch:
            own = turns[next(labels_in_turn)]
            rows_of_step += [next(own) for _ in range(group)]
        drawn.append(rows_of_step[:batch])
    return np.array(drawn, np.int64)


def photo_rng(seed: int, epoch: int, position: int) -> np.random.Generator:
    """Random numbers for the photo at `position` of an epoch, the same in any worker."""
    return np.random.default_rng([seed, epoch, position, _PHOTO])


def view_rng(seed: int, epoch: int, step: int) -> np.random.Generator:
    """Random numbers for the augmentation of a step, the same in all processes."""
    return np.random.default_rng([seed, epoch, step, _VIEW])


def step_rng(seed: int, update: int, rank: int) -> np.random.Generator:
    """Random numbers for a step of one process."""
    return np.random.default_rng([seed, update, rank, _STEP])


def step_seed(seed: int, update: int, rank: int) -> int:
    """A seed for torch's generator (dropout and the like) in a step of one process."""
    sequence = np.random.SeedSequence([seed, update, rank, _DROPOUT])
    return int(sequence.generate_state(1, np.uint64)[0])


def _in_turn(rows: Rows, rng: np.random.Generator) -> Iterator[int]:
    """The rows in a random order, then again in another, without end."""
    while True:
        yield from rng.permutation(rows).tolist()
