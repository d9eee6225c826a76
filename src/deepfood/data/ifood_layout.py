"""iFood-2019's own layout, as Kaggle and as the challenge's own archives have it.

class_list.txt                       "0 macaron": number and name of each class
train_labels.csv  val_labels.csv     img_name,label         (Kaggle)
train_info.csv    val_info.csv       the same without that first line, also below annot/
train_set/ val_set/ test_set/        the photos; Kaggle's notebooks have train_set/train_set/
"""

from collections.abc import Iterator

from deepfood.data.passed_over import Tally
from deepfood.data.photo_file import TEST, TRAIN, VAL, PhotoFile
from deepfood.data.root import Root
from deepfood.data.tables import (
    Row,
    Seen,
    clean_label,
    expect_cells,
    photo_path,
    read_lines,
    read_rows,
)
from deepfood.errors import DatasetError

CLASS_LIST = "class_list.txt"

_PHOTO_TITLES = {"img_name", "image_name", "image", "photo"}
_LABEL_TITLES = {"label", "class", "class_id"}


def is_ifood(root: Root) -> bool:
    """Whether the folder has iFood's tables, and its list of classes or its photo folders."""
    return _table(root, TRAIN) is not None and (
        class_list_of(root) is not None or _photos_folder(root, TRAIN) is not None
    )


def photos_of_ifood(root: Root, passed_over: Tally) -> Iterator[PhotoFile]:
    """The photos that the tables list, labelled by class name, and unlisted ones in the folders.

    The latter have no label, as all of `test_set`. Raises DatasetError with the line of the fault.
    """
    class_list = class_list_of(root)
    names = read_class_list(root, class_list) if class_list else {}
    seen = Seen()
    for split in (TRAIN, VAL, TEST):
        below = _photos_folder(root, split) or f"{split}_set"
        table = _table(root, split)
        listed = set()
        for row in _rows_without_head(root, table) if table else ():
            label = _label(row, split, names, root.where(class_list) if class_list else None)
            photo = PhotoFile(f"{below}/{photo_path(row.cells[0])}", label, split=split)
            listed.add(photo.file)
            if seen.is_new(photo, row.where):
                yield photo
        if root.is_dir(below):
            for file in root.photos(below, passed_over):
                if f"{below}/{file}" not in listed:
                    yield PhotoFile(f"{below}/{file}", split=split)


def read_class_list(root: Root, file: str) -> dict[int, str]:
    """Class names by number, from lines like "0 macaron". Raises DatasetError with the line."""
    names: dict[int, str] = {}
    for row in read_lines(root, file):
        number, _, rest = row.cells[0].partition(" ")
        name = clean_label(rest)
        if not _is_number(number) or name is None:
            raise DatasetError(
                f"{row.where}: {row.cells[0]!r} is not a number and the name of a class"
            )
        if int(number) in names or name in names.values():
            raise DatasetError(f"{row.where}: class {number} {name} is in the list already")
        names[int(number)] = name
    return names


def _rows_without_head(root: Root, table: str) -> Iterator[Row]:
    """The rows without the header, if there is one; it is checked."""
    for number, row in enumerate(read_rows(root, table)):
        if number == 0 and row.cells[0].lower() in _PHOTO_TITLES:
            if len(row.cells) > 1 and row.cells[1].lower() not in _LABEL_TITLES:
                raise DatasetError(f"{row.where}: expected img_name,label and not {row.cells}")
        elif not row.cells[0]:
            raise DatasetError(f"{row.where}: it names no photo")
        else:
            yield row


def _label(row: Row, split: str, names: dict[int, str], class_list: str | None) -> str | None:
    """The name of a row's class; the number itself where there is no list of names."""
    if split == TEST and len(row.cells) == 1:
        return None
    expect_cells(row, 2)
    number = row.cells[1]
    if class_list is None:
        return clean_label(number)
    if not _is_number(number) or int(number) not in names:
        raise DatasetError(f"{row.where}: class {number!r} is not in {class_list}")
    return names[int(number)]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def class_list_of(root: Root) -> str | None:
    """The file with the names of the classes; None where there is none."""
    return _first_file(root, CLASS_LIST, f"annot/{CLASS_LIST}")


def _table(root: Root, split: str) -> str | None:
    names = (f"{split}_labels.csv", f"{split}_info.csv")
    return _first_file(root, *names, *(f"annot/{name}" for name in names))


def _first_file(root: Root, *files: str) -> str | None:
    return next((file for file in files if root.is_file(file)), None)


def _photos_folder(root: Root, split: str) -> str | None:
    own = f"{split}_set"
    for below in (f"{own}/{own}", own, f"{split}/{own}"):
        if root.is_dir(below):
            return below
    return None
