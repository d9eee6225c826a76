"""Every layout that list_photos reads, and what it says of tables that cannot be meant."""

import os
import unicodedata
from pathlib import Path

import pytest

from deepfood.data.photos import PhotoFile, list_photos
from deepfood.data.root import Folder
from deepfood.errors import DatasetError, PhotoError, PhotoMissingError
from plates import jpeg

NFC, NFD = (unicodedata.normalize(form, "crème brûlée") for form in ("NFC", "NFD"))


def lay_out(root: Path, *files: str, **texts: str) -> Path:
    """Empty photos by path, and texts by name ("train_labels__csv" is train_labels.csv)."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    for name, text in texts.items():
        path = root / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def listed(source: Path) -> list[tuple[str, str | None, str | None]]:
    return [(photo.file, photo.label, photo.split) for photo in list_photos(source).files]


def refused(source: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        list_photos(source)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_class_folders(tmp_path: Path) -> None:
    lay_out(tmp_path, "curry/a/1.jpg", f"{NFD}/2.JPG", "3.png", ".hidden/4.jpg", "curry/.5.jpg")
    assert listed(tmp_path) == [
        ("3.png", None, None),
        (f"{NFD}/2.JPG", NFC, None),  # the label in one spelling, the path as it is
        ("curry/a/1.jpg", "curry", None),
    ]


def test_split_folders(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/curry/1.jpg", "train/pie/deep/2.jpg", "train/3.jpg", "4.jpg")
    lay_out(tmp_path, "valid/curry/5.jpg", "Validation/pie/6.jpg", "test/7.jpg", ".git/train/x.jpg")
    assert listed(tmp_path) == [
        ("4.jpg", None, None),
        ("Validation/pie/6.jpg", "pie", "val"),
        ("test/7.jpg", None, "test"),
        ("train/3.jpg", None, "train"),
        ("train/curry/1.jpg", "curry", "train"),
        ("train/pie/deep/2.jpg", "pie", "train"),
        ("valid/curry/5.jpg", "curry", "val"),
    ]


@pytest.mark.parametrize("names", [("test", "val"), ("train", "test", "soup")])
def test_other_folders_are_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    lay_out(tmp_path, *(f"{name}/1.jpg" for name in names))
    assert {label for _, label, _ in listed(tmp_path)} == set(names)


def test_a_csv(tmp_path: Path) -> None:
    rows = [
        "Photo,label,split,name,source",
        "a.jpg,half/half,train,A,x",
        "./b//c.jpg,麻婆豆腐,,,x",
        ",,,,",
        f"d.jpg,{NFD},Validation,,",
        "",
        '"e,f.jpg"," ../../etc ",VALID,,',
        "g.jpg,,test,,",
        "a.jpg,half/half,train,again,y",
        "sub\\h.jpg,x,test,,",
    ]
    lay_out(tmp_path, photos__csv="\ufeff" + "\r\n".join(rows))
    assert listed(tmp_path) == listed(tmp_path / "photos.csv")
    assert listed(tmp_path) == [
        ("a.jpg", "half/half", "train"),
        ("b/c.jpg", "麻婆豆腐", None),
        ("d.jpg", NFC, "val"),
        ("e,f.jpg", "../../etc", "val"),
        ("g.jpg", None, "test"),
        ("sub/h.jpg", "x", "test"),
    ]
    assert list_photos(tmp_path).files[0] == PhotoFile("a.jpg", "half/half", "A", "train")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("photo,label\na.jpg\n", "line 2: it has 1 column, and 2 are needed"),
        ("photo,label\nok.jpg,x\na.jpg,b,c\n", "line 3: it has 3 columns, and 2 are needed"),
        ("photo,label\n,curry\n", "names none"),
        ("photo,file\na.jpg,b.jpg\n", "line 2: its photo is 'a.jpg', and its file 'b.jpg'"),
        ("file,label\n/etc/a.jpg,x\n", "line 2: '/etc/a.jpg' lies outside"),
        ("file,label\nC:\\a.jpg,x\n", "line 2: 'C:\\\\a.jpg' lies outside"),
        ("file,label\nhttps://a.jpg,x\n", "line 2: 'https://a.jpg' lies outside"),
        ("file,file\na.jpg,b.jpg\n", "line 1: there are two columns 'file'"),
        ("photo,split\na.jpg,dev\n", "line 2: the split is 'dev', and can be train, val, test"),
        ("photo,label\na.jpg,x\nb.jpg,x\n./a.jpg,y\n", "line 4: a.jpg has the label 'y' here and"),
        ("photo,label\na.jpg,x\na.jpg,\n", "line 3: a.jpg has the label None here and 'x'"),
        ("photo,split\na.jpg,val\na.jpg,test\n", "line 3: a.jpg has the split 'test' here"),
        ('photo,label\n"a.jpg,x\n', "line 2: this is not CSV"),
        ("photo,label,label\na.jpg,x,y\n", "line 1: there are two columns 'label'"),
        ("foto,label\na.jpg,x\n", "has no column 'photo' or 'file': its first line is ['foto', "),
        ("", "has no column 'photo' or 'file': its first line is None"),
        ("photo,label\n", "no photos in"),
    ],
)
def test_a_csv_that_cannot_be_meant(table: str, said: str, tmp_path: Path) -> None:
    lay_out(tmp_path, photos__csv=table)
    error = refused(tmp_path)
    assert said in error
    assert str(tmp_path) in error


def test_rows_without_a_photo_are_counted(tmp_path: Path) -> None:
    lay_out(tmp_path, t__csv="label,file,photo\na,1.jpg,\nb,,\nc,,2.jpg\nd,3.jpg,3.jpg\ne,,\n")
    source = list_photos(tmp_path / "t.csv")
    assert [photo.file for photo in source.files] == ["1.jpg", "2.jpg", "3.jpg"]
    assert (source.table, source.rows_without_photo) == ("t.csv", 2)
    lay_out(tmp_path / "folder", "1.jpg")
    source = list_photos(tmp_path / "folder")
    assert (source.table, source.rows_without_photo) == (None, 0)


def test_a_path_from_the_root_is_taken_where_it_lies_below_the_table(tmp_path: Path) -> None:
    lay_out(tmp_path, "photos/a.jpg", "photos/in/b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    rows = ["file", f"{tmp_path}/photos/a.jpg", f"{tmp_path}/link/in/b.jpg", "in/c.jpg"]
    for folder in ("photos", "link"):
        lay_out(tmp_path / folder, t__csv="\n".join(rows))
        assert [file for file, _, _ in listed(tmp_path / folder / "t.csv")] == [
            "a.jpg",
            "in/b.jpg",
            "in/c.jpg",
        ]
    lay_out(tmp_path / "photos" / "in", t__csv="\n".join(rows))
    error = refused(tmp_path / "photos/in/t.csv")
    assert (
        f"line 2: '{tmp_path}/photos/a.jpg' lies outside {tmp_path}/photos/in: move" in error[:999]
    )


def test_names_are_found_in_the_other_spelling_and_first_in_their_own(tmp_path: Path) -> None:
    def named(*rows: str) -> list[str]:
        lay_out(tmp_path, t__csv="\n".join(["photo", *rows]))
        return [file for file, _, _ in listed(tmp_path / "t.csv")]

    lay_out(tmp_path, f"{NFD}/{NFD}.jpg")
    if (tmp_path / NFC).exists():
        pytest.skip("this file system takes both for one")
    assert named(f"{NFC}/{NFC}.jpg") == [f"{NFD}/{NFD}.jpg"]
    assert named(f"{NFC}/{NFC}.jpg", f"{NFD}/{NFD}.jpg") == [f"{NFD}/{NFD}.jpg"]
    assert named(f"{NFC}/other é.jpg", "../é.jpg") == ["../é.jpg", f"{NFC}/other é.jpg"]
    lay_out(tmp_path, f"{NFD}/{NFC}.jpg", f"{NFC}.jpg")
    assert named(f"{NFC}/{NFC}.jpg", f"{NFC}/{NFD}.jpg", f"{NFD}.jpg") == sorted(
        [f"{NFD}/{NFC}.jpg", f"{NFD}/{NFD}.jpg", f"{NFC}.jpg"]
    )


def test_a_csv_that_is_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_bytes("photo\ncr\u00e8me.jpg\n".encode("latin-1"))
    assert "photos.csv cannot be read as UTF-8" in refused(tmp_path)


def test_a_folder_whose_name_is_no_unicode(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"cr\xe8me")).mkdir()
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    (tmp_path / os.fsdecode(b"cr\xe8me") / "1.jpg").touch()
    photo = list_photos(tmp_path).files[0]
    assert photo.label == "cr\\udce8me"
    assert photo.stored == "cr\\udce8me/1.jpg"


FOOD101 = {
    "meta___train__txt": "pie/1\npie/2\n\ncurry/3\n",
    "meta___test__txt": "pie/4\r\ncurry/5",
}


@pytest.mark.parametrize("below", ["", "food-101/"])
def test_food_101(below: str, tmp_path: Path) -> None:
    root = lay_out(tmp_path / below, "images/pie/1.jpg", "images/pie/99.jpg", **FOOD101)
    assert listed(tmp_path) == [
        ("images/curry/3.jpg", "curry", "train"),
        ("images/curry/5.jpg", "curry", "test"),
        ("images/pie/1.jpg", "pie", "train"),
        ("images/pie/2.jpg", "pie", "train"),
        ("images/pie/4.jpg", "pie", "test"),
    ]
    assert list_photos(tmp_path).root == Folder(root.resolve())


def test_a_photo_that_a_list_has_twice_is_one(tmp_path: Path) -> None:
    food101 = lay_out(tmp_path / "1", "images/pie/1.jpg", **FOOD101)
    once = listed(food101)
    with (food101 / "meta" / "train.txt").open("a") as train:
        train.write("pie/1\n")
    assert listed(food101) == once
    again = IFOOD["train_labels__csv"] + "gone.jpg,01\n"
    lay_out(tmp_path / "2", *ifood_photos(), **{**IFOOD, "train_labels__csv": again})
    assert listed(tmp_path / "2") == IFOOD_LISTED


@pytest.mark.parametrize("line", ["pie", "../1", "a/b/c", "/1", "pie/", "pie/..", "a\\b/1"])
def test_food_101_with_a_line_that_is_no_pair(line: str, tmp_path: Path) -> None:
    lay_out(tmp_path, "images/pie/1.jpg", meta___train__txt=f"pie/1\n{line}\n", meta___test__txt="")
    assert f"train.txt, line 2: {line!r} is not a <class>/<id>" in refused(tmp_path)


def test_food_101_with_a_photo_in_both_lists(tmp_path: Path) -> None:
    texts = {**FOOD101, "meta___test__txt": "pie/4\npie/2\n"}
    lay_out(tmp_path, "images/pie/1.jpg", **texts)
    error = refused(tmp_path)
    assert "test.txt, line 2: images/pie/2.jpg has the split 'test' here and 'train'" in error
    assert "train.txt, line 2" in error


IFOOD = {
    "class_list__txt": "0 macaron\n1 crème brûlée\n\n10 fish_and_chips\n",
    "train_labels__csv": "img_name,label\ntrain_0.jpg,0\ntrain_1.jpg,10\ngone.jpg,1\n",
    "val_labels__csv": "img_name,label\nval_0.jpg,01\n",
}
IFOOD_LISTED = [
    ("test_set/test_0.jpg", None, "test"),
    ("train_set/bare.jpg", None, "train"),
    ("train_set/gone.jpg", NFC, "train"),
    ("train_set/train_0.jpg", "macaron", "train"),
    ("train_set/train_1.jpg", "fish_and_chips", "train"),
    ("val_set/val_0.jpg", NFC, "val"),
]


def ifood_photos(below: str = "{0}") -> list[str]:
    names = ["train/bare", "train/train_0", "train/train_1", "val/val_0", "test/test_0"]
    pairs = [name.split("/") for name in names]
    return [f"{below.format(f'{split}_set')}/{name}.jpg" for split, name in pairs]


def test_ifood_as_kaggle_has_it(tmp_path: Path) -> None:
    assert listed(lay_out(tmp_path, *ifood_photos(), **IFOOD)) == IFOOD_LISTED


def test_ifood_as_kaggles_notebooks_have_it(tmp_path: Path) -> None:
    lay_out(tmp_path, *ifood_photos("{0}/{0}"), **IFOOD)
    assert listed(tmp_path) == [
        (f"{file.split('/')[0]}/{file}", label, split) for file, label, split in IFOOD_LISTED
    ]


def test_ifood_as_its_own_archives_have_it(tmp_path: Path) -> None:
    info = {
        f"annot___{name.replace('labels', 'info')}": text.removeprefix("img_name,label\n")
        for name, text in IFOOD.items()
    }
    info["annot___test_info__csv"] = "test_0.jpg\ntest_1.jpg\n"
    lay_out(tmp_path, *ifood_photos(), **info)
    assert listed(tmp_path) == [
        IFOOD_LISTED[0],
        ("test_set/test_1.jpg", None, "test"),
        *IFOOD_LISTED[1:],
    ]


def test_ifood_without_class_names_or_without_photos(tmp_path: Path) -> None:
    bare = {name: text for name, text in IFOOD.items() if name != "class_list__txt"}
    lay_out(tmp_path / "a", *ifood_photos(), **bare)
    assert ("train_set/train_1.jpg", "10", "train") in listed(tmp_path / "a")
    lay_out(tmp_path / "b", **IFOOD)
    assert ("val_set/val_0.jpg", NFC, "val") in listed(tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "class_list__txt",
            "0 macaron\nsamosa\n",
            "class_list.txt, line 2: 'samosa' is not a number",
        ),
        ("class_list__txt", "0 a\n0 b\n", "line 2: class 0 b is in the list already"),
        ("class_list__txt", "0 a\n1 a\n", "line 2: class 1 a is in the list already"),
        ("train_labels__csv", "img_name,label\na.jpg,7\n", "line 2: class '7' is not in"),
        ("train_labels__csv", "img_name,label\na.jpg,x\n", "line 2: class 'x' is not in"),
        ("train_labels__csv", "img_name,label\na.jpg\n", "line 2: it has 1 column"),
        ("train_labels__csv", "img_name,label\na.jpg,0,1\n", "line 2: it has 3 columns"),
        ("train_labels__csv", "img_name,label\n,0\n", "line 2: it names no photo"),
        ("train_labels__csv", "img_name,colour\na.jpg,0\n", "line 1: expected img_name,label"),
        ("val_labels__csv", "a.jpg,0\na.jpg,1\n", "val_labels.csv, line 2: val_set/a.jpg has the"),
    ],
)
def test_ifood_with_tables_that_cannot_be_meant(
    name: str, text: str, said: str, tmp_path: Path
) -> None:
    assert said in refused(lay_out(tmp_path, *ifood_photos(), **{**IFOOD, name: text}))


def test_labels_decide_no_path(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.jpg").write_bytes(jpeg(1))
    (tmp_path / "inside" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    lay_out(tmp_path / "inside", photos__csv="photo,label\n../secret.jpg,../../x\nlink.jpg,y\n")
    # Listed as the table has them; their Root refuses to read what lies outside.
    assert [label for _, label, _ in listed(tmp_path / "inside")] == ["../../x", "y"]
    source = list_photos(tmp_path / "inside")
    for photo in source.files:
        with pytest.raises(PhotoMissingError, match="lies outside"):
            source.root.read(photo.file, lambda _: None)


def test_nothing_there(tmp_path: Path) -> None:
    assert "there is no" in refused(tmp_path / "nowhere")
    (tmp_path / "x.txt").touch()
    assert "neither a folder nor a .csv" in refused(tmp_path / "x.txt")
    assert "no photos in" in refused(tmp_path)
    assert "cannot be read: File name too long" in refused(tmp_path / ("x" * 300))
    os.mkfifo(tmp_path / "pipe.csv")
    assert f"{tmp_path / 'pipe.csv'} is neither a folder nor a file" in refused(
        tmp_path / "pipe.csv"
    )


def test_paths_that_no_system_has_are_no_photos(tmp_path: Path) -> None:
    """A NUL, a name that is too long, and a loop of links."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    root = Folder(tmp_path)
    for file in ("a\0b.jpg", "a\0b/c.jpg", "loop/a.jpg", "x" * 300 + ".jpg"):
        assert root.inside(str(tmp_path / file)) == file
        with pytest.raises(PhotoError):
            root.read(file, lambda size: None)
        assert root.names(file) == []
        assert not root.is_file(file)
