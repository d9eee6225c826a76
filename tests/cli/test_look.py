"""`deepfood features` and `explain` as a user meets them."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from live import SmallGallery, deepfood_here, fails
from plates import jpeg, write_tiny_model

pytestmark = pytest.mark.slow


def test_a_grid_of_one_feature(small_gallery: SmallGallery, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    done = deepfood_here("features", small_gallery.folder, "--feature", 10, "-k", 7, "--out", out)
    assert done.returncode == 0, done.stderr
    *rows, last = done.stdout.splitlines()
    values = [float(row.split()[0]) for row in rows]
    assert len(rows) == 7
    assert values == sorted(values, reverse=True)
    assert str(out) in last
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert image.width > 5 * 220  # five in a row, and two below
        assert 2 * 220 < image.height < 3 * 280
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]

    lowest = deepfood_here("features", small_gallery.folder, "--feature", 10, "--lowest", "--json")
    found = json.loads(lowest.stdout)
    assert found["feature"] == 10
    assert len(found["photos"]) == 10
    low = [photo["value"] for photo in found["photos"]]
    assert low == sorted(low)
    assert max(low) <= min(values) + 1e-4
    assert set(found["photos"][0]) == {"value", "id", "file", "label", "name"}


def test_photos_that_are_gone_are_said_and_replaced(tmp_path: Path) -> None:
    photos, model = tmp_path / "photos", write_tiny_model(tmp_path / "model")
    photos.mkdir()
    for seed in range(6):
        (photos / f"{seed}.jpg").write_bytes(jpeg(seed))
    assert deepfood_here("build", photos, "--out", tmp_path / "g", "--model", model).returncode == 0
    asked = ["features", tmp_path / "g", "--model", model, "--feature", 3, "-k", 2]
    before = json.loads(deepfood_here(*asked, "--json").stdout)["photos"]
    (photos / before[0]["file"]).write_bytes(jpeg(99))
    out = tmp_path / "grid.png"
    done = deepfood_here(*asked, "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"not shown: {before[0]['file']}" in done.stdout
    assert before[1]["file"] in done.stdout.splitlines()[0]
    assert len(re.findall(r"^ ?-?\d\.\d+  ", done.stdout, re.MULTILINE)) == 2

    moved = tmp_path / "elsewhere"
    photos.rename(moved)
    said = fails(*asked, "--out", out)
    assert "none of these photos can be shown" in said
    assert "--photos-root" in said
    assert deepfood_here(*asked, "--out", out, "--photos-root", moved).returncode == 0


def test_all_features_on_one_page(small_gallery: SmallGallery, tmp_path: Path) -> None:
    out = tmp_path / "features.html"
    done = deepfood_here("features", small_gallery.folder, "--all", "-k", 3, "--out", out)
    assert done.returncode == 0, done.stderr
    page = out.read_text(encoding="utf-8")
    data = json.loads(
        re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)[0]
    )
    assert len(data["features"]) == 1280
    assert 3 <= len(data["photos"]) <= 24  # each picture once
    assert all(len(feature["photos"]) == 3 for feature in data["features"])
    assert "http" not in re.sub(r'http-equiv|content="[^"]*"', "", page)  # nothing from elsewhere
    assert "<b>Fish" not in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--feature", "1280"], "there is no feature 1280: this gallery's embedding has 0 to 1279"),
        ([], "--feature"),
        (["--feature", "1", "--all"], "not both"),
        (["--all"], "--out features.html"),
        (["--feature", "1", "--out", "no/such/folder/grid.png"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    small_gallery: SmallGallery, options: list[str], said: str
) -> None:
    assert said in fails("features", small_gallery.folder, *options)


def test_explain_draws_and_counts(small_gallery: SmallGallery, tmp_path: Path) -> None:
    out, photo = tmp_path / "pair.png", small_gallery.photos[9]
    done = deepfood_here(
        "explain", small_gallery.folder, photo, "--rank", 2, "--out", out, "--json"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    for side in ("query", "hit"):
        cells = np.array(answer[side]["contributions"])
        assert cells.shape == (7, 7)
        assert answer[side]["seen"]["height"] == 0.875
        assert cells.sum() == pytest.approx(answer["score"], abs=1e-4)
    with Image.open(io.BytesIO(out.read_bytes())) as image:
        assert image.format == "PNG"
    again = deepfood_here(
        "explain", small_gallery.folder, photo, "--hit", answer["hit"]["id"], "--out", out
    )
    assert again.returncode == 0, again.stderr
    assert f"{answer['score']:.3f}" in again.stdout
    assert str(out) in again.stdout
    out.unlink()
    asked = ("explain", small_gallery.folder, photo, "--hit", answer["hit"]["id"], "--json")
    assert json.loads(deepfood_here(*asked).stdout) == answer
    assert not out.exists()


def test_explain_says_what_is_wrong(small_gallery: SmallGallery, tmp_path: Path) -> None:
    photo, json_out = small_gallery.photos[0], "--json"
    asked = ["explain", small_gallery.folder]
    assert "--rank 25: the gallery has 24" in fails(*asked, photo, "--rank", 25, json_out)
    assert "there is no photo 'nope'" in fails(*asked, photo, "--hit", "nope", json_out)
    assert "not both" in fails(*asked, photo, "--hit", "a", "--rank", 1, json_out)
    assert "--out" in fails(*asked, photo)
    assert "there is no" in fails(*asked, tmp_path / "no.jpg", json_out)
    photos, model = tmp_path / "photos", write_tiny_model(tmp_path / "model")
    photos.mkdir()
    shutil.copy(photo, photos / "a.jpg")
    assert deepfood_here("build", photos, "--out", tmp_path / "g", "--model", model).returncode == 0
    said = fails("explain", tmp_path / "g", photo, "--model", model, json_out)
    assert "the Model tiny has no heat maps" in said
