"""ImageClusterer behaves as scikit-learn's users expect, on everything that holds images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from patterns import CLASSES, picture
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from likewise import ImageClusterer, InputError
from likewise.errors import RunError
from likewise.training.fit import Interrupted

SETTINGS = {"training.steps": 3, "method.settings.hidden_dim": 32, "method.settings.instance_dim": 16}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    generator = np.random.default_rng(1)
    return np.stack([picture(kind, generator) for kind in CLASSES for _ in range(10)])


@pytest.fixture(scope="module")
def fitted(images: np.ndarray) -> ImageClusterer:
    return ImageClusterer(n_clusters=4, settings=SETTINGS).fit(images)


def test_shapes_and_agreement(fitted: ImageClusterer, images: np.ndarray) -> None:
    probabilities = fitted.predict_proba(images)
    assert probabilities.shape == (40, 4)
    assert np.array_equal(fitted.predict(images), probabilities.argmax(1))
    assert np.array_equal(fitted.labels_, fitted.predict(images))
    assert fitted.transform(images).shape == (40, 4 + 16)
    assert 0.25 <= fitted.score(images, np.repeat(CLASSES, 10)) <= 1


def test_parameters_are_those_of_scikit_learn() -> None:
    clusterer = ImageClusterer(n_clusters=7, backbone="resnet18", random_state=3)
    twin = clone(clusterer)
    assert twin.get_params() == clusterer.get_params()
    assert twin.set_params(n_clusters=9).n_clusters == 9
    with pytest.raises(NotFittedError):
        twin.predict(np.zeros((4, 8, 8), np.uint8))


def test_the_same_state_gives_the_same_groups(images: np.ndarray) -> None:
    one, other = (ImageClusterer(n_clusters=4, random_state=5, settings=SETTINGS).fit(images) for _ in range(2))
    assert np.array_equal(one.predict_proba(images), other.predict_proba(images))


def test_a_stopped_fit_points_to_no_folder_that_is_gone(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Interrupted("stopped; continue with --resume")

    monkeypatch.setattr("likewise.estimator.cluster", stopped)
    with pytest.raises(RunError, match="run_dir"):
        ImageClusterer(2).fit(images)
    with pytest.raises(Interrupted, match=r"run_dir='.*run'\)\.fit\(images, resume=True\)"):
        ImageClusterer(2, run_dir=tmp_path / "run").fit(images)


def test_a_stopped_fit_goes_on_where_it_was(images: np.ndarray, tmp_path: Path) -> None:
    whole = ImageClusterer(4, settings=SETTINGS, run_dir=tmp_path / "whole").fit(images)
    half = tmp_path / "half"
    for clusterer in (
        ImageClusterer(4),
        ImageClusterer(4, run_dir=half),
        ImageClusterer(4, run_dir=tmp_path / "whole"),
    ):
        with pytest.raises(InputError, match="no fit to go on with"):
            clusterer.fit(images, resume=True)
    half.mkdir()
    shutil.copy(tmp_path / "whole" / "recipe.toml", half)
    again = ImageClusterer(7, run_dir=half).fit(images, resume=True)  # what it was begun with counts
    assert np.array_equal(again.predict_proba(images), whole.predict_proba(images))
    shutil.rmtree(half)
    half.mkdir()
    shutil.copy(tmp_path / "whole" / "recipe.toml", half)
    with pytest.raises(InputError, match="not those that this run started with"):
        ImageClusterer(4, run_dir=half).fit(images[:-1], resume=True)


def test_saved_and_loaded_it_says_the_same(fitted: ImageClusterer, images: np.ndarray, tmp_path: Path) -> None:
    path = fitted.save(tmp_path / "model")
    loaded = ImageClusterer.load(path)
    assert np.array_equal(loaded.predict_proba(images), fitted.predict_proba(images))
    assert np.array_equal(loaded.labels_, fitted.labels_)
    assert clone(loaded).n_clusters == 4
    with pytest.raises(InputError, match="overwritten"):
        fitted.save(path)


def test_takes_whatever_holds_images(fitted: ImageClusterer, images: np.ndarray, tmp_path: Path) -> None:
    expected = fitted.predict(images)
    np.save(tmp_path / "images.npy", images)
    for place, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{place:02d}.png")
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    dataset = torch.utils.data.TensorDataset(tensor)
    for data in (tensor, tmp_path, tmp_path / "images.npy", [Image.fromarray(i) for i in images], dataset):
        assert np.array_equal(fitted.predict(data), expected)
    assert fitted.predict(str(tmp_path / "03.png")).shape == (1,)


def test_an_unreadable_image_gets_no_cluster(fitted: ImageClusterer, images: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    Image.fromarray(images[1]).save(tmp_path / "c.png")
    with pytest.warns(UserWarning, match="1 of 3 images"):
        clusters = fitted.predict(tmp_path)
    assert (clusters >= 0).tolist() == [True, False, True]
    with pytest.warns(UserWarning, match="1 of 3 images"):
        assert np.isnan(fitted.predict_proba(tmp_path)[1]).all()
