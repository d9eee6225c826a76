"""`deepfood embed`: the vectors of photos in one file, for other programs."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import deepfood
from deepfood.cli.app import SEARCH, Json, ModelOption, PhotosArgument, app, count, print_json
from deepfood.config import load_settings

#: How many skipped photos are listed; `--json` has all.
_SHOWN = 20


@app.command(rich_help_panel=SEARCH)
def embed(
    photos: PhotosArgument,
    out: Annotated[Path, typer.Option("--out", readable=False, help="File to write, NAME.npz.")],
    model: ModelOption = None,
    as_json: Json = False,
) -> None:
    """Write the vectors of photos to a file of numpy arrays, for your own programs.

    The file also holds ids, files and labels. If interrupted, run it again to continue.
    """
    from deepfood.api import photo_source
    from deepfood.local.npz import check_vectors_file, write_vectors

    settings = load_settings(model=model)
    check_vectors_file(out)
    source, embedder = photo_source(photos, settings), deepfood.open_embedder(settings)
    started = time.monotonic()
    found = deepfood.embed_photos(source, settings, embedder=embedder, quiet=as_json)
    write_vectors(found, out)
    seconds = time.monotonic() - started
    known = len(source.files) - found.embedded
    if as_json:
        print_json(
            {
                "vectors": str(out),
                "photos": len(found.files),
                "dimension": embedder.dimension,
                "model": embedder.model.manifest.name,
                "model_fingerprint": embedder.model.fingerprint,
                "embedded": found.embedded,
                "reused": known,
                "left_out": [asdict(one) for one in found.skipped],
                "seconds": round(seconds, 3),
            }
        )
        return
    print(
        f"{out}: {count(found.files, 'vector', 'vectors')} of {embedder.dimension} numbers from "
        f"{embedder.model.manifest.name}; {found.embedded} embedded, {known} known before, "
        f"{seconds:.1f} s"
    )
    if found.skipped:
        print(f"{count(found.skipped, 'file is', 'files are')} left out:")
        for one in found.skipped[:_SHOWN]:
            print(f"  {one.file}: {one.reason}")
        if len(found.skipped) > _SHOWN:
            print(f"  and {len(found.skipped) - _SHOWN} more: all with --json")
