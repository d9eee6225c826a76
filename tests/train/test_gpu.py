"""What is done for GPUs, as far as a machine without one can tell; one with one tells the rest."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from small import outcome

from deepfood.errors import TrainingError
from deepfood.train.async_scalars import AsyncScalars
from deepfood.train.gradients import gradients
from deepfood.train.recipe import DEEPFOOD, ORIGINAL
from deepfood.train.run import Task, open_training

Make = Callable[..., Task]


@pytest.mark.parametrize(
    ("photos", "batch"), [(10, 32), (3_199, 32), (3_200, 64), (10_000, 128), (118_000, 256)]
)
def test_larger_batches_where_there_are_photos_enough(photos: int, batch: int) -> None:
    scaled = DEEPFOOD.for_gpu(photos)
    times = batch / DEEPFOOD.batch
    assert scaled.batch == batch
    assert scaled.lr == pytest.approx(DEEPFOOD.lr * times**0.5)
    # After as many photos, as much of the average is gone.
    assert scaled.ema_decay == pytest.approx(DEEPFOOD.ema_decay**times)
    assert (
        scaled.with_changes(lr=1.0, batch=2).model_dump()
        == DEEPFOOD.with_changes(lr=1.0, batch=2, ema_decay=scaled.ema_decay).model_dump()
    )


def test_what_was_named_is_left_as_it_is() -> None:
    for named in ({"batch": 64}, {"lr": 0.01}):
        recipe = DEEPFOOD.with_changes(**named)
        assert recipe.for_gpu(10**6) == recipe
    assert DEEPFOOD.with_changes(batch=None, epochs=3).for_gpu(10**6).batch == 256
    assert ORIGINAL.for_gpu(10**6) == ORIGINAL


@pytest.mark.parametrize("parts", [2, 3, 4, 100])
def test_gradients_in_parts_are_those_of_the_whole(parts: int) -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(5, 3)

    def learner(rows: torch.Tensor, labels: torch.Tensor, share: float) -> torch.Tensor:
        return share * torch.nn.functional.cross_entropy(network(rows), labels)

    batch = [torch.rand(8, 5), torch.arange(8) % 3, 0.5]
    found = []
    for count in (1, parts):
        network.zero_grad()
        loss = gradients(learner, batch, torch.Tensor.backward, parts=count)
        found.append([loss, *(weight.grad.clone() for weight in network.parameters())])
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(*found, strict=True))


def small_memory(training: object, photos: int) -> None:
    """A GPU whose memory holds so many photos: there is none here to fill."""
    forward = training.state.learner.forward  # type: ignore[attr-defined]

    def full(pixels: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(pixels) > photos:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(pixels, *rest)  # type: ignore[no-any-return]

    training.state.learner.forward = full  # type: ignore[attr-defined]


def test_a_full_memory_halves_what_is_computed_at_once(task: Make) -> None:
    said: list[str] = []

    def trained(one: Task, stop_after: int = 0) -> dict[str, object]:
        with open_training(one, said.append) as training:
            small_memory(training, 2)

            def stop(record: dict[str, float], best: bool) -> None:
                if record["epoch"] == stop_after:
                    raise KeyboardInterrupt

            training.run(stop)
            assert training.progress.parts == 4
            return outcome(training)

    whole = task(epochs=2, patience=0)
    expected = trained(whole)
    assert [line for line in said if "memory" in line] == [
        "the GPU's memory is full: batches of 8 are computed in 2 parts from now on",
        "the GPU's memory is full: batches of 8 are computed in 4 parts from now on",
    ]
    stopped = replace(whole, out=whole.out.with_name("stopped"))
    with pytest.raises(KeyboardInterrupt):
        trained(stopped, stop_after=1)
    said.clear()
    assert trained(stopped) == expected
    assert not [line for line in said if "memory" in line]  # it knows by now


def test_a_memory_that_is_too_small_is_named(task: Make) -> None:
    with open_training(task()) as training:
        small_memory(training, 1)
        with pytest.raises(TrainingError) as caught:
            training.run(lambda record, best: None)
    assert "too small for 8 photos of 32 pixels" in str(caught.value)
    assert "give a smaller --batch" in str(caught.value)


def test_numbers_come_in_order_and_all_when_asked_for() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers, came = AsyncScalars(device), list[Any]()
    for number in range(5):
        numbers.add(torch.tensor(float(number), device=device))
        came += numbers.ready(all_of_them=False)
        assert len(came) + len(numbers) == number + 1
    came += numbers.ready(all_of_them=True)
    assert came == [0, 1, 2, 3, 4]


def test_a_loss_that_is_no_number_under_bf16_names_the_other_way(task: Make) -> None:
    with open_training(task(precision="bf16")) as training:
        with torch.no_grad():
            next(training.state.learner.backbone.parameters()).fill_(torch.inf)
        with pytest.raises(TrainingError, match="or give --precision f32"):
            training.run(lambda record, best: None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_same_seed_is_the_same_training(task: Make) -> None:
    found = []
    for name in ("one", "two"):
        one = task(device="cuda", batch=8)
        with open_training(replace(one, out=one.out.with_name(name))) as training:
            training.run(lambda record, best: None)
            found.append(training.best_weights())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
