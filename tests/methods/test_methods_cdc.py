"""CDC in both frames: its losses, gradients, state, and that it finds groups in a bare loop."""

import math
from copy import deepcopy
from itertools import chain

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn
from torch.nn import functional

from likewise.evaluation import accuracy
from likewise.methods import CDC, METHODS, CDCConfig
from likewise.methods.cdc import largest_confidence, sharpest_temperature
from likewise.methods.frames import Embedding
from likewise.objectives import batch_info_nce, info_nce, nt_xent, sinkhorn, target_cross_entropy

FRAMES = ["in-batch", "moco-v2", "moco-v3"]
every_frame = pytest.mark.parametrize("frame", FRAMES)


def _method(frame="in-batch", backbone=None, **settings) -> CDC:
    torch.manual_seed(0)
    config = CDCConfig(frame=frame, hidden_dim=16, instance_dim=8, queue_size=32, **settings)
    if backbone is None:
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.ReLU())
    return CDC(backbone, 12, 3, config)


def _views(count=10, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(count, 3, 4, 4, generator=generator) for _ in range(2))


@every_frame
def test_every_trainable_parameter_learns(frame):
    method = _method(frame)
    out = method.training_step(_views())
    assert out["loss"].isfinite()
    out["loss"].backward()
    for name, parameter in method.named_parameters():
        if name.startswith("frame.momentum_encoder."):
            assert not parameter.requires_grad
            assert parameter.grad is None
        else:
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@every_frame
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_loss_is_the_sum_of_its_terms(frame, weight):
    out = _method(frame, cluster_weight=weight).training_step(_views())
    expected = out["contrastive_loss"] + weight * out["cluster_loss"]
    torch.testing.assert_close(out["loss"].detach(), expected)
    assert not any(out[name].requires_grad for name in ("contrastive_loss", "cluster_loss", "logits"))
    assert out["logits"].shape == (10, 3)


@pytest.mark.parametrize(
    ("frame", "swap", "golden"),
    [
        ("in-batch", True, (7.75593, 6.74034)),
        ("in-batch", False, (7.75593, 0.01416)),
        ("moco-v2", True, (4.72552, 2.24063)),
        ("moco-v2", False, (4.72552, 0.33404)),
        ("moco-v3", True, (5.48056, 4.84677)),
        ("moco-v3", False, (5.48056, 0.61309)),
    ],
)
def test_golden_losses(frame, swap, golden):
    out = _method(frame, swap_targets=swap).training_step(_views())
    found = (out["contrastive_loss"].item(), out["cluster_loss"].item())
    assert found == pytest.approx(golden, abs=1e-4)


@pytest.mark.parametrize("swap", [True, False])
def test_in_batch_loss_from_its_parts(swap):
    method, views = _method(swap_targets=swap), _views()
    with torch.no_grad():
        one, other = method.encoder(torch.cat(views)).halves()
    targets = [sinkhorn(part.logits, 0.05) for part in (one, other)]
    if swap:
        targets.reverse()
    clusters = [target_cross_entropy(q, part.logits, 0.1) for q, part in zip(targets, (one, other), strict=True)]
    expected = nt_xent(torch.cat(one, dim=1), torch.cat(other, dim=1), 0.2) + (clusters[0] + clusters[1]) / 2
    torch.testing.assert_close(method.training_step(views)["loss"].detach(), expected)


@pytest.mark.parametrize("swap", [True, False])
def test_moco_loss_from_its_parts(swap):
    method, (first, second) = _method("moco-v2", swap_targets=swap), _views()
    with torch.no_grad():
        query, key = method.encoder(first), method.frame.momentum_encoder(second)
    cluster = target_cross_entropy(sinkhorn((key if swap else query).logits, 0.05), query.logits, 0.1)
    expected = info_nce(torch.cat(query, dim=1), torch.cat(key, dim=1), method.frame.queue(), 0.2) + cluster
    torch.testing.assert_close(method.training_step((first, second))["loss"].detach(), expected)


@pytest.mark.parametrize("swap", [True, False])
def test_moco_v3_loss_from_its_parts(swap):
    method, views = _method("moco-v3", swap_targets=swap), _views()
    with torch.no_grad():
        queries = method.frame.predict(method.encoder(torch.cat(views))).halves()
        keys = method.frame.momentum_encoder(torch.cat(views)).halves()
    expected = torch.zeros(())
    for query, key in zip(queries, reversed(keys), strict=True):
        targets = sinkhorn((key if swap else query).logits, 0.05)
        expected = expected + batch_info_nce(query.joint, key.joint, 0.2) / 2
        expected = expected + target_cross_entropy(targets, query.logits, 0.1) / 2
    torch.testing.assert_close(method.training_step(views)["loss"].detach(), expected)


def test_in_batch_loss_is_the_same_for_swapped_views_and_another_order():
    method, (first, second) = _method(), _views()
    loss = method.training_step((first, second))["loss"]
    torch.testing.assert_close(method.training_step((second, first))["loss"], loss)
    rows = torch.randperm(10)
    torch.testing.assert_close(method.training_step((first[rows], second[rows]))["loss"], loss)


@every_frame
def test_both_parts_have_unit_length(frame):
    method = _method(frame)
    parts = method.parts(_views()[0])
    assert (parts.features.shape, parts.logits.shape, parts.projections.shape) == ((10, 12), (10, 3), (10, 8))
    for part in (parts.logits, parts.projections):
        torch.testing.assert_close(part.norm(dim=1), torch.ones(10))
    probabilities = method.probabilities(parts.logits)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(10))
    torch.testing.assert_close(probabilities, (parts.logits / 0.1).softmax(dim=1))


def test_embed_and_assign_are_the_parts():
    method, images = _method().eval(), _views()[0]
    parts = method.parts(images)
    assert torch.equal(method.embed(images), parts.features)
    assert torch.equal(method.assign(images), parts.logits)


@every_frame
def test_batch_of_two(frame):
    out = _method(frame).training_step(_views(2))
    out["loss"].backward()
    assert out["loss"].isfinite()


@every_frame
def test_wrong_shapes_are_noticed(frame):
    method = _method(frame, backbone=nn.Unflatten(1, (3, 1)))  # features with a dimension too many
    with pytest.raises(TypeCheckError):
        method.training_step(_views())


class TestState:
    encoder = (
        *("backbone.1.weight", "backbone.1.bias", "head.0.weight", "head.3.weight", "head.3.bias"),
        *(f"head.1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    )

    def test_keys_in_batch(self):
        assert set(_method().state_dict()) == {f"encoder.{name}" for name in self.encoder}

    def test_keys_moco(self):
        expected = {
            f"{prefix}.{name}" for prefix in ("encoder", "frame.momentum_encoder.module") for name in self.encoder
        }
        assert set(_method("moco-v2").state_dict()) == expected | {"frame.queue.keys", "frame.queue.next_row"}

    @every_frame
    def test_inference_needs_the_encoder_and_what_predicts(self, frame):
        method = _method(frame).eval()
        state = method.inference_state()
        extra = {name for name in state if not name.startswith("encoder.")}
        assert set(state) - extra == {f"encoder.{name}" for name in self.encoder}
        assert all(name.startswith("frame.predictor.") for name in extra)
        assert bool(extra) == (frame == "moco-v3")
        other = CDC(deepcopy(method.backbone), 12, 3, method.config).eval()
        other.load_state_dict(state, strict=False)
        assert torch.equal(other.assign(_views()[0]), method.assign(_views()[0]))

    @every_frame
    def test_a_restored_method_goes_on_alike(self, frame):
        method = _method(frame)
        method.training_step(_views())
        method.after_step()
        other = _method(frame)
        other.load_state_dict(method.state_dict())
        losses = [each.training_step(_views(seed=2))["loss"] for each in (method, other)]
        assert torch.equal(*losses)


@every_frame
def test_a_replaced_encoder_is_followed_from_there(frame):
    method = _method(frame)
    with torch.no_grad():
        method.encoder.head[0].weight.add_(1)
    method.restart()
    if frame != "in-batch":
        torch.testing.assert_close(method.frame.momentum_encoder.module.head[0].weight, method.encoder.head[0].weight)
    assert method.training_step(_views())["loss"].isfinite()


class TestAblations:
    def test_no_contrastive_loss(self):
        out = _method(contrastive_weight=0.0).training_step(_views())
        torch.testing.assert_close(out["loss"].detach(), out["cluster_loss"])

    def test_without_equipartition_the_targets_are_the_other_views_probabilities(self):
        method, views = _method(equipartition=False), _views()
        one, other = method.encoder(torch.cat(views)).halves()
        probabilities = [(part.logits / 0.1).softmax(dim=1) for part in (one, other)]
        crossed = [
            -(probabilities[1] * probabilities[0].log()).sum(1).mean(),
            -(probabilities[0] * probabilities[1].log()).sum(1).mean(),
        ]
        torch.testing.assert_close(method.training_step(views)["cluster_loss"], sum(crossed).detach() / 2)

    @every_frame
    def test_logits_without_normalisation(self, frame):
        method = _method(frame, unit_logits=False)
        logits = method.parts(_views()[0]).logits
        assert (logits.norm(dim=1) - 1).abs().mean() > 1e-2
        assert method.training_step(_views())["loss"].isfinite()


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_momentum_schedule(progress, expected):
    frame = _method("moco-v3", momentum=0.9, momentum_schedule="cosine").frame
    assert frame.momentum_at(progress) == pytest.approx(expected)
    assert _method("moco-v3", momentum=0.9).frame.momentum_at(progress) == 0.9


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5])
def test_no_query_shares_its_batch_norm_with_its_own_key(groups):
    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.groups = []

        def forward(self, views):
            self.groups.append(views[:, 0].tolist())
            return Embedding(views[:, :3], views[:, 3:])

    frame, encoder, followers = _method("moco-v2", norm_groups=groups).frame, Spy(), Spy()
    frame.momentum_encoder = followers
    views = torch.arange(10.0)[:, None].expand(10, 11)
    frame(encoder, views, views + 100)
    queries, keys = encoder.groups, followers.groups
    assert list(chain(*queries)) == list(range(10))
    assert sorted(chain(*keys)) == list(range(100, 110))
    assert [len(query) for query in queries] == [len(key) for key in keys]
    assert (len(queries), min(map(len, queries)) >= 2) == (groups, True)
    # what was dealt out is back in its place, beside its query
    assert frame._new_keys[:, 0].tolist() == list(range(100, 110))
    for query in queries if groups > 1 else ():
        for key in keys:
            assert len({value + 100 for value in query} & set(key)) <= len(query) // groups + 1


def test_norm_groups_have_their_own_batch_norm():
    whole, split = (_method("moco-v2", norm_groups=groups) for groups in (1, 2))
    views = _views()
    losses = [method.training_step(views)["contrastive_loss"] for method in (whole, split)]
    assert not torch.allclose(*losses)
    keys = whole.frame.momentum_encoder(views[1][::2]).joint
    torch.testing.assert_close(split.frame._new_keys[::2], keys)


class TestMoco:
    def test_nothing_moves_before_the_step_is_done(self):
        method = _method("moco-v2")
        before = method.frame.queue()
        weights = [parameter.clone() for parameter in method.frame.momentum_encoder.parameters()]
        method.training_step(_views())
        assert torch.equal(method.frame.queue(), before)
        assert all(torch.equal(*pair) for pair in zip(method.frame.momentum_encoder.parameters(), weights, strict=True))

    def test_keys_of_the_step_enter_the_queue(self):
        method, (first, second) = _method("moco-v2"), _views()
        before = method.frame.queue()
        keys = method.frame.momentum_encoder(second).joint
        method.training_step((first, second))
        method.after_step()
        torch.testing.assert_close(method.frame.queue()[:10], keys)
        assert torch.equal(method.frame.queue()[10:], before[10:])

    def test_nothing_enters_before_the_first_step(self):
        method = _method("moco-v2")
        method.after_step()
        assert method.frame.queue.next_row.item() == 0
        method.training_step(_views())
        method.after_step()
        assert method.frame.queue.next_row.item() == 10

    def test_momentum_encoder_follows(self):
        method = _method("moco-v2", momentum=0.9)
        old = method.encoder.head[0].weight.clone()
        method.training_step(_views())
        with torch.no_grad():
            method.encoder.head[0].weight.add_(1)
        method.after_step()
        torch.testing.assert_close(method.frame.momentum_encoder.module.head[0].weight, old + 0.1)

    def test_stand_ins_look_like_keys(self):
        keys = _method("moco-v2").frame.queue()
        assert keys.shape == (32, 3 + 8)
        for part in (keys[:, :3], keys[:, 3:]):
            torch.testing.assert_close(part.norm(dim=1), torch.ones(32))


def _patterns(count):
    """Noisy 8x8 images of four patterns, uint8 [count, 3, 8, 8], and which pattern each shows."""
    generator = torch.Generator().manual_seed(3)
    classes = torch.arange(count) % 4
    patterns = torch.rand(4, 3, 8, 8, generator=generator)
    return patterns[classes] + 0.1 * torch.randn(count, 3, 8, 8, generator=generator), classes


@every_frame
def test_a_bare_loop_finds_the_groups(frame):
    images, classes = _patterns(256)
    torch.manual_seed(0)
    config = CDCConfig(frame=frame, hidden_dim=32, instance_dim=16, queue_size=128, momentum=0.9)
    method = CDC(nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU()), 32, 4, config)
    trainable = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.1, momentum=0.9)
    for _ in range(100):
        batch = images[torch.randint(256, (64,))]
        loss = method.training_step((batch + 0.2 * torch.randn_like(batch), batch + 0.2 * torch.randn_like(batch)))
        optimizer.zero_grad()
        loss["loss"].backward()
        optimizer.step()
        method.after_step()
    assignments = method.eval().assign(images).argmax(dim=1)
    assert accuracy(assignments.numpy(), classes.numpy()) >= 0.9


@pytest.mark.parametrize("num_clusters", [2, 3, 10])
@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
def test_largest_confidence_is_the_maximum(num_clusters, temperature):
    torch.manual_seed(0)
    logits = torch.randn(64, num_clusters, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(400):
        probabilities = (functional.normalize(logits, dim=1) / temperature).softmax(dim=1)
        optimizer.zero_grad()
        (-probabilities[:, 0].log().sum()).backward()
        optimizer.step()
    bound = largest_confidence(num_clusters, temperature)
    assert probabilities[:, 0].max().item() <= bound + 1e-12
    assert probabilities[:, 0].max().item() == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize("num_clusters", [2, 10, 1000])
def test_the_sharpest_temperature_just_gives_the_confidence(num_clusters):
    temperature = sharpest_temperature(num_clusters, 0.95)
    assert largest_confidence(num_clusters, temperature) == pytest.approx(0.95)


def test_suggestions_are_settings():
    for method, _ in METHODS.values():
        for frozen in (False, True):
            method.Config(**method.suggest(10, frozen, {}))
    assert CDC.suggest(10, False, {"assignment_temperature": 0.1})["epsilon"] == 0.05
    assert CDC.suggest(10, False, {}) == {"temperature": 0.5, "assignment_temperature": 0.205, "epsilon": 0.1025}
    assert CDC.suggest(10, True, {}) == {"temperature": 0.5, "assignment_temperature": 0.294, "epsilon": 0.147}


def test_a_threshold_of_99_percent_needs_a_low_temperature():
    assert largest_confidence(10, 0.155) >= 0.99 > largest_confidence(10, 0.156)
    assert math.isclose(largest_confidence(2, 1e6), 0.5, abs_tol=1e-5)


def test_every_method_of_the_table_is_explained():
    assert METHODS["cdc"][0] is CDC
    assert all(text for _, text in METHODS.values())
