"""How well embeddings retrieve: precision@k, mAP and recall@k on a folder of class folders.

    python benchmarks/retrieval.py FOLDER [--model MODEL] [--seed 0] [--gallery 0.5]

Each class is split at random into gallery and queries; every query searches the whole gallery
exactly, by cosine similarity. Definitions as in Manning et al., "Introduction to Information
Retrieval", chapter 8: precision@k is the share of the k nearest with the query's label, mAP the
mean over queries of the average precision over the whole ranking, recall@k the share of queries
with at least one right photo among the k nearest (as the metric-learning literature uses the word).
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deepfood.config import load_settings
from deepfood.embed import open_embedder
from deepfood.photo import SUFFIXES


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gallery", type=float, default=0.5)
    options = parser.parse_args()

    embedder = open_embedder(load_settings(model=options.model))
    files = sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    with ThreadPoolExecutor(embedder.threads + 1) as pool:
        vectors = np.stack(list(pool.map(lambda file: embedder.embed(file.read_bytes()), files)))
    labels = np.array([file.parent.name for file in files])

    rng = np.random.default_rng(options.seed)
    in_gallery = np.zeros(len(files), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        in_gallery[rng.permutation(rows)[: round(len(rows) * options.gallery)]] = True
    queries, gallery = ~in_gallery, in_gallery

    ranking = np.argsort(-(vectors[queries] @ vectors[gallery].T), axis=1)
    right = labels[gallery][ranking] == labels[queries][:, np.newaxis]
    found = np.cumsum(right, axis=1)
    precision = found / np.arange(1, right.shape[1] + 1)
    average = (precision * right).sum(axis=1) / right.sum(axis=1)
    print(
        f"{embedder.runtime} {embedder.precision}, "
        f"{gallery.sum()} gallery, {queries.sum()} queries: "
        f"precision@1 {precision[:, 0].mean():.3f}  precision@9 {precision[:, 8].mean():.3f}  "
        f"mAP {average.mean():.3f}  recall@5 {right[:, :5].any(axis=1).mean():.3f}"
    )


if __name__ == "__main__":
    main()
