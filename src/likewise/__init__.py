"""Groups images that are alike, without labels.

Example:
    >>> from likewise import ImageClusterer
    >>> clusterer = ImageClusterer(n_clusters=10, random_state=0)
    >>> # clusterer.fit_predict("photos")
"""

from typing import TYPE_CHECKING, Any

from likewise._version import __version__
from likewise.errors import InputError, RunError

if TYPE_CHECKING:
    from likewise.estimator import ImageClusterer
    from likewise.runs import RunDirectory

__all__ = ["ImageClusterer", "InputError", "RunDirectory", "RunError", "__version__"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: only those who use it should wait
    if name == "ImageClusterer":
        from likewise.estimator import ImageClusterer

        return ImageClusterer
    if name == "RunDirectory":
        from likewise.runs import RunDirectory

        return RunDirectory
    raise AttributeError(f"module 'likewise' has no attribute {name!r}")
