"""Manifests and atomic writes. Damage to whole galleries is in gallery/test_faults.py."""

import json
import subprocess
import sys
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


#: Replaces the Model A by B, killed before its n-th rename: what is there, opened and then written.
_KILLED = """
import os, shutil, sys
from pathlib import Path
from deepfood.model import open_model
from deepfood.model.artifact import write_model
from deepfood.photo import Preprocess

def write(folder, name, ids):
    feed = Preprocess(
        size=64, crop=1.0, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3
    )
    write_model(
        folder, name.encode() * 999, f"card of {name}", trained_on=ids, name=name, backbone="none",
        dimension=8, preprocess=feed, source="a test", licence="none",
    )

def told(folder):
    model = open_model(folder)
    assert model.onnx.read_bytes() == model.manifest.name.encode() * 999
    assert model.trained_on == frozenset(["1"] if model.manifest.name == "A" else [])
    return model.manifest.name

top = Path(sys.argv[1])
write(top / "A", "A", ["1"])
for n in range(1, 99):
    folder = Path(shutil.copytree(top / "A", top / str(n)))
    child = os.fork()
    if child == 0:
        renames = []
        def hook(event, arguments):
            if event == "os.rename":
                renames.append(arguments)
                if len(renames) == n:
                    os.kill(os.getpid(), 9)
        sys.addaudithook(hook)
        write(folder, "B", [])
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    first = told(folder)
    write(folder, "C", [])
    assert told(folder) == "C"
    print(status, first, *sorted(path.name for path in folder.iterdir() if path.name[0] != "."))
    if status == 0:
        break
"""


def test_a_model_replaced_and_killed_at_any_moment_opens(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, tmp_path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    runs = [line.split() for line in done.stdout.splitlines()]
    # Two files and the manifest, twice: then it is whole.
    assert [(run[0], run[1]) for run in runs] == [
        *[("9", "A")] * 3,
        *[("9", "B")] * 3,
        ("0", "B"),
    ]
    assert {tuple(run[2:]) for run in runs} == {("README.md", "manifest.json", "model.onnx")}
