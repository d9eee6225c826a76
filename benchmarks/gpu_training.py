"""Where the time of training goes, on a GPU or here: photos a second, GPU busy %, each phase alone.

    export PYTHONPATH=src:client/src
    python benchmarks/gpu_training.py [--seconds 15] [--limit 220] [--device cuda]
    python benchmarks/gpu_training.py --device cpu --seconds 3 --photos 64

Needs no download: photos are drawn, networks start from random weights. Every phase is bounded by
--seconds, and none is started that would not end within --limit. A failed phase prints its error,
and the next one is run. The phases for each backbone, all with the product's own loop:

- `feed`: reading and augmenting for a step that takes no time
- `loop`: the whole loop; `waiting` is the share of its time that it waited for photos
- `step`: the same step on one batch again and again, nothing else running
- `exact`: a few steps done twice from the same seed: are the weights the same?
- a profile of a few steps: how long the GPU's kernels ran, and how long the host needed

`decoders` are ways from a JPEG to pixels, in one thread and in one per core; `variants`
(--variants) are a plain step of torch: eager, fused AdamW, as a CUDA graph, compiled.
"""

import argparse
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BACKBONES = ("resnet34.tv_in1k", "tf_efficientnet_lite2")
STARTED = time.monotonic()
_LABELS = 10
#: Seconds between two readings of the GPU's load.
_SAMPLE_S = 0.25
_PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "PIL", "simplejpeg", "triton")


class EnoughError(Exception):
    """The phase's time is up."""


def main() -> None:
    options = _options()
    log_versions(options)
    with tempfile.TemporaryDirectory(prefix="deepfood-gpu-") as temporary:
        work = Path(temporary)
        files = draw_photos(work / "photos", options)
        for name in options.decoders:
            phase(options, f"decoder {name}", lambda name=name: decoder(name, files, options))
        for workers in options.cold_workers:
            phase(options, "cold", lambda workers=workers: cold(workers, work, options))
        for backbone in options.backbones:
            for batch in options.batches:
                log(f"\n== {backbone}, batch {batch or 'of the recipe'}, {options.device}")
                phase(
                    options,
                    "training",
                    lambda one=backbone, batch=batch: training(one, batch, work, options),
                    needs=3 * options.seconds + 12,
                )
                phase(
                    options,
                    "exact",
                    lambda one=backbone, batch=batch: exact(one, batch, work, options, 5),
                )
        for name in VARIANTS if options.variants else ():
            for backbone in options.backbones:
                for batch in options.variant_batches:
                    phase(
                        options,
                        f"{backbone} {name} batch {batch}",
                        lambda b=backbone, n=name, k=batch: variant(b, n, k, options),
                        needs=60 if "compiled" in name else 12,
                    )
    log(f"\nended after {time.monotonic() - STARTED:.0f} s")


def _options() -> argparse.Namespace:
    import torch

    found = "cuda" if torch.cuda.is_available() else "cpu"
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description="Measure training on a GPU.")
    parser.add_argument("--device", default=found)
    parser.add_argument("--seconds", type=float, default=15, help="of each phase")
    parser.add_argument("--limit", type=float, default=220, help="seconds for all")
    parser.add_argument("--photos", type=int, default=8000)
    parser.add_argument("--pixels", type=int, default=512, help="a side of the drawn photos")
    parser.add_argument("--image-size", type=int, help="of the Model; default: the backbone's")
    parser.add_argument("--batches", type=int, nargs="+", default=[0], help="0: the recipe's")
    parser.add_argument("--backbones", nargs="*", default=BACKBONES)
    parser.add_argument("--workers", type=int, default=cores)
    parser.add_argument("--decoders", nargs="*", choices=DECODERS, default=list(DECODERS))
    parser.add_argument("--cold-workers", type=int, nargs="*", default=[], help="threads to try")
    parser.add_argument("--compile", action="store_true", help="the backbone, by torch.compile")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--variant-batches", type=int, nargs="+", default=[32, 128])
    return parser.parse_args()


def log(line: str) -> None:
    print(line, flush=True)


def phase(
    options: argparse.Namespace, what: str, work: Callable[[], Any], needs: float = 8
) -> None:
    """Do `work` if it can end in time, and say how it failed where it fails."""
    if options.limit - (time.monotonic() - STARTED) < needs:
        log(f"{what}: left out, no time")
        return
    try:
        work()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())[:300]
        log(f"{what}: failed: {type(error).__name__}: {reason} ({where.filename}:{where.lineno})")


def log_versions(options: argparse.Namespace) -> None:
    import torch

    log(f"python {sys.version.split()[0]}, {len(os.sched_getaffinity(0))} cores, {options}")
    for name in _PACKAGES:
        try:
            log(f"{name} {__import__(name).__version__}")
        except Exception as error:
            log(f"{name}: {error}")
    if torch.cuda.is_available():
        log(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")


# Photos


def draw_photos(folder: Path, options: argparse.Namespace) -> list[Path]:
    """JPEGs of soft noise with grain, as many bytes a pixel as real ones."""
    import numpy as np
    from PIL import Image

    started = time.monotonic()
    side = options.pixels
    folder.mkdir()
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 6, (side, side, 3)).astype(np.float32)

    def draw(number: int) -> Path:
        own = np.random.default_rng(number)
        coarse = Image.fromarray(own.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        soft = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32)
        noisy = np.clip(soft + np.roll(grain, int(own.integers(side)), 0), 0, 255)
        path = folder / f"{number:05}.jpg"
        Image.fromarray(noisy.astype(np.uint8)).save(path, quality=85)
        return path

    with ThreadPoolExecutor(options.workers) as pool:
        files = list(pool.map(draw, range(options.photos)))
    size = statistics.mean(path.stat().st_size for path in files[:100]) / 1000
    seconds = time.monotonic() - started
    log(f"{len(files)} photos of {side} x {side}, {size:.0f} KB each, drawn in {seconds:.0f} s")
    return files


def _whole(data: bytes) -> Any:
    from deepfood.photo import Limits, read_picture

    return read_picture(data, 448, Limits(20 * 2**20, 64_000_000))


def _pillow(data: bytes, side: int = 0) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        if side:
            image.draft(None, (side, side))
        image.load()
    return image


def _pillow_small(data: bytes) -> Any:
    return _pillow(data).resize((256, 256), 3)


def _simplejpeg(data: bytes, side: int = 0) -> Any:
    import simplejpeg

    return simplejpeg.decode_jpeg(data, min_height=side, min_width=side, fastdct=True)


def _torchvision(data: bytes) -> Any:
    import torch
    from torchvision.io import decode_jpeg

    return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "deepfood, the whole picture": _whole,
    "Pillow": _pillow,
    "Pillow, draft 256": lambda data: _pillow(data, 256),
    "Pillow, whole, resized to 256": _pillow_small,
    "simplejpeg": _simplejpeg,
    "simplejpeg, scaled to 256": lambda data: _simplejpeg(data, 256),
    "torchvision.io": _torchvision,
}


def decoder(name: str, files: list[Path], options: argparse.Namespace) -> None:
    """Photos a second by one thread, and by as many as there are cores."""
    photos = [path.read_bytes() for path in files[:256]]
    decode, speed = DECODERS[name], []
    decode(photos[0])
    for threads in (1, options.workers):
        done = 0
        with ThreadPoolExecutor(threads) as pool:
            started = time.monotonic()
            while time.monotonic() - started < min(1.5, options.seconds / 4):
                done += len(list(pool.map(decode, photos[: 16 * threads])))
            speed.append(done / (time.monotonic() - started))
    log(
        f"decoder {name}: {speed[0]:.0f} photos/s by one thread, {speed[1]:.0f} by "
        f"{options.workers}, {speed[1] / options.workers:.0f} a core"
    )


# The product's loop


@contextmanager
def opened(
    backbone: str,
    batch: int,
    work: Path,
    options: argparse.Namespace,
    *,
    workers: int = 0,
    cache: str = "cache",
) -> Iterator[Any]:
    """A Training of the drawn photos, all layers trained, as `deepfood train` would open it."""
    from deepfood.config import Settings
    from deepfood.data.photos import PhotoFile, list_photos
    from deepfood.data.splits import Splits
    from deepfood.photo import Limits
    from deepfood.train.recipe import DEEPFOOD
    from deepfood.train.run import Task, open_training

    settings = Settings()
    source = list_photos(work / "photos")
    named = tuple(
        PhotoFile(one.file, label=str(row % _LABELS)) for row, one in enumerate(source.files)
    )
    labels = tuple(sorted({one.label or "" for one in named}))
    recipe = DEEPFOOD.with_changes(
        batch=batch or None, epochs=10_000, image_size=options.image_size, training_pixels=1.0
    )
    task = Task(
        Splits(source, named, named[:1], (), labels, ()),
        Path(tempfile.mkdtemp(dir=work)),
        backbone=backbone,
        weights="none",
        recipe=recipe,
        limits=Limits(settings.max_photo_bytes, settings.max_photo_pixels),
        cache=work / cache,
        **({"pictures_bytes": 2**35} if "pictures_bytes" in Task.__annotations__ else {}),
        workers=workers or options.workers,
        device=options.device,
        checkpoint_s=float("inf"),
        quiet=True,
    )
    with open_training(task) as training:
        if options.compile:
            training.state.learner.backbone.compile()
        yield training


def cold(workers: int, work: Path, options: argparse.Namespace) -> None:
    """The first epoch, into an empty cache, by so many threads."""
    import torch

    backbone, cache = options.backbones[0], f"cold-{workers}"
    with opened(backbone, 0, work, options, workers=workers, cache=cache) as one:
        zero = torch.zeros(())
        one._step = lambda *batch: zero
        run_loop(f"feed, first epoch, {workers} threads", one, options, first=True)


def training(backbone: str, batch: int, work: Path, options: argparse.Namespace) -> None:
    import torch

    with opened(backbone, batch, work, options) as one:
        log(f"{one.hardware.describe()}, batch {one.recipe.batch}")
        step, seen, zero = one._step, list[Any](), torch.zeros(())

        def nothing(*batch: Any) -> Any:
            seen[:] = [batch]
            return zero

        for when in ("first epoch", "later epochs"):
            one._step = nothing
            run_loop(f"feed, {when}", one, options, first=when == "first epoch")
        one._step = step
        run_loop("loop", one, options, warm_up=5)
        one._step = step
        with time_of(options) as timed:
            steps = repeat(lambda: one._step(*seen[0]), options)
        speed = steps / timed["seconds"] * one.recipe.batch
        log(
            f"step: {speed:.0f} photos/s, {1000 * timed['seconds'] / steps:.2f} ms a step"
            f"{timed['busy']}"
        )
        profile(lambda: one._step(*seen[0]), options)


def exact(backbone: str, batch: int, work: Path, options: argparse.Namespace, steps: int) -> None:
    """Two trainings from the same seed: have they the same weights, bit for bit?"""
    import torch

    weights = []
    for _ in range(2):
        with opened(backbone, batch, work, options) as one:
            step, left = one._step, [steps]

            def some(*batch: Any, step: Any = step, left: list[int] = left) -> Any:
                if not left[0]:
                    raise EnoughError
                left[0] -= 1
                return step(*batch)

            one._step = some
            with suppress(EnoughError):
                one.train_epoch(time.monotonic())
            weights.append([value.clone() for value in one.judged.state_dict().values()])
    same = all(torch.equal(*pair) for pair in zip(*weights, strict=True))
    log(f"exact: after {steps} steps, twice, the weights are {'the same' if same else 'DIFFERENT'}")


def run_loop(
    what: str, one: Any, options: argparse.Namespace, *, first: bool = False, warm_up: int = 1
) -> None:
    """The product's epochs, for --seconds; with `first`, no further than to the epoch's end."""
    from time import monotonic

    step, at = one._step, one.progress
    marks: list[tuple[float, float]] = []

    def timed(*batch: Any) -> Any:
        came = monotonic()
        loss = step(*batch)
        marks.append((came, monotonic()))
        if len(marks) == warm_up + 1:
            around["warm_s"] = monotonic() - began
        if len(marks) > warm_up + 1 and marks[-1][1] - marks[warm_up][1] > options.seconds:
            raise EnoughError
        return loss

    one._step = timed
    one.train.broken.clear()
    with time_of(options) as around:
        began = monotonic()
        try:
            while not (first and marks):
                one.train_epoch(monotonic())
                at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0
        except EnoughError:
            at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0
    one._step = step
    if len(marks) < warm_up + 3:
        log(f"{what}: only {len(marks)} steps")
        return
    seconds = marks[-1][1] - marks[warm_up][1]
    photos = one.recipe.batch * (len(marks) - warm_up - 1)
    pairs = itertools.pairwise(marks[warm_up:])
    waited = sum(came - before for (_, before), (came, _) in pairs)
    used = around["cpu"] / around["seconds"]
    log(
        f"{what}: {photos / seconds:.0f} photos/s, waiting {waited / seconds:.0%}, "
        f"{photos / seconds / max(used, 0.01):.0f} a core used ({used:.1f} cores){around['busy']}"
    )


def repeat(work: Callable[[], Any], options: argparse.Namespace) -> int:
    for _ in range(3):
        work()
    synchronise(options)
    done, started = 0, time.monotonic()
    while time.monotonic() - started < options.seconds / 3:
        work()
        done += 1
    synchronise(options)
    return done + 3


def synchronise(options: argparse.Namespace) -> None:
    import torch

    if options.device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def time_of(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds, CPU seconds, and nvidia-smi's readings meanwhile."""
    found: dict[str, Any] = {"busy": ""}
    command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used,power.draw"]
    command += ["--format=csv,noheader,nounits", "-lms", str(round(1000 * _SAMPLE_S))]
    watcher = None
    if options.device == "cuda":
        try:
            watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        except OSError:
            found["busy"] = ", no nvidia-smi"
    started, cpu = time.monotonic(), time.process_time()
    try:
        yield found
    finally:
        found["seconds"] = time.monotonic() - started
        found["cpu"] = time.process_time() - cpu
        if watcher is not None:
            watcher.terminate()
            lines = (watcher.communicate()[0] or "").splitlines()
            values = [[float(part) for part in line.split(",")] for line in lines if "," in line]
            # Not what came before the phase was warm: it loads kernels and starts threads.
            values = values[int(found.get("warm_s", 0.5) / _SAMPLE_S) + 1 :] or values
            if values:
                busy, memory, watts = (
                    statistics.mean(column) for column in zip(*values, strict=True)
                )
                found["busy"] = f"; GPU busy {busy:.0f} %, {memory / 1024:.1f} GiB, {watts:.0f} W"


def profile(work: Callable[[], Any], options: argparse.Namespace, steps: int = 5) -> None:
    """How long the kernels ran in a few steps, and which operations took longest."""
    import torch
    from torch.profiler import ProfilerActivity

    kinds = [ProfilerActivity.CPU]
    if options.device == "cuda":
        kinds.append(ProfilerActivity.CUDA)
    synchronise(options)
    with torch.profiler.profile(activities=kinds) as found:
        started = time.monotonic()
        for _ in range(steps):
            work()
        synchronise(options)
        wall = time.monotonic() - started
    table = found.key_averages()
    on_gpu = options.device == "cuda"
    name = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    kernels = [one for one in table if not on_gpu or "CUDA" in str(one.device_type)]
    total = sum(getattr(one, name) for one in kernels) / 1e6
    count = sum(one.count for one in kernels)
    log(
        f"profile: {wall / steps * 1000:.2f} ms a step (profiled), of which "
        f"{'kernels ran' if on_gpu else 'operations took'} "
        f"{total / steps * 1000:.2f} ms, {count / steps:.0f} of them"
    )
    for one in sorted(kernels, key=lambda one: -getattr(one, name))[:12]:
        took = getattr(one, name) / steps / 1000
        log(f"  {took:8.3f} ms {one.count / steps:6.0f} x {one.key[:90]}")


# A plain step of torch, to see what pays


VARIANTS = ("eager", "fused", "graph", "compiled")


def variant(backbone: str, name: str, batch: int, options: argparse.Namespace) -> None:
    """forward, backward, AdamW in bf16, channels last; random pixels that lie on the device."""
    import timm
    import torch

    device = options.device
    network = timm.create_model(backbone, pretrained=False, num_classes=_LABELS).to(device).train()
    size = options.image_size or network.pretrained_cfg["input_size"][1]
    network = network.to(memory_format=torch.channels_last)
    on_gpu = device == "cuda"
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=1e-4, fused=name != "eager", capturable=on_gpu and name == "graph"
    )
    pixels = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8, device=device)
    labels = torch.randint(0, _LABELS, (batch,), device=device)
    forward = torch.compile(network) if name == "compiled" else network

    def step() -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16):
            logits = forward((pixels.permute(0, 3, 1, 2).float() - 120) / 60)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    work: Callable[[], Any] = step
    if name == "graph":
        if not on_gpu:
            return
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        work = graph.replay
    started = time.monotonic()
    work()
    synchronise(options)
    first = time.monotonic() - started
    with time_of(options) as timed:
        done = repeat(work, options)
    seconds = timed["seconds"] / done
    log(
        f"variant {backbone}, {size} px, {name}, batch {batch}: {batch / seconds:.0f} photos/s, "
        f"{1000 * seconds:.2f} ms a step, first {first:.1f} s{timed['busy']}"
    )


if __name__ == "__main__":
    main()
