"""`deepfood settings`, and the warning about variables that are no settings."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from deepfood.config import Settings
from live import deepfood_here

pytestmark = pytest.mark.slow


def run(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("DEEPFOOD_")]:
            patch.delenv(name)
        return deepfood_here(*arguments, **environment)


def test_each_setting_is_shown_with_its_value_and_origin(tmp_path: Path) -> None:
    (tmp_path / "deepfood.toml").write_text('port = 81\nhost = "0.0.0.0"\n')
    done = run(tmp_path, "settings", "--json", DEEPFOOD_PORT="82")
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert list(shown) == list(Settings.model_fields)
    assert shown["port"] == {"value": 82, "from": "environment DEEPFOOD_PORT"}
    assert shown["host"] == {"value": "0.0.0.0", "from": "file deepfood.toml"}
    assert shown["max_k"] == {"value": 100, "from": "default"}
    lines = run(tmp_path, "settings", DEEPFOOD_PORT="82").stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["port"] == ["82", "environment", "DEEPFOOD_PORT"]
    assert rows["host"] == ["0.0.0.0", "file", "deepfood.toml"]
    assert rows["gallery"] == ["none", "default"]


def test_a_named_file_is_the_origin(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("max_k = 7\n")
    done = run(tmp_path, "settings", "--json", DEEPFOOD_CONFIG="other.toml")
    assert json.loads(done.stdout)["max_k"] == {"value": 7, "from": "file other.toml"}


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    secrets = {"DEEPFOOD_MILVUS_TOKEN": "root:geheim", "DEEPFOOD_CURSOR_KEY": "geheim"}
    for options in ([], ["--json"]):
        done = run(tmp_path, "settings", *options, **secrets)
        assert done.stdout.count("(set)") == 2
        assert "geheim" not in done.stdout + done.stderr


def test_unknown_variables_are_named_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "settings", DEEPFOOD_PROT="1", DEEPFOOD_COLOUR="red", DEEPFOOD_PORT="83")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "DEEPFOOD_COLOUR, DEEPFOOD_PROT" in done.stderr
    assert "DEEPFOOD_PORT" not in done.stderr
    assert "red" not in done.stderr
    assert run(tmp_path, "settings", DEEPFOOD_PORT="83").stderr == ""
