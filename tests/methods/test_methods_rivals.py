"""What every method of the table keeps, and what SimCLR, MoCo v2 and SCAN are in particular."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from likewise.methods import METHODS, SCAN, MethodConfig, MoCoV2, SCANConfig, SimCLR, Supervised
from likewise.methods.instance import MoCoV2Config
from likewise.objectives import assignment_entropy, info_nce, neighbor_consistency, nt_xent

SMALL = {"hidden_dim": 16, "instance_dim": 8, "queue_size": 32}
every_method = pytest.mark.parametrize("name", METHODS)


def _method(name):
    torch.manual_seed(0)
    build = METHODS[name][0]
    known = {key: value for key, value in SMALL.items() if key in build.Config.model_fields}
    return build(nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.ReLU()), 12, 3, build.Config(**known))


def _images(count=10, seed=1):
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def _views(method, count=10, seed=1):
    views = tuple(_images(count, seed + place) for place in range(len(method.views)))
    return (*views, torch.arange(count) % 3) if method.supervised else views


@every_method
def test_every_trainable_parameter_learns(name):
    method = _method(name)
    if method.prepares_at == 0:
        method.prepare(method.embed(_images()).detach())
    out = method.training_step(_views(method))
    assert out["loss"].isfinite()
    out["loss"].backward()
    assert not any(value.requires_grad for key, value in out.items() if key != "loss")
    for key, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("build", [SimCLR, MoCoV2])
def test_kmeans_has_a_seed_of_its_own_in_each_run(build):
    def found(seed):
        torch.manual_seed(seed)
        method = build(nn.Identity(), 12, 3, build.Config(**SMALL))
        return method.kmeans_seed

    assert found(0) == found(0)
    assert found(0) != found(1)


@pytest.mark.parametrize(("build", "frame"), [(SimCLR, "moco-v2"), (SimCLR, "moco-v3"), (MoCoV2, "in-batch")])
def test_a_rival_is_what_its_name_says(build, frame):
    with pytest.raises(ValueError, match="this method's frame is"):
        build.Config(frame=frame)


@every_method
def test_inference_needs_the_inference_state_only(name):
    method, other = _method(name), _method(name)
    images = _images()
    if method.concludes:
        method.conclude(method.embed(images).detach())
    with torch.no_grad():
        for parameter in other.encoder.parameters():
            parameter.add_(1)
    assert method.inference_state().keys() == other.inference_state().keys()
    other.load_state_dict(method.inference_state(), strict=False)
    parts, again = method.eval().parts(images), other.eval().parts(images)
    assert all(torch.equal(*pair) for pair in zip(parts, again, strict=True))
    assert parts.logits.shape == (10, 3)
    probabilities = method.probabilities(parts.logits)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(10))
    assert torch.equal(probabilities.argmax(dim=1), parts.logits.argmax(dim=1))


@every_method
def test_a_restored_method_goes_on_alike(name):
    method, other = _method(name), _method(name)
    method.training_step(_views(method))
    method.after_step()
    other.load_state_dict(method.state_dict())
    losses = [each.training_step(_views(method, seed=5))["loss"] for each in (method, other)]
    assert torch.equal(*losses)


@every_method
def test_batch_of_two(name):
    method = _method(name)
    assert method.training_step(_views(method, 2))["loss"].isfinite()


def test_simclr_is_nt_xent_of_the_projections():
    method = _method("simclr")
    views = _views(method)
    with torch.no_grad():
        one, other = method.encoder(torch.cat(views)).halves()
    assert one.logits.shape == (10, 0)
    out = method.training_step(views)
    torch.testing.assert_close(out["loss"].detach(), nt_xent(one.projections, other.projections, 0.2))
    assert "logits" not in out


def test_moco_is_info_nce_against_the_queue():
    method = _method("moco-v2")
    first, second = _views(method)
    with torch.no_grad():
        query, key = method.encoder(first), method.frame.momentum_encoder(second)
    expected = info_nce(query.projections, key.projections, method.frame.queue(), 0.2)
    torch.testing.assert_close(method.training_step((first, second))["loss"].detach(), expected)
    method.after_step()
    assert torch.equal(method.frame.queue()[:10], key.projections)


@pytest.mark.parametrize("build", [SimCLR, MoCoV2])
def test_the_name_is_the_frame(build):
    assert build.Config().frame == {SimCLR: "in-batch", MoCoV2: "moco-v2"}[build]
    assert all(field.description for field in MoCoV2Config.model_fields.values())


class TestClustersOfInstanceDiscrimination:
    def _groups(self):
        generator = torch.Generator().manual_seed(0)
        classes = torch.arange(60) % 3
        means = 5 * torch.eye(12)[:3]
        return means[classes] + 0.1 * torch.randn(60, 12, generator=generator), classes

    def test_are_those_of_k_means(self):
        method, (features, classes) = _method("simclr"), self._groups()
        method.conclude(features)
        parts = method.parts_of(features)
        found = parts.logits.argmax(dim=1)
        assert {(int(a), int(b)) for a, b in zip(found, classes, strict=True)} == {
            (int(found[place]), place) for place in range(3)
        }
        for cluster in range(3):
            torch.testing.assert_close(method.encoder.centers[cluster], features[found == cluster].mean(dim=0))
        # the mean over images of their own logit is -1: that is what the scale is
        assert parts.logits.max(dim=1).values.mean().item() == pytest.approx(-1, rel=1e-4)

    def test_are_the_same_in_any_order(self):
        method, other, (features, _) = _method("simclr"), _method("simclr"), self._groups()
        method.conclude(features)
        other.conclude(features.flip(0))
        rows = method.encoder.centers.sort(dim=0).values, other.encoder.centers.sort(dim=0).values
        torch.testing.assert_close(*rows)

    def test_equal_images_are_one_cluster(self):
        method = _method("simclr")
        method.conclude(torch.ones(20, 12))
        probabilities = method.probabilities(method.parts_of(torch.ones(5, 12)).logits)
        assert probabilities.isfinite().all()


def test_scan_is_consistency_minus_entropy():
    method = _method("scan")
    views = _views(method)
    with torch.no_grad():
        own, neighbor = method.encoder.head(method.backbone(torch.cat(views))).chunk(2)
    out = method.training_step(views)
    expected = neighbor_consistency(own, neighbor) - 5 * assignment_entropy(own)
    torch.testing.assert_close(out["loss"].detach(), expected)
    assert torch.equal(out["logits"], own)


def test_scan_finds_the_groups_of_its_neighbours(generator):
    classes = torch.arange(96) % 4
    features = 3 * torch.eye(4)[classes] + 0.3 * torch.randn(96, 4, generator=generator)
    torch.manual_seed(0)
    method = SCAN(nn.Identity(), 4, 4, SCANConfig())
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    for _ in range(150):
        rows = torch.randint(24, (64,), generator=generator) * 4
        rows = rows + torch.arange(64) % 4
        neighbors = (rows + 4 * torch.randint(24, (64,), generator=generator)) % 96  # of the same class
        optimizer.zero_grad()
        method.training_step((features[rows], features[neighbors]))["loss"].backward()
        optimizer.step()
    found = method.assign(features).argmax(dim=1)
    assert len({(int(a), int(b)) for a, b in zip(found, classes, strict=True)}) == 4


def test_momentum_copies_do_not_share_centres():
    method = _method("moco-v2")
    method.conclude(torch.rand(20, 12))
    assert not torch.equal(method.encoder.centers, method.frame.momentum_encoder.module.centers)


def test_supervised_is_cross_entropy_of_the_images_with_a_label():
    torch.manual_seed(0)
    method = Supervised(nn.Flatten(), 12, 3, MethodConfig())
    images, labels = torch.rand(6, 3, 2, 2), torch.tensor([0, -1, 2, 1, -1, 0])
    known = labels >= 0
    expected = functional.cross_entropy(method.assign(images)[known], labels[known])
    torch.testing.assert_close(method.training_step((images, labels))["loss"], expected)
    assert method.training_step((images, torch.full((6,), -1)))["loss"] == 0
