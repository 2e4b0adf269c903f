"""Self-labelling: a finished run goes on, with its own sure answers as labels (arXiv 2306.05439; SCAN, 2005.12320)."""

import math
from collections.abc import Container
from typing import cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from likewise.errors import InputError
from likewise.methods.base import Method, MethodConfig, Parts, Signs, View
from likewise.models.momentum import MomentumEncoder
from likewise.objectives import balanced_cross_entropy
from likewise.progress import say
from likewise.ranks import gather
from likewise.wording import percent

USUAL_THRESHOLD = 0.99  # of the paper
RELATIVE_THRESHOLD = 0.95  # of the largest possible confidence, where that is out of reach
BLOCK = 4096  # images looked at together before the training


class TooFewSure(InputError):
    """The finished run is not sure enough of its answers for them to be labels."""


class SelfLabelConfig(MethodConfig):
    """Settings of self-labelling."""

    threshold: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="images with a larger probability get a label; by default 0.99, or at most 0.95 of the largest "
        "probability that the method can give",
    )
    ema: float = Field(default=0.999, ge=0, lt=1, description="momentum of the average that labels and is kept")
    allow_fewer_clusters: bool = Field(
        default=False, description="train even if some clusters have no image with a label, and are likely to vanish"
    )


class SelfLabel(Method):
    """Trains the strong view of an image on the cluster of the plain one, wherever that cluster is sure.

    Labels come from a moving average of the network in evaluation mode, which is also what the stage leaves behind:
    they are what the finished run would say, whatever else is in the batch, and do not follow every step of the
    network that learns. Running statistics are averaged along: weights that learned from strong views belong with them,
    and batch norm on plain images alone gave worse clusters.

    Args:
        method: Of a finished run; trained in place.
        config: Everything else.

    Source:
        arXiv 2306.05439, self-labelling; Van Gansbeke et al., SCAN, arXiv 2005.12320, section 2.3.

    Example:
        >>> from likewise.methods import CDC, CDCConfig
        >>> method = CDC(nn.Flatten(), num_features=3 * 8 * 8, num_clusters=4, config=CDCConfig(hidden_dim=32))
        >>> stage = SelfLabel(method, SelfLabelConfig(threshold=0.5))
        >>> out = stage.training_step((torch.rand(16, 3, 8, 8), torch.rand(16, 3, 8, 8)))
        >>> out["loss"].backward()
        >>> stage.result().assign(torch.rand(5, 3, 8, 8)).shape
        torch.Size([5, 4])
    """

    Config = SelfLabelConfig
    prepares_at = 0.0
    signs = Signs(
        contrastive_term="",
        uniform_term="",
        collapsed="A higher stage.settings.threshold, or a shorter stage, keeps what the run had found",
    )

    def __init__(self, method: Method, config: SelfLabelConfig) -> None:
        super().__init__()
        self.method, self.config = method, config
        reachable = method.largest_confidence
        usual = USUAL_THRESHOLD if reachable > USUAL_THRESHOLD else RELATIVE_THRESHOLD * reachable
        self.threshold = usual if config.threshold is None else config.threshold
        self.teacher = MomentumEncoder(method).eval()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @property
    def undecayed(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.method.undecayed

    @property
    def encoder(self) -> nn.Module:  # type: ignore[override]
        return self.method.encoder

    def train(self, mode: bool = True) -> "SelfLabel":
        super().train(mode)
        self.teacher.eval()
        return self

    @property
    def views(self) -> tuple[View, ...]:
        return ("plain", "augmented")

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        plain, strong = views
        confidences, labels = gather(self._labels(plain)).max(dim=1)
        chosen = confidences > self.threshold
        logits = gather(self.method.assign(strong))
        loss = balanced_cross_entropy(self._logarithms(logits), labels, chosen)
        return {
            "loss": loss,
            "self_label_loss": loss.detach(),
            "confident": chosen.float().mean(),
            "logits": logits.detach(),
        }

    @torch.no_grad()
    def _labels(self, plain: Tensor) -> Float[Tensor, "B K"]:
        teacher = self.result()
        return teacher.probabilities(teacher.assign(plain))

    def _logarithms(self, logits: Tensor) -> Tensor:
        """Of the method's own probabilities, whatever turns its logits into them, such as a temperature."""
        probabilities = self.method.probabilities(logits)
        return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()

    @torch.no_grad()
    def after_step(self, progress: float = 0.0) -> None:
        steps = cast(Tensor, self.steps)
        # the average is short at first and grows with the run: 1,000 steps of memory would outlast a short one
        momentum = ((1 + steps) / (10 + steps)).clamp(max=self.config.ema)
        self.teacher.update(self.method, momentum, buffers=True)
        self.teacher.eval()  # drops what some networks keep of their weights between passes
        steps += 1

    @torch.no_grad()
    def prepare(self, features: Float[Tensor, "N F"]) -> None:
        """Say how many images have a label to start with, before any time is spent.

        Args:
            features: Of all images as they are.

        Raises:
            TooFewSure: If no image has one, or a cluster has none and that was not allowed.
        """
        self.method.eval()
        device = next(self.method.parameters()).device
        found: list[tuple[Tensor, Tensor]] = []
        for block in features.split(BLOCK):
            top = self.method.probabilities(self.method.parts_of(block.to(device)).logits).max(dim=1)
            found.append((top.values.cpu(), top.indices.cpu()))
        confidences, labels = (torch.cat(part) for part in zip(*found, strict=True))
        num_clusters = self.method.parts_of(features[:1].to(device)).logits.shape[1]
        surest = torch.zeros(num_clusters).scatter_reduce(0, labels, confidences, "amax")
        threshold = self.threshold
        confident, clusters = int((confidences > threshold).sum()), int((surest > threshold).sum())
        if confident == 0:
            raise TooFewSure(self._none_is_sure(surest))
        if clusters < len(surest) and not self.config.allow_fewer_clusters:
            raise TooFewSure(self._fewer_clusters(surest))
        share = percent(confident / len(confidences))
        ceiling = self.method.largest_confidence
        why = "" if ceiling > USUAL_THRESHOLD else f"; none can be surer than {ceiling:.3g} at this temperature"
        say(
            f"self-labelling: {confident:,} of {len(confidences):,} images ({share}) in "
            f"{clusters:,} of {len(surest):,} clusters have a confidence above {threshold:g}{why}"
        )

    def _none_is_sure(self, surest: Float[Tensor, " K"]) -> str:
        threshold, ceiling, clusters = self.threshold, self.method.largest_confidence, len(surest)
        found = f"the largest of these images is {float(surest.max()):.4f}"
        # one that every cluster reaches, unless there are empty ones
        lower = f"--set stage.settings.threshold={_below(float(surest.min() or surest.max()))}"
        if threshold < ceiling:
            return (
                f"no image has a confidence above {threshold:g}: {found}. Train that run for longer, or lower the "
                f"threshold: {lower}."
            )
        # a temperature divides the logarithm of (K - 1) p / (1 - p)
        reached, needed = (math.log((clusters - 1) * p / (1 - p)) for p in (ceiling, threshold))
        return (
            f"no image can ever have a confidence above {threshold:g}: with {clusters:,} clusters at this temperature "
            f"the largest possible is {ceiling:.4f}, and {found}. Lower the threshold ({lower}), or make the "
            f"probabilities sharper: method.settings.assignment_temperature must be at most {_below(reached / needed)} "
            "times what it is."
        )

    def _fewer_clusters(self, surest: Float[Tensor, " K"]) -> str:
        missing, empty = int((surest <= self.threshold).sum()), int((surest == 0).sum())
        if empty:
            way_out = f"{empty:,} of them {'has' if empty == 1 else 'have'} no image at all, at any threshold. To go on"
        else:
            least = _below(float(surest.min()))
            way_out = f"Lower the threshold (all have one at --set stage.settings.threshold={least}), or to go on"
        return (
            f"{missing:,} of {len(surest):,} clusters {'has' if missing == 1 else 'have'} no image with a confidence "
            f"above {self.threshold:g}, and would be lost in the training. {way_out} with fewer clusters, give "
            "--set stage.settings.allow_fewer_clusters=true."
        )

    def result(self) -> Method:
        return cast(Method, self.teacher.module)

    def restart(self, taken: Container[str] = ()) -> None:
        self.method.restart(taken)
        self.teacher = MomentumEncoder(self.method).eval()

    def parts_of(self, features: Float[Tensor, "B F"]) -> Parts:
        return self.method.parts_of(features)

    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return self.method.probabilities(logits)

    def chance_loss(self, batch_size: int) -> float:
        return self.method.chance_loss(batch_size)

    def inference_state(self) -> dict[str, Tensor]:
        return self.method.inference_state()


def _below(confidence: float) -> str:
    """A number a little below this one in few digits, such as a threshold that lets this confidence pass.

    Example:
        >>> _below(0.97345), _below(0.99), _below(0.0042)
        ('0.97', '0.98', '0.0041')
    """
    digits = 1 + max(1, math.ceil(-math.log10(confidence)))
    return f"{(math.ceil(confidence * 10**digits) - 1) / 10**digits:g}"
