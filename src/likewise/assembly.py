"""From a recipe to modules, and from modules to a file and back."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from likewise.config import DataConfig, MethodChoice, Recipe, StageChoice
from likewise.data import ImageSource, ImageStore, load_images
from likewise.errors import InputError, unknown_name
from likewise.methods import METHODS, STAGES, BestOf, Method, MethodConfig, Parts
from likewise.models import Backbone, build_backbone
from likewise.runs.files import replacing
from likewise.tracks import OF_FILES

FROZEN, TRAINED = "frozen.", "method.encoder.backbone."  # how the names of a backbone's tensors begin


def image_store(source: ImageSource, data: DataConfig, channels: int = 0, strict: bool = False) -> ImageStore:
    """The images of a source as a recipe wants them in memory.

    Args:
        source: Any images, not only those that the recipe names.
        data: Of the recipe, with an `image_size`.
        channels: Used where the recipe has 0.
        strict: Stop at the first image that cannot be read.

    Raises:
        InputError: If none can be read, or, when strict, one cannot.
    """
    return load_images(
        source,
        data.image_size,
        memory_bytes=int(data.memory_gb * 2**30),
        strict=strict,
        channels=data.channels or channels or None,
        scaled_decoding=data.scaled_decoding,
    )


class Network(nn.Module):
    """A method and, where the backbone is frozen, that backbone before it.

    A frozen backbone stands outside of the method: its features are computed once, and the method, which then has the
    identity for a backbone, trains on them.

    Args:
        method: What is trained.
        frozen: What is not.
        track: Whether the backbone's weights saw labels.
    """

    def __init__(self, method: Method, frozen: Backbone | None = None, track: str = "unknown") -> None:
        super().__init__()
        self.method, self.frozen, self.track = method, frozen, track

    @property
    def backbone(self) -> nn.Module:
        """From images [B, C, H, W] in 0..1 to the features that `method.parts_of` takes."""
        return self.method.backbone if self.frozen is None else self.frozen

    def parts(self, images: Tensor) -> Parts:
        """Features, cluster logits and instance part of images [B, C, H, W] in 0..1."""
        return self.method.parts_of(self.backbone(images))

    def inference_state(self) -> dict[str, Tensor]:
        """The tensors that `parts` needs, by name."""
        state = {f"method.{name}": value for name, value in self.method.inference_state().items()}
        if self.frozen is not None:
            state |= {f"frozen.{name}": value for name, value in self.frozen.state_dict().items()}
        return {name: value.detach().cpu().contiguous() for name, value in state.items()}

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        from safetensors.torch import save_file

        with replacing(path) as temporary:
            # one entry only: of several, the order in the file is random, and equal runs would differ in it
            save_file(self.inference_state(), temporary, metadata={"track": self.track})


def method_config(recipe: Recipe) -> MethodConfig:
    """The validated settings of the recipe's method.

    Raises:
        InputError: If the method or one of its settings is unknown, or a value is not allowed.
    """
    if recipe.method.name not in METHODS:
        raise unknown_name("method", recipe.method.name, METHODS)
    return _validated(METHODS[recipe.method.name][0].Config, recipe.method)


def title(recipe: Recipe) -> str:
    """The method as tables call it, such as `"CDC"` or `"CDC + self-label"`."""
    return " + ".join(filter(None, (METHODS[recipe.method.name][0].__name__, recipe.stage.name)))


def stage_config(recipe: Recipe) -> MethodConfig | None:
    """The validated settings of the recipe's stage; None where it has none.

    Raises:
        InputError: If the stage or one of its settings is unknown, a value is not allowed, or it has nothing to start
            from.
    """
    if not recipe.stage.name:
        return None
    if recipe.stage.name not in STAGES:
        raise unknown_name("stage", recipe.stage.name, STAGES)
    if not recipe.model.start:
        raise InputError(f"{recipe.stage.name} goes on from a finished run; name it with --from RUN.")
    return _validated(STAGES[recipe.stage.name][0].Config, recipe.stage)


def _validated(config: type[MethodConfig], choice: MethodChoice | StageChoice) -> MethodConfig:
    try:
        return config.model_validate(choice.settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown_name(f"setting of {choice.name}", name, config.model_fields) from error
        message = f"{choice.name} setting {name} = {first.get('input')!r}: {first['msg'].lower()}."
        raise InputError(message) from error


def initial_weights(recipe: Recipe) -> str:
    """Where the backbone's first weights come from, as `build_backbone` takes it."""
    return "none" if recipe.model.start else recipe.model.weights


def build_network(recipe: Recipe) -> Network:
    """The network that a resolved recipe describes, with its initial weights.

    Args:
        recipe: With backbone, image size and channels decided. Where it starts from a run, its pretrained weights are
            not looked for: all weights are in that run's own file, see `start_from`.

    Raises:
        InputError: If a name or a setting is not usable.
        RunError: If weights cannot be had.
    """
    model, data = recipe.model, recipe.data
    weights = initial_weights(recipe)
    # the seed decides the weights, and whoever called keeps their own random state
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        stem, view_size = bool(model.small_stem), recipe.views.size
        track = OF_FILES[model.weights_saw]
        backbone = build_backbone(model.backbone, weights, data.channels, data.image_size, stem, view_size, track)
        trained = nn.Identity() if model.frozen else backbone
        method = _build_method(recipe, trained, backbone.num_features)
    frozen = backbone.eval().requires_grad_(False) if model.frozen else None
    return Network(method, frozen, backbone.track)


def _build_method(recipe: Recipe, backbone: nn.Module, num_features: int) -> Method:
    build: Any = METHODS[recipe.method.name][0]
    return build(backbone, num_features, recipe.method.num_clusters, method_config(recipe))


def build_trained(network: Network, recipe: Recipe) -> Method:
    """What is trained: the network's method, alone or as the first of several heads, or the recipe's stage."""
    config = stage_config(recipe)
    stage: Any = STAGES[recipe.stage.name][0] if config is not None else None
    if stage is not None:
        return stage(network.method, config)
    if network.frozen is None:
        return network.method
    width = network.frozen.num_features
    further = [new_head(recipe, width, number) for number in range(1, recipe.training.heads or 1)]
    return BestOf([network.method, *further]) if further else network.method


def new_head(recipe: Recipe, num_features: int, number: int) -> Method:
    """Another network of the same method on the same features; its weights follow from seed and number."""
    state = np.random.SeedSequence([recipe.training.seed, number]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(state >> np.uint64(1)))
        return _build_method(recipe, nn.Identity(), num_features)


def load_network(recipe: Recipe, path: Path) -> Network:
    """The network of a finished run, ready for inference.

    Args:
        recipe: Of that run.
        path: Its `model.safetensors`.

    Raises:
        InputError: If the file is not this network's.
    """
    bare = recipe.model_copy(deep=True)
    bare.model.weights = "none"  # all weights are in the run's own file
    method_config(bare)
    if bare.method.num_clusters < 2:
        raise InputError(f"recipe.toml beside {path} asks for {bare.method.num_clusters} clusters; it is damaged.")
    network = build_network(bare)
    state, network.track = _read_weights(path)
    own = network.inference_state()
    if own.keys() != state.keys() or any(own[name].shape != state[name].shape for name in own):
        raise InputError(f"the weights in {path} are not those of the network that recipe.toml beside it describes.")
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise InputError(f"some of the weights in {path} are no numbers; the run directory is damaged.")
    network.load_state_dict(state, strict=False)
    return network.eval()


def start_from(network: Network, path: Path, whole: bool = False, heads: bool = True) -> None:
    """Take over the weights of another run: its backbone, and every other part, such as the head, that is as a whole.

    A part of which some weights have another name or shape starts anew: half of a head is none. Whether the backbone
    was frozen there, or is here, makes no difference.

    Args:
        network: Changed in place.
        path: `model.safetensors` of the other run.
        whole: Whether everything has to be taken over, as for a further stage.
        heads: Whether what stands behind the backbone is taken over; weights of another method mean something else,
            whatever their shape.

    Raises:
        InputError: If the file cannot be read, or its backbone is another one, or anything is where `whole` is asked.
    """
    given, track = _read_weights(path)
    own = network.inference_state()
    there, here = (FROZEN, TRAINED) if network.frozen is None else (TRAINED, FROZEN)
    given = {here + name.removeprefix(there) if name.startswith(there) else name: given[name] for name in given}
    asked = [name for name in own if heads or name.startswith(here)]
    fitting = {name for name in asked if name in given and given[name].shape == own[name].shape}
    broken = {_part(name) for name in own if name not in fitting}
    taken = {name: given[name] for name in fitting if _part(name) not in broken}
    if any(name not in taken for name in own if name.startswith(here)):
        raise InputError(f"the backbone in {path} is not the one of this run; start from a run with the same backbone.")
    if whole and own.keys() - taken.keys():
        raise InputError(
            f"a stage goes on with the network in {path} as it is: the method, its sizes and its number of clusters "
            "must stay those of that run."
        )
    network.load_state_dict(taken, strict=False)
    network.method.restart({name.removeprefix("method.") for name in taken})
    network.track = track


def _part(name: str) -> str:
    """The part of a network that a weight belongs to, such as `method.encoder.head`."""
    return ".".join(name.split(".")[:3])


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a run's weights, and whether they saw labels."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, (file.metadata() or {}).get("track", "unknown")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as weights: {error}") from error
