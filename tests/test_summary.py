"""A run and its scores in a few lines of text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise.evaluation import cluster_summary
from likewise.runs import Assignments, RunDirectory
from likewise.runs.names import write_names
from likewise.summary import describe_analysis, describe_clusters, describe_evaluation, describe_run
from likewise.tracks import notice


def new_run(path: Path, clusters: list[int], num_clusters: int, **metrics: Any) -> RunDirectory:
    """A run with these clusters; every image is as sure of its cluster as any other."""
    probabilities = np.full((len(clusters), num_clusters), 0.25 / (num_clusters - 1), np.float32)
    probabilities[np.arange(len(clusters)), clusters] = 0.75
    table = Assignments.from_probabilities([str(i) for i in range(len(clusters))], probabilities)
    run = RunDirectory(path)
    table.write(run.assignments_file)
    training = {"seconds": 192.3, "warnings": metrics.pop("warnings", [])}
    clustering = cluster_summary(table.clusters, table.probabilities)
    run.write_metrics({"track": "none", "clustering": clustering, "training": training} | metrics)
    return run


def test_a_run(tmp_path: Path) -> None:
    run = new_run(tmp_path, [2] * 6 + [0] * 3 + [1], 4)
    assert describe_run(run).splitlines() == [
        "10 images in 4 clusters, after 3 min 12 s of training",
        "",
        "cluster   images  share  confidence",
        f"      2        6  60.0%       0.75  {'#' * 24}",
        f"      0        3  30.0%       0.75  {'#' * 12}",
        f"      1        1  10.0%       0.75  {'#' * 4}",
        "      3        0   0.0%          -",
        "",
        "mean confidence 0.75; 1 empty cluster",
    ]


def test_many_clusters_are_cut(tmp_path: Path) -> None:
    clusters = np.repeat(np.arange(100), np.arange(100, 0, -1)).tolist()
    lines = describe_run(new_run(tmp_path, clusters, 100)).splitlines()
    assert lines[0].startswith("5,050 images in 100 clusters")
    rows = lines[3:43]
    assert [int(row.split()[0]) for row in rows] == list(range(40))
    assert [int(row.split()[1]) for row in rows] == list(range(100, 60, -1))
    assert lines[43] == "... and 60 more"


def test_forty_clusters_are_not_cut(tmp_path: Path) -> None:
    assert "more" not in describe_run(new_run(tmp_path, list(range(40)), 40))


def test_columns_are_straight(tmp_path: Path) -> None:
    lines = describe_run(new_run(tmp_path, [0] * 12345 + [1], 3)).splitlines()
    assert len({line.index("%") for line in lines[3:6]}) == 1
    assert "12,345" in lines[3]


def test_warnings(tmp_path: Path) -> None:
    warnings = ["step 10: the clusters are collapsing.", "step 20: no clusters have formed."]
    lines = describe_run(new_run(tmp_path, [0, 1], 2, warnings=warnings)).splitlines()
    assert lines[-2:] == [f"warning: {warning}" for warning in warnings]


@pytest.mark.parametrize(
    ("track", "expected"),
    [
        ("none", []),
        ("self-supervised", []),
        ("labels", ["The backbone was trained with labels: this is not an unsupervised result."]),
        ("unknown", ["Whether the weights of the backbone were trained with labels is not known"]),
        ("supervised", ["The labels of these images were trained with: this is an upper bound"]),
    ],
)
def test_weights_that_saw_labels_are_named(track: str, expected: list[str], tmp_path: Path) -> None:
    for text in (
        describe_run(new_run(tmp_path, [0, 1], 2, track=track)),
        describe_evaluation(evaluation(), {"track": track}),
    ):
        marked = [line for line in text.splitlines() if "label" in line]
        assert len(marked) == len(expected)
        assert all(line.startswith(f"note: {start}") for line, start in zip(marked, expected, strict=True))


def test_names_of_clusters(tmp_path: Path) -> None:
    run = new_run(tmp_path, [0, 1, 1], 3)
    write_names(run.names_file, {1: "boots"})
    expected = [
        "cluster   images  share  confidence  name",
        f"      1        2  66.7%       0.75  boots  {'#' * 24}",
        f"      0        1  33.3%       0.75         {'#' * 12}",
        "      2        0   0.0%          -",
    ]
    assert describe_clusters(run).splitlines() == expected
    assert set(expected) <= set(describe_run(run).splitlines())


def test_files_that_could_not_be_read(tmp_path: Path) -> None:
    run = new_run(tmp_path, [0, 1], 2)
    run.write_skipped([("a.png", "is empty"), ("b.png", "is empty")])
    assert describe_run(run).splitlines()[-1] == f"2 files could not be read: {run.skipped_file}"


def evaluation(classes: int = 2, clusters: int = 0) -> dict[str, Any]:
    scores = {"acc": 0.91234, "nmi": 0.5, "ari": -0.05, "ami": 1.0}
    return {
        "protocol": "all",
        "num_images": 1234,
        "num_clusters": clusters or classes,
        "num_classes": classes,
        "rows": [{"name": "CDC", **scores}, {"name": "K-means on the same features", **scores}],
        "per_class": [
            {
                "class": "a very long name of a class, indeed" if index else 7,
                "images": 1000 + index,
                "cluster": index or None,
                "recall": 0.5 + index / 200,
                "precision": 0.25,
            }
            for index in reversed(range(classes))
        ],
    }


def test_an_evaluation() -> None:
    assert describe_evaluation(evaluation(), {}).splitlines() == [
        "1,234 images, 2 classes, protocol all",
        "",
        "                                  ACC    NMI    ARI    AMI",
        "CDC                             0.912  0.500 -0.050  1.000",
        "K-means on the same features    0.912  0.500 -0.050  1.000",
        "",
        "class                     images  cluster  recall  precision",
        "7                          1,000     none    0.50       0.25",
        "a very long name of a cl   1,001        1    0.51       0.25",
    ]


@pytest.mark.parametrize(("clusters", "left"), [(10, "8 clusters"), (1, "1 class")])
def test_what_accuracy_means_with_other_numbers_of_clusters(clusters: int, left: str) -> None:
    (line,) = [line for line in describe_evaluation(evaluation(2, clusters), {}).splitlines() if "one to one" in line]
    assert line.startswith(f"{clusters} clusters for 2 classes: ACC")
    assert f"all images of {left} count as wrong" in line


def test_many_classes_are_cut() -> None:
    lines = describe_evaluation(evaluation(100), {}).splitlines()
    assert len(lines) == 7 + 40 + 1
    assert lines[-1] == "... and 60 more, of higher recall"


def analysis() -> dict[str, Any]:
    rows = [{"kind": kind, "mean": -0.5, "std": 0.25} for kind in ("augmented", "same", "different")]
    shares = {"mean_confidence": 0.9, "above_95": 0.5, "above_99": 0.0, "accuracy_95": 0.75, "accuracy_99": None}
    return {
        "protocol": "split",
        "num_images": 1234,
        "num_classes": 4,
        "chance": 0.25,
        "probes": [{"part": part, "knn": 0.9, "linear": 1.0} for part in ("backbone", "categorical", "instance")],
        "class_leakage": {"knn": 0.125, "linear": None},
        "similarity": {"categorical": rows, "instance": rows},
        "temperature": {"own": 0.1, "rows": [{"temperature": t, **shares} for t in (0.05, 0.1)]},
    }


def test_an_analysis() -> None:
    assert describe_analysis(analysis(), {"track": "labels", "method": "CDC"}).splitlines() == [
        "1,234 images, 4 classes, protocol split",
        "",
        "probe                          k-NN  linear",
        "backbone features             0.900   1.000",
        "categorical part (z_c)        0.900   1.000",
        "instance part (z_n)           0.900   1.000",
        "the most frequent class       0.250   0.250",
        "",
        "class left in z_n             0.125       -",
        "  beyond guessing: 0 is nothing, 1 as much as in z_c; - where z_c itself does not beat it",
        "",
        "similarity of pairs             z_c          paper            z_n          paper",
        "augmented            -0.500 (0.250)  0.872 (0.154) -0.500 (0.250)  0.720 (0.199)",
        "same class           -0.500 (0.250)  0.504 (0.237) -0.500 (0.250)  0.004 (0.183)",
        "different class      -0.500 (0.250) -0.033 (0.323) -0.500 (0.250) -0.001 (0.167)",
        "",
        "    t2  confidence  above .95   right  above .99   right",
        "  0.05       0.900      50.0%   0.750       0.0%       -",
        "*  0.1       0.900      50.0%   0.750       0.0%       -",
        "* the run's own",
        f"note: {notice('labels').sentence}",
    ]


def test_the_papers_similarities_are_those_of_its_method() -> None:
    assert "0.872" not in describe_analysis(analysis(), {"method": "SimCLR"})


def test_an_analysis_without_labels() -> None:
    bare = {"protocol": "all", "num_images": 5, "temperature": None}
    assert describe_analysis(bare, {}) == "5 images, protocol all"
    bare["similarity"] = {part: [{"kind": "other", "mean": 0.5, "std": 0.25}] for part in ("categorical", "instance")}
    assert describe_analysis(bare, {}).splitlines()[-1].split() == [
        "different",
        "image",
        "0.500",
        "(0.250)",
        "0.500",
        "(0.250)",
    ]
    bare |= {"probes": [], "class_leakage": {"knn": None, "linear": None}, "chance": 0.5, "num_classes": 2}
    assert "class left in z_n                 -       -" in describe_analysis(bare, {})
