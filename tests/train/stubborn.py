"""Trainings that are killed with SIGKILL again and again, until each reaches its end.

`stubborn.py PHOTOS OUT SEED`: a fork for each attempt, so that only one process pays for the
imports. The training `whole` is left alone. The attempts of `writes` die at their first, second,
third ... flush to disk: before and after a checkpoint's rename, between the two checkpoints at the
end of an epoch; and one between two epochs. Those of `random` are killed from outside after a
random time. `full` is one attempt on a disk too small for the next checkpoint. The last attempt of
each training runs to the end. Prints as JSON, for each training, the exit status of each attempt
and the outcome.
"""

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import accelerate  # noqa: F401  (what a training imports when it begins)
import pytorch_metric_learning.losses  # noqa: F401
import torch
import torch.utils.tensorboard
from small import outcome, small_task

from deepfood.errors import DiskFullError
from deepfood.train.checkpoint import LAST, TRAINING
from deepfood.train.run import Task, open_training, train_model
from deepfood.train.state import EpochRecord

ENDED, FULL = 0, 3
LONGEST_S = 0.8


def train(task: Task, *, die_at_write: int = 0, die_after_epoch: bool = False) -> None:
    """In the child: train to the end, or to the `die_at_write`th flush to disk."""
    fsync, count = os.fsync, [0]

    def fsync_or_die(handle: int) -> None:
        count[0] += 1
        if count[0] == die_at_write:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(handle)

    def epoch_ended(record: EpochRecord, best: bool) -> None:
        if die_after_epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, "fsync", fsync_or_die)  # noqa: B010
    try:
        train_model(task, on_epoch=epoch_ended)
    except DiskFullError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(FULL)
    os._exit(ENDED)


def attempt(task: Task, kill_after_s: float = 0, small_disk: bool = False, **how: Any) -> int:
    """One child's exit status, negative where a signal ended it."""
    child = os.fork()
    if child == 0:
        if small_disk:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            most = (task.out / TRAINING / LAST).stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        train(task, **how)
    if kill_after_s:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def outcome_of(task: Task) -> Any:
    """Train to the end in a child: this process must not have trained when it forks again."""
    written = task.out / "outcome.json"
    child = os.fork()
    if child == 0:
        with open_training(task) as training:
            training.run(lambda record, best: None)
            written.write_text(json.dumps(outcome(training)))
        os._exit(ENDED)
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(written.read_text())


def main() -> None:
    torch.set_num_threads(1)
    photos, out, draw = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    attempts: dict[str, list[dict[str, Any]]] = {
        "whole": [],
        "writes": [{"die_at_write": count} for count in range(1, 7)] + [{"die_after_epoch": True}],
        "random": [{"kill_after_s": draw.uniform(0.1, LONGEST_S)} for _ in range(5)],
        "full": [{"die_at_write": 5}, {"small_disk": True}],
    }
    found: dict[str, Any] = {}
    for name, moments in attempts.items():
        task = small_task(photos, out / name, epochs=3, patience=0, checkpoint_s=0)
        statuses = [attempt(task, **how) for how in moments]
        found[name] = {"statuses": statuses, "outcome": outcome_of(task)}
    print(json.dumps(found))


main()
