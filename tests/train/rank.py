"""One process of trainings that torchrun starts: `rank.py PHOTOS TRAININGS KILL_AT`.

TRAININGS is a JSON list of {"out", "changes", "model"}. Each training writes its outcome to
OUT/rank-N.json, and also the Model if "model" is true. The first process kills itself with SIGKILL
after KILL_AT checkpoints; 0 is never.
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
    photos, kill_at = Path(sys.argv[1]), int(sys.argv[3])
    save, left = checkpoint.save, [kill_at]

    def save_and_die(path: Path, state: dict[str, object]) -> None:
        save(path, state)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if kill_at:
        checkpoint.save = save_and_die
    for each in json.loads(sys.argv[2]):
        out = Path(each["out"])
        task = small_task(photos, out, **each["changes"])
        with open_training(task) as training:
            training.run(lambda record, best: None)
            found = outcome(training)
            rank = training.hardware.rank
        (out / f"rank-{rank}.json").write_text(json.dumps(found))
        if each["model"]:
            trained = train_model(task)  # it is finished: this writes the Model
            assert (trained.manifest is not None) == (rank == 0)


main()
