"""Where settings come from, and what is said of wrong ones."""

import os
import pickle
from pathlib import Path

import pytest

from deepfood.config import Settings, export_settings, load_settings, only_given, quiet_ray
from deepfood.errors import SettingError


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_come_before_environment_before_file_before_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().port == 8000
    (tmp_path / "deepfood.toml").write_text('port = 1\nhost = "0.0.0.0"\nindex = "annoy"\n')
    assert load_settings().port == 1
    monkeypatch.setenv("DEEPFOOD_PORT", "2")
    assert load_settings().port == 2
    assert load_settings(port=3, host=None) == Settings(port=3, host="0.0.0.0", index="annoy")


def test_a_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text("max_k = 7\n")
    monkeypatch.setenv("DEEPFOOD_CONFIG", str(tmp_path / "other.toml"))
    assert load_settings().max_k == 7
    monkeypatch.setenv("DEEPFOOD_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(SettingError, match=r"nowhere\.toml.*no such file"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 70000", "port = 70000"),
        ('index = "ivf"', "index = 'ivf'"),
        ("colour = 3", "no setting 'colour'"),
        ("port = ", "deepfood.toml"),
        ('public_url = "ftp://x"', "public_url"),
        ("max_photo_bytes = -1", "max_photo_bytes = -1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "deepfood.toml").write_text(text)
    with pytest.raises(SettingError, match=said):
        load_settings()


def test_ray_reports_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "debug")
    quiet_ray()
    assert (os.environ["RAY_USAGE_STATS_ENABLED"], os.environ["RAY_BACKEND_LOG_LEVEL"]) == (
        "0",
        "debug",  # who has set it wants it so
    )


def test_only_what_is_given_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFOOD_PORT", "no port")
    (tmp_path / "deepfood.toml").write_text('index = "annoy"\n')
    found = only_given(threads=3, s3_region="eu-north-1")
    assert (found.port, found.index, found.threads, found.s3_region) == (
        8000,
        "auto",
        3,
        "eu-north-1",
    )
    assert pickle.loads(pickle.dumps(found)) == found  # as it travels to workers on Ray
    with pytest.raises(SettingError, match="threads = -1"):
        only_given(threads=-1)
    with pytest.raises(SettingError, match="no setting 'colour'"):
        only_given(colour=3)


def test_exported_settings_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"DEEPFOOD_{name.upper()}", "")
        monkeypatch.delenv(f"DEEPFOOD_{name.upper()}")
    settings = Settings(port=81, gallery=tmp_path / "g", public_url="https://a.example", max_k=3)
    export_settings(settings)
    assert load_settings() == settings
