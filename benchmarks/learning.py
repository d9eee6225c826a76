"""The gain of training: a folder of class folders, evaluated before and after `adapt` and `train`.

    python benchmarks/learning.py FOLDER [--only pretrained adapt train] [--train-options "..."]

Each label's photos are split once: `fixed` takes the first by file name for training and the last
for testing, `random` draws them with --seed. The test photos are queries, the training photos the
gallery; nothing is chosen with the test photos. All steps are commands of deepfood; prints
Markdown, for docs/performance.md.
"""

import argparse
import json
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deepfood.photo import SUFFIXES

FIGURES = ("precision@1", "precision@9", "mAP", "mAP@R", "top-1", "top-3")
STEPS = ("pretrained", "adapt", "train")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="deepfood-learning-") as temporary:
        work = Path(temporary)
        dataset = work / "dataset"
        drawn = f"random, seed {options.seed}" if options.split == "random" else "fixed"
        _divide(options, dataset)
        print(
            f"{options.folder.name}, {options.train_photos} train / {options.test_photos} test a "
            f"label, split {drawn}\n\n| | {' | '.join(FIGURES)} | wall s |\n"
            f"|---|{'---|' * (len(FIGURES) + 1)}",
            flush=True,
        )
        for step in options.only:
            model, seconds = _learn(step, dataset, work, options)
            figures = _judge(dataset, work / f"gallery-{step}", model)
            if options.keep and model:
                shutil.copytree(model, options.keep / step, dirs_exist_ok=True)
            cells = [
                f"{figures[name]['value']:.3f} ± "
                f"{(figures[name]['high'] - figures[name]['low']) / 2:.3f}"
                for name in FIGURES
            ]
            print(f"| {step} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what adapt and train bring.")
    parser.add_argument("folder", type=Path, help="a folder of class folders")
    parser.add_argument("--train-photos", type=int, default=200, help="of each label")
    parser.add_argument("--test-photos", type=int, default=100, help="of each label")
    parser.add_argument("--split", choices=("fixed", "random"), default="fixed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--train-options", default="--backbone tf_efficientnet_lite0")
    parser.add_argument("--keep", type=Path, help="folder to keep the Models in")
    return parser.parse_args()


def _divide(options: argparse.Namespace, dataset: Path) -> None:
    """Copy the photos into train/ and test/ folders of class folders."""
    wanted = options.train_photos + options.test_photos
    draw = random.Random(options.seed)
    for folder in sorted(path for path in options.folder.iterdir() if path.is_dir()):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if len(files) < wanted:
            sys.exit(f"{folder} has {len(files)} photos, but {wanted} are needed")
        if options.split == "random":
            draw.shuffle(files)
        parts = {"train": files[: options.train_photos], "test": files[-options.test_photos :]}
        for split, own in parts.items():
            (dataset / split / folder.name).mkdir(parents=True)
            for file in own:
                shutil.copy2(file, dataset / split / folder.name)


def _learn(
    step: str, dataset: Path, work: Path, options: argparse.Namespace
) -> tuple[Path | None, float]:
    """The Model of a step (None is the one that ships), and how long it took."""
    if step == "pretrained":
        return None, 0.0
    model = work / step
    if step == "adapt":
        # Embeds every photo, as the time below is for cached embeddings.
        _deepfood("adapt", dataset, "--out", work / "first")
    extra = shlex.split(options.train_options) if step == "train" else []
    started = time.monotonic()
    _deepfood(step, dataset, "--out", model, *extra)
    return model, time.monotonic() - started


def _judge(dataset: Path, gallery: Path, model: Path | None) -> dict[str, Any]:
    which = ["--model", model] if model else []
    _deepfood("build", dataset / "train", "--out", gallery, *which)
    figures: dict[str, Any] = _deepfood("evaluate", gallery, dataset, *which)["figures"]
    return figures


def _deepfood(*arguments: object) -> Any:
    command = [sys.executable, "-m", "deepfood.cli", *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
