"""What commands print, for people and as JSON, where no other test looks: run in this process."""

import errno
import functools
import io
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfood.cli.app import _error_line
from deepfood.cli.calibrate import calibration_line
from deepfood.data.ifct2017 import _TITLE
from deepfood.evaluate import feature_page
from live import free_address, run_here
from plates import jpeg, plate, write_dishes, write_photos, write_tiny_model

pytestmark = pytest.mark.slow

Run = Callable[..., str]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command and gives what it prints; of one that ends with 2, its line on stderr."""

    def run(*arguments: object, code: int = 0) -> str:
        capfd.readouterr()
        ended = run_here(*arguments)
        printed = capfd.readouterr()
        assert ended == code, printed
        if code != 2:
            return printed.out
        assert printed.err.startswith("deepfood: ")
        assert printed.err.count("\n") == 1
        return printed.err

    return run


@pytest.fixture
def gallery(tiny_gallery: Path, tmp_path: Path) -> Path:
    """A gallery of 12 plates of its own, plate-00000.jpg and so on."""
    return Path(shutil.copytree(tiny_gallery, tmp_path / "gallery"))


def test_changes_are_made_listed_and_taken_back(run: Run, gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "soup.jpg").write_bytes(jpeg(50))
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    (tmp_path / "table.csv").write_text("file,price\nsoup.jpg,4\nbad.jpg,5\n,6\n")
    said = run("add", gallery, tmp_path / "table.csv", code=1).splitlines()
    assert said[0].startswith(f"{gallery}: 1 added, ")
    assert said[1] == "attributes of the tables: price"
    assert said[2] == "1 row names no photo: passed over"
    assert said[3] == "1 file is left out:"
    assert said[4].startswith("  bad.jpg: the photo is not ")

    first = json.loads(run("update", gallery, "plate-00001.jpg", "--label", "pie", "--json"))["id"]
    second = json.loads(run("update", gallery, "plate-00002.jpg", "--name", "Soup", "--json"))["id"]
    table = tmp_path / "labels.csv"
    table.write_text(f"id,label\n{first},curry\n{second},curry\n")
    labelled = json.loads(run("update", gallery, "--import", table, "--json"))
    assert labelled == {"gallery": str(gallery), "labels": {first: "curry", second: "curry"}}
    number = int(run("history", gallery).splitlines()[-2].split()[0])
    back = json.loads(run("history", gallery, "--undo", number, "--json"))
    assert back == {"gallery": str(gallery), "undone": number, "photos": [second]}
    undone = run("history", gallery, "--undo", number - 2)  # the name
    assert undone.startswith(f"change {number - 2} is taken back: 1 photo is as before it")
    gone = json.loads(run("remove", gallery, "plate-00001.jpg", "plate-00002.jpg", "--json"))
    assert [one["id"] for one in gone["removed"]] == [first, second]
    for wrong, why in (("{", "this is not JSON"), ("[4]", "give an object")):
        assert why in run("update", gallery, "soup.jpg", "--attributes", wrong, code=2)


def test_a_search_says_what_was_left_out_and_folded(
    run: Run, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFOOD_CURSOR_KEY", "a-key-of-the-user")  # for pages of other processes
    query = tmp_path / "query.jpg"
    query.write_bytes(jpeg(3))
    (tmp_path / "table.csv").write_text("file,allergens\nplate-00003.jpg,[]\n")
    run("attributes", gallery, tmp_path / "table.csv")
    said = run("search", gallery, query, "--where", 'NOT allergens HAS "nuts"').splitlines()
    assert said[-3:-1] == [
        "1 of 1 photo that passes the filter",
        "note: 11 photos are left out: allergens not known",
    ]
    (tmp_path / "small.png").write_bytes(_smaller(3))
    run("add", gallery, tmp_path / "small.png")
    assert "        alike: " in run("search", gallery, query, "-k", 1, "--group-duplicates")


def test_a_gallery_and_a_model_are_described(run: Run, gallery: Path, tiny_gallery: Path) -> None:
    assert "\nphotos " in run("info", gallery)
    assert run("info", tiny_gallery.parent / "model").startswith("kind ")


def test_explain_takes_photos_of_the_gallery(run: Run, gallery: Path, tmp_path: Path) -> None:
    listed = json.loads(run("search", gallery, "--words", "plate", "--json"))["hits"]
    photo, other = (one["id"] for one in listed[:2])
    found = run("explain", gallery, "--id", photo, "--hit", other, "--json", code=2)
    assert "heat map" in found


def test_options_that_do_not_go_together(run: Run, gallery: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for line, why in (
        (("embed", "--out", out), "give photos, or a file of words"),
        (("attributes", gallery, "--type", "price=number"), "--type needs a TABLE"),
        (("attributes", gallery, "--safety", "nuts"), "--safety needs a TABLE"),
        (("evaluate", gallery, "--words", "--report", out), "--words goes with none of"),
        (("explain", gallery, "--out", out), "give either a PHOTO or --id ID"),
    ):
        assert why in run(*line, code=2)
    assert not out.exists()


def test_what_cannot_be_read_or_written(run: Run, gallery: Path, tmp_path: Path) -> None:
    bundle = ("deploy", "eb", "s3://food/prod", "--image", "i:1", "--region", "eu-central-1")
    said = run(*bundle, "--out", "/dev/full", code=2)
    assert said == (
        "deepfood: No space left on device: free some space, and run the same command again\n"
    )
    (tmp_path / "loop").symlink_to("loop")
    said = run(*bundle, "--out", tmp_path / "loop", code=2)
    assert said == f"deepfood: {tmp_path / 'loop'}: Too many levels of symbolic links\n"
    said = run("embed", "--words", tmp_path, "--out", tmp_path / "out.npz", code=2)
    assert said.endswith("cannot be read: Is a directory\n")


def test_vectors_of_many_bad_photos(run: Run, tiny_gallery: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "vectors.npz"
    photos.mkdir()
    (photos / "good.jpg").write_bytes(jpeg(1))
    for number in range(30):
        (photos / f"{number:02}.jpg").write_bytes(b"no photo")
    said = run("embed", photos, "--out", out, "--model", tiny_gallery.parent / "model").splitlines()
    assert said[0].startswith(f"{out}: 1 vector of 192 numbers from tiny; ")
    assert said[1] == "30 files are left out:"
    assert said[-1] == f"  and {30 - (len(said) - 3)} more: all with --json"


def test_a_model_of_a_folder_of_releases(
    run: Run, tiny_gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    shelf = tmp_path / "shelf"
    run("push", tiny_gallery.parent / "model", shelf)
    completes = {"_DEEPFOOD_COMPLETE": "complete_bash", "COMP_CWORD": "4"}
    completes["COMP_WORDS"] = f"deepfood model info {shelf} --js"
    with pytest.MonkeyPatch.context() as tab:
        for name, value in completes.items():
            tab.setenv(name, value)
        assert run() == "--json\n"
    assert not (tmp_path / "cache").exists()  # nothing is fetched while one types
    assert run("model", "info", shelf).startswith("name         tiny\n")
    assert (tmp_path / "cache").exists()


def test_a_plate_of_a_gallery_whose_photos_are_away(
    run: Run, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFOOD_PHOTOS_ROOT", str(tmp_path / "nowhere"))
    query, out = tmp_path / "query.jpg", tmp_path / "plate.png"
    query.write_bytes(jpeg(3))
    said = run("search", gallery, query, "--plate", "--out", out, "-k", 1).splitlines()
    assert said[0] == "1 dish"
    assert said[1].startswith("1: most similar photos (box 0.000,")
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def own(run: Run, tmp_path: Path) -> Path:
    """A gallery of 30 plates that lie beside it, in `photos`."""
    write_tiny_model(tmp_path / "model")
    photos = write_photos(tmp_path / "photos", 30)
    run("build", photos, "--out", tmp_path / "own", "--model", tmp_path / "model")
    return tmp_path / "own"


def test_what_was_removed_stays_out(run: Run, own: Path, tmp_path: Path) -> None:
    run("remove", own, "plate-00004.jpg")
    assert json.loads(run("compact", own, "--json"))["photos"] == 29
    write_photos(tmp_path / "photos", 1, start=40)
    assert "1 file stays out: " in run("build", tmp_path / "photos", "--out", own)


def test_another_model_and_back(run: Run, own: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "coarse", pool=16)
    for number in range(25):
        (tmp_path / "photos" / f"plate-{number:05}.jpg").write_bytes(b"lost")
    reembed = ("reembed", own, "--model", tmp_path / "coarse")
    said = run(*reembed, code=2)
    assert "25 photos of " in said
    assert "; the first, plate-00000.jpg: " in said
    lines = run(*reembed, "--drop-unreadable").splitlines()
    at = lines.index("25 photos have no vector:")
    assert lines[at + 1].startswith("  plate-00000.jpg: ")
    assert lines[-1] == f"  and {25 - (len(lines) - at - 2)} more"
    assert any(line.startswith("answers without probabilities: ") for line in lines)
    back = json.loads(run("rollback", own, "--json"))
    assert (back["swapped"], back["model"], back["photos"]) == (True, "tiny", 30)
    forgotten = json.loads(run("rollback", own, "--forget", "--json"))
    assert forgotten == {"gallery": str(own), "forgotten": True}


def test_vectors_of_a_model_that_is_not_taken_are_kept_until_they_are_discarded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, gallery = write_dishes(tmp_path / "photos", 12, labels=3), tmp_path / "gallery"
    model = write_tiny_model(tmp_path / "model")
    run("build", photos, "--out", gallery, "--model", model)
    assert "give the new Model with --model" in run("reembed", gallery, code=2)
    reembed = ("reembed", gallery, "--model", write_tiny_model(tmp_path / "mean", pool=64))
    lines = run(*reembed, code=1).splitlines()
    assert lines[-2].startswith("labels that lost: crème brûlée (mAP 0.555, before 0.927), ")
    assert "36 embedded now" in lines[-1]
    assert lines[-1].endswith(
        "; nothing else changed; generation 1 of the Model tiny is the gallery"
    )
    monkeypatch.setattr("deepfood.evaluate.succession._MOST_PHOTOS", 35)
    told = json.loads(run(*reembed, "--compare", "--json"))
    assert (told["made"], told["refused"]) == (0, None), "the vectors are there"
    assert told["compared"]["lost"][0]["label"] == "crème brûlée"
    assert told["compared"]["photos"] == 35
    assert told["compared"]["notes"] == ["judged on 35 of the 36 labelled photos, drawn"]
    assert run("reembed", gallery, "--discard") == (
        f"{gallery}: the vectors of another Model are deleted\n"
    )
    assert run("reembed", gallery, "--discard") == f"{gallery}: there was nothing to be deleted\n"
    for other in (reembed[-2:], ("--compare",)):
        said = run("reembed", gallery, "--discard", *other, code=2)
        assert f"--discard makes no vectors, so that {other[0]} does nothing" in said
    assert json.loads(run(*reembed, "--compare", "--json"))["made"] == 36
    for there in (True, False):
        told = json.loads(run("reembed", gallery, "--discard", "--json"))
        assert told == {"gallery": str(gallery), "discarded": there}
    (photos / "tomato soup" / "00003.jpg").write_bytes(b"lost")
    lines = run(*reembed, "--even-if-worse", "--drop-unreadable").splitlines()
    assert lines[-2] == "1 photo has no vector:"
    assert lines[-1].startswith("  tomato soup/00003.jpg: ")


def test_a_lost_catalogue_is_told_by_the_build(run: Run, own: Path, tmp_path: Path) -> None:
    (catalogue,) = own.rglob("catalogue.sqlite")
    catalogue.unlink()
    said = run("build", tmp_path / "photos", "--out", own).splitlines()
    assert said[0].startswith(f"{own}: 30 photos, ")
    assert said[1].startswith("all photos are embedded again: ")


def test_photos_that_are_gone_are_listed(run: Run, own: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "plate-00007.jpg").unlink()
    assert "1 photo is gone since the last build; " in run(
        "build", tmp_path / "photos", "--out", own
    )
    assert "  gone since the generation before: plate-00007.jpg" in run("info", own)
    for number in range(10, 30):
        (tmp_path / "photos" / f"plate-{number:05}.jpg").unlink()
    said = run("features", own, "--feature", 3, "-k", 9, "--out", tmp_path / "grid.png")
    assert re.search(r"^  not shown: \d+ more$", said, re.MULTILINE)


def test_releases(run: Run, own: Path, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    (tmp_path / "photos" / "plate-00007.jpg").unlink()
    pushed = run("push", own, shelf).splitlines()
    assert pushed[1] == "1 photo could not be read, and did not travel:"
    assert pushed[2] == "  plate-00007.jpg"
    pulled = json.loads(run("pull", shelf, "--out", tmp_path / "pulled", "--json"))
    assert pulled["out"] == str(tmp_path / "pulled")
    assert pulled["photos"] == 29
    assert "name the release, as " in run("promote", shelf, code=2)
    name = pulled["name"]
    assert json.loads(run("promote", f"{shelf}@{name}", "--json"))["release"] == name
    listed = json.loads(run("releases", shelf, "--json"))
    assert [one["name"] for one in listed["releases"]] == [name]
    pruned = json.loads(run("prune", shelf, "--keep", 1, "--json"))
    assert (pruned["kept"], pruned["dropped"]) == ([name], [])
    assert "deepfood prune deletes releases, not --forget" in run(
        "rollback", shelf, "--forget", code=2
    )


def test_a_feature_is_listed_without_a_picture(run: Run, gallery: Path) -> None:
    values = [
        float(line.split()[0]) for line in run("features", gallery, "--feature", 3).splitlines()
    ]
    assert len(values) == 10
    assert values == sorted(values, reverse=True)


def test_a_page_of_features_says_what_it_has_no_room_for(
    run: Run, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = functools.partial(feature_page.feature_page, max_picture_bytes=6000)
    monkeypatch.setattr(feature_page, "feature_page", room)
    out = tmp_path / "features.html"
    said = run("features", gallery, "--all", "--out", out).splitlines()
    left_out = re.fullmatch(
        r"  (\d+) photos? left out to keep the page small: ask for a smaller -k", said[0]
    )
    assert left_out
    assert out.read_text().count("data:image/") == 12 - int(left_out[1])
    assert said[1].startswith(f"{out}: 192 features, ")


def test_a_demo_is_built_and_served(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as the server; the photos are there from an earlier time."""
    served: list[tuple[object, object]] = []
    monkeypatch.setattr(
        "deepfood.serve.run.run",
        lambda settings, bound: served.append((settings.gallery, bound.getsockname()[1])),
    )
    model, port = write_tiny_model(tmp_path / "model"), int(free_address().rpartition(":")[2])
    monkeypatch.setenv("DEEPFOOD_MODEL", str(model))
    photos = write_photos(tmp_path / "demo" / "ifct2017", 2)
    (photos / "SOURCE.md").write_text(f"{_TITLE}\n")
    (photos / "photos.csv").write_text("photo\nplate-00000.jpg\nplate-00001.jpg\n")
    said = run("demo", "--out", tmp_path / "demo", "--port", port)
    assert f"{tmp_path / 'demo' / 'gallery'}: 2 photos, " in said
    assert served == [(str(tmp_path / "demo" / "gallery"), port)]
    assert json.loads(run("info", tmp_path / "demo" / "gallery", "--json"))["photos"] == 2


def test_labels_and_words_of_a_gallery_with_none(run: Run, gallery: Path, tmp_path: Path) -> None:
    assert "note: the photos have no label: " in run("labels", gallery)
    run("update", gallery, "plate-00001.jpg", "--label", "pie")
    (tmp_path / "asked.csv").write_text("words,label\nsoup,pie\n")
    said = run("evaluate", gallery, tmp_path / "asked.csv", "--words")
    assert said.splitlines()[0] == "1 text, 0 of which should find nothing"
    assert said.endswith(": soup\n")
    (tmp_path / "asked.csv").write_text("words,label\npie,pie\n")
    assert "not among" not in run("evaluate", gallery, tmp_path / "asked.csv", "--words")


def test_a_dataset_that_is_there_is_not_fetched_again(run: Run, tmp_path: Path) -> None:
    (tmp_path / "SOURCE.md").write_text("# Food-101, fetched by deepfood\n")
    assert run("data", "get", "food101", "--out", tmp_path) == f"{tmp_path}\n"
    (tmp_path / "SOURCE.md").write_text(f"{_TITLE}\n")
    (tmp_path / "photos.csv").write_text("photo\n1.jpg\n")
    (tmp_path / "1.jpg").write_bytes(jpeg(1))
    assert run("data", "get", "ifct2017", "--out", tmp_path) == f"{tmp_path}\n"


def test_errors_that_no_command_expects(
    run: Run, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"libfood: {os.strerror(errno.EMFILE)}"
    monkeypatch.setattr("deepfood.info.describe", lambda *_: int(said))
    assert "too many files are open at once: raise the limit" in run("info", gallery, code=2)
    said = "a fault of deepfood"
    with pytest.raises(ValueError, match=said):
        run("info", gallery)


def test_copies_that_are_gone_are_not_drawn(run: Run, gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "small.png").write_bytes(_smaller(3))
    run("add", gallery, tmp_path / "small.png")
    shutil.rmtree(gallery / "photos")  # the copy that `add` made
    out = tmp_path / "copies.png"
    said = run("dedupe", gallery, "--photos-root", tmp_path / "nowhere", "--out", out)
    assert said.endswith("1 group of near-duplicates\n")
    assert not out.exists()


def _smaller(seed: int) -> bytes:
    file = io.BytesIO()
    plate(seed).resize((80, 60)).save(file, "PNG")
    return file.getvalue()


def test_a_catalogue_that_cannot_be_opened_is_an_error_of_one_line() -> None:
    line = _error_line(sqlite3.OperationalError("unable to open database file"))
    assert line.startswith("SQLite cannot use a catalogue: unable to open database file; check")


def test_how_plates_are_calibrated_is_told() -> None:
    about = {
        "queries": 1,
        "queries_from": "its own",
        "label_accuracy": 0.5,
        "auroc": 0.5,
        "hit_ece": 0.0,
        "label_ece": 0.0,
        "plates": {"tables": 30},
        "no_plates": None,
    }
    assert calibration_line(about, None).endswith("; plates on 30 made tables")
    about["plates"] = {"tables": 30, "bare": 20}
    assert calibration_line(about, None).endswith("made tables and 20 without a dish")
    about |= {"plates": None, "no_plates": "too few photos"}
    assert calibration_line(about, None).endswith("; plates by fixed rules (too few photos)")
