"""The command that a message names installs an extra in the way that deepfood was installed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepfood.extras import install_command, missing_extra
from plates import write_photos, write_tiny_model

PIP = [sys.executable, "-m", "pip", "install"]


def installed_from(folder: Path, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installer leaves it that had deepfood from `source`, None for a registry."""
    about = folder / "site" / "deepfood-9.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: deepfood\nVersion: 9\n")
    if source is not None:
        (about / "direct_url.json").write_text(json.dumps(source))
    monkeypatch.syspath_prepend(folder / "site")
    monkeypatch.setattr(sys, "prefix", str(folder))


def test_what_an_installer_left_damaged_is_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_from(tmp_path, {}, monkeypatch)
    (about,) = tmp_path.glob("site/*/direct_url.json")
    for damaged in ("{", "[]"):
        about.write_text(damaged)
        assert shlex.split(install_command("train")) == [*PIP, "deepfood[train]"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, ["deepfood[train]"]),
        (
            {"url": "file:///home/a%20b/food", "dir_info": {"editable": True}},
            ["-e", "/home/a b/food[train]"],
        ),
        ({"url": "file:///home/food", "dir_info": {}}, ["/home/food[train]"]),
        (
            {
                "url": "https://a.example/food.git",
                "vcs_info": {"vcs": "git", "commit_id": "c0ffee"},
            },
            ["deepfood[train] @ git+https://a.example/food.git@c0ffee"],
        ),
        (
            {
                "url": "https://a.example/food.git",
                "vcs_info": {"vcs": "git", "commit_id": "c0ffee", "requested_revision": "v1"},
            },
            ["deepfood[train] @ git+https://a.example/food.git@v1"],
        ),
        (
            {"url": "file:///tmp/deepfood-9.whl", "archive_info": {}},
            ["deepfood[train] @ file:///tmp/deepfood-9.whl"],
        ),
    ],
)
def test_an_extra_comes_from_where_deepfood_came_from(
    source: Any, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_from(tmp_path, source, monkeypatch)
    assert shlex.split(install_command("train")) == [*PIP, *said]


@pytest.mark.parametrize(
    ("note", "installer"),
    [
        ("uv-receipt.toml", ["uv", "tool", "install", "--force"]),
        ("pipx_metadata.json", ["pipx", "install", "--force"]),
    ],
)
def test_the_installer_of_an_application_installs_its_extras(
    note: str, installer: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_from(tmp_path, {"url": "file:///home/food", "dir_info": {}}, monkeypatch)
    (tmp_path / note).touch()
    assert shlex.split(install_command("otel")) == [*installer, "/home/food[otel]"]


def test_the_error_says_what_is_missing_and_the_command() -> None:
    said = str(missing_extra("traces need an extra", "otel"))
    assert said == f"traces need an extra: {install_command('otel')}"
    assert shlex.split(install_command())[-1].endswith("[otel]") is False
    assert "\n" not in said


def test_no_message_names_a_command_of_its_own() -> None:
    source = Path(__file__).parents[1] / "src" / "deepfood"
    others = [path for path in source.rglob("*.py") if path.name != "extras.py"]
    assert [path.name for path in others if "pip install" in path.read_text()] == []
    raised = [path for path in others if "raise MissingExtraError(" in path.read_text()]
    assert raised == []


#: Commands, one a line, where nothing is installed that an extra brings.
_WITHOUT_EXTRAS = """
import json, sys
for name in ("torch", "timm", "onnx", "boto3", "botocore", "pymilvus"):
    sys.modules[name] = None
from deepfood.cli import main
for sys.argv in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit as end:
        assert end.code == 2
"""


@pytest.mark.slow
def test_each_command_names_the_extra_that_it_lacks(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    photos = write_photos(tmp_path / "photos", 2)
    out, model = tmp_path / "out", ("--model", tmp_path / "model")
    eb = ("s3://a-bucket/x", "--image", "i:1", "--region", "eu-central-1")
    commands = {
        ("adapt", photos, "--out", out, *model): "train",
        ("quantize", photos, "--out", out, *model): "train",
        ("model", "check", tmp_path / "model", "--against", "timm:x"): "train",
        ("deploy", "eb", *eb, "--apply"): "deploy",
        ("info", "milvus://localhost/food"): "milvus",
    }
    lines = json.dumps([["deepfood", *map(str, words)] for words in commands])
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_EXTRAS, lines], capture_output=True, text=True, check=True
    )
    said = done.stderr.splitlines()
    assert done.stdout == ""
    assert [re.search(r"\[(\w+)\]", line)[1] for line in said] == list(commands.values())  # type: ignore[index]
    assert all(line.startswith("deepfood: ") for line in said)
