"""Where files go that belong to no run."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where files go that can be made again: `$LIKEWISE_CACHE`, or `~/.cache/likewise`. May be deleted between runs."""
    return Path(os.environ.get("LIKEWISE_CACHE") or "~/.cache/likewise").expanduser()
