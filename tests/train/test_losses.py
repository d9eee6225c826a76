"""Every loss against its paper's formula, computed slowly and obviously, pair by pair."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from deepfood.train.losses import LOSSES, PAIRED, Loss

CLASSES, DIMENSION = 4, 6


def batch(seed: int, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    embeddings = torch.from_numpy(rng.normal(size=(count, DIMENSION)).astype(np.float32) * 3)
    return embeddings, torch.from_numpy(np.arange(count) % CLASSES)


def cosines(left: torch.Tensor, right: torch.Tensor) -> list[list[float]]:
    return [
        [(a @ b).item() for b in normalize(right.double(), dim=1)]
        for a in normalize(left.double(), dim=1)
    ]


def cross_entropy(scores: list[float], right: int, smoothing: float) -> float:
    total = math.log(sum(math.exp(s) for s in scores))
    wanted = [smoothing / len(scores) + (1 - smoothing) * (i == right) for i in range(len(scores))]
    return -sum(w * (s - total) for w, s in zip(wanted, scores, strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax(smoothing: float) -> None:
    loss = Loss("softmax", CLASSES, DIMENSION, label_smoothing=smoothing)
    embeddings, labels = batch(1)
    assert loss.classifier is not None
    weight, bias = loss.classifier.weight.tolist(), loss.classifier.bias.tolist()
    values = []
    for row, label in zip(embeddings.tolist(), labels.tolist(), strict=True):
        scores = [
            sum(w * x for w, x in zip(ws, row, strict=True)) + b
            for ws, b in zip(weight, bias, strict=True)
        ]
        values.append(cross_entropy(scores, label, smoothing))
    assert loss(embeddings, labels).item() == pytest.approx(np.mean(values), rel=1e-4)


def test_softmax_starts_as_the_originals_last_layer_does() -> None:
    torch.manual_seed(0)
    loss = Loss("softmax", 251, 512)
    assert loss.classifier is not None
    assert loss.classifier.bias.abs().max().item() == 0
    assert loss.classifier.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.02)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cosine_margin(smoothing: float) -> None:
    loss = Loss("cosine-margin", CLASSES, DIMENSION, label_smoothing=smoothing)
    embeddings, labels = batch(2)
    values = []
    for row, label in zip(cosines(embeddings, loss.centres), labels.tolist(), strict=True):
        scores = [30.0 * (c - 0.2 * (i == label)) for i, c in enumerate(row)]
        values.append(cross_entropy(scores, label, smoothing))
    assert loss(embeddings, labels).item() == pytest.approx(np.mean(values), rel=1e-4)


def test_proxy_anchor() -> None:
    loss = Loss("proxy-anchor", CLASSES, DIMENSION)
    embeddings, labels = batch(3)
    near = cosines(embeddings, loss.inner.proxies)
    alpha, margin = 32, 0.1
    positive = negative = 0.0
    for proxy in range(CLASSES):
        own = [near[i][proxy] for i, label in enumerate(labels.tolist()) if label == proxy]
        others = [near[i][proxy] for i, label in enumerate(labels.tolist()) if label != proxy]
        positive += math.log(1 + sum(math.exp(-alpha * (s - margin)) for s in own))
        negative += math.log(1 + sum(math.exp(alpha * (s + margin)) for s in others))
    expected = positive / len(set(labels.tolist())) + negative / CLASSES
    assert loss(embeddings, labels).item() == pytest.approx(expected, rel=1e-4)


def test_multi_similarity() -> None:
    loss = Loss("multi-similarity", CLASSES, DIMENSION)
    embeddings, labels = batch(4)
    near, names = cosines(embeddings, embeddings), labels.tolist()
    alpha, beta, base, epsilon = 2, 50, 0.5, 0.1
    values = []
    for i, name in enumerate(names):
        own = [near[i][j] for j in range(len(names)) if j != i and names[j] == name]
        others = [near[i][j] for j in range(len(names)) if names[j] != name]
        # Mining: a negative harder than the easiest positive, and the other way round.
        hard = [s for s in others if s + epsilon > min(own)]
        kept = [s for s in own if s - epsilon < max(others)]
        values.append(
            math.log(1 + sum(math.exp(-alpha * (s - base)) for s in kept)) / alpha
            + math.log(1 + sum(math.exp(beta * (s - base)) for s in hard)) / beta
        )
    assert loss(embeddings, labels).item() == pytest.approx(np.mean(values), rel=1e-3)


def test_supcon() -> None:
    loss = Loss("supcon", CLASSES, DIMENSION)
    embeddings, labels = batch(5)
    near, names = cosines(embeddings, embeddings), labels.tolist()
    values = []
    for i, name in enumerate(names):
        others = [j for j in range(len(names)) if j != i]
        total = math.log(sum(math.exp(near[i][j] / 0.1) for j in others))
        own = [near[i][j] / 0.1 - total for j in others if names[j] == name]
        values.append(-np.mean(own))
    assert loss(embeddings, labels).item() == pytest.approx(np.mean(values), rel=1e-4)


def test_triplet() -> None:
    loss = Loss("triplet", CLASSES, DIMENSION)
    embeddings, labels = batch(6)
    near, names = cosines(embeddings, embeddings), labels.tolist()
    everyone = range(len(names))
    values = []
    for a in everyone:
        for p in everyone:
            for n in everyone:
                if a != p and names[a] == names[p] != names[n]:
                    # Semi-hard: the negative is farther than the positive, by less than the margin.
                    apart = near[a][p] - near[a][n]
                    if 0 < apart <= 0.2:
                        values.append(0.2 - apart)
    assert values
    assert loss(embeddings, labels).item() == pytest.approx(np.mean(values), rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_can_be_learned_from(name: str) -> None:
    torch.manual_seed(0)
    loss = Loss(name, CLASSES, DIMENSION)  # type: ignore[arg-type]
    embeddings, labels = batch(7)
    # From the labels' own directions with noise, so that every loss finds pairs to work on.
    embeddings = (embeddings * 0.3 + torch.eye(DIMENSION)[labels]).requires_grad_()
    optimizer = torch.optim.Adam([embeddings, *loss.parameters()], lr=0.05)
    first = loss(embeddings, labels).item()
    assert first > 0
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(embeddings, labels)
        value.backward()
        assert embeddings.grad is not None
        assert torch.isfinite(embeddings.grad).all()
        optimizer.step()
    assert loss(embeddings, labels).item() < 0.7 * first


@pytest.mark.parametrize("name", LOSSES)
def test_losses_with_weights_a_label_classify_and_the_paired_do_not(name: str) -> None:
    loss = Loss(name, CLASSES, DIMENSION)  # type: ignore[arg-type]
    logits = loss.logits(batch(8)[0])
    assert (logits is None) == (name in PAIRED)
    if logits is not None:
        assert logits.shape == (12, CLASSES)
        assert logits.dtype == torch.float32
        assert loss.logits(batch(8)[0].bfloat16()).dtype == torch.float32  # type: ignore[union-attr]


def test_a_loss_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="no loss 'arc'"):
        Loss("arc", 2, 2)  # type: ignore[arg-type]
