"""Pages as a reader sees them: wide and narrow, light and dark, in a browser and without."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from roberta_sentiment.tools.page.plot import Mark, intervals
from scripts.screenshots import SHOWN, WINDOWS, open_page, photograph
from tests import ROOT
from tests.pages.samples import LONG, PAGES

AXE = ROOT / "build" / "axe-core" / "package" / "axe.min.js"
CHECKS = Path(__file__).with_name("legible.js")
HEIGHT = 12_000
"""In px; the checks look at what lies in the window."""

needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not installed (Debian: chromium)"
)
needs_axe = pytest.mark.skipif(
    not AXE.is_file(), reason="build/axe-core is missing (.ci/run unpacks npm's axe-core there)"
)


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """One page after the other."""
    return PAGES[request.param](tmp_path)


def faults(page: str) -> list[tuple[int, bool, list[str]]]:
    """Width of each window, whether it is dark, and what axe-core and `legible.js` find there."""
    scripts = "".join(
        f"<script>{path.read_text(encoding='utf-8')}</script>" for path in (AXE, CHECKS)
    )
    printed = open_page(page.replace("</body>", f"{scripts}</body>"), WINDOWS, HEIGHT, "--dump-dom")
    found = re.search(r'<pre id="seen">(.+?)</pre>', printed, re.DOTALL)
    assert found, printed[-500:]
    seen = json.loads(html.unescape(found[1]))
    return sorted((each["width"], each["dark"], each["faults"]) for each in seen)


@needs_chromium
@needs_axe
def test_a_page_is_legible_on_a_screen_and_a_telephone_by_day_and_night(page: str) -> None:
    """Nothing cut off, no label below 11 px, contrast of 4.5 at least, and nothing for axe-core."""
    assert [(400, False, []), (400, True, []), (1280, False, []), (1280, True, [])] == faults(page)


def test_a_page_is_one_file_whose_pictures_say_their_figures(page: str) -> None:
    """A reader without eyes hears numbers, and no id is there twice."""
    ids = re.findall(r' id="([^"]+)"', page)
    assert sorted(set(ids)) == sorted(ids)
    says = re.findall(r'<svg role="img" aria-label="([^"]+)"', page)
    assert page.count("<svg") == len(says) == len(set(says))
    assert all(re.search(r"\d", each) for each in says)
    assert not re.search(r"src=|href=\"[^#]|url\((?!#)|<script|<link", page)


def test_text_has_a_contrast_of_four_and_a_half_by_day_and_night() -> None:
    """Also where no browser is: letters on each ground, and marks with 3 as WCAG asks."""
    style = (ROOT / "roberta_sentiment/tools/page/style.css.jinja").read_text(encoding="utf-8")
    day, night = (
        dict(re.findall(r"--([\w-]+): (#\w+)", part)) for part in style.split("@media")[:2]
    )
    assert day.keys() == night.keys()
    for colours in (day, night):
        for ground in ("page", "shade", "caution"):
            assert 4.5 <= min(contrast(colours[ink], colours[ground]) for ink in ("ink", "muted"))
        marks = [colours[f"series-{i}"] for i in range(1, 5)]
        assert 3 <= min(contrast(mark, colours["page"]) for mark in marks)


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2.1 defines it."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """0 (black) to 1 (white)."""
    return sum(
        part * (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
        for part, value in zip((0.2126, 0.7152, 0.0722), to_rgb(colour), strict=True)
    )


def test_nothing_is_decided_without_a_verdict(tmp_path: Path) -> None:
    """Neither a line in the picture nor a row of the table, however clear the lead looks."""
    page = PAGES["report-without-verdict"](tmp_path)
    assert "No verdict on roberta and lexicon." in page
    assert "decided" not in page
    assert "decided" in PAGES["report"](tmp_path / "other")


@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_difference_is_told_from_the_side_of_the_winner(tmp_path: Path, name: str) -> None:
    """A, the first model, has won: nobody has to turn signs in his head."""
    page = PAGES[name](tmp_path)
    winner, loser = ("old", "new") if name == "report" else ("lexicon", LONG)
    assert f"{winner} beats {loser}" in page
    assert f"{winner} minus {loser}</th><td>+" in page
    assert f"{loser} minus {winner}" not in page


def test_segments_are_told_from_the_side_of_the_winner(tmp_path: Path) -> None:
    """Over all texts in the table, of each segment in the sentences; each p-value is there once."""
    page = PAGES["report-of-segments"](tmp_path)
    assert "But new breaks guardrails." in page
    assert "For 200 to 999 characters (length) old beats new by" in page
    rows = re.findall(r"<th scope=\"row\">(\w+: .+?)</th><td>(.+?)</td>", page)
    told = {name.partition(":")[0] for name, _ in rows}
    assert {"length", "class", "digits", "marks", "symbols", "capitals", "shop"} == told
    lead = dict(rows)["length: 200 to 999 characters"]
    assert re.match(r"\+\d\d\.\d points, \+\d\d\.\d points to ", lead)
    assert len(rows) == page.count("p = ")


@pytest.mark.parametrize("name", ["compare", "evaluate"])
def test_a_p_value_is_there_once(tmp_path: Path, name: str) -> None:
    """Twice, it is rounded in two ways and taken for two."""
    page = PAGES[name](tmp_path)
    assert 1 == page.count("p = ") + page.count("exact test, p<")


def test_an_interval_without_an_end_is_an_arrow_to_the_edge() -> None:
    """A closed one ends in a cap where its end is."""
    marks = [Mark("a", "2, 1 to 3", 0.2, 0.1, 0.3), Mark("b", "2, above 1", 0.2, 0.1, None)]
    closed, opened = (intervals("x", "x", [mark]) for mark in marks)
    assert right_edge(closed, SPINE) > right_edge(closed, SERIES_1) + 5
    assert right_edge(opened, SPINE) == pytest.approx(right_edge(opened, SERIES_1), abs=3)


SPINE, SERIES_1 = r"stroke: var\(--muted\)", r"stroke: var\(--series-1\)"


def right_edge(picture: str, stroke: str) -> float:
    """The largest x of the paths with a stroke."""
    paths = re.findall(rf'<path d="([^"]+)"[^>]*style="[^"]*{stroke}', picture)
    return max(float(x) for path in paths for x in re.findall(r"[ML] ([\d.]+) ", path))


BAD = """<!DOCTYPE html><html lang="en"><head><title>Bad</title></head><body><main><h1>Bad</h1>
<p id="twice">a</p><p id="twice" style="width: 2000px">too wide</p><p style="color: #aaa">pale</p>
<p style="font-size: 10px">tiny</p>
<svg width="300" height="80" role="img" aria-label="labels">
<rect width="300" height="80" fill="#4292c6"/>
<text x="10" y="20" fill="white">on blue</text><text x="12" y="22" font-size="12">on it</text>
<text x="100" y="50" font-size="10">small</text><text x="280" y="70">out of it</text></svg>
</main></body></html>"""


@needs_chromium
@needs_axe
def test_what_is_not_legible_is_found() -> None:
    """Or the test above would pass for any page."""
    *_, (_, _, found) = faults(BAD)
    for fault in (
        "color-contrast", "twice is there twice", '"tiny" is too small', "too wide",
        '"on blue" has a contrast of', '"on it" lies on "on blue"', '"small" is 10.0 px',
        '"out of it" is cut off',
    ):  # fmt: skip
        assert any(fault in each for each in found), (fault, found)


def test_the_pictures_of_the_pages_in_the_docs_are_small() -> None:
    """A clone pays for them."""
    pictures = {path.name: path.stat().st_size for path in (ROOT / "docs").glob("*.png")}
    assert {"ab-report.png", "ab-compare.png", "evaluate.png"} <= pictures.keys()
    assert max(pictures.values()) < 150_000


@needs_chromium
def test_a_screenshot_shows_both_widths_and_is_small(tmp_path: Path) -> None:
    """Those in docs/ are made so."""
    target = tmp_path / "page.png"
    photograph(PAGES["report"](tmp_path), target)
    with Image.open(target) as picture:
        assert (sum(width for width, _ in SHOWN), 1100) == picture.size
        light, dark = (np.asarray(picture.convert("L"))[:, x : x + 300] for x in (0, 1300))
    assert np.median(dark) < 40 < 240 < np.median(light)
    assert light.min() < 100 < 200 < dark.max()
    assert target.stat().st_size < 150_000
