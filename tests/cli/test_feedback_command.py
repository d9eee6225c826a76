"""`deepfood feedback` as a user meets it."""

import csv
import json
import shutil
import time
from hashlib import sha256
from pathlib import Path

import pytest

from deepfood.gallery.feedback import Feedback, Vote
from deepfood.local import LocalGallery
from live import deepfood_here, fails
from plates import jpeg

pytestmark = pytest.mark.slow

DAY_S = 24 * 3600


def test_votes_are_counted_exported_and_pruned(tiny_gallery: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    shutil.copytree(tiny_gallery, gallery)
    none = deepfood_here("feedback", gallery)
    assert none.returncode == 0
    assert "no feedback" in none.stdout
    assert json.loads(deepfood_here("feedback", gallery, "--json").stdout)["votes"] == 0
    assert "no feedback to export" in fails("feedback", gallery, "--out", tmp_path / "v.csv")

    with LocalGallery.open(gallery) as opened:
        model = opened.manifest.model_fingerprint
        first, second = (photo.id for photo in opened.sample(2, seed=0))
    now = time.time()
    votes = [
        Vote("eve", "q1", first, True, now - 100 * DAY_S, "another", None, "words"),
        Vote("eve", "q2", first, True, now - 50 * DAY_S, model, None, "words"),
        Vote("bob", "q2", first, False, now, model, None, "words"),
        Vote("bob", "q2", second, True, now, model, None, "words"),
        Vote("bob", "q2", "f" * 20, True, now, model, None, "words"),
    ]
    with Feedback.open(gallery, create=True) as feedback:
        feedback.add(votes)
    told = deepfood_here("feedback", gallery, "--out", tmp_path / "v.csv").stdout
    assert "5 votes, 4 right and 1 wrong, in 2 sessions on 2 questions" in told
    assert "1 hit is right to some sessions and wrong to others" in told
    assert "1 vote is on answers of another Model" in told
    assert "votes on 1 photo that is no longer in the gallery" in told
    with (tmp_path / "v.csv").open(newline="") as file:
        assert [row["hit"] for row in csv.DictReader(file)] == [vote.hit for vote in votes]

    assert "90d or 12h" in fails("feedback", gallery, "--prune", "soon")
    pruned = json.loads(deepfood_here("feedback", gallery, "--prune", "90d", "--json").stdout)
    assert (pruned["pruned"], pruned["votes"], pruned["models"]) == (2, 3, {model: 3})
    told = deepfood_here("feedback", gallery, "--prune", "12h").stdout
    assert "1 vote was deleted" in told
    assert "2 votes, 1 right and 1 wrong" in told
    assert "of visitors" not in told
    assert "made room" not in told

    photo = jpeg(7)
    asked = Vote("ann", sha256(photo).hexdigest(), second, True, now + 1, model, None, "photo")
    with Feedback.open(gallery, most=2) as feedback:
        feedback.add([asked])
        assert feedback.keep_photo(photo, 10**6)
    told = deepfood_here("feedback", gallery).stdout
    assert "2 votes, " in told
    assert f"\n  1 photo of visitors: {len(photo):,} bytes\n" in told
    assert told.endswith("\n  1 older vote made room (setting feedback_votes)\n")


def test_only_a_gallery_in_a_folder_has_feedback(tmp_path: Path) -> None:
    assert "on Milvus" in fails("feedback", "milvus://host:19530/food")
    assert "never change" in fails("feedback", "s3://bucket/food")
    assert str(tmp_path) in fails("feedback", tmp_path)
