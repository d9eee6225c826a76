"""Every block of the tutorial, run in its order on a tiny set of drawn dishes."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from live import deepfood_here, quick_heads

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(
    r"^```sh\n(.*?)^```", (ROOT / "docs/tutorial.md").read_text(), re.DOTALL | re.MULTILINE
)
#: Of each label: enough to be calibrated, and too few for plates, which takes four seconds a build.
PHOTOS = 19
COLOURS = {"curry": (210, 150, 30), "soup": (180, 40, 30), "salad": (60, 150, 60)}


def draw_dish(path: Path, label: str, seed: int) -> None:
    """A bowl in the label's colour; every seed another."""
    rng = np.random.default_rng([seed, len(label)])
    image = Image.new("RGB", (120, 96), tuple(rng.integers(150, 255, 3).tolist()))
    draw = ImageDraw.Draw(image)
    colour = tuple(int(np.clip(c + rng.normal(0, 20), 0, 255)) for c in COLOURS[label])
    draw.ellipse((15, 5, 105, 91), fill=colour)
    for x, y in rng.integers(30, 70, (6, 2)).tolist():
        draw.ellipse((x, y, x + 12, y + 9), fill=tuple(rng.integers(0, 255, 3).tolist()))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def test_every_block_of_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, label in enumerate(COLOURS):
        for photo in range(1, 31):
            split = "test" if photo <= 18 else "train"
            # The tutorial names dishes/test/curry/1.jpg and dishes/test/soup/3.jpg.
            at = tmp_path / "dishes" / split / label / f"{photo}.jpg"
            draw_dish(at, label, photo)
            if photo <= PHOTOS:
                there = tmp_path / "photos" / label / f"{100 * number + photo}.jpg"
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(at, there)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPFOOD_CACHE", "cache")
    assert len(BLOCKS) == 9
    with quick_heads():
        for block in BLOCKS:
            for line in block.splitlines():
                run(line)
    for made in ("report/report.html", "feature-10.png", "features.html", "why.png"):
        assert (tmp_path / made).stat().st_size > 1000, made


def run(line: str) -> None:
    """Commands run in this process, which imports each library once; a server has its own."""
    words = line.split()
    assert words[0] == "deepfood", line
    if words[1] == "serve":
        command = [sys.executable, "-m", "deepfood.cli", *words[1:], "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert "http://" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
        return
    done = deepfood_here(*words[1:])
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
