"""What this machine does fastest, chosen from what it has and said in words."""

import ctypes
import os
import platform
import shutil
import sys
import sysconfig
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from likewise._version import __version__
from likewise.errors import unknown_name
from likewise.models.fused_norm import fuse_norms
from likewise.models.kernels import kernels, load_kernels
from likewise.models.small_pool import SmallPool
from likewise.processor import processor_flags, processor_name
from likewise.ranks import world_size
from likewise.wording import plural

PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class Machine:
    """How to compute.

    Attributes:
        device: `"cpu"`, `"cuda"` or `"mps"`.
        bf16: Whether matrix products and convolutions run in bfloat16.
        compile: Whether the backbone goes through torch.compile.
        reason: Why, in words.
    """

    device: str
    bf16: bool
    compile: bool
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """Type of images and views."""
        return torch.bfloat16 if self.bf16 else torch.float32

    @property
    def fuses_norms(self) -> bool:
        """Whether a batch norm and what follows it are one operation in training, see `FusedNorm`."""
        return self.device == "cpu" and not self.compile

    def autocast(self) -> Any:
        """A context in which the backbone runs at the chosen precision."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16)

    def in_full(self) -> Any:
        """A context in which float32 is that on a GPU as well, whose convolutions round to 10 bits by default."""
        if self.device != "cuda" or self.bf16:
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)

    def has_room_for(self, size: int) -> bool:
        """Whether there is a GPU with so much memory to spare: a quarter of what is free, as a training needs the rest.

        Args:
            size: Bytes.
        """
        return self.device == "cuda" and size <= torch.cuda.mem_get_info()[0] // 4

    def describe(self) -> str:
        """One line for the user."""
        threads = f", {plural(torch.get_num_threads(), 'thread')}" if self.device == "cpu" else ""
        compiled = "torch.compile" if self.compile else "no compile"
        precision = "bf16 autocast" if self.bf16 else "fp32"
        return f"{self.device}{threads}, {precision}, channels_last, {compiled} ({self.reason})"


def choose_machine(precision: str = "auto", compile: bool | None = None) -> Machine:
    """The settings for this machine.

    Args:
        precision: `"auto"`, `"bf16"` or `"fp32"`.
        compile: Whether to compile; None does so on a GPU if there is a compiler. On a processor it gains nothing over
            what the convolutions do by themselves (docs/speed.md).

    Raises:
        InputError: If the precision is none of these.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    # several processes on a Mac are processors: it has one GPU, and gloo does not know its memory
    apple = torch.backends.mps.is_available() and world_size() == 1
    device = "cuda" if torch.cuda.is_available() else "mps" if apple else "cpu"
    fast, reason = _bf16_support(device)
    bf16 = fast if precision == "auto" else precision == "bf16"
    if compile is None:
        compile = device == "cuda" and _can_compile()
    return Machine(device, bf16, compile, reason if precision == "auto" else "precision as set")


def _bf16_support(device: str) -> tuple[bool, str]:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False), torch.cuda.get_device_name()
    if device == "mps":
        return False, "Apple GPU"
    flags = processor_flags()
    if "amx_bf16" in flags:
        return True, "the processor has AMX"
    if "avx512_bf16" in flags:
        return True, "the processor has AVX512-BF16"
    if "bf16" in flags:
        return False, "whether bf16 is faster on this ARM processor is not known; --precision bf16 tries it"
    return False, "no bf16 instructions" if flags else "bf16 instructions are not known of here"


def _can_compile() -> bool:
    """Whether torch.compile has what it needs: a compiler, Python's headers, Triton, and a GPU for it."""
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    compiler = any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl"))
    return headers and compiler and find_spec("triton") is not None and torch.cuda.get_device_capability() >= (7, 0)


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory instead of handing every large tensor back to the system.

    Otherwise each training step faults its activations in anew, page by page. LIKEWISE_KEEP_MEMORY=0 turns this off.

    Returns:
        Whether it was done; it is possible with glibc only.
    """
    if os.environ.get("LIKEWISE_KEEP_MEMORY") == "0" or sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    m_trim_threshold, m_mmap_max, never = -1, -4, -1
    mallopt = ctypes.CDLL(None).mallopt
    # the largest number that can be said is 2 GiB, which a step of a larger network frees and would give back
    return bool(mallopt(m_mmap_max, 0) and mallopt(m_trim_threshold, never))


def adapt(method: nn.Module, machine: Machine) -> None:
    """Lay a network out as it trains fastest on a machine; what it computes stays the same but for the order of sums.

    Args:
        method: With a `backbone`; changed in place.
        machine: What it trains on.
    """
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if machine.compile:
        # shapes are few: a graph for each beats one for all, which the packed convolutions would also be too much for
        cast(nn.Module, method.backbone).compile(dynamic=False)
    if machine.device == "cpu":
        keep_freed_memory()
    if machine.fuses_norms and (fuse_norms(method) | any(isinstance(module, SmallPool) for module in method.modules())):
        load_kernels()


def machine_facts(machine: Machine) -> dict[str, str]:
    """What a figure has to name: processor, versions, how it was computed."""
    return {
        "computed on": machine.describe(),
        "batch norm": "kernels.cpp" if machine.fuses_norms and kernels() is not None else "torch's",
        "processor": processor_name() or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "likewise": __version__,
    }


def peak_memory_mb(device: str = "cpu") -> float:
    """Largest memory of this process so far, in MB: of the GPU where it computes on one, else resident.

    0 where the system does not tell.

    Args:
        device: `"cuda"` for a GPU's.
    """
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / 1e6
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
