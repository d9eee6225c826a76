"""What a worker on Ray is handed (tests_cluster/test_on_ray.py runs them)."""

from pathlib import Path

import pytest

from deepfood.config import Settings, load_settings
from deepfood.on_ray import worker_settings
from deepfood.storage import S3Options


def test_a_worker_gets_what_it_needs_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFOOD_MILVUS_TOKEN", "root:secret")
    monkeypatch.setenv("DEEPFOOD_CURSOR_KEY", "secret")
    monkeypatch.setenv("DEEPFOOD_S3_ENDPOINT", "http://127.0.0.1:1")
    settings = load_settings(cache=tmp_path, max_decoding_bytes=5, precision="f32", ray_cpus=1.5)
    found = worker_settings(settings)
    assert S3Options.of(found) == S3Options.of(settings)
    assert (found.max_decoding_bytes, found.precision, found.threads) == (5, "f32", 2)
    assert found.device == "cpu"  # since Ray is asked for cores alone
    defaults = Settings.model_fields
    for name in ("milvus_token", "cursor_key", "api_key_hashes", "cache", "photos_store"):
        assert getattr(found, name) == defaults[name].default
