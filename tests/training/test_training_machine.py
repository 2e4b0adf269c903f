"""How to compute, on machines that this one is not."""

import os
import platform
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch

from likewise.errors import InputError
from likewise.training import machine
from likewise.training.machine import Machine, choose_machine, keep_freed_memory, machine_facts, peak_memory_mb
from likewise.wording import plural


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A processor without anything: no GPU, no bf16, no compiler."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(machine, "processor_flags", frozenset)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return monkeypatch


def with_cuda(patch: pytest.MonkeyPatch, bf16: bool = True) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    patch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    patch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    patch.setattr(machine, "find_spec", lambda name: name)


def with_compiler(patch: pytest.MonkeyPatch, compiler: str = "g++") -> None:
    patch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == compiler else None)


def test_a_bare_processor(bare: pytest.MonkeyPatch) -> None:
    assert choose_machine() == Machine("cpu", False, False, "bf16 instructions are not known of here")


@pytest.mark.parametrize(
    ("flags", "bf16", "reason"),
    [
        ({"avx512f"}, False, "no bf16 instructions"),
        ({"avx512_bf16"}, True, "the processor has AVX512-BF16"),
        ({"avx512_bf16", "amx_bf16"}, True, "the processor has AMX"),
        ({"amx_tile"}, False, "no bf16 instructions"),
        ({"asimd"}, False, "no bf16 instructions"),
        (
            {"asimd", "bf16"},
            False,
            "whether bf16 is faster on this ARM processor is not known; --precision bf16 tries it",
        ),
    ],
)
def test_instructions(flags: set[str], bf16: bool, reason: str, bare: pytest.MonkeyPatch) -> None:
    bare.setattr(machine, "processor_flags", lambda: flags)
    chosen = choose_machine()
    assert (chosen.bf16, chosen.reason) == (bf16, reason)


@pytest.mark.parametrize("flags", [set(), {"amx_bf16"}])
@pytest.mark.parametrize(("precision", "bf16"), [("bf16", True), ("fp32", False)])
def test_a_precision_that_was_asked_for(precision: str, bf16: bool, flags: set[str], bare: pytest.MonkeyPatch) -> None:
    bare.setattr(machine, "processor_flags", lambda: flags)
    assert choose_machine(precision) == Machine("cpu", bf16, False, "precision as set")


def test_a_precision_that_there_is_not() -> None:
    with pytest.raises(InputError, match=r"unknown precision 'fp16'.*auto, bf16, fp32"):
        choose_machine("fp16")


@pytest.mark.parametrize("bf16", [True, False])
def test_cuda(bf16: bool, bare: pytest.MonkeyPatch) -> None:
    with_cuda(bare, bf16)
    assert choose_machine() == Machine("cuda", bf16, False, "Some GPU")
    with_compiler(bare)
    assert choose_machine().compile


def test_a_quarter_of_the_free_memory_of_a_gpu_is_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (4_000, 8_000))
    gpu = Machine("cuda", bf16=True, compile=False, reason="Some GPU")
    assert gpu.has_room_for(1_000)
    assert not gpu.has_room_for(1_001)
    assert not Machine("cpu", bf16=True, compile=False, reason="no GPU").has_room_for(1)


def test_apple(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(torch.backends.mps, "is_available", lambda: True)
    with_compiler(bare)
    assert choose_machine() == Machine("mps", False, False, "Apple GPU")


def test_a_processor_does_not_compile_unasked(bare: pytest.MonkeyPatch) -> None:
    with_compiler(bare)
    assert not choose_machine().compile


@pytest.mark.parametrize("compiler", ["c++", "g++", "clang++", "cl"])
def test_any_compiler_will_do(compiler: str, bare: pytest.MonkeyPatch) -> None:
    with_cuda(bare)
    with_compiler(bare, compiler)
    assert choose_machine().compile


def test_a_gpu_that_triton_does_not_know_or_no_triton(bare: pytest.MonkeyPatch) -> None:
    with_cuda(bare)
    with_compiler(bare)
    bare.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    assert not choose_machine().compile
    bare.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    bare.setattr(machine, "find_spec", lambda name: None)
    assert not choose_machine().compile


def test_several_processes_on_a_mac_are_processors(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(torch.backends.mps, "is_available", lambda: True)
    bare.setattr(machine, "world_size", lambda: 2)
    assert choose_machine().device == "cpu"


def test_in_full_a_gpu_rounds_no_product() -> None:
    for bf16, rounds in ((True, True), (False, False)):
        with Machine("cuda", bf16, compile=False, reason="Some GPU").in_full():
            assert torch.backends.cudnn.allow_tf32 is rounds
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("wanted", [True, False])
def test_a_choice_to_compile_is_kept(wanted: bool, bare: pytest.MonkeyPatch) -> None:
    assert choose_machine(compile=wanted).compile is wanted
    with_cuda(bare)
    with_compiler(bare)
    assert choose_machine(compile=wanted).compile is wanted


def test_words() -> None:
    assert Machine("cuda", True, True, "Some GPU").describe() == (
        "cuda, bf16 autocast, channels_last, torch.compile (Some GPU)"
    )
    assert Machine("cpu", False, False, "no bf16 instructions").describe() == (
        f"cpu, {plural(torch.get_num_threads(), 'thread')}, fp32, channels_last, no compile (no bf16 instructions)"
    )


@pytest.mark.parametrize(("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_precision(bf16: bool, dtype: torch.dtype) -> None:
    chosen = Machine("cpu", bf16, False, "test")
    assert chosen.dtype == dtype
    with chosen.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


class LibC:
    """A C library that remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append((parameter, value))
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> LibC:
    libc = LibC()
    monkeypatch.setattr(machine, "ctypes", SimpleNamespace(CDLL=lambda name: libc))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.delenv("LIKEWISE_KEEP_MEMORY", raising=False)
    return libc


def test_freed_memory_is_kept(libc: LibC) -> None:
    assert keep_freed_memory() is True
    assert libc.calls == [(-4, 0), (-1, -1)]


def test_freed_memory_is_not_kept_when_it_is_switched_off(libc: LibC, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_KEEP_MEMORY", "0")
    assert keep_freed_memory() is False
    assert libc.calls == []


def test_freed_memory_is_not_kept_elsewhere(libc: LibC, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        assert keep_freed_memory() is False
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))  # musl
    assert keep_freed_memory() is False
    assert libc.calls == []


def test_facts_name_everything_that_a_figure_needs() -> None:
    facts = machine_facts(Machine("cpu", False, False, "test"))
    assert set(facts) == {"computed on", "batch norm", "processor", "cores", "system", "python", "torch", "likewise"}
    assert all(facts.values())
    assert facts["cores"] == str(os.cpu_count())
    compiled = machine_facts(Machine("cpu", False, True, "test"))
    assert compiled["batch norm"] == "torch's"


def test_peak_memory() -> None:
    assert 10 < peak_memory_mb() < 1e6
