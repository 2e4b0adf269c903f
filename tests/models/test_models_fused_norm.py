"""Fused norms: the values, gradients and running statistics of torch's operations, one after another."""

import copy
import shutil
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from likewise.models import build_backbone, fused_norm
from likewise.models.folding import folded
from likewise.models.fused_norm import FusedNorm, Joined, What, fuse_norms
from likewise.models.kernels import COMPILER, kernels, load_kernels

built = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="needs g++")


@pytest.fixture(autouse=True)
def loaded() -> None:
    """As a training does it."""
    load_kernels()


def laid_out(*shape: int, dtype: torch.dtype, shift: float = 0.0) -> Tensor:
    return (torch.randn(*shape) * 2 + shift).to(dtype).to(memory_format=torch.channels_last)


def norm_of(channels: int, what: What) -> FusedNorm:
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    norm.__class__, norm.act = FusedNorm, Joined(what)
    return norm  # type: ignore[return-value]


def run(norm: nn.Module, pixels: Tensor, residual: Tensor | None, direction: Tensor) -> dict[str, Tensor]:
    """What a training step makes of a norm."""
    pixels = pixels.detach().clone().requires_grad_()
    residual = None if residual is None else residual.detach().clone().requires_grad_()
    result = norm(pixels, residual)
    (result * direction.to(result.dtype)).sum().backward()
    found = {"result": result, "pixels": pixels.grad} | {name: p.grad for name, p in norm.named_parameters()}
    found |= dict(norm.named_buffers()) | ({} if residual is None else {"residual": residual.grad})
    return {name: value.detach() for name, value in found.items() if value is not None}


@built
@pytest.mark.parametrize("what", What)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 16, 1, 2), (5, 64, 9, 7), (2, 80, 33, 20), (1, 144, 5, 4), (9, 32, 31, 17)])
def test_it_is_what_torch_computes(what: What, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    assert kernels() is not None
    torch.manual_seed(0)
    norm, pixels = norm_of(shape[1], what), laid_out(*shape, dtype=dtype, shift=3.0)
    residual = laid_out(*shape, dtype=dtype) if what > What.RELU else None
    direction = laid_out(*shape, dtype=dtype)
    exact = copy.deepcopy(norm).double()
    wanted = run(exact, pixels.double(), None if residual is None else residual.double(), direction.double())
    found = run(norm, pixels, residual, direction)
    assert found["result"].dtype == found["pixels"].dtype == dtype
    assert found["result"].is_contiguous(memory_format=torch.channels_last)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        rough = dtype == torch.bfloat16 and name in ("result", "pixels", "residual")
        # all of them: with these seeds no pixel lies so near to the edge of the ReLU that it falls to the other side
        scale = value.abs().max().item()
        assert torch.allclose(found[name].double(), value.double(), rtol=0, atol=scale * (1e-2 if rough else 1e-5)), (
            name
        )


@built
def test_a_small_variance_far_from_zero_survives() -> None:
    torch.manual_seed(0)
    pixels = 1000 + torch.randn(64, 16, 8, 8).to(memory_format=torch.channels_last)
    norm = norm_of(16, What.NORM)
    result = norm(pixels)
    wanted = nn.functional.batch_norm(pixels.double(), None, None, norm.weight.double(), norm.bias.double(), True)
    assert torch.allclose(result.double(), wanted, atol=2e-3)


@built
@pytest.mark.parametrize("what", What)
def test_what_is_no_number_stays_so(what: What) -> None:
    pixels = laid_out(2, 16, 4, 4, dtype=torch.bfloat16)
    pixels[0, 3, 0, 0] = torch.nan
    result = norm_of(16, what)(pixels, pixels if what > What.RELU else None)
    assert result[:, 3].isnan().all()
    assert result[1, :3].isfinite().all()


@built
def test_equal_steps_are_equal_to_the_bit() -> None:
    torch.manual_seed(0)
    norm, pixels = norm_of(64, What.RELU_OF_SUM), laid_out(64, 64, 16, 16, dtype=torch.bfloat16)
    one, other = (run(copy.deepcopy(norm), pixels, pixels, pixels) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "change",
    [
        lambda norm, pixels: (norm.eval(), pixels),
        lambda norm, pixels: (norm, pixels.contiguous()),
        lambda norm, pixels: (norm.double(), pixels.double()),
        lambda norm, pixels: (norm_of(12, What.RELU), pixels[:, :12].contiguous(memory_format=torch.channels_last)),
    ],
    ids=["evaluation", "channels first", "float64", "twelve channels"],
)
def test_elsewhere_it_is_torchs(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_norm, "kernels", lambda: pytest.fail("this is not for the kernels"))
    norm, pixels = change(norm_of(16, What.RELU), laid_out(4, 16, 6, 6, dtype=torch.float32))
    plain = nn.Sequential(nn.BatchNorm2d(norm.num_features), nn.ReLU()).to(pixels.dtype).train(norm.training)
    plain[0].load_state_dict(norm.state_dict())
    assert torch.allclose(norm(pixels), plain(pixels), atol=1e-6)


@pytest.mark.parametrize("name", ["resnet9", "resnet18", "resnet50", "resnet18d", "efficientnet_lite0", "seresnet18"])
def test_a_network_stays_what_it_was(name: str) -> None:
    torch.manual_seed(0)
    if name == "resnet9":
        network: Any = build_backbone(name, size=32).network
    else:
        network = timm.create_model("tf_" * name.startswith("eff") + name, num_classes=0)
    with torch.no_grad():
        for part in network.modules():  # some norms of residual blocks start at 0
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
    network = network.to(memory_format=torch.channels_last)
    fused = copy.deepcopy(network)
    fuse_norms(fused)
    assert list(fused.state_dict()) == list(network.state_dict())
    assert any(isinstance(part, FusedNorm) for part in fused.modules()) == (name != "efficientnet_lite0")
    images = torch.rand(8, 3, 64, 64).to(memory_format=torch.channels_last)
    for mode in (True, False):
        wanted, found = network.train(mode)(images), fused.train(mode)(images)
        assert torch.allclose(wanted, found, rtol=1e-3, atol=1e-3 * wanted.abs().max().item()), f"training: {mode}"
        if mode:
            direction = torch.randn_like(wanted)
            (wanted * direction).sum().backward()
            (found * direction).sum().backward()
    for (path, one), other in zip(network.named_parameters(), fused.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert (one.grad - other.grad).norm() <= 5e-2 * one.grad.norm() + 1e-3, path  # sums of large numbers
    for one, other in zip(network.buffers(), fused.buffers(), strict=True):
        assert torch.allclose(one.double(), other.double(), rtol=1e-3, atol=1e-4)


def test_what_follows_a_norm_that_stays_is_kept() -> None:
    torch.manual_seed(0)
    network: Any = timm.create_model("resnet18", num_classes=0)
    network.layer1[0].act1 = nn.LeakyReLU(0.5)
    network.layer1[1].bn2.weight.data.fill_(1.0)
    fused = copy.deepcopy(network)
    fuse_norms(fused)
    images = torch.rand(4, 3, 64, 64)
    assert torch.allclose(network(images), fused(images), atol=1e-4)


@built
def test_under_autocast_without_gradients_and_beside_a_residual_of_another_type() -> None:
    torch.manual_seed(0)
    pixels, residual = (laid_out(4, 16, 6, 6, dtype=torch.bfloat16) for _ in range(2))
    norm = norm_of(16, What.RELU_OF_SUM)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = copy.deepcopy(norm)(pixels, residual)
        with torch.no_grad():
            assert torch.equal(copy.deepcopy(norm)(pixels, residual), wanted)
        other = norm(pixels, residual.float())
    assert (wanted.dtype, wanted.requires_grad, other.dtype) == (torch.bfloat16, True, torch.float32)
    assert torch.allclose(other, wanted.float(), atol=0.05)


def test_all_norms_of_the_usual_networks_are_fused() -> None:
    for name, size in (("resnet9", 32), ("resnet18", 32), ("resnet50", 64)):
        network = build_backbone(name, size=size)
        fuse_norms(network)
        fuse_norms(network)  # twice is as good as once
        assert not [part for part in network.modules() if type(part) in (nn.BatchNorm2d, nn.ReLU)], name
        ends = [part.act.what for part in network.modules() if isinstance(part, FusedNorm)]
        sums = {"resnet9": 2, "resnet18": 8, "resnet50": 16}[name]
        assert sum(what > What.RELU for what in ends) == sums
        assert folded(network.eval(), torch.rand(2, 3, size, size)) is not network
