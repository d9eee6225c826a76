"""Manual edits belong to a photo's content: no build loses them, and changes can be traced."""

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepfood.embed import Embedder
from deepfood.errors import ArtifactCorruptError, DatasetError, QueryError
from deepfood.gallery.declared import Definition
from deepfood.gallery.history import history
from deepfood.gallery.reports import BuildReport, Consent
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalManifest, LocalWriter, build_gallery
from deepfood.local.add import add_photos
from deepfood.local.checkpoints import fold_of
from deepfood.local.import_attributes import import_attributes
from deepfood.local.journal import Journal
from deepfood.local.rollback import rollback
from deepfood.local.verify import gallery_problems
from live import run_here
from plates import build, jpeg, sha256, write_photos


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    """Twelve photos, of which all have allergens, and plate 3 a label and a price."""
    write_photos(tmp_path / "photos", 12)
    out = tmp_path / "gallery"
    build(tmp_path / "photos", out, embedder, IndexSpec(kind="exact"))
    lines = [f"{sha256(jpeg(seed))},peanut\n" for seed in range(12)]
    table = tmp_path / "allergens.csv"
    table.write_text("sha256,allergens\n" + "".join(lines))
    import_attributes(out, table, {}, frozenset())
    table.write_text(f"sha256,price,halal\n{sha256(jpeg(3))},12,yes\n")
    import_attributes(out, table, {}, frozenset({"halal"}))
    with LocalWriter.open(out) as writer:
        writer.update("plate-00003.jpg", label="soup")
    return out


def edits_to(gallery: Path, seed: int) -> tuple[str | None, str | None, dict[str, Any]]:
    with LocalGallery.open(gallery) as opened:
        photo, values = opened.facts(sha256(jpeg(seed))[:20])
        return photo.label, photo.name, values


ALL = ("soup", None, {"allergens": ["peanut"], "price": 12, "halal": True})


def touch_all(photos: Path) -> None:
    for path in photos.iterdir():
        os.utime(path, ns=(1, path.stat().st_mtime_ns + 7_000_000_000))


def rename_all(photos: Path) -> None:
    for path in list(photos.iterdir()):
        path.rename(path.with_name(f"renamed-{path.name}"))


@pytest.mark.parametrize("how", [touch_all, rename_all], ids=["touched", "renamed"])
def test_photos_that_are_embedded_again_keep_what_was_said(
    how: Any, gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    how(tmp_path / "photos")
    assert build(tmp_path / "photos", gallery, embedder).embedded == 12
    assert edits_to(gallery, 3) == ALL
    with LocalGallery.open(gallery) as opened:
        declared = opened.store.attributes.declared()
        assert {name: one.safety for name, one in declared.items()} == {
            "allergens": True,
            "price": False,
            "halal": True,
        }


def test_another_storage_and_back_keeps_what_was_said(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    from deepfood.data.photos import list_photos

    for storage in ("i8", "f32"):
        source = list_photos(tmp_path / "photos")
        build_gallery(source, gallery, embedder, IndexSpec(kind="exact"), storage, quiet=True)
        assert edits_to(gallery, 3) == ALL


def test_a_folder_that_is_away_for_one_build_loses_nothing(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    photos = tmp_path / "photos"
    aside = tmp_path / "aside.jpg"
    (photos / "plate-00003.jpg").rename(aside)
    (photos / "plate-00004.jpg").write_bytes(b"")  # a sync that has just begun
    report = build(photos, gallery, embedder)
    assert sorted(report.gone) == ["plate-00003.jpg", "plate-00004.jpg"]
    assert report.count == 10
    assert sorted(describe(gallery)["gone"]) == ["plate-00003.jpg", "plate-00004.jpg"]
    aside.rename(photos / "another-name.jpg")
    (photos / "plate-00004.jpg").write_bytes(jpeg(4))
    report = build(photos, gallery, embedder)
    assert (report.gone, report.count) == ((), 12)
    assert edits_to(gallery, 3) == ALL
    assert edits_to(gallery, 4)[2] == {"allergens": ["peanut"]}
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_a_photo_that_comes_back_by_hand_has_what_was_said(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    from deepfood.local.add import add_photos

    (tmp_path / "photos/plate-00003.jpg").unlink()
    build(tmp_path / "photos", gallery, embedder)
    add_photos(gallery, [write_photos(tmp_path / "new", 1, start=3)], embedder, quiet=True)
    assert edits_to(gallery, 3) == ALL


def describe(gallery: Path) -> dict[str, Any]:
    from deepfood.local.describe import describe as facts

    return facts(gallery)


def test_a_build_that_would_lose_more_than_half_stops_before_it_changes_anything(
    gallery: Path, tmp_path: Path, embedder: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, away = tmp_path / "photos", tmp_path / "away"
    away.mkdir()
    for seed in range(7):
        (photos / f"plate-{seed:05d}.jpg").rename(away / f"plate-{seed:05d}.jpg")
    before = (gallery / "manifest.json").read_bytes()
    with pytest.raises(DatasetError, match=r"7 of the 12 .*nothing was changed.*--allow-loss"):
        build(photos, gallery, embedder)
    assert (gallery / "manifest.json").read_bytes() == before
    assert edits_to(gallery, 3) == ALL
    command = ("build", photos, "--out", gallery, "--model", tmp_path / "model")
    assert run_here(*command) == 2
    assert "--allow-loss" in capsys.readouterr().err
    assert run_here(*command, "--allow-loss") == 0
    assert "7 photos are gone" in capsys.readouterr().out
    assert rollback(gallery, lambda model: embedder, quiet=True).count == 12
    assert edits_to(gallery, 3) == ALL


def test_another_source_is_refused_unless_asked_for_and_rollback_goes_back(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    from deepfood.data.photos import list_photos

    other = write_photos(tmp_path / "other", 5, start=50)
    with pytest.raises(DatasetError, match="--replace"):
        build(other, gallery, embedder)
    assert LocalGallery.open(gallery).count == 12
    consent = Consent(replace=True)
    spec = IndexSpec(kind="exact")
    report = build_gallery(list_photos(other), gallery, embedder, spec, consent=consent, quiet=True)
    assert (report.count, len(report.gone)) == (5, 12)
    back = rollback(gallery, lambda model: embedder, quiet=True)
    assert back.count == 12
    assert edits_to(gallery, 3) == ALL
    assert list(gallery_problems(gallery, quiet=True)) == []
    assert build(tmp_path / "photos", gallery, embedder, spec).up_to_date


def test_a_name_set_by_hand_leaves_the_label_to_the_source(
    tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "gallery"
    write_photos(photos / "soup", 3)
    write_photos(photos / "pie", 3, start=10)
    build(photos, out, embedder)
    with LocalWriter.open(out) as writer:
        writer.update("soup/plate-00000.jpg", photo_name="Minestrone")
    (photos / "soup").rename(photos / "stew")
    build(photos, out, embedder)
    assert edits_to(out, 0) == ("stew", "Minestrone", {})


def test_the_table_of_a_build_says_what_is_new_in_it_and_hands_decide_the_rest(
    tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = write_photos(tmp_path / "photos", 4), tmp_path / "gallery"

    def table(*lines: str) -> Any:
        text = "\n".join(["photo,label,price,allergens", *lines, ""])
        (photos / "photos.csv").write_text(text)
        return build(photos, out, embedder)

    first = [f"plate-0000{seed}.jpg,soup,{seed},milk" for seed in range(4)]
    assert table(*first).attributes == ("allergens", "price")
    assert edits_to(out, 2) == ("soup", None, {"price": 2, "allergens": ["milk"]})
    assert table(*first).up_to_date
    with LocalWriter.open(out) as writer:
        writer.update("plate-00002.jpg", attributes={"price": 99, "allergens": ["egg"]})
    changed = [*first[:2], "plate-00002.jpg,soup,2,milk;nuts", first[3]]
    assert table(*changed).attributes == ("allergens",)
    assert edits_to(out, 2)[2] == {"price": 99, "allergens": ["milk", "nuts"]}
    assert list(gallery_problems(out, quiet=True)) == []


@pytest.fixture
def listed(tmp_path: Path, embedder: Embedder) -> Callable[..., BuildReport[LocalManifest]]:
    """Builds a gallery of the four photos with these prices, and of these lines."""
    photos = write_photos(tmp_path / "photos", 4)

    def build_with(*prices: object, more: str = "") -> BuildReport[LocalManifest]:
        rows = [f"plate-0000{seed}.jpg,{price}\n" for seed, price in enumerate(prices)]
        (photos / "photos.csv").write_text("".join(["photo,price\n", *rows, more]))
        return build(photos, tmp_path / "gallery", embedder)

    return build_with


def test_a_removed_photo_has_what_the_table_says_once_it_is_added_again(
    listed: Callable[..., BuildReport[LocalManifest]], tmp_path: Path, embedder: Embedder
) -> None:
    out = tmp_path / "gallery"
    listed(1, 2, 3, 4)
    with LocalWriter.open(out) as writer:
        writer.remove(["plate-00003.jpg"])
    assert listed(1, 2, 3, 7).attributes == (), "of a removed photo"
    assert listed(1, 2, 5, 7).attributes == ("price",)
    add_photos(out, [tmp_path / "photos" / "plate-00003.jpg"], embedder, quiet=True)
    assert edits_to(out, 3)[2] == {}
    assert listed(1, 2, 5, 7).attributes == ("price",)
    assert edits_to(out, 3)[2] == {"price": 7}


def test_rows_of_a_table_without_a_photo_say_nothing(
    listed: Callable[..., BuildReport[LocalManifest]], tmp_path: Path
) -> None:
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no photo")
    assert listed(1, 2, 3, 4, more="broken.jpg,5\n").attributes == ("price",)
    (tmp_path / "photos" / "new.jpg").write_bytes(jpeg(5))
    report = listed(1, 2, 3, 4, more="broken.jpg,6\nnew.jpg,\n")
    assert (report.count, report.attributes) == (5, ())
    assert edits_to(tmp_path / "gallery", 5)[2] == {}


def test_without_the_table_of_the_last_build_nothing_known_is_overwritten(
    listed: Callable[..., BuildReport[LocalManifest]], tmp_path: Path
) -> None:
    out = tmp_path / "gallery"
    listed(1, 2, 3, "")
    listed(1, 2, 4, "")
    with LocalWriter.open(out) as writer:
        writer.update("plate-00002.jpg", attributes={"price": 99})
    journal = Journal(out)
    table = fold_of(journal).source_table
    assert table is not None
    journal.table(table).write_bytes(b"damaged")
    listed(1, 2, 5, 6)
    assert [edits_to(out, seed)[2] for seed in (2, 3)] == [{"price": 99}, {"price": 6}]


def test_a_build_with_a_changed_table_keeps_the_generation_before(
    tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = write_photos(tmp_path / "photos", 4), tmp_path / "gallery"
    for price in (1, 5):
        rows = [f"plate-0000{seed}.jpg,{price}\n" for seed in range(4)]
        (photos / "photos.csv").write_text("".join(["photo,price\n", *rows]))
        build(photos, out, embedder)
    before = LocalManifest.read(out).before
    assert before is not None
    assert before.generation == 1
    assert rollback(out, lambda model: embedder, quiet=True).count == 4
    assert LocalManifest.read(out).generation == 1
    assert edits_to(out, 2)[2] == {"price": 5}, "what people said is kept"


def test_history_tells_what_changed_when_and_who(
    gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalWriter.open(gallery, by="key 0123") as writer:
        writer.update("plate-00005.jpg", label="pie")
        writer.remove(["plate-00006.jpg"])
    every = list(history(Journal(gallery)))
    assert [one.do for one in every] == ["import", "import", "update", "update", "remove"]
    assert [one.by for one in every[-2:]] == ["key 0123"] * 2
    of_one = list(history(Journal(gallery), sha256(jpeg(5))[:20]))
    assert [one.do for one in of_one] == ["import", "update"]
    assert of_one[-1].about["changes"][0]["label"] == "pie"
    assert of_one[0].about["changes"] == [{"attributes": {"allergens": ["peanut"]}}]
    assert run_here("history", gallery, "--json") == 0
    told = json.loads(capsys.readouterr().out)["changes"]
    assert [one["do"] for one in told] == [one.do for one in every]
    assert run_here("history", gallery) == 0
    assert "key 0123" in capsys.readouterr().out
    with pytest.raises(QueryError, match="not a photo's id"):
        list(history(Journal(gallery), "../x"))


def test_the_command_takes_changes_back(gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00005.jpg", label="pie")
        writer.update("plate-00006.jpg", label="x" * 200)
    number = [one.number for one in history(Journal(gallery))][-1]
    assert run_here("history", gallery) == 0
    cut = capsys.readouterr().out.splitlines()[-2]
    assert cut.endswith("xxx…")
    assert "x" * 161 not in cut
    assert run_here("history", gallery, "--undo", number) == 0
    assert capsys.readouterr().out.startswith(f"change {number} is taken back: 1 photo is as ")
    assert run_here("history", gallery, "--undo", number - 1, "--json") == 0
    undone = {"gallery": str(gallery), "undone": number - 1, "photos": [sha256(jpeg(5))[:20]]}
    assert json.loads(capsys.readouterr().out) == undone
    assert run_here("history", gallery) == 0
    assert f"  takes back {number - 1} " in capsys.readouterr().out


def test_changes_are_taken_back_one_after_the_other(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00003.jpg", label="stew", attributes={"price": None})
        writer.remove(["plate-00006.jpg"])
    label, removal = [one.number for one in history(Journal(gallery))][-2:]
    with LocalWriter.open(gallery) as writer:
        (photo,) = writer.undo(label)
        assert (photo.label, photo.label_edited) == ("soup", True)
        with pytest.raises(QueryError, match="was edited again after change"):
            writer.undo(label)
        assert writer.undo(removal) == []
        with pytest.raises(QueryError, match="no change number 999"):
            writer.undo(999)
    assert edits_to(gallery, 3) == ALL
    assert build(tmp_path / "photos", gallery, embedder).count == 12
    assert edits_to(gallery, 6)[2] == {"allergens": ["peanut"]}
    with LocalWriter.open(gallery) as writer:
        writer.declare({"spicy": Definition("boolean")})
        writer.update("plate-00007.jpg", attributes={"spicy": True})
        writer.update("plate-00007.jpg", attributes={"spicy": None})
        writer.drop_attribute("spicy")
        last = max(one.number for one in history(Journal(gallery)) if one.do == "update")
        with pytest.raises(QueryError, match=r"spicy .* was dropped .* declare it"):
            writer.undo(last)
    # The very first edit too: the label is the source's again, which the journal noted.
    first = next(one.number for one in history(Journal(gallery)) if one.do == "update")
    undone = [one.undoes for one in history(Journal(gallery)) if one.undoes]
    assert undone == [label, removal]
    with LocalWriter.open(gallery) as writer, pytest.raises(QueryError, match="edited again"):
        writer.undo(first - 1)
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_a_row_that_is_missing_ends_a_search_with_an_error(
    gallery: Path, embedder: Embedder
) -> None:
    with LocalGallery.open(gallery, embedder.model) as opened:
        catalogue = LocalManifest.read(gallery).folder(gallery) / "catalogue.sqlite"
        with contextlib.closing(sqlite3.connect(catalogue)) as db, db:
            db.execute("DELETE FROM photos WHERE row = 3")
        query = embedder.embed(jpeg(3))
        for ask in (opened.search, opened.find):
            with pytest.raises(ArtifactCorruptError, match="verify --repair"):
                ask(query, 3)
    with pytest.raises(ArtifactCorruptError, match="verify --repair"):
        LocalGallery.open(gallery, embedder.model)


def test_a_journal_that_lacks_what_was_acknowledged_is_refused(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    segment = next((gallery / "journal").glob("records-*"))
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:-1]))
    for use in (
        lambda: LocalGallery.open(gallery),
        lambda: build(tmp_path / "photos", gallery, embedder),
        lambda: LocalWriter.open(gallery).__enter__(),
    ):
        with pytest.raises(ArtifactCorruptError, match=r"record 4 was acknowledged.*--repair"):
            use()
    assert run_here("verify", gallery, "--repair", "--model", tmp_path / "model") == 0
    assert edits_to(gallery, 3) == ALL
    assert list(history(Journal(gallery)))[-1].do == "restore"


def test_a_catalogue_that_lacks_the_newest_records_takes_them_in(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    generation = LocalManifest.read(gallery).folder(gallery)
    kept = tmp_path / "kept"
    shutil.copytree(generation, kept)
    from deepfood.local.add import add_photos

    add_photos(gallery, [write_photos(tmp_path / "new", 2, start=40)], embedder, quiet=True)
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00001.jpg"])
        writer.update("plate-00002.jpg", label="late")
    for name in ("catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm"):
        (generation / name).unlink(missing_ok=True)
        if (kept / name).exists():
            shutil.copy(kept / name, generation / name)
    with LocalGallery.open(gallery, embedder.model) as opened:
        files = {photo.file for photo in opened.store.photos()}
        assert opened.count == 13
        assert opened.search(embedder.embed(jpeg(41)), 1)[0].score > 0.999
    assert {"plate-00040.jpg", "plate-00041.jpg"} < files
    assert "plate-00001.jpg" not in files
    assert edits_to(gallery, 2)[0] == "late"
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_what_cannot_be_taken_back_names_another_way(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    add_photos(gallery, [write_photos(tmp_path / "new", 1, start=50)], embedder, quiet=True)
    photo = sha256(jpeg(50))[:20]
    with LocalWriter.open(gallery) as writer:
        writer.declare({"spicy": Definition("boolean")})
        writer.drop_attribute("spicy")
        writer.remove([photo])
        added, declared, dropped, removed = [one.number for one in history(Journal(gallery))][-4:]
        ways = {
            added: r"\(add\) cannot be taken back: deepfood remove takes its photos out",
            declared: r"\(declare\) cannot be taken back: deepfood attributes --drop",
            dropped: r"\(drop\) cannot be taken back$",
            removed: f"the bytes of photo {photo}, which was added, were deleted .*: add it again",
        }
        for number, way in ways.items():
            with pytest.raises(QueryError, match=way):
                writer.undo(number)
