"""What the README says works: every command and every import in it."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
# the commands are run as they stand, but for the training, which is cut short
SHORT = ["--set", "training.steps=4", "--set", "method.settings.hidden_dim=32"]


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the photos that the README speaks of."""
    generator = np.random.default_rng(0)
    for folder in ("photos/a", "photos/b", "new_photos"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_work_in_their_order(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [shlex.split(line, comments=True) for line in blocks("sh").splitlines() if line.startswith("likewise ")]
    assert {words[1] for words in commands} == {
        "cluster",
        "assign",
        "embed",
        "export",
        "evaluate",
        "analyze",
        "report",
        "name",
    }
    for words in commands:
        short = [*words[: words.index("--minutes")], *SHORT] if "--minutes" in words else words
        monkeypatch.setattr(sys, "argv", short)
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, words
    assert len(list((place / "sorted").rglob("*.png"))) == 20
    assert (place / "groups.csv").is_file()


def test_the_python_works(place: Path) -> None:
    code = blocks("python").replace("minutes=5", "epochs=1, settings={'method.settings.hidden_dim': 32}")
    exec(compile(code, "README.md", "exec"), {})
    assert (place / "saved-run" / "model.safetensors").is_file()


def test_the_targets_exist() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)", README + (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
