"""From results of jobs to a table, and to a chart."""

import math
from xml.etree import ElementTree

import pytest

from likewise.benchmark.chart import quality_svg
from likewise.benchmark.entries import ABLATIONS, ENTRIES
from likewise.benchmark.results import document, summarise, table

ENTRY = ENTRIES["cdc"]


def done(seed, acc, **others):
    costs = {"images_per_second": 100.0, "epochs": 3, "peak_memory_mb": 1500, "seconds": 60.0, "track": "none"}
    return {"entry": "cdc", "seed": seed, "status": "done", "acc": acc, "nmi": 0.5, "ari": 0.25} | costs | others


def failed(seed, status="failed"):
    return {"entry": "cdc", "seed": seed, "status": status, "error": "the loss was nan\nby step 3"}


def test_mean_and_deviation_over_seeds():
    (row,) = summarise([ENTRY], [done(1, 0.6), done(0, 0.5)], 2)
    assert row["acc"]["mean"] == pytest.approx(0.55)
    assert row["acc"]["std"] == pytest.approx(0.1 / math.sqrt(2))
    assert "| cdc | .550 (.071) | .500 (.000) | .250 (.000) | 1 min 00 s | 100 | 3.0 | 1.5 GB | 2 of 2 |" in table(
        [row]
    )


def test_what_failed_diverged_or_was_stopped_enters_no_mean():
    # the run of seed 3 was stopped: there is no result of it
    (row,) = summarise([ENTRY], [done(0, 0.5), failed(1), failed(2, "diverged")], 4)
    assert row["acc"] == {"mean": 0.5, "std": None}
    assert (row["num_done"], row["num_seeds"]) == (1, 4)
    assert [failure["status"] for failure in row["failures"]] == ["failed", "diverged"]
    assert "| cdc | .500 |" in table([row])
    assert "cdc, seed 1, failed: the loss was nan by step 3" in document("T", {"protocol": "all"}, [row], False)


def test_a_row_in_which_nothing_finished_says_what_became_of_it():
    (row,) = summarise([ENTRY], [failed(0, "diverged"), failed(1, "diverged")], 2)
    assert "| cdc | diverged | - | - | - | - | - | - | 0 of 2 |" in table([row])
    (nothing,) = summarise([ENTRY], [], 2)
    assert "| cdc | - | - | - |" in table([nothing])


def test_a_backbone_that_saw_labels_is_marked():
    (row,) = summarise([ENTRY], [done(0, 0.5, track="labels")], 1)
    assert "| cdc (label-pretrained) |" in table([row])


def test_rows_are_those_of_the_entries_in_their_order():
    rows = summarise([ENTRIES["scan"], ENTRY], [done(0, 0.5)], 1)
    assert [(row["name"], row["num_done"]) for row in rows] == [("scan", 0), ("cdc", 1)]


def test_published_figures_stand_beside_ours():
    rows = summarise(list(ABLATIONS["cdc"].values()), [], 1)
    lines = table(rows).splitlines()
    assert any(line.startswith("| raw-logits |") and line.endswith("| diverged | diverged |") for line in lines)
    assert len({line.count("|") for line in lines}) == 1


def test_a_row_says_what_helped_it():
    (row,) = summarise(
        [ENTRY], [done(0, 0.5, helped="the best of 5 heads"), done(1, 0.5, helped="the best of 5 heads")], 2
    )
    assert "* cdc: CDC; the best of 5 heads\n" in document("T", {}, [row], False)


def test_a_row_says_how_many_of_its_seeds_are_of_the_run_before():
    results = [done(0, 0.5, refused=True), done(1, 0.7, refused=False), done(2, 0.6), failed(3)]
    (row,) = summarise([ENTRY], results, 4)
    assert row["about"] == "CDC; self-labelling was refused for 1 of 3 seeds, and the run before it is scored"
    assert row["acc"]["mean"] == pytest.approx(0.6)
    (row,) = summarise([ENTRY], results[1:], 4)
    assert row["about"] == "CDC"


def test_the_chart_is_svg_with_a_line_a_method():
    curve = [{"seconds": float(place), "acc": 0.1 * place} for place in range(1, 6)]
    late = [{"seconds": 3.0, "acc": 0.4}]
    root = ElementTree.fromstring(quality_svg({"cdc <&>": [curve, curve], "scan": [late]}))
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
    numbers = [float(n) for line in lines for pair in line.attrib["points"].split() for n in pair.split(",")]
    assert all(0 <= number <= 720 for number in numbers)


def test_further_figures_have_columns_where_there_are_any():
    further = {"features_acc": 0.45, "silhouette": -0.05, "davies_bouldin": 2.5, "linear": 0.7}
    rows = summarise([ENTRIES["scan"], ENTRY], [done(0, 0.5, **further)], 1)
    head, _, scan, cdc = table(rows).splitlines()
    assert head.split(" | ")[4:8] == ["K-means, ACC", "linear probe", "silhouette", "Davies-Bouldin"]
    assert cdc.split(" | ")[4:8] == [".450", ".700", "-.050", "2.500"]
    assert scan.split(" | ")[4:8] == ["-"] * 4
    assert "are of the backbone's features" in document("T", {}, rows, False)


def test_both_of_the_papers_figures_stand_beside_ours():
    rows = summarise([ABLATIONS["cdc"]["full"]], [], 1)
    assert table(rows).splitlines()[0].endswith("| seeds | paper, CIFAR-10, ACC | paper, linear |")
    assert table(rows).splitlines()[2].endswith("| .830 | .888 |")
    assert "CIFAR-10, with a ResNet-18 in the MoCo v2 frame" in document("T", {}, rows, False)
