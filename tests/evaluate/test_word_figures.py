"""`evaluate --words`: on photos of colours, with a Model that knows their names."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deepfood
from deepfood.errors import DatasetError
from deepfood.evaluate.word_queries import DEPTH, WordQuery, label_queries, measure_words
from deepfood.gallery.photo import Photo
from live import run_deepfood
from text_models import COLOURS, write_colour_model

pytestmark = pytest.mark.slow

EACH = 12


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve shades of each colour but black, in class folders."""
    root = tmp_path_factory.mktemp("shades")
    write_colour_model(root / "model")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        if name == "black":
            continue
        (root / "photos" / name).mkdir(parents=True)
        for number in range(EACH):
            shade = np.clip(np.array(colour) + rng.normal(0, 25, 3), 0, 255).astype(int)
            image = Image.new("RGB", (80, 64), tuple(shade.tolist()))
            image.paste(tuple(rng.integers(0, 255, 3).tolist()), (0, 0, 30, 20))
            image.save(root / "photos" / name / f"{number}.png")
    run_deepfood("build", root / "photos", "--out", root / "gallery", "--model", root / "model")
    return root / "gallery"


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deepfood", "evaluate", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_label_asks_for_its_photos(gallery: Path) -> None:
    done = command(gallery, "--words", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["queries"], found["nonsense"]) == (len(COLOURS) - 1, 0)
    assert found["figures"]["recall@1"]["value"] == 1
    assert found["figures"]["MRR"]["value"] == 1
    assert found["figures"]["none, rightly"] is None
    assert found["missed"] == []


def test_a_table_with_words_that_name_nothing(gallery: Path, tmp_path: Path) -> None:
    table = tmp_path / "queries.csv"
    nonsense = ("bicycle", "asdfgh", "a wedding")
    lines = ["words,label", "Red!,red", "green please,green", *(f"{one}," for one in nonsense)]
    table.write_text("\n".join(lines))
    found = deepfood.evaluate_words(gallery, table)
    assert (found.queries, found.nonsense) == (5, 3)
    assert found.figures["none, rightly"].value == 1
    done = command(gallery, table, "--words")
    assert done.returncode == 0, done.stderr
    assert "5 texts, 3 of which should find nothing" in done.stdout


def test_nonsense_is_answered_by_none_and_no_photo(gallery: Path) -> None:
    with deepfood.open_gallery(gallery) as opened:
        nothing = opened.search(words="asdfgh")
        assert (nothing.verdict, nothing.hits, nothing.total) == ("none", (), 0)
        assert nothing.next is None
        there = opened.search(words="blue", k=5)
        assert there.verdict in ("match", "maybe")
        assert {hit.photo.label for hit in there.hits} == {"blue"}
        assert all(hit.probability is not None for hit in there.hits)


def test_the_command_says_that_there_is_nothing(gallery: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deepfood", "search", str(gallery), "--words", "asdfgh"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "nothing in this gallery is what the words name",
        "0 of 0 photos",
    ]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["words,label", "red,purple"], "line 2: no photo of the gallery has the label 'purple'"),
        (["words,id", "red,0123"], "line 2: the gallery has no photo '0123'"),
        (["words,label", ",red"], "line 2: it has no words"),
        (["text,label", "red,red"], "needs the columns words and label or id"),
        ([""], "needs the columns words and label or id"),
    ],
)
def test_tables_that_cannot_be_asked(
    gallery: Path, tmp_path: Path, lines: list[str], why: str
) -> None:
    table = tmp_path / "queries.csv"
    table.write_text("\n".join(lines))
    with pytest.raises(DatasetError, match=why):
        deepfood.evaluate_words(gallery, table)


def photo(number: int, label: str) -> Photo:
    return Photo(
        f"{number:020x}".ljust(64, "0"), f"{number}.jpg", label, None, "image/jpeg", 1, 1, 1, 1
    )


def test_the_figures_by_hand() -> None:
    photos = [photo(number, "soup" if number % 4 == 3 else "cake") for number in range(8)]
    found = measure_words(
        [
            WordQuery("soup", "soup"),
            WordQuery("last", ids=frozenset([photos[7].id])),
            WordQuery("never", "tea"),
            WordQuery("nonsense"),
        ],
        lambda words, _: (photos, "none" if words == "nonsense" else "match"),
        k=4,
        seed=0,
        quiet=True,
    )
    values = {name: one.value for name, one in found.figures.items()}
    assert values["recall@1"] == 0
    assert values["recall@4"] == pytest.approx(1 / 3)
    assert values["MRR"] == pytest.approx((1 / 4 + 1 / 8 + 0) / 3)
    assert (values["none, rightly"], values["none, wrongly"]) == (1, 0)
    assert found.missed == ("last", "never")
    assert found.k <= DEPTH


def test_without_labels() -> None:
    with pytest.raises(DatasetError, match="no labels to ask with"):
        label_queries([])
