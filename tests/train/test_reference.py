"""`model check --against`: a Model beside the encoder in the library that it is from."""

import json
import sys
from pathlib import Path

import pytest
import transformers

from deepfood.cli import main
from deepfood.errors import MissingExtraError, SettingError
from deepfood.get_model import get_model, look_up
from deepfood.train.export_hub import with_graphs
from deepfood.train.reference import open_reference
from hub_folders import hub_clip, hub_dino, lively, open_clip_folder, timm_folder


def model_of(folder: Path) -> Path:
    out = folder.with_name(f"{folder.name}-model")
    offer = look_up(str(folder), folder.parent / "cache")
    get_model(offer, out, export=with_graphs, quiet=True)
    return out


def save_weights(folder: Path, seed: int) -> None:
    """Those that the graphs in the folder were made with, for seed 0."""
    config = transformers.AutoConfig.from_pretrained(folder)
    lively(transformers.AutoModel.from_config(config), seed).save_pretrained(folder)  # type: ignore[operator]


def check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["deepfood", "model", "check", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code)), capsys.readouterr().out


def test_a_model_agrees_with_its_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clip"
    hub_clip(folder)
    save_weights(folder, 0)
    model = model_of(folder)
    against = ("--against", f"transformers:{folder}")
    code, printed = check(monkeypatch, capsys, model, *against, "--json")
    found = json.loads(printed)["against"]
    assert min(found["photos"], found["words"]) > 0.9999
    assert code == 0
    save_weights(folder, 1)
    code, printed = check(monkeypatch, capsys, model, *against)
    assert code == 1
    assert f"to transformers:{folder}" in printed


def test_an_encoder_of_photos_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "dino"
    hub_dino(folder, 2)
    save_weights(folder, 0)
    model = model_of(folder)
    code, printed = check(monkeypatch, capsys, model, "--against", f"transformers:{folder}")
    assert code == 0
    assert "photos: cosine 1.0000" in printed.splitlines()[-1]
    assert "words" not in printed
    config = transformers.AutoConfig.from_pretrained(folder, hidden_size=32)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    monkeypatch.setattr(
        sys,
        "argv",
        ["deepfood", "model", "check", str(model), "--against", f"transformers:{folder}"],
    )
    with pytest.raises(SystemExit):
        main()
    assert (
        "gives 32 numbers, but the Model 64: they are different networks" in capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["", "clip", "timm:x", "open_clip:", "open_clip:no-such/thing"])
def test_what_no_library_opens(name: str) -> None:
    with pytest.raises(SettingError, match="name open_clip:NETWORK/WEIGHTS") as caught:
        open_reference(name)
    assert "\n" not in str(caught.value)


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(SettingError, match="needs the package open_clip_torch"):
        open_reference("open_clip:ViT-B-32/openai")


def test_weights_of_open_clip_are_exported_and_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clip"
    open_clip_folder(folder, "clip")
    model = model_of(folder)
    code, printed = check(monkeypatch, capsys, model, "--against", f"open_clip:{folder}", "--json")
    found = json.loads(printed)["against"]
    assert min(found["photos"], found["words"]) > 0.9999
    assert code == 0


def test_without_torch_its_weights_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm_folder(tmp_path / "net", "test_resnet")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else 1)
    with pytest.raises(MissingExtraError, match=r"needs the package torch: .*\[train\]"):
        look_up(str(tmp_path / "net"), tmp_path / "cache")


def test_a_repository_that_open_clip_does_not_get_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SettingError, match="open_clip:hf-hub:o/n cannot be opened: ") as caught:
        open_reference("open_clip:hf-hub:o/n")
    assert "\n" not in str(caught.value)
