"""Where a training stands."""

from dataclasses import dataclass, field

#: Figures of one epoch by name: `epoch` from 1, `loss`, `lr`, `seconds`, and those of validate().
EpochRecord = dict[str, float]


@dataclass
class Progress:
    """Where training stands; all of it is in a checkpoint.

    `epoch` and `step` are the next to do, from 0; the sums are of this epoch so far; `updates` are
    the optimizer's steps since the start; `broken` are the photos that could not be read, and why;
    `learned` those that were learned from, and their SHA-256; `parts` is how many a batch is
    computed in, one after the other.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_epoch: int = 0
    best: float = -1.0
    records: list[EpochRecord] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)
    parts: int = 1
