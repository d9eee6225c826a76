"""A gallery in a folder: made by the image, mounted read-only, served by one and two workers."""

import os
from pathlib import Path

from rehearsal.container import find, podman_run, serving
from rehearsal.image import IMAGE, UID
from rehearsal.shell import say


def build_gallery(room: Path, photos: Path) -> Path:
    """A gallery of the photos, made by the image."""
    say("building a gallery with the image")
    made = room / "made"
    made.mkdir()
    os.chown(made, UID, UID)
    podman_run("--rm", "--volume", f"{photos}:/photos:ro", "--volume", f"{made}:/made", IMAGE,
               "build", "/photos", "--out", "/made/gallery")  # fmt: skip
    return made / "gallery"


def serve_folder(gallery: Path, photos: Path, photo: Path, workers: int) -> None:
    say(f"serving with {workers} worker{'s' if workers > 1 else ''} on port 80")
    with serving(
        *(photo, "--env", "DEEPFOOD_GALLERY=/gallery", "--env", f"DEEPFOOD_WORKERS={workers}"),
        *("--volume", f"{gallery}:/gallery:ro", "--volume", f"{photos}:/photos:ro"),
    ):
        find(photo)
