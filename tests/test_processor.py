"""What the processor says of itself, and what is known where it says nothing."""

import sys
from pathlib import Path

import pytest

from likewise import processor
from likewise.processor import processor_flags, processor_name

TWO_CORES = "processor\t: {}\nmodel name\t: Some: Processor\nflags\t\t: fpu amx_bf16 avx512_bf16\n\n"


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the place of the system's, empty so far."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPUINFO", path)
    for asked in (processor_flags, processor_name):
        monkeypatch.setattr(processor, asked.__name__, asked.__wrapped__)
    return path


def test_flags_and_name(written: Path) -> None:
    written.write_text(TWO_CORES.format(0) + TWO_CORES.format(1))
    assert processor.processor_flags() == {"fpu", "amx_bf16", "avx512_bf16"}
    assert processor.processor_name() == "Some: Processor"


def test_flags_on_arm(written: Path) -> None:
    written.write_text("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd40\n\n")
    assert processor.processor_flags() == {"fp", "asimd", "bf16"}
    assert processor.processor_name() == ""


def test_systems_that_do_not_tell(written: Path) -> None:
    assert (processor.processor_flags(), processor.processor_name()) == (frozenset(), "")
    written.write_bytes(b"\xff\xfe: ARM\n")
    assert (processor.processor_flags(), processor.processor_name()) == (frozenset(), "")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_processor() -> None:
    assert all(" " not in flag for flag in processor_flags())
