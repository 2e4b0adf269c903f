"""What each part of a run knows: with labels and without, on its own images and on others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from patterns import QUICK, picture

from likewise.analysis import analyze
from likewise.errors import InputError
from likewise.evaluation import knn_accuracy
from likewise.recipe_book import make_recipe
from likewise.runs import RunDirectory
from likewise.workflow import cluster

KINDS = ("dots", "rows", "columns", "rings")


def write_pictures(path: Path, count: int, seed: int) -> Path:
    """An array of `count` pictures with their labels, every tenth without."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = np.stack([picture(KINDS[label], generator) for label in labels])
    np.savez(path, images=images, labels=np.where(np.arange(count) % 10 == 9, -1, labels))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("analysis")
    source = write_pictures(folder / "own.npz", 160, 0)
    run = RunDirectory(folder / "run")
    cluster(make_recipe(None, {"method.num_clusters": 4}, [*QUICK, "training.steps=12"]), str(source), run)
    return run


def test_its_own_images_with_labels(run: RunDirectory) -> None:
    analysis = analyze(run, "source")
    assert (analysis["protocol"], analysis["num_images"], analysis["num_classes"]) == ("all", 144, 4)
    assert run.metrics()["analysis"] == json.loads(json.dumps(analysis))
    assert run.metrics()["clustering"]["num_images"] == 160, "the rest stays"
    probes = {row["part"]: row for row in analysis["probes"]}
    assert list(probes) == ["backbone", "categorical", "instance"]
    assert min(probes["backbone"]["knn"], probes["backbone"]["linear"]) > 0.8
    known = np.arange(160) % 10 != 9
    expected = knn_accuracy(run.features("instance")[known], (np.arange(160) % 4)[known])
    assert probes["instance"]["knn"] == pytest.approx(expected)
    for part in ("categorical", "instance"):
        rows = {row["kind"]: row for row in analysis["similarity"][part]}
        assert list(rows) == ["augmented", "same", "different"]
        assert rows["augmented"]["mean"] > rows["different"]["mean"]
        assert sum(row["pairs"] for row in rows.values()) == 144**2
    temperatures = [row["temperature"] for row in analysis["temperature"]["rows"]]
    assert temperatures == sorted(temperatures)
    assert analysis["temperature"]["own"] in temperatures
    maps = run.maps()
    assert maps is not None
    assert maps.rows.tolist() == list(range(160))
    assert not np.array_equal(maps.categorical, maps.instance)
    assert analyze(run, "source") == analysis, "the same every time"


def test_without_labels_there_are_no_probes(run: RunDirectory) -> None:
    analysis = analyze(run)
    assert analysis["num_images"] == 160
    assert not {"probes", "chance", "num_classes", "class_leakage"} & set(analysis)
    assert [row["kind"] for row in analysis["similarity"]["instance"]] == ["augmented", "other"]
    assert all(row["accuracy_95"] is None for row in analysis["temperature"]["rows"])


def test_other_images_are_a_split(run: RunDirectory, photos: Path, tmp_path: Path) -> None:
    others = write_pictures(tmp_path / "others.npz", 60, 1)
    analysis = analyze(run, "source", str(others))
    assert (analysis["protocol"], analysis["num_images"]) == ("split", 54)
    assert analysis["probes"][0]["knn"] > 0.8
    with pytest.raises(InputError, match="folder"):
        analyze(run, "folders", str(photos))
    (tmp_path / "other" / "left").mkdir(parents=True)
    (tmp_path / "other" / "right").mkdir()
    for number, picture_path in enumerate(sorted((photos / "dots").iterdir())[:8]):
        shutil.copy(picture_path, tmp_path / "other" / ("left", "right")[number % 2])
    table = tmp_path / "both.csv"
    named = [
        f"{path.parent.name}/{path.name},{path.parent.name}" for path in sorted((tmp_path / "other").rglob("*.png"))
    ]
    table.write_text("\n".join([f"{index},{index % 4}" for index in range(160)] + named) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"no class in common \(0 and left"):
        analyze(run, str(table), str(tmp_path / "other"))
    (tmp_path / "labels.csv").write_text("0,a\n1,b\n")
    with pytest.raises(InputError, match="cannot tell them apart"):
        analyze(run, str(tmp_path / "labels.csv"), str(others))


def test_a_table_may_hold_both_sets(photos: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    given = {"method.num_clusters": 2, "training.steps": 1, "training.batch_size": 16}
    generator = np.random.default_rng(0)
    images = np.stack([picture(kind, generator) for kind in ("dots", "rows") for _ in range(8)])
    cluster(make_recipe(None, given, []), images, run)
    names = [f"{kind}/{number:03d} é.png" for kind in KINDS for number in range(60)]
    rows = [f"{index},{KINDS[index // 8]}" for index in range(16)] + [f"{name},{name.split('/')[0]}" for name in names]
    (tmp_path / "labels.csv").write_text("image,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    analysis = analyze(run, str(tmp_path / "labels.csv"), str(photos))
    assert (analysis["num_images"], analysis["num_classes"]) == (240, 4)
    assert analysis["probes"][0]["knn"] <= 0.5, "two of the classes are never voted for"


def test_where_the_images_are_gone_the_rest_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_pictures(tmp_path / "own.npz", 40, 0)
    run = RunDirectory(tmp_path / "run")
    given = {"method.num_clusters": 2, "training.steps": 1, "training.batch_size": 16}
    cluster(make_recipe(None, given, []), str(source), run)
    source.unlink()
    (tmp_path / "labels.csv").write_text("".join(f"{index},{index % 4}\n" for index in range(40)))
    analysis = analyze(run, str(tmp_path / "labels.csv"))
    assert "similarity" not in analysis
    assert len(analysis["probes"]) == 3
    assert "not where they were" in capsys.readouterr().err


def test_a_frozen_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    source = write_pictures(tmp_path / "own.npz", 40, 0)
    run = RunDirectory(tmp_path / "run")
    given = {"method.num_clusters": 2, "model.frozen": True, "model.weights": "none", "data.image_size": 20}
    more = {"training.steps": 2, "training.batch_size": 16, "model.cached_views": 2}
    cluster(make_recipe(None, given | more, []), str(source), run)
    analysis = analyze(run, "source")
    assert analysis["similarity"]["num_images"] == 36
    assert len(analysis["probes"]) == 3
