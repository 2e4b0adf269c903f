"""The report as a whole: what it holds, that it needs nothing else, that it fits runs of any size."""

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_runs import Page, make_run

from likewise.errors import InputError
from likewise.report import write_report
from likewise.runs import PartMaps, RunDirectory
from likewise.runs.names import write_names

COUNTS = [[0, 40, 1], [30, 0, 9], [0, 0, 40]]
EVALUATION = {
    "protocol": "all",
    "data": "pets",
    "num_images": 120,
    "num_classes": 3,
    "classes": ["cat", "dog", "newt"],
    "rows": [
        {"name": "CDC", "acc": 0.83, "nmi": 0.5, "ari": 0.6, "ami": 0.49},
        {"name": "K-means on the same features", "acc": 0.71, "nmi": 0.6, "ari": 0.5, "ami": 0.48},
    ],
    "confusion": {"clusters": [0, 1, 2], "classes": ["cat", "dog", "newt"], "counts": COUNTS},
    "per_class": [{"class": "cat", "images": 30, "cluster": 1, "recall": 1.0, "precision": 0.769}],
}
ANALYSIS = {
    "protocol": "all",
    "num_images": 120,
    "num_classes": 3,
    "chance": 0.34,
    "probes": [
        {"part": "backbone", "knn": 0.9, "linear": 0.91},
        {"part": "categorical", "knn": 0.84, "linear": 0.85},
        {"part": "instance", "knn": 0.39, "linear": 0.4},
    ],
    "class_leakage": {"knn": 0.1, "linear": 1.25},
    "similarity": {
        part: [
            {"kind": kind, "pairs": 9, "mean": -0.25, "std": 0.125, "histogram": [0.0, 0.25, 0.75, 0.0]}
            for kind in ("augmented", "same", "different")
        ]
        for part in ("categorical", "instance")
    },
    "temperature": {
        "own": 0.1,
        "rows": [
            {"temperature": t, "mean_confidence": 1 - t, "above_95": 0.5, "above_99": 0.0, "accuracy_99": None}
            for t in (0.05, 0.1, 0.5)
        ],
    },
}

GEOMETRY = {
    "backbone": {
        "clusters": [0, 1, 4],
        "spreads": [1.5, 2.0, 0.5],
        "distances": [[0, 8, 9.25], [8, 0, 4], [9.25, 4, 0]],
        "min_distance": 4.0,
        "mean_distance": 7.08,
        "mean_spread": 1.33,
        "silhouette": 0.61,
        "davies_bouldin": 0.44,
    },
    "instance": {"clusters": [3], "spreads": [0.7], "distances": [[0]], "mean_spread": 0.7, "silhouette": None},
    "representation": {"davies_bouldin": 0.5, "agreement": {"nmi": 0.83, "ari": 0.77}},
}


def page_of(run: RunDirectory) -> Page:
    path = write_report(run)
    assert path == run.report_file
    return Page(path.read_text(encoding="utf-8"))


def test_every_section_of_a_full_run_is_there(tmp_path: Path) -> None:
    run = make_run(tmp_path, metrics={"evaluations": [EVALUATION], "training": {"seconds": 75.0}})
    page = page_of(run)
    assert page.sections() == ["clusters", "map", "sizes", "training", "scores", "settings", "skipped"]
    assert "120 images in 5 clusters; " in page.text
    assert "1 file could not be read." in page.text
    for words in ("pets", "CDC", "resnet18", "1 min 15 s", "sha256:0123", "the file is truncated"):
        assert words in page.text
    assert len(page.named("article")) == 5
    assert "not a number in 20 of 900 rows" in page.text


def test_it_needs_nothing_else_and_may_load_nothing_else(tmp_path: Path) -> None:
    run = make_run(tmp_path, metrics={"evaluations": [EVALUATION]})
    page = page_of(run)
    html = run.report_file.read_text(encoding="utf-8")
    assert "http:" not in html
    assert "https:" not in html
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value.startswith(("data:image/jpeg;base64,", "#")), (tag, name, value[:80])


def test_the_policy_names_exactly_the_style_and_the_script(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path))
    policy = next(tag["content"] for tag in page.named("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for tag in ("style", "script"):
        content = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not any("style" in attributes for _, attributes in page.tags), "the policy would drop it"


def test_without_optional_files_their_sections_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, num_thumbnails=0, with_map=False, metrics={})
    for path in (run.recipe_file, run.log_file, run.skipped_file, run.metrics_file):
        path.unlink()
    page = page_of(run)
    assert page.sections() == ["clusters", "sizes"]
    assert not [image for image in page.named("img") if image.get("src")]


def test_a_map_without_pictures_says_so(tmp_path: Path) -> None:
    assert (
        "This report has no pictures of the points, only their names."
        in page_of(make_run(tmp_path, num_thumbnails=0)).text
    )


def test_clusters_have_the_names_that_were_given(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_names(run.names_file, {0: "boots & shoes"})
    page = page_of(run)
    assert "boots & shoes cluster 0" in page.text
    assert any('"called"' in content and "boots" in content for _, content in page.blocks)
    run.names_file.write_text('{"0": "<script>"}')
    page = page_of(run)
    assert "names.json is damaged" in page.text
    assert "Cluster 0" in page.text


def test_what_is_not_unsupervised_is_marked(tmp_path: Path) -> None:
    def text(track: str) -> str:
        return page_of(make_run(tmp_path / track, metrics={"track": track})).text

    assert "The backbone was trained with labels: this is not an unsupervised result." in text("labels")
    unknown = text("unknown")
    assert "is not known" in unknown
    assert "Labels were involved" not in unknown
    assert "an upper bound for others" in text("supervised")
    for track in ("none", "self-supervised", "nonsense"):
        assert "involved" not in text(track)


def test_scores_say_where_else_labels_were_used(tmp_path: Path) -> None:
    scored = {"none": "nowhere else in this run", "labels": "beforehand", "supervised": "before that for training"}
    for track, words in scored.items():
        page = page_of(make_run(tmp_path / track, metrics={"track": track, "evaluations": [EVALUATION]}))
        assert words in page.text
        assert ("nowhere else" in page.text) == (track == "none")


def test_warnings_of_the_training_are_said_first(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, metrics={"training": {"warnings": ["One cluster holds most images."]}}))
    assert 0 < page.text.index("One cluster holds most images.") < page.text.index("Each with its most typical images")


def test_scores_stand_with_their_protocol_and_the_best_is_marked(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, metrics={"evaluations": [EVALUATION]}))
    assert "Labels were used here, for scoring, and nowhere else" in page.text
    assert "Protocol “all”" in page.text
    best = [attributes for attributes in page.named("td") if "best" in attributes.get("class", "")]
    assert len(best) == 4
    hints = [attributes["title"] for attributes in page.named("td") if "title" in attributes]
    assert hints[0] == "cluster 1, cat: 30 images, 77 % of the cluster", "clusters follow the order of their main class"


def test_what_each_part_knows(tmp_path: Path) -> None:
    run = make_run(tmp_path, metrics={"analysis": ANALYSIS, "method": "CDC"})
    places = np.random.default_rng(0).random((2, 60, 2)).astype(np.float32)
    PartMaps(np.arange(90, 150), *places).write(run.maps_file)
    page = page_of(run)
    assert page.sections() == ["clusters", "map", "sizes", "training", "parts", "settings", "skipped"]
    for words in (
        "Measured on 120 images",
        "Instance part z_n 39.0 40.0",
        "knows 10 % by k-NN and 125 % by the linear probe",
        "-0.250 (0.125)",
    ):
        assert words in page.text
    assert "0.872 (0.154)" in page.text, "the paper's figures stand beside ours"
    dots = [path["d"].count("M") for path in page.named("path") if "dots" in path.get("class", "")]
    assert sum(dots) == 2 * 30, "images that the run does not have are left out"
    series = [path["class"] for path in page.named("path") if "series" in path.get("class", "")]
    assert (
        series
        == ["series s0", "series s1", "series s2"] + ["series s0 filled", "series s1 filled", "series s2 filled"] * 2
    )


def test_an_analysis_without_labels_shows_what_there_is(tmp_path: Path) -> None:
    rest = {name: ANALYSIS[name] for name in ("protocol", "num_images", "similarity", "temperature")}
    page = page_of(make_run(tmp_path, metrics={"analysis": rest}))
    assert "parts" in page.sections()
    assert "k-NN" not in page.text
    assert "What the temperature makes of z_c" in page.text


def test_distances_of_clusters_are_drawn_with_the_spread_on_the_diagonal(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, metrics={"geometry": GEOMETRY}))
    assert page.sections() == ["clusters", "map", "sizes", "geometry", "training", "settings", "skipped"]
    cells = [tag for tag in page.named("rect") if "cell" in tag.get("class", "")]
    assert len(cells) == 9, "one cluster alone has no map"
    assert [tag["class"] == "cell own" for tag in cells] == np.eye(3, dtype=bool).ravel().tolist()
    shades = [float(tag["fill-opacity"]) for tag in cells]
    assert shades[2] == max(shades) == 1
    for words in (
        "Agreement with the model, ARI",
        "0.77",
        "clusters 0 and 4: 9.250 apart",
        "cluster 1: 2.000 from its mean, on average",
        "Silhouette",
        "0.61",
    ):
        assert words in page.text
    assert page.text.count("Mean spread within a cluster") == 2
    assert page.text.count("Silhouette") == 1, "what has no answer is left out"


def test_empty_clusters_are_said_in_one_line(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, num_clusters=6, clusters=np.repeat([0, 3, 5], 40)))
    assert "3 clusters have no images: 1, 2, 4." in page.text
    assert [card["data-cluster"] for card in page.named("article")] == ["0", "3", "5"]


@pytest.mark.parametrize("num_clusters", [1, 2, 11, 41, 61, 200])
def test_any_number_of_clusters(tmp_path: Path, num_clusters: int) -> None:
    clusters = np.arange(400) % num_clusters
    page = page_of(make_run(tmp_path, 400, num_clusters, clusters=clusters))
    assert len(page.named("article")) == num_clusters
    folded = [attributes for attributes in page.named("details") if attributes.get("id") == "more"]
    assert len(folded) == (num_clusters > 60)
    assert (tmp_path / "report.html").stat().st_size < 6e6


def test_one_image_in_one_cluster(tmp_path: Path) -> None:
    assert "1 image in 1 cluster" in page_of(make_run(tmp_path, 1, 1)).text


def test_no_image_at_all(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, 0, 3, num_thumbnails=0))
    assert "0 images in 3 clusters" in page.text
    assert "clusters" not in page.sections()


def test_many_images_stay_a_small_file(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, 20_000, 20, num_thumbnails=300))
    assert (tmp_path / "report.html").stat().st_size < 4e6
    assert "300 of the points come with a picture; the others show their name only." in page.text


def test_it_is_the_same_file_every_time(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_damaged_assignments_are_an_error_for_the_user(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.assignments_file.write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match="not a table of assignments"):
        write_report(run)


def test_importing_it_is_light() -> None:
    heavy = "torch matplotlib jinja2 PIL pyarrow"
    code = f"import sys, likewise.report; sys.exit(' '.join(sys.modules.keys() & set('{heavy}'.split())) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_recipe_reads_as_settings_are_given(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    settings = "\n[method.settings]\nassignment_temperature = 0.30000000000000004\n[views]\ncrop_scale = [0.2, 1.0]\n"
    run.recipe_file.write_text(f"[training]\ncompile = false\noptimizer = '<b>'\n{settings}", encoding="utf-8")
    page = write_report(run).read_text(encoding="utf-8").replace("<wbr>", "")  # which allows a break, and no space
    for name, said in (
        ("settings.assignment_temperature", "0.30000000000000004"),
        ("crop_scale", "[0.2, 1.0]"),
        ("compile", "false"),
        ("optimizer", "&lt;b&gt;"),
    ):
        assert f"<dt>{name}</dt><dd>{said}</dd>" in page
