"""CutMix pastes the same box into each photo, and says exactly how much of each is left."""

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepfood.train.mix import cutmix
from deepfood.train.run import Task, open_training


@given(st.integers(0, 2**32), st.integers(2, 9), st.integers(16, 48))
def test_the_share_is_that_of_the_pixels(seed: int, count: int, side: int) -> None:
    labels = torch.arange(count)
    pixels = labels.to(torch.uint8)[:, None, None, None].expand(count, side, side, 3)
    mixed, pasted, share = cutmix(pixels, labels, np.random.default_rng(seed))
    assert sorted(pasted.tolist()) == labels.tolist()
    assert 0 <= share <= 1
    for photo, own, other in zip(mixed, labels, pasted, strict=True):
        assert set(photo.unique().tolist()) <= {int(own), int(other)}
        if own != other:
            assert np.isclose((photo == own).float().mean(), share, atol=1e-6)


def test_the_loss_weighs_both_labels(task: Callable[..., Task]) -> None:
    with open_training(task(loss="softmax")) as training:
        learner = training.state.learner.eval()
        pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
        own, other = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 0, 1, 1])
        with torch.no_grad():
            mixed = learner(pixels, own, other, 0.75)
            apart = 0.75 * learner(pixels, own) + 0.25 * learner(pixels, other)
        assert torch.isclose(mixed, apart)


def test_mixed_batches_are_drawn_as_often_as_asked(task: Callable[..., Task]) -> None:
    seen: list[int] = []
    for loss, cutmix_share in (("softmax", 1.0), ("softmax", 0.0), ("supcon", 1.0)):
        with open_training(task(loss=loss, cutmix=cutmix_share, epochs=1, seed=2)) as training:
            count = 0
            forward = training.state.parallel.forward

            def watch(*batch: object, forward: Callable[..., torch.Tensor] = forward) -> object:
                nonlocal count
                count += len(batch) == 4
                return forward(*batch)

            training.state.parallel.forward = watch
            training.run(lambda record, best: None)
            training.checkpoints.folder.joinpath("last.pt").unlink()
            seen.append(count)
    assert seen[0] > 0
    assert seen[1:] == [0, 0]
