"""`deepfood data`: download, combine and check datasets."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from deepfood.cli.app import START, Commands, Json, app, print_json
from deepfood.config import Settings, load_settings
from deepfood.counted import counted

data_app = typer.Typer(
    cls=Commands, help="Fetch sample photos; combine and check datasets.", no_args_is_help=True
)
app.add_typer(data_app, name="data", rich_help_panel=START)

#: How many lines of a kind are printed; `--json` has all.
_SHOWN = 20


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="ifct2017, food101 or ifood2019.")],
    out: Annotated[
        Path, typer.Option("--out", readable=False, help="Folder to write the photos to.")
    ],
) -> None:
    """Download a public set of photos. If interrupted, run it again to continue.

    `ifct2017`: 542 photos of foods of the Indian Food Composition Tables.

    `food101`: 101,000 photos of 101 dishes, 5 GB.

    `ifood2019`: 159,000 photos of 251 dishes, 3 GB, from Kaggle with your own key.
    """
    from deepfood.data import food101, ifct2017, ifood2019
    from deepfood.errors import DatasetError

    sources: dict[str, tuple[Callable[[Path], Path], str | None]] = {
        "food101": (food101.get_food101, food101.TERMS),
        "ifood2019": (ifood2019.get_ifood2019, ifood2019.TERMS),
        "ifct2017": (ifct2017.get_ifct2017, None),
    }
    if name not in sources:
        raise DatasetError(f"there is no data source {name!r}: known are {', '.join(sources)}")
    get, terms = sources[name]
    if terms:
        print(terms, file=sys.stderr)
    print(get(out))


@data_app.command("combine")
def data_combine(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE", readable=False, help="Folders or CSVs of photos."),
    ],
    out: Annotated[
        Path, typer.Option("--out", readable=False, help="Folder for the combined dataset.")
    ],
    as_json: Json = False,
) -> None:
    """Combine datasets into one folder: photos named by their ids, and a `photos.csv`.

    The CSV holds labels, names and splits. Photos are hard-linked where possible, else copied. If
    two sources have the same photo, the first source counts.
    """
    from deepfood.data.combine import combine
    from deepfood.storage import S3Options

    settings = load_settings()
    done = combine(sources, out, _limits(settings), S3Options.of(settings), quiet=as_json)
    if as_json:
        print_json(
            {
                "dataset": str(out),
                "photos": done.photos,
                "copies": done.copies,
                "conflicts": [
                    {name: _original(one) for name, one in vars(conflict).items()}
                    for conflict in done.conflicts
                ],
                "unreadable": [
                    {"source": source, "photo": one.file.stored, "reason": one.reason}
                    for source, one in done.unreadable
                ],
                "unlisted": done.unlisted,
            }
        )
        return
    copies = counted(done.copies, "copy", "copies")
    print(f"{out}: {counted(done.photos, 'photo')}, {copies} of them left out")
    _print_some(
        f"{counted(done.conflicts, 'copy has', 'copies have')} another label or split than "
        "the first",
        [
            f"{_named(one.dropped)}: {_labelled(one.dropped)}, kept as {_labelled(one.kept)} "
            f"from {_named(one.kept)}"
            for one in done.conflicts
        ],
    )
    _print_some(
        f"{counted(done.unreadable, 'file is', 'files are')} left out",
        [f"{source}: {one.file.stored}: {one.reason}" for source, one in done.unreadable],
    )
    if done.unlisted:
        earlier = counted(
            done.unlisted, "photo of an earlier run is", "photos of an earlier run are"
        )
        print(f"{earlier} in {out / 'photos'} and not listed")


@data_app.command("check")
def data_check(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET", readable=False, help="A folder of class folders, or a CSV."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Count the photos of each label and split; find unreadable ones and ones in two splits.

    Exit status 1 if there are any such photos.
    """
    from deepfood.api import photo_source
    from deepfood.data.leakage import check_leakage
    from deepfood.data.splits import split_photos

    settings = load_settings()
    splits = split_photos(photo_source(dataset, settings))
    found = check_leakage(splits, _limits(settings), quiet=as_json)
    by_split = {name: getattr(splits, name) for name in ("train", "val", "test")}
    counts = {
        name: Counter(photo.label or "" for photo in files) for name, files in by_split.items()
    }
    if as_json:
        print_json(
            {
                "dataset": str(dataset),
                "ok": not (found.leaks or found.unreadable),
                "splits": {name: dict(sorted(one.items())) for name, one in counts.items()},
                "notes": splits.notes,
                "passed_over": [asdict(one) for one in splits.source.passed_over],
                "unreadable": [
                    {"photo": one.file.stored, "reason": one.reason} for one in found.unreadable
                ],
                "leaks": [asdict(one) for one in found.leaks],
            }
        )
    else:
        _print_counts(counts)
        for note in splits.notes:
            print(note)
        _print_some(
            f"{counted(found.unreadable, 'photo')} cannot be read",
            [f"{one.file.stored}: {one.reason}" for one in found.unreadable],
        )
        _print_some(
            f"{counted(found.leaks, 'photo is', 'photos are')} in two splits",
            [
                f"{one.photo} ({one.split}) is {one.kind} as {one.twin} ({one.twin_split})"
                for one in found.leaks
            ],
        )
    raise typer.Exit(1 if found.leaks or found.unreadable else 0)


def _limits(settings: Settings) -> Any:
    from deepfood.photo import Limits

    return Limits.of(settings)


def _original(original: Any) -> dict[str, str | None]:
    file = original.file
    return {
        "source": original.source,
        "photo": file.stored,
        "label": file.label,
        "split": file.split,
    }


def _named(original: Any) -> str:
    return f"{original.source}: {original.file.stored}"


def _labelled(original: Any) -> str:
    label = original.file.label
    return f"{repr(label) if label else 'no label'} ({original.file.split or 'no split'})"


def _print_counts(counts: dict[str, Counter[str]]) -> None:
    labels = sorted(set().union(*counts.values()))
    width = max(len("no label"), *map(len, labels))
    print(f"{'':{width}} {'train':>8} {'val':>8} {'test':>8}")
    for label in labels:
        print(f"{label or 'no label':{width}}", *(f"{one[label]:8}" for one in counts.values()))
    print(f"{'all':{width}}", *(f"{one.total():8}" for one in counts.values()))


def _print_some(title: str, lines: list[str]) -> None:
    if not lines:
        return
    print(f"{title}:")
    for line in lines[:_SHOWN]:
        print(f"  {line}")
    if len(lines) > _SHOWN:
        print(f"  and {len(lines) - _SHOWN} more: all with --json")
