"""The command that a message names installs an extra in the way that deepfood was installed."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from deepfood.extras import install_command, missing_extra

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
