"""Backbones of timm as image encoders: their own features, on images in the range that they were published for."""

from __future__ import annotations

import pytest
import timm
import torch

from cospace.modalities.image.processing import ImageProcessor
from cospace.models import libraries
from cospace.models.encoders import timm as encoder
from cospace.types import ImageSpec, UserError


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_features_are_those_of_timm_on_its_own_preparation(name: str) -> None:
    torch.manual_seed(0)
    made = encoder.Config(model=name).build(ImageSpec(96)).eval()
    raw = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    theirs = ImageProcessor(size=96, mean=made.backbone.default_cfg["mean"], std=made.backbone.default_cfg["std"])
    with torch.inference_mode():
        features = made(ImageProcessor(size=96).normalise(raw))
        expected = made.backbone(theirs.normalise(raw))
    torch.testing.assert_close(features.pooled_BD, expected, rtol=1e-4, atol=1e-5)
    assert features.tokens_BTD.shape[2] == made.width


def test_an_unknown_name_is_one_sentence() -> None:
    assert timm.is_model("resnet18")
    with pytest.raises(UserError, match="timm has no model 'resnet_18'; it has .*resnet"):
        encoder.Config(model="resnet_18").build(ImageSpec(64))


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(libraries.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"needs the library timm; pip install 'cospace\[timm\]'"):
        encoder.Config().build(ImageSpec(64))
