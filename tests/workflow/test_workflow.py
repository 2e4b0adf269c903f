"""The main job in one process: cluster, assign, evaluate, export, and what a run directory then holds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patterns import QUICK, picture
from safetensors.torch import load_file, save_file

from likewise.analysis import analyze
from likewise.assembly import build_network, build_trained, image_store
from likewise.config import Recipe
from likewise.data import ImageStore, open_source
from likewise.defaults import with_model
from likewise.errors import InputError
from likewise.evaluation import kmeans
from likewise.recipe_book import make_recipe
from likewise.report import write_report
from likewise.runs import RunDirectory, large
from likewise.scoring import evaluate
from likewise.summary import describe_analysis
from likewise.training.batches import FreshFeatures
from likewise.training.machine import Machine
from likewise.views import plain_view
from likewise.workflow import Glimpse, assign, cluster
from likewise.workflow.clustering import _say_what_follows
from likewise.workflow.material import OnImages, Task
from likewise.workflow.reuse import open_network


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "run")
    (photos / "rows" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    cluster(make_recipe(None, {"method.num_clusters": 4}, QUICK), str(photos), run)
    return run


def test_groups_without_labels_are_the_kinds_of_pictures(run: RunDirectory) -> None:
    evaluation = evaluate(run, "folders")
    rows = {row["name"]: row for row in evaluation["rows"]}
    assert rows["CDC"]["acc"] >= 0.9
    assert set(rows) == {"CDC", "K-means on the same features", "K-means on pixels"}
    assert evaluation["protocol"] == "all"
    assert run.metrics()["evaluations"] == [json.loads(json.dumps(evaluation))]
    assert evaluate(run, "folders") == evaluation
    assert len(run.metrics()["evaluations"]) == 1


def test_the_run_directory_is_whole(run: RunDirectory) -> None:
    assert run.is_complete
    table = run.assignments()
    assert len(table) == 240
    assert table.positions is not None
    np.testing.assert_allclose(table.probabilities.sum(1), 1, atol=1e-5)
    assert run.features("backbone").shape == (240, 256)
    for part, size in (("categorical", 4), ("instance", 32)):
        assert run.features(part).shape == (240, size)
        np.testing.assert_allclose(np.linalg.norm(run.features(part), axis=1), 1, atol=1e-3)
    assert run.skipped() == [("rows/broken.png", run.skipped()[0][1])]
    assert len(run.thumbnails()) == 240
    assert set(run.log()) >= {"step", "seconds", "lr", "loss", "contrastive_loss", "cluster_loss"}
    metrics = run.metrics()
    assert sum(metrics["clustering"]["sizes"]) == 240
    assert metrics["training"]["steps"] == 80
    assert metrics["track"] == "none"
    recipe = Recipe.read(run.recipe_file)
    assert (recipe.model.backbone, recipe.data.image_size, recipe.data.num_images) == ("resnet9", 20, 240)
    assert recipe.data.digest.startswith("sha256:")
    assert not [path for path in run.path.rglob("*") if path.name.startswith(".")]
    assert write_report(run).stat().st_size > 10_000


def test_the_recipe_of_a_run_makes_the_same_run_again(run: RunDirectory, photos: Path, tmp_path: Path) -> None:
    recipe = Recipe.read(run.recipe_file)
    recipe.training.steps = 5
    one, other = RunDirectory(tmp_path / "one"), RunDirectory(tmp_path / "other")
    cluster(recipe, recipe.data.source, one)
    cluster(Recipe.read(one.recipe_file), str(photos), other)
    assert np.array_equal(one.assignments().probabilities, other.assignments().probabilities)


def test_new_images_find_their_cluster(run: RunDirectory, tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    from PIL import Image

    for kind in ("dots", "rings"):
        Image.fromarray(picture(kind, generator)).save(tmp_path / f"{kind}.png")
    one, _, _ = assign(run, str(tmp_path / "dots.png"))
    both, _, _ = assign(run, str(tmp_path))
    assert len(one) == 1
    assert both.names == ["dots.png", "rings.png"]
    # the one image is in a batch of its own and gets what it gets among others
    np.testing.assert_allclose(one.probabilities[0], both.probabilities[0], atol=0.02)
    known = run.assignments()
    where = {name.split("/")[0]: k for name, k in zip(known.names, known.clusters, strict=True)}
    assert both.clusters.tolist() == [where["dots"], where["rings"]]


def test_what_memory_does_not_hold_goes_to_files(
    run: RunDirectory, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _, held = assign(run, str(photos))
    monkeypatch.setattr(large, "MOST_IN_MEMORY", 0)
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path))
    found, _, mapped = assign(run, str(photos))
    assert found.names == expected.names
    for one, other in zip(mapped, held, strict=True):
        assert np.array_equal(one, other)


def test_images_are_copied_to_a_gpu_that_has_room_for_them(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = []
    monkeypatch.setattr(Machine, "has_room_for", lambda machine, size: size == 240 * 20 * 20 * 3)
    monkeypatch.setattr(ImageStore, "copy_to", lambda store, device: copied.append((len(store), device)))
    recipe = make_recipe(None, {"method.num_clusters": 4}, QUICK)
    source = open_source(str(photos))
    for memory in (2.0, 1e-9):
        recipe.data.memory_gb = memory
        resolved = with_model(recipe, source)
        store = image_store(source, resolved.data)
        machine = Machine("cpu", bf16=False, compile=False, reason="test")
        OnImages(Task(resolved, store, machine, RunDirectory("nowhere"))).batches(None)
    assert copied == [(240, "cpu")], "those that are decoded in every epoch are nowhere else"


def test_a_setting_says_which_others_go_with_it(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for settings, said in (
        ([], ""),
        (["method.settings.assignment_temperature=1"], "go temperature=0.5, epsilon=0.5,"),
    ):
        recipe = make_recipe(None, {}, settings)
        _say_what_follows(recipe.method.settings, with_model(recipe, open_source(str(photos))))
        found = capsys.readouterr().err
        assert said in found if said else not found


def test_assigning_in_fp32_is_the_network_without_any_change(run: RunDirectory, photos: Path) -> None:
    _, store, embedded = assign(run, str(photos), precision="fp32")
    _, network, _ = open_network(run)
    with torch.inference_mode():
        parts = network.eval().parts(plain_view(store.read(slice(0, len(store)))))
    for own, expected in zip(embedded[1:4], parts, strict=True):
        np.testing.assert_allclose(own, expected.numpy(), rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_assigning_the_same_images_gives_the_same_clusters(run: RunDirectory, photos: Path) -> None:
    again, _, _ = assign(run, str(photos))
    assert again.names == run.assignments().names
    assert np.array_equal(again.clusters, run.assignments().clusters)


def test_a_run_whose_images_have_moved_is_scored_by_their_names(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = RunDirectory(shutil.copytree(run.path, tmp_path / "run"))
    recipe = Recipe.read(moved.recipe_file)
    recipe.data.source = str(tmp_path / "elsewhere")
    moved.recipe_file.write_text(recipe.to_toml())
    evaluation = evaluate(moved, "folders")
    assert [row["name"] for row in evaluation["rows"]] == ["CDC", "K-means on the same features"]
    assert evaluation["rows"][0] == evaluate(run, "folders")["rows"][0]
    assert evaluation["data"] == recipe.data.source
    assert "the images of the run are not where they were" in capsys.readouterr().err
    with pytest.raises(InputError, match="there is no file, folder or set"):
        evaluate(moved, "source")


def test_a_run_that_cannot_be_added_to_is_refused_before_the_work(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    for work in (evaluate, analyze):
        with pytest.raises(InputError, match=r"Read-only file system\); copy the run directory to a place"):
            work(run, "folders")


def test_other_images_are_scored_as_split(run: RunDirectory, photos: Path) -> None:
    evaluation = evaluate(run, "folders", str(photos))
    assert evaluation["protocol"] == "split"
    assert evaluation["num_images"] == 240
    with pytest.raises(InputError, match="folder"):
        evaluate(run, "folders", str(photos / "dots"))
    with pytest.raises(InputError, match="without labels"):
        evaluate(run, "source")


def test_weights_of_another_network_are_refused(run: RunDirectory, photos: Path, tmp_path: Path) -> None:
    import shutil

    strange = RunDirectory(shutil.copytree(run.path, tmp_path / "strange"))
    state = load_file(strange.model_file)
    state.pop(next(iter(state)))
    save_file(state, strange.model_file)
    with pytest.raises(InputError, match=r"not those of the network"):
        assign(strange, str(photos))
    strange.model_file.write_bytes(b"not weights")
    with pytest.raises(InputError, match="cannot be read"):
        assign(strange, str(photos))
    state = load_file(run.model_file)
    next(t for t in state.values() if t.is_floating_point()).view(-1)[0] = float("nan")
    save_file(state, strange.model_file)
    with pytest.raises(InputError, match="are no numbers"):
        assign(strange, str(photos))
    recipe = run.recipe_file.read_text()
    for old, new, message in (
        ('name = "cdc"', 'name = "foo"', "unknown method"),
        ("num_clusters = 4", "num_clusters = -500", "-500 clusters"),
        ("num_clusters = 4", "num_clusters = 10000000000", "num_clusters = 10000000000 is not allowed"),
    ):
        assert old in recipe
        strange.recipe_file.write_text(recipe.replace(old, new))
        with pytest.raises(InputError, match=message):
            assign(strange, str(photos))


def test_a_resume_wants_the_images_that_the_run_started_with(run: RunDirectory, photos: Path, tmp_path: Path) -> None:
    recipe = Recipe.read(run.recipe_file)
    with pytest.raises(InputError, match=r"cannot be found: there is no .*recipe\.toml, as data\.source"):
        cluster(recipe, str(tmp_path / "moved"), run, resume=True)
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    next(fewer.glob("rows/*.png")).unlink()
    with pytest.raises(InputError, match="not those that this run started with, of which 240 could be read"):
        cluster(recipe, str(fewer), run, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method.num_clusters": 1}, "at least 2"),
        ({"method.num_clusters": 1000}, r"24\d images are too few for 1,000 clusters"),
        ({"training.batch_size": 512}, r"larger than the set of 24\d images"),
        ({"method.name": "cdd"}, r"Did you mean 'cdc'"),
        ({"model.backbone": "resnet19"}, r"Did you mean"),
        ({"method.settings.temprature": 0.1}, r"Did you mean 'temperature'"),
        ({"method.settings.temperature": -1}, r"temperature = -1"),
        ({"method.name": "supervised"}, r"learns from labels, which only a comparison has"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_trained(
    changes: dict[str, object], message: str, photos: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(None, {"method.num_clusters": 4} | changes, [])
    with pytest.raises(InputError, match=message):
        cluster(recipe, str(photos), RunDirectory(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_frozen_backbone_trains_its_head_on_cached_features(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    given = {"method.num_clusters": 4, "model.frozen": True, "model.weights": "none", "data.image_size": 20}
    recipe = make_recipe(None, given | {"training.steps": 20, "training.batch_size": 60, "model.cached_views": 2}, [])
    first = cluster(recipe, str(photos), RunDirectory(tmp_path / "first"))
    second = cluster(recipe, str(photos), RunDirectory(tmp_path / "second"))
    assert "using the features in" in capsys.readouterr().err
    assert np.array_equal(first.embedded.probabilities, second.embedded.probabilities)
    again, _, _ = assign(first.run, str(photos))
    assert np.array_equal(again.clusters, first.run.assignments().clusters)
    before = {name: value.clone() for name, value in first.network.frozen.state_dict().items()}  # type: ignore[union-attr]
    assert all(np.array_equal(before[n], v) for n, v in second.network.frozen.state_dict().items())  # type: ignore[union-attr]


@pytest.mark.parametrize("neighbors", [0, 3])
def test_a_frozen_backbone_may_see_new_views_in_every_step(
    neighbors: int, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    given = {"method.num_clusters": 4, "model.frozen": True, "model.weights": "none", "data.image_size": 20}
    short = {"training.steps": 8, "training.batch_size": 60, "training.neighbors": neighbors}
    seen: list[torch.Tensor] = []
    original = FreshFeatures.views

    def views(batches: FreshFeatures, *arguments: Any) -> tuple[torch.Tensor, ...]:
        seen.extend(made := original(batches, *arguments))
        return made

    monkeypatch.setattr(FreshFeatures, "views", views)
    recipe = make_recipe(None, given | short | {"model.cached_views": 0}, [])
    done = cluster(recipe, str(photos), RunDirectory(tmp_path / "run"))
    assert len(seen) == 2 * 8
    assert not any(made.requires_grad or torch.equal(made, seen[0]) for made in seen[1:])
    assert not list((tmp_path / "cache").rglob("views.npy")) or len(np.load(next(tmp_path.rglob("views.npy")))) == 0
    table, _, _ = assign(done.run, str(photos))
    assert np.array_equal(table.clusters, done.run.assignments().clusters)
    again = cluster(recipe, str(photos), RunDirectory(tmp_path / "again"))
    assert np.array_equal(again.embedded.probabilities, done.embedded.probabilities)


def test_the_head_with_the_lowest_loss_is_kept(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    given = {"method.num_clusters": 4, "model.frozen": True, "model.weights": "none", "data.image_size": 20}
    short = {"training.steps": 6, "training.batch_size": 60, "model.cached_views": 2, "training.heads": 3}
    recipe = make_recipe(None, given | short, [])
    done = cluster(recipe, str(photos), RunDirectory(tmp_path / "run"))
    trained = build_trained(build_network(done.recipe), done.recipe)
    first = [head.state_dict()["encoder.head.0.weight"] for head in trained.methods]  # type: ignore[operator,union-attr]
    assert len(first) == 3
    assert not any(torch.equal(first[0], other) for other in first[1:])
    again = build_trained(build_network(done.recipe), done.recipe)
    assert all(
        torch.equal(value, again.state_dict()[name]) for name, value in trained.state_dict().items() if name != "losses"
    )
    table, _, _ = assign(done.run, str(photos))  # of one head: the file holds no other
    assert np.array_equal(table.clusters, done.run.assignments().clusters)


def test_a_run_overwrites_nothing(run: RunDirectory, photos: Path, tmp_path: Path) -> None:
    recipe = make_recipe(None, {"method.num_clusters": 4}, [])
    with pytest.raises(InputError, match="holds a run already"):
        cluster(recipe, str(photos), run)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="not empty"):
        cluster(recipe, str(photos), RunDirectory(tmp_path))


def test_a_small_stem_comes_back_with_the_run(photos: Path, tmp_path: Path) -> None:
    given = {"method.num_clusters": 4, "model.backbone": "resnet18", "training.steps": 1, "training.batch_size": 16}
    for small in (True, False):
        run = RunDirectory(tmp_path / f"{small}")
        cluster(make_recipe(None, given | {"model.small_stem": small}, []), str(photos), run)
        table, _, _ = assign(run, str(photos))
        assert np.array_equal(table.clusters, run.assignments().clusters)


def test_images_without_a_label_are_no_class(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = np.stack([picture(kind, generator) for kind in ("dots", "rows") for _ in range(8)])
    np.savez(tmp_path / "some.npz", images=images, labels=np.array([0] * 6 + [-1] * 4 + [1] * 6))
    np.savez(tmp_path / "none.npz", images=images, labels=np.full(16, -1))
    run = RunDirectory(tmp_path / "run")
    given = {"method.num_clusters": 2, "training.steps": 1, "training.batch_size": 16}
    cluster(make_recipe(None, given, []), str(tmp_path / "some.npz"), run)
    evaluation = evaluate(run, "source")
    assert (evaluation["num_images"], evaluation["num_classes"]) == (12, 2)
    with pytest.raises(InputError, match="none of the images has a label"):
        evaluate(run, "source", str(tmp_path / "none.npz"))


def test_a_run_from_memory_is_scored_on_other_images(photos: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = np.stack([picture(kind, generator) for kind in ("dots", "rows") for _ in range(8)])
    run = RunDirectory(tmp_path / "run")
    cluster(
        make_recipe(None, {"method.num_clusters": 2, "training.steps": 1, "training.batch_size": 16}, []), images, run
    )
    evaluation = evaluate(run, "folders", str(photos))
    assert [row["name"] for row in evaluation["rows"]] == ["CDC", "K-means on the same features"]
    (tmp_path / "labels.csv").write_text("index,label\n" + "\n".join(f"{i},{i // 8}" for i in range(16)) + "\n")
    assert evaluate(run, str(tmp_path / "labels.csv"))["num_images"] == 16


@pytest.mark.parametrize("method", ["cdc", "simclr", "center"])
def test_a_run_that_is_observed_is_the_same_run(method: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = np.stack([picture(kind, generator) for kind in ("dots", "rows") for _ in range(16)])
    given = {"method.num_clusters": 2, "method.name": method, "training.steps": 12, "training.batch_size": 16}
    glimpses: list[Glimpse] = []
    plain, watched = RunDirectory(tmp_path / "plain"), RunDirectory(tmp_path / "watched")
    cluster(make_recipe(None, given, []), images, plain)
    cluster(make_recipe(None, given, []), images, watched, observe=glimpses.append)
    assert plain.model_file.read_bytes() == watched.model_file.read_bytes()
    assert len(glimpses) == (11 if method == "cdc" else 10)  # one more with new heads
    assert {len(glimpse.names) for glimpse in glimpses} == {32}
    assert [glimpse.has_clusters for glimpse in glimpses] == [
        method == "cdc" or (method == "center" and glimpse.step > 6) for glimpse in glimpses
    ]
    np.testing.assert_allclose(glimpses[-1].embedded.features, watched.features("backbone"), rtol=0.02, atol=0.05)


def test_scan_starts_from_instance_discrimination(photos: Path, tmp_path: Path) -> None:
    first, second = RunDirectory(tmp_path / "simclr"), RunDirectory(tmp_path / "scan")
    given = {"method.num_clusters": 4, "training.steps": 4, "training.batch_size": 60}
    method: Any = cluster(make_recipe(None, given | {"method.name": "simclr"}, []), str(photos), first).network.method
    again, _, _ = assign(first, str(photos))
    assert np.array_equal(again.clusters, first.assignments().clusters)
    assert np.array_equal(kmeans(first.features("backbone"), 4, method.kmeans_seed), first.assignments().clusters)
    result = cluster(
        make_recipe(None, given | {"method.name": "scan", "model.start": str(first.path)}, []), str(photos), second
    )
    assert result.recipe.training.neighbors == 12  # of the 60 images of a fair cluster
    analysis = analyze(second, "folders")
    assert [row["part"] for row in analysis["probes"]] == ["backbone", "categorical"]  # it has no instance part
    assert "class_leakage" not in analysis
    assert "class left in z_n" not in describe_analysis(analysis, second.metrics())
    assert second.features("categorical").shape == (240, 4)
