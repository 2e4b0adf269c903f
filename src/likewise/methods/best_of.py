"""Several heads on one frozen backbone: trained side by side, and the one with the lowest loss is kept."""

from collections.abc import Container, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likewise.methods.base import Method, Parts, Signs, View

NEWEST = 0.02  # least weight of the newest loss in the average that heads are compared by: about the last fifty steps


class BestOf(Method):
    """Trains several networks of one method on the same batches, and keeps the one whose loss ends lowest.

    On a frozen backbone a head takes seconds, and which clusters it ends in depends on the weights that it starts with:
    two classes may share a cluster while a third is torn into two. Where that happens, the loss tends to be higher, and
    it is known without labels. Each head learns as if it were alone.

    Args:
        methods: Of one kind and with equal settings, but for their weights; at least one.

    Source:
        Van Gansbeke et al., SCAN, arXiv 2005.12320, which keeps the best of ten heads by its loss.

    Example:
        >>> from likewise.methods import CDC, CDCConfig
        >>> config = CDCConfig(hidden_dim=32)
        >>> best = BestOf([CDC(nn.Identity(), num_features=8, num_clusters=4, config=config) for _ in range(3)])
        >>> best.training_step((torch.rand(16, 8), torch.rand(16, 8)))["loss"].backward()
        >>> best.after_step()
        >>> best.result().assign(torch.rand(5, 8)).shape
        torch.Size([5, 4])
    """

    losses: Tensor
    steps: Tensor

    def __init__(self, methods: Sequence[Method]) -> None:
        super().__init__()
        self.methods = nn.ModuleList(methods)
        self.register_buffer("losses", torch.full((len(methods),), torch.nan))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self._new_losses: Tensor | None = None

    def _all(self) -> list[Method]:
        return [cast(Method, method) for method in self.methods]

    @property
    def encoder(self) -> nn.Module:  # type: ignore[override]
        return self.result().encoder

    @property
    def prepares_at(self) -> float | None:  # type: ignore[override]
        return self._all()[0].prepares_at

    @property
    def slowdown(self) -> float:  # type: ignore[override]
        return self._all()[0].slowdown

    @property
    def has_clusters(self) -> bool:
        return self._all()[0].has_clusters

    @property
    def concludes(self) -> bool:  # type: ignore[override]
        return self._all()[0].concludes

    @property
    def undecayed(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._all()[0].undecayed

    @property
    def signs(self) -> Signs:  # type: ignore[override]
        return self._all()[0].signs

    @property
    def views(self) -> tuple[View, ...]:
        return self._all()[0].views

    def training_step(self, views: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The terms and logits are those of the best head so far, and so is the value of the loss.

        The loss has the gradients of all of them.
        """
        outputs = [method.training_step(views) for method in self._all()]
        losses = torch.stack([output["loss"] for output in outputs])
        self._new_losses = losses.detach().to(self.losses.dtype)
        # a head that breaks takes no other with it
        total = torch.where(losses.isfinite(), losses, 0.0).sum()
        # which head it is stays on the device: to ask would make a GPU wait
        best = self._best(self._new_losses)[None]
        shown = {name: _one_of([output[name].detach() for output in outputs], best) for name in outputs[0]}
        return shown | {"loss": total - total.detach() + shown["loss"]}

    @torch.no_grad()
    def after_step(self, progress: float = 0.0) -> None:
        for method in self._all():
            method.after_step(progress)
        if self._new_losses is not None:
            known = torch.where(self.losses.isnan(), self._new_losses, self.losses)
            # of few steps the last ninth: what heads start with would else decide
            self.losses.copy_(known.lerp(self._new_losses, (9 / (10 + self.steps)).clamp(min=NEWEST)))
            self.steps += 1

    def _best(self, new: Tensor | None = None) -> Tensor:
        """The place of the head with the lowest average loss; before there is one, and of those that are numbers, by
        the losses of the step."""
        known = self.losses
        if new is not None:
            known = torch.where(known.isnan(), new, known).masked_fill(~new.isfinite(), torch.inf)
        return known.nan_to_num(nan=torch.inf).argmin()

    def result(self) -> Method:
        return self._all()[int(self._best())].result()

    def prepare(self, features: Float[Tensor, "N F"]) -> None:
        for method in self._all():
            method.prepare(features)

    def restart(self, taken: Container[str] = ()) -> None:
        for method in self._all():
            method.restart(taken)

    def parts_of(self, features: Float[Tensor, "B F"]) -> Parts:
        return self.result().parts_of(features)

    def probabilities(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return self.result().probabilities(logits)

    @property
    def largest_confidence(self) -> float:
        return self._all()[0].largest_confidence

    def chance_loss(self, batch_size: int) -> float:
        return self._all()[0].chance_loss(batch_size)

    def inference_state(self) -> dict[str, Any]:
        return self.result().inference_state()


def _one_of(values: list[Tensor], place: Tensor) -> Tensor:
    """The value at a place that stands on the device; an index would be asked for by the processor."""
    return torch.stack(values).index_select(0, place)[0]
