"""A real deepfood: commands and servers in processes of their own, and a small gallery for them."""

import csv
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deepfood.cli import main
from plates import plate, write_dishes

LONG_NAME = (
    "Grandmother's slow-cooked Sunday casserole of seven vegetables, smoked paprika, preserved "
    "lemon and a great deal of butter, as it was served at Donaudampfschifffahrtsgesellschaft"
)

#: Name and label of each photo; what they lack, the page must make up for.
DISHES = (
    [("Tomato soup", "Soups"), ("Crème brûlée", "Süßes"), ("麻婆豆腐", "豆腐"), ("Борщ", "Soups")]
    + [("حمص", "مقبلات"), (LONG_NAME, "Stews & casseroles that simmer the whole Sunday long")]
    + [("<b>Fish & chips</b>", "Fried"), (None, "Salads"), (None, None)]
    + [(f"Curry no. {number}", "Curries") for number in range(1, 16)]
)
#: A panorama and a tower, to try the page's grid.
ODD_SIZES = {3: (1600, 100), 4: (100, 1600)}


@dataclass(frozen=True)
class SmallGallery:
    """A gallery built from `photos`, with one file for each of DISHES, in that order."""

    folder: Path
    photos: tuple[Path, ...]


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[str]


def build_small_gallery(root: Path) -> SmallGallery:
    """24 photos with names and labels, and their gallery for the Model that ships."""
    photos = tuple(root / "photos" / f"{number:02}.jpg" for number in range(len(DISHES)))
    photos[0].parent.mkdir()
    with (root / "photos" / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "label", "name"])
        for number, (path, (name, label)) in enumerate(zip(photos, DISHES, strict=True)):
            plate(1000 + number, ODD_SIZES.get(number, (640, 480))).save(path, quality=90)
            rows.writerow([path.name, label or "", name or ""])
    run_deepfood("build", root / "photos", "--out", root / "gallery")
    return SmallGallery(root / "gallery", photos)


def build_dish_gallery(root: Path) -> Path:
    """A gallery of three dishes with labels enough to be calibrated.

    `root/new` holds other photos of them, and of a fourth dish that the gallery lacks.
    """
    photos = write_dishes(root / "photos", 30, labels=3)
    write_dishes(root / "new", 6, start=500)
    run_deepfood("build", photos, "--out", root / "gallery")
    return root / "gallery"


@contextmanager
def serving(gallery: Path, *options: str) -> Iterator[Server]:
    """`deepfood serve` in a process of its own, on a port that was free; ended on leaving."""
    command = [sys.executable, "-m", "deepfood.cli", "serve", gallery, "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        try:
            for line in process.stdout:
                lines.append(line)
                if found := re.search(r"http://\S+", line):
                    yield Server(found[0], process)
                    break
            else:
                pytest.fail(f"deepfood serve did not start:\n{''.join(lines)}")
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def run_here(*arguments: object) -> int:
    """Run a deepfood command in this process, which is quicker; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["deepfood", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def run_deepfood(*arguments: object) -> str:
    """Run a deepfood command to its end; what it printed."""
    command = [sys.executable, "-m", "deepfood.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
