"""Training learns, goes on where it was killed, and refuses what would mix two trainings."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deepfood.artifacts import sha256_of_file
from deepfood.data.photos import list_photos
from deepfood.data.splits import split_photos
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactFormatError,
    DatasetError,
    DiskFullError,
    SettingError,
    TrainingError,
)
from deepfood.evaluate.gate import FIGURES, MEANS
from deepfood.model import open_model
from deepfood.train import checkpoint
from deepfood.train.backbone import create_backbone
from deepfood.train.checkpoint import BEST, GIVEN, LAST, TENSORBOARD, TRAINING
from deepfood.train.hardware import Hardware, bf16_pays
from deepfood.train.loop import Training
from deepfood.train.losses import LOSSES
from deepfood.train.recipe import DEEPFOOD, ORIGINAL
from deepfood.train.run import Task, open_training, train_model
from deepfood.train.tensorboard import Board
from deepfood.train.write_model import write_trained
from dishes import LABELS, write_dishes
from plates import build, tiny_embedder, write_photos

Make = Callable[..., Task]


def run(task: Task) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """The figures of each epoch but its time, and the best epoch's weights."""
    with open_training(task) as training:
        training.run(lambda record, best: None)
        return figures(training), training.best_weights()


def figures(training: Training) -> list[dict[str, float]]:
    return [
        {name: value for name, value in record.items() if name != "seconds"}
        for record in training.progress.records
    ]


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name


def test_training_learns_and_keeps_the_best_epoch(task: Make) -> None:
    easy = task(epochs=12, loss="softmax", lr=0.02, patience=0, augmentation="plain", crop_area=0.5)
    with open_training(easy) as training:
        seen: list[bool] = []
        training.run(lambda record, best: seen.append(best))
        at = training.progress
        records = at.records
    assert len(records) == 12
    assert records[-1]["loss"] < records[0]["loss"] * 0.8
    assert records[-1]["top-1"] > 0.6
    scores = [record["mAP@R"] for record in records]
    assert at.best == max(scores)
    assert at.best_epoch == scores.index(max(scores)) + 1
    assert seen == [score > max(scores[:i], default=-1) for i, score in enumerate(scores)]
    assert all(0 <= record["top-1"] <= record["top-3"] <= 1 for record in records)


def test_the_same_seed_is_the_same_training_with_any_number_of_workers(task: Make) -> None:
    one, weights = run(task(workers=1, out=None))
    other = replace(task(workers=3), out=task().out.with_name("other"))
    again, same_weights = run(other)
    assert one == again
    assert_same(weights, same_weights)
    third = replace(task(seed=1), out=task().out.with_name("third"))
    assert run(third)[0] != one


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(loss: str, task: Make) -> None:
    records, _ = run(task(loss=loss, epochs=1, batch=12))
    assert set(records[0]) >= {"loss", "val loss", "top-1", "top-3", "precision@1", "mAP@R"}
    assert records[0]["loss"] > 0


def test_a_network_with_dropout_and_no_averages_goes_on_exactly(task: Make) -> None:
    """The original's recipe; killed between two epochs by an exception."""
    small = ORIGINAL.with_changes(epochs=3, batch=8, image_size=160)
    whole = replace(task(backbone="test_vit"), recipe=small)
    expected, weights = run(whole)
    assert [record["lr"] for record in expected] == pytest.approx([1e-4, 1e-5, 5e-6])

    broken = replace(whole, out=whole.out.with_name("stopped"))

    def stop(record: dict[str, float], best: bool) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with open_training(broken) as training, pytest.raises(KeyboardInterrupt):
            training.run(stop)
    records, same_weights = run(broken)
    assert records == expected
    assert_same(weights, same_weights)


def test_killed_in_the_middle_of_an_epoch_it_ends_with_the_same_numbers(
    task: Make, dishes: Path
) -> None:
    whole = task(epochs=3, patience=0)
    expected, weights = run(whole)
    out = whole.out.with_name("killed")
    command = [sys.executable, "-m", "deepfood.cli", "train", str(dishes), "--out", str(out)]
    command += ["--backbone", "test_resnet", "--weights", "none", "--image-size", "32"]
    command += ["--batch", "8", "--epochs", "3", "--patience", "0", "--val-share", "0.2"]
    command += ["--checkpoint-every", "0", "--threads", "2", "--device", "cpu"]
    last = out / TRAINING / LAST
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,  # type: ignore[arg-type]
    )
    deadline = time.monotonic() + 120
    while not last.is_file():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    at = torch.load(last, weights_only=True)["progress"]
    assert at["step"] > 0
    assert at["epoch"] < 3
    said: list[str] = []
    resumed = replace(whole, out=out)
    with open_training(resumed, said.append) as training:
        assert training.progress.step == at["step"]
        training.run(lambda record, best: None)
        assert figures(training) == expected
        assert_same(weights, training.best_weights())
    assert f"resuming at epoch {at['epoch'] + 1}, step {at['step'] + 1}" in said[-1]
    with open_training(resumed, said.append) as training:
        assert training.finished
    assert "is complete; --fresh would train again" in said[-1]


def test_a_checkpoint_of_another_training_is_refused(task: Make, tmp_path: Path) -> None:
    run(task(epochs=1))
    other = write_dishes(tmp_path, each=5)
    for changed, named in (
        (task(epochs=1, backbone="test_efficientnet"), "its backbone is 'test_resnet'"),
        (task(epochs=2), "its recipe's epochs is 1, and now it is 2"),
        (task(epochs=1, lr=0.5), "its recipe's lr is"),
        (task(epochs=1, image_size=64), "image size is 32, and now it is 64"),
        (task(other, epochs=1), "its dataset is"),
    ):
        with (
            pytest.raises(TrainingError, match="another training") as caught,
            open_training(changed),
        ):
            pass
        assert named in str(caught.value)
        assert "--fresh" in str(caught.value)
        assert "\n" not in str(caught.value)
    with open_training(task(epochs=2, fresh=True)) as training:
        assert training.progress.epoch == 0


def test_a_checkpoint_of_another_format_is_refused_before_any_work(task: Make) -> None:
    begun = task(epochs=2)
    run(begun)
    last = begun.out / TRAINING / LAST
    state = torch.load(last, weights_only=True)
    for changed, named in (({}, "format 1"), ({"format": 99}, "format 99")):
        torch.save({**{k: v for k, v in state.items() if k != "format"}, **changed}, last)
        with pytest.raises(TrainingError, match=named) as caught, open_training(begun):
            pass
        assert str(last) in str(caught.value)
        assert "start again with --fresh" in str(caught.value)
        assert "\n" not in str(caught.value)
    with open_training(replace(begun, fresh=True)) as training:
        assert training.progress.epoch == 0


def test_a_damaged_checkpoint_is_named(task: Make) -> None:
    last = task().out / TRAINING / LAST
    last.parent.mkdir(parents=True)
    last.write_bytes(b"PK\x03\x04 half a checkpoint")
    with (
        pytest.raises(TrainingError, match=r"last\.pt is damaged .*--fresh"),
        open_training(task()),
    ):
        pass


def test_a_checkpoint_with_a_flipped_bit_is_named(task: Make) -> None:
    """torch.load alone would take it: the bit is in a weight."""
    run(task(epochs=1))
    last = task().out / TRAINING / LAST
    contents = bytearray(last.read_bytes())
    contents[len(contents) // 2] ^= 0x10
    last.write_bytes(contents)
    assert torch.load(last, weights_only=True)["progress"]["epoch"] == 1
    with (
        pytest.raises(
            TrainingError, match=r"last\.pt is damaged .*differs from its CRC-32.*--fresh"
        ),
        open_training(task(epochs=1)),
    ):
        pass


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(task: Make) -> None:
    good = task(epochs=3, patience=0)

    def stop(record: dict[str, float], best: bool) -> None:
        raise KeyboardInterrupt

    with open_training(good) as training, pytest.raises(KeyboardInterrupt):
        training.run(stop)
    before = (good.out / TRAINING / LAST).read_bytes()
    with open_training(good) as training:
        with torch.no_grad():  # as weights that have grown beyond all bounds
            next(training.state.learner.backbone.parameters()).fill_(torch.inf)
        with pytest.raises(TrainingError) as caught:
            training.run(stop)
    assert "the loss is nan at epoch 2, step 1: lower --lr (it is 0.003)" in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert (good.out / TRAINING / LAST).read_bytes() == before


def test_too_high_a_learning_rate_ends_as_such(task: Make) -> None:
    wild = task(epochs=4, lr=10, loss="softmax", patience=0)
    wild = replace(wild, recipe=wild.recipe.model_copy(update={"lr": 1e30}))
    with open_training(wild) as training, pytest.raises(TrainingError, match="lower --lr"):
        training.run(lambda record, best: None)


def test_it_stops_early_and_stays_stopped(task: Make) -> None:
    patient = task(epochs=40, patience=2, lr=1e-7)
    with open_training(patient) as training:
        training.run(lambda record, best: None)
        at = training.progress
        assert training.stopped_early
        assert at.epoch == at.best_epoch + 2 < 40
    with open_training(patient) as training:
        assert training.finished


def test_tensorboard_has_every_figure_of_every_epoch_once(task: Make) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    three = task(epochs=3, patience=0)

    def stop(record: dict[str, float], best: bool) -> None:
        raise KeyboardInterrupt

    # Stopped after the first epoch's checkpoint, before its points; then after the second's points.
    with open_training(three) as training, pytest.raises(KeyboardInterrupt):
        training.run(stop)
    with pytest.raises(KeyboardInterrupt):
        train_model(three, on_epoch=stop)
    done = train_model(three)
    assert done.manifest is not None
    curves = EventAccumulator(str(three.out / TRAINING / TENSORBOARD)).Reload()
    names = [name for name in done.records[0] if name != "epoch"]
    assert set(curves.Tags()["scalars"]) == {name.replace("@", "_at_") for name in names}
    for name in names:
        points = [(one.step, one.value) for one in curves.Scalars(name.replace("@", "_at_"))]
        expected = [(record["epoch"], record[name]) for record in done.records]
        assert points == [(step, pytest.approx(value)) for step, value in expected], name


def test_a_full_disk_at_tensorboards_curves_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its writing thread dies of it too, which pytest would report.
    monkeypatch.setattr("threading.excepthook", lambda about: None)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    board = Board.open(tmp_path, True, [])
    for event_file in (tmp_path / TENSORBOARD).iterdir():  # opened anew for each write
        # In one step: its thread would make the file anew in between.
        (tmp_path / "full").symlink_to(full)
        (tmp_path / "full").replace(event_file)
    with pytest.raises(DiskFullError, match="no space left on the disk of"), board:
        board.write({"epoch": 1.0, "loss": 0.5})


def test_two_trainings_into_one_folder(task: Make) -> None:
    with (
        open_training(task()),
        pytest.raises(ArtifactBusyError, match="in use by another training"),
        open_training(task()),
    ):
        pass


def test_broken_photos_in_the_middle_of_an_epoch(task: Make, tmp_path: Path) -> None:
    photos = write_dishes(tmp_path / "photos")
    (photos / "07.jpg").write_bytes((photos / "07.jpg").read_bytes()[:300])
    (photos / "08.jpg").write_bytes(b"")
    (photos / "11.jpg").write_text("no picture")
    with open_training(task(photos, epochs=3, patience=0)) as training:
        training.run(lambda record, best: None)
        broken = training.gather_broken()
        assert len(training.progress.records) == 3
        learned = training.gather_learned()
    assert set(broken) == {"07.jpg", "08.jpg", "11.jpg"}
    assert "damaged" in broken["07.jpg"]
    assert "empty" in broken["08.jpg"]
    assert "not JPEG" in broken["11.jpg"]
    good = [file.file for file in training.train.files if file.file not in broken]
    assert learned == {name: sha256_of_file(photos / name) for name in sorted(good)}
    assert len(good) < len(training.train)


def test_photos_that_are_deleted_meanwhile_were_learned_from(task: Make, tmp_path: Path) -> None:
    photos = write_dishes(tmp_path / "photos")
    first = task(photos, epochs=2, patience=0)
    ids = {photo.file: sha256_of_file(photos / photo.file)[:20] for photo in first.splits.train}
    gone = list(ids)[3:6]

    def delete(record: object, best: bool) -> None:
        (photos / gone.pop()).unlink()

    train_model(first, on_epoch=delete)
    assert len(gone) == 1, "one was deleted after each epoch"
    assert open_model(first.out).trained_on == set(ids.values())

    # Finished, and exported again when even more are gone.
    for name in list(ids)[:3]:
        (photos / name).unlink(missing_ok=True)
    train_model(first)
    assert open_model(first.out).trained_on == set(ids.values())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that a training starts from, as somebody's pretraining would leave them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(create_backbone("test_resnet").state_dict(), path)
    return path


def with_given(task: Task, out: Path, figure: float) -> Task:
    """The finished training again, elsewhere, as if the given network had found so much."""
    shutil.copytree(task.out / TRAINING, out / TRAINING)
    path = out / TRAINING / GIVEN
    state = torch.load(path, weights_only=True)
    state["figures"] = state["figures"] | {
        name: 0 * state["figures"][name] + figure for name in MEANS
    }
    torch.save(state, path)
    return replace(task, out=out)


def test_a_model_that_is_worse_than_what_it_was_made_from_is_refused(
    task: Make, weights: Path, tmp_path: Path
) -> None:
    first = task(epochs=1, weights=str(weights), even_if_worse=True)
    done = train_model(first)
    assert set(MEANS) <= set(done.compared) <= set(FIGURES)  # type: ignore[arg-type]
    before = {name: one.before for name, one in done.compared.items()}
    other = train_model(task(out=tmp_path / "b", epochs=1, lr=1.0, weights=str(weights)))
    assert {name: one.before for name, one in other.compared.items()} == before

    worse = with_given(first, tmp_path / "worse", 1.0)
    refused = train_model(replace(worse, even_if_worse=False))
    assert refused.manifest is None
    assert "it is worse on the validation photos than before training: mAP 0." in refused.refused  # type: ignore[operator]
    assert not (worse.out / "manifest.json").exists()
    written = train_model(worse).manifest
    assert written.training["notes"][-1].startswith("worse than before training: mAP 0.")
    assert written.training["compared"]["mAP"]["before"] == 1  # type: ignore[call-overload]
    assert "| mAP | 1.000 | 0." in (worse.out / "README.md").read_text(encoding="utf-8")

    better = train_model(replace(with_given(first, tmp_path / "better", 0.0), even_if_worse=False))
    assert better.refused is None
    assert not any("worse" in note for note in better.manifest.training["notes"])  # type: ignore[operator]


def test_the_photos_that_judge_have_not_chosen_the_epoch(
    task: Make, weights: Path, tmp_path: Path
) -> None:
    photos = write_dishes(tmp_path / "photos", each=26)
    half = split_photos(list_photos(photos), val_share=0.8)
    assert len(half.val) == 63
    begun = replace(task(photos, epochs=1, weights=str(weights), even_if_worse=True), splits=half)
    done = train_model(begun)
    assert done.judging_photos == 31
    record: Any = done.manifest.training  # type: ignore[union-attr]
    assert (record["dataset"]["choosing_photos"], record["dataset"]["judging_photos"]) == (32, 31)
    assert "32 validation photos choose the best epoch, and 31 others judge it" in record["notes"]
    with open_training(begun) as training:
        rows = training.val_rows
        assert sorted([*rows.choosing, *rows.judging]) == list(range(63))
        state: Any = torch.load(begun.out / TRAINING / BEST, weights_only=True)
        answers = {name: values.numpy() for name, values in state["figures"].items()}
        assert done.records[0]["precision@1"] == answers["precision@1"][rows.choosing].mean()
        assert done.compared["mAP"].after == answers["mAP"][rows.judging].mean()  # type: ignore[index]


@pytest.mark.slow
def test_a_label_that_lost_is_noted(task: Make, weights: Path, tmp_path: Path) -> None:
    """As if the given network had found all of one label, and nothing of the other."""
    photos = write_dishes(tmp_path / "photos", each=20)
    table = photos / "photos.csv"
    rows = table.read_text(encoding="utf-8").splitlines(keepends=True)
    of_two = [row for row in rows[1:] if row.strip().endswith(LABELS[:2])]
    table.write_text("".join([rows[0], *of_two]), encoding="utf-8")
    half = split_photos(list_photos(photos), val_share=0.7)
    begun = replace(task(photos, epochs=1, weights=str(weights)), splits=half)
    run(begun)
    given = with_given(begun, tmp_path / "given", 0.0)
    path = given.out / TRAINING / GIVEN
    state = torch.load(path, weights_only=True)
    found = torch.tensor([float(file.label == half.labels[0]) for file in half.val])
    state["figures"] |= {name: found.to(state["figures"][name]) for name in MEANS}
    torch.save(state, path)
    done = train_model(given)
    assert done.refused is None
    notes: Any = done.manifest.training["notes"]  # type: ignore[union-attr]
    (note,) = [one for one in notes if "lost" in one]
    assert note.startswith(f"labels that lost: {half.labels[0]} (mAP 0.")
    assert note.endswith(", before 1.000)")


def test_validation_photos_are_ranked_against_a_sample_of_many(
    task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.train.validate._GALLERY_LEAST", 8)
    lines: list[str] = []
    with open_training(task(), lines.append) as training:
        count = len(training.gallery)
        assert 8 <= count < len(training.train)
        sampled = training.train.labels[training.gallery]
        assert {*sampled} == {*training.train.labels}
    said = f"each epoch's validation photos are ranked against {count} of the training photos"
    assert any(line.startswith(said) for line in lines)


def test_few_validation_photos_choose_and_judge(task: Make, weights: Path) -> None:
    done = train_model(task(epochs=1, weights=str(weights), even_if_worse=True))
    count = len(task().splits.val)
    assert done.judging_photos == count < 60
    notes: Any = done.manifest.training["notes"]  # type: ignore[union-attr]
    assert any(note.startswith(f"the {count} validation photos choose") for note in notes)


def test_random_weights_are_nothing_to_be_worse_than(task: Make) -> None:
    done = train_model(task(epochs=1))
    assert (done.compared, done.refused) == (None, None)
    assert done.manifest.training["compared"] == {}


def test_what_nobody_can_tell_any_more_is_noted(task: Make, tmp_path: Path) -> None:
    """A process that was killed takes with it which photos it had learned from."""
    photos = write_dishes(tmp_path / "photos")
    first = task(photos, epochs=1)
    with open_training(first) as training:
        training.run(lambda record, best: None)
        names = [file.file for file in training.train.files]
        learned = training.gather_learned()
        del learned[names[0]], learned[names[1]]
        (photos / names[1]).unlink()
        made = write_trained(first.out, training, first.backbone, {}, learned, None, ["a note"])
    kept = [sha256_of_file(photos / name)[:20] for name in names if name != names[1]]
    assert open_model(first.out).trained_on == set(kept)
    notes: Any = made.training["notes"]
    note, told = notes
    assert note == "a note"
    assert told.startswith(f"training photos that are gone, {names[1]} among them: 1;")


def test_photos_that_are_all_broken(task: Make, tmp_path: Path) -> None:
    photos = write_dishes(tmp_path / "photos")
    for path in photos.glob("*.jpg"):
        path.write_bytes(b"")
    with (
        open_training(task(photos)) as training,
        pytest.raises(DatasetError, match=r"training photos .* cannot be read"),
    ):
        training.run(lambda record, best: None)


def test_hardware_that_is_not_there(task: Make) -> None:
    for device, said in (("tpu", "known are"), ("cuda", "finds none here")):
        if device == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(SettingError, match=said), open_training(task(device=device)):
            pass
    assert bf16_pays("mps") is False


def test_a_gallery_does_not_become_a_model(task: Make, tmp_path: Path) -> None:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "few", 2), out, tiny_embedder(tmp_path / "tiny"))
    refused = pytest.raises(ArtifactFormatError, match="is a gallery: give another folder with --o")
    with refused, open_training(task(out=out)):
        pass
    assert not (out / TRAINING).exists()


def test_a_batch_that_processes_cannot_divide_is_refused() -> None:
    third = Hardware(SimpleNamespace(num_processes=3, process_index=2), bf16=False)
    assert third.share(9) == slice(6, 9)
    with pytest.raises(SettingError, match="--batch 8 cannot be divided among 3 processes"):
        third.share(8)


def test_a_number_out_of_bounds_is_named_as_its_option() -> None:
    with pytest.raises(SettingError, match=r"--weight-decay 2: .* less than or equal to 1"):
        DEEPFOOD.with_changes(weight_decay=2)


def test_bf16_computes_near_f32(task: Make) -> None:
    f32, _ = run(task(epochs=1, precision="f32"))
    other = task(epochs=1, precision="bf16")
    bf16, _ = run(replace(other, out=other.out.with_name("bf16")))
    assert bf16 != f32
    assert bf16[0]["loss"] == pytest.approx(f32[0]["loss"], rel=0.05)


_FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = json.loads(sys.argv[2])
from deepfood.errors import DiskFullError
from deepfood.train import checkpoint
path = Path(sys.argv[1])
from limited import limit
checkpoint.save(path, {"identity": {"run": 1}, "weights": torch.zeros(1000)})
before = path.read_bytes()
limit(resource.RLIMIT_FSIZE, 100_000)
try:
    checkpoint.save(path, {"identity": {"run": 1}, "weights": torch.zeros(100_000)})
except DiskFullError as error:
    print(error)
assert path.read_bytes() == before
print(len(checkpoint.load(path, {"run": 1})["weights"]))
"""


def test_a_full_disk_at_a_checkpoint_keeps_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "training" / LAST
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, path, json.dumps(sys.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, count = done.stdout.splitlines()
    assert "no space left on the disk of" in said
    assert str(path) in said
    assert count == "1000"


def test_the_best_checkpoint_is_gone(task: Make) -> None:
    with open_training(task(epochs=1)) as training:
        training.run(lambda record, best: None)
        (training.checkpoints.folder / BEST).unlink()
        with pytest.raises(TrainingError, match=r"best\.pt is gone: start again with --fresh"):
            training.best_weights()


def test_checkpoints_hold_tensors_and_plain_values_only(task: Make) -> None:
    run(task(epochs=1))
    for name in (LAST, BEST):
        state = torch.load(task().out / TRAINING / name, weights_only=True)
        assert state["identity"]["backbone"] == "test_resnet"
    assert checkpoint.load(task().out / "nothing", {}) is None
