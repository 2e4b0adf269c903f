"""What the processor says of itself, where the system lets it."""

from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@cache
def processor_flags() -> frozenset[str]:
    """The instruction sets of the processor by Linux's names, such as `amx_bf16`; empty on other systems."""
    return frozenset(_first("flags", "Features").split())  # x86, ARM


@cache
def processor_name() -> str:
    """Its model, empty where the system does not tell."""
    return _first("model name")


def _first(*keys: str) -> str:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() in keys), "")
