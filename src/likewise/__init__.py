"""Groups images that are alike, without labels."""

from likewise._version import __version__
