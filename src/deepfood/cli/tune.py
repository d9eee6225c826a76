"""`deepfood tune`: average the answers of a gallery, if that is certainly better."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfood.cli.adapt import print_compared
from deepfood.cli.app import (
    LEARN,
    ChangedGalleryArgument,
    GalleryModelOption,
    Json,
    app,
    print_json,
)
from deepfood.config import load_settings

if TYPE_CHECKING:
    from deepfood.evaluate.tuning import Tuning
    from deepfood.gallery.reports import BuildReport, RenewReport


@app.command(rich_help_panel=LEARN)
def tune(
    gallery: ChangedGalleryArgument,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Only compare the answers; do not change the gallery."),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Instead, take a tune back: all is as before it.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.")] = 0,
    model: GalleryModelOption = None,
    as_json: Json = False,
) -> None:
    """Find more photos of the right dish, if the gallery's labels say that it certainly helps.

    Each photo found is averaged with those most like it among the others found. How much is chosen
    with a part of the labelled photos, and judged with another. A gallery that it does not make
    better stays as it is, or is tuned no longer. Searches take a little longer.
    """
    from deepfood.engine import engine_at
    from deepfood.evaluate import tuning
    from deepfood.serve.fit_plates import calibrate_plates

    settings = load_settings(model=model)
    if undo:
        undone = tuning.untune(gallery, settings)
        if as_json:
            print_json({"gallery": str(gallery), "tuned": False, "undone": undone})
        else:
            print(f"{gallery}: {'as before its tune' if undone else 'it is not tuned'}")
        return
    found = tuning.tune(gallery, settings, compare=compare, seed=seed, quiet=as_json)
    calibrate_plates(engine_at(gallery, settings), found.calibration, settings, quiet=as_json)
    if as_json:
        print_json({"gallery": str(gallery), **_facts(found)})
        return
    for note in found.notes:
        print(f"note: {note}")
    print_compared(found.judgement.figures, found.queries)
    print(f"{gallery}: {_result(found, compare=compare)}")


def _result(found: "Tuning", *, compare: bool) -> str:
    how = f"averaged with {found.averaging.neighbours} neighbours, power {found.averaging.power:g}"
    if found.refused:
        return f"not tuned: {how}, {found.refused}"
    if compare:
        return f"would be tuned: {how}; nothing is changed"
    assert found.ms
    before, after = found.ms
    return (
        f"tuned: {how}; a search takes {after:.1f} ms, before {before:.1f}; the same command with "
        "--undo takes it back"
    )


def _facts(found: "Tuning") -> dict[str, Any]:
    return {
        "tuned": found.is_tuned,
        "averaging": found.averaging.model_dump(mode="json"),
        "photos": found.queries,
        "figures": {name: asdict(one) for name, one in found.judgement.figures.items()},
        "lost": [asdict(one) for one in found.judgement.lost],
        "refused": found.refused or None,
        "notes": list(found.notes),
        "search_ms": found.ms and {"before": found.ms[0], "after": found.ms[1]},
    }


def print_untuned(place: object, report: "BuildReport[Any] | RenewReport[Any]") -> None:
    """Say where a gallery is tuned no longer."""
    if report.untuned:
        print(f"it is not tuned any longer: deepfood tune {place} judges that anew")


def tuned_line(about: dict[str, Any] | None) -> str:
    """The tune in a manifest as one line."""
    if about is None:
        return "no"
    how, first = about["averaging"], next(iter(about["before"]))
    return (
        f"averaged with {how['neighbours']} neighbours of {how['candidates']} candidates, power "
        f"{how['power']:g}; {first} {about['after'][first]:.3f}, untuned "
        f"{about['before'][first]:.3f} on {about['queries']} photos"
    )
