"""Somebody else's encoder becomes a Model: by a short name, by `hf:`, and from a folder."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from colour_repositories import DIMENSION, immich_files, mobileclip2_files
from deepfood.cli import main
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactCorruptError,
    ArtifactError,
    DownloadError,
    MissingExtraError,
    SettingError,
)
from deepfood.get_model import get_model, look_up
from deepfood.model import ModelManifest, open_model
from deepfood.model.encoders import ENCODERS
from deepfood.model.golden import LEAST_F32
from deepfood.words import TextEmbedder
from hub_server import HubServer, OnHub, hub_server
from live import run_deepfood
from plates import write_photos, write_tiny_model

OPENAI = ENCODERS["clip-b32-openai"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    with hub_server() as state:
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        state.repositories[OPENAI.repository] = OnHub(immich_files(), {"license": "mit"})
        state.repositories["plhery/mobileclip2-onnx"] = OnHub(mobileclip2_files())
        yield state


def folder_of(files: dict[str, bytes], folder: Path) -> Path:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def got(source: str, out: Path, **how: object) -> ModelManifest:
    variant = str(how.pop("variant", ""))
    offer = look_up(source, out.parent / "cache", variant=variant, **how)  # type: ignore[arg-type]
    return get_model(offer, out, variant=variant, quiet=True)


def finds_red(folder: Path) -> None:
    words = TextEmbedder(open_model(folder))
    assert float(words.embed("red") @ words.embed("Red")) == pytest.approx(1)
    assert float(words.embed("red") @ words.embed("blue")) < 0.5


def test_by_a_short_name(server: HubServer, tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    commit = server.repositories[OPENAI.repository].commit
    made = got("clip-b32-openai", out)
    assert made == ModelManifest.read(out)
    assert made.source == f"hf:{OPENAI.repository}@{commit}"
    assert (made.name, made.licence, made.dimension) == ("clip-b32-openai", "MIT", DIMENSION)
    assert made.text_tower is not None
    assert made.text_tower.languages == "English"
    assert made.imported.keys() == set(immich_files()) - {"README.md", ".gitattributes"}
    assert made.imported["visual/model.onnx"].startswith("sha256:")
    assert made.imported["config.json"].startswith("git:")
    assert not list(made.problems(out, contents=True))
    finds_red(out)
    assert sorted(path.name for path in out.parent.iterdir()) == ["cache", "model"]


@pytest.mark.slow
def test_of_a_repository_with_several_encoders_one_is_taken(
    server: HubServer, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    made = got("mobileclip2-s2", out, accept=True)
    assert all("/s2/" in name or "/" not in name for name in made.imported)
    assert not server.asked("/s0/")
    assert made.text_tower is not None
    assert made.text_tower.pad_id == 0  # whatever its tokenizer file says
    finds_red(out)


def test_a_licence_is_agreed_to_before_anybody_is_asked(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"Apple.*research only.*with --accept-licence"):
        got("mobileclip2-s2", tmp_path / "model")
    assert not server.asked("")
    held = server.repositories[OPENAI.repository]
    for card, why in (
        ({"license": "cc-by-nc-4.0"}, "allows no commercial use"),
        ({"license": "apple-amlr"}, "allows no commercial use"),
        ({"license": "other", "license_name": "x", "license_link": "y"}, "has terms of its own"),
    ):
        held.card = card
        with pytest.raises(SettingError, match=why) as caught:
            got(f"hf:{OPENAI.repository}", tmp_path / "model")
        assert "\n" not in str(caught.value)
    held.card, held.gated = {"license": "mit"}, "auto"
    with pytest.raises(SettingError, match="has terms of its own"):
        got(f"hf:{OPENAI.repository}", tmp_path / "model")
    assert not server.asked("/resolve/")
    held.gated, held.card = False, {"license": "cc-by-nc-4.0"}
    made = got(f"hf:{OPENAI.repository}", tmp_path / "model", accept=True)
    assert made.licence == "cc-by-nc-4.0"
    assert made.name == "ViT-B-32__openai"


@pytest.mark.slow
def test_a_repository_without_a_licence(server: HubServer, tmp_path: Path) -> None:
    server.repositories[OPENAI.repository].card = {}
    source = f"hf:{OPENAI.repository}@v1"
    assert got(source, tmp_path / "a").licence == "unknown: see its source"
    assert got(source, tmp_path / "b", licence="ours").licence == "ours"
    with pytest.raises(SettingError, match="is under MIT: --licence is for a source that names no"):
        got("clip-b32-openai", tmp_path / "c", licence="ours")


def test_a_folder_with_the_same_files(tmp_path: Path) -> None:
    made = got(str(folder_of(immich_files(), tmp_path / "copied")), tmp_path / "model")
    assert (made.name, made.source, made.licence) == ("copied", "folder copied", "mit")
    finds_red(tmp_path / "model")
    offer = look_up(str(tmp_path / "copied"), tmp_path / "cache")
    files = [tmp_path / "copied" / name for name in offer.files.values()]
    assert offer.bytes == sum(file.stat().st_size for file in files)


def test_what_is_no_source(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"is not a short name \(there is clip-b32-openai\)"):
        got("clip-b32-opnai", tmp_path / "model")
    with pytest.raises(SettingError, match="is not a short name, nor hf:OWNER/NAME, nor a folder"):
        got(str(tmp_path / "nothing"), tmp_path / "model")
    server.repositories["a/b"] = OnHub({"README.md": b"x"})
    with pytest.raises(
        ArtifactError, match=r"hf:a/b@[0-9a-f]{40} cannot be imported: it has no known"
    ):
        got("hf:a/b", tmp_path / "model")
    with pytest.raises(ArtifactError, match="no graphs by suffix"):
        got("clip-b32-openai", tmp_path / "model", variant="fp16")
    (tmp_path / "model").touch()
    with pytest.raises(SettingError, match="model is a file: name a folder"):
        got("clip-b32-openai", tmp_path / "model")


@pytest.mark.slow
def test_an_earlier_model_is_replaced_by_one_that_works_only(
    server: HubServer, tmp_path: Path
) -> None:
    out = write_tiny_model(tmp_path / "model")
    held = server.repositories[OPENAI.repository].files
    sound = dict(held)
    for name, body in (
        ("visual/model.onnx", b"<html>"),
        ("textual/tokenizer.json", b"{}"),
        ("config.json", b"[]"),
    ):
        held.update(sound | {name: body})
        with pytest.raises(ArtifactError) as caught:
            got("clip-b32-openai", out)
        assert "\n" not in str(caught.value)
        assert open_model(out).manifest.name == "tiny"
    held.update(sound)
    server.blobs.drops = [10] * 20
    offer = look_up("clip-b32-openai", tmp_path / "other")
    assert offer.hub is not None
    hurried = replace(offer, hub=replace(offer.hub, backoff_s=0.001))
    with pytest.raises(DownloadError, match="run the same command again"):
        get_model(hurried, out, quiet=True)
    server.blobs.drops = []
    assert open_model(out).manifest.name == "tiny"
    made = got("clip-b32-openai", out)
    assert open_model(out).manifest == made
    assert sorted(path.name for path in out.iterdir()) == sorted([*made.files, "manifest.json"])
    finds_red(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "model", "other"]


def test_two_at_once_are_told_apart_and_a_killed_one_leaves_nothing(tmp_path: Path) -> None:
    files, out = folder_of(immich_files(), tmp_path / "files"), tmp_path / "model"
    (tmp_path / ".getting-model").mkdir()
    (tmp_path / ".getting-model" / "half").write_bytes(b"of one that was killed")
    with FileLock(tmp_path / ".getting-model.lock"), pytest.raises(ArtifactBusyError, match="wait"):
        got(str(files), out)
    got(str(files), out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "model"]


def test_without_the_extra_nothing_is_fetched(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs the package onnx: .*\[words\]"):
        got("clip-b32-openai", tmp_path / "model")
    assert not server.asked("")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object, code: int = 0) -> None:
    monkeypatch.setattr(sys, "argv", ["deepfood", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code


@pytest.mark.slow
def test_the_command_line(
    server: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "model"
    run(monkeypatch, "model", "get", "clip-b32-openai", "--out", out)
    printed = capsys.readouterr()
    assert f"hf:{OPENAI.repository}@" in printed.err
    assert "6 files, 0 MB; licence: MIT" in printed.err
    assert f"for a gallery: deepfood build PHOTOS --model {out} --out GALLERY" in printed.out
    run(monkeypatch, "model", "get", "clip-b32-openai", "--out", tmp_path / "b", "--json")
    printed = capsys.readouterr()
    about = json.loads(printed.out)
    assert printed.err == ""
    assert (about["model"], about["licence"]) == (str(tmp_path / "b"), "MIT")
    run(monkeypatch, "model", "info", out)
    shown = capsys.readouterr().out
    assert "photos and words (English)" in shown
    assert "MB more from the first words on" in shown
    run(monkeypatch, "model", "info", out, "--json")
    assert json.loads(capsys.readouterr().out)["source"] == about["source"]
    run(monkeypatch, "model", "check", out, "--json")
    proof = json.loads(capsys.readouterr().out)["proof"]
    assert min(proof["photos"], proof["words"]) >= LEAST_F32
    run(monkeypatch, "model", "check", out)
    assert "words:  cosine 1.0000" in capsys.readouterr().out
    run(monkeypatch, "model", "get", "mobileclip2-s0", "--out", out, code=2)
    printed = capsys.readouterr()
    assert printed.err.startswith("deepfood: mobileclip2-s0 is under Apple")
    assert printed.err.count("\n") == 1


def test_a_model_without_golden_vectors_and_what_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = write_tiny_model(tmp_path / "tiny")
    run(monkeypatch, "model", "check", tiny)
    assert "nothing to compare with" in capsys.readouterr().out
    run(monkeypatch, "model", "info", tiny)
    assert "takes        photos\n" in capsys.readouterr().out
    run(monkeypatch, "model", "info", tmp_path, code=2)
    assert "is not a model: it has no manifest.json" in capsys.readouterr().err


@pytest.mark.slow
def test_check_refuses_a_model_that_gives_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = immich_files()
    out = tmp_path / "model"
    got(str(folder_of(files, tmp_path / "files")), out)
    golden = json.loads((out / "golden.json").read_text())
    golden["words"][0] = golden["words"][2][::-1]
    # As a faulty runtime would: the manifest fits, the vectors do not.
    (out / "golden.json").write_text(json.dumps(golden))
    manifest = ModelManifest.read(out)
    record = type(manifest.files["golden.json"]).of(out / "golden.json")
    manifest.model_copy(update={"files": {**manifest.files, "golden.json": record}}).write(out)
    run(monkeypatch, "model", "check", out, code=2)
    assert "gives other text vectors here than where it was made" in capsys.readouterr().err
    with pytest.raises(ArtifactCorruptError):
        TextEmbedder(open_model(out)).embed("red")


def test_the_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "model", "list", "--json")
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert listed.keys() == ENCODERS.keys()
    assert listed["siglip-b16"]["food101_percent"] == 91.6
    assert listed["mobileclip2-s2"]["must_accept_licence"]
    assert not listed["dinov2-s"]["text_tower"]
    run(monkeypatch, "model", "list")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ENCODERS) + 1
    assert all(len(line) < 120 for line in lines)


@pytest.mark.slow
def test_words_without_the_extra_leave_searching_by_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gallery whose Model has a text tower, in an environment without `deepfood[words]`."""
    model = tmp_path / "model"
    got(str(folder_of(immich_files(), tmp_path / "files")), model)
    photos = write_photos(tmp_path / "photos", 3)
    run_deepfood("build", photos, "--out", tmp_path / "gallery", "--model", model)
    photo = min(photos.iterdir())
    code = (
        "import sys\n"
        "for name in ('tokenizers', 'onnx', 'huggingface_hub'): sys.modules[name] = None\n"
        "from deepfood.cli import main\n"
        "main()"
    )
    for arguments, said in (
        (("search", tmp_path / "gallery", photo, "-k", "1", "--json"), photo.name),
        (("info", tmp_path / "gallery"), "photos"),
        (("model", "info", model), "photos and words"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    done = subprocess.run(
        [sys.executable, "-c", code, "embed", "--words", str(tmp_path / "w"), "--out", "x.npz"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder_of({"w": b"red\n"}, tmp_path),
        env={**os.environ, "DEEPFOOD_MODEL": str(model)},
    )
    assert done.returncode == 2
    assert "words need the package tokenizers" in done.stderr
    assert done.stderr.count("\n") == 1
