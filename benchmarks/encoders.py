"""What encoders cost: milliseconds, photos a second and memory, beside torch in the same run.

    python benchmarks/encoders.py [--only NAME ...] [--seconds 5] [--rounds 3] [--photos FOLDER]
                                  [--models FOLDER] [--json FILE]

Networks have the true shapes and random weights, since time does not depend on the weights. They
are built by open_clip and timm, exported, imported by deepfood as a hub's files are, and run in
f32, bf16 where the processor has it, and int8 (photos only), on OpenVINO; and by torch, eager, in
f32. Each figure is from a process of its own, in turn, and the median of the rounds.

- ms a photo, ms a text: one after the other, all cores for one (a server's `latency`).
- photos/s: JPEGs in memory to vectors, as `build` does it; torch gets 16 at once, decoded by
  Pillow and transformed by torchvision on as many threads beside it.
- MB opened, with words, peak: resident memory of an Embedder after its first photo, with the text
  tower after its first words, and the most that a build has; torch does both in one process.
- A server whose Model has a text tower, as `deepfood serve` runs it: when it is ready, and when its
  first words are answered.

`--models` keeps the exported Models between runs; an encoder takes a minute or two to export and
make int8, and up to 4 GB of memory.
"""

import argparse
import io
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

import machine
from deepfood.config import available_cores
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder, normaliser
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.model import open_model
from deepfood.model.artifact import ONNX, write_model
from deepfood.photo import Limits, Preprocess, read_pixels
from deepfood.words import TextEmbedder
from deepfood_client import Client
from report import shown
from servers import deepfood_server

LIMITS = Limits(20 * 2**20, 64_000_000)
TEXT = "a bowl of noodle soup with egg, spring onions and pork"
_BATCH = 16
#: Of the photos that are drawn where no folder is named.
_DRAWN, _SIZE = 32, (512, 384)


@dataclass(frozen=True)
class Encoder:
    """`network` is open_clip's name of it where it has words, else timm's; `size` is of timm's."""

    name: str
    network: str
    size: int = 0

    @property
    def has_words(self) -> bool:
        return not self.size


ENCODERS = (
    Encoder("EfficientNet-Lite0 (the default)", "tf_efficientnet_lite0", 224),
    Encoder("DINOv2 S/14", "vit_small_patch14_dinov2", 224),
    Encoder("MobileCLIP2-S2", "MobileCLIP2-S2"),
    Encoder("CLIP ViT-B/32-256", "ViT-B-32-256"),
    Encoder("SigLIP 2 B/16-224", "ViT-B-16-SigLIP2"),
)
BY_NETWORK = {one.network: one for one in ENCODERS}
COLUMNS = {
    "photo_ms": "ms a photo",
    "photos_s": "photos/s",
    "text_ms": "ms a text",
    "opened_mb": "MB opened",
    "peak_mb": "MB peak",
    "words_mb": "MB with words",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What encoders cost, beside torch.")
    parser.add_argument("--only", nargs="+", choices=BY_NETWORK, default=list(BY_NETWORK))
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.measure:
        network, way, folder = options.measure
        photos = _jpegs(options.photos)
        print(json.dumps(_measured(BY_NETWORK[network], way, Path(folder), photos, options)))
        return
    print(f"{machine.facts().markdown()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="deepfood-bench-") as temporary:
        models = options.models or Path(temporary)
        found = {name: _encoder(BY_NETWORK[name], models, options) for name in options.only}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def _encoder(
    encoder: Encoder, models: Path, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """The figures of one encoder, by way; also printed."""
    folder = models / encoder.network
    if not (folder / "int8" / "manifest.json").exists():
        print(f"exporting {encoder.name}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _in_a_process(encoder, "export", folder, options)
    ways = ["torch", "f32", *(["bf16"] if _has_bf16() else []), "int8"]
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            print(f"measuring {encoder.name}: {way}", file=sys.stderr, flush=True)
            kinds = ["torch"] if way == "torch" else [f"build/{way}", f"serve/{way}"]
            some = [_in_a_process(encoder, kind, folder, options) for kind in kinds]
            rounds[way].append({name: one[name] for one in some for name in one})
    figures = {
        way: {name: median(one[name] for one in some) for name in some[0]}
        for way, some in rounds.items()
    }
    parameters = figures["torch"].pop("parameters")
    print(f"### {encoder.name}, {parameters / 1e6:.0f} million parameters\n")
    print(f"| | {' | '.join(COLUMNS.values())} | times torch |\n|---|{'---:|' * 7}")
    for way, figure in figures.items():
        cells = [shown(figure[name]) if name in figure else "" for name in COLUMNS]
        times = figure["photos_s"] / figures["torch"]["photos_s"]
        print(f"| {way} | {' | '.join(cells)} | {times:.2f} |")
    print()
    if encoder.has_words:
        print(f"| a server | |\n|---|---:|\n{_serve(folder / 'f32', options.rounds)}\n")
    sys.stdout.flush()
    return figures


def _serve(model: Path, rounds: int) -> str:
    """Start a server with this Model, and ask it for words: rows of a table."""
    starts, jpegs = [], _jpegs(None)
    with tempfile.TemporaryDirectory(prefix="deepfood-bench-") as temporary:
        gallery, photos = Path(temporary) / "gallery", Path(temporary) / "photos"
        photos.mkdir()
        for number, data in enumerate(jpegs):
            (photos / f"{number}.jpg").write_bytes(data)
        embedder = Embedder(open_model(model), LIMITS)
        build_gallery(list_photos(photos), gallery, embedder, IndexSpec(), quiet=True)
        for _ in range(rounds):
            begun = time.perf_counter()
            with (
                deepfood_server(gallery) as server,
                Client(f"http://127.0.0.1:{server.port}") as client,
            ):
                start = {"seconds until it is ready": time.perf_counter() - begun}
                client.search(jpegs[0])
                start["MB after the first photo"] = server.rss_mb
                for words in ("first", "second"):
                    begun = time.perf_counter()
                    client.search(words=f"{words} {TEXT}")
                    start[f"seconds, the {words} words"] = time.perf_counter() - begun
                start["MB with words"] = server.rss_mb
            starts.append(start)
    return "\n".join(
        f"| {name} | {shown(median(one[name] for one in starts))} |" for name in starts[0]
    )


def _in_a_process(
    encoder: Encoder, way: str, folder: Path, options: argparse.Namespace
) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", encoder.network, way, str(folder)]
    command += ["--seconds", str(options.seconds)]
    command += ["--photos", str(options.photos)] if options.photos else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


# One process


def _measured(
    encoder: Encoder, way: str, folder: Path, photos: list[bytes], options: argparse.Namespace
) -> dict[str, float]:
    if way == "export":
        export(encoder, folder)
        return {}
    if way == "torch":
        return _torch(encoder, open_model(folder / "f32").manifest.preprocess, photos, options)
    kind, precision = way.split("/")
    model = open_model(folder / ("int8" if precision == "int8" else "f32"))
    how: Any = {"runtime": "openvino", "precision": "bf16" if precision == "bf16" else "f32"}
    embedder = Embedder(model, LIMITS, latency=kind == "serve", device="cpu", **how)
    if kind == "build":
        return _building(embedder, photos, options.seconds)
    words = TextEmbedder(model, **how) if encoder.has_words and precision != "int8" else None
    return _serving(embedder, words, photos[0], options.seconds)


def _building(embedder: Embedder, photos: list[bytes], seconds: float) -> dict[str, float]:
    with ThreadPoolExecutor(embedder.at_once) as pool:
        rate = _rate(lambda: len(list(pool.map(embedder.embed, photos))), seconds)
    return {"photos_s": rate, "peak_mb": _mb("VmHWM")}


def _serving(
    embedder: Embedder, words: TextEmbedder | None, photo: bytes, seconds: float
) -> dict[str, float]:
    embedder.embed(photo)
    figures = {"opened_mb": _mb("VmRSS")}
    pixels = embedder.read(photo)
    figures["photo_ms"] = 1e3 / _rate(lambda: len([embedder.infer(pixels)]), seconds)
    if words is not None:
        words.embed(TEXT)
        figures["words_mb"] = _mb("VmRSS")
        figures["text_ms"] = 1e3 / _rate(lambda: len([words.embed(TEXT)]), seconds)
    return figures


def _torch(
    encoder: Encoder, preprocess: Preprocess, photos: list[bytes], options: argparse.Namespace
) -> dict[str, float]:
    """The same by torch alone: photos decoded by Pillow and transformed by torchvision."""
    import torch
    from torchvision import transforms

    torch.set_num_threads(available_cores())
    image, text, network = towers(encoder)
    side = round(preprocess.size / preprocess.crop)
    seen = transforms.Compose(
        [
            transforms.Resize(
                (side, side) if preprocess.resize == "squash" else side,
                transforms.InterpolationMode(preprocess.interpolation),
            ),
            transforms.CenterCrop(preprocess.size),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )

    def read(data: bytes) -> Any:
        return seen(Image.open(io.BytesIO(data)).convert("RGB"))

    figures: dict[str, float] = {"parameters": sum(w.numel() for w in network.parameters())}
    with torch.inference_mode(), ThreadPoolExecutor(available_cores() + 1) as pool:
        pixels = read(photos[0])[None]
        image(pixels)
        figures["opened_mb"] = _mb("VmRSS")
        figures["photo_ms"] = 1e3 / _rate(lambda: len(image(pixels)), options.seconds)

        def batches() -> Iterator[list[Any]]:
            ahead = [pool.submit(read, data) for data in photos]
            for at in range(0, len(ahead), _BATCH):
                yield [one.result() for one in ahead[at : at + _BATCH]]

        figures["photos_s"] = _rate(
            lambda: sum(len(image(torch.stack(batch))) for batch in batches()), options.seconds
        )
        figures["peak_mb"] = _mb("VmHWM")
        if text is not None:
            ids = torch.randint(1, 49_000, (1, network.context_length))
            text(ids)
            figures["words_mb"] = _mb("VmRSS")
            figures["text_ms"] = 1e3 / _rate(lambda: len(text(ids)), options.seconds)
    return figures


def _rate(work: Callable[[], int], seconds: float) -> float:
    """The rate per second, after a first call that does not count."""
    work()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        done += work()
    return done / (time.perf_counter() - started)


def _mb(name: str) -> float:
    """Of this process in 10^6 bytes: VmRSS is resident now, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def _has_bf16() -> bool:
    from deepfood import runtimes

    core = runtimes.openvino().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _jpegs(folder: Path | None) -> list[bytes]:
    if folder is not None:
        files = sorted(one for one in folder.rglob("*") if one.suffix.lower() in (".jpg", ".jpeg"))
        return [file.read_bytes() for file in files[:256]]
    rng, found = np.random.default_rng(0), []
    for _ in range(_DRAWN):
        coarse = rng.integers(0, 256, (_SIZE[1] // 8, _SIZE[0] // 8, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(coarse).resize(_SIZE, Image.Resampling.BICUBIC).save(out, "JPEG")
        found.append(out.getvalue())
    return found


# Networks


def towers(encoder: Encoder) -> tuple[Callable[..., Any], Callable[..., Any] | None, Any]:
    """Networks for the vectors of photos and words, and the network that contains both."""
    import open_clip
    import timm
    import torch
    from timm.utils.model import reparameterize_model

    torch.manual_seed(0)
    logging.disable(logging.WARNING)  # warnings about random weights
    if not encoder.has_words:
        wanted = {"img_size": encoder.size} if "vit" in encoder.network else {}
        network = timm.create_model(encoder.network, pretrained=False, num_classes=0, **wanted)  # type: ignore[arg-type]
        return network.eval(), None, network
    network = open_clip.create_model(encoder.network, pretrained=None)
    network = reparameterize_model(network.eval())  # as MobileCLIP is used
    return (
        partial(network.encode_image, normalize=True),  # type: ignore[arg-type, operator]
        partial(network.encode_text, normalize=True),  # type: ignore[arg-type, operator]
        network,
    )


def export(encoder: Encoder, folder: Path) -> None:
    """Write the encoder as a Model into `folder`/f32, and `folder`/int8 of its photos' tower."""
    image, text, network = towers(encoder)
    with tempfile.TemporaryDirectory(prefix="deepfood-bench-") as temporary:
        if text is None:
            _export_timm(encoder, image, Path(temporary), folder / "f32")
        else:
            _export_open_clip(encoder, image, text, network, Path(temporary), folder / "f32")
    _quantize(folder / "f32", folder / "int8")


def _export_timm(encoder: Encoder, image: Any, scratch: Path, out: Path) -> None:
    import torch

    pixels = torch.randn(1, 3, encoder.size, encoder.size)
    _onnx(scratch / "model.onnx", image, pixels, "pixels")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    write_model(
        out,
        (scratch / "model.onnx").read_bytes(),
        "",
        dimension=int(image(pixels).shape[1]),
        preprocess=Preprocess(
            size=encoder.size, crop=0.875, interpolation="bicubic", mean=mean, std=std
        ),
        **_about(encoder),  # type: ignore[arg-type]
    )


def _export_open_clip(
    encoder: Encoder, image: Any, text: Any, network: Any, scratch: Path, out: Path
) -> None:
    """Export in immich-app's layout, and import from that."""
    import open_clip
    import torch
    import transformers

    from deepfood.model.imported import import_folder

    side = open_clip.get_model_config(encoder.network)["vision_cfg"]["image_size"]
    context = network.context_length
    for name in ("visual", "textual"):
        (scratch / name).mkdir()
    _onnx(scratch / "visual" / ONNX, image, torch.randn(1, 3, side, side), "image")
    ids = torch.randint(1, 49_000, (1, context), dtype=torch.int32)
    _onnx(scratch / "textual" / ONNX, text, ids, "text")
    config = open_clip.get_model_config(encoder.network)
    (scratch / "config.json").write_text(json.dumps(config))
    (scratch / "visual" / "preprocess_cfg.json").write_text(
        json.dumps(open_clip.get_model_preprocess_cfg(network))
    )
    # CLIP's for all: the time for a text depends on the context only.
    simple = open_clip.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(word, word): number for word, number in simple.encoder.items()}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks))
    tokenizer.save_pretrained(scratch / "textual")
    about = _about(encoder)
    import_folder(
        scratch, out, name=about["name"], source=about["source"], licence=about["licence"]
    )


def _onnx(path: Path, network: Any, example: Any, name: str) -> None:
    import torch

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = getattr(getattr(network, "func", network), "__self__", network)

        def forward(self, given: Any) -> Any:
            return network(given)

    torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no such operator
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Tower().eval(),
            (example,),
            str(path),
            input_names=[name],
            output_names=["embedding"],
            opset_version=17,
            dynamo=False,
        )


def _quantize(f32: Path, out: Path) -> None:
    """Convert to int8, calibrated on noise: the ranges do not affect the time either."""
    from deepfood.train.int8 import quantize_network

    model = open_model(f32)
    about = model.manifest
    normalise = normaliser(about.preprocess)
    small = [read_pixels(data, about.preprocess, LIMITS) for data in _jpegs(None)[:4]]
    int8 = quantize_network(
        model.onnx.read_bytes(), model.weights, [normalise(pixels) for pixels in small]
    )
    write_model(
        out,
        int8,
        "",
        dimension=about.dimension,
        preprocess=about.preprocess,
        name=f"{about.name}-int8",
        backbone=about.backbone,
        source=about.source,
        licence=about.licence,
    )


def _about(encoder: Encoder) -> dict[str, str]:
    return {
        "name": encoder.network.lower(),
        "backbone": encoder.network,
        "source": "random weights",
        "licence": "none",
    }


if __name__ == "__main__":
    main()
