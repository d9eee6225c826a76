"""`deepfood history`: list the manual edits of a gallery, and undo them."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from deepfood.cli.app import CHANGE, WAIT_S, ChangedGalleryArgument, Json, app, print_json
from deepfood.cli.complete import complete_id
from deepfood.config import load_settings
from deepfood.counted import counted

#: Characters of a change's details per line.
_SHOWN = 160


@app.command(rich_help_panel=CHANGE)
def history(
    gallery: ChangedGalleryArgument,
    photo: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="Show the changes of this photo only.", autocompletion=complete_id
        ),
    ] = None,
    undo: Annotated[
        int | None,
        typer.Option("--undo", metavar="N", help="Take back change number N, as listed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List every change made to a gallery by hand: what, when and by whom.

    Nothing is ever erased: undoing a change is another change.
    """
    from deepfood.engine import engine_at

    engine = engine_at(gallery, load_settings())
    if undo is not None:
        with engine.writer(wait_s=WAIT_S) as writer:
            photos = writer.undo(undo)
        if as_json:
            ids = [one.id for one in photos]
            print_json({"gallery": str(gallery), "undone": undo, "photos": ids})
        else:
            about = counted(photos, "photo is", "photos are")
            print(f"change {undo} is taken back: {about} as before it; others with the next build")
        return
    events = list(engine.history(photo))
    if as_json:
        print_json({"gallery": str(gallery), "changes": [asdict(one) for one in events]})
        return
    for one in events:
        what = f"takes back {one.undoes}" if one.undoes else one.do
        about = one.photos[0] if len(one.photos) == 1 else counted(one.photos, "photo")
        details = json.dumps(one.about, ensure_ascii=False) if one.about else ""
        details = f"{details[:_SHOWN]}…" if len(details) > _SHOWN else details
        print(f"{one.number:>6}  {one.at}  {one.by:<12} {what:<8} {about}  {details}")
    print(f"{gallery}: {counted(events, 'change')}")
