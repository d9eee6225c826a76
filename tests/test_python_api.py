"""`import deepfood`: the names that it gives, when they are loaded, and what they do."""

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import deepfood
from deepfood.errors import DatasetError, QueryError, SettingError
from deepfood.local import LocalGallery
from live import SmallGallery, without_plates
from plates import jpeg, write_dishes, write_photos, write_tiny_model
from samples import photo

DOCS = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.mark.slow
def test_importing_deepfood_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import deepfood\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "assert new <= {'deepfood', *sys.stdlib_module_names}, new\n"
        "deepfood.DeepfoodError, deepfood.Settings, deepfood.Client\n"
        "loaded = {'numpy', 'faiss', 'openvino', 'onnxruntime', 'torch', 'fastapi'}\n"
        "assert not loaded & set(sys.modules), loaded & set(sys.modules)\n"
        "deepfood.open_gallery\n"
        "assert 'numpy' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_every_public_name_is_listed_and_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert set(deepfood.__all__) <= set(dir(deepfood))
    for name in deepfood.__all__:
        assert getattr(deepfood, name) is not None
        assert f"`{name}" in text or f"deepfood.{name}" in text, f"docs/python.md lacks {name}"
        if callable(getattr(deepfood, name)):
            assert inspect.getdoc(getattr(deepfood, name)), f"{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'open_galery'"):
        deepfood.open_galery  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.slow
def test_a_type_checker_knows_the_names_and_only_these(tmp_path: Path) -> None:
    """A module's `__getattr__` would make every name right."""
    program = tmp_path / "program.py"
    program.write_text(
        "import deepfood\n"
        "from deepfood_client import Client\n"
        "with deepfood.open_gallery('g') as gallery, Client('http://a') as food:\n"
        "    score: float = gallery.search('a.jpg', k=3).hits[0].score\n"
        "    score = food.search(b'', where='price < 3').hits[0].score\n"
        "    gallery.search('a.jpg', kk=3)\n"
        "deepfood.open_galery('g')\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", str(program)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=1500, cwd=DOCS.parents[1]
    )
    faults = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(faults) == 2, done.stdout
    assert 'program.py:6: error: Unexpected keyword argument "kk"' in faults[0]
    assert 'program.py:7: error: Module has no attribute "open_galery"' in faults[1]


def test_a_search_is_what_a_client_gets(small_gallery: SmallGallery, server_url: str) -> None:
    path = small_gallery.photos[9]
    with (
        deepfood.open_gallery(small_gallery.folder) as gallery,
        deepfood.Client(server_url) as food,
    ):
        assert len(gallery) == food.gallery().photos == 24
        for asked in (path, str(path), path.read_bytes(), [path]):
            here, there = gallery.search(asked, k=4), food.search(asked, k=4)
            assert [hit.photo.id for hit in here.hits] == [hit.id for hit in there.hits]
            assert [hit.score for hit in here.hits] == pytest.approx([h.score for h in there.hits])
            assert (here.verdict, here.total) == (there.verdict, there.total)
            assert (here.next is None) == (there.next is None)
        best = here.hits[0]
        assert (best.photo.name, best.photo.label) == ("Curry no. 1", "Curries")
        assert gallery.where(best.photo) == str(path)
        assert gallery.read(best.photo) == path.read_bytes()
        assert gallery.photo(best.photo.id) == best.photo
        assert gallery.vector(best.photo.id).shape == (1280,)
        assert gallery.attributes(best.photo.id) == best.attributes
        seen = gallery.search(Image.open(path), k=1).hits[0]
        assert seen.photo == best.photo
        for question in (
            {"id": best.photo.id, "k": 3},
            {"id": best.photo.id, "group_duplicates": True, "k": 5},
            {"id": best.photo.id, "where": "label = 'Curries'", "box": (0.1, 0.1, 0.5, 0.5)},
        ):
            mine = gallery.search(**question)  # type: ignore[arg-type]
            theirs = food.search(**question)  # type: ignore[arg-type]
            assert [hit.photo.id for hit in mine.hits] == [hit.id for hit in theirs.hits]
            assert [len(hit.alike) for hit in mine.hits] == [len(h.alike) for h in theirs.hits]
            assert [vars(one) for one in mine.notes] == [vars(one) for one in theirs.notes]
        pages = list(gallery.pages(path, k=10))
        assert [len(page.hits) for page in pages] == [10, 10, 4]


def test_a_search_that_cannot_be_answered_is_refused(small_gallery: SmallGallery) -> None:
    with deepfood.open_gallery(small_gallery.folder) as gallery:
        with pytest.raises(QueryError, match="nothing to search for"):
            gallery.search()
        with pytest.raises(DatasetError, match=r"there is no .*nowhere\.jpg"):
            gallery.search("nowhere.jpg")
        with pytest.raises(QueryError, match="k = 1000"):
            gallery.search(photo(), k=1000)


def test_a_gallery_is_built_changed_and_searched(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    write_photos(tmp_path / "photos", 5)
    settings = deepfood.load_settings(model=tmp_path / "model", index="exact")
    report = deepfood.build_gallery(tmp_path / "photos", tmp_path / "gallery", settings)
    assert (report.count, report.embedded, report.manifest.index.kind) == (5, 5, "exact")
    new = tmp_path / "soup.jpg"
    new.write_bytes(jpeg(901))
    settings = deepfood.load_settings()  # the gallery has its own Model
    with deepfood.open_gallery(tmp_path / "gallery", settings) as gallery:
        added = deepfood.add_photos(tmp_path / "gallery", [new], settings, label="Soups")
        (one, outcome), *more = added.photos
        assert (outcome, more, len(gallery)) == ("added", [], 6)
        assert gallery.search(new).hits[0].photo.id == one.id
        changed = deepfood.update_photo(tmp_path / "gallery", one.id, settings, name="Leek soup")
        assert (changed.label, changed.name) == ("Soups", "Leek soup")
        assert gallery.photo(one.id).name == "Leek soup"
        assert [gone.id for gone in deepfood.remove_photos(tmp_path / "gallery", [one.id])] == [
            one.id
        ]
        assert len(gallery) == 5


def test_photos_are_embedded_as_a_gallery_embeds_them(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    photos = write_photos(tmp_path / "photos", 4)
    settings = deepfood.load_settings(model=tmp_path / "model", cache=tmp_path / "cache")
    embedder = deepfood.open_embedder(settings)
    found = deepfood.embed_photos(photos, settings, embedder=embedder)
    assert found.vectors.shape == (4, embedder.dimension)
    assert found.embedded == 4
    first = photos / found.files[0].file
    assert (found.vectors[0] == embedder.embed(first.read_bytes())).all()
    assert deepfood.embed_photos(photos, settings).embedded == 0, "they are kept in the cache"


def test_releases_are_searched_and_never_changed(tiny_gallery: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deepfood", "push", str(tiny_gallery), str(tmp_path / "shelf")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    settings = deepfood.load_settings(cache=tmp_path / "cache")
    with deepfood.open_gallery(tmp_path / "shelf", settings) as gallery:
        assert len(gallery) == 12
    with pytest.raises(SettingError, match="is a release, which never changes"):
        deepfood.remove_photos(tmp_path / "shelf", ["a"], settings)
    with pytest.raises(SettingError, match="is a release, which never changes"):
        deepfood.add_photos(tmp_path / "shelf", [tmp_path], settings)


def test_the_examples_of_the_documentation_run(server_url: str, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 5)
    for seed, name in enumerate(("dinner.jpg", "soup.jpg")):
        (tmp_path / name).write_bytes(jpeg(900 + seed))
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    program = "".join(blocks).replace("http://127.0.0.1:8000", server_url)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "5 photos"
    assert "1 1" in said, "the soup that was added is found"
    assert "(5, 1280)" in said


@pytest.mark.train
def test_what_is_wrong_with_a_training_is_said_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="there is no loss 'hinge': known are"):
        deepfood.adapt_model(tmp_path, tmp_path / "model", loss="hinge")
    with pytest.raises(SettingError, match="there is no recipe 'fast'"):
        deepfood.train_model(tmp_path, tmp_path / "model", recipe="fast")


@pytest.mark.slow
def test_a_calibration_is_kept_in_the_gallery(tmp_path: Path) -> None:
    settings = deepfood.load_settings(
        model=write_tiny_model(tmp_path / "model"), cache=tmp_path / "cache"
    )
    photos, queries = write_dishes(tmp_path / "photos", 30), tmp_path / "queries"
    write_dishes(queries, 30, start=500)
    with without_plates():
        deepfood.build_gallery(photos, tmp_path / "gallery", settings)
        fitted = deepfood.calibrate_gallery(tmp_path / "gallery", queries, settings)
    assert (fitted.queries, fitted.queries_from) == (120, "held-out photos")
    with LocalGallery.open(tmp_path / "gallery") as opened:
        assert opened.manifest.calibration == fitted
    shutil.rmtree(queries)
    write_photos(queries, 3)
    with pytest.raises(DatasetError, match="has no labelled photos to ask with"):
        deepfood.calibrate_gallery(tmp_path / "gallery", queries, settings)


def test_an_evaluation_is_the_commands(dish_gallery: Path) -> None:
    done = deepfood.evaluate_gallery(dish_gallery, k=3)
    assert done.comparison is None
    assert 0 <= done.index_recall.value <= 1
