"""A path that cannot be used is one line in deepfood's own words, whichever argument it is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from live import fails, one_line
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


#: Commands, and how each ended.
_RUN = """
import json, sys
sys.path[:0] = json.loads(sys.argv.pop(1))
from live import deepfood_here
ended = [deepfood_here(*command.split()) for command in sys.argv[1:]]
print(json.dumps([(done.args, done.returncode, done.stdout, done.stderr) for done in ended]))
"""


def refused_without_rights(here: Path, commands: list[str]) -> list[str]:
    """The one-line errors of commands that have only the rights that the files' modes give."""
    as_others = _AS_OTHERS if os.geteuid() == 0 else []
    ran = subprocess.run(
        [*as_others, sys.executable, "-c", _RUN, json.dumps(sys.path), *commands],
        cwd=here,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    ended = [subprocess.CompletedProcess(*one) for one in json.loads(ran.stdout)]
    return [one_line(done).removeprefix("deepfood: ") for done in ended]


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may do all")
def test_paths_without_permission(here: Path) -> None:
    (here / "secret.jpg").chmod(0)
    (here / "closed").chmod(0)
    (here / "shut").chmod(0o555)
    denied = "cannot be read: Permission denied\n"
    unwritable = "cannot be written: the folder shut is not yours to write to\n"
    refused = {
        "search gallery secret.jpg": f"secret.jpg {denied}",
        "search gallery plain.jpg --not-photo secret.jpg": f"secret.jpg {denied}",
        "explain gallery secret.jpg --out x.png": f"secret.jpg {denied}",
        "explain gallery plain.jpg --out shut/x.png": f"shut/x.png {unwritable}",
        "features gallery --feature 1 --out shut/x.png": f"shut/x.png {unwritable}",
        "build closed --out made": f"closed {denied}",
        "embed closed --out made.npz": f"closed {denied}",
        "attributes gallery secret.jpg": f"secret.jpg {denied}",
        "data check closed": f"closed {denied}",
    }
    assert refused_without_rights(here, list(refused)) == list(refused.values())
    (here / "closed").chmod(0o755)


def test_paths_that_are_something_else(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root, too."""
    monkeypatch.chdir(here)
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
        assert fails(*command.split()).startswith(f"deepfood: {said}"), command
