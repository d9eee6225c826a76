"""One process of a training that torchrun starts: `rank.py PHOTOS OUT CHANGES KILL_AT MODEL`.

Writes OUT/rank-N.json, what the training came to, and where MODEL is 1 the Model too. The first
process kills itself in earnest after KILL_AT checkpoints; 0 is never.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from small import outcome, small_task

from deepfood.train import checkpoint
from deepfood.train.run import open_training, train_model


def main() -> None:
    torch.set_num_threads(1)
    photos, out, kill_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[4])
    writes_model = sys.argv[5] == "1"
    task = small_task(photos, out, **json.loads(sys.argv[3]))
    save, left = checkpoint.save, [kill_at]

    def save_and_die(path: Path, state: dict[str, object]) -> None:
        save(path, state)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if kill_at:
        checkpoint.save = save_and_die
    with open_training(task) as training:
        training.run(lambda record, best: None)
        found = outcome(training)
        rank = training.hardware.rank
    (out / f"rank-{rank}.json").write_text(json.dumps(found))
    if writes_model:
        trained = train_model(task)  # it is finished: this writes the Model
        assert (trained.manifest is not None) == (rank == 0)


main()
