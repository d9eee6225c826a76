"""The examples of the README and of the pages for beginners, run on a small gallery, in a shell."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import quick_heads, run_deepfood, serving
from plates import jpeg, write_dishes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README, PHOTOS, PROGRAMS, RELEASES = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/photos.md", "docs/programs.md", "docs/releases.md")
)


def photos_of(shell: "Shell") -> list[Path]:
    return sorted((shell.folder / "photos").rglob("*.jpg"))


def the_block(text: str, language: str, having: str) -> str:
    """The one block of `text` that holds `having`."""
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in found if having in block]
    return str(block)


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
            timeout=300,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def deepfood(self, commands: str) -> str:
        """What deepfood's commands print, one a line, run in this process: it is quicker."""
        printed = ""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for line in commands.splitlines():
                program, *words = shlex.split(line, comments=True)
                assert program == "deepfood"
                printed += run_deepfood(*words)
        return printed


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """With the gallery that the README builds first."""
    one = Shell(tmp_path_factory.mktemp("readme"))
    block = the_block(README, "sh", "deepfood serve gallery")
    assert block == the_block(PHOTOS, "sh", "deepfood serve gallery")
    lines = block.splitlines()
    assert [line.split()[1] for line in lines] == ["build", "serve", "search"]
    one.run(lines[0])
    assert "photos/" in one.run(lines[2])
    return one


@pytest.fixture(scope="module")
def served(shell: Shell) -> Iterator[tuple[str, str]]:
    """The address of a server of that gallery, and a key to change it."""
    made = json.loads(shell.deepfood("deepfood api-key --json"))
    with serving(shell.folder / "gallery", api_key_hashes=made["hash"]) as server:
        yield server.url, made["key"]


def here(block: str, url: str) -> str:
    assert "http://127.0.0.1:8000" in block
    return block.replace("http://127.0.0.1:8000", url.rstrip("/"))


def test_the_python_examples_run(shell: Shell, served: tuple[str, str]) -> None:
    example = shell.folder / "example.py"
    example.write_text(here(the_block(README, "python", "Client("), served[0]))
    assert len(shell.run(f'"{sys.executable}" example.py').splitlines()) == 5
    example.write_text(here(the_block(PROGRAMS, "python", "Client("), served[0]))
    said = shell.run(f'"{sys.executable}" example.py').splitlines()
    assert len(said) == 17, "five hits, a page of others, why, names, and nine doubtful labels"
    assert int(said[5]) == 23, "all but the one asked with"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_requests_with_curl_run(shell: Shell, served: tuple[str, str]) -> None:
    url, key = served
    search = the_block(PROGRAMS, "sh", "api/v1/search")
    assert search == the_block(README, "sh", "api/v1/search")
    hits = json.loads(shell.run(here(search, url)))["hits"]
    assert len(hits) == 5
    shown = the_block(PROGRAMS, "json", '"hits"')
    fields = set(re.findall(r'"(\w+)":', shown)) - {"hits"}
    assert fields <= set(hits[0])
    change = the_block(PROGRAMS, "sh", "declare an attribute")
    script = here(change, url).replace("/photos/ID", f"/photos/{hits[0]['id']}")
    shell.run(script.replace("curl ", "curl --fail-with-body -sS "), KEY=key)
    # Declared, one added and one removed.
    assert json.loads(shell.deepfood("deepfood info gallery --json"))["photos"] == 24
    assert "price" in shell.deepfood("deepfood attributes gallery")


def test_a_gallery_is_changed_without_a_rebuild(shell: Shell) -> None:
    script = the_block(PHOTOS, "sh", "deepfood add gallery")
    shell.run("cp -R gallery changed")
    before = json.loads(shell.deepfood("deepfood info changed --json"))["photos"]
    (shell.folder / "soup.jpg").write_bytes(jpeg(998))
    shell.deepfood(script.replace(" gallery", " changed"))
    assert json.loads(shell.deepfood("deepfood info changed --json"))["photos"] == before + 1


def test_the_filter_passes_what_it_says(shell: Shell) -> None:
    script = the_block(README, "sh", "--where")
    rows = [f"{path.relative_to(shell.folder / 'photos')},4,Thai" for path in photos_of(shell)[:3]]
    (shell.folder / "dishes.csv").write_text("\n".join(["file,price,cuisine", *rows, ""]))
    shell.run("cp -R gallery filtered")
    assert "3 of 3 photos" in shell.deepfood(script.replace(" gallery", " filtered"))


def test_labels_are_learned_and_the_gallery_pushed(shell: Shell) -> None:
    script = the_block(README, "sh", "deepfood adapt")
    photos = write_dishes(shell.folder / "more", 12)
    for command, name in (("~/photos", str(photos)), (" gallery", " learned")):
        script = script.replace(command, name)
    with quick_heads():
        shell.deepfood(script.replace("s3://bucket", str(shell.folder / "shelf")))
    assert len(json.loads(shell.deepfood("deepfood releases shelf/food --json"))["releases"]) == 1


def test_releases_go_into_a_folder_as_into_a_bucket(shell: Shell) -> None:
    block = the_block(RELEASES, "sh", "deepfood push gallery")
    lines = block.replace("s3://bucket", str(shell.folder / "bucket")).splitlines()
    assert [line.split()[1] for line in lines] == ["push", "serve", "rollback"]
    shell.deepfood(lines[0])
    with serving(shell.folder / "bucket/food") as server:
        assert server.url
    (shell.folder / "late.jpg").write_bytes(jpeg(999))
    shell.deepfood("deepfood add gallery late.jpg")
    shell.deepfood(lines[0])
    assert "is the latest" in shell.deepfood(lines[2])


def test_the_commands_of_the_other_pages_run(shell: Shell) -> None:
    pages = {
        name: (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
        for name in ("filters", "index", "install", "troubleshooting")
    }
    first = the_block(pages["index"], "sh", "deepfood build").splitlines()[0]
    shell.deepfood(first.replace("~/photos", "photos").replace("--out gallery", "--out other"))
    photo = photos_of(shell)[0].relative_to(shell.folder / "photos")
    rows = f"file,price,cuisine\n{photo},4.5,thai\n"
    (shell.folder / "dishes.csv").write_text(rows, encoding="utf-8")
    of_other = {
        having: the_block(pages[page], "sh", having).replace(" gallery", " other")
        for page, having in (
            ("filters", "--where"),
            ("filters", "--declare"),
            ("troubleshooting", "deepfood settings"),
        )
    }
    assert "photos/" in shell.deepfood(of_other["--where"])
    declared = [one for one in of_other["--declare"].splitlines() if one.startswith("deepfood")]
    assert len(declared) == 2
    shell.deepfood("\n".join(declared))
    assert "halal" in shell.deepfood("deepfood attributes other")
    assert "whole" in shell.deepfood(of_other["deepfood settings"])
    assert "Usage" in shell.run(the_block(pages["install"], "sh", "--help"))
