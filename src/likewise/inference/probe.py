"""The linear probe: what a linear classifier reads from features that are not trained further."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn
from torch.nn import functional

from likewise.errors import InputError
from likewise.progress import track


def linear_probe(
    train_features: Float[np.ndarray, "N F"],
    train_labels: Int[np.ndarray, " N"],
    test_features: Float[np.ndarray, "M F"],
    test_labels: Int[np.ndarray, " M"],
    seed: int = 0,
    *,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 30.0,
    device: str = "cpu",
) -> float:
    """Accuracy of a linear classifier, trained on some features and tested on others.

    SGD with momentum .9 and a cosine over all steps, without weight decay, from zero weights. The features are those of
    plain images: there are no augmentations to average over. Their mean over the training images is taken away and one
    number divides them all, so that rows have unit length on average: a rate of 30 then suits any backbone, and what is
    far or near stays so.

    Args:
        train_features: All in memory, 60,000 x 2,048 take about 0.5 GB.
        train_labels: Classes from 0.
        test_features: Of other images, or of the same.
        test_labels: Classes from 0; one that is not in `train_labels` is never guessed right.
        seed: Decides the order of the images.
        epochs: Passes over the training images.
        batch_size: Images in a step; all of them where there are fewer.
        learning_rate: At the start.
        device: Where to compute.

    Returns:
        Share of the test images that are classified right, 0..1.

    Raises:
        InputError: If there are no images on one of the sides.

    Source:
        The linear evaluation of arXiv 2306.05439, with the settings of MoCo (arXiv 1911.05722).

    Example:
        >>> features, labels = np.eye(4, dtype=np.float32)[[0, 1, 2, 3] * 8], np.array([0, 0, 1, 1] * 8)
        >>> linear_probe(features, labels, features, labels, epochs=5)
        1.0
    """
    if not len(train_features) or not len(test_features):
        raise InputError("a linear probe needs images to train on and images to test on; one of the two has none.")
    mean = train_features.mean(axis=0, dtype=np.float64).astype(np.float32)
    train = _tensor(train_features, mean, device)
    scale = train.square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
    train /= scale
    labels = torch.from_numpy(np.array(train_labels)).to(device)
    classifier = _fitted(train, labels, seed, epochs, min(batch_size, len(train)), learning_rate)
    with torch.inference_mode():
        guesses = classifier(_tensor(test_features, mean, device) / scale).argmax(dim=1).cpu().numpy()
    return float((guesses == test_labels).mean())


def _fitted(
    features: torch.Tensor, labels: torch.Tensor, seed: int, epochs: int, batch_size: int, learning_rate: float
) -> nn.Module:
    classifier = nn.utils.skip_init(nn.Linear, features.shape[1], int(labels.max()) + 1, device=features.device)
    for parameter in classifier.parameters():
        nn.init.zeros_(parameter)  # the problem is convex: no symmetry is there to be broken
    optimizer = torch.optim.SGD(classifier.parameters(), learning_rate, momentum=0.9)
    steps = len(features) // batch_size
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    generator = torch.Generator().manual_seed(seed)
    with track("training a linear probe", total=epochs, unit="epochs") as tracker:
        for _ in range(epochs):
            order = torch.randperm(len(features), generator=generator).to(features.device)
            for rows in order[: steps * batch_size].split(batch_size):
                loss = functional.cross_entropy(classifier(features[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            tracker.advance(1)
    return classifier


def _tensor(features: np.ndarray, mean: np.ndarray, device: str) -> torch.Tensor:
    return torch.from_numpy(np.subtract(features, mean, dtype=np.float32)).to(device)
