"""What comes after training: features, assignments and places, in a fixed order."""

from likewise.inference.embed import Embedded, decide_close_calls, embed, embed_features, embed_views
from likewise.inference.layout import layout
from likewise.inference.neighbors import nearest_images
from likewise.inference.probe import linear_probe
from likewise.inference.settle import settle_norms

__all__ = [
    "Embedded",
    "decide_close_calls",
    "embed",
    "embed_features",
    "embed_views",
    "layout",
    "linear_probe",
    "nearest_images",
    "settle_norms",
]
