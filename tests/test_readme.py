"""The README's examples, run in its order on a small gallery, as a new user's shell would."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import serving
from plates import jpeg, write_dishes

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str, having: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [block for block in found if having in block]


class Shell:
    """A folder with photos in it and `deepfood` on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = folder / "bin/deepfood"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deepfood "$@"\n')
        command.chmod(0o755)
        path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "HOME": str(folder)}
        write_dishes(folder / "photos", 6)
        for seed, name in enumerate(("dinner.jpg", "soup.jpg")):
            (folder / name).write_bytes(jpeg(900 + seed))

    def run(self, script: str, **environment: str) -> str:
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """With the gallery that the README builds first."""
    one = Shell(tmp_path_factory.mktemp("readme"))
    (block,) = blocks("sh", "deepfood build ~/photos")
    lines = block.splitlines()
    assert [line.split()[1] for line in lines] == ["build", "serve", "search"]
    one.run(lines[0])
    assert "photos/" in one.run(lines[2])
    return one


@pytest.fixture(scope="module")
def served(shell: Shell) -> Iterator[tuple[str, str]]:
    """The address of a server of that gallery, and a key to change it."""
    made = json.loads(shell.run("deepfood api-key --json"))
    with serving(shell.folder / "gallery", api_key_hashes=made["hash"]) as server:
        yield server.url, made["key"]


def here(block: str, url: str) -> str:
    assert "http://127.0.0.1:8000" in block
    return block.replace("http://127.0.0.1:8000", url.rstrip("/"))


def test_the_python_example_runs(shell: Shell, served: tuple[str, str]) -> None:
    (block,) = blocks("python", "Client(")
    (shell.folder / "example.py").write_text(here(block, served[0]))
    said = shell.run(f'"{sys.executable}" example.py').splitlines()
    assert len(said) == 6, "five hits and a page"
    assert int(said[5]) == 23, "all but the one asked with"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_requests_with_curl_run(shell: Shell, served: tuple[str, str]) -> None:
    url, key = served
    (search,) = blocks("sh", "api/v1/search")
    hits = json.loads(shell.run(here(search, url)))["hits"]
    assert len(hits) == 5
    (shown,) = blocks("json", '"hits"')
    fields = set(re.findall(r'"(\w+)":', shown)) - {"hits"}
    assert fields <= set(hits[0])
    (change,) = blocks("sh", "Bearer $KEY")
    script = here(change, url).replace("/photos/ID", f"/photos/{hits[0]['id']}")
    shell.run(script.replace("curl ", "curl --fail-with-body -sS "), KEY=key)
    # Declared, one added and one removed.
    assert json.loads(shell.run("deepfood info gallery --json"))["photos"] == 24
    assert "price" in shell.run("deepfood attributes gallery")


def test_releases_go_into_a_folder_as_into_a_bucket(shell: Shell) -> None:
    (block,) = blocks("sh", "deepfood push gallery")
    lines = block.replace("s3://bucket", str(shell.folder / "bucket")).splitlines()
    assert [line.split()[1] for line in lines] == ["push", "serve", "rollback"]
    shell.run(lines[0])
    with serving(shell.folder / "bucket/food") as server:
        assert server.url
    (shell.folder / "late.jpg").write_bytes(jpeg(999))
    shell.run("deepfood add gallery late.jpg")
    shell.run(lines[0])
    assert "is the latest" in shell.run(lines[2])
