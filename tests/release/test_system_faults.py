"""What the operating system refuses is told in one line that names the path; nothing hangs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shelves import settings

from deepfood.release.pull import pull
from deepfood.release.push import push
from plates import build, tiny_embedder, write_photos

pytestmark = pytest.mark.slow

#: Root may do all; without these rights it may do what the files' modes allow it.
_AS_OTHERS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
_AS_OTHERS += ["--inh-caps=-dac_override,-dac_read_search"]

COMMANDS = {
    "push": ("push", "gallery", "shelf", "--name", "two"),
    "pull": ("pull", "shelf", "--out", "new"),
    "pull over": ("pull", "shelf", "--out", "pulled"),
    "releases": ("releases", "shelf"),
    "promote": ("promote", "shelf@one"),
    "prune": ("prune", "shelf", "--keep", "1"),
    "verify": ("verify", "pulled"),
    "serve": ("serve", "gallery", "--port", "0"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery, a folder of its one release, and what was pulled from there."""
    top = tmp_path_factory.mktemp("made")
    build(write_photos(top / "photos", 3), top / "gallery", tiny_embedder(top / "model"))
    push(top / "gallery", str(top / "shelf"), settings(), name="one", quiet=True)
    pull(str(top / "shelf"), top / "pulled", settings(), quiet=True)
    return top


@pytest.fixture
def kitchen(made: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(made, tmp_path / "kitchen"))
    subprocess.run(["chmod", "-R", "u+rwX", tmp_path], check=True)


def deepfood(command: str, kitchen: Path) -> subprocess.CompletedProcess[str]:
    as_json = [] if command == "serve" else ["--json"]
    as_others = _AS_OTHERS if os.geteuid() == 0 else []
    return subprocess.run(
        [*as_others, sys.executable, "-m", "deepfood.cli", *COMMANDS[command], *as_json],
        cwd=kitchen,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    assert done.stderr.startswith("deepfood: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def forbidden(path: Path) -> None:
    path.chmod(0)


def unwritable(path: Path) -> None:
    path.chmod(0o555)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def failing(path: Path) -> None:
    """Reading it is an input/output error."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may do all")
@pytest.mark.parametrize(
    ("command", "fault", "path", "said"),
    [
        ("push", forbidden, "gallery/manifest.json", "cannot be read: Permission denied"),
        (
            "push",
            forbidden,
            "gallery/generation-000001/vectors.f32",
            "cannot be read: Permission denied",
        ),
        ("push", unwritable, "shelf/marks", "Permission denied: this user"),
        ("push", a_file, "shelf/blobs", "is not a folder: move it away"),
        ("push", failing, "gallery/manifest.json", "Input/output error"),
        ("push", failing, "gallery/generation-000001/catalogue.sqlite", "disk I/O error"),
        ("push", pipe, "shelf/latest", "is not a regular file: move it away"),
        ("pull", unwritable, "../kitchen", "Permission denied: this user may not"),
        ("pull", a_folder, "shelf/releases/one.json", "is not a regular file: move it away"),
        ("pull", pipe, "shelf/releases/one.json", "is not a regular file: move it away"),
        ("pull", a_file, "shelf", "it is a file"),
        ("pull over", pipe, "pulled/manifest.json", "was changed since it was pulled"),
        ("pull over", endless, "pulled/release.json", "holds an artifact of your own"),
        ("releases", forbidden, "shelf/releases", "Permission denied: this user may not"),
        ("releases", a_file, "shelf/releases", "is not a folder: move it away"),
        ("promote", a_folder, "shelf/latest", "is not a regular file: move it away"),
        ("prune", a_folder, "shelf/releases/one.json", "names one, which is not there"),
        ("verify", forbidden, "pulled/manifest.json", "cannot be read: Permission denied"),
        ("verify", endless, "pulled/manifest.json", "it is not a regular file"),
        (
            "serve",
            forbidden,
            "gallery/generation-000001/vectors.f32",
            "cannot be read: Permission denied",
        ),
        ("serve", pipe, "gallery/manifest.json", "it is not a regular file"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    command: str, fault: Callable[[Path], None], path: str, said: str, kitchen: Path
) -> None:
    fault(kitchen / path)
    told = one_line(deepfood(command, kitchen))
    assert said in told
    assert Path(path).parts[-1] in told or Path(path).parts[0] in told


_FEW_FILES = """
import json, os, resource, sys
sys.path[:0] = json.loads(sys.argv.pop(1))
import deepfood.cli, deepfood.release.pull
from deepfood.storage import Bucket
list(Bucket.open("shelf").list("marks"))  # obstore opens what its threads need
from limited import limit
limit(resource.RLIMIT_NOFILE, len(os.listdir("/proc/self/fd")))
deepfood.cli.main()
"""


def test_too_many_open_files_are_one_line(kitchen: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FEW_FILES, json.dumps(sys.path), *COMMANDS["pull"], "--json"],
        cwd=kitchen,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "raise the limit (ulimit -n)" in one_line(done)
