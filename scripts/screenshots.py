"""Pages in headless Chromium, as wide as a screen and as a telephone, light and dark.

`python -m scripts.screenshots report.html docs/ab-report.png` writes a picture of a page.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

WINDOWS = ((1280, "light"), (400, "dark"), (400, "light"), (1280, "dark"))
"""Width in px and what the reader prefers."""
SHOWN = WINDOWS[:2]
COLOURS = 256

Windows = Sequence[tuple[int, str]]

_HOST = """<!DOCTYPE html><meta name="color-scheme" content="light dark">
<style>body {{ margin: 0; display: flex }} iframe {{ border: 0; flex: none }}</style>
{frames}<pre id="seen"></pre>
<script>
const seen = [];
addEventListener("message", (event) => {{
  seen.push(event.data);
  document.getElementById("seen").textContent = JSON.stringify(seen);
}});
</script>
"""
"""A window is 500 px wide at least, a frame is not. What the page's scripts post is collected."""


def open_page(page: str, windows: Windows, height: int, *options: str) -> str:
    """Open a page in several windows side by side, until its scripts have nothing to do.

    Args:
        page: its HTML.
        windows: see `WINDOWS`.
        height: of each in px.
        options: of Chromium's command line.

    Returns:
        What Chromium prints.

    Raises:
        FileNotFoundError: there is no Chromium.
        subprocess.CalledProcessError: it failed.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise FileNotFoundError("needs Debian's package chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        host = Path(folder, "host.html")
        host.with_name("page.html").write_text(page, encoding="utf-8")
        frames = "".join(
            f'<iframe src="page.html" width="{width}" height="{height}" '
            f'style="color-scheme: {scheme}"></iframe>'
            for width, scheme in windows
        )
        host.write_text(_HOST.format(frames=frames), encoding="utf-8")
        across = sum(width for width, _ in windows)
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={folder}/profile", f"--window-size={across},{height}",
            "--virtual-time-budget=60000", *options, host.as_uri(),
        ]  # fmt: skip
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=120
        ).stdout


def photograph(page: str, target: Path, height: int = 1100) -> None:
    """Write a PNG of the top of a page, in few colours so that it is small.

    Args:
        page: its HTML.
        target: file.
        height: of the picture in px.
    """
    whole = "--run-all-compositor-stages-before-draw"  # or a busy machine leaves tiles out
    open_page(page, SHOWN, height, whole, f"--screenshot={target.absolute()}")
    with Image.open(target) as picture:
        picture.quantize(COLOURS).save(target, optimize=True)


if __name__ == "__main__":
    photograph(Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2]))
