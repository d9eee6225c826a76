"""Datasets are combined: each photo once, and what differs between its copies is told."""

import csv
import json
from pathlib import Path

import pytest

from deepfood.data.photos import list_photos
from live import deepfood_here, fails, run_deepfood
from plates import jpeg


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """Two photos are in both; one of them has another label there. One file is no photo."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, files in (
        (one, {"pie/1.jpg": jpeg(1), "pie/2.jpg": jpeg(2), "soup/bad.jpg": b"no photo"}),
        (other, {"pie/a.jpg": jpeg(1), "stew/b.jpg": jpeg(2), "stew/c.jpg": jpeg(3)}),
    ):
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return one, other


def test_each_photo_is_there_once_with_the_label_of_the_first_source(
    sources: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = sources
    out = tmp_path / "all"
    printed = run_deepfood("data", "combine", one, other, "--out", out).splitlines()
    assert printed[0] == f"{out}: 3 photos, 2 copies of them left out"
    assert printed[1] == "1 copy has another label or split than the first:"
    assert printed[2] == (
        f"  {other}: stew/b.jpg: 'stew' (no split), kept as 'pie' (no split) from {one}: pie/2.jpg"
    )
    assert printed[3] == "1 file is left out:"
    assert printed[4].startswith(f"  {one}: soup/bad.jpg: ")
    assert len(printed) == 5
    labels = {photo.file: photo.label for photo in list_photos(out).files}
    assert sorted(filter(None, labels.values())) == ["pie", "pie", "stew"]
    contents = sorted((out / name).read_bytes() for name in labels)
    assert contents == sorted(jpeg(seed) for seed in (1, 2, 3))
    assert all((out / name).stat().st_nlink == 2 for name in labels)  # links, no copies


def test_a_second_run_does_what_is_left_and_counts_what_is_no_longer_listed(
    sources: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = sources
    out = tmp_path / "all"
    run_deepfood("data", "combine", one, other, "--out", out)
    (emptied,) = (path for path in out.glob("photos/*") if path.read_bytes() == jpeg(1))
    emptied.unlink()  # not emptied in place: it is a link to the source
    emptied.write_bytes(b"")
    (other / "stew" / "c.jpg").unlink()
    told = json.loads(run_deepfood("data", "combine", one, other, "--out", out, "--json"))
    assert (told["photos"], told["copies"], told["unlisted"]) == (2, 2, 1)
    (conflict,) = told["conflicts"]
    assert (conflict["kept"]["label"], conflict["dropped"]["label"]) == ("pie", "stew")
    (bad,) = told["unreadable"]
    assert (bad["source"], bad["photo"]) == (str(one), "soup/bad.jpg")
    assert emptied.read_bytes() == jpeg(1)
    with (out / "photos.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
    printed = run_deepfood("data", "combine", one, other, "--out", out)
    assert f"1 photo of an earlier run is in {out / 'photos'} and not listed" in printed


def test_what_cannot_be_combined(sources: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = sources

    def refused(source: Path, out: Path) -> str:
        return fails("data", "combine", source, "--out", out)

    assert f"{one / 'new'} lies in {one}, one of its sources" in refused(one, one / "new")
    assert "holds something other than a combined dataset (pie)" in refused(one, other)
    (tmp_path / "file").write_bytes(b"")
    assert f"{tmp_path / 'file'} is a file: name a folder" in refused(one, tmp_path / "file")
    assert "cannot be written: Not a directory" in refused(one, tmp_path / "file" / "all")
    for photo in (one / "pie").iterdir():
        photo.write_bytes(b"no photo either")
    assert "none of the 3 photos is usable; the first, " in refused(one, tmp_path / "all")


def test_long_lists_are_cut_for_people(tmp_path: Path) -> None:
    for number, label in enumerate(("pie", "soup")):
        (tmp_path / label).mkdir()
        (tmp_path / label / f"{number}.jpg").write_bytes(jpeg(number))
    for number in range(2, 25):
        (tmp_path / "pie" / f"{number}.jpg").write_bytes(b"no photo")
    checked = deepfood_here("data", "check", tmp_path)
    assert checked.returncode == 1
    assert "23 photos cannot be read:" in checked.stdout
    assert checked.stdout.endswith("\n  and 3 more: all with --json\n")


def test_an_unknown_dataset_is_not_fetched(tmp_path: Path) -> None:
    error = fails("data", "get", "food102", "--out", tmp_path / "food")
    assert "there is no data source 'food102': known are food101, ifood2019, ifct2017" in error
