"""How the crop affects retrieval, on photos that are not square.

    python benchmarks/crops.py FOLDER [--ratio 1.3] [--model MODEL]

Uses the photos of a folder of class folders whose longer side is at least `ratio` times the shorter
one. Each is a query among the others, exactly, by cosine similarity. Prints the mean of each metric
and, after the first line, its difference to the Model's own crop with the 95 % bootstrap interval.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from deepfood.config import load_settings
from deepfood.embed import Embedder, open_embedder
from deepfood.evaluate.metrics import confidence_interval, measure
from deepfood.photo import SUFFIXES, Pixels, read_header, read_pixels

FIGURES = ("precision@1", "precision@9", "mAP", "recall@5")

Seen = Callable[[bytes], Pixels]


def main() -> None:
    parser = argparse.ArgumentParser(description="What part of a photo the Model should see.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ratio", type=float, default=1.3)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    embedder = open_embedder(
        load_settings(model=options.model, runtime="onnxruntime", precision="f32")
    )
    photos, names, ratios = [], [], []
    for file in sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        data = file.read_bytes()
        header = read_header(data, embedder.limits)
        ratio = max(header.width, header.height) / min(header.width, header.height)
        if ratio >= options.ratio:
            photos.append(data)
            names.append(file.parent.name)
            ratios.append(ratio)
    labels = np.unique(names, return_inverse=True)[1].astype(np.int64)
    middle = np.median(ratios)
    print(f"{len(photos)} photos, {min(ratios):.2f} to {max(ratios):.2f}, median {middle:.2f}")
    print(f"| | {' | '.join(FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    first = None
    with ThreadPoolExecutor(embedder.threads + 1) as pool:
        for name, seen in _ways(embedder).items():
            vectors = np.stack(
                list(pool.map(lambda one, see=seen: embedder.infer(see(one)), photos))
            )
            found = measure(
                vectors, labels, vectors, labels, own_rows=np.arange(len(labels))
            ).metrics
            first = first or found
            cells = []
            for figure in FIGURES:
                differences = found[figure] - first[figure]
                low, high = confidence_interval(differences)
                interval = f" ({low:+.3f} to {high:+.3f})" if found is not first else ""
                cells.append(f"{np.nanmean(found[figure]):.3f}{interval}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _ways(embedder: Embedder) -> dict[str, Seen]:
    as_it_is, limits = embedder.preprocess, embedder.limits

    def way(**changes: Any) -> Seen:
        preprocess = as_it_is.model_copy(update=changes)
        return lambda data: read_pixels(data, preprocess, limits)

    return {
        f"as it is: {as_it_is.resize}, crop {as_it_is.crop:g}": way(),
        "middle square, crop 1": way(resize="square", crop=1.0),
        "the whole photo, squashed into a square": way(resize="squash", crop=1.0),
        "the whole photo, padded with grey": way(resize="pad", crop=1.0, fill=(128, 128, 128)),
    }


if __name__ == "__main__":
    main()
