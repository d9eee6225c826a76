"""The client as a distribution of its own, in an environment that has only what it asks for."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import deepfood_client
from live import SmallGallery

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "client"

#: Searches with the installed client; prints what was found, and what was imported for it.
PROGRAM = """
import json, sys
from pathlib import Path
from deepfood_client import Client
url, photo = sys.argv[1:]
with Client(url, timeout_s=120) as food:
    hits = food.search(photo, k=2).hits
tops = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"best": hits[0].name, "hits": len(hits), "imported": sorted(tops)}))
"""


def closure(name: str) -> set[str]:
    """The names of what a distribution needs, of what these need, and so on."""
    found: set[str] = set()
    todo = [name]
    while todo:
        one = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if one not in found:
            found.add(one)
            for text in importlib.metadata.requires(one) or []:
                wanted = Requirement(text)
                if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                    todo.append(wanted.name)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=CLIENT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("deepfood_client-*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, and with what it says that it needs."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        (about,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        said = archive.read(about).decode()
    direct = [Requirement(one) for one in re.findall(r"^Requires-Dist: (.+)$", said, re.M)]
    for name in set().union(*(closure(one.name) for one in direct)):
        distribution = importlib.metadata.distribution(name)
        for top in {path.parts[0] for path in distribution.files or [] if path.parts[0] != ".."}:
            target = Path(str(distribution.locate_file(top)))
            if target.exists() and not (site / top).exists():
                (site / top).symlink_to(target)
    return folder / "bin/python"


def test_a_search_needs_httpx_and_pydantic_only(
    bare: Path, server_url: str, small_gallery: SmallGallery
) -> None:
    command = [str(bare), "-I", "-c", PROGRAM, server_url, str(small_gallery.photos[9])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["best"], said["hits"]) == ("Curry no. 1", 2)
    assert {"httpx", "pydantic", "deepfood_client"} <= set(said["imported"])
    assert not {"deepfood", "numpy", "PIL", "fastapi", "openvino", "faiss"} & set(said["imported"])
    absent = subprocess.run([bare, "-I", "-c", "import numpy"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in absent.stderr, "the environment has more than is asked for"


def test_the_wheel_is_typed_and_has_its_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "deepfood_client/py.typed" in names
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"deepfood_client"}
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_deepfood_wants_the_client_of_its_own_version() -> None:
    client, deepfood = (
        tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for folder in (CLIENT, ROOT)
    )
    assert client["version"] == deepfood["version"]
    assert f"deepfood-client=={client['version']}" in deepfood["dependencies"]
    assert {Requirement(one).name for one in client["dependencies"]} == {"httpx", "pydantic"}


def test_the_errors_alone_import_neither() -> None:
    """The command line has them before it knows whether it will ask a server."""
    code = (
        "import sys, deepfood_client.errors\n"
        "assert not {'httpx', 'pydantic', 'deepfood'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_every_public_name_is_there_and_listed() -> None:
    for name in deepfood_client.__all__:
        assert getattr(deepfood_client, name) is not None
    assert set(deepfood_client.__all__) <= set(dir(deepfood_client))
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        deepfood_client.Clinet  # type: ignore[attr-defined]  # noqa: B018
