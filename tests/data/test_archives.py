"""Datasets that come as one archive, from a real server; and archives that nobody should unpack."""

import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from deepfood.config import kaggle_credentials
from deepfood.data import ifood2019
from deepfood.data.archive import unpack
from deepfood.data.food101 import get_food101
from deepfood.data.ifood2019 import get_ifood2019
from deepfood.data.photos import list_photos
from deepfood.errors import DatasetError, DownloadError, SettingError
from file_server import FileServer, file_server

FOOD101 = {
    "food-101/images/pie/1.jpg": b"one",
    "food-101/images/pie/2.jpg": b"two",
    "food-101/meta/train.txt": b"pie/1\n",
    "food-101/meta/test.txt": b"pie/2\n",
}
Members = dict[str, bytes]


def tar_of(members: Members, *more: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, body in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(body)
            tar.addfile(about, io.BytesIO(body))
        for about in more:
            tar.addfile(about)
    return packed.getvalue()


def zip_of(members: Members, mode: int = 0) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, body in members.items():
            about = zipfile.ZipInfo(name)
            about.external_attr = mode << 16
            file.writestr(about, body)
    return packed.getvalue()


def tar_member(name: str, kind: bytes, link: str = "") -> bytes:
    about = tarfile.TarInfo(name)
    about.type, about.linkname = kind, link
    return tar_of({"a.txt": b"a"}, about)


def zip_with(field: int, value: int) -> bytes:
    """A zip whose member has `value` in both of its headers, at `field` from where flags begin."""
    changed = bytearray(packed := zip_of({"a": b"x"}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[packed.index(signature) + flags + field] |= value
    return bytes(changed)


def unpack_bytes(packed: bytes, folder: Path, **limits: int) -> Path:
    archive = folder.with_name("archive")
    archive.write_bytes(packed)
    unpack(archive, folder, what="the archive", quiet=True, **limits)
    return folder


def contents(folder: Path) -> Members:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_an_archive_is_unpacked_and_leftovers_are_not_part_of_it(
    pack: Callable[[Members], bytes], tmp_path: Path
) -> None:
    (tmp_path / ".out.unpacking").mkdir()
    (tmp_path / ".out.unpacking" / "left.jpg").write_bytes(b"of a killed run")
    members = {"a/b/long.bin": bytes(range(256)) * 2048, "a/empty": b"", "naïve.txt": b"x"}
    assert contents(unpack_bytes(pack(members), tmp_path / "out")) == members
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out"]


def test_entries_of_folders_are_no_files(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("empty")
    folder.type = tarfile.DIRTYPE
    assert contents(unpack_bytes(tar_of({"a": b"1"}, folder), tmp_path / "tar")) == {"a": b"1"}
    assert contents(unpack_bytes(zip_of({"b/": b"", "a": b"1"}), tmp_path / "zip")) == {"a": b"1"}


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        *((pack({name: b"x"}), "leads out of the folder")
          for pack in (tar_of, zip_of)
          for name in ("../x", "a/../../x", "/etc/x", "C:\\x", "a:b", "a\\b")),
        (tar_member("link", tarfile.SYMTYPE, "/etc/passwd"), "'link', which is not a regular"),
        (tar_member("link", tarfile.LNKTYPE, "a.txt"), "'link', which is not a regular file"),
        (tar_member("pipe", tarfile.FIFOTYPE), "'pipe', which is not a regular file"),
        (zip_of({"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777), "'link', which is encrypted or"),
        (zip_with(0, 1), "'a', which is encrypted or not a regular file"),
        (zip_with(2, 77), "is not a complete archive: That compression method is not supported"),
        (tar_of({"a/b": b"x"}, tarfile.TarInfo("a/b")), "holds 'a/b' twice"),
        *((tar_of(dict.fromkeys(names, b"x")), f"holds {named!r} twice, or as a file and")
          for *names, named in (("a", "a/b", "a"), ("a/b", "a", "a"), ("a", "a/b/c", "a/b"))),
        (b"no archive at all", "is not a complete archive"),
        (tar_of({"a": bytes(range(256)) * 4096})[:-2000], "is not a complete archive"),
        (zip_of({"a": b"contents"}).replace(b"contents", b"CONTENTS"), "not a complete archive"),
    ],
    ids=lambda one: "" if isinstance(one, bytes) else one,  # archives have the time in them
)  # fmt: skip
def test_an_archive_that_no_dataset_needs(packed: bytes, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "below" / "out"
    folder.parent.mkdir()
    with pytest.raises(DownloadError, match=r"^the archive ") as caught:
        unpack_bytes(packed, folder)
    assert message in str(caught.value)
    assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["below"]  # nothing beside it


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_limits_are_of_what_is_written(pack: Callable[[Members], bytes], tmp_path: Path) -> None:
    packed = pack({"a": b"\0" * 100_000, "b": b""})
    assert contents(unpack_bytes(packed, tmp_path / "fits", max_bytes=100_000, max_files=2))
    with pytest.raises(DownloadError, match="to more than 99,999 bytes"):
        unpack_bytes(packed, tmp_path / "out", max_bytes=99_999)
    with pytest.raises(DownloadError, match="more than 1 file"):
        unpack_bytes(packed, tmp_path / "out", max_files=1)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with file_server() as state:
        yield state


def food101(server: FileServer, to: Path, packed: bytes) -> Path:
    server.files["/food.tar.gz"] = packed
    md5 = hashlib.md5(packed).hexdigest()
    return get_food101(to, url=f"{server.url}/food.tar.gz", md5=md5, quiet=True)


def test_food101_comes_out_in_its_own_layout_and_only_once(
    server: FileServer, tmp_path: Path
) -> None:
    to = food101(server, tmp_path / "food", tar_of(FOOD101))
    listed = [(one.file, one.label, one.split) for one in list_photos(to).files]
    assert listed == [("images/pie/1.jpg", "pie", "train"), ("images/pie/2.jpg", "pie", "test")]
    assert sorted(path.name for path in to.iterdir()) == ["SOURCE.md", "images", "meta"]
    assert "not under its licence" in (to / "SOURCE.md").read_text("utf-8")
    food101(server, to, tar_of(FOOD101))
    assert len(server.requests) == 1


def test_what_was_unpacked_when_a_run_ended_is_not_fetched_again(
    server: FileServer, tmp_path: Path
) -> None:
    to = tmp_path / "food"
    to.mkdir()
    (to / "meta").write_bytes(b"")  # in the way of moving the folder `meta` to its place
    with pytest.raises(DatasetError, match="holds something other than Food-101, and was left"):
        food101(server, to, tar_of(FOOD101))
    (to / "meta").unlink()
    lost = {name: body for name, body in FOOD101.items() if "/meta/" not in name}
    with pytest.raises(DownloadError, match="unexpected layout: no splits"):
        food101(server, to, tar_of(lost))
    assert not (to / "SOURCE.md").exists()
    asked = len(server.requests)
    # Killed after it had unpacked, and before it had moved anything.
    again = tmp_path / "again"
    (again / ".fetching").mkdir(parents=True)
    (again / ".fetching" / "title").write_text("# Food-101, fetched by deepfood")
    unpack_bytes(tar_of(FOOD101), again / ".fetching" / "unpacked")
    food101(server, again, tar_of(FOOD101))
    assert len(list_photos(again).files) == 2
    # Killed after it had moved one of two folders.
    (again / "SOURCE.md").unlink()
    (again / ".fetching" / "ready").mkdir(parents=True)
    (again / ".fetching" / "title").write_text("# Food-101, fetched by deepfood")
    (again / "meta").rename(again / ".fetching" / "ready" / "meta")
    food101(server, again, tar_of(FOOD101))
    assert len(list_photos(again).files) == 2
    assert len(server.requests) == asked


def test_an_archive_with_a_table_that_cannot_be_meant(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"unexpected layout: .*'pie' is not a <class>/<id>"):
        food101(server, tmp_path / "food", tar_of({**FOOD101, "food-101/meta/test.txt": b"pie\n"}))


def test_a_second_run_at_the_same_time_and_a_file_in_the_way(
    server: FileServer, tmp_path: Path
) -> None:
    to = tmp_path / "food"
    (to / ".fetching").mkdir(parents=True)
    with (
        FileLock(to / ".fetching" / "lock"),
        pytest.raises(DatasetError, match="another process is fetching into"),
    ):
        food101(server, to, tar_of(FOOD101))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetError, match="file holds something other than Food-101"):
        food101(server, tmp_path / "file", tar_of(FOOD101))
    with pytest.raises(DatasetError, match="file/food cannot be written: Not a directory"):
        food101(server, tmp_path / "file" / "food", tar_of(FOOD101))
    assert server.requests == []


PATH = f"/competitions/data/download-all/{ifood2019.COMPETITION}"


@pytest.fixture
def kaggle_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "cook")
    monkeypatch.setenv("KAGGLE_KEY", "secret")


@pytest.mark.usefixtures("kaggle_key")
def test_ifood2019_is_fetched_with_the_users_key_and_its_inner_archives_are_unpacked(
    server: FileServer, tmp_path: Path
) -> None:
    server.files[PATH] = zip_of(
        {
            "class_list.txt": b"0 pie\n",
            "train_labels.csv": b"img_name,label\na.jpg,0\n",
            "val_labels.csv": b"img_name,label\nb.jpg,0\n",
            "train_set.zip": zip_of({"a.jpg": b"a"}),
            "val_set.zip": zip_of({"b.jpg": b"b"}),
        }
    )
    to = get_ifood2019(tmp_path / "ifood", url=server.url, quiet=True)
    listed = [(one.file, one.label, one.split) for one in list_photos(to).files]
    assert listed == [("train_set/a.jpg", "pie", "train"), ("val_set/b.jpg", "pie", "val")]
    assert not list(to.glob("*.zip"))
    assert server.requests[0][1]["Authorization"] == "Basic Y29vazpzZWNyZXQ="  # cook:secret


@pytest.mark.usefixtures("kaggle_key")
@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "Kaggle does not know the key of 'cook'"), (403, "accept the competition's rules on")],
)
def test_kaggle_refuses(status: int, message: str, server: FileServer, tmp_path: Path) -> None:
    server.statuses = [status]
    with pytest.raises(DownloadError, match=message) as caught:
        get_ifood2019(tmp_path / "ifood", url=server.url, quiet=True)
    assert "secret" not in str(caught.value)


def test_without_a_key_kaggle_is_not_asked(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kaggle_credentials() is None
    with pytest.raises(DownloadError, match="there is no key for it"):
        get_ifood2019(tmp_path / "ifood", url=server.url, quiet=True)
    assert server.requests == []


@pytest.mark.parametrize("folder", [".kaggle", ".config/kaggle", None])
def test_the_key_is_where_kaggles_own_client_has_it(
    folder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if folder is None:
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "own"))
    file = tmp_path / (folder or "own") / "kaggle.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"username": "cook", "key": "secret"}')
    assert kaggle_credentials() == ("cook", "secret")
    file.write_text('{"username": "cook"}')
    with pytest.raises(SettingError, match=r"kaggle\.json is not a kaggle\.json from Kaggle"):
        kaggle_credentials()
    file.unlink()
    file.mkdir()
    with pytest.raises(SettingError, match=r"kaggle\.json cannot be read: Is a directory"):
        kaggle_credentials()
