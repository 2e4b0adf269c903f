"""The code in docs/extend.md works as it stands, and links between the pages lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_code_for_researchers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    try:
        exec(compile("\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)), "extend.md", "exec"), {})
    finally:
        METHODS.pop("iic", None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        file, anchor = target
        if "://" in file:
            continue
        linked = page.parent / file if file else page
        assert linked.exists(), f"{page.name} links to {file}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {file}#{anchor}"
