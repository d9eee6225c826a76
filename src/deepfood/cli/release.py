"""`deepfood push`, `pull`, `releases`, `promote` and `prune`: artifacts in a bucket."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfood.cli.app import PUBLISH, Json, OwnArtifactArgument, PhotosRoot, app, print_json
from deepfood.config import load_settings
from deepfood.counted import counted

if TYPE_CHECKING:
    from deepfood.release.objects import Latest, Release

Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="s3://bucket/prefix, or a folder.")]
Address = Annotated[
    str, typer.Argument(metavar="PREFIX[@RELEASE]", help="s3://bucket/prefix, or a folder.")
]

#: How many photos that were not sent are listed.
_SHOWN = 20


@app.command(rich_help_panel=PUBLISH)
def push(
    artifact: OwnArtifactArgument,
    prefix: Prefix,
    name: Annotated[
        str | None, typer.Option(help="Name of the release.", show_default="the time")
    ] = None,
    photos: Annotated[
        bool, typer.Option("--photos/--no-photos", help="Push the gallery's photos too.")
    ] = True,
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Make it the latest release.")
    ] = True,
    photos_root: PhotosRoot = None,
    as_json: Json = False,
) -> None:
    """Publish a gallery or Model as a release, in a bucket or folder; only changes are sent.

    The gallery can be searched and changed meanwhile. A release becomes visible when it is
    complete. If interrupted, run it again to continue.
    """
    from deepfood.release.push import push as work

    settings = load_settings(photos_root=photos_root)
    done = work(
        artifact, prefix, settings, name=name, photos=photos, promote=promote, quiet=as_json
    )
    release = done.release
    if as_json:
        about = {"prefix": prefix, "pushed": done.pushed, "promoted": done.promoted}
        sent = {"sent_bytes": done.sent_bytes, "sent_blobs": done.sent_blobs}
        unreadable = {"unreadable": done.unreadable, "seconds": round(done.seconds, 3)}
        print_json({**_facts(release), **about, **sent, **unreadable})
        return
    if done.pushed:
        sent_mib = done.sent_bytes / 2**20
        rate = sent_mib / max(done.seconds, 1e-9)
        print(
            f"{prefix}@{release.name}: {_mib(release)} and "
            f"{counted(release.photo_count, 'photo')}; "
            f"{sent_mib:.1f} MiB travelled in {done.seconds:.1f} s ({rate:.1f} MiB/s)"
        )
    else:
        print(f"{prefix}@{release.name} is the same already: nothing travelled")
    if done.pushed and not promote:
        print(f"not the latest yet: deepfood promote {prefix}@{release.name}")
    if done.unreadable:
        lost = counted(done.unreadable, "photo")
        print(f"{lost} could not be read, and did not travel:")
        for file in done.unreadable[:_SHOWN]:
            print(f"  {file}")


@app.command(rich_help_panel=PUBLISH)
def pull(
    address: Address,
    out: Annotated[
        Path, typer.Option("--out", readable=False, help="A new folder, or one pulled before.")
    ],
    photos: Annotated[
        bool, typer.Option("--photos/--no-photos", help="Pull the gallery's photos too.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Download a release into a folder; only what differs is fetched.

    The folder appears when it is complete. If interrupted, run it again to continue.
    """
    from deepfood.release.pull import pull as work

    done = work(address, out, load_settings(), photos=photos, quiet=as_json)
    if as_json:
        received = {"received_bytes": done.received_bytes, "received_blobs": done.received_blobs}
        place = {"out": str(out), "seconds": round(done.seconds, 3)}
        print_json({**_facts(done.release), **received, **place})
        return
    size = done.received_bytes / 2**20
    print(
        f"{out}: release {done.release.name}; {size:.1f} MiB travelled in {done.seconds:.1f} s "
        f"({size / max(done.seconds, 1e-9):.1f} MiB/s)"
    )


@app.command(rich_help_panel=PUBLISH)
def releases(prefix: Prefix, as_json: Json = False) -> None:
    """List the releases, the oldest first."""
    from deepfood.release.shelf import Shelf

    shelf = Shelf.open(prefix, load_settings())
    found, latest = shelf.all(), shelf.latest()
    if as_json:
        print_json({"latest": latest and latest.model_dump(), "releases": list(map(_facts, found))})
        return
    for one in found:
        mark = "  latest" if latest and latest.release == one.name else ""
        mark = "  before" if latest and latest.before == one.name else mark
        photos = f"  {counted(one.photo_count, 'photo')}" if one.kind == "gallery" else ""
        print(
            f"{one.name}  {one.created}  {one.kind} of {one.model_name}  {_mib(one)}{photos}{mark}"
        )


@app.command(rich_help_panel=PUBLISH)
def promote(address: Address, as_json: Json = False) -> None:
    """Make a release the latest: servers of the prefix switch to it."""
    from deepfood.errors import SettingError
    from deepfood.release.objects import parse_address
    from deepfood.release.shelf import Shelf

    prefix, name = parse_address(address)
    if name is None:
        raise SettingError(f"{address}: name the release, as {prefix}@RELEASE")
    print_latest(prefix, Shelf.open(prefix, load_settings()).promote(name), as_json=as_json)


@app.command(rich_help_panel=PUBLISH)
def prune(
    prefix: Prefix,
    keep: Annotated[int, typer.Option(help="How many of the newest releases to keep.")],
    grace_hours: Annotated[
        float,
        typer.Option(
            min=0, help="Keep files younger than this, for an interrupted push to continue."
        ),
    ] = 24,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be deleted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete old releases and the files that only they use.

    The latest release and the one before it always stay.
    """
    from deepfood.release.prune import prune as work

    grace_s = grace_hours * 3600
    done = work(prefix, load_settings(), keep=keep, grace_s=grace_s, dry_run=dry_run)
    if as_json:
        about: dict[str, Any] = {"kept": done.kept, "dropped": done.dropped, "dry_run": dry_run}
        print_json({**about, "blobs": done.blobs, "bytes": done.bytes})
        return
    verb = "would be deleted" if dry_run else "deleted"
    for name in done.dropped:
        print(f"{verb}: {name}")
    print(
        f"{verb}: {counted(done.dropped, 'release')} and {done.bytes / 2**20:.1f} MiB in "
        f"{counted(done.blobs, 'blob')}; {counted(done.kept, 'release stays', 'releases stay')}"
    )


def print_latest(prefix: str, latest: "Latest", *, as_json: bool) -> None:
    """Print the result of `promote` and `rollback`."""
    if as_json:
        print_json({"prefix": prefix, **latest.model_dump()})
    else:
        before = f"; before it was {latest.before}" if latest.before else ""
        print(f"{prefix}: {latest.release} is the latest{before}")


def _facts(release: "Release") -> dict[str, Any]:
    hidden = {"files", "format_version", "model_name", "photo_count"}
    about = release.model_dump(exclude=hidden | {"photos"})
    counts = {"photos": release.photo_count, "bytes": release.file_bytes}
    return {**about, "model": release.model_name, **counts}


def _mib(release: "Release") -> str:
    return f"{(release.file_bytes + release.photo_bytes) / 2**20:.1f} MiB"
