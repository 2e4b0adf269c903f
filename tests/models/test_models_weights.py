"""Weights from files: formats, prefixes, and files that are refused."""

import pathlib
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from likewise.errors import InputError
from likewise.models import build_backbone
from likewise.models.resnet9 import ResNet9
from likewise.models.weights import load_into, read_weights


@pytest.fixture
def trained():
    """A resnet9 of one channel, with weights of its own."""
    torch.manual_seed(7)
    return ResNet9(1).state_dict()


def _assert_loaded(backbone, trained):
    loaded = backbone.network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in trained.items())
    assert backbone.track == "unknown"


def test_safetensors(tmp_path, trained):
    path = tmp_path / "weights.safetensors"
    save_file(trained, path)
    _assert_loaded(build_backbone("resnet9", str(path), channels=1, size=28), trained)


@pytest.mark.parametrize("track", ["labels", "self-supervised"])
def test_what_weights_saw_can_be_said(track, tmp_path, trained):
    save_file(trained, tmp_path / "weights.safetensors")
    said = build_backbone("resnet9", str(tmp_path / "weights.safetensors"), channels=1, size=28, file_track=track)
    assert said.track == track
    assert build_backbone("resnet9", channels=1, size=28, file_track=track).track == "none"


WRAPPERS = {
    "bare": lambda weights: weights,
    "module": lambda weights: {f"module.{name}": value for name, value in weights.items()},
    "moco": lambda weights: {
        "epoch": 800,
        "arch": "resnet9",
        "state_dict": {f"module.encoder_q.{name}": value for name, value in weights.items()}
        | {f"module.encoder_k.{name}": value + 1 for name, value in weights.items()}
        | {"module.queue": torch.zeros(128, 16)},
    },
    "nested twice": lambda weights: {"model": {"teacher": {f"backbone.{n}": v for n, v in weights.items()}}},
    "with a classifier": lambda weights: weights | {"fc.weight": torch.zeros(10, 256), "fc.bias": torch.zeros(10)},
    "without counters": lambda weights: {n: v for n, v in weights.items() if not n.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_pytorch_files(tmp_path, trained, wrap, suffix):
    path = tmp_path / f"weights{suffix}"
    torch.save(wrap(trained), path)
    _assert_loaded(build_backbone("resnet9", str(path), channels=1, size=28), trained)


class Malicious:
    """What a pickle of it does when it is loaded: create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_executed(tmp_path, trained, protocol, zipped):
    created, path = tmp_path / "created", tmp_path / "weights.pth"
    content = {"state_dict": trained, "extra": Malicious(created)}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="cannot be read as weights"):
        build_backbone("resnet9", str(path), channels=1, size=28)
    assert not created.exists()


def test_the_malicious_file_would_work_if_it_were_unpickled(tmp_path):
    created = tmp_path / "created"
    pickle.loads(pickle.dumps(Malicious(created)))  # noqa: S301
    assert created.exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_broken_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as weights"):
        read_weights(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="there is no weights file"):
        build_backbone("resnet9", str(tmp_path / "none.pth"))


def test_file_without_a_table(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="no table of tensors"):
        read_weights(tmp_path / "weights.pth")


def test_weights_of_another_network(tmp_path, trained):
    path = tmp_path / "weights.safetensors"
    save_file(trained, path)
    with pytest.raises(InputError, match=r"lack \d+ of \d+ tensors.*is it another backbone\?"):
        build_backbone("resnet18", str(path), channels=1, size=32)


def test_weights_of_other_shapes(tmp_path, trained):
    path = tmp_path / "weights.safetensors"
    save_file(trained, path)
    with pytest.raises(InputError, match=r"have 1 tensors of other shapes.*'stem.0.weight'"):
        build_backbone("resnet9", str(path), channels=3, size=28)


def test_network_is_left_alone_where_weights_do_not_fit():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError):
        load_into(network, {"0.weight": torch.zeros(2, 2)}, "a file")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
