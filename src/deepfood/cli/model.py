"""`deepfood model`: encoders that other people trained, as Models that are proven to work."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepfood.cli.app import LEARN, Commands, Json, ModelArgument, app, print_json
from deepfood.config import load_settings
from deepfood.counted import counted

if TYPE_CHECKING:
    from deepfood.model.encoders import Encoder
    from deepfood.model.hub_layouts import Layout

model_app = typer.Typer(
    cls=Commands,
    help="Get encoders that other people trained; check and describe Models.",
    no_args_is_help=True,
)
app.add_typer(model_app, name="model", rich_help_panel=LEARN)


@model_app.command("list")
def model_list(as_json: Json = False) -> None:
    """List the encoders that have short names, with size, languages and licence.

    MB is about what is fetched, PX the side of the square that it sees. FOOD-101 is what its
    authors or open_clip measured: how often the right one of 101 dishes comes first, by their names
    alone, or for those without words (marked *) by a classifier that learnt from photos.
    """
    from deepfood.model.encoders import ENCODERS

    if as_json:
        print_json([_facts(one) for one in ENCODERS.values()])
        return
    rows = [("NAME", "WHAT", "MB", "PX", "FOOD-101", "WORDS", "LICENCE")]
    for one in ENCODERS.values():
        star = "*" if one.measured == "linear" else ""
        rows.append(
            (
                one.name,
                one.title,
                f"{one.megabytes:,}",
                str(one.pixels),
                f"{one.food101:.1f} %{star}" if one.food101 else "-",
                one.languages or "none",
                one.licence.name + (" (--accept-licence)" if one.licence.why_ask else ""),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            text.rjust(width) if column in (2, 3, 4) else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


@model_app.command("get")
def model_get(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A short name (deepfood model list), hf:OWNER/NAME[@REVISION], or a folder with "
            "the same files.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", readable=False, help="Folder for the Model.")],
    variant: Annotated[
        str,
        typer.Option(help="Which of a repository's graphs: fp16, quantized and the like."),
    ] = "",
    licence: Annotated[str, typer.Option(help="The licence, where the source names none.")] = "",
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", help="Agree to a licence that has terms of its own."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a Model of an encoder that other people trained, without torch where it has ONNX.

    Files come from Hugging Face's hub, or from the mirror that HF_ENDPOINT names, and are checked
    against the hub's own hashes. If interrupted, run it again to continue.
    """
    from deepfood.get_model import get_model, look_up
    from deepfood.info import describe_model

    cache = load_settings().cache.expanduser()
    offer = look_up(source, cache, variant=variant, licence=licence, accept=accept_licence)
    if not as_json:
        print(
            f"{offer.source}: {counted(offer.files, 'file')}, {offer.bytes / 1e6:,.0f} MB; "
            f"licence: {offer.licence}",
            file=sys.stderr,
        )
    model = get_model(offer, out, variant=variant, export=_with_torch, quiet=as_json)
    if as_json:
        print_json({"model": str(out), **describe_model(out)})
        return
    words = "photos and words" if model.text_tower else "photos"
    print(f"{out}: {model.backbone}, {model.dimension} numbers of {words}")
    print(f"for a gallery: deepfood build PHOTOS --model {out} --out GALLERY")


@model_app.command("info")
def model_info(model: ModelArgument, as_json: Json = False) -> None:
    """Describe a Model: what it takes and gives, where it is from, its licence and its memory."""
    from deepfood.info import describe_model

    about = describe_model(model)
    if as_json:
        print_json(about)
        return
    tower, words_bytes = about["text_tower"], about["text_tower_bytes"]
    takes, memory = "photos", f"{_mb(about['bytes'] - words_bytes)}"
    if tower is not None:
        takes += f" and words ({tower['languages'] or 'of languages that it does not name'})"
        memory += f", and {_mb(words_bytes)} more from the first words on"
    preprocess = about["preprocess"]
    for name, value in {
        "name": about["name"],
        "network": about["backbone"],
        "takes": takes,
        "photos as": f"{preprocess['size']} x {preprocess['size']} pixels",
        "gives": f"{about['dimension']:,} numbers",
        "from": about["source"],
        "licence": about["licence"],
        "memory": memory,
        "fingerprint": about["fingerprint"],
    }.items():
        print(f"{name:12} {value}")


def _with_torch(layout: "Layout", scratch: Path) -> "Layout":
    """Graphs of weights that only torch can read; `look_up` has found that it is installed."""
    from deepfood.train.export_hub import with_graphs

    return with_graphs(layout, scratch)


@model_app.command("check")
def model_check(
    model: ModelArgument,
    against: Annotated[
        str,
        typer.Option(
            metavar="LIBRARY:NAME",
            help="Compare with the encoder in its own library too, which must be installed: "
            "open_clip:ViT-B-32/openai, transformers:facebook/dinov2-small, or a folder as NAME.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Compare what a Model gives here with what it gave where it was made.

    It is the cosine of the least alike of three photos and three texts: below 0.999 in f32 a Model
    is refused, and below 0.995 in bf16 or int8 it runs in f32. Exit status 1 if it is below 0.999
    against the library.
    """
    from deepfood.embed import open_embedder
    from deepfood.extras import missing_extra
    from deepfood.model import open_model
    from deepfood.model.golden import LEAST_F32
    from deepfood.proof import check_model
    from deepfood.words import open_text_embedder

    settings = load_settings(model=model)
    opened = open_model(settings.model)
    words = open_text_embedder(settings, opened) if opened.manifest.text_tower else None
    proof = check_model(opened, open_embedder(settings), words)
    agreement = None
    if against:
        try:
            from deepfood.train.reference import compare
        except ImportError as error:
            raise missing_extra(f"--against needs {error.name}", "train") from error
        exact = load_settings(model=model, precision="f32")
        words = open_text_embedder(exact, opened) if words else None
        agreement = compare(against, open_embedder(exact), words)
    agrees = agreement is None or agreement.least >= LEAST_F32
    if as_json:
        parts = {"proof": proof, "against": agreement}
        print_json({"model": str(model), **{n: one and asdict(one) for n, one in parts.items()}})
    elif proof is None:
        print(f"{model} has nothing to compare with: it was made without golden vectors")
    else:
        print(f"photos: cosine {proof.photos:.5f} in {proof.photo_precision}")
        if proof.words is not None:
            print(f"words:  cosine {proof.words:.5f} in {proof.text_precision}")
    if agreement is not None and not as_json:
        print(f"photos: cosine {agreement.photos:.5f} to {against}")
        if agreement.words is not None:
            print(f"words:  cosine {agreement.words:.5f} to {against}")
    raise typer.Exit(0 if agrees else 1)


def _facts(encoder: "Encoder") -> dict[str, Any]:
    """One of the list, for JSON."""
    photos, words = encoder.parameters
    return {
        "name": encoder.name,
        "title": encoder.title,
        "repository": encoder.repository,
        "pixels": encoder.pixels,
        "photo_parameters_millions": photos,
        "text_parameters_millions": words,
        "megabytes": encoder.megabytes,
        "text_tower": words > 0,
        "languages": encoder.languages,
        "food101_percent": encoder.food101,
        "food101_measured": encoder.measured if encoder.food101 is not None else None,
        "licence": encoder.licence.name,
        "licence_link": encoder.licence.link,
        "must_accept_licence": bool(encoder.licence.why_ask),
        "extra": encoder.extra or "words",
    }


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
