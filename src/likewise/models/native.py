"""C++ of ours, built on the machine that uses it where that has a compiler."""

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from likewise.folders import cache_folder
from likewise.processor import processor_flags, processor_name
from likewise.progress import say
from likewise.runs.files import replacing

COMPILERS = ("c++", "g++", "clang++")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
MOST_SECONDS = 120


@cache
def library(name: str) -> ctypes.CDLL | None:
    """What a C++ file of this package comes to, built for this processor and kept in the cache.

    It takes a few seconds the first time. `LIKEWISE_NATIVE=0` turns it off.

    Args:
        name: Of the file beside this one, such as `"fused_norm"`.

    Returns:
        The library, or None: off Linux, without a compiler that can build it, or without a place to keep it. What it
        does is then done by torch, more slowly.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if os.environ.get("LIKEWISE_NATIVE") == "0" or sys.platform != "linux" or compiler is None:
        return None
    source = Path(__file__).with_name(f"{name}.cpp")
    command = (compiler, *OPTIONS, str(source))
    try:
        folder = cache_folder() / "native"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(folder):
            return None
        path = folder / f"{name}-{_key(source, command)}.so"
        if not path.is_file():
            say(f"building {source.name} for this processor, once")
            with replacing(path) as temporary:
                subprocess.run([*command, "-o", str(temporary)], check=True, capture_output=True, timeout=MOST_SECONDS)
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # a home that is not there is a RuntimeError
        say(f"note: {source.name} could not be built here, and torch does its work more slowly")
        return None


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can have put a library there: it is code that will run."""
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _key(source: Path, command: Sequence[str]) -> str:
    """A name for what is built of what, how, and for which processor: a cache may be shared by several machines."""
    digest = hashlib.sha256(source.read_bytes())
    for part in (*command[:-1], processor_name(), *sorted(processor_flags())):
        digest.update(f"{part}\0".encode())
    return digest.hexdigest()[:16]
