"""`deepfood embed`: the vectors of photos or of words in one file, for other programs."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import deepfood
from deepfood.cli.app import SEARCH, Json, ModelOption, app, print_json
from deepfood.cli.lines import read_lines
from deepfood.config import Settings, load_settings
from deepfood.counted import counted
from deepfood.errors import SettingError

#: How many skipped photos are listed; `--json` has all.
_SHOWN = 20


@app.command(rich_help_panel=SEARCH)
def embed(
    out: Annotated[Path, typer.Option("--out", readable=False, help="File to write, NAME.npz.")],
    photos: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PHOTOS]",
            readable=False,
            help="A folder of photos, a CSV, or s3://bucket/prefix.",
        ),
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(
            "--words",
            readable=False,
            metavar="FILE",
            help="Embed words instead of photos: a text file, a text a line. The Model needs a "
            "text tower.",
        ),
    ] = None,
    model: ModelOption = None,
    as_json: Json = False,
) -> None:
    """Write the vectors of photos, or of words, to a file of numpy arrays for your own programs.

    The file also holds ids, files and labels, or the words. If interrupted, run it again to
    continue.
    """
    from deepfood.api import photo_source
    from deepfood.local.npz import check_vectors_file, write_vectors

    if (photos is None) == (words is None):
        raise SettingError("give photos, or a file of words with --words")
    settings = load_settings(model=model)
    check_vectors_file(out)
    if words is not None:
        _embed_words(words, out, settings, as_json=as_json)
        return
    assert photos is not None
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
        f"{out}: {counted(found.files, 'vector')} of {embedder.dimension} numbers from "
        f"{embedder.model.manifest.name}; {found.embedded} embedded, {known} known before, "
        f"{seconds:.1f} s"
    )
    if found.skipped:
        print(f"{counted(found.skipped, 'file is', 'files are')} left out:")
        for one in found.skipped[:_SHOWN]:
            print(f"  {one.file}: {one.reason}")
        if len(found.skipped) > _SHOWN:
            print(f"  and {len(found.skipped) - _SHOWN} more: all with --json")


def _embed_words(file: Path, out: Path, settings: Settings, *, as_json: bool) -> None:
    from deepfood.local.npz import write_text_vectors

    texts = read_lines("--words", file)
    if not texts:
        raise SettingError(f"--words {file} holds no words")
    started = time.monotonic()
    words = deepfood.open_text_embedder(settings)
    write_text_vectors(texts, words.embed_many(texts), out)
    seconds = time.monotonic() - started
    model = words.model.manifest.name
    if as_json:
        print_json(
            {
                "vectors": str(out),
                "texts": len(texts),
                "dimension": words.dimension,
                "model": model,
                "model_fingerprint": words.model.fingerprint,
                "seconds": round(seconds, 3),
            }
        )
        return
    print(
        f"{out}: {counted(texts, 'vector')} of {words.dimension} numbers from {model}, "
        f"{seconds:.1f} s"
    )
