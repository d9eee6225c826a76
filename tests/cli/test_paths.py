"""A path that cannot be used is one line in deepfood's own words, whichever argument it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plates import write_photos

pytestmark = pytest.mark.slow

#: Root may do all; without these rights it may do what the files' modes allow it.
_AS_OTHERS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
_AS_OTHERS += ["--inh-caps=-dac_override,-dac_read_search"]


@pytest.fixture
def here(tiny_gallery: Path, tmp_path: Path) -> Path:
    """A gallery, a photo, one that may not be read, and folders not to be read or written."""
    shutil.copytree(tiny_gallery, tmp_path / "gallery")
    photos = write_photos(tmp_path / "photos", 2)
    shutil.copy(photos / "plate-00000.jpg", tmp_path / "secret.jpg")
    shutil.copy(photos / "plate-00000.jpg", tmp_path / "plain.jpg")
    for name in ("closed", "shut"):
        (tmp_path / name).mkdir()
    return tmp_path


def refused(here: Path, *arguments: str, rights: bool = True) -> str:
    """What a command says on one line of standard error, with exit status 2."""
    as_others = [] if rights or os.geteuid() != 0 else _AS_OTHERS
    done = subprocess.run(
        [*as_others, sys.executable, "-m", "deepfood", *arguments],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2, done
    assert done.stderr.startswith("deepfood: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("deepfood: ")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may do all")
def test_paths_without_permission(here: Path) -> None:
    (here / "secret.jpg").chmod(0)
    (here / "closed").chmod(0)
    (here / "shut").chmod(0o555)
    denied = "cannot be read: Permission denied\n"
    unwritable = "cannot be written: the folder shut is not yours to write to\n"
    for command, said in {
        "search gallery secret.jpg": f"secret.jpg {denied}",
        "search gallery plain.jpg --not-photo secret.jpg": f"secret.jpg {denied}",
        "explain gallery secret.jpg --out x.png": f"secret.jpg {denied}",
        "explain gallery plain.jpg --out shut/x.png": f"shut/x.png {unwritable}",
        "features gallery --feature 1 --out shut/x.png": f"shut/x.png {unwritable}",
        "build closed --out made": f"closed {denied}",
        "embed closed --out made.npz": f"closed {denied}",
        "attributes gallery secret.jpg": f"secret.jpg {denied}",
        "data check closed": f"closed {denied}",
    }.items():
        assert refused(here, *command.split(), rights=False) == said
    (here / "closed").chmod(0o755)


def test_paths_that_are_something_else(here: Path) -> None:
    """For root, too."""
    no_folder = "plain.jpg/x.png cannot be written: there is no folder plain.jpg"
    for command, said in {
        "search gallery closed": "closed cannot be read: Is a directory",
        "search gallery plain.jpg --not-photo closed": "closed cannot be read: Is a directory",
        "explain gallery closed --out x.png": "closed cannot be read: Is a directory",
        "search gallery nothing.jpg": "there is no nothing.jpg",
        "search gallery /proc/self/mem": "/proc/self/mem cannot be read: Input/output error",
        "explain gallery plain.jpg --out closed": "closed cannot be written",
        "features gallery --feature 1 --out plain.jpg/x.png": no_folder,
    }.items():
        assert refused(here, *command.split()).startswith(said), command
