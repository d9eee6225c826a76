"""The Dockerfile and the pins of what it installs. `make rehearse` builds and runs the image."""

import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(file: str) -> dict[str, Requirement]:
    """What is pinned, by name; each line must have a version and the hashes of its files."""
    text = (DEPLOY / file).read_text(encoding="utf-8")
    found: dict[str, Requirement] = {}
    for entry in re.sub(r"#.*", "", text).replace("\\\n", " ").splitlines():
        if entry.strip():
            requirement, *hashes = re.split(r"\s+--hash=", entry.strip())
            assert hashes, f"{requirement} has no hash"
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes)
            pinned = Requirement(requirement)
            assert re.fullmatch(r"==[^*]+", str(pinned.specifier)), requirement
            found[canonicalize_name(pinned.name)] = pinned
    return found


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("requirements.txt", PROJECT["project"]["dependencies"]),
        ("requirements-build.txt", PROJECT["build-system"]["requires"]),
    ],
)
def test_the_pins_are_what_the_project_asks_for(file: str, wanted: list[str]) -> None:
    """Where this fails, run deploy/pin."""
    pinned = pins(file)
    for requirement in map(Requirement, wanted):
        if requirement.name == "deepfood-client":  # from the checkout, as deepfood itself
            continue
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement} is not pinned: run deploy/pin"
        version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{pin}, not {requirement}: run deploy/pin"


def test_the_image_has_no_torch_and_no_tools() -> None:
    assert not {"torch", "torchvision", "timm", "pip", "hatchling"} & set(pins("requirements.txt"))


def test_the_dockerfile_has_no_known_faults() -> None:
    hadolint = Path(sysconfig.get_path("scripts"), "hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert subprocess.run([hadolint, "-"], input=b"FROM debian\n", capture_output=True).returncode


def test_both_stages_stand_on_one_base_that_is_not_just_the_latest() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {
        "docker.io/library/python:${PYTHON}"
    }
    [default] = re.findall(r"^ARG PYTHON=(\S+)", text, re.MULTILINE)
    assert re.fullmatch(r"3\.\d+-slim-[a-z]+", default)
    assert f'"docker.io/library/python:{default}"' in (DEPLOY / "rehearsal/image.py").read_text(
        encoding="utf-8"
    )
