"""Where too few files may be open at once, each command says so in a line, and nothing is lost."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import own_limit_behind
from deepfood.local import LocalGallery
from deepfood.local.verify import gallery_problems
from plates import build, write_photos

pytestmark = pytest.mark.slow

COMMANDS = {
    "search": ("search", "gallery", "photos/plate-00001.jpg"),
    "add": ("add", "gallery", "new"),
    "build": ("build", "photos", "--out", "fresh"),
    "repair": ("verify", "gallery", "--repair"),
    "compact": ("compact", "gallery"),
    "serve": ("serve", "gallery", "--port", "0"),
}

#: Runs a command once for each number of files that may be opened beside those that are, and
#: prints how each ended: exit status, and what it wrote to stderr.
_RUN = """
import json, os, resource, sys, tempfile
sys.path[:0] = json.loads(sys.argv.pop(1))
import deepfood.cli
from limited import limit
for more in (1, 4, 8):
    with tempfile.TemporaryFile() as said:
        if not (child := os.fork()):
            os.dup2(said.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            limit(resource.RLIMIT_NOFILE, len(os.listdir("/proc/self/fd")) - 1 + more)
            deepfood.cli.main()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        print(json.dumps([code, said.read().decode()]), flush=True)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_so_in_a_line(command: str, tmp_path: Path, embedder: Embedder) -> None:
    photos = write_photos(tmp_path / "photos", 4)
    write_photos(tmp_path / "new", 1, start=50)
    build(photos, tmp_path / "gallery", embedder)
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(sys.path), *COMMANDS[command]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    ended = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(ended) == 3
    assert ended[0][0] != 0, "one more file is too few"
    for code, said in ended:
        assert code in (0, 1, 2) if command == "repair" else code in (0, 2), said
        assert "Traceback" not in said
        if code == 2:
            assert said.count("\n") == 1, said
            assert said.startswith("deepfood: "), said
    assert list(gallery_problems(tmp_path / "gallery", quiet=True)) == []
    assert not (tmp_path / "gallery/lost+found").exists()
    with LocalGallery.open(tmp_path / "gallery", embedder.model) as gallery:
        assert gallery.count in ((4, 5) if command == "add" else (4,))
    if command == "build":
        assert build(photos, tmp_path / "fresh", embedder).skipped == ()


@contextmanager
def no_more_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_no_photo_is_called_broken_for_it(tmp_path: Path) -> None:
    source = list_photos(write_photos(tmp_path / "photos", 1))
    with no_more_files():
        for read in (
            lambda: source.root.read("plate-00000.jpg", lambda size: None),
            lambda: source.root.head("plate-00000.jpg", 1),
            lambda: source.root.names(""),
        ):
            with pytest.raises(OSError, match="Too many open files"):
                read()


def test_a_library_that_says_it_in_words_is_understood() -> None:
    try:
        try:
            raise RuntimeError("Error opening x.so: Too many open files")
        except RuntimeError as error:
            raise ImportError("cannot import x") from error
    except ImportError as error:
        found = own_limit_behind(error)
    assert found is not None
    assert "Too many open files" in str(found)
    assert own_limit_behind(ImportError("no module x")) is None
