"""Wheel and sdist build, and the wheel alone is a deepfood that works."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from plates import write_photos

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run(*command: object, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(one) for one in command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=cwd,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built from it; the same of the client."""
    out = tmp_path_factory.mktemp("dist")
    for project in (ROOT, ROOT / "client"):
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, project)
    return out


def test_the_wheel_holds_the_package_and_nothing_else(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"deepfood-{VERSION}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    assert {name.split("/")[0] for name in names} == {"deepfood", f"deepfood-{VERSION}.dist-info"}
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source))
        for path in (source / "deepfood").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("deepfood/")} == wanted


def test_the_sdist_holds_what_git_tracks(dist: Path) -> None:
    tracked = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    if not any(tracked):
        pytest.skip("this is no Git checkout")
    with tarfile.open(dist / f"deepfood-{VERSION}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    files = {one for one in tracked if one and (ROOT / one).is_file()}  # no link to a folder
    assert files <= names
    assert not {name for name in names if name.startswith((".venv", "site/", "demo/", "dist/"))}


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment with both wheels; what they need comes from this one."""
    fresh = tmp_path_factory.mktemp("fresh")
    venv.create(fresh, with_pip=False)
    python = fresh / "bin/python"
    wheels = [
        dist / f"{name}-{VERSION}-py3-none-any.whl" for name in ("deepfood", "deepfood_client")
    ]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*pip, "--no-index", "--no-deps", "--disable-pip-version-check", *wheels)
    (site,) = json.loads(
        run(python, "-c", "import json, site; print(json.dumps(site.getsitepackages()))")
    )
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (Path(site) / "shared.pth").write_text("\n".join(shared) + "\n")
    return fresh / "bin"


def test_the_installed_wheel_builds_and_searches(installed: Path, tmp_path: Path) -> None:
    where = run(
        installed / "python", "-c", "import deepfood; print(deepfood.__file__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(installed.parent)
    deepfood = installed / "deepfood"
    assert run(deepfood, "--version", cwd=tmp_path).strip() == VERSION
    assert "build" in run(deepfood, "--help", cwd=tmp_path)
    photos = write_photos(tmp_path / "photos", 5)
    run(deepfood, "build", photos, "--out", tmp_path / "gallery", cwd=tmp_path)
    photo = photos / "plate-00003.jpg"
    found = run(deepfood, "search", tmp_path / "gallery", photo, "-k", 1, "--json", cwd=tmp_path)
    (hit,) = json.loads(found)["hits"]
    assert hit["score"] == pytest.approx(1, abs=1e-4)


def test_the_citation_names_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == VERSION


def test_every_supported_python_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    supported = [f"3.{one.removeprefix(prefix)}" for one in project["classifiers"] if prefix in one]
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == supported
    assert project["requires-python"] == f">={supported[0]}"
    page = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
    assert f"{supported[0]} to {supported[-1]}" in page
