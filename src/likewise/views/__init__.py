"""Views: batched augmentations. A new set of them is one line in the table."""

from typing import TYPE_CHECKING, Any

from likewise.views.config import VIEWS, ViewConfig

if TYPE_CHECKING:
    from likewise.views.pipeline import Views, plain_view

__all__ = ["VIEWS", "ViewConfig", "Views", "plain_view"]


def __getattr__(name: str) -> Any:
    # settings are needed in places where torch would be a long wait, such as `likewise --help`
    if name in ("Views", "plain_view"):
        from likewise.views import pipeline

        return getattr(pipeline, name)
    raise AttributeError(name)
