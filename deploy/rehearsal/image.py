"""The image: its base, its build, and what must and must not be in it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rehearsal.shell import ROOT, expect, output, run, say

BASE = "docker.io/library/python:3.13-slim-trixie"
SUITE = "trixie"
IMAGE = "localhost/deepfood:rehearsal"
UID = 10001
#: Ours, without the base. What it is, and a tenth more.
MAX_LAYER_BYTES = 420 * 2**20


def make_base(room: Path) -> None:
    """A Debian with Python where the official image has it, under the official image's name."""
    say(f"making {BASE} of Debian {SUITE}")
    targets = output("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)")
    mirror = next(line.split()[1] for line in targets.splitlines() if line.startswith("Debian "))
    base = room / "base"
    run(
        *("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates"),
        *(SUITE, str(base), mirror),
    )
    for name in ("python", "python3"):
        (base / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
    shutil.rmtree(base / "var/cache/apt")
    with subprocess.Popen(
        ["tar", "-C", str(base), "--one-file-system", "-c", "."], stdout=subprocess.PIPE
    ) as tar:
        run("podman", "import", "--quiet", "-", BASE, stdin=tar.stdout)
    shutil.rmtree(base)


def build_image(room: Path) -> None:
    """Build with this machine's package index, which goes along as a secret."""
    say("building the image")
    authorities = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
    lines = ["[global]", "cert = /run/secrets/authorities"]
    index = os.environ.get("PIP_INDEX_URL") or output(
        sys.executable, "-m", "pip", "--quiet", "config", "get", "global.index-url", check=False
    )
    if index.strip():
        lines.append(f"index-url = {index.strip()}")
    secret = room / "pip.conf"
    secret.write_text("\n".join(lines) + "\n")
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "SSL_", "PYTHON"))}
    run(
        *("buildah", "bud", "--isolation", "chroot", "--format", "docker", "--pull-never"),
        *("--secret", f"id=pip.conf,src={secret}"),
        *("--secret", f"id=authorities,src={authorities}"),
        *("--build-arg", f"REVISION={output('git', 'rev-parse', 'HEAD').strip()}"),
        *("--file", str(ROOT / "deploy/Dockerfile"), "--tag", IMAGE, str(ROOT)),
        env=plain,
    )


def look_inside(room: Path) -> None:
    """What must and must not be in the files of the image."""
    say("looking at the image's files")
    container = output("buildah", "from", "--pull-never", IMAGE).strip()
    files = Path(output("buildah", "mount", container).strip())
    present = {str(path.relative_to(files)) for path in files.rglob("*")}
    for program in ("gcc", "cc", "g\\+\\+", "c\\+\\+", "clang", "make", "ld"):
        found = [
            name for name in present if re.search(rf"(^|/)bin/([\w-]+-)?{program}(-\d+)?$", name)
        ]
        expect(not found, f"no {program}: {found}")
    ours = {name for name in present if name.startswith("opt/deepfood/")}
    for package in ("torch", "pip", "setuptools", "hatchling", "cyclonedx"):
        found = [name for name in ours if name.endswith(f"site-packages/{package}")]
        expect(not found, f"no {package}: {found}")
    expect("etc/pip.conf" not in present, "the package index stayed out of the image")
    expect(not list((files / "run/secrets").glob("*")), "no secret stayed in the image")
    writable = [
        name
        for name in ours
        if not (files / name).is_symlink() and (files / name).stat().st_mode & 0o022
    ]
    expect(not writable, f"nothing that only root may change: {writable[:5]}")
    check_bill(files)
    run("buildah", "rm", container)


def check_bill(files: Path) -> None:
    """The bill of materials lists exactly what is installed."""
    bill = json.loads((files / "opt/deepfood/sbom.cdx.json").read_bytes())
    expect(bill["bomFormat"] == "CycloneDX", "a bill of materials of CycloneDX")
    listed = {(plain(part["name"]), part["version"]) for part in bill["components"]}
    root = bill["metadata"]["component"]
    listed.add((plain(root["name"]), root["version"]))
    [packages] = (files / "opt/deepfood/lib").glob("python3.*/site-packages")
    installed = set()
    for folder in packages.glob("*.dist-info"):
        name, version = folder.name.removesuffix(".dist-info").rsplit("-", 1)
        installed.add((plain(name), version))
    expect(listed == installed, f"the bill lists what is installed: {listed ^ installed}")
    say(f"the bill of materials lists {len(listed)} packages")


def report_sizes(room: Path) -> None:
    run("buildah", "push", "--quiet", IMAGE, f"oci:{room}/pushed:deepfood")
    layout = room / "pushed"
    manifest = blob(layout, json.loads((layout / "index.json").read_bytes())["manifests"][0])
    config = blob(layout, manifest["config"])
    expect(config["config"]["User"] == f"{UID}:{UID}", "it runs as a user that is not root")
    base, ours = (layer["size"] for layer in manifest["layers"])
    [image] = json.loads(output("podman", "image", "inspect", IMAGE))
    [below] = json.loads(output("podman", "image", "inspect", BASE))
    unpacked = image["Size"] - below["Size"]
    say(f"on the base: {unpacked / 1e6:.0f} MB, compressed {ours / 1e6:.0f} MB")
    say(f"the base made here: {below['Size'] / 1e6:.0f} MB, compressed {base / 1e6:.0f} MB")
    expect(unpacked <= MAX_LAYER_BYTES, f"at most {MAX_LAYER_BYTES} bytes on the base")
    shutil.rmtree(layout)


def blob(layout: Path, descriptor: dict[str, str]) -> dict:
    return json.loads((layout / "blobs/sha256" / descriptor["digest"].split(":")[1]).read_bytes())


def plain(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
