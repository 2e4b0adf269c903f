"""A run directory from a stranger: nothing in it reaches the page as anything but text."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_runs import Page, make_run

from likewise.report import write_report
from likewise.report.scatter import script_json
from likewise.runs import RunDirectory

NAMES = [
    "<script>alert(1)</script>.png",
    '"onerror="alert(2)" x=".png',
    "' onload='alert(3)",
    "</script><img src=x onerror=alert(4)>",
    "</style><b>5</b>",
    "<!--<script>",
    "line\u2028separator\u2029.png",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&amp;",
    "\u202egpj.exe",
    "zero\x00byte\n.png",
    "é" * 5000,
]
HOSTILE = "<img src=x onerror=alert(1)>\"'</script>"


# every tag that the template writes
TAGS = frozenset(
    [
        *("html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section", "article", "footer"),
        *("h1", "h2", "h3", "h4", "p", "b", "i", "a", "span", "div", "dl", "dt", "dd", "pre", "details", "summary"),
        *("table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img", "canvas", "noscript", "script"),
        *("svg", "circle", "rect", "line", "text", "path", "button", "label", "select", "option"),
    ]
)


def page_of(run: RunDirectory) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def assert_harmless(page: Page) -> None:
    """Only the tags that the template writes, no handler, and two scripts: the data and ours."""
    assert {tag for tag, _ in page.tags} <= TAGS
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert len(page.named("script")) == 2
    assert len(page.named("style")) == 1
    for image in page.named("img"):
        assert image.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")


def test_names_are_only_text(tmp_path: Path) -> None:
    run = make_run(tmp_path, len(NAMES), 2, names=NAMES)
    run.write_skipped([(name, HOSTILE) for name in NAMES])
    page = page_of(run)
    assert_harmless(page)
    alts = [image["alt"] for image in page.named("img")]
    for name in (*NAMES[:6], NAMES[7], NAMES[8]):
        assert name in alts
    assert "\ufffdgpj.exe" in alts, "a name that turns the direction of text is made visible"
    assert max(map(len, alts)) <= 200


def test_names_come_back_from_the_data_as_they_were(tmp_path: Path) -> None:
    run = make_run(tmp_path, len(NAMES), 2, names=NAMES)
    html = write_report(run).read_text(encoding="utf-8")
    written = html.split('id="map-data">')[1].split("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written)["names"][:6] == NAMES[:6]


def test_json_between_script_tags_cannot_end_them() -> None:
    values = {"</script>": ["<!--", "&amp;", "\u2028", "\ud800"]}
    written = script_json(values)
    assert written.isascii()
    assert not set("<>&") & set(written)
    assert json.loads(written) == values


METRICS: list[dict[str, Any]] = [
    {"evaluations": "none", "training": [1, 2], "clustering": None, "machine": HOSTILE, "track": HOSTILE},
    {"training": {"seconds": HOSTILE, "warnings": HOSTILE}, "machine": {HOSTILE: HOSTILE}, HOSTILE: HOSTILE},
    {"training": {"seconds": -1e300, "warnings": [HOSTILE, None, 3, ["x"]]}, "finished": HOSTILE, "data": HOSTILE},
    {"training": {"seconds": 10**400}, "clustering": {"sizes": {}, "num_empty": [[]], "deep": {"er": {"est": {}}}}},
    {"evaluations": [None, 3, {}, {"rows": [1]}, {"rows": [{"name": HOSTILE, "acc": HOSTILE}]}]},
    {"geometry": {"backbone": HOSTILE, "instance": [HOSTILE]}},
    {
        "geometry": {
            "backbone": {
                "clusters": [HOSTILE, 10**400],
                "spreads": [HOSTILE, -1e308],
                "distances": [[HOSTILE, 1e308], [None, []]],
                "min_distance": HOSTILE,
                "mean_spread": 1e308,
            },
            "instance": {"clusters": [1, 2], "spreads": [1, 2], "distances": [[1], []], "silhouette": 1},
        }
    },
    {"geometry": {"backbone": {"clusters": [0] * 90, "spreads": [0] * 90, "distances": [[0] * 90] * 90}}},
    {"method": HOSTILE, "backbone": HOSTILE, "track": HOSTILE, "seconds": True},
    {
        "evaluations": [
            {
                "protocol": HOSTILE,
                "data": HOSTILE,
                "num_images": HOSTILE,
                "rows": [{"name": HOSTILE, "acc": 0.5, "nmi": 1e308, "ari": True}],
                "confusion": {"clusters": [HOSTILE], "classes": HOSTILE, "counts": [[HOSTILE, -5, 1e300, 3]]},
                "per_class": [{"class": HOSTILE, "images": HOSTILE, "cluster": [1], "recall": None}, 4],
            },
            {"rows": [{"name": {}, "acc": 0.1}], "confusion": {"counts": [[1], [1, 2]]}, "per_class": {"a": 1}},
            {"rows": [{"acc": 0.1}], "confusion": {"counts": [[]]}, "classes": 5},
            {"rows": [{"acc": 0.1}], "confusion": {"counts": [[0, 0], [0, 0]]}},
            {"rows": [{"acc": 0.1}], "confusion": {"counts": [[1] * 90] * 70}, "per_class": [{"class": 1}] * 70},
        ]
    },
    {"analysis": HOSTILE},
    {"analysis": {"probes": HOSTILE, "similarity": [HOSTILE], "temperature": {"rows": {HOSTILE: 1}}}},
    {
        "analysis": {
            "protocol": HOSTILE,
            "num_images": HOSTILE,
            "chance": 1e300,
            "class_leakage": {"knn": -7, "linear": HOSTILE},
            "probes": [{"part": HOSTILE, "knn": 1e308}, {"part": [], "linear": -1}, 3],
            "similarity": {
                "categorical": [
                    {"kind": HOSTILE, "mean": 1e300, "std": -5, "histogram": [HOSTILE, -1, 1e300, None]},
                    {"kind": "same", "mean": HOSTILE, "std": None, "histogram": [0.5] * 9000},
                    {"kind": {}, "histogram": HOSTILE},
                ],
                "instance": HOSTILE,
            },
            "temperature": {
                "own": HOSTILE,
                "rows": [
                    {"temperature": 1, "mean_confidence": HOSTILE, "above_95": 1e300},
                    {"temperature": 1, "mean_confidence": -3},
                    {"temperature": -1},
                    {"temperature": HOSTILE},
                ],
            },
        }
    },
]  # fmt: skip


@pytest.mark.parametrize("metrics", METRICS)
def test_metrics_of_any_shape_neither_break_the_page_nor_get_into_it(tmp_path: Path, metrics: dict[str, Any]) -> None:
    run = make_run(tmp_path, 20, 3, metrics={})
    run.metrics_file.write_text(json.dumps(metrics), encoding="utf-8")
    assert_harmless(page_of(run))


def test_a_large_confusion_is_cut_and_says_so(tmp_path: Path) -> None:
    (large,) = (metrics for metrics in METRICS if "confusion" in str(metrics.get("evaluations")))
    page = page_of(make_run(tmp_path, 20, 3, metrics=large))
    assert "Shown are the largest 50 of 70 clusters and 50 of 90 classes" in page.text
    assert "and 20 more classes." in page.text


def test_a_lone_surrogate_can_be_written(tmp_path: Path) -> None:
    run = make_run(tmp_path, 20, 3)
    run.metrics_file.write_text('{"machine": {"gpu": "\\ud800"}, "training": {"warnings": ["\\udfff"]}}')
    assert_harmless(page_of(run))


@pytest.mark.parametrize("recipe", ["not toml <b>", f"a = '''{HOSTILE}'''", '"<b>" = {"<i>" = [1, "</pre>"]}', "\x00"])
def test_a_recipe_is_only_text(tmp_path: Path, recipe: str) -> None:
    run = make_run(tmp_path, 20, 3)
    run.recipe_file.write_text(recipe, encoding="utf-8")
    assert_harmless(page_of(run))


@pytest.mark.parametrize(
    "log",
    [
        f'step,loss,"{HOSTILE.replace(chr(34), "")}"\n0,1,1\n1,2,3\n',
        "step,loss\n0,inf\n1,nan\n",
        "loss\n1e308\n-1e308\n",
        "step,loss\n5,1\n5,1\n5,1\n",
        "step,loss\n0,1,2,3\n1\n",
        "step,loss\n",
        "\x00\xff,,",
        "step,loss\n0,1e-320\n1,2e-320\n",
        "step,loss\n1e300,1\n-1e300,2\n",
    ],
)
def test_a_log_of_any_shape(tmp_path: Path, log: str) -> None:
    run = make_run(tmp_path, 20, 3)
    run.log_file.write_text(log, encoding="utf-8")
    page = page_of(run)
    assert_harmless(page)
    drawn = [attributes["d"] for attributes in page.named("path")]
    assert not [d for d in drawn if "nan" in d or "inf" in d]


def test_pictures_are_decoded_and_encoded_anew(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = make_run(tmp_path, 20, 2)
    good = run.thumbnails()[0]
    secret = b"<script>alert(1)</script>"
    rows = [0, 1, 2, 3, 4, 99, -1]
    encoded = [good + secret, b"", b"\x89PNG\r\n", good[: len(good) // 2], secret, good, good]
    pq.write_table(pa.table({"row": pa.array(rows, pa.int64()), "jpeg": encoded}), run.thumbnails_file)
    page = page_of(run)
    assert_harmless(page)
    shown = [image for image in page.named("img") if image.get("src")]
    assert [image["alt"] for image in shown] == ["pets/00000.jpg"]
    assert "PHNjcmlwdD" not in shown[0]["src"]


@pytest.mark.parametrize("file", ["thumbnails.parquet", "skipped.csv", "log.csv", "maps.npz"])
def test_a_damaged_optional_file_is_said_and_left_out(tmp_path: Path, file: str) -> None:
    run = make_run(tmp_path, 20, 3)
    (tmp_path / file).write_bytes(b"\xff\xfe\x00broken\n\xff")
    assert f"{file} is damaged and left out" in page_of(run).text


def test_a_report_without_pictures_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path, 20, 3)
    run.thumbnails_file.unlink()
    assert "thumbnails.parquet is missing" in page_of(run).text


def test_extreme_numbers_in_the_assignments(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = make_run(tmp_path, 20, 3)
    table = pq.read_table(run.assignments_file)
    extremes = {"confidence": [0.0, 1.0005, -0.0005, 1e-30] * 5, "x": [3e38, -3e38, 0.0, 1e-38] * 5}
    for column, values in extremes.items():
        place = table.column_names.index(column)
        table = table.set_column(place, column, pa.array(values, pa.float32()))
    pq.write_table(table, run.assignments_file)
    page = page_of(run)
    assert_harmless(page)
    assert "map" in page.sections()
    assert "nan" not in page.text.lower().split()
