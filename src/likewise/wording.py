"""Numbers as people read them."""


def count(value: float) -> str:
    """A whole number with its thousands apart.

    Example:
        >>> count(60000)
        '60,000'
    """
    return f"{round(value):,}"


def plural(value: int, one: str, many: str = "") -> str:
    """A number with its noun.

    Args:
        value: How many.
        one: What there is one of.
        many: The same of several, where that is not one more letter s.

    Example:
        >>> plural(1, "image"), plural(1200, "image"), plural(2, "class", "classes")
        ('1 image', '1,200 images', '2 classes')
    """
    return f"{count(value)} {one if value == 1 else many or f'{one}s'}"


def percent(share: float) -> str:
    """A share in 0..1 as a percentage; what is not quite none or all does not read as it.

    Example:
        >>> percent(0.834), percent(0.034), percent(0.0001), percent(0.9996), percent(1)
        ('83 %', '3.4 %', '<0.1 %', '>99.9 %', '100 %')
    """
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    digits = 1 if 0 < share < 0.1 or 0.99 <= share < 1 else 0
    return f"{100 * share:.{digits}f} %"


def score(share: float) -> str:
    """A score in -1..1 as a percentage with one digit, as papers print it.

    Example:
        >>> score(0.8304)
        '83.0'
    """
    return f"{100 * share:.1f}"


def compact(value: float) -> str:
    """A number of any size in few characters.

    Example:
        >>> compact(0.0), compact(12345.6), compact(0.1234567), compact(2e-7)
        ('0', '12,346', '0.1235', '2e-07')
    """
    if value == 0:
        return "0"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def heading(name: str) -> str:
    """A column or key as a title.

    Example:
        >>> heading("contrastive_loss"), heading("lr")
        ('Contrastive loss', 'Learning rate')
    """
    known = _HEADINGS.get(name)
    spaced = name.replace("_", " ").strip()
    return known or spaced[:1].upper() + spaced[1:]


_HEADINGS = {
    "lr": "Learning rate",
    "largest_share": "Share of the largest cluster",
    "size_entropy": "Evenness of sizes (1: all equal)",
    "mean_confidence": "Mean confidence",
    "confident_90": "Share with confidence above 0.9",
    "confident_99": "Share with confidence above 0.99",
    "conditional_entropy": "Entropy of an image (nats)",
    "num_empty": "Empty clusters",
    "num_images": "Images",
    "num_clusters": "Clusters",
    "peak_memory_mb": "Peak memory (MB)",
    "images_per_second": "Images per second",
}
