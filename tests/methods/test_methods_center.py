"""The cluster-centre predictor: its losses, gradients, start, dead centres, and that it finds groups in a bare loop."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from likewise.config import TrainingConfig
from likewise.evaluation import accuracy
from likewise.methods import METHODS, Center, CenterConfig, center
from likewise.objectives import kl_divergence, nt_xent, student_t, target_distribution
from likewise.recipe_book import make_recipe
from likewise.training.plan import build_optimizer

TERMS = ("instance_loss", "clustering_loss", "anchor_loss")


def _method(**settings) -> Center:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.ReLU())
    return Center(backbone, 12, 3, CenterConfig(hidden_dim=16, projection_dim=8, **settings))


def _views(count=10, seed=1, number=3):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(count, 3, 4, 4, generator=generator) for _ in range(number))


def test_every_trainable_parameter_learns():
    method = _method()
    method.training_step(_views())["loss"].backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_instance_loss_alone_leaves_the_centers_alone():
    method = _method(clustering_weight=0, anchor_weight=0)
    out = method.training_step(_views(number=2))
    torch.testing.assert_close(out["loss"].detach(), out["instance_loss"])
    out["loss"].backward()
    assert method.encoder.centers.grad is None
    assert method.encoder.head[0].weight.grad.any()


def test_without_losses_of_their_own_the_centers_are_found_at_the_end():
    method = _method(clustering_weight=0, anchor_weight=0)
    assert (method.prepares_at, method.concludes, method.has_clusters) == (None, True, False)
    assert set(method.training_step(_views(number=2))) == {"loss", "instance_loss"}
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(60, method.encoder.centers.shape[1], generator=generator)
    method.conclude(features)
    own = torch.cdist(features, method.encoder.centers.detach()).argmin(dim=1)
    for cluster, place in enumerate(method.encoder.centers.detach()):
        torch.testing.assert_close(place, features[own == cluster].mean(dim=0), atol=1e-3, rtol=1e-3)
    usual = _method()
    assert (usual.prepares_at, usual.concludes, usual.has_clusters) == (0, False, True)


class TestWarmUp:
    def test_is_the_instance_loss_on_the_augmented_views_alone(self):
        method, views = _method(warmup=0.4), _views(number=2)
        assert method.views == ("augmented", "augmented")
        assert (method.prepares_at, method.has_clusters) == (0.4, False)
        out = method.training_step(views)
        assert set(out) == {"loss", "instance_loss"}
        one, other = (method.parts(view).projections for view in views)
        torch.testing.assert_close(out["loss"], nt_xent(one, other, 0.5))

    def test_ends_when_the_centers_are_placed(self):
        method = _method(warmup=0.4)
        method.prepare(torch.rand(50, 12, generator=torch.Generator().manual_seed(0)))
        assert method.views == ("plain", "augmented", "augmented")
        assert method.has_clusters
        assert set(TERMS) < set(method.training_step(_views()))

    @pytest.mark.parametrize("prepared", [True, False])
    def test_is_remembered(self, prepared):
        method = _method(warmup=0.4)
        if prepared:
            method.prepare(torch.rand(50, 12, generator=torch.Generator().manual_seed(0)))
        other = _method(warmup=0.4)
        other.load_state_dict(method.state_dict())
        assert other.has_clusters is prepared
        assert torch.equal(other.start_sizes, method.start_sizes)

    def test_is_not_needed_by_centers_of_another_run(self):
        method = _method(warmup=0.4)
        method.restart({"encoder.backbone.1.weight"})
        assert (method.prepares_at, method.has_clusters) == (0.4, False)
        method.restart({"encoder.backbone.1.weight", "encoder.centers"})
        assert (method.prepares_at, method.has_clusters) == (None, True)

    @pytest.mark.parametrize("views", ["plain", "augmented"])
    def test_takes_the_last_two_views(self, views):
        assert _method(warmup=0.4, views=views).views == (views, views)


def test_plain_views_shrink_to_the_augmented_ones():
    method = _method()
    plain, *augmented = _views()
    large = nn.functional.interpolate(plain, (8, 8))  # every pixel four times
    shrunk = method.training_step((large, *augmented))
    close = method.training_step((plain, *augmented))
    torch.testing.assert_close(shrunk["clustering_loss"], close["clustering_loss"], rtol=0.5, atol=1e-4)
    assert shrunk["instance_loss"] == close["instance_loss"]


def test_figures_are_of_the_start_and_of_the_centers():
    method = _method()
    assert set(method.figures()) == {"nearest_center"}
    method.prepare(torch.rand(50, 12, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        method.encoder.centers[:] = torch.tensor([0.0, 1.0, 3.0])[:, None]
    figures = method.figures()
    assert sum(figures["start_sizes"]) == 50
    assert figures["nearest_center"] == pytest.approx([12**0.5, 12**0.5, 2 * 12**0.5], abs=1e-4)


def test_an_instance_loss_without_weight_need_not_fall():
    assert _method(instance_weight=0).signs.contrastive_term == ""
    assert _method().signs.contrastive_term == "instance_loss"


def test_centers_do_not_decay():
    groups = build_optimizer(_method(), TrainingConfig(weight_decay=0.1), Center.undecayed).param_groups
    shapes = {group["weight_decay"]: [tuple(p.shape) for p in group["params"]] for group in groups}
    centers = tuple(_method().encoder.centers.shape)
    assert centers in shapes[0.0]
    assert centers not in shapes[0.1]


def test_loss_from_its_parts():
    method, views = (
        _method(instance_weight=0.5, clustering_weight=2, anchor_weight=3, degrees=2, temperature=0.2),
        _views(),
    )
    with torch.no_grad():
        plain, first, second = (method.parts(view) for view in views)
    r, one, other = (student_t(part.features, method.encoder.centers, 2.0) for part in (plain, first, second))
    expected = {
        "instance_loss": nt_xent(first.projections, second.projections, 0.2),
        "clustering_loss": kl_divergence(target_distribution(r), r.log()),
        "anchor_loss": kl_divergence(r, one.log()) + kl_divergence(r, other.log()),
        "assignment_entropy": -(r * r.log()).sum(dim=1).mean(),
        "logits": r.log(),
    }
    out = method.training_step(views)
    for name, value in expected.items():
        torch.testing.assert_close(out[name], value, msg=name)
    weighted = sum(weight * expected[name] for weight, name in zip((0.5, 2, 3), TERMS, strict=True))
    torch.testing.assert_close(out["loss"].detach(), weighted)
    assert not any(value.requires_grad for name, value in out.items() if name != "loss")


def test_golden_losses():
    out = _method().training_step(_views())
    assert [out[name].item() for name in TERMS] == pytest.approx([2.940109, 3.597e-4, 1.48608e-3], rel=1e-3)


def test_the_anchor_does_not_move():
    method = _method(instance_weight=0, clustering_weight=0)
    plain, *augmented = _views()
    plain.requires_grad_()
    method.training_step((plain, *augmented))["loss"].backward()
    assert not plain.grad.any()


def test_order_of_images_and_of_the_augmented_views_changes_nothing():
    method, (plain, first, second) = _method(), _views()
    loss = method.training_step((plain, first, second))["loss"]
    torch.testing.assert_close(method.training_step((plain, second, first))["loss"], loss)
    rows = torch.randperm(10)
    torch.testing.assert_close(method.training_step((plain[rows], first[rows], second[rows]))["loss"], loss)


@pytest.mark.parametrize(("name", "plain"), [("mixed", 1), ("plain", 3), ("augmented", 0)])
def test_views_are_a_setting(name, plain):
    views = _method(views=name).views
    assert len(views) == 3
    assert views.count("plain") == plain
    assert views[0] == "plain" or not plain


def test_probabilities_are_those_of_the_centers():
    method, images = _method().eval(), _views()[0]
    parts = method.parts(images)
    assert (parts.features.shape, parts.logits.shape, parts.projections.shape) == ((10, 12), (10, 3), (10, 8))
    torch.testing.assert_close(parts.projections.norm(dim=1), torch.ones(10))
    r = student_t(parts.features, method.encoder.centers)
    torch.testing.assert_close(method.probabilities(parts.logits), r)
    assert torch.equal(
        method.assign(images).argmax(dim=1), torch.cdist(parts.features, method.encoder.centers).argmin(1)
    )


def test_chance_is_the_loss_of_images_that_all_look_alike():
    method = _method()
    one = torch.rand(1, 3, 4, 4).expand(10, -1, -1, -1)
    out = method.training_step((one, one, one))
    assert out["instance_loss"].item() == pytest.approx(method.chance_loss(10)) == pytest.approx(math.log(19))


class TestStart:
    def _features(self):
        generator = torch.Generator().manual_seed(0)
        classes = torch.arange(60) % 3
        return 5 * torch.eye(3, 12)[classes] + 0.1 * torch.randn(60, 12, generator=generator), classes

    def test_centers_are_the_means_of_clusters_and_their_sizes_are_said(self, capsys):
        method, (features, classes) = _method(), self._features()
        method.prepare(features)
        means = torch.stack([features[classes == k].mean(dim=0) for k in range(3)])
        order = torch.cdist(means, method.encoder.centers.detach()).argmin(dim=1)
        assert sorted(order.tolist()) == [0, 1, 2]
        torch.testing.assert_close(method.encoder.centers[order], means)
        assert "20, 20, 20 images" in capsys.readouterr().err

    def test_is_the_same_each_time(self):
        one, other = _method(), _method()
        for method in (one, other):
            method.prepare(torch.rand(50, 12, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(one.encoder.centers, other.encoder.centers)

    def test_fewer_different_images_than_clusters(self):
        method = _method()
        method.prepare(torch.ones(20, 12))
        assert torch.equal(method.encoder.centers, torch.ones(3, 12))


class TestState:
    def test_inference_needs_the_encoder_only(self):
        method = _method().eval()
        state = method.inference_state()
        assert set(state) == {
            *(f"encoder.backbone.1.{name}" for name in ("weight", "bias")),
            *(f"encoder.head.{layer}.{name}" for layer in (0, 2) for name in ("weight", "bias")),
            "encoder.centers",
        }
        other = Center(deepcopy(method.backbone), 12, 3, method.config).eval()
        other.load_state_dict(state, strict=False)
        assert torch.equal(other.assign(_views()[0]), method.assign(_views()[0]))


class TestDeadCenters:
    def _steps(self, method, count):
        for _ in range(count):
            method.training_step(_views())
            method.after_step()

    def _after(self, monkeypatch, steps):
        monkeypatch.setattr(center, "RESEED_STEPS", steps)
        monkeypatch.setattr(center, "STEPS_FOR_EACH", 0)

    def _far(self, **settings):
        """A method two of whose centres get no image."""
        method = _method(**settings)
        with torch.no_grad():
            method.encoder.centers[:] = torch.tensor([0.0, 1e3, -1e3])[:, None]
        return method

    def test_stay_where_they_are_by_default(self, monkeypatch):
        self._after(monkeypatch, 2)
        method = self._far()
        before = method.encoder.centers.detach().clone()
        self._steps(method, 5)
        assert torch.equal(method.encoder.centers, before)

    def test_move_to_images_of_the_batch_in_time(self, monkeypatch):
        self._after(monkeypatch, 3)
        method = self._far(reseed=True)
        before = method.encoder.centers.detach().clone()
        self._steps(method, 2)
        assert torch.equal(method.encoder.centers, before)
        self._steps(method, 1)
        features = method.embed(_views()[0])
        assert torch.equal(method.encoder.centers[0], before[0]), "the one that is alive stays"
        torch.testing.assert_close(method.encoder.centers[1:], features[:2])
        assert method.idle_steps.tolist() == [0, 0, 0]
        assert method.figures()["reseeded"] == 2

    def test_stay_where_they_are_at_the_end_of_a_training(self, monkeypatch):
        self._after(monkeypatch, 1)
        method = self._far(reseed=True)
        method.training_step(_views())
        method.after_step(0.95)
        assert method.encoder.centers.abs().max() == 1e3
        method.after_step(0.9)
        assert method.encoder.centers.abs().max() < 1e3

    def test_the_advice_is_another_where_they_move(self):
        assert "reseed=true" in _method().signs.empty
        assert "are moved" in _method(reseed=True).signs.empty

    def test_have_more_time_where_there_are_more_of_them(self, monkeypatch):
        monkeypatch.setattr(center, "RESEED_STEPS", 2)
        method = self._far(reseed=True)  # 20 steps for each of 3 clusters, 10 images at a time
        self._steps(method, 5)
        assert method.encoder.centers.abs().max() == 1e3
        self._steps(method, 1)
        assert method.encoder.centers.abs().max() < 1e3

    def test_steps_are_remembered(self, monkeypatch):
        self._after(monkeypatch, 3)
        method = self._far(reseed=True)
        self._steps(method, 2)
        assert method.idle_steps.tolist() == [0, 2, 2]
        other = _method(reseed=True)
        other.load_state_dict(method.state_dict())
        self._steps(other, 1)
        assert other.encoder.centers.abs().max() < 1e3

    def test_more_dead_centers_than_images(self, monkeypatch):
        self._after(monkeypatch, 1)
        torch.manual_seed(0)
        method = Center(nn.Flatten(), 48, 40, CenterConfig(hidden_dim=8, reseed=True))
        with torch.no_grad():
            method.encoder.centers.fill_(1e3)
        self._steps(method, 1)
        assert method.encoder.centers[1:].abs().max() <= 1


def test_a_warm_up_has_something_to_learn():
    with pytest.raises(ValueError, match="set warmup=0"):
        CenterConfig(instance_weight=0, warmup=0.5)
    assert CenterConfig(instance_weight=0).warmup == 0


@pytest.mark.parametrize("count", [2, 4])
def test_smallest_batches(count):
    out = _method().training_step(_views(count))
    out["loss"].backward()
    assert out["loss"].isfinite()


def test_a_bare_loop_finds_the_groups():
    generator = torch.Generator().manual_seed(3)
    classes = torch.arange(256) % 4
    images = torch.rand(4, 3, 8, 8, generator=generator)[classes] + 0.1 * torch.randn(256, 3, 8, 8, generator=generator)
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU())
    method = Center(backbone, 32, 4, CenterConfig(hidden_dim=32, projection_dim=16))
    method.prepare(method.embed(images).detach())
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    for _ in range(100):
        batch = images[torch.randint(256, (64,))]
        out = method.training_step((batch, *(batch + 0.2 * torch.randn_like(batch) for _ in range(2))))
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        method.after_step()
    assert accuracy(method.eval().assign(images).argmax(dim=1).numpy(), classes.numpy()) >= 0.9
    assert out["assignment_entropy"] < 0.8 * math.log(4)


def test_a_weaker_anchor_is_suggested_where_there_are_features_to_lose():
    assert Center.suggest(10, False, {}) == {"anchor_weight": 0.1, "warmup": 0.5}
    assert Center.suggest(10, False, {}, new=False) == {"anchor_weight": 0.1}
    for idle in ({"instance_weight": 0}, {"views": "plain"}):  # a warm-up would learn nothing
        assert Center.suggest(10, False, idle) == {"anchor_weight": 0.1}
    assert Center.suggest(10, True, {}) == {}
    assert CenterConfig().anchor_weight == 1


def test_the_anchor_loss_is_least_where_the_image_does_not_matter():
    method = _method(instance_weight=0, clustering_weight=0)
    out = method.training_step(_views())
    with torch.no_grad():
        for parameter in method.backbone.parameters():
            parameter.zero_()
    flat = method.training_step(_views())
    assert flat["anchor_loss"] == 0 < out["anchor_loss"]
    assert len(flat["logits"].argmax(dim=1).unique()) == 1


@pytest.mark.parametrize("name", ["cifar10", "imagenet10", "imagenet-dogs", "tiny-imagenet"])
def test_recipes_of_the_paper_keep_its_weight_and_start(name):
    assert make_recipe(f"center-{name}", {}, []).method.settings == {
        "anchor_weight": 1.0,
        "warmup": 0.0,
        "hidden_dim": 512,
    }


def test_is_in_the_table():
    assert METHODS["center"][0] is Center
