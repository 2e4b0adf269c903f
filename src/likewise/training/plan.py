"""How many steps there are, and the learning rate of each: functions of the step, so that a resume needs no state."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from likewise.config import TrainingConfig

REFERENCE_BATCH = 256  # learning rates in recipes hold for this batch and scale in proportion


@dataclass
class Plan:
    """The schedule of a run.

    Attributes:
        peak: Learning rate after the warm-up.
        warmup_steps: Steps of linear increase.
        hold_steps: The cosine starts here, or after the warm-up if that ends later.
        total_steps: None as long as a budget in minutes has not been turned into steps.
    """

    peak: float
    warmup_steps: int
    total_steps: int | None
    hold_steps: int = 0

    @classmethod
    def of(cls, training: TrainingConfig) -> "Plan":
        """The schedule that a recipe describes.

        The warm-up is at most a tenth of the run, but for a budget in minutes: there it must be known before the
        length is, and must be the same when the recipe, which then names the steps as well, is trained again.
        """
        scale = training.batch_size / REFERENCE_BATCH if training.optimizer != "adamw" else 1.0
        warmup = training.warmup_steps
        if training.steps is not None and training.minutes is None:
            warmup = min(warmup, max(1, training.steps // 10))
        return cls(training.learning_rate * scale, warmup, training.steps, training.hold_steps)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0: linear warm-up, then half a cosine down to 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        start = max(self.warmup_steps, self.hold_steps)
        if self.total_steps is None or step < start:
            return self.peak
        progress = (step - start) / max(self.total_steps - start, 1)
        return self.peak * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    def progress(self, step: int) -> float:
        """The share of the run that is done after so many steps, in 0..1.

        0 as long as the length was not known, also when the run is trained again with its length known.
        """
        if self.total_steps is None or step < self.hold_steps:
            return 0.0
        return min(step / self.total_steps, 1.0)


def build_optimizer(
    module: nn.Module, training: TrainingConfig, undecayed: tuple[str, ...] = ()
) -> torch.optim.Optimizer:
    """The recipe's optimiser, with weight decay on matrices and kernels only.

    Args:
        module: What is trained.
        training: Names the optimiser.
        undecayed: Ends of the names of further weights that are not to decay.
    """
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    fused = all(p.is_cuda for _, p in trained) or None
    decayed = {name for name, p in trained if p.ndim > 1 and not name.endswith(undecayed)}
    weights = [p for name, p in trained if name in decayed]
    others = [p for name, p in trained if name not in decayed]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.learning_rate, fused=fused)
    if training.optimizer == "lars":
        from timm.optim.lars import Lars

        # biases and norms take plain steps: their norms say nothing of how far to go (arXiv 1708.03888)
        groups[0]["always_adapt"] = True  # else weights without decay would as well
        return Lars(groups, lr=training.learning_rate, momentum=training.momentum)  # type: ignore[arg-type]
    nesterov = training.nesterov and training.momentum > 0
    return torch.optim.SGD(
        groups, lr=training.learning_rate, momentum=training.momentum, nesterov=nesterov, fused=fused
    )
