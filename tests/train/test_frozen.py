"""A pretrained backbone's first stages stay as they came, and photos may be smaller in training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deepfood.errors import TrainingError
from deepfood.train.backbone import create_backbone, first_stages, without_classifier
from deepfood.train.recipe import DEEPFOOD, ORIGINAL
from deepfood.train.run import Task, open_training

Make = Callable[..., Task]


@pytest.fixture
def pretrained(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A weights file of `test_resnet`, and its tensors."""
    torch.manual_seed(3)
    tensors = create_backbone("test_resnet").state_dict()
    path = tmp_path / "weights.pth"
    torch.save(tensors, path)
    return path, tensors


def trained(task: Task) -> dict[str, torch.Tensor]:
    with open_training(task) as training:
        training.run(lambda record, best: None)
        return training.state.learner.backbone.state_dict()


def test_frozen_stages_stay_and_the_others_learn(
    task: Make, pretrained: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    path, before = pretrained
    after = trained(task(weights=str(path), frozen_share=0.4, epochs=1))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    frozen = {name for name in after if name.startswith(("conv1.", "bn1.", "layer1."))}
    assert frozen  # the stem and the first stage, running means of their norms included
    assert not changed & frozen
    # Every other weight and every norm's counter moved.
    assert changed == set(after) - frozen


def test_random_weights_all_learn(task: Make) -> None:
    with open_training(task(weights="none", frozen_share=0.4, epochs=1)) as training:
        assert training.state.learner.frozen == ()
        assert all(weight.requires_grad for weight in training.state.learner.parameters())


def test_the_last_stage_is_never_frozen() -> None:
    network = create_backbone("test_resnet")
    without_classifier(network)
    names = first_stages(network, 0.99)
    assert any(name.startswith("layer3") for name in names)
    assert not any(name.startswith("layer4") for name in names)


def test_another_number_of_frozen_stages_is_another_training(
    task: Make, pretrained: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    trained(task(weights=str(pretrained[0]), frozen_share=0.4, epochs=1))
    with (
        pytest.raises(TrainingError, match="frozen_share"),
        open_training(task(weights=str(pretrained[0]), frozen_share=0.2, epochs=1)),
    ):
        pass


@pytest.mark.parametrize(
    ("share", "size", "seen"),
    [(1.0, 224, 224), (0.857, 224, 192), (0.857, 240, 192), (0.5, 32, 32), (1.0, 75, 75)],
)
def test_training_size(share: float, size: int, seen: int) -> None:
    assert DEEPFOOD.with_changes(training_pixels=share).training_size(size) == seen


def test_the_original_trains_every_layer_at_full_size() -> None:
    assert (ORIGINAL.frozen_share, ORIGINAL.training_pixels) == (0, 1.0)
