"""Networks of timm get the pixels that timm's own transform gives them."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform, resolve_data_config  # type: ignore[attr-defined]
from timm.models import get_pretrained_cfg
from torch import nn

from deepfood.errors import SettingError
from deepfood.photo import read_pixels
from deepfood.train.backbone import create_backbone, preprocess_of
from samples import LIMITS, encode

SIZES = [(1, 200), (37, 211), (900, 30), (500, 333), (64, 64)]


def named(name: str, **changes: Any) -> nn.Module:
    """Something that says of itself what timm's network of that name says."""
    network = nn.Module()
    about: Any = network
    about.pretrained_cfg = get_pretrained_cfg(name).to_dict() | changes
    return network


@pytest.mark.parametrize(
    ("network", "resize", "size"),
    [
        (named("resnet34.tv_in1k"), "shortest", 224),
        (named("resnet50.a1_in1k"), "shortest", 224),  # 0.95 of 235 pixels, which is not 224
        (named("tf_efficientnet_lite2.in1k"), "shortest", 260),  # 0.89 of 292
        (named("vit_small_patch14_dinov2.lvd142m"), "shortest", 518),
        (named("dm_nfnet_f0.dm_in1k"), "squash", 192),  # 0.9 of 213 pixels a side
        (named("resnet34.tv_in1k", crop_mode="border"), "pad", 224),
        (named("vit_so400m_patch14_siglip_378.webli_ft_in1k"), "squash", 378),
        (named("resnet34.tv_in1k", crop_pct=None, crop_mode=None), "shortest", 224),
    ],
)
def test_a_network_sees_what_timm_lets_it_see(network: Any, resize: str, size: int) -> None:
    preprocess = preprocess_of(network)
    assert (preprocess.resize, preprocess.size) == (resize, size)
    said = resolve_data_config({}, pretrained_cfg=network.pretrained_cfg)
    theirs = create_transform(**said, normalize=False)
    assert preprocess.mean == pytest.approx(said["mean"])
    assert preprocess.std == pytest.approx(said["std"])
    rng = np.random.default_rng(0)
    # Of the thin strips, padding would leave a side of no pixel at all, which is an error there.
    for width, height in SIZES if resize != "pad" else [(37, 211), (500, 333)]:
        photo = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        found = read_pixels(encode(photo, "PNG"), preprocess, LIMITS)
        assert np.array_equal(found, theirs(photo).numpy().transpose(1, 2, 0)), (width, height)


def test_another_size_is_resized_as_timm_would() -> None:
    network = named("resnet50.a1_in1k")
    preprocess = preprocess_of(network, 100)
    theirs = create_transform(
        **resolve_data_config({"input_size": (3, 100, 100)}, network.pretrained_cfg),
        normalize=False,
    )
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (211, 137, 3), np.uint8))
    found = read_pixels(encode(photo, "PNG"), preprocess, LIMITS)
    assert np.array_equal(found, theirs(photo).numpy().transpose(1, 2, 0))


def test_networks_that_a_model_cannot_hold_are_refused() -> None:
    with pytest.raises(SettingError, match=r"takes 518 pixels only"):
        preprocess_of(named("vit_small_patch14_dinov2.lvd142m"), 224)
    with pytest.raises(SettingError, match=r"takes photos of \d+ x \d+ pixels"):
        preprocess_of(named("vit_base_patch16_sapiens2.fb"))


def test_a_network_that_timm_lacks_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"has no backbone 'resnet43': did you mean resnet34"):
        create_backbone("resnet43")
    with pytest.raises(SettingError, match=r"has no backbone '~': see timm\.list_models\(\)"):
        create_backbone("~")
    with pytest.raises(SettingError, match=r"backbone 'resnet34\.no_such': .*no_such") as told:
        create_backbone("resnet34.no_such")
    assert "\n" not in str(told.value)
