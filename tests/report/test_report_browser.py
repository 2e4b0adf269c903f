"""The report in a real browser: its script runs, under its own policy, without an error."""

import shutil
import subprocess
from pathlib import Path

import pytest
from report_runs import make_run

from likewise.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=4000"),
]


def browse(tmp_path: Path, *arguments: str) -> str:
    command = [CHROMIUM or "", *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("num_clusters", [7, 90])
def test_the_script_runs_without_an_error(tmp_path: Path, num_clusters: int) -> None:
    names = [f"</script><img src=x onerror=alert({index})>" for index in range(300)]
    path = write_report(make_run(tmp_path / "run", 300, num_clusters, names=names))
    page = browse(tmp_path, "--dump-dom", path.as_uri()).split(">", 2)[1]
    assert 'data-ready="true"' in page
    assert "data-error" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_the_screen(tmp_path: Path, width: int) -> None:
    # a window has a least width and a frame has none; the policy would stop the script that reports from inside of it
    html = write_report(make_run(tmp_path / "run", 60, 12, names=["long" * 60] * 60)).read_text(encoding="utf-8")
    script = "<script>parent.postMessage(document.documentElement.scrollWidth + ' of ' + innerWidth, '*')</script>"
    html = html.replace('http-equiv="Content-Security-Policy"', "").replace("</body>", f"{script}</body>")
    (tmp_path / "inner.html").write_text(html, encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<iframe src="inner.html" width="{width}" height="800" frameborder="0"></iframe>'
        "<script>addEventListener('message', (event) => { document.body.textContent = event.data; });</script>"
    )
    assert f"{width} of {width}" in browse(tmp_path, "--dump-dom", outer.as_uri())
