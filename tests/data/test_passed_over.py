"""What a search for photos passes over is counted, and no name or number of a disk is trusted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepfood.data.locate import root_named
from deepfood.data.photos import list_photos
from deepfood.data.root import Folder, path_of, stamp_ns, text_of
from deepfood.data.splits import split_photos
from deepfood.errors import DatasetError
from deepfood.storage import AWS
from live import deepfood, deepfood_here
from plates import jpeg


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def passed_over(root: Path) -> dict[str, tuple[int, tuple[str, ...]]]:
    found = list_photos(root).passed_over
    assert [one.count for one in found] == sorted((one.count for one in found), reverse=True)
    return {one.reason: (one.count, one.examples) for one in found}


BY_PROGRAMS = "folders that a NAS, an operating system or an archiver keeps"


def test_what_programs_keep_beside_photos_are_no_photos(tmp_path: Path) -> None:
    touch(tmp_path, "pie/a.jpg", "pie/@eaDir/a.jpg/THUMB.jpg", "pie/#recycle/b.jpg")
    touch(tmp_path, "$Recycle.Bin/S-1/c.jpg", "__MACOSX/pie/d.jpg", "lost+found/e.jpg")
    assert [photo.file for photo in list_photos(tmp_path).files] == ["pie/a.jpg"]
    assert passed_over(tmp_path) == {
        BY_PROGRAMS: (5, ("$Recycle.Bin", "__MACOSX", "lost+found")),
    }
    # Named itself, such a folder is searched like any other.
    assert [photo.file for photo in list_photos(tmp_path / "pie" / "#recycle").files] == ["b.jpg"]


def test_such_folders_do_not_hide_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/pie/1.jpg", "val/pie/2.jpg", "@eaDir/x.jpg", "lost+found/y")
    assert [photo.split for photo in list_photos(tmp_path).files] == ["train", "val"]


def test_other_files_are_counted_by_their_ending(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "pie/b.JXL", "c.jxl", "d.dng", "photo", ".hidden.jpg", ".git/x.jpg")
    assert passed_over(tmp_path) == {
        "files ending in .jxl, which is not read": (2, ("c.jxl", "pie/b.JXL")),
        "files ending in .dng, which is not read": (1, ("d.dng",)),
        "files without an ending": (1, ("photo",)),
        "hidden": (2, (".git", ".hidden.jpg")),
    }


def test_many_of_a_kind_are_three_names_and_a_number(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", *(f"{number}.txt" for number in range(9)))
    (one,) = list_photos(tmp_path).passed_over
    assert str(one) == "files ending in .txt, which is not read: 9 (0.txt, 1.txt, 2.txt, …)"


def test_linked_folders_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "away/1.jpg", "p/a.jpg", "p/inside/2.jpg")
    for link, to in (("pie", "away"), ("again", "p/inside")):
        (tmp_path / "p" / link).symlink_to(tmp_path / to)
    (tmp_path / "p" / "link.jpg").symlink_to(tmp_path / "p" / "a.jpg")
    files = [photo.file for photo in list_photos(tmp_path / "p").files]
    assert files == ["a.jpg", "inside/2.jpg", "link.jpg"]
    links = "links to folders, which are not followed"
    assert passed_over(tmp_path / "p") == {links: (2, ("again", "pie"))}


def test_a_folder_without_photos_says_what_it_has(tmp_path: Path) -> None:
    touch(tmp_path, "a.dng")
    with pytest.raises(
        DatasetError, match=r"no photos in .*passed over: files ending in \.dng.*: 1"
    ):
        list_photos(tmp_path)


#: Lists a folder as somebody who may not read everything, as root may.
_AS_NOBODY = """
import encodings.utf_8_sig, os, sys
from pathlib import Path
from deepfood.data.photos import list_photos
from deepfood.errors import DatasetError, PhotoError
if os.geteuid() == 0:
    os.setegid(65534), os.seteuid(65534)
try:
    found = list_photos(Path(sys.argv[1]))
    print([photo.file for photo in found.files], [str(one) for one in found.passed_over])
    for photo in found.files:
        try:
            found.root.read(photo.file, lambda size: None)
        except PhotoError as error:
            print(photo.file, error)
except DatasetError as error:
    print("refused:", error)
if os.getuid() == 0:  # so that coverage may write what it has measured
    os.seteuid(0), os.setegid(0)
"""


def as_nobody(folder: Path) -> str:
    command = [sys.executable, "-c", _AS_NOBODY, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_that_may_not_be_read_costs_no_other(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "shut/2.jpg", "val/3.jpg")
    for path in (tmp_path, *tmp_path.parents):
        if not path.stat().st_mode & 0o001:  # pytest's own are closed to other users
            path.chmod(0o755)
    (tmp_path / "shut").chmod(0)
    try:
        expected = "folders that cannot be read (Permission denied): 1 (shut)"
        assert as_nobody(tmp_path) == f"['a/1.jpg', 'val/3.jpg'] ['{expected}']"
        for named in ("shut", "shut/2.jpg", "shut/nothing"):
            said = as_nobody(tmp_path / named)
            assert said.startswith("refused: ")
            assert "cannot be read: Permission denied" in said
        touch(tmp_path, "shut/ifood/train_set/1.jpg", "shut/ifood/val_set/2.jpg")
        ifood = (tmp_path / "shut" / "ifood").rename(tmp_path / "ifood")
        (ifood / "train_labels.csv").write_text("img_name,label\n1.jpg,0\n")
        (ifood / "train_set").chmod(0)  # its tables name what is in there
        said = as_nobody(ifood)
        assert said == f"refused: {ifood / 'train_set'} cannot be read: Permission denied"
        (tmp_path / "shut").chmod(0o711)  # may be entered, and not listed
        said = as_nobody(tmp_path / "shut" / "nothing")
        assert said.endswith(f"; there is only {tmp_path / 'shut'}; check its name")
        (tmp_path / "shut").chmod(0)
        (tmp_path / "named.csv").write_text("photo\nshut/2.jpg\na/1.jpg\n")
        said = as_nobody(tmp_path / "named.csv")
        assert said.endswith("\nshut/2.jpg the file cannot be read: Permission denied")
    finally:
        (tmp_path / "shut").chmod(0o755)


def test_a_split_dataset_notes_it(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{label}/{number}.jpg" for label in ("a", "b") for number in range(3)))
    touch(tmp_path, "a/x.dng")
    notes = split_photos(list_photos(tmp_path)).notes
    assert "passed over: files ending in .dng, which is not read: 1 (a/x.dng)" in notes


# Reports


@pytest.mark.slow
def test_build_add_and_data_check_tell_it(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "gallery"
    for number in range(4):
        path = photos / ("pie" if number % 2 else "curry") / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    touch(photos, "pie/raw.dng", "@eaDir/x.jpg")
    told = ["files ending in .dng, which is not read", BY_PROGRAMS]
    for _ in range(2):  # also where all is up to date
        built = deepfood_here("build", photos, "--out", out)
        assert built.returncode == 0, built.stderr
        assert "passed over:\n" in built.stdout
        assert all(f"  {reason}: 1" in built.stdout for reason in told)
    for command in (
        ("build", photos, "--out", out, "--json"),
        ("add", out, photos, "--json"),
        ("data", "check", photos, "--json"),
    ):
        said = json.loads(deepfood_here(*command).stdout)["passed_over"]
        assert [(one["reason"], one["count"]) for one in said] == [(why, 1) for why in told]
    assert all(reason in deepfood_here("add", out, photos).stdout for reason in told)
    assert all(reason in deepfood_here("data", "check", photos).stdout for reason in told)


# Numbers and names of file systems


@pytest.mark.parametrize("seconds", [-(2**34), -1, 0, 2**31, 2**33 + 1, 2**34, 10**11])
def test_a_time_of_any_century_fits(seconds: int) -> None:
    times = {stamp_ns(seconds * 10**9 + more) for more in range(5)}
    assert len(times) == 5
    assert all(-(2**63) <= time < 2**63 for time in times)


def test_a_time_of_our_days_is_kept_as_it_is() -> None:
    assert stamp_ns(1_700_000_000_123_456_789) == 1_700_000_000_123_456_789


@pytest.mark.slow
@pytest.mark.parametrize("year_2400", [13_569_465_600])
def test_a_file_of_the_year_2400_is_built_once(year_2400: int, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "gallery"
    photos.mkdir()
    for number in range(2):
        (photos / f"{number}.jpg").write_bytes(jpeg(number))
    try:
        os.utime(photos / "0.jpg", (year_2400, year_2400))
    except OverflowError:
        pytest.skip("this file system keeps no such time")
    first = deepfood_here("build", photos, "--out", out)
    assert first.returncode == 0, first.stderr
    assert "up to date" in deepfood_here("build", photos, "--out", out).stdout


LATIN_1 = os.fsdecode(b"Caf\xe9")


@pytest.fixture
def latin_1(tmp_path: Path) -> Path:
    try:
        (tmp_path / LATIN_1).mkdir()
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    return tmp_path / LATIN_1


def test_a_path_that_is_no_unicode_is_text_and_back(latin_1: Path) -> None:
    for path in (latin_1, latin_1 / "a b%20#?.jpg"):
        text = text_of(path)
        text.encode()
        assert path_of(text) == path
        assert root_named(text, AWS) == Folder(path)
    assert str(Folder(latin_1)).endswith("/Caf%E9")
    for plain in ("/x/Café 100%", "relative/x", "file/x", "file:x"):
        assert path_of(text_of(Path(plain))) == Path(plain)


@pytest.mark.slow
def test_a_photo_folder_that_is_no_unicode_is_a_photo_folder(latin_1: Path) -> None:
    (latin_1 / "pie").mkdir()
    for number in range(3):
        (latin_1 / "pie" / f"{number}.jpg").write_bytes(jpeg(number))
    out = latin_1 / "gallery"
    for expected in ("3 photos", "up to date"):
        built = deepfood_here("build", latin_1 / "pie", "--out", out)
        assert built.returncode == 0, built.stderr
        assert expected in built.stdout
    assert deepfood_here("verify", out).returncode == 0
    # In a process of its own, whose output has an encoding.
    found = deepfood("search", out, latin_1 / "pie" / "1.jpg", "-k", 1)
    assert "Caf%E9/pie/1.jpg" in found.stdout, found.stderr
