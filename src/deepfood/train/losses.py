"""The losses that embeddings are trained with: one contract, shared by `train` and `adapt`.

Each comes from pytorch-metric-learning, with its paper's hyperparameters. `Loss` is a module that
takes embeddings float [n, dim] (which it normalises itself) and labels int64 [n], and returns a
scalar. Losses with weights of their own (one vector per label) can also classify: `logits`.
"""

from typing import Any, Literal, get_args

import torch
from torch import nn

LossName = Literal[
    "softmax", "cosine-margin", "proxy-anchor", "multi-similarity", "supcon", "triplet"
]
LOSSES: tuple[str, ...] = get_args(LossName)

#: Losses that compare photos within a batch, which must contain several of each label.
PAIRED = frozenset({"multi-similarity", "supcon", "triplet"})


class Loss(nn.Module):
    """One of LOSSES for `classes` labels and embeddings of `dimension` numbers."""

    def __init__(
        self,
        name: LossName,
        classes: int,
        dimension: int,
        *,
        label_smoothing: float = 0.0,
        scale: float = 30.0,
        margin: float = 0.2,
    ) -> None:
        super().__init__()
        from pytorch_metric_learning import distances, losses, miners

        self.name = name
        self.scale = scale
        self.margin = margin
        self.label_smoothing = label_smoothing
        self.miner: Any = None
        self.inner: Any = None
        self.classifier: nn.Linear | None = None
        if name == "softmax":
            # The original's last layer: linear with a bias, on the embedding without normalization.
            self.classifier = nn.Linear(dimension, classes)
            nn.init.kaiming_normal_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)
        elif name == "cosine-margin":
            # Wang et al., "CosFace" (2018); ours, since the library's takes no label smoothing.
            self.centres = nn.Parameter(torch.empty(classes, dimension))
            nn.init.normal_(self.centres)
        elif name == "proxy-anchor":  # Kim et al. (2020)
            self.inner = losses.ProxyAnchorLoss(classes, dimension)
        elif name == "multi-similarity":  # Wang et al. (2019)
            self.inner = losses.MultiSimilarityLoss()
            self.miner = miners.MultiSimilarityMiner()
        elif name == "supcon":  # Khosla et al. (2020)
            self.inner = losses.SupConLoss(temperature=0.1)
        elif name == "triplet":  # Schroff et al., "FaceNet" (2015), on cosine similarity
            self.inner = losses.TripletMarginLoss(
                margin=margin, distance=distances.CosineSimilarity()
            )
            self.miner = miners.TripletMarginMiner(
                margin=margin, distance=distances.CosineSimilarity(), type_of_triplets="semihard"
            )
        else:
            raise ValueError(f"there is no loss {name!r}: known are {', '.join(LOSSES)}")

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch: embeddings float [n, dim], labels int64 [n]; a scalar, float32."""
        embeddings = embeddings.float()
        logits = self.logits(embeddings)
        if logits is not None and self.name in ("softmax", "cosine-margin"):
            if self.name == "cosine-margin":
                own = nn.functional.one_hot(labels, logits.shape[1])
                logits = logits - self.scale * self.margin * own
            return nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        pairs = self.miner(embeddings, labels) if self.miner is not None else None
        value: torch.Tensor = self.inner(embeddings, labels, pairs)
        return value

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor | None:
        """Scores [n, classes], highest for the likeliest label; None without a classifier."""
        embeddings = embeddings.float()
        if self.classifier is not None:
            scores: torch.Tensor = self.classifier(embeddings)
            return scores
        if self.name == "cosine-margin":
            centres = self.centres
        elif self.name == "proxy-anchor":
            centres = self.inner.proxies
        else:
            return None
        normal = nn.functional.normalize
        return self.scale * normal(embeddings, dim=1) @ normal(centres, dim=1).T
