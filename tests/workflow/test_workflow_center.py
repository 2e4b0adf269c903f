"""Cluster centres end to end: after a warm-up, in a chain of runs, on a frozen backbone, resumed, as an estimator."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patterns import CLASSES, picture

from likewise import ImageClusterer
from likewise.config import Recipe
from likewise.methods import Center
from likewise.recipe_book import make_recipe
from likewise.report import write_report
from likewise.runs import RunDirectory
from likewise.scoring import evaluate
from likewise.summary import describe_run
from likewise.training.callbacks import Diverged
from likewise.training.fit import Interrupted
from likewise.workflow import assign, cluster

GIVEN = {
    "method.name": "center",
    "method.num_clusters": 4,
    "method.settings.hidden_dim": 64,
    "method.settings.projection_dim": 32,
    "training.batch_size": 60,
    "views.crop_scale": [0.6, 1.0],
    "views.jitter": 0.3,
    "views.grey": 0.0,
}
STEPS, WARM = 45, 22


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Half of it with the instance loss alone, which is the default from scratch."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "run")
    cluster(make_recipe(None, GIVEN | {"training.steps": STEPS}, []), str(photos), run)
    return run


def test_it_finds_the_kinds_of_pictures(run: RunDirectory) -> None:
    rows = {row["name"]: row for row in evaluate(run, "folders")["rows"]}
    assert rows["Center"]["acc"] >= 0.9
    assert set(rows) == {"Center", "K-means on the same features", "K-means on pixels"}


def test_the_run_directory_is_whole(run: RunDirectory) -> None:
    table = run.assignments()
    np.testing.assert_allclose(table.probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(np.exp(run.features("categorical")), table.probabilities, atol=1e-5)
    assert run.features("instance").shape == (240, 32)
    geometry = run.metrics()["geometry"]
    assert set(geometry) == {"backbone", "instance", "representation"}
    assert geometry["representation"]["num_images"] == 240
    assert geometry["representation"]["agreement"]["nmi"] > 0.8
    assert geometry["representation"]["agreement"]["ari"] > 0.8
    assert geometry["backbone"]["clusters"] == [0, 1, 2, 3]
    assert geometry["backbone"]["silhouette"] > 0
    page = write_report(run).read_text(encoding="utf-8")
    assert 'id="geometry"' in page
    assert page.count("Agreement with the model") == 2
    assert "K-means on the features agrees" in describe_run(run)


def test_assigning_the_same_images_gives_the_same_clusters(run: RunDirectory, photos: Path) -> None:
    again, _, _ = assign(run, str(photos))
    assert np.array_equal(again.clusters, run.assignments().clusters)


def test_centers_start_when_the_warm_up_is_over(run: RunDirectory) -> None:
    log = run.log()
    assert set(log) >= {"loss", "instance_loss", "clustering_loss", "anchor_loss", "assignment_entropy", "size_entropy"}
    assert np.isfinite(log["instance_loss"]).all()
    for name in ("clustering_loss", "size_entropy"):
        assert np.array_equal(np.isfinite(log[name]), log["step"] > WARM), name
    figures = run.metrics()["clusters"]
    assert sum(figures["start_sizes"]) == 240
    assert len(figures["nearest_center"]) == 4


@pytest.mark.parametrize("step", [15, 40])
def test_a_resume_before_and_after_the_start_of_the_centers_makes_the_same_run(
    step: int, run: RunDirectory, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likewise.training.callbacks.CHECKPOINT_EVERY", 0.0)
    original = Center.training_step
    steps = 0

    def stopping(self: Center, views: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt
        return original(self, views)

    again = RunDirectory(tmp_path / "again")
    recipe = make_recipe(None, GIVEN | {"training.steps": STEPS}, [])
    with monkeypatch.context() as patched:
        patched.setattr(Center, "training_step", stopping)
        with pytest.raises(Interrupted):
            cluster(recipe, str(photos), again)
    cluster(Recipe.read(again.recipe_file), str(photos), again, resume=True)
    assert np.array_equal(again.assignments().probabilities, run.assignments().probabilities)
    assert again.metrics()["clusters"] == run.metrics()["clusters"]
    assert list(again.log()) == list(run.log())


def test_centers_go_on_from_where_another_run_left_them(
    run: RunDirectory, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe(None, {"training.steps": 2, "training.learning_rate": 1e-6}, [], run.path)
    further = cluster(recipe, str(photos), RunDirectory(tmp_path / "further"))
    assert "start from K-means" not in capsys.readouterr().err
    assert (further.embedded.probabilities.argmax(1) == run.assignments().clusters).mean() > 0.98


def test_features_of_another_method_need_no_warm_up(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = RunDirectory(tmp_path / "first")
    quick = {"training.steps": 2, "training.batch_size": 60, "method.num_clusters": 4}
    cluster(make_recipe(None, quick | {"method.name": "simclr"}, []), str(photos), first)
    made = cluster(make_recipe(None, GIVEN | {"training.steps": 2}, [], first.path), str(photos), _run(tmp_path))
    assert "warmup" not in made.recipe.method.settings
    assert "clustering_loss" in made.run.log()
    # the centres of simclr are K-means on what its features were; these start from the features on these images
    assert sum(made.run.metrics()["clusters"]["start_sizes"]) == 240
    assert "the head of center starts anew" in capsys.readouterr().err


def test_features_that_are_no_numbers_end_the_training(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likewise.workflow.looks.as_tensor", lambda features: torch.full((4, 4), torch.nan))
    recipe = make_recipe(None, GIVEN | {"training.steps": 4, "training.learning_rate": 1e-3}, [])
    with pytest.raises(Diverged, match=r"clusters were to start.*learning_rate=0\.0002"):
        cluster(recipe, str(photos), _run(tmp_path))


def test_a_resume_does_not_look_for_the_start_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("likewise.training.callbacks.CHECKPOINT_EVERY", 0.0)
    original, steps = Center.training_step, 0

    def stopping(self: Center, views: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 6:
            raise KeyboardInterrupt
        return original(self, views)

    recipe = make_recipe(None, GIVEN | {"training.steps": 8, "method.settings.warmup": 0.0}, [])
    whole = cluster(recipe, str(photos), RunDirectory(tmp_path / "whole"))
    run = _run(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Center, "training_step", stopping)
        with pytest.raises(Interrupted):
            cluster(recipe, str(photos), run)
    capsys.readouterr()
    again = cluster(Recipe.read(run.recipe_file), str(photos), run, resume=True)
    assert "start from K-means" not in capsys.readouterr().err
    assert np.array_equal(again.embedded.probabilities, whole.embedded.probabilities)
    assert run.metrics()["clusters"] == whole.run.metrics()["clusters"]


def test_a_budget_in_minutes_waits_for_the_centers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likewise.training.callbacks.CALIBRATION_STEPS", 3)
    given = GIVEN | {"training.minutes": 0.02, "training.warmup_steps": 2}
    made = cluster(make_recipe(None, given, []), str(photos), _run(tmp_path))
    steps, held = made.recipe.training.steps, made.recipe.training.hold_steps
    assert steps is not None
    assert made.run.metrics()["training"]["steps"] == steps > held
    assert sum(made.run.metrics()["clusters"]["start_sizes"]) == 240


def test_augmented_views_may_be_smaller(photos: Path, tmp_path: Path) -> None:
    given = GIVEN | {"training.steps": 2, "views.size": 16, "method.settings.warmup": 0.0}
    made = cluster(make_recipe(None, given, []), str(photos), _run(tmp_path))
    assert np.isfinite(made.run.log()["anchor_loss"]).all()


@pytest.mark.parametrize("views", ["plain", "augmented"])
def test_ablations_of_the_views_train(views: str, photos: Path, tmp_path: Path) -> None:
    given = GIVEN | {"training.steps": 3, "method.settings.views": views}
    assert np.isfinite(cluster(make_recipe(None, given, []), str(photos), _run(tmp_path)).run.log()["loss"]).all()


def _run(folder: Path) -> RunDirectory:
    return RunDirectory(folder / "run")


def test_the_same_recipe_makes_the_same_run_from_scratch(photos: Path, tmp_path: Path) -> None:
    recipe = make_recipe(None, GIVEN | {"training.steps": 3, "training.seed": 5}, [])
    one, other = (cluster(recipe, str(photos), RunDirectory(tmp_path / name)) for name in ("one", "other"))
    assert np.array_equal(one.embedded.probabilities, other.embedded.probabilities)
    again, _, _ = assign(one.run, str(photos))
    assert np.array_equal(again.clusters, one.run.assignments().clusters)


def test_a_frozen_backbone(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    frozen = {"model.frozen": True, "model.weights": "none", "data.image_size": 20, "model.cached_views": 2}
    recipe = make_recipe(None, GIVEN | frozen | {"training.steps": 10}, [])
    made = cluster(recipe, str(photos), RunDirectory(tmp_path / "run"))
    again, _, _ = assign(made.run, str(photos))
    assert np.array_equal(again.clusters, made.run.assignments().clusters)


def test_as_an_estimator() -> None:
    generator = np.random.default_rng(1)
    images = np.stack([picture(kind, generator) for kind in CLASSES for _ in range(10)])
    settings = {"training.steps": 2, "method.settings.hidden_dim": 16, "method.settings.projection_dim": 8}
    clusterer = ImageClusterer(n_clusters=4, method="center", settings=settings).fit(images)
    assert clusterer.predict_proba(images).shape == (40, 4)
    assert np.array_equal(clusterer.labels_, clusterer.predict(images))
    assert clusterer.transform(images).shape == (40, 4 + 8)
