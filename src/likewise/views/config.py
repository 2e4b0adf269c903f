"""What views are: settings, and the sets of them that have a name."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if not 0 < bounds[0] <= bounds[1]:
        raise ValueError("the first number must be above 0 and not above the second")
    return bounds


def _share(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[1] > 1:
        raise ValueError("a share of the area is at most 1")
    return bounds


Bounds = Annotated[tuple[float, float], AfterValidator(_rising)]
Shares = Annotated[Bounds, AfterValidator(_share)]


class ViewConfig(BaseModel):
    """What a view is: the usual augmentations of contrastive learning, each with its strength."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    size: int = Field(
        default=0,
        ge=0,
        le=2048,
        description="side of augmented views in pixels, smaller ones being faster; 0: the images'",
    )
    crop_scale: Shares = Field(default=(0.2, 1.0), description="least and largest area of the crop")
    crop_ratio: Bounds = Field(default=(3 / 4, 4 / 3), description="least and largest width over height")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a horizontal flip")
    jitter: float = Field(default=0.8, ge=0, le=1, description="probability of a colour jitter")
    brightness: float = Field(default=0.4, ge=0, description="strength of the jitter")
    contrast: float = Field(default=0.4, ge=0, description="strength of the jitter")
    saturation: float = Field(default=0.4, ge=0, description="strength of the jitter")
    hue: float = Field(default=0.1, ge=0, le=0.5, description="strength of the jitter, in turns of the colour circle")
    grey: float = Field(default=0.2, ge=0, le=1, description="probability of greying")
    blur: float = Field(default=0.0, ge=0, le=1, description="probability of a Gaussian blur")
    blur_sigma: Bounds = Field(default=(0.1, 2.0), description="its standard deviation, for 224 px")
    operations: int = Field(default=0, ge=0, le=14, description="random operations of RandAugment for each image")
    magnitude: int = Field(default=9, ge=0, le=30, description="strength of the operations")
    cutout: float = Field(
        default=0.0, ge=0, le=1, description="largest side of a grey square, as a share of the view's"
    )


VIEWS: dict[str, tuple[ViewConfig, str]] = {
    "simclr": (ViewConfig(), "crop, flip, colour jitter, greying; no blur (for small images)"),
    "simclr-blur": (ViewConfig(blur=0.5), "the same with blur, as MoCo v2 uses it (for large images)"),
    "gentle": (
        ViewConfig(crop_scale=(0.5, 1.0), brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, grey=0.1),
        "weaker crops and colours (for a frozen backbone)",
    ),
    "strong": (
        ViewConfig(crop_scale=(0.5, 1.0), jitter=0, grey=0, operations=4, cutout=0.5),
        "four operations of RandAugment, a weak crop and a grey square (for self-labelling)",
    ),
}
