"""Self-labelling: which images get a label, what learns from it, and what is refused before it starts."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from likewise.errors import InputError
from likewise.evaluation import accuracy
from likewise.methods import CDC, STAGES, CDCConfig, SelfLabel, SelfLabelConfig
from likewise.methods.cdc import largest_confidence
from likewise.methods.self_label import _below


def _stage(frame="in-batch", **settings) -> SelfLabel:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.BatchNorm1d(12), nn.ReLU())
    method = CDC(backbone, 12, 3, CDCConfig(frame=frame, hidden_dim=16, instance_dim=8, queue_size=32))
    with torch.no_grad():
        for _ in range(40):  # running statistics as after a training
            method.assign(_views()[0])
    return SelfLabel(method, SelfLabelConfig(**{"threshold": 0.95} | settings))


def _views(count=20, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(count, 3, 4, 4, generator=generator) for _ in range(2))


def test_a_plain_and_a_strong_view():
    assert _stage().views == ("plain", "augmented")
    assert STAGES["self-label"][0] is SelfLabel
    assert all(text for _, text in STAGES.values())


@pytest.mark.parametrize("frame", ["in-batch", "moco-v2", "moco-v3"])
def test_loss_from_its_parts(frame):
    stage, (plain, strong) = _stage(frame), _views()
    with torch.no_grad():
        probabilities = deepcopy(stage.method).eval().assign(plain).div(0.1).softmax(dim=1)
        logits = deepcopy(stage.method).train().assign(strong)
    confidences, labels = probabilities.max(dim=1)
    chosen = confidences > 0.95
    assert 0 < chosen.sum() < len(chosen)
    weights = torch.bincount(labels[chosen], minlength=3).float().reciprocal()
    expected = nn.functional.cross_entropy(logits[chosen] / 0.1, labels[chosen], weight=weights)
    out = stage.training_step((plain, strong))
    torch.testing.assert_close(out["loss"].detach(), expected, rtol=1e-4, atol=1e-5)
    assert out["self_label_loss"].item() == out["loss"].item()
    assert out["confident"].item() == pytest.approx(chosen.float().mean().item())
    torch.testing.assert_close(out["logits"], logits)
    assert not any(out[name].requires_grad for name in ("self_label_loss", "confident", "logits"))


def test_golden_loss():
    assert _stage().training_step(_views())["loss"].item() == pytest.approx(3.39694, abs=1e-4)


@pytest.mark.parametrize("frame", ["in-batch", "moco-v3"])
def test_all_that_makes_the_logits_learns_and_the_teacher_does_not(frame):
    stage = _stage(frame)
    stage.training_step(_views())["loss"].backward()
    learning = {name for name, parameter in stage.named_parameters() if parameter.grad is not None}
    assert learning
    assert not any("teacher" in name or "momentum_encoder" in name for name in learning)
    expected = {name for name, _ in stage.method.encoder.named_parameters(prefix="method.encoder")}
    assert expected <= learning
    assert all(p.grad.isfinite().all() for p in stage.parameters() if p.grad is not None)


def test_a_batch_without_a_sure_image_is_a_step_to_nowhere():
    stage = _stage(threshold=0.9999999)
    out = stage.training_step(_views())
    out["loss"].backward()
    assert out["loss"].item() == out["confident"].item() == 0
    assert all(p.grad.abs().sum() == 0 for p in stage.method.encoder.parameters())


def test_probabilities_that_vanish_in_float32_do_no_harm():
    stage, views = _stage(), _views()
    stage.method.config = CDCConfig(assignment_temperature=1e-3)
    out = stage.training_step(views)
    out["loss"].backward()
    assert out["loss"].isfinite()
    assert all(p.grad.isfinite().all() for p in stage.method.encoder.parameters())


class TestAverage:
    def test_it_starts_short_and_grows_long(self):
        stage = _stage(ema=0.5)
        weight, mean = stage.method.encoder.head[0].weight, stage.result().encoder.head[0].weight
        for step in range(12):
            before = mean.clone()
            with torch.no_grad():
                weight.add_(1)
            stage.after_step()
            momentum = min((1 + step) / (10 + step), 0.5)
            torch.testing.assert_close(mean, momentum * before + (1 - momentum) * weight.detach())
        assert stage.steps.item() == 12

    def test_labels_are_what_inference_says_whatever_else_is_in_the_batch(self):
        stage, (plain, _) = _stage().train(), _views()
        expected = deepcopy(stage.result()).eval()
        labels = torch.cat([stage._labels(part) for part in plain.split(3)])
        torch.testing.assert_close(labels, expected.probabilities(expected.assign(plain)))

    def test_running_statistics_follow(self):
        stage, views = _stage().train(), _views()
        old = stage.result().backbone[2].running_mean.clone()
        stage.training_step(views)
        assert torch.equal(stage.result().backbone[2].running_mean, old)
        stage.after_step()
        new = stage.method.backbone[2].running_mean
        torch.testing.assert_close(stage.result().backbone[2].running_mean, 0.1 * old + 0.9 * new)

    def test_it_is_the_result(self):
        stage, images = _stage(), _views()[0]
        with torch.no_grad():
            for parameter in stage.method.parameters():
                parameter.zero_()
        result = stage.eval().result()
        assert isinstance(result, CDC)
        assert result.assign(images).abs().sum() > 0
        assert stage.assign(images).abs().sum() == 0
        assert result.inference_state().keys() == stage.inference_state().keys()

    def test_it_starts_again_from_new_weights(self):
        stage = _stage()
        with torch.no_grad():
            stage.method.encoder.head[0].weight.fill_(3)
        stage.restart()
        assert (stage.result().encoder.head[0].weight == 3).all()


def _train(stage, steps, start=0):
    optimizer = torch.optim.SGD([p for p in stage.parameters() if p.requires_grad], lr=0.1)
    for step in range(start, start + steps):
        optimizer.zero_grad()
        stage.training_step(_views(seed=step))["loss"].backward()
        optimizer.step()
        stage.after_step()


def test_a_restored_stage_goes_on_alike():
    whole, half, resumed = _stage(), _stage(), _stage()
    _train(whole, 4)
    _train(half, 2)
    resumed.load_state_dict(half.state_dict())
    _train(resumed, 2, start=2)
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def _logits_stage(logits, **settings):
    """A stage whose method takes features for cluster logits, of unit length."""
    torch.manual_seed(0)
    stage = _stage(**settings)
    stage.method.encoder.head = nn.Identity()
    return stage, torch.nn.functional.normalize(torch.tensor(logits), dim=1)


class TestPrepare:
    sure: tuple = ([1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0], [0.1, 0.0, 0.0])

    def _prepare(self, logits, **settings):
        stage, features = _logits_stage(logits, **{"threshold": 0.99} | settings)
        stage.prepare(features)

    def test_it_says_what_it_starts_with(self, capsys):
        self._prepare([*self.sure, [0.5, 0.5, 0.0]])
        assert "4 of 5 images (80 %) in 3 of 3 clusters have a confidence above 0.99" in capsys.readouterr().err

    def test_a_threshold_that_cannot_be_reached(self):
        bound = largest_confidence(3, 0.1)
        assert 0.99999 < bound < 0.9999999
        with pytest.raises(InputError) as caught:
            self._prepare(self.sure, threshold=0.9999999)
        message = str(caught.value)
        assert "can ever have a confidence above 1: with 3 clusters" in message
        assert "stage.settings.threshold=0.99)" in message
        factor = float(message.split("at most ")[1].split(" ")[0])
        assert largest_confidence(3, 0.1 * factor) > 0.9999999 > largest_confidence(3, 0.1 * (factor + 0.02))

    def test_nobody_is_sure(self):
        unsure = [[0.5, 0.48, -1.0], [0.48, 0.5, -1.0], [-1.0, 0.4, 0.5]]
        with pytest.raises(
            InputError, match=r"no image has a confidence above 0.99: the largest .* 0.6989. Train"
        ) as e:
            self._prepare(unsure)
        threshold = float(str(e.value).split("threshold=")[1].rstrip("."))
        self._prepare(unsure, threshold=threshold)  # one that every cluster reaches

    def test_a_cluster_without_sure_images(self, capsys):
        unsure = [*self.sure[:2], [-0.6, 0.35, 0.55]]
        with pytest.raises(InputError, match=r"1 of 3 clusters has no image.*allow_fewer_clusters=true") as caught:
            self._prepare(unsure)
        threshold = float(str(caught.value).split("threshold=")[1].split(")")[0])
        assert 0.5 < threshold < 0.99
        self._prepare(unsure, threshold=threshold)
        self._prepare(unsure, allow_fewer_clusters=True)
        assert "2 of 3 clusters" in capsys.readouterr().err

    def test_an_empty_cluster_is_not_helped_by_a_threshold(self):
        with pytest.raises(InputError, match=r"1 of them has no image at all, at any threshold") as caught:
            self._prepare(self.sure[:2])
        assert "threshold=" not in str(caught.value)


@pytest.mark.parametrize("confidence", [0.999999, 0.5, 0.1, 0.0301, 1e-4])
def test_a_suggested_threshold_lets_the_image_pass(confidence):
    assert 0.85 * confidence < float(_below(confidence)) < confidence


@pytest.mark.parametrize(
    "settings", [{"threshold": 0}, {"threshold": 1}, {"ema": 1}, {"ema": -0.1}, {"tau": 1}], ids=str
)
def test_settings_that_are_refused(settings):
    with pytest.raises(ValueError, match="validation error"):
        SelfLabelConfig.model_validate(settings)


def test_the_largest_confidence_is_the_methods():
    assert _stage().method.largest_confidence == largest_confidence(3, 0.1)
    free = CDC(nn.Flatten(), 48, 3, CDCConfig(unit_logits=False, hidden_dim=8))
    assert free.largest_confidence == 1


def test_a_bare_loop_makes_the_groups_purer():
    generator = torch.Generator().manual_seed(3)
    classes = torch.arange(256) % 4
    patterns = torch.rand(4, 3, 8, 8, generator=generator)
    images = patterns[classes] + 0.1 * torch.randn(256, 3, 8, 8, generator=generator)
    torch.manual_seed(0)
    config = CDCConfig(hidden_dim=32, instance_dim=16)
    method = CDC(nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU()), 32, 4, config)

    def train(trained, steps, make):
        optimizer = torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
        for _ in range(steps):
            batch = images[torch.randint(256, (64,), generator=generator)]
            optimizer.zero_grad()
            trained.training_step(make(batch))["loss"].backward()
            optimizer.step()
            trained.after_step()

    def noisy(batch, size):
        return batch + size * torch.randn(batch.shape, generator=generator)

    train(method, 100, lambda batch: (noisy(batch, 0.2), noisy(batch, 0.2)))
    before = method.eval().probabilities(method.assign(images)).amax(dim=1).mean().item()
    stage = SelfLabel(method, SelfLabelConfig(threshold=0.9)).train()
    train(stage, 60, lambda batch: (batch, noisy(batch, 0.4)))
    result = stage.result().eval()
    assert accuracy(result.assign(images).argmax(dim=1).numpy(), classes.numpy()) >= 0.95
    assert result.probabilities(result.assign(images)).amax(dim=1).mean().item() > before
    assert math.isfinite(before)


@pytest.mark.parametrize(("temperature", "expected"), [(0.1, 0.99), (0.155, 0.99), (0.205, 0.9026), (0.5, 0.4533)])
def test_the_threshold_that_is_chosen_can_be_reached(temperature, expected):
    method = CDC(nn.Flatten(), 12, 10, CDCConfig(assignment_temperature=temperature, hidden_dim=4))
    stage = SelfLabel(method, SelfLabelConfig())
    assert stage.threshold == pytest.approx(expected, abs=1e-3)
    assert stage.threshold < method.largest_confidence
    assert SelfLabel(method, SelfLabelConfig(threshold=0.7)).threshold == 0.7
