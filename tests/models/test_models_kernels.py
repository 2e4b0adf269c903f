"""How the operations in C++ are built, and what is done where they cannot be."""

from typing import Any

import pytest
import torch

from likewise.models import kernels as module
from likewise.models.kernels import kernels, takes

built = pytest.mark.skipif(kernels() is None, reason="needs a compiler")


def test_what_the_operations_are_for() -> None:
    pixels = torch.rand(2, 16, 4, 4).to(memory_format=torch.channels_last)
    assert takes(pixels)
    assert takes(pixels.bfloat16())
    for other in (pixels.double(), pixels.contiguous(), pixels[:, :12], pixels[0], pixels.to("meta"), pixels.half()):
        assert not takes(other)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """A machine that has built nothing yet."""
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path))
    monkeypatch.delenv("LIKEWISE_KERNELS", raising=False)
    kernels.cache_clear()
    yield tmp_path
    kernels.cache_clear()


@built
def test_it_is_built_once(fresh: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert kernels() is not None
    assert "building kernels.cpp" in capsys.readouterr().err
    (path,) = (fresh / "kernels").iterdir()
    assert path.suffix == ".so"
    kernels.cache_clear()
    monkeypatch.setattr(module.subprocess, "run", lambda *args, **kwargs: pytest.fail("it has been built"))
    assert kernels() is not None


@built
def test_where_it_cannot_be_built_torch_does_the_work(
    fresh: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIKEWISE_KERNELS", "0")
    assert kernels() is None
    kernels.cache_clear()
    monkeypatch.delenv("LIKEWISE_KERNELS")
    monkeypatch.setattr(module, "COMPILERS", ("no-such-compiler",))
    assert kernels() is None
    assert capsys.readouterr().err == ""
    kernels.cache_clear()
    monkeypatch.setattr(module, "COMPILERS", ("false",))
    assert kernels() is None
    assert "could not be built" in capsys.readouterr().err
    assert not list((fresh / "kernels").iterdir())


@built
def test_code_that_others_could_have_put_there_is_not_loaded(fresh: Any) -> None:
    (fresh / "kernels").mkdir()
    (fresh / "kernels").chmod(0o777)
    assert kernels() is None
