"""Pull a release into a folder, atomically."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from deepfood.artifacts import MANIFEST, read_file, sync_folder, write_atomically
from deepfood.config import Settings
from deepfood.errors import ArtifactBusyError, SettingError, is_own_limit, raising_disk_full
from deepfood.gallery.feedback_file import FEEDBACK
from deepfood.local.photo_files import PHOTOS, PHOTOS_AT
from deepfood.locks import held
from deepfood.release.exchange import exchange
from deepfood.release.fetch import Fetcher, same_file
from deepfood.release.objects import BLOBS, Release, parse_address
from deepfood.release.shelf import Shelf

#: In a pulled folder: its origin, and the release.
ORIGIN = "release.json"


class Origin(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    release: Release

    @classmethod
    def of(cls, folder: Path) -> "Origin | None":
        """The origin of a pulled folder; None for other folders."""
        try:
            return cls.model_validate_json(read_file(folder / ORIGIN))
        except (OSError, ValidationError) as error:
            if isinstance(error, OSError) and is_own_limit(error):
                raise
            return None


@dataclass(frozen=True)
class PullReport:
    release: Release
    folder: Path
    received_bytes: int
    received_blobs: int
    seconds: float


def pull(
    address: str, out: Path, settings: Settings, *, photos: bool = True, quiet: bool = False
) -> PullReport:
    """Pull into the folder `out`, new or pulled before; only differences are fetched. Resumable.

    Raises SettingError where `out` holds anything else, or was changed since; StorageError or
    DiskFullError. `out` is then unchanged.
    """
    started = time.monotonic()
    url, name = parse_address(address)
    shelf = Shelf.open(url, settings)
    out = out.resolve()  # keep a symbolic link as a link
    before = out.with_name(f".{out.name}.before")
    with raising_disk_full(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    busy = ArtifactBusyError(f"another process is pulling into {out}: wait for it to finish")
    with held(out.with_name(f".{out.name}.pull.lock"), busy):
        if before.is_dir() and not out.exists():  # killed between the two renames
            before.rename(out)
        _check_unchanged(out)
        release = shelf.read(shelf.resolve(name))
        staging = out.with_name(f".{out.name}.pulling")
        fetching = fill(shelf, release, staging, out, photos=photos, quiet=quiet)
        shutil.rmtree(before, ignore_errors=True)
        if not (out.exists() and exchange(staging, out)):
            if out.exists():
                out.rename(before)
            staging.rename(out)
        sync_folder(out.parent)
        for old in (before, staging):
            shutil.rmtree(old, ignore_errors=True)
    received = fetching.received_bytes, fetching.received_blobs
    return PullReport(release, out, *received, time.monotonic() - started)


def fill(
    shelf: Shelf, release: Release, staging: Path, present: Path, *, photos: bool, quiet: bool
) -> Fetcher:
    """Fill `staging` with the release and verify every byte; `present` may have some files."""
    wanted = shelf.photos(release) if photos else {}
    names = {*release.files, *(f"{PHOTOS}/{one[:2]}/{one}" for one in wanted)}
    with raising_disk_full(staging):
        staging.mkdir(exist_ok=True)
        for path in [path for path in staging.rglob("*") if path.is_file() or path.is_symlink()]:
            if path.relative_to(staging).as_posix() not in names:  # of an earlier release
                path.unlink()
        fetching = Fetcher(shelf.bucket, staging, present)
        fetching.fetch(release, wanted, quiet=quiet)
        origin = Origin(url=shelf.bucket.url, release=release)
        write_atomically(staging / ORIGIN, origin.model_dump_json().encode() + b"\n")
        if release.kind == "gallery":
            at = shelf.bucket.place(BLOBS) if release.photos else ""
            write_atomically(staging / PHOTOS_AT, at.encode())
        for folder in {path.parent for path in staging.rglob("*")}:
            sync_folder(folder)
    return fetching


def _check_unchanged(out: Path) -> None:
    """Raise SettingError unless `out` is a pulled release, and unchanged."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    origin = Origin.of(out)
    if origin is None:
        what = "an artifact of your own" if (out / MANIFEST).is_file() else "something else"
        raise SettingError(f"--out {out} holds {what}: name a new folder, or one pulled before")
    for name in changed_since(out, origin.release):
        raise SettingError(
            f"--out {out} was changed since it was pulled ({name}): name another folder, so that "
            "this is not lost"
        )
    if (out / FEEDBACK).exists():
        raise SettingError(
            f"--out {out} holds {FEEDBACK}, which a pull would delete: name another folder, and "
            "copy it there"
        )


def changed_since(folder: Path, release: Release) -> Iterator[str]:
    """Names of the files in a folder that differ from the pulled release, by all bytes."""
    for name, stored in release.files.items():
        log = folder / f"{name}-wal"
        written = log.is_file() and log.stat().st_size > 0
        if written or not same_file(folder / name, stored):
            yield name
