"""CutMix: a piece of one photo in another, and both labels (Yun et al., 2019)."""

import numpy as np
import torch

from deepfood.train.feed import to_device


def cutmix(
    pixels: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Paste the same box of another photo of the batch into each: pixels uint8 [n, side, side, 3].

    Returns the mixed pixels, the labels int64 [n] of the pasted pieces, and the share of each
    photo, 0 to 1, that is still its own. The share is drawn evenly, and exact for the box.
    """
    side = pixels.shape[1]
    cut = np.sqrt(1 - rng.random())
    centre = rng.integers(0, side, 2)
    low, high = (np.clip(centre + sign * round(side * cut / 2), 0, side) for sign in (-1, 1))
    order = to_device(torch.from_numpy(rng.permutation(len(pixels))), pixels.device)
    box = (slice(None), slice(low[0], high[0]), slice(low[1], high[1]))
    mixed = pixels.clone()
    mixed[box] = pixels[order][box]
    return mixed, labels[order], 1 - float(np.prod(high - low)) / side**2
