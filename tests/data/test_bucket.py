"""Photos in a bucket: listed and read as those of a folder, whatever their keys are."""

import time
import unicodedata
from pathlib import Path

import boto3
import pytest

from deepfood.data.bucket import BucketRoot
from deepfood.data.combine import combine
from deepfood.data.locate import locate, root_named
from deepfood.data.photos import list_photos
from deepfood.data.root import Folder, Root
from deepfood.data.splits import split_photos
from deepfood.errors import DatasetError, PhotoMissingError, PhotoTooLargeError, StorageError
from deepfood.photo import Limits
from photo_bucket import bucket, s3, upload
from plates import jpeg
from seaweed import STRANGER, use_identity

LIMITS = Limits(20 * 2**20, 64_000_000)
FOOD101 = {"meta/train.txt": "curry/1\npie/2\n", "meta/test.txt": "curry/3\n"}
IFOOD = {
    "class_list.txt": "0 macaron\n1 crème brûlée\n",
    "annot/train_info.csv": "a.jpg,1\nb.jpg,0\n",
    "val_labels.csv": "img_name,label\nc.jpg,0\n",
}
LAYOUTS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "classes": (("curry/a/1.jpg", "麻婆豆腐/2.JPG", "3.png", ".hid/4.jpg", "curry/.5.jpg"), {}),
    "flat": (("b.jpg", "a.webp", "notes"), {}),
    "splits": (("train/curry/1.jpg", "valid/curry/2.jpg", "test/3.jpg"), {}),
    "table": (("a.jpg", "x/b.jpg"), {"photos.csv": "photo,label\n./x//b.jpg,soup\ngone.jpg,pie\n"}),
    "food101": (("images/curry/1.jpg",), FOOD101),
    "food101 below": (
        ("food-101/images/curry/1.jpg",),
        {f"food-101/{name}": text for name, text in FOOD101.items()},
    ),
    "ifood": (("train_set/train_set/a.jpg", "val_set/c.jpg", "test_set/t.jpg"), IFOOD),
}


def open_root(url: str) -> BucketRoot:
    root = root_named(url, s3())
    assert isinstance(root, BucketRoot)
    return root


def read(root: Root, file: str) -> bytes:
    return root.read(file, LIMITS.check_bytes)


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_found_as_in_a_folder(name: str, tmp_path: Path, s3_bucket: str) -> None:
    photos, texts = LAYOUTS[name]
    for number, file in enumerate(photos):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(jpeg(number))
    for file, text in texts.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    here, there = (
        list_photos(tmp_path),
        list_photos(upload(tmp_path, f"{s3_bucket}/some/where"), s3()),
    )
    assert there.files == here.files
    names = [photo.file for photo in here.files]
    present = here.root.present(names)
    assert there.root.present(names) == present
    assert any(present)
    for file, is_there in zip(names, present, strict=True):
        if is_there:
            assert read(there.root, file) == read(here.root, file)
            assert there.root.stamp(file)[0] == here.root.stamp(file)[0]
            assert there.root.head(file, 7) == here.root.head(file, 7)
        else:
            with pytest.raises(PhotoMissingError):
                read(there.root, file)
            assert there.root.stamp(file) == (-1, -1)
    assert list_photos(str(there.root), s3()).files  # as a manifest calls it
    assert list_photos(Path(str(there.root)), s3()).files  # as a command line's Path folds it


def test_a_csv_or_a_photo_may_be_named_itself(tmp_path: Path, s3_bucket: str) -> None:
    there = bucket(s3_bucket)
    there.write("x/dishes.csv", b"photo,label\nin/1.jpg,soup\n")
    there.write("x/in/1.jpg", jpeg(1))
    (photo,) = list_photos(f"{s3_bucket}/x/dishes.csv", s3()).files
    assert (photo.file, photo.label) == ("in/1.jpg", "soup")
    root, file = locate(f"{s3_bucket}/x/in/1.jpg", s3())
    assert (str(root), file) == (f"{s3_bucket}/x/in", "1.jpg")
    assert read(root, file) == jpeg(1)
    assert root.stamp(file)[0] == len(jpeg(1))
    with pytest.raises(DatasetError, match="no photos in s3://"):
        list_photos(f"{s3_bucket}/x/in/2.jpg", s3())


def test_no_name_leads_out_of_the_prefix(tmp_path: Path, s3_bucket: str) -> None:
    there = bucket(s3_bucket)
    there.write("secret.jpg", jpeg(9))
    there.write("a/in/1.jpg", jpeg(1))
    there.write("a/e\u0301 \u202egpj q?x#y%2f.jpg", jpeg(2))
    odd = [
        "../secret.jpg",
        "/etc/hostname.jpg",
        "in/../in/1.jpg",
        "./in/1.jpg",
        "a\0b.jpg",
        "in//1",
    ]
    odd += ["new\nline.jpg", "x" * 2000 + ".jpg", "", "..", "\x7f.jpg", "in/1.jpg/"]
    root = open_root(f"{s3_bucket}/a")
    for file in odd:
        with pytest.raises(PhotoMissingError, match="can have that name"):
            read(root, file)
        assert root.present([file]) == [False]
    assert read(root, "e\u0301 \u202egpj q?x#y%2f.jpg") == jpeg(2)
    # Whatever may be in a name, asking for it is no fault of the server's.
    for code in range(32, 127):
        with pytest.raises(PhotoMissingError, match="no such object"):
            read(root, f"x{chr(code)}y".replace("/", "_"))
    with pytest.raises(PhotoTooLargeError):
        root.read("in/1.jpg", Limits(1024, 4096).check_bytes)


def test_a_table_decides_no_path_here(tmp_path: Path, s3_bucket: str) -> None:
    there = bucket(s3_bucket)

    def write(*photos: str) -> None:
        rows = "".join(f"{photo},z\n" for photo in photos)
        there.write("a/photos.csv", f"photo,label\n{rows}".encode())

    for outside in ("/tmp/z.jpg", f"{s3_bucket}/x.jpg", f"{s3_bucket}/ab/1.jpg"):
        write("1.jpg", outside)
        with pytest.raises(DatasetError, match=r"photos.csv, line 3: .* lies outside s3://"):
            combine([f"{s3_bucket}/a"], tmp_path / "to", LIMITS, s3(), quiet=True)
    write("../../x.jpg", "../x.jpg", "1.jpg")
    there.write("a/1.jpg", jpeg(1))
    there.write("x.jpg", jpeg(2))
    there.write("a/2.jpg", jpeg(3))
    done = combine([f"{s3_bucket}/a"], tmp_path / "to", LIMITS, s3(), quiet=True)
    assert (done.photos, len(done.unreadable)) == (1, 2)
    files = {path.name for path in (tmp_path / "to" / "photos").iterdir()}
    assert len(files) == 1
    assert (tmp_path / "to" / "photos" / files.pop()).read_bytes() == jpeg(1)


def test_a_table_may_name_objects_by_their_urls_and_in_another_spelling(s3_bucket: str) -> None:
    there = bucket(s3_bucket)
    nfc, nfd = (unicodedata.normalize(form, "crème/é.jpg") for form in ("NFC", "NFD"))
    for key in ("1.jpg", nfd, f"both/{nfc}", f"both/{nfd}"):
        there.write(f"a/{key}", jpeg(1))
    rows = [f"{s3_bucket}/a/1.jpg", nfc, f"both/{nfc}", f"{s3_bucket}/a/both/{nfd}", "é.jpg"]
    there.write("a/t.csv", "\n".join(["file", *rows]).encode())
    found = {photo.file for photo in list_photos(f"{s3_bucket}/a/t.csv", s3()).files}
    assert found == {"1.jpg", nfd, f"both/{nfc}", f"both/{nfd}", "é.jpg"}


def test_a_photo_that_is_written_again_has_another_stamp(s3_bucket: str) -> None:
    there = bucket(s3_bucket)
    stamps = set()
    for content in (b"one", b"two", b"one", b"longer"):
        there.write("x.jpg", content)
        stamps.add(open_root(s3_bucket).stamp("x.jpg"))
    assert len(stamps) >= 3  # "one" twice within a second is the same
    assert {size for size, _ in stamps} == {3, 6}


def test_what_is_kept_is_read_again_from_here_while_it_is_whole(
    tmp_path: Path, s3_bucket: str
) -> None:
    there = bucket(s3_bucket)
    there.write("a.jpg", jpeg(1))
    root = open_root(s3_bucket).kept_in(tmp_path / "kept")
    assert read(root, "a.jpg") == jpeg(1)
    (kept,) = (path for path in (tmp_path / "kept").rglob("*") if path.is_file())
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")  # a damaged disk
    assert read(root, "a.jpg") == jpeg(1)
    there.delete("a.jpg")
    assert read(root, "a.jpg") == jpeg(1)
    with pytest.raises(PhotoTooLargeError):
        root.read("a.jpg", Limits(1024, 4096).check_bytes)
    kept.write_bytes(b"")
    with pytest.raises(PhotoMissingError):
        read(root, "a.jpg")
    there.write("a.jpg", jpeg(2))
    assert read(open_root(s3_bucket).kept_in(tmp_path / "kept"), "a.jpg") == jpeg(2)
    assert Folder(tmp_path).kept_in(tmp_path / "kept") == Folder(tmp_path)


def test_what_marks_a_folder_is_not_passed_over(s3_bucket: str) -> None:
    for name in ("pie/1.jpg", ".hid/1.jpg", ".hid/2.jpg", "notes"):
        bucket(s3_bucket).write(name, jpeg(1))
    client = boto3.client("s3", endpoint_url=s3().endpoint, region_name="us-east-1")
    for name in ("pie/", "v1.2/", ".hid/"):  # as consoles make an empty folder
        client.put_object(Bucket=s3_bucket.removeprefix("s3://"), Key=name)
    source = list_photos(s3_bucket, s3())
    assert [photo.file for photo in source.files] == ["pie/1.jpg"]
    passed_over = {one.reason: one.examples for one in source.passed_over}
    assert passed_over == {"hidden": (".hid",), "files without an ending": ("notes",)}


def test_a_bucket_is_not_listed_where_its_photos_are_known(s3_bucket: str) -> None:
    there = bucket(s3_bucket)
    there.write("pie/1.jpg", jpeg(1))
    known = open_root(s3_bucket).knowing({"pie/1.jpg": (1, 2)})
    there.write("pie/2.jpg", jpeg(2))
    assert known.names("pie") == ["1.jpg"]
    assert read(known, "pie/1.jpg") == jpeg(1)
    assert known.head("pie/1.jpg", 3) == jpeg(1)[:3]
    with pytest.raises(PhotoMissingError, match="there is no such object"):
        known.head("pie/3.jpg", 1)


def test_splits_of_photos_in_a_bucket(s3_bucket: str) -> None:
    there = bucket(s3_bucket)
    for number in range(6):
        there.write(f"{'curry' if number % 2 else 'pie'}/{number}.jpg", jpeg(number))
    splits = split_photos(list_photos(s3_bucket, s3()))
    assert (len(splits.train), len(splits.val), splits.labels) == (4, 2, ("curry", "pie"))


def test_what_cannot_be_listed_is_said_in_a_line(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match="there is no such bucket"):
        list_photos("s3://no-such-bucket-here/photos", s3())
    with pytest.raises(DatasetError, match="no photos in s3://"):
        list_photos(f"{s3_bucket}/empty", s3())
    use_identity(monkeypatch, STRANGER)
    with pytest.raises(StorageError, match="may not do that"):
        list_photos(s3_bucket, s3())
    monkeypatch.setenv("DEEPFOOD_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("DEEPFOOD_S3_RETRY_S", "0.3")
    started = time.monotonic()
    with pytest.raises(StorageError, match="cannot be reached"):
        list_photos(s3_bucket, s3())
    assert time.monotonic() - started < 60, "it went on trying"
