"""`deepfood feedback`: count, export and prune what visitors said of answers."""

import contextlib
import re
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfood.cli.app import LOOK_AFTER, Json, SearchedGalleryArgument, app, print_json
from deepfood.config import load_settings
from deepfood.counted import counted
from deepfood.errors import ArtifactMissingError, PhotoNotFoundError, SettingError

if TYPE_CHECKING:
    from deepfood.gallery.feedback import Feedback, FeedbackCounts
    from deepfood.gallery.protocol import SearchedGallery

_UNITS_S = {"h": 3600, "d": 24 * 3600}


@app.command(rich_help_panel=LOOK_AFTER)
def feedback(
    gallery: SearchedGalleryArgument,
    out: Annotated[
        Path | None,
        typer.Option(readable=False, help="Write all votes to this file, .csv or .json."),
    ] = None,
    prune: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="Delete votes that are older, as 90d or 12h, and those on photos that are no "
            "longer in the gallery.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Count what visitors said of answers; export it, and delete what is old.

    A server takes feedback with the setting feedback.
    """
    from deepfood.engine import engine_at
    from deepfood.gallery.feedback import Feedback, FeedbackCounts

    folder = gallery.expect_folder()
    before = None if prune is None else time.time() - _seconds(prune)
    with contextlib.closing(engine_at(gallery, load_settings()).open_to_read()) as opened:
        try:
            kept = Feedback.open(folder)
        except ArtifactMissingError:
            kept = None
        if kept is None:
            counts, gone, pruned = FeedbackCounts(), [], 0
            if out is not None:
                raise ArtifactMissingError(f"{gallery} has no feedback to export")
        else:
            with kept:
                gone = _gone(kept, opened)
                pruned = 0 if before is None else kept.prune(before, gone)
                if out is not None:
                    kept.export(out)
                counts = kept.counts()
        model = opened.manifest.model_fingerprint
    if as_json:
        pruning = {} if before is None else {"pruned": pruned}
        print_json({"gallery": str(gallery), **asdict(counts), **pruning})
        return
    if before is not None:
        print(f"{counted(pruned, 'vote was', 'votes were')} deleted")
    _print(str(gallery), counts, model, [] if before is not None else gone)
    if out is not None:
        print(f"{out}: {out.stat().st_size:,} bytes")


def _seconds(age: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([hd])", age.strip())
    if found is None:
        raise SettingError(f"--prune {age}: give an age in days or hours, as 90d or 12h")
    return int(found[1]) * _UNITS_S[found[2]]


def _gone(kept: "Feedback", gallery: "SearchedGallery") -> list[str]:
    """The photos with votes that the gallery does not have."""
    gone = []
    for hit in kept.hits():
        try:
            gallery.photo(hit)
        except PhotoNotFoundError:
            gone.append(hit)
    return gone


def _print(gallery: str, counts: "FeedbackCounts", model: str, gone: list[str]) -> None:
    if not counts.votes or counts.oldest is None or counts.newest is None:
        print(f"{gallery}: no feedback; a server takes it with the setting feedback = true")
        return
    print(
        f"{gallery}: {counted(counts.votes, 'vote')}, {counts.right:,} right and "
        f"{counts.wrong:,} wrong, in {counted(counts.sessions, 'session')} on "
        f"{counted(counts.questions, 'question')}"
    )
    print(f"  from {_day(counts.oldest)} to {_day(counts.newest)} (UTC)")
    if counts.conflicting:
        hits = counted(counts.conflicting, "hit is", "hits are")
        print(f"  {hits} right to some sessions and wrong to others")
    others = counts.votes - counts.models.get(model, 0)
    if others:
        print(f"  {counted(others, 'vote is', 'votes are')} on answers of another Model")
    if gone:
        photos = counted(gone, "photo that is", "photos that are")
        print(f"  there are votes on {photos} no longer in the gallery: --prune deletes them")
    if counts.photos:
        print(f"  {counted(counts.photos, 'photo')} of visitors: {counts.photo_bytes:,} bytes")
    if counts.displaced:
        print(f"  {counted(counts.displaced, 'older vote')} made room (setting feedback_votes)")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
