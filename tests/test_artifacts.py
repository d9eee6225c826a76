"""Manifests and atomic writes. Damage to whole galleries is in gallery/test_faults.py."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from deepfood.artifacts import FileRecord, Manifest, kind_of, write_atomically, write_result
from deepfood.errors import ArtifactMissingError, SettingError
from deepfood.info import describe, problems_of
from deepfood.model import ModelManifest
from plates import write_tiny_model


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    manifest = ModelManifest.read(folder)
    manifest.write(folder)
    assert ModelManifest.read(folder) == manifest
    assert kind_of(folder) == "model"
    assert describe(folder)["fingerprint"] == manifest.fingerprint
    assert list(problems_of(folder)) == []


def test_verify_finds_a_flipped_byte_in_a_model(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    contents = bytearray((folder / "model.onnx").read_bytes())
    contents[20] ^= 1
    (folder / "model.onnx").write_bytes(contents)
    assert list(problems_of(folder)) == ["model.onnx differs from its SHA-256 in the manifest"]


@given(st.text(max_size=30))
def test_no_file_name_leads_outside(name: str) -> None:
    record = {"bytes": 0, "sha256": "0" * 64}
    text = json.dumps({"kind": "x", "files": {name: record}})
    try:
        manifest = TypeAdapter(Manifest).validate_json(text)
    except ValidationError:
        return
    root = Path("/artefact")
    assert all((root / file).resolve().is_relative_to(root) for file in manifest.files)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\\..\\x", "", "."])
def test_names_that_lead_outside_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Manifest(kind="x", files={name: FileRecord(bytes=0, sha256="0" * 64)})


def test_nothing_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ArtifactMissingError, match=r"no manifest\.json"):
            describe(folder)


def test_an_atomic_write_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_result_is_written_whole_or_told_before_the_work(tmp_path: Path) -> None:
    write_result(tmp_path / "out.txt", b"done")
    assert (tmp_path / "out.txt").read_bytes() == b"done"
    for path, why in [
        (tmp_path, "it is a folder"),
        (tmp_path / "no/out.txt", "there is no folder"),
        (tmp_path / "out.txt/below", "there is no folder"),
    ]:
        with pytest.raises(SettingError, match=why):
            write_result(path, b"")
