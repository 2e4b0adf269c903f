"""Run directories made up for the tests of the report."""

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from likewise.runs import Assignments, RunDirectory
from likewise.runs.assignments import write_thumbnails

RECIPE = """version = "0.1.0"
[data]
source = "/somewhere/pets"
digest = "sha256:0123"
[model]
backbone = "resnet18"
[method]
name = "cdc"
"""


def make_run(
    path: Path,
    num_images: int = 120,
    num_clusters: int = 5,
    *,
    names: Sequence[str] | None = None,
    clusters: np.ndarray | None = None,
    num_thumbnails: int | None = None,
    with_map: bool = True,
    metrics: dict[str, Any] | None = None,
) -> RunDirectory:
    """A run with random images in random clusters, and everything that a report can show but scores."""
    generator = np.random.default_rng(0)
    run = RunDirectory(path)
    clusters = generator.integers(0, num_clusters, num_images) if clusters is None else clusters
    probabilities = generator.random((num_images, num_clusters)).astype(np.float32) * 0.2
    probabilities[np.arange(num_images), clusters] += generator.random(num_images).astype(np.float32) * 4 + 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    table = Assignments(
        list(names) if names is not None else [f"pets/{index:05d}.jpg" for index in range(num_images)],
        clusters.astype(np.int64),
        probabilities[np.arange(num_images), clusters],
        probabilities,
        generator.normal(size=(num_images, 2)).astype(np.float32) if with_map else None,
    )
    table.write(run.assignments_file)
    count = num_images if num_thumbnails is None else num_thumbnails
    if count:
        images = (generator.integers(0, 256, (24, 24, 3), dtype=np.uint8) for _ in range(count))
        write_thumbnails(run.thumbnails_file, enumerate(images))
    run.recipe_file.write_text(RECIPE, encoding="utf-8")
    run.log_file.write_text(log_text(generator), encoding="utf-8")
    run.write_skipped([("broken.jpg", "the file is truncated")])
    run.write_metrics(metrics if metrics is not None else {"training": {"seconds": 75.0, "steps": 900, "warnings": []}})
    return run


def log_text(generator: np.random.Generator, rows: int = 900) -> str:
    """A log with a falling loss, a gap in it, and a column that is logged now and then."""
    lines = ["step,epoch,seconds,lr,loss,contrastive_loss,confidence"]
    for step in range(rows):
        loss = "nan" if 300 <= step < 320 else f"{5 * np.exp(-step / 200) + generator.normal(0, 0.05):.4f}"
        lines.append(f"{step},{step // 30},{step / 12:.2f},0.1,{loss},{loss},{0.5 if step % 30 == 0 else ''}")
    return "\n".join(lines) + "\n"


class Page(HTMLParser):
    """What a browser would find in a page: tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.blocks: list[tuple[str, str]] = []  # tag and content of every script and style
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks.append((self._inside, data))
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def sections(self) -> list[str]:
        return [attributes["id"] for attributes in self.named("section")]
