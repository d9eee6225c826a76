"""A real deepfood: commands, servers in processes of their own, and a small gallery for them."""

import csv
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
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
#: Plates of which no two are near-duplicates, which the page folds.
SEEDS = (
    *(1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1010, 1011, 1012, 1013),
    *(1014, 1020, 1026, 1028, 1030, 1039, 1048, 1057, 1059, 1064, 1066, 1068),
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
    """`log` is what the server has printed and logged so far."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


def build_tiny(root: Path, model: str = "model", *more: object) -> None:
    """`root/gallery` of `root/photos`, with the Model in `root/model`, in a process of its own."""
    run_deepfood(
        *("build", root / "photos", "--out", root / "gallery", "--model", root / model), *more
    )


def build_small_gallery(root: Path) -> SmallGallery:
    """24 photos with names and labels, and their gallery for the Model that ships."""
    photos = tuple(root / "photos" / f"{number:02}.jpg" for number in range(len(DISHES)))
    photos[0].parent.mkdir()
    with (root / "photos" / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "label", "name"])
        for number, (path, (name, label)) in enumerate(zip(photos, DISHES, strict=True)):
            plate(SEEDS[number], ODD_SIZES.get(number, (640, 480))).save(path, quality=90)
            rows.writerow([path.name, label or "", name or ""])
    run_deepfood("build", root / "photos", "--out", root / "gallery")
    return SmallGallery(root / "gallery", photos)


def build_dish_gallery(root: Path) -> Path:
    """A gallery of three dishes with labels enough to be calibrated, though not for plates.

    `root/new` holds other photos of them, and of a fourth dish that the gallery lacks.
    """
    photos = write_dishes(root / "photos", 30, labels=3)
    write_dishes(root / "new", 6, start=500)
    with without_plates():
        run_deepfood("build", photos, "--out", root / "gallery")
    return root / "gallery"


@contextmanager
def without_plates() -> Iterator[None]:
    """Galleries are calibrated without the curves of plates, which take four seconds each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepfood.serve.fit_plates.LEAST_PHOTOS", sys.maxsize)
        yield


@contextmanager
def quick_heads() -> Iterator[None]:
    """Heads are tried in two folds, and refined in two steps, where it does not matter what they
    learn: with the Model that ships, five and fifty take many seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepfood.train.cross_validate.FOLDS", 2)
        patch.setattr("deepfood.train.head._STEPS", (2, 2))
        yield


@contextmanager
def serving(gallery: Path | str, *options: str, **settings: object) -> Iterator[Server]:
    """`deepfood serve` in a process of its own, on a port that was free; ended on leaving."""
    environment = {f"DEEPFOOD_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "deepfood.cli", "serve", str(gallery), "--port", "0", *options]
    with (
        tempfile.NamedTemporaryFile() as log,
        # Not a pipe, which nobody would empty.
        subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment) as process,
    ):
        try:
            yield Server(_address(process, Path(log.name)), process, Path(log.name))
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=300)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where a server says that it listens."""
    while True:
        ended = process.poll() is not None
        text = log.read_text()
        if found := re.search(r"photos? on (http://\S+)", text):
            return found[1]
        if ended:
            pytest.fail(f"deepfood serve did not start:\n{text}")
        time.sleep(0.02)


def free_address() -> str:
    """Host and port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return f"127.0.0.1:{one.getsockname()[1]}"


def run_here(*arguments: object) -> int:
    """Run a deepfood command in this process, which is quicker; its exit status."""
    with pytest.MonkeyPatch.context() as patch, _log_as_it_was():
        patch.setattr(sys, "argv", ["deepfood", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def deepfood(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a deepfood command in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "deepfood.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )


def deepfood_here(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """As `run_here`, with what it printed; in one thread at a time."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        status = run_here(*arguments)
    texts = (stream.getvalue() for stream in (out, err))
    return subprocess.CompletedProcess(list(map(str, arguments)), status, *texts)


@contextmanager
def _log_as_it_was() -> Iterator[None]:
    """Undo what `deepfood serve` sets up: its log would go on writing to a stderr that is gone."""
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in ("deepfood", "uvicorn"))]
    levels = [logger.level for logger in loggers]
    handlers = root.handlers[:]
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for handler in root.handlers[:]:
            root.removeHandler(handler)
        for handler in handlers:
            root.addHandler(handler)
        logging.captureWarnings(False)


def run_deepfood(*arguments: object, **environment: str) -> str:
    """Run a deepfood command, which must succeed; what it printed."""
    done = deepfood_here(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(*arguments: object) -> str:
    """Run a deepfood command, which must fail; its error."""
    return one_line(deepfood_here(*arguments))


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a command that failed as commands do: in one line, and with nothing printed."""
    assert done.returncode == 2, done
    assert done.stderr.startswith("deepfood: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    return done.stderr
