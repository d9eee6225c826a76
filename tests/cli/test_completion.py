"""What the shell completes of a gallery, by the real protocol: ids, files, labels, attributes."""

import shlex
import shutil
from pathlib import Path

import pytest

from deepfood.gallery.photo import Photo
from deepfood.local import LocalGallery
from deepfood.local.complete import MOST, candidates
from live import SmallGallery, deepfood_here, run_deepfood

pytestmark = pytest.mark.slow

CURRIES = "15 photos"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, small_gallery: SmallGallery) -> Path:
    folder = tmp_path_factory.mktemp("completed") / "gallery"
    shutil.copytree(small_gallery.folder, folder)
    run_deepfood("attributes", folder, "--declare", "price=number", "--declare", "cuisine=text")
    return folder


@pytest.fixture(scope="module")
def photos(gallery: Path) -> list[Photo]:
    with LocalGallery.open(gallery) as opened:
        return opened.photos()[0]


def asked(shell: str, **words: str) -> list[str]:
    done = deepfood_here(_DEEPFOOD_COMPLETE=f"complete_{shell}", **words)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def in_bash(*words: object) -> list[str]:
    """What bash may insert for the last of the words, each as it was typed."""
    typed = ["deepfood", *map(str, words)]
    return asked("bash", COMP_WORDS=" ".join(typed), COMP_CWORD=str(len(typed) - 1))


def in_fish(line: str) -> list[tuple[str, str]]:
    lines = asked("fish", _TYPER_COMPLETE_ARGS=line, _TYPER_COMPLETE_FISH_ACTION="get-args")
    return [(text, about) for text, _, about in (one.partition("\t") for one in lines)]


@pytest.mark.parametrize(
    "before",
    [
        ("search", "GALLERY", "--id"),
        ("search", "GALLERY", "--not-id"),
        ("explain", "GALLERY", "--id"),
        ("explain", "GALLERY", "--hit"),
        ("history", "GALLERY"),
        ("update", "GALLERY"),
        ("remove", "GALLERY", "01.jpg"),
        ("label", "GALLERY", "--id"),
    ],
    ids=" ".join,
)
def test_an_id_is_completed(gallery: Path, photos: list[Photo], before: tuple[str, ...]) -> None:
    words = [str(gallery) if one == "GALLERY" else one for one in before]
    wanted = photos[3].id
    assert in_bash(*words, wanted[:10]) == [wanted]


def test_files_are_completed_where_a_file_names_a_photo(gallery: Path) -> None:
    assert in_bash("update", gallery, "03") == ["03.jpg"]
    assert in_bash("remove", gallery, "11.") == ["11.jpg"]
    assert in_bash("history", gallery, "03.") == []


def test_labels_are_completed_the_most_frequent_first(gallery: Path) -> None:
    assert in_bash("update", gallery, "03.jpg", "--label", "C") == ["Curries"]
    assert in_bash("add", gallery, "x.jpg", "--label", "s")[0] == "Soups"
    assert in_fish(f"deepfood update {gallery} 03.jpg --label c") == [("Curries", CURRIES)]


def test_a_label_of_several_words_is_escaped_for_bash_only(gallery: Path) -> None:
    label = "Stews & casseroles that simmer the whole Sunday long"
    before = ("update", gallery, "03.jpg", "--label")
    (escaped,) = in_bash(*before, "St")
    assert shlex.split(escaped) == [label]
    assert in_bash(*before, r"Stews\ \&\ ca") == [escaped]
    assert in_bash(*before, '"Stews & ca') == [label]
    assert in_fish(f"deepfood update {gallery} 03.jpg --label St") == [(label, "1 photo")]


def test_attributes_are_completed(gallery: Path) -> None:
    assert in_bash("attributes", gallery, "--drop", "pr") == ["price"]
    assert set(in_bash("attributes", gallery, "--safety", "")) == {"cuisine", "price"}
    assert in_bash("search", gallery, "--where", "c") == ["cuisine"]
    assert in_bash("search", gallery, "--where", "la") == ["label"]


def test_what_a_shell_would_evaluate_is_not_offered(tmp_path: Path, gallery: Path) -> None:
    changed = tmp_path / "gallery"
    shutil.copytree(gallery, changed)
    for number, label in enumerate((r"Zest \$(id)", "Zest `id`", "Zest; id", "Zest two")):
        run_deepfood("update", changed, f"1{number}.jpg", "--label", label)
    line = f"deepfood update {changed} 03.jpg --label Ze"
    for shell in ("zsh", "fish"):
        found = "\n".join(
            asked(shell, _TYPER_COMPLETE_ARGS=line, _TYPER_COMPLETE_FISH_ACTION="get-args")
        )
        assert "Zest two" in found
        assert "id" not in found
    assert in_bash("update", changed, "03.jpg", "--label", "Ze") == [r"Zest\ two"]


@pytest.mark.parametrize(
    "place", ["nowhere", "milvus://127.0.0.1:1/g", "s3://bucket/gallery", "milvus:/"]
)
def test_a_place_that_is_no_folder_has_no_candidates(tmp_path: Path, place: str) -> None:
    environment = {"COMP_WORDS": f"deepfood update {place} --label S", "COMP_CWORD": "4"}
    assert asked("bash", **environment) == []


def test_a_catalogue_that_cannot_be_read_has_none(tmp_path: Path, gallery: Path) -> None:
    broken = tmp_path / "gallery"
    shutil.copytree(gallery, broken)
    (catalogue,) = broken.rglob("catalogue.sqlite")
    catalogue.write_bytes(b"no database" * 1000)
    assert in_bash("update", broken, "0") == []


def test_of_many_candidates_the_first_and_last_are_among_those_shown(
    tmp_path: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell inserts what all have in common: without them it would insert too much."""
    monkeypatch.setattr("deepfood.local.complete.MOST", 3)
    assert MOST > 3
    ids = [text for text, _ in candidates(gallery, "id", "")]
    with LocalGallery.open(gallery) as opened:
        every = sorted(photo.id for photo in opened.photos()[0])
    assert ids == [*every[:3], every[-1]]
    labels = [text for text, _ in candidates(gallery, "label", "")]
    assert labels[:2] == ["Curries", "Soups"]
    with LocalGallery.open(gallery) as opened:
        known = {photo.label for photo in opened.photos()[0] if photo.label}
    assert {min(known), max(known)} <= set(labels)
    assert len(labels) <= 5
