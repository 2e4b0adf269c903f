"""Pictures of four unmistakable kinds, and settings that learn them in seconds."""

import numpy as np

CLASSES = ("dots", "rows", "columns", "rings")


def picture(kind: str, generator: np.random.Generator) -> np.ndarray:
    """One noisy 20x20 picture of a kind."""
    y, x = np.mgrid[0:20, 0:20] + generator.integers(0, 8, (2, 1, 1))
    pattern = {
        "dots": (x % 5 < 2) & (y % 5 < 2),
        "rows": y % 6 < 3,
        "columns": x % 6 < 3,
        "rings": np.hypot(x - 14, y - 14) % 6 < 3,
    }[kind]
    noise = generator.normal(0, 12, (20, 20, 3))
    return (np.where(pattern, 200, 60)[:, :, None] + noise).clip(0, 255).astype(np.uint8)


QUICK = [
    "training.steps=80",
    "training.batch_size=60",
    "method.settings.hidden_dim=64",
    "method.settings.instance_dim=32",
    "views.crop_scale=[0.6, 1.0]",
    "views.jitter=0.3",
    "views.grey=0.0",
]
