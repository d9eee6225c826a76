"""Manifests and atomic writes. Damage to whole galleries is in gallery/test_faults.py."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from deepfood.artifacts import (
    MANIFEST,
    FileRecord,
    Manifest,
    kind_of,
    read_file,
    write_atomically,
    write_result,
)
from deepfood.beside import beside
from deepfood.config import load_settings
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactFormatError,
    ArtifactMissingError,
    SettingError,
)
from deepfood.info import describe, problems_of
from deepfood.local import LocalManifest
from deepfood.model import ModelManifest
from deepfood.place import Place
from plates import build, tiny_embedder, write_photos, write_tiny_model


def described(folder: Path) -> dict[str, Any]:
    return describe(Place.parse(folder), load_settings())


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    manifest = ModelManifest.read(folder)
    manifest.write(folder)
    assert ModelManifest.read(folder) == manifest
    assert kind_of(folder) == "model"
    assert described(folder)["fingerprint"] == manifest.fingerprint
    assert list(problems_of(Place.parse(folder), load_settings())) == []


def manifest_of(kind: str, folder: Path) -> tuple[type[Manifest], Path]:
    """A small artifact of each kind."""
    model = write_tiny_model(folder / "model")
    if kind == "model":
        return ModelManifest, model
    build(write_photos(folder / "photos", 2), folder / "gallery", tiny_embedder(model))
    return LocalManifest, folder / "gallery"


@pytest.mark.parametrize("kind", ["model", "gallery"])
def test_every_flipped_bit_of_a_manifest_is_found(kind: str, tmp_path: Path) -> None:
    manifest, folder = manifest_of(kind, tmp_path)
    path = folder / MANIFEST
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            with pytest.raises(ArtifactError):
                manifest.parse(bytes(damaged), folder)
    for end in range(len(whole)):  # cut off
        with pytest.raises(ArtifactCorruptError):
            manifest.parse(whole[:end], folder)
    path.write_bytes(whole.replace(b'"dimension": ', b'"dimension": 1'))
    for reading in (manifest.read, kind_of, described):
        with pytest.raises(ArtifactCorruptError, match="do not have its checksum"):
            reading(folder)


def first_format_of(path: Path, wanted: type[Manifest]) -> None:
    """Make a manifest one of format 1, which had no checksum; no later one goes without."""
    said = json.loads(path.read_bytes())
    del said["checksum"]
    path.write_text(json.dumps(said))
    with pytest.raises(ArtifactCorruptError, match="do not have its checksum"):
        wanted.read(path.parent)
    path.write_text(json.dumps({**said, "format_version": 1}))


def test_a_model_of_the_first_format_is_read(tmp_path: Path) -> None:
    manifest, folder = manifest_of("model", tmp_path)
    now = manifest.read(folder)
    first_format_of(folder / MANIFEST, manifest)
    early = manifest.read(folder)
    assert early == now.model_copy(update={"format_version": 1})
    assert list(problems_of(Place.parse(folder), load_settings())) == []
    early.write(folder)
    assert manifest.read(folder) == now


def test_a_gallery_of_the_first_format_is_refused(tmp_path: Path) -> None:
    manifest, folder = manifest_of("gallery", tmp_path)
    first_format_of(folder / MANIFEST, manifest)
    with pytest.raises(ArtifactFormatError, match=f"verify --repair {folder}"):
        manifest.read(folder)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


@pytest.mark.parametrize("put", [pipe, endless, huge, Path.mkdir], ids=lambda one: one.__name__)
def test_what_is_no_manifest_is_refused_in_a_line(
    put: Callable[[Path], None], tmp_path: Path
) -> None:
    put(tmp_path / MANIFEST)
    for reading in (ModelManifest.read, LocalManifest.read, kind_of, described):
        with pytest.raises(
            ArtifactCorruptError, match=r"manifest\.json cannot be read: .*"
        ) as told:
            reading(tmp_path)
        assert "\n" not in str(told.value)
    with pytest.raises(OSError, match=r"manifest\.json"):
        read_file(tmp_path / MANIFEST)


def test_verify_finds_a_flipped_byte_in_a_model(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    contents = bytearray((folder / "model.onnx").read_bytes())
    contents[20] ^= 1
    (folder / "model.onnx").write_bytes(contents)
    assert list(problems_of(Place.parse(folder), load_settings())) == [
        "model.onnx differs from its SHA-256 in the manifest"
    ]


@given(st.text(max_size=30))
def test_no_file_name_leads_outside(name: str) -> None:
    record = {"bytes": 0, "sha256": "0" * 64}
    text = json.dumps({"kind": "x", "files": {name: record}})
    try:
        manifest = TypeAdapter(Manifest).validate_json(text)
    except ValidationError:
        return
    root = Path("/artifact")
    assert all((root / file).resolve().is_relative_to(root) for file in manifest.files)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\\..\\x", "", "."])
def test_names_that_lead_outside_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Manifest(kind="x", files={name: FileRecord(bytes=0, sha256="0" * 64)})


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError, match=r"it has no manifest\.json"):
        described(tmp_path)
    (tmp_path / "gallery").mkdir()
    with pytest.raises(ArtifactMissingError, match=f"not there; there is {tmp_path}/gallery;"):
        described(tmp_path / "galery" / "food")
    with pytest.raises(ArtifactMissingError, match=f"not there; there is only {tmp_path};"):
        described(tmp_path / "nowhere")


def test_an_atomic_write_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


_WRITING = """
import sys
from pathlib import Path
from deepfood.artifacts import write_atomically
for number in range(100):
    write_atomically(Path(sys.argv[1]), sys.argv[2].encode() * 9999)
"""


@pytest.mark.slow
def test_any_number_of_processes_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITING, path, letter], stderr=subprocess.PIPE)
        for letter in "abcd"
    ]
    assert [writer.communicate(timeout=120)[1].decode() for writer in writers] == [""] * 4
    assert path.read_bytes() in [letter * 9999 for letter in (b"a", b"b", b"c", b"d")]
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


_KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from deepfood.artifacts import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_what_a_killed_process_was_writing_is_removed_and_what_is_being_written_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_WHILE_WRITING, path], check=False, timeout=300
    )
    assert killed.returncode == -9
    [left] = tmp_path.iterdir()
    assert left.read_bytes() == b"half of it"
    (tmp_path / ".file.of-yours").touch()
    with beside(path) as first:
        assert not left.exists()
        first.write_bytes(b"first")
        write_atomically(path, b"second")
        first.replace(path)
    assert path.read_bytes() == b"first"
    assert {one.name for one in tmp_path.iterdir()} == {"file", ".file.of-yours"}
    with contextlib.suppress(KeyError), beside(path):
        raise KeyError
    assert {one.name for one in tmp_path.iterdir()} == {"file", ".file.of-yours"}


def test_a_file_system_without_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    being_written = tmp_path / ".file.0123456789abcdef.new"  # by another process, for all one knows
    being_written.touch()
    monkeypatch.setattr("fcntl.flock", no_locks)
    write_atomically(tmp_path / "file", b"done")
    assert (tmp_path / "file").read_bytes() == b"done"
    assert {one.name for one in tmp_path.iterdir()} == {"file", being_written.name}


def test_a_result_is_written_whole_or_told_before_the_work(tmp_path: Path) -> None:
    write_result(tmp_path / "out.txt", b"done")
    assert (tmp_path / "out.txt").read_bytes() == b"done"
    for path, why in [
        (tmp_path, "it is a folder"),
        (tmp_path / "no/out.txt", "there is no folder"),
        (tmp_path / "out.txt/below", "there is no folder"),
        (tmp_path / ("x" * 250), "cannot be written: File name too long"),
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
    print(status, first, *sorted(path.name for path in folder.iterdir()))
    if status == 0:
        break
"""


@pytest.mark.slow
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
