"""Batch norms of an untrained backbone take their statistics from images."""

import numpy as np
import torch
from torch import nn

from likewise.data import load_images, open_source
from likewise.inference import settle_norms
from likewise.models.resnet9 import ResNet9
from likewise.training.machine import Machine
from likewise.views import plain_view

CPU = Machine("cpu", bf16=False, compile=False, reason="test")


def test_features_are_on_the_scale_that_training_gives_them() -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 12, 12, 3), dtype=np.uint8)
    store = load_images(open_source(images), 12)
    torch.manual_seed(0)
    backbone = ResNet9(3, width=8)
    weights = [parameter.clone() for parameter in backbone.parameters()]
    settle_norms(backbone, store, CPU, 64, seed=0)
    assert all(torch.equal(*pair) for pair in zip(weights, backbone.parameters(), strict=True))
    assert {norm.momentum for norm in backbone.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}
    with torch.no_grad():
        batch = plain_view(store.read(np.arange(64)), torch.float32)
        trained, settled = backbone(batch), backbone.eval()(batch)
        untouched = ResNet9(3, width=8).eval()(batch)
    assert 0.9 < settled.norm(dim=1).mean() / trained.norm(dim=1).mean() < 1.1
    assert untouched.norm(dim=1).mean() / trained.norm(dim=1).mean() < 0.5
