"""Round numbers along an axis."""

import math


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values within `low`..`high`, about so many.

    Example:
        >>> ticks(0.0, 950.0), ticks(2.0, 2.0)
        ([0.0, 200.0, 400.0, 600.0, 800.0], [2.0])
    """
    if not high > low:
        return [low]
    step = _round_step((high - low) / about)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)] if last - first < 50 else [low, high]


def tick_label(value: float) -> str:
    """A round value, short.

    Example:
        >>> [tick_label(value) for value in (0.0, 0.05, 1.5, 20000.0, 1e6)]
        ['0', '0.05', '1.5', '20k', '1M']
    """
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= unit:
            return f"{value / (1e3 if letter == 'k' else unit):g}{letter}"
    return f"{value:.4g}"


def _round_step(rough: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten, as ratios go."""
    power = 10.0 ** math.floor(math.log10(rough))
    return min((factor * power for factor in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / rough)))
