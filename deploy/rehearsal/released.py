"""A release on a real S3 server, SeaweedFS: pushed, served, and followed by the image."""

import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from rehearsal.container import find, podman_run, ready_photos, serving, wait_until
from rehearsal.image import IMAGE
from rehearsal.shell import expect, say
from seaweed import OWNER, seaweed

RELEASES = "s3://food/prod"


class S3(NamedTuple):
    """Where S3 is and who asks."""

    url: str
    identity: tuple[str, str]

    def variables(self) -> list[str]:
        """As AWS's own tools have it."""
        key, secret = self.identity
        told = {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
        }
        return [part for name, value in told.items() for part in ("--env", f"{name}={value}")]


def serve_release(room: Path, gallery: Path, photos: Path, photo: Path) -> None:
    (room / "s3").mkdir()
    with seaweed(room / "s3") as server:
        server.make_bucket("food")
        say("pushing a release to S3")
        s3 = S3(server.url, OWNER)
        deepfood(s3, gallery, photos, "push", "/made/gallery", RELEASES)
        serve_and_follow(s3, gallery, photos, photo)


def serve_and_follow(s3: S3, gallery: Path, photos: Path, photo: Path) -> None:
    say(f"serving {RELEASES} with 2 workers")
    count, started = None, time.monotonic()
    with serving(
        *(photo, *s3.variables(), "--env", f"DEEPFOOD_GALLERY={RELEASES}"),
        *("--env", "DEEPFOOD_FOLLOW_S=1", "--env", "DEEPFOOD_WORKERS=2"),
    ):
        count = ready_photos()
        say(f"ready and checked {time.monotonic() - started:.1f} s after its start")
        find(photo)
        new = add_photo(s3, gallery, photos)
        deepfood(s3, gallery, photos, "push", "/made/gallery", RELEASES, "--name", "second",
                 "--no-promote")  # fmt: skip
        expect(ready_photos() == count, "a release that is not promoted is not served")
        say("promoting a second release")
        deepfood(s3, gallery, photos, "promote", f"{RELEASES}@second")
        for _ in range(8):  # whichever of the workers answers
            wait_until(lambda: ready_photos() == (count or 0) + 1, "deepfood", "it is followed")
        find(new)


def add_photo(s3: S3, gallery: Path, photos: Path) -> Path:
    """Add a photo, which nobody has seen before, to the gallery with the image; its file."""
    new = gallery.parent / "new.jpg"
    Image.effect_noise((300, 200), 50).save(new)
    deepfood(s3, gallery, photos, "add", "/made/gallery", "/made/new.jpg")
    return new


def deepfood(s3: S3, gallery: Path, photos: Path, *arguments: str) -> None:
    """Run a command of the image, with the gallery's folder below /made."""
    podman_run("--rm", *s3.variables(), "--volume", f"{gallery.parent}:/made",
               "--volume", f"{photos}:/photos:ro", IMAGE, *arguments)  # fmt: skip
