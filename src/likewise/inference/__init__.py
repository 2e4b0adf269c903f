"""What comes after training: features, assignments and places, in a fixed order."""

from likewise.inference.embed import Embedded, embed, embed_features
from likewise.inference.layout import layout
from likewise.inference.neighbors import nearest_images
from likewise.inference.settle import settle_norms

__all__ = ["Embedded", "embed", "embed_features", "layout", "nearest_images", "settle_norms"]
