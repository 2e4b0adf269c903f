"""The recipe: everything that decides a result, validated, in and out of TOML."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from likewise._version import __version__
from likewise.errors import InputError, unknown_name
from likewise.views.config import ViewConfig


class Section(BaseModel):
    """A part of a recipe: unknown names are refused, and values are checked on assignment."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which images, and what they look like in memory."""

    source: str = Field(default="", description="folder, list of paths, array file or named set")
    image_size: int = Field(default=0, ge=0, le=2048, description="side in pixels; 0: chosen from the images")
    channels: Literal[0, 1, 3] = Field(default=0, description="0: 1 where all images are grey, else 3")
    memory_gb: float = Field(default=2.0, gt=0, description="sets that need more are decoded again in every epoch")
    scaled_decoding: bool = Field(
        default=True,
        description="JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where that covers twice image_size: "
        "faster, with pixels that differ by about one level of 255 at most, in the mean",
    )
    strict: bool = Field(default=False, description="stop at the first image that cannot be read")
    digest: str = Field(default="", description="of the images, written by a run")
    num_images: int = Field(default=0, ge=0, description="images that could be read, written by a run")


class ModelConfig(Section):
    """The network below the head."""

    backbone: str = Field(
        default="auto", description="see `likewise list backbones`; auto: resnet9 from scratch, resnet18 with weights"
    )
    weights: str = Field(default="auto", description="none, pretrained, or a file; auto: what the backbone is for")
    weights_saw: Literal["unknown", "labels", "no labels"] = Field(
        default="unknown", description="what a weights file was trained with, by your word; the run is marked by it"
    )
    frozen: bool | None = Field(default=None, description="train the head only; by default wherever there are weights")
    small_stem: bool | None = Field(
        default=None, description="a 3x3 stem without pooling for ResNets; by default from scratch up to 64 px"
    )
    start: str = Field(default="", description="run directory from whose network this one starts")
    cached_views: int | None = Field(
        default=None,
        ge=0,
        description="augmented views of an image whose features a frozen backbone computes once, for a cache; by "
        "default 2 where neighbours are the positives, else 8. 0: new views in every step, through the backbone each "
        "time, as papers train on GPUs",
    )

    @property
    def from_scratch(self) -> bool:
        """Whether the whole network is trained, from random weights."""
        return self.weights == "none" and not (self.frozen or self.start)


def suggested_views(neighbors: int | None) -> int:
    """How many augmented views of an image are cached: computing their features takes nearly all of a frozen training.

    More than two bring nothing where another image is the positive anyway (docs/log.md).
    """
    return 2 if neighbors else 8


class TrainingConfig(Section):
    """How long and how."""

    epochs: float | None = Field(default=None, gt=0, description="passes over the data")
    minutes: float | None = Field(default=None, gt=0, description="wall-clock budget; the schedule stretches to it")
    steps: int | None = Field(default=None, ge=1, description="optimiser updates; what epochs or minutes come to")
    batch_size: int = Field(default=0, ge=0, description="0: chosen from the number of images")
    optimizer: Literal["sgd", "adamw", "lars"] = Field(default="sgd", description="lars for batches of thousands")
    learning_rate: float = Field(
        default=0.2,
        gt=0,
        description="at a batch of 256, in proportion to the batch but for adamw; new heads at the end have their own",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD and LARS")
    nesterov: bool = Field(default=True, description="Nesterov's correction of the momentum of SGD")
    weight_decay: float = Field(default=5e-4, ge=0, description="on weights, not on biases and norms")
    hold_steps: int = Field(
        default=0, ge=0, description="the rate stays up until this step; written where a budget in minutes was decided"
    )
    warmup_steps: int = Field(default=50, ge=0, description="the rate rises linearly over these, then follows a cosine")
    neighbors: int | None = Field(
        default=None,
        ge=0,
        description="positives: the second view is of one of this many nearest images; by default, for scan and on "
        "frozen backbones, a fifth of a fair cluster and at most 20, else 0",
    )
    heads: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="trained side by side on a frozen backbone, or on its features once a training from scratch has "
        "ended; the one with the lowest loss is kept. By default 5 for cdc and scan on a frozen backbone and for cdc "
        "in the in-batch frame, else 1",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of weights, order, views and K-means")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto", description="auto: bf16 where the machine is faster with it"
    )
    compile: bool | None = Field(default=None, description="torch.compile; by default on a GPU")

    @model_validator(mode="after")
    def _one_length(self) -> "TrainingConfig":
        if self.epochs is not None and self.minutes is not None:
            raise ValueError("epochs and minutes both say how long to train; give one of them")
        return self


class MethodChoice(Section):
    """The method, its number of clusters and its settings."""

    name: str = Field(default="cdc", description="see `likewise list methods`")
    num_clusters: int = Field(default=10, le=1_000_000, description="K")
    settings: dict[str, Any] = Field(default_factory=dict, description="see the method's configuration")


class StageChoice(Section):
    """What is trained further, once a method has been trained: see `likewise list stages`."""

    name: str = Field(default="", description="empty: the method's own training")
    settings: dict[str, Any] = Field(default_factory=dict, description="see the stage's configuration")


class Recipe(Section):
    """Everything that decides the result of a run."""

    version: str = __version__
    data: DataConfig = Field(default_factory=DataConfig)
    views: ViewConfig = Field(default_factory=ViewConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    method: MethodChoice = Field(default_factory=MethodChoice)
    stage: StageChoice = Field(default_factory=StageChoice)
    training: TrainingConfig = Field(default_factory=TrainingConfig)

    @classmethod
    def parse(cls, values: dict[str, Any], origin: str = "the recipe") -> "Recipe":
        """A recipe from nested tables.

        Raises:
            InputError: If a name is unknown or a value not allowed; it names the first of them.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _explained(error, origin) from error

    @classmethod
    def read(cls, path: str | Path) -> "Recipe":
        """A recipe from a TOML file.

        Raises:
            InputError: If it cannot be read, or does not hold a recipe.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:  # TOML's own errors are ValueErrors
            raise InputError(f"the recipe {path} cannot be read: {error}") from error
        return cls.parse(values, str(path))

    def to_toml(self) -> str:
        """This recipe as TOML; what is not set is left out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _explained(error: ValidationError, origin: str) -> InputError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        section = first["loc"][:-1]
        allowed = [".".join([*map(str, section), name]) for name in _fields_at(section)]
        elsewhere = [] if section else [f"{name}.{place}" for name in allowed if place in _fields_at((name,))]
        if elsewhere:
            return InputError(f"unknown setting in {origin} {place!r}: it is called {' or '.join(elsewhere)}.")
        return unknown_name(f"setting in {origin}", place, allowed)
    return InputError(f"{origin}: {place} = {first.get('input')!r} is not allowed: {first['msg'].lower()}.")


def _fields_at(section: tuple[Any, ...]) -> list[str]:
    model: Any = Recipe
    for part in section:
        model = model.model_fields[part].annotation
    return list(getattr(model, "model_fields", ()))
