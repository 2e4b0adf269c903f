"""Options that several commands have, with their help."""

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Finished run directory.")]
OutOption = Annotated[Path | None, typer.Option("-o", "--out", help="Run directory to write; must be new.")]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        help="Train for about this long (default: what the recipe says, else 10 minutes from scratch, 3 for a stage, "
        "500 steps or more on a frozen backbone). What comes before and after is not counted: reading, features, new "
        "heads, the map."
    ),
]
EpochsOption = Annotated[float | None, typer.Option(help="Or train for this many passes over the images.")]
ClustersOption = Annotated[int | None, typer.Option("-k", "--clusters", help="How many groups to find.")]
MethodOption = Annotated[str | None, typer.Option(help="How to learn: see `likewise list methods`.")]
ViewsOption = Annotated[
    str | None,
    typer.Option(
        help="How images are augmented: see `likewise list views` (default: those of the recipe or of the run that is "
        "continued; else by image size, frozen backbone or stage)."
    ),
]
SeedOption = Annotated[int | None, typer.Option(help="Same seed, same machine: same result.")]
BatchOption = Annotated[
    int | None, typer.Option(help="Images in a training step, of all processes together (default: by their number).")
]
BackboneOption = Annotated[
    str | None, typer.Option(help="The network: see `likewise list backbones`, or any model of timm.")
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="none, pretrained, or a .safetensors or .pth file. Weights stay as they are, and a head is trained on "
        "them; --set model.frozen=false trains them further."
    ),
]
PrecisionOption = Annotated[str | None, typer.Option(help="auto, bf16 or fp32.")]
CompileOption = Annotated[
    bool | None, typer.Option(help="Use torch.compile (default: on a GPU that can).", show_default=False)
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be read.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Any setting of `likewise list settings`, e.g. training.learning_rate=0.1"
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in -o.")]
SETS_PATH = "A folder (any depth), a text file of paths, a .npy or .npz array, or a set of `likewise list data`."
