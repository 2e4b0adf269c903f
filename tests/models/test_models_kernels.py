"""How the operations in C++ are built, and what is done where they cannot be."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from likewise.models import kernels as module
from likewise.models.kernels import COMPILER, kernels, load_kernels, takes

built = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="needs g++")


def test_what_the_operations_are_for() -> None:
    pixels = torch.rand(2, 16, 4, 4).to(memory_format=torch.channels_last)
    assert takes(pixels)
    assert takes(pixels.bfloat16())
    for other in (pixels.double(), pixels.contiguous(), pixels[:, :12], pixels[0], pixels.to("meta"), pixels.half()):
        assert not takes(other)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The cache of a machine that has built nothing yet."""
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path))
    monkeypatch.delenv("LIKEWISE_KERNELS", raising=False)
    load_kernels.cache_clear()
    yield tmp_path / "kernels"
    load_kernels.cache_clear()


@built
def test_it_is_built_once_and_by_a_training_alone(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kernels() is None
    assert not fresh.exists()
    assert load_kernels() is kernels() is not None
    assert "building kernels.cpp" in capsys.readouterr().err
    (path,) = fresh.iterdir()
    assert (path.suffix, path.stat().st_mode & 0o777) == (".so", 0o600)
    load_kernels.cache_clear()
    monkeypatch.setattr(module.subprocess, "run", lambda *args, **kwargs: pytest.fail("it has been built"))
    assert load_kernels() is not None


@built
def test_what_cannot_be_loaded_is_built_again(fresh: Path) -> None:
    assert load_kernels() is not None
    (path,) = fresh.iterdir()
    path.unlink()  # not written over: it is in use
    path.write_bytes(b"of another system")
    path.chmod(0o600)
    load_kernels.cache_clear()
    assert load_kernels() is not None


@built
def test_where_it_cannot_be_built_torch_does_the_work(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIKEWISE_KERNELS", "0")
    assert load_kernels() is None
    load_kernels.cache_clear()
    monkeypatch.delenv("LIKEWISE_KERNELS")
    monkeypatch.setattr(module, "COMPILER", "no-such-compiler")
    assert load_kernels() is None
    assert capsys.readouterr().err == ""
    load_kernels.cache_clear()
    monkeypatch.setattr(module, "COMPILER", "false")
    assert load_kernels() is None
    assert "could not be built" in capsys.readouterr().err
    assert not list(fresh.iterdir())


@built
@pytest.mark.parametrize("where", ["folder", "above", "file", "link"])
def test_code_that_others_could_have_put_there_is_not_loaded(
    where: str, fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_kernels() is not None
    (path,) = fresh.iterdir()
    if where == "link":
        fresh.rename(fresh.with_name("elsewhere"))
        fresh.symlink_to(fresh.with_name("elsewhere"))
    else:
        {"folder": fresh, "above": fresh.parent, "file": path}[where].chmod(0o777)
    load_kernels.cache_clear()
    assert load_kernels() is None
    assert "others can write" in capsys.readouterr().err


@built
@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can give files away")
def test_nor_is_what_belongs_to_somebody_else(fresh: Path) -> None:
    assert load_kernels() is not None
    (path,) = fresh.iterdir()
    os.chown(path, 12345, -1)
    load_kernels.cache_clear()
    assert load_kernels() is None
