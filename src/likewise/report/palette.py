"""Colours of clusters, told apart on white and on near black."""

import math

# Ten hues picked by hand: neighbours in number differ in hue and in lightness, all reach 3:1 on both pages.
_LIGHT = (
    "#3867d6", "#d9730d", "#0d9488", "#d23f57", "#7c4fd0", "#5b8c1f", "#b5439b", "#1d88b8", "#94623b", "#a58300",
)  # fmt: skip
_DARK = (
    "#6f95ff", "#ff9d47", "#2fc4b2", "#ff7184", "#a985f7", "#93c653", "#ec7fd0", "#4fbdea", "#c99568", "#e3c13c",
)  # fmt: skip
_GOLDEN_ANGLE = 137.50776
MOST = 2000  # colours in a report; further clusters use them again


def palette(num_clusters: int, dark: bool = False) -> list[str]:
    """One colour a cluster as `#rrggbb`, at most `MOST` of them.

    Args:
        num_clusters: K.
        dark: For the dark theme.

    Example:
        >>> palette(2)
        ['#3867d6', '#d9730d']
    """
    if num_clusters <= len(_LIGHT):
        return list((_DARK if dark else _LIGHT)[:num_clusters])
    return [_spread(index, dark) for index in range(min(num_clusters, MOST))]


def rules(num_clusters: int) -> str:
    """CSS that gives `.c0`, `.c1`, ... the colour `--c`, in both themes."""
    light, dark = (
        "".join(f".c{index}{{--c:{colour}}}" for index, colour in enumerate(palette(num_clusters, theme)))
        for theme in (False, True)
    )
    return f"{light}\n@media (prefers-color-scheme: dark) {{{dark}}}\n@media print {{{light}}}\n"


def _spread(index: int, dark: bool) -> str:
    hue = (255 + index * _GOLDEN_ANGLE) % 360
    # hues repeat closely after a dozen steps, and there the lightness differs
    step = (index // 5) % 3 - 1
    return _oklch((0.76 if dark else 0.58) + 0.07 * step, 0.15, hue)


def _oklch(lightness: float, chroma: float, hue: float) -> str:
    """The nearest sRGB colour to one in OKLCH, found by taking chroma away.

    Source:
        B. Ottosson, A perceptual color space for image processing, 2020.
    """
    while True:
        channels = _linear_rgb(lightness, chroma, hue)
        if chroma < 0.01 or all(-0.001 <= value <= 1.001 for value in channels):
            return "#" + "".join(f"{_gamma(min(max(value, 0.0), 1.0)):02x}" for value in channels)
        chroma -= 0.01


def _linear_rgb(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )


def _gamma(value: float) -> int:
    encoded = 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
    return round(255 * encoded)
