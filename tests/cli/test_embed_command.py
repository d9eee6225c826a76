"""`deepfood embed` as a user meets it."""

import csv
import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deepfood.model import open_model
from deepfood.words import TextEmbedder
from limited import deepfood_on_a_small_disk
from live import deepfood_here
from plates import jpeg, sha256, tiny_embedder, write_photos
from text_models import write_colour_model

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_embedder(tmp_path / "model").model.folder


def embed(
    photos: Path, out: Path, model: Path, *more: str, limit: int = 0
) -> subprocess.CompletedProcess[str]:
    command = ["embed", photos, "--out", out, "--model", model, *more]
    return deepfood_on_a_small_disk(limit, *command) if limit else deepfood_here(*command)


def fails(photos: Path, out: Path, model: Path, limit: int = 0) -> str:
    done = embed(photos, out, model, limit=limit)
    assert done.returncode == 2, done
    said = done.stderr.splitlines()[-1]
    assert said.startswith("deepfood: ")
    assert "Traceback" not in done.stderr
    return said


def test_vectors_ids_files_and_labels(tmp_path: Path, model: Path) -> None:
    photos = tmp_path / "photos"
    labelled = {"plain/1.jpg": "Süßes/Kuchen", "麻婆豆腐.jpg": "豆腐", "odd, name.jpg": ""}
    for seed, name in enumerate(labelled):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(jpeg(seed))
    with (photos / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("photo", "label"), *labelled.items()])
    out = tmp_path / "new folder" / "vectors.npz"
    done = embed(photos, out, model)
    assert done.returncode == 0, done.stderr
    assert f"{out}: 3 vectors of 192 numbers from tiny; 3 embedded, 0 known" in done.stdout
    assert done.stderr == ""  # no bar where there is no terminal
    with np.load(out, allow_pickle=False) as found:
        assert set(found.files) == {"vectors", "ids", "files", "labels"}
        assert found["files"].tolist() == sorted(labelled)
        assert found["labels"].tolist() == [labelled[name] for name in sorted(labelled)]
        data = [(photos / name).read_bytes() for name in sorted(labelled)]
        assert found["ids"].tolist() == [sha256(one)[:20] for one in data]
        assert found["vectors"].dtype == np.float32
        embedder = tiny_embedder(tmp_path / "again")
        assert np.array_equal(found["vectors"], np.array([embedder.embed(one) for one in data]))
        assert {found[name].dtype.kind for name in ("ids", "files", "labels")} == {"U"}


def test_photos_without_labels_and_again_from_the_cache(tmp_path: Path, model: Path) -> None:
    photos, out = write_photos(tmp_path / "photos", 5), tmp_path / "x.npz"
    for embedded in (5, 0):
        about = json.loads(embed(photos, out, model, "--json").stdout)
        assert (about["photos"], about["dimension"]) == (5, 192)
        assert (about["embedded"], about["reused"]) == (embedded, 5 - embedded)
    assert about["vectors"] == str(out)
    assert about["model"] == "tiny"
    with np.load(out) as found:
        assert found["labels"].tolist() == [""] * 5


def test_bad_photos_are_reported(tmp_path: Path, model: Path) -> None:
    photos, out = write_photos(tmp_path / "photos", 3), tmp_path / "x.npz"
    (photos / "plate-00001.jpg").write_bytes(jpeg(1)[:300])
    (photos / "text.jpg").write_text("no photo")
    done = embed(photos, out, model)
    assert done.returncode == 0
    assert "2 files are left out:" in done.stdout
    assert "  text.jpg: " in done.stdout
    skipped = json.loads(embed(photos, out, model, "--json").stdout)["left_out"]
    assert [one["file"] for one in skipped] == ["plate-00001.jpg", "text.jpg"]
    with np.load(out) as found:
        assert found["files"].tolist() == ["plate-00000.jpg", "plate-00002.jpg"]
        assert len(found["vectors"]) == len(found["ids"]) == len(found["labels"]) == 2


def test_copies_have_a_row_each(tmp_path: Path, model: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    (photos / "copy.jpg").write_bytes(jpeg(1))
    embed(photos, tmp_path / "x.npz", model)
    with np.load(tmp_path / "x.npz") as found:
        assert found["files"].tolist() == ["copy.jpg", "plate-00000.jpg", "plate-00001.jpg"]
        assert found["ids"][0] == found["ids"][2] != found["ids"][1]
        assert np.array_equal(found["vectors"][0], found["vectors"][2])


def test_places_that_are_no_file_for_vectors(tmp_path: Path, model: Path) -> None:
    photos = write_photos(tmp_path / "photos", 1)
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()
    assert "must end in .npz" in fails(photos, photos / "plate-00000.jpg", model)
    assert "is a folder" in fails(photos, tmp_path / "folder.npz", model)
    assert "is not a folder" in fails(photos, tmp_path / "file/x.npz", model)
    assert not (tmp_path / "cache").exists()  # refused before any work
    assert (photos / "plate-00000.jpg").read_bytes() == jpeg(0)
    assert "no photos" in fails(tmp_path / "folder.npz", tmp_path / "x.npz", model)
    assert "is not a model" in fails(photos, tmp_path / "x.npz", tmp_path / "nothing")


def test_a_full_disk_keeps_the_earlier_file(tmp_path: Path, model: Path) -> None:
    photos, out = write_photos(tmp_path / "photos", 40), tmp_path / "x.npz"
    embed(photos, out, model)
    before = out.read_bytes()
    write_photos(photos, 80, start=40)
    assert embed(photos, tmp_path / "other.npz", model).returncode == 0  # all in the cache
    # The cache has 90 kB of vectors, and the new file needs more than that.
    for limit in (93_000, 95_000, 100_000):
        said = fails(photos, out, model, limit=limit)
        assert f"no space left on the disk of {out}" in said
        assert out.read_bytes() == before
    assert zipfile.ZipFile(out).testzip() is None
    assert sorted(path.name for path in tmp_path.glob("*npz*")) == ["other.npz", "x.npz"]
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def embed_words(words: Path, out: Path, model: Path, *more: str) -> tuple[int, str, str]:
    done = deepfood_here("embed", "--words", words, "--out", out, "--model", model, *more)
    return done.returncode, done.stdout, done.stderr


def test_vectors_of_words(tmp_path: Path) -> None:
    model = write_colour_model(tmp_path / "model")
    words, out = tmp_path / "words.txt", tmp_path / "words.npz"
    words.write_text("\ufeffred\n\n  Green and blue \r\n豆腐\n", encoding="utf-8")
    code, said, _ = embed_words(words, out, model, "--json")
    assert code == 0
    about = json.loads(said)
    assert (about["texts"], about["dimension"], about["model"]) == (3, 192, "colours")
    code, said, _ = embed_words(words, out, model)
    assert code == 0
    assert said.startswith(f"{out}: 3 vectors of 192 numbers from colours, ")
    with np.load(out, allow_pickle=False) as found:
        assert found["texts"].tolist() == ["red", "Green and blue", "豆腐"]
        embedder = TextEmbedder(open_model(model))
        wanted = np.array([embedder.embed(one) for one in ("red", "Green and blue", "豆腐")])
        assert np.allclose(found["vectors"], wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("contents", "why"),
    [(b"", "holds no words"), (b"\n \n", "holds no words"), (b"caf\xe9", "is not UTF-8 (byte 3)")],
)
def test_files_that_hold_no_words(tmp_path: Path, contents: bytes, why: str) -> None:
    words = tmp_path / "words.txt"
    words.write_bytes(contents)
    model = write_colour_model(tmp_path / "model")
    code, _, said = embed_words(words, tmp_path / "x.npz", model)
    assert code == 2
    assert said.strip() == f"deepfood: --words {words} {why}"


def test_words_for_a_model_of_photos_only(tmp_path: Path, model: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("red")
    code, _, said = embed_words(words, tmp_path / "x.npz", model)
    assert code == 2
    assert "has no text tower, so it takes photos only" in said
