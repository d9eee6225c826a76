"""`deepfood search`: search a gallery."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

import deepfood
from deepfood.cli.app import (
    SEARCH,
    GalleryModelOption,
    Json,
    SearchedGalleryArgument,
    app,
    print_json,
)
from deepfood.cli.complete import complete_filter, complete_id
from deepfood.config import DEFAULT_K, Settings, load_settings
from deepfood.counted import counted

if TYPE_CHECKING:
    from deepfood.api import Gallery
    from deepfood.gallery import Hit
    from deepfood.serve.question import PlatePart, SearchResult
    from deepfood_client.calls import Sides

T = TypeVar("T")

#: How a verdict is printed, before the label that the neighbours vote for.
_VERDICTS = {
    "match": "looks like",
    "maybe": "perhaps",
    "none": "probably nothing like it in this gallery; if anything,",
}


#: What it says of words, which no photos vote on.
_WORD_VERDICTS = {
    "match": "found what the words name",
    "maybe": "perhaps what the words name",
    "none": "nothing in this gallery is what the words name",
}

#: Of several photos.
_BOX_USAGE = "EXAMPLE=X,Y,WIDTH,HEIGHT in shares, such as dinner.jpg=0,0,0.5,1"

#: Fields of a hit that are shown anyway.
_SHOWN = ("name", "label", "file")

_Photos = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PHOTO", readable=False, help="A photo to search with, or several."),
]
_Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        metavar="ID",
        help="Search with a photo of the gallery. Repeatable.",
        autocompletion=complete_id,
    ),
]
_NotPhotos = Annotated[
    list[Path] | None,
    typer.Option(
        "--not-photo",
        metavar="PHOTO",
        readable=False,
        help="Find photos unlike this one. Repeatable.",
    ),
]
_NotIds = Annotated[
    list[str] | None,
    typer.Option(
        "--not-id",
        metavar="ID",
        help="Find photos unlike this one of the gallery. Repeatable.",
        autocompletion=complete_id,
    ),
]
_Words = Annotated[
    list[str] | None,
    typer.Option(
        "--words", metavar="TEXT", help='Search with words, such as "mint leaves". Repeatable.'
    ),
]
_NotWords = Annotated[
    list[str] | None,
    typer.Option("--not-words", metavar="TEXT", help="Find photos unlike these words. Repeatable."),
]
_Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weight",
        metavar="EXAMPLE=NUMBER",
        help='How much a photo, id or words of this search count, 1 without: --weight "mint=2" for '
        "--words mint. Repeatable.",
    ),
]
_K = Annotated[int, typer.Option("-k", help="How many photos to find.")]
_Where = Annotated[
    str | None,
    typer.Option(
        metavar="FILTER",
        help='Find only photos that pass, such as "price < 12": docs/filters.md.',
        autocompletion=complete_filter,
    ),
]
_Boxes = Annotated[
    list[str] | None,
    typer.Option(
        "--box",
        metavar="X,Y,WIDTH,HEIGHT",
        help="Search with this part of the photo only, in shares of its width and height: "
        "0,0,0.5,1 is the left half. Of several photos, EXAMPLE=X,Y,WIDTH,HEIGHT names a photo or "
        "id of this search. Repeatable.",
    ),
]
BoxOption = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,WIDTH,HEIGHT",
        help="Search with this part of the photo only, in shares of its width and height: "
        "0,0,0.5,1 is the left half.",
    ),
]
_Diversity = Annotated[
    float,
    typer.Option(min=0, max=1, help="From 0, the most similar photos, to 1, the most varied."),
]
_GroupDuplicates = Annotated[
    bool, typer.Option("--group-duplicates", help="Show near-duplicates as one hit.")
]
_Plate = Annotated[
    bool,
    typer.Option("--plate", help="Answer for each dish of the one photo by itself: docs/plate.md."),
]
_Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        readable=False,
        help="With --plate, draw the dishes and what was found for each as a picture, PNG.",
    ),
]
_Cursor = Annotated[
    str | None,
    typer.Option(help="Show the next page: `next` of this page, as --json prints it."),
]


@app.command(rich_help_panel=SEARCH)
def search(
    gallery: SearchedGalleryArgument,
    photos: _Photos = None,
    ids: _Ids = None,
    not_photos: _NotPhotos = None,
    not_ids: _NotIds = None,
    words: _Words = None,
    not_words: _NotWords = None,
    weights: _Weights = None,
    k: _K = DEFAULT_K,
    where: _Where = None,
    boxes: _Boxes = None,
    diversity: _Diversity = 0.0,
    group_duplicates: _GroupDuplicates = False,
    plate: _Plate = False,
    out: _Out = None,
    cursor: _Cursor = None,
    model: GalleryModelOption = None,
    as_json: Json = False,
) -> None:
    """Find the photos of a gallery that look most like yours, or like your words."""
    from deepfood.artifacts import check_can_write
    from deepfood.errors import SettingError

    photos, ids, words = photos or [], ids or [], words or []
    if not (photos or ids or words):
        raise SettingError("nothing to search for: give a PHOTO, --id ID or --words TEXT")
    if out is not None and not plate:
        raise SettingError("--out draws the dishes of a plate: add --plate")
    if out is not None:
        check_can_write(out)
    given = (photos, ids, words, not_photos or [], not_ids or [], not_words or [])
    box, boxes = _box_of_all(boxes or [], len(photos) + len(ids))
    photos, ids, words, not_photos, not_ids, not_words = _weighted(given, weights or [], boxes)
    opened = deepfood.open_gallery(gallery, _settings(model))
    found = opened.search(
        photos,
        id=ids,
        not_photo=not_photos,
        not_id=not_ids,
        words=words,
        not_words=not_words,
        k=k,
        where=where,
        box=box,
        cursor=cursor,
        diversity=diversity,
        group_duplicates=group_duplicates,
        plate=plate,
    )
    if out is not None:
        _write_plate(opened, found, photos[0] if photos else opened.photo(ids[0]), out)
    if as_json:
        print_json(_as_json(found))
    elif found.parts is not None:
        _print_parts(opened, found)
    else:
        _print(opened, found, filtered=where is not None)


def _box_of_all(boxes: Sequence[str], photos: int) -> "tuple[Sides | None, list[str]]":
    """The box of the one photo that is searched with, and those that name theirs."""
    from deepfood.errors import SettingError

    plain = [text for text in boxes if "=" not in text]
    if not plain:
        return None, list(boxes)
    if len(boxes) > 1 or photos != 1:
        raise SettingError(
            f"--box {plain[0]}: of several photos, name the one: --box dinner.jpg={plain[0]}"
        )
    return parse_box(plain[0]), []


def _weighted(
    given: Sequence[Sequence[Any]], weights: Sequence[str], boxes: Sequence[str]
) -> list[list[Any]]:
    """What is searched with, in lists as given, with the weights of `--weight` and their boxes."""
    from deepfood_client import Weighted

    weight_of = _of_examples("--weight", "EXAMPLE=NUMBER, such as mint=2", float, weights, given)
    box_of = _of_examples("--box", _BOX_USAGE, parse_box, boxes, given)
    found = [list(some) for some in given]
    for at in weight_of.keys() | box_of.keys():
        kind, place = at
        found[kind][place] = Weighted(
            given[kind][place], weight_of.get(at, 1.0), box=box_of.get(at)
        )
    return found


def _of_examples(
    option: str,
    usage: str,
    parse: Callable[[str], T],
    texts: Sequence[str],
    given: Sequence[Sequence[Any]],
) -> dict[tuple[int, int], T]:
    """What an option says of examples, EXAMPLE=VALUE each, by their list and their place there."""
    from deepfood.errors import SettingError

    found: dict[tuple[int, int], T] = {}
    for text in texts:
        name, _, said = text.rpartition("=")
        try:
            value = parse(said)
        except (ValueError, SettingError):
            name = ""
        if not name:
            raise SettingError(f"{option} {text}: give {usage}")
        places = [
            (kind, place)
            for kind, some in enumerate(given)
            for place, one in enumerate(some)
            if (Path(name) if isinstance(one, Path) else name) == one
        ]
        if not places:
            raise SettingError(f"{option} {text}: no photo, id or words of this search is {name!r}")
        if len(places) > 1:
            raise SettingError(
                f"{option} {text}: {len(places)} examples of this search are {name!r}: give it "
                "once, and a photo as ./NAME where words are the same"
            )
        if places[0] in found:
            raise SettingError(f"{option} {text}: {name} has a {option[2:]} already")
        found[places[0]] = value
    return found


def _settings(model: Path | None) -> Settings:
    settings = load_settings(model=model)
    if not settings.cursor_key:  # another process of this user asks for the next page
        settings = settings.model_copy(update={"cursor_key": "command line"})
    return settings


def _print_parts(gallery: "Gallery", found: "SearchResult") -> None:
    parts = found.parts or ()
    print(counted(parts, "dish", "dishes") if parts else "no dish found")
    for number, part in enumerate(parts, 1):
        box = ",".join(f"{side:.3f}" for side in astuple(part.box))
        print(f"{number}: {_words_of(part)} (box {box})")
        _print_hits(gallery, part)
    for note in found.notes:
        print(f"note: {note}")


def _words_of(found: "SearchResult | PlatePart") -> str:
    """What one dish is, in a few words."""
    if found.verdict and found.label:
        return f"{_VERDICTS[found.verdict]} {found.label.label}"
    return "most similar photos"


def _write_plate(gallery: "Gallery", found: "SearchResult", photo: Any, out: Path) -> None:
    """Draw the parts of a plate as a picture; `photo` is a path, or a photo of the gallery."""
    from deepfood.api import read_photo
    from deepfood.errors import DeepfoodError
    from deepfood.photo import Limits
    from deepfood.plate import DRAWN_HITS, DrawnPart, draw_plate
    from deepfood_client import Weighted

    limits = Limits.of(load_settings())
    photo = photo.value if isinstance(photo, Weighted) else photo
    data = read_photo(photo, limits) if isinstance(photo, Path) else gallery.read(photo)

    def read(hit: "Hit") -> bytes:
        try:
            return gallery.read(hit.photo)
        except DeepfoodError:
            return b""

    drawn = [
        DrawnPart(part.box, _words_of(part), [read(hit) for hit in part.hits[:DRAWN_HITS]])
        for part in found.parts or ()
    ]
    out.write_bytes(draw_plate(data, drawn, limits))


def _print(gallery: "Gallery", found: "SearchResult", *, filtered: bool) -> None:
    if found.verdict and found.label:
        print(_words_of(found))
    elif found.verdict:
        print(_WORD_VERDICTS[found.verdict])
    _print_hits(gallery, found)
    one, many = "photo", "photos"
    if filtered:
        one, many = "photo that passes the filter", "photos that pass the filter"
    print(f"{len(found.hits)} of {counted(found.total, one, many)}")
    for note in found.notes:
        print(f"note: {note}")


def _print_hits(gallery: "Gallery", found: "SearchResult | PlatePart") -> None:
    for hit in found.hits:
        sure = f"{hit.same_dish or '':8}  " if found.verdict else ""
        why = [f"{one.field}: {one.value}" for one in hit.matched if one.field not in _SHOWN]
        if hit.box:
            why.append(f"box {','.join(f'{side:.3f}' for side in astuple(hit.box))}")
        what = " · ".join(part for part in (hit.photo.name, hit.photo.label, *why) if part)
        print(f"{hit.score:6.3f}  {sure}{gallery.where(hit.photo)}  {what}")
        for one in hit.alike:
            print(f"        alike: {gallery.where(one.photo)}")


def _as_json(found: "SearchResult") -> dict[str, Any]:
    shown = {**asdict(found), "hits": _hits(found)}
    if found.parts is not None:
        shown["several"] = found.several
        shown["parts"] = [
            {**asdict(part), "box": astuple(part.box), "hits": _hits(part)} for part in found.parts
        ]
    return shown


def _hits(found: "SearchResult | PlatePart") -> list[dict[str, Any]]:
    return [
        {**_hit(hit), "attributes": hit.attributes, "alike": [_hit(one) for one in hit.alike]}
        for hit in found.hits
    ]


def _hit(hit: "Hit") -> dict[str, Any]:
    return {
        "score": hit.score,
        "probability": hit.probability,
        "same_dish": hit.same_dish,
        "box": astuple(hit.box) if hit.box else None,
        "id": hit.photo.id,
        **asdict(hit.photo),
    }


def parse_box(text: str) -> "Sides":
    from deepfood.errors import SettingError

    try:
        x, y, width, height = map(float, text.split(","))
    except ValueError:
        raise SettingError(f"--box {text}: give x,y,width,height as shares, 0 to 1") from None
    return x, y, width, height
