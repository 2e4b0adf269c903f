"""A run that goes wrong is noticed, and a run that goes well is left alone."""

import math

import pytest
import torch

from likewise.methods import CDC, Center, SimCLR
from likewise.training.health import Window, collapse, findings, too_short

BATCH = 256
CHANCE = math.log(2 * BATCH - 1)


def window(shares: list[float], images: int | None = None, **losses: float) -> Window:
    """A window with these sizes of clusters; losses that are not given are half of their value for chance."""
    clusters = len(shares)
    images = images or max(1000, 30 * clusters)
    counts = torch.tensor([round(share / sum(shares) * images) for share in shares])
    usual = {"cluster_loss": 0.5 * math.log(clusters), "contrastive_loss": 0.5 * math.log(2 * BATCH)}
    logits = torch.eye(clusters, dtype=torch.uint8)[torch.arange(clusters).repeat_interleave(counts)]
    counted = Window(clusters)
    counted.add({"logits": logits} | {name: torch.tensor(value) for name, value in (usual | losses).items()})
    return counted


def kinds(looked_at: Window, progress: float = 0.5) -> set[str]:
    return set(findings(looked_at, CHANCE, progress, CDC.signs))


@pytest.mark.parametrize("clusters", [2, 3, 10, 1000])
def test_balanced_clusters_are_healthy(clusters: int) -> None:
    assert kinds(window([1] * clusters)) == set()


@pytest.mark.parametrize(
    "shares", [[3, 1], [5, 4, 1], [4, *[1] * 9], [1 / (rank + 100) for rank in range(1000)]], ids=len
)
def test_unequal_clusters_are_healthy(shares: list[float]) -> None:
    assert kinds(window(shares)) == set()


@pytest.mark.parametrize(
    "shares",
    [
        [1, 0],
        [95, 5],
        [1, 0, 0],
        [1, *[0] * 9],
        [6, *[0.4] * 9],
        [1, *[0] * 999],
        [1, *[0.0005] * 999],
        [1, 1, *[0] * 998],
    ],
    ids=lambda shares: f"{shares[:2]} of {len(shares)}",
)
def test_collapse(shares: list[float]) -> None:
    assert "collapsed" in kinds(window(shares))
    assert "empty" not in kinds(window(shares))  # it would be said of the same clusters


def test_collapse_is_said_in_words() -> None:
    (sentence,) = findings(window([6, *[0.4] * 9]), CHANCE, 0.5, CDC.signs).values()
    assert sentence.startswith("the clusters are collapsing: 62 % of the images are in one of 10 clusters. ")
    assert "cluster_weight" in sentence


def test_clusters_at_the_end_of_a_run() -> None:
    assert collapse(torch.tensor([30, 30, 40]), CDC.signs) == ""
    assert collapse(torch.tensor([95, 5]), SimCLR.signs).startswith("95 % of the images are in one of 2 clusters. ")
    assert "train longer" in collapse(torch.tensor([0, 100, 0]), SimCLR.signs)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([1] * 9 + [0], "1 of 10 clusters is almost empty"),
        ([1] * 8 + [0.1, 0], "2 of 10 clusters are almost empty"),
        ([1] * 900 + [0] * 100, "100 of 1000 clusters are almost empty"),
    ],
)
def test_empty_clusters(shares: list[float], expected: str) -> None:
    found = findings(window(shares), CHANCE, 0.5, CDC.signs)
    assert set(found) == {"empty"}
    assert found["empty"].startswith(expected)


def test_emptiness_of_small_samples_means_nothing() -> None:
    assert kinds(window([1] * 9 + [0], images=180)) == set()
    assert kinds(window([1] * 9 + [0], images=207)) == {"empty"}


@pytest.mark.parametrize("clusters", [2, 10, 1000])
def test_stuck_at_a_coin_toss(clusters: int) -> None:
    uniform = math.log(clusters)
    assert kinds(window([1] * clusters, cluster_loss=uniform)) == {"stuck"}
    assert kinds(window([1] * clusters, cluster_loss=0.985 * uniform)) == {"stuck"}
    assert kinds(window([1] * clusters, cluster_loss=0.975 * uniform)) == set()
    assert (
        f"stuck at ln {clusters} = {uniform:.2f}"
        in findings(window([1] * clusters, cluster_loss=uniform), CHANCE, 0.5, CDC.signs)["stuck"]
    )


def test_images_that_all_look_alike() -> None:
    chance = CHANCE
    assert kinds(window([1] * 10, contrastive_loss=chance)) == {"flat"}
    assert kinds(window([1] * 10, contrastive_loss=0.98 * chance)) == set()
    assert (
        f"pure chance, {chance:.2f}"
        in findings(window([1] * 10, contrastive_loss=chance), CHANCE, 0.5, CDC.signs)["flat"]
    )


def test_a_term_that_comes_later_has_the_mean_of_its_own_steps() -> None:
    seen = Window(3)
    for step in range(10):
        seen.add({"loss": torch.tensor(2.0)} | ({"late": torch.tensor(1.0)} if step > 7 else {}))
    assert (seen.mean("loss"), seen.mean("late")) == (2.0, 1.0)


def test_a_method_has_terms_and_advice_of_its_own() -> None:
    terms = {"cluster_loss": 0.0, "contrastive_loss": 0.0, "clustering_loss": 0.0, "anchor_loss": 0.0}
    good = window([1] * 10, **terms, instance_loss=0.5 * CHANCE, assignment_entropy=1.0)
    assert findings(good, CHANCE, 0.5, Center.signs) == {}
    bad = window([1, *[0] * 9], **terms, instance_loss=CHANCE, assignment_entropy=math.log(10))
    found = findings(bad, CHANCE, 0.5, Center.signs)
    assert set(found) == {"collapsed", "flat"}
    assert "the instance loss is at its value for pure chance" in found["flat"]
    assert "settings.warmup" in found["collapsed"]
    assert "reseed=true" in findings(window([1] * 9 + [0]), CHANCE, 0.5, Center.signs)["empty"]


def test_several_findings_at_once() -> None:
    assert kinds(window([1, 0], cluster_loss=math.log(2), contrastive_loss=math.log(2 * BATCH))) == {
        "collapsed",
        "stuck",
        "flat",
    }


def test_early_steps_are_not_judged() -> None:
    bad = window([1, *[0] * 9], cluster_loss=math.log(10), contrastive_loss=math.log(2 * BATCH))
    assert kinds(bad, 0.09) == set()
    assert kinds(bad, 0.15) == {"collapsed"}
    assert kinds(bad, 0.25) == {"collapsed", "stuck", "flat"}


def test_a_window_without_steps_is_not_judged() -> None:
    assert kinds(Window(10)) == set()


def test_a_method_without_these_losses_is_not_judged_by_them() -> None:
    counted = Window(10)
    counted.add({"logits": torch.eye(10).repeat(100, 1), "loss": torch.tensor(9e9)})
    assert kinds(counted) == set()


def test_counting() -> None:
    counted = Window(3)
    for loss, logits in ((1.0, [[9, 0, 0], [0, 9, 0]]), (2.0, [[9, 0, 0], [5, 4, 0]])):
        counted.add({"loss": torch.tensor(loss), "logits": torch.tensor(logits, dtype=torch.float)})
    assert counted.counts.tolist() == [3, 1, 0]
    assert counted.mean("loss") == 1.5
    assert math.isnan(counted.mean("other"))
    figures = counted.figures()
    assert set(figures) == {"loss", "size_entropy", "largest_share"}
    assert figures["largest_share"] == 0.75
    assert figures["size_entropy"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3))


@pytest.mark.parametrize(("counts", "entropy"), [([5, 5, 5], 1), ([15, 0, 0], 0)])
def test_entropy_of_sizes(counts: list[int], entropy: float) -> None:
    assert window(counts, images=15).figures()["size_entropy"] == pytest.approx(entropy)


def test_figures_of_nothing() -> None:
    assert Window(3).figures() == {}


def test_a_method_without_clusters_is_watched_by_its_losses_alone() -> None:
    counted = Window(10)
    counted.add({"loss": torch.tensor(CHANCE), "contrastive_loss": torch.tensor(CHANCE)})
    assert set(counted.figures()) == {"loss", "contrastive_loss"}
    assert kinds(counted) == {"flat"}


def test_a_loss_that_is_not_a_number_shows() -> None:
    assert math.isnan(window([1, 1], loss=math.nan).figures()["loss"])


def test_counting_keeps_no_graph() -> None:
    loss = torch.ones((), requires_grad=True) * 2
    counted = Window(2)
    for _ in range(2):
        counted.add({"logits": torch.eye(2), "loss": loss})
    assert counted.mean("loss") == 2
    assert not any(value.requires_grad for value in counted._losses.values())


def test_a_short_training_is_said() -> None:
    assert too_short(99).startswith("99 steps are few")
    assert "--minutes" in too_short(1)
    assert too_short(100) == ""
