"""Cluster centres end to end: in a chain of two runs, from scratch, on a frozen backbone, as an estimator."""

from pathlib import Path

import numpy as np
import pytest
from patterns import CLASSES, picture

from likewise import ImageClusterer
from likewise.recipe_book import make_recipe
from likewise.report import write_report
from likewise.runs import RunDirectory
from likewise.scoring import evaluate
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
ALONE = {"method.settings.clustering_weight": 0.0, "method.settings.anchor_weight": 0.0}


@pytest.fixture(scope="module")
def first(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run that learned features with the instance loss alone."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "first")
    cluster(make_recipe(None, GIVEN | ALONE | {"training.steps": 30}, []), str(photos), run)
    return run


@pytest.fixture(scope="module")
def run(first: RunDirectory, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """One that started from it, with the centres."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "second")
    given = GIVEN | {"training.steps": 15, "training.learning_rate": 0.05, "model.start": str(first.path)}
    cluster(make_recipe(None, given, []), str(photos), run)
    return run


def test_a_chain_of_two_runs_finds_the_kinds_of_pictures(run: RunDirectory) -> None:
    rows = {row["name"]: row for row in evaluate(run, "folders")["rows"]}
    assert rows["Center"]["acc"] >= 0.9
    assert set(rows) == {"Center", "K-means on the same features", "K-means on pixels"}


def test_the_run_directory_is_whole(run: RunDirectory) -> None:
    table = run.assignments()
    np.testing.assert_allclose(table.probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(np.exp(run.features("categorical")), table.probabilities, atol=1e-5)
    assert run.features("instance").shape == (240, 32)
    assert set(run.log()) >= {"loss", "instance_loss", "clustering_loss", "anchor_loss", "assignment_entropy"}
    geometry = run.metrics()["geometry"]
    assert set(geometry) == {"backbone", "instance"}
    assert geometry["backbone"]["clusters"] == [0, 1, 2, 3]
    assert geometry["backbone"]["silhouette"] > 0
    assert 'id="geometry"' in write_report(run).read_text(encoding="utf-8")


def test_assigning_the_same_images_gives_the_same_clusters(run: RunDirectory, photos: Path) -> None:
    again, _, _ = assign(run, str(photos))
    assert np.array_equal(again.clusters, run.assignments().clusters)


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
