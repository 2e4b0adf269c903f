"""The pieces of the report by themselves."""

import base64

import numpy as np
import pytest

from likewise.report.axes import ticks
from likewise.report.curves import MOST_POINTS, curves
from likewise.report.palette import palette
from likewise.report.pictures import Pictures
from likewise.report.scatter import scatter
from likewise.runs import Assignments


def contrast(one: str, other: str) -> float:
    """WCAG contrast of two colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("num_clusters", [10, 100])
@pytest.mark.parametrize(("dark", "page"), [(False, "#ffffff"), (True, "#181b20")])
def test_colours_differ_and_stand_out(num_clusters: int, dark: bool, page: str) -> None:
    colours = palette(num_clusters, dark)
    assert len(set(colours)) == num_clusters
    assert min(contrast(colour, page) for colour in colours) > (3 if num_clusters == 10 else 2)


def test_ticks_are_round_and_within() -> None:
    for low, high in ((0.0, 1.0), (0.37, 0.41), (-3.0, 12_345.0), (1e-9, 3e-9)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 7
        assert low - 1e-12 <= found[0] < found[-1] <= high + 1e-12


def test_losses_come_first_and_long_curves_are_thinned() -> None:
    steps = np.arange(5000.0)
    log = {"step": steps, "lr": steps, "mean_confidence": steps, "cluster_loss": steps, "loss": steps, "epoch": steps}
    made = curves(log)
    assert [curve.title for curve in made] == ["Loss", "Cluster loss", "Mean confidence", "Learning rate"]
    assert made[0].line.count(" L") == MOST_POINTS - 1
    assert made[0].band


def test_a_gap_is_a_gap_and_a_rare_value_is_joined() -> None:
    loss = np.arange(20.0)
    loss[8:11] = np.nan
    rare = np.full(20, np.nan)
    rare[[0, 10, 19]] = 1.0
    gap, joined = curves({"step": np.arange(20.0), "loss": loss, "rare": rare})
    assert gap.line.count("M") == 2
    assert gap.note == "not a number in 3 of 20 rows"
    late = np.where(np.arange(20) < 10, np.nan, 1.0)  # a term that came later
    assert curves({"step": np.arange(20.0), "loss": late})[0].note == ""
    assert joined.line.count("M") == 1
    assert not joined.note


def test_points_are_packed_as_they_were() -> None:
    positions = np.array([[0, 0], [4, 0], [2, 1], [np.nan, 0]], dtype=np.float32)
    probabilities = np.array([[0.6, 0.4], [0.2, 0.8], [0.5, 0.5], [1, 0]], dtype=np.float32)
    plain = Assignments.from_probabilities(list("abcd"), probabilities)
    table = Assignments(plain.names, plain.clusters, plain.confidence, plain.probabilities, positions)
    made = scatter(table, Pictures({}, 4), {})
    assert made is not None
    assert (made.num_points, made.num_images, made.num_tiles) == (3, 4, 0)

    def unpacked(name: str, kind: str) -> list[int]:
        return np.frombuffer(base64.b64decode(made.payload[name]), kind).tolist()

    assert unpacked("x", "<u2") == [0, 65535, 32768]
    assert unpacked("y", "<u2") == [0, 0, 16384]
    assert made.payload["extent"] == [1.0, 0.25]
    assert unpacked("cluster", "<u4") == [0, 1, 0]
    assert unpacked("confidence", "u1") == [153, 204, 128]
    assert made.payload["names"] == ["a", "b", "c"]


def test_pictures_stop_at_their_budget() -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (40, 30), 200).save(buffer, "JPEG")
    pictures = Pictures(dict.fromkeys(range(9), buffer.getvalue()), 9, budget=2500)
    found = [pictures.uri(row, 32) for row in range(9)]
    assert found[0] is not None
    assert found[-1] is None
    assert pictures.is_exhausted
    assert sum(len(uri) for uri in found if uri) <= 2500


def test_a_picture_that_is_too_large_is_left_out() -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (5000, 5000)).save(buffer, "JPEG", quality=5)
    assert Pictures({0: buffer.getvalue()}, 1).uri(0, 64) is None
